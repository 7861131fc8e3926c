// SPDX-License-Identifier: GPL-2.0-only

//! The one object that C callbacks find their way to.
//!
//! Takes no lock. The object is allocated once, at load.

use core::ops::Deref;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::prelude::*;

/// A place for one object, empty at first.
pub(crate) struct Singleton<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Singleton<T> {
    /// Empty.
    pub(crate) const fn new() -> Self {
        Singleton(AtomicPtr::new(ptr::null_mut()))
    }

    /// Puts the object in, until the answer is dropped. Only the module's start calls this.
    pub(crate) fn install(&'static self, object: Pin<KBox<T>>) -> Installed<T> {
        // SAFETY: The object is not moved: only its address is passed around.
        let object = KBox::into_raw(unsafe { Pin::into_inner_unchecked(object) });
        self.0.store(object, Ordering::Release);
        Installed {
            place: self,
            object,
        }
    }

    /// The object, if there is one.
    ///
    /// The reference is good as long as the caller is one of the callbacks that end before the
    /// object goes: see [`Installed`].
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: Null or the installed object. `Installed` is the last thing to be dropped in
        // the module, after everything that calls here has been stopped and waited for.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}

/// Keeps the object in its place.
///
/// Must outlive whatever calls [`Singleton::get`]: registrations, works, connections, files.
pub(crate) struct Installed<T: 'static> {
    place: &'static Singleton<T>,
    object: *mut T,
}

// SAFETY: It is used as a `&T` and, by its last owner, as an owned `T`.
unsafe impl<T: Send + Sync> Send for Installed<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for Installed<T> {}

impl<T> Deref for Installed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The object lives as long as this handle.
        unsafe { &*self.object }
    }
}

impl<T> Drop for Installed<T> {
    fn drop(&mut self) {
        self.place.0.store(ptr::null_mut(), Ordering::Release);
        // SAFETY: The pointer came from `KBox::into_raw`, and nobody has it any more. What was
        // pinned is dropped where it is.
        drop(unsafe { KBox::from_raw(self.object) });
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's side of remote swap: what it lends us and how it gets that back.
//!
//! C header: `include/linux/remote_swap.h`.
//!
//! Lock order: [`AreaCell`]'s mutex is taken inside the core's own locks around attach and detach;
//! [`AreaCell::lose`] takes it with no other lock held and calls the core under it. Stores and
//! loads take no lock here. Nothing is allocated after [`Registration::new`].

use super::bindings;
use super::operation::Memory;
use core::mem;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::ffi::{c_int, c_ulong};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};
use kernel::ThisModule;

/// A page of a folio, and what it is lent for.
struct Loan {
    area: NonNull<bindings::remote_swap_area>,
    slot: u64,
    page: NonNull<bindings::page>,
}

// SAFETY: The core takes a folio back from any thread.
unsafe impl Send for Loan {}

/// A page to be stored: under writeback until [`StoreTicket::finish`].
pub(crate) struct StoreTicket(Loan);

/// A page to be loaded: locked until [`LoadTicket::finish`].
pub(crate) struct LoadTicket {
    loan: Loan,
    demand: bool,
}

/// Proof that a store was given back before anything was done.
pub(crate) struct Declined(());

/// Proof that a load was given back, and why.
pub(crate) struct Failed(Error);

fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

impl StoreTicket {
    /// Which slot of the area.
    pub(crate) fn slot(&self) -> u64 {
        self.0.slot
    }

    /// Gives the page back: stored, or why not.
    pub(crate) fn finish(self, result: Result) {
        self.give_back(result);
        mem::forget(self);
    }

    /// Gives the page back untouched: it goes to the swap device now.
    pub(crate) fn decline(self) -> Declined {
        mem::forget(self);
        Declined(())
    }

    // To be called once, last.
    fn give_back(&self, result: Result) {
        let Loan { area, slot, page } = &self.0;
        // SAFETY: The core lent the page and gets it back here only.
        unsafe {
            bindings::remote_swap_store_done(
                area.as_ptr(),
                *slot as c_ulong,
                page.as_ptr(),
                errno(result),
            )
        };
    }
}

impl Drop for StoreTicket {
    fn drop(&mut self) {
        self.give_back(Err(EIO));
    }
}

impl LoadTicket {
    /// Which slot of the area.
    pub(crate) fn slot(&self) -> u64 {
        self.loan.slot
    }

    /// Whether somebody cannot do without it.
    pub(crate) fn demand(&self) -> bool {
        self.demand
    }

    /// Whether a fault waits for it and nobody else knows of it. What is read ahead, or has several
    /// users, is in the swap cache. To be asked before it is posted: a fault that has waited for a
    /// while puts its page there too.
    pub(crate) fn of_fault(&self) -> bool {
        // SAFETY: The core lent the page.
        !unsafe { bindings::remoteswap_shim_in_swap_cache(self.loan.page.as_ptr()) }
    }

    /// Gives the page back: loaded, or why not. Not in interrupts.
    pub(crate) fn finish(self, result: Result) {
        self.give_back(result);
        mem::forget(self);
    }

    /// Gives the page back from within [`Backend::load`].
    pub(crate) fn fail(self, error: Error) -> Failed {
        mem::forget(self);
        Failed(error)
    }

    // To be called once, last.
    fn give_back(&self, result: Result) {
        let Loan { area, slot, page } = &self.loan;
        // SAFETY: The core lent the page and gets it back here only.
        unsafe {
            bindings::remote_swap_load_done(
                area.as_ptr(),
                *slot as c_ulong,
                page.as_ptr(),
                errno(result),
            )
        };
    }
}

impl Drop for LoadTicket {
    fn drop(&mut self) {
        self.give_back(Err(EIO));
    }
}

// SAFETY: Its folio is under writeback, or locked, until the ticket is used up.
unsafe impl Memory for StoreTicket {
    fn page(&self) -> NonNull<bindings::page> {
        self.0.page
    }
}

// SAFETY: As above.
unsafe impl Memory for LoadTicket {
    fn page(&self) -> NonNull<bindings::page> {
        self.loan.page
    }
}

/// What the core may ask of us. Only one area at a time is attached: a slot has one place only.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The one there is.
    fn instance() -> Option<&'static Self>;

    /// Where the attached area is kept.
    fn area(&self) -> &AreaCell;

    /// An area of so many slots was attached. Returns for how many of them there is room, if that
    /// is known. May sleep.
    fn attached(&self, slots: u64) -> Option<u64>;

    /// Stores a page with the next [`commit`](Backend::commit), which follows, or declines.
    /// Called by reclaim: does not allocate, and sleeps for a stated time at most.
    fn store(&self, ticket: StoreTicket) -> Result<(), Declined>;

    /// Starts all stores and loads that were taken. Called by reclaim too.
    fn commit(&self);

    /// Loads a page with the next [`commit`](Backend::commit), which follows, or fails. May sleep.
    fn load(&self, ticket: LoadTicket) -> Result<(), Failed>;
}

/// The attached area, if any.
///
/// # Invariants
///
/// What is in it is attached: it was put in by the core's attach, and is taken out by its detach.
#[pin_data]
pub(crate) struct AreaCell {
    #[pin]
    area: Mutex<Option<Attached>>,
}

struct Attached(NonNull<bindings::remote_swap_area>);

// SAFETY: The core's areas may be named from any thread.
unsafe impl Send for Attached {}

impl AreaCell {
    /// None yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { area <- new_mutex!(None, "remoteswap_area") })
    }

    /// Tells the core that there is room for so many slots.
    pub(crate) fn serve(&self, slots: u64) {
        if let Some(Attached(area)) = &*self.area.lock() {
            // SAFETY: By the type invariants; a detach waits for this lock.
            unsafe { bindings::remote_swap_serve(area.as_ptr(), slots as c_ulong) };
        }
    }

    /// Tells the core that all that was stored is gone. Nothing may be in flight.
    pub(crate) fn lose(&self) {
        if let Some(Attached(area)) = &*self.area.lock() {
            // SAFETY: By the type invariants; a detach waits for this lock.
            unsafe { bindings::remote_swap_lose(area.as_ptr()) };
        }
    }
}

/// Being the backend of remote swap, until dropped.
///
/// # Invariants
///
/// `ops` is registered and stays where it is.
pub(crate) struct Registration(KBox<bindings::remote_swap_ops>);

// SAFETY: The operations are only read.
unsafe impl Send for Registration {}
// SAFETY: As above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Becomes the backend. The instance must be in its place.
    pub(crate) fn new<B: Backend>(module: &'static ThisModule) -> Result<Registration> {
        let ops = bindings::remote_swap_ops {
            owner: module.as_ptr().cast(),
            name: super::NAME.as_char_ptr(),
            attach: Some(attach::<B>),
            detach: Some(detach::<B>),
            store: Some(store::<B>),
            commit: Some(commit::<B>),
            load: Some(load::<B>),
        };
        let ops = KBox::new(ops, GFP_KERNEL)?;
        // SAFETY: The operations stay until `drop`, which takes them back.
        to_result(unsafe { bindings::remote_swap_register(&*ops) })?;
        // INVARIANT: Registered, and in a box.
        Ok(Registration(ops))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. No area is attached: the core holds the module then.
        unsafe { bindings::remote_swap_unregister(&*self.0) };
    }
}

/// # Safety
///
/// Called by the core: `area` is valid until `detach` has returned.
unsafe extern "C" fn attach<B: Backend>(
    area: *mut bindings::remote_swap_area,
    slots: c_ulong,
) -> c_int {
    let (Some(backend), Some(area)) = (B::instance(), NonNull::new(area)) else {
        return ENODEV.to_errno();
    };
    let mut attached = backend.area().area.lock();
    if attached.is_some() {
        return EBUSY.to_errno();
    }
    // INVARIANT: The core attaches it now.
    *attached = Some(Attached(area));
    if let Some(room) = backend.attached(slots as u64) {
        // SAFETY: It is being attached.
        unsafe { bindings::remote_swap_serve(area.as_ptr(), room as c_ulong) };
    }
    0
}

/// # Safety
///
/// Called by the core, with what it attached.
unsafe extern "C" fn detach<B: Backend>(area: *mut bindings::remote_swap_area) {
    let Some(backend) = B::instance() else {
        return;
    };
    let mut attached = backend.area().area.lock();
    if matches!(&*attached, Some(Attached(known)) if known.as_ptr() == area) {
        *attached = None;
    }
}

/// # Safety
///
/// Called by the core: lends the page until `remote_swap_store_done`, if the answer is 0.
unsafe extern "C" fn store<B: Backend>(
    area: *mut bindings::remote_swap_area,
    slot: c_ulong,
    page: *mut bindings::page,
) -> c_int {
    let (Some(backend), Some(loan)) = (B::instance(), loan(area, slot, page)) else {
        return EAGAIN.to_errno();
    };
    match backend.store(StoreTicket(loan)) {
        Ok(()) => 0,
        Err(Declined(())) => EAGAIN.to_errno(),
    }
}

/// # Safety
///
/// Called by the core, with what it attached.
unsafe extern "C" fn commit<B: Backend>(_area: *mut bindings::remote_swap_area) {
    if let Some(backend) = B::instance() {
        backend.commit();
    }
}

/// # Safety
///
/// Called by the core: lends the page until `remote_swap_load_done`, if the answer is 0.
unsafe extern "C" fn load<B: Backend>(
    area: *mut bindings::remote_swap_area,
    slot: c_ulong,
    page: *mut bindings::page,
    demand: bool,
) -> c_int {
    let (Some(backend), Some(loan)) = (B::instance(), loan(area, slot, page)) else {
        return EIO.to_errno();
    };
    match backend.load(LoadTicket { loan, demand }) {
        Ok(()) => 0,
        Err(Failed(error)) => error.to_errno(),
    }
}

fn loan(
    area: *mut bindings::remote_swap_area,
    slot: c_ulong,
    page: *mut bindings::page,
) -> Option<Loan> {
    Some(Loan {
        area: NonNull::new(area)?,
        slot: slot as u64,
        page: NonNull::new(page)?,
    })
}

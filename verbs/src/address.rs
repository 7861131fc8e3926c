//! `SocketAddr` to `sockaddr` and back.

use std::net::{IpAddr, SocketAddr};

use nix::libc;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

/// Calls `f` with a pointer to the address in C's form, valid during the call.
pub(crate) fn with_sockaddr<R>(address: SocketAddr, f: impl FnOnce(*mut libc::sockaddr) -> R) -> R {
    let storage = SockaddrStorage::from(address);
    // rdma_cm takes a mutable pointer and only reads through it.
    f(storage.as_ptr().cast_mut())
}

/// The address behind a pointer, if it is IPv4 or IPv6.
///
/// # Safety
///
/// `raw` points to a `sockaddr` of its family's full size.
pub(crate) unsafe fn from_sockaddr(raw: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: the caller vouches for the pointer; with no length given, the
    // family decides how much is read.
    let storage = unsafe { SockaddrStorage::from_raw(raw, None) }?;
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()));
    }
    let v6 = storage.as_sockaddr_in6()?;
    Some(SocketAddr::new(IpAddr::V6(v6.ip()), v6.port()))
}

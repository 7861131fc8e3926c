//! Waiting for devices: the kernel announces each, after its node exists.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// Waits until `look` finds what it looks for, looking again after each
/// announcement; `None` if the limit passes.
pub(crate) fn wait_for<T>(
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> io::Result<Option<T>> {
    // Most devices are there before PID 1 is.
    if let Some(found) = look() {
        return Ok(Some(found));
    }
    let deadline = Instant::now() + limit;
    let socket = subscribe()?;
    loop {
        if let Some(found) = look() {
            return Ok(Some(found));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut files = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut files, timeout)?;
        let mut announcement = [0; 4096];
        // What it says, or that some were lost, makes no difference.
        while recv(
            socket.as_raw_fd(),
            &mut announcement,
            MsgFlags::MSG_DONTWAIT,
        )
        .is_ok()
        {}
    }
}

fn subscribe() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    const FROM_KERNEL: u32 = 1;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, FROM_KERNEL))?;
    Ok(socket)
}

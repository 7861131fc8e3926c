//! What makes this machine one of its own: one whose memory was saved and is
//! restored, perhaps more than once, has the time and the random numbers of
//! the moment when it was saved.

use std::fs::File;
use std::os::fd::AsFd;

use nix::time::{ClockId, clock_settime};
use rapidswap_protocol::message::{Failure, Settle};

use crate::failure::failed;
use crate::{mounts, sys};

/// Sets the clock, renews the kernel's random numbers and makes the root file
/// system writable. Done again it only sets and renews again.
pub(crate) fn settle(settle: &Settle) -> Result<(), Failure> {
    clock_settime(ClockId::CLOCK_REALTIME, settle.time.into())
        .map_err(|errno| failed("set the clock", &errno.into()))?;
    File::open("/dev/urandom")
        .and_then(|device| sys::reseed(device.as_fd(), &settle.seed))
        .map_err(|error| failed("renew the random numbers", &error))?;
    mounts::make_root_writable()
        .map_err(|error| failed("make the root file system writable", &error))
}

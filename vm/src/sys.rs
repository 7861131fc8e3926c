//! The only unsafe code of this crate: what a child does between fork and
//! exec, file descriptors that arrive in a message, the terminal's size, and
//! the processor's time stamp counter.

#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::{getppid, setsid};
use rapidswap_protocol::WindowSize;

/// Most file descriptors one message carries: stdin, stdout and stderr.
pub(crate) const MAX_FDS: usize = 3;

/// Ties a child to the thread that spawns it: it is killed when that thread
/// ends, for whatever reason. `inherit` stays open in the child under the
/// same numbers; the caller keeps them open until after the spawn.
///
/// The kernel watches the *thread*, so spawn from one that lives as long as
/// the process.
pub(crate) fn tie(command: &mut Command, inherit: &[RawFd]) {
    let parent = nix::unistd::getpid();
    let inherit = inherit.to_vec();
    // SAFETY: the closure runs in the forked child before exec and makes only
    // async-signal-safe system calls; it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above took effect.
            if getppid() != parent {
                return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            for fd in &inherit {
                fcntl(*fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

/// Gives a child a session of its own, out of reach of the terminal's signals
/// and of signals to this process group.
pub(crate) fn detach(command: &mut Command) {
    // SAFETY: `setsid` is async-signal-safe and the closure does nothing else.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            Ok(())
        });
    }
}

/// Sends bytes with file descriptors attached to the first of them.
pub(crate) fn send_with_fds(
    stream: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(sent)
}

/// Receives bytes and what file descriptors came with them.
pub(crate) fn recv_with_fds(
    stream: &UnixStream,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            for fd in raw {
                // SAFETY: the kernel has just made this descriptor for this
                // process and nobody else knows its number.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok((message.bytes, fds))
}

/// This processor's time stamp counter, where there is one.
pub(crate) fn time_stamp_counter() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC reads a register, which Linux lets programs do.
    return Some(unsafe { std::arch::x86_64::_rdtsc() });
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// The size of the terminal behind a descriptor, if it is one.
pub(crate) fn window_size(fd: BorrowedFd<'_>) -> Option<WindowSize> {
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `winsize`, which `size` is, and the
    // descriptor is open for the length of the borrow.
    let result = unsafe { nix::libc::ioctl(fd.as_raw_fd(), nix::libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_row > 0).then_some(WindowSize {
        rows: size.ws_row,
        cols: size.ws_col,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_arrives_as_the_same_file() {
        let (left, right) = UnixStream::pair().expect("pair");
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        send_with_fds(&left, b"take", &[writer.as_fd()]).expect("send");
        drop(writer);
        let mut buffer = [0; 8];
        let (length, mut fds) = recv_with_fds(&right, &mut buffer).expect("receive");
        assert_eq!(&buffer[..length], b"take");
        let mut writer = File::from(fds.pop().expect("one descriptor"));
        writer.write_all(b"through").expect("write");
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).expect("read");
        assert_eq!(text, "through");
    }

    #[test]
    fn a_tied_child_dies_with_its_thread() {
        let mut child = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("1000");
            tie(&mut command, &[]);
            command.spawn().expect("sleep starts")
        })
        .join()
        .expect("thread");
        let status = child.wait().expect("wait");
        assert!(!status.success());
    }
}

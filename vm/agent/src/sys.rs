//! The calls that have no safe wrapper.

use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::Duration;

use nix::libc;
use rapidswap_protocol::{ExitStatus, WindowSize};

/// How many bytes a pipe holds, where the file can say.
pub(crate) fn readable_bytes(file: BorrowedFd<'_>) -> Option<usize> {
    let mut count: c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::FIONREAD, &mut count) };
    (result == 0).then(|| usize::try_from(count).unwrap_or(0))
}

/// Tells a terminal its size.
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) })
}

/// Has the child lead a session of its own, on the terminal that is its
/// standard input if there is one, with no signal blocked and, if the agent is
/// exempt from the OOM killer, without that exemption.
pub(crate) fn prepare_child(command: &mut Command, terminal: bool, exempt: bool) {
    let prepare = move || {
        // SAFETY: all of these are safe to call between fork and exec; the
        // set is initialised by sigemptyset, the strings end in NUL.
        unsafe {
            let mut none: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut none);
            check(libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut()))?;
            check(libc::setsid())?;
            if terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            if exempt {
                let path = c"/proc/self/oom_score_adj";
                let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                check(file)?;
                let written = libc::write(file, c"0".as_ptr().cast(), 1);
                libc::close(file);
                check(written as c_int)?;
            }
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) };
}

/// Takes the status of one child that has ended, if any has. (The wrapper in
/// nix fails for real-time signals.)
pub(crate) fn reap_child() -> Option<(i32, ExitStatus)> {
    let mut status: c_int = 0;
    // SAFETY: waitpid writes one int.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    let status = if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    };
    (pid > 0).then_some((pid, status))
}

/// Whether this process has any child.
pub(crate) fn has_children() -> bool {
    let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    // SAFETY: siginfo_t of zeroes is valid, and written by the call.
    unsafe {
        let mut info: libc::siginfo_t = mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &mut info, flags) == 0
    }
}

/// Signals a process group, unless it is gone or there is no such signal.
pub(crate) fn signal_group(leader: i32, signal: i32) {
    // SAFETY: kill takes no pointers.
    unsafe { libc::kill(-leader, signal) };
}

/// Waits for a signal to this process's children to be pending, or the time
/// to pass.
pub(crate) fn await_child_signal(limit: Duration) {
    let limit = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(limit.subsec_nanos()),
    };
    // SAFETY: the set is initialised before use; no siginfo is asked for.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigtimedwait(&set, ptr::null_mut(), &limit);
    }
}

/// Mixes `seed` into the kernel's random numbers, and has all that are given
/// out from now on depend on it.
pub(crate) fn reseed(random: BorrowedFd<'_>, seed: &[u8]) -> io::Result<()> {
    /// `struct rand_pool_info` with room for bytes.
    #[repr(C)]
    struct Entropy {
        bits: c_int,
        bytes: c_int,
        seed: [u8; SEED],
    }
    const SEED: usize = 64;
    let mut entropy = Entropy {
        bits: 0,
        bytes: 0,
        seed: [0; SEED],
    };
    let count = seed.len().min(SEED);
    entropy.seed[..count].copy_from_slice(&seed[..count]);
    entropy.bytes = count as c_int;
    entropy.bits = 8 * entropy.bytes;
    let (add, renew) = (
        nix::request_code_write!(b'R', 3, mem::size_of::<[c_int; 2]>()),
        nix::request_code_none!(b'R', 7),
    );
    // SAFETY: RNDADDENTROPY reads the two numbers and as many bytes after them
    // as the second one says, which are there.
    check(unsafe { libc::ioctl(random.as_raw_fd(), add, &raw const entropy) })?;
    // SAFETY: RNDRESEEDCRNG takes no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), renew) })
}

/// Brings the loopback interface up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an ifreq of zeroes is valid; both calls get an interface's name
    // in it and use only its flags.
    unsafe {
        let mut request: libc::ifreq = mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS,
            &mut request,
        ))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &request,
        ))
    }
}

/// Keeps the allocator to one arena: each further one would be locked in
/// memory with all of its reserve.
pub(crate) fn use_one_arena() {
    // SAFETY: called before there is a second thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

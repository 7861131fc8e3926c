//! Pages whose faults are handled by this process itself (userfaultfd).

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use nix::libc;

use super::Region;
use crate::pattern::{PAGE, WORDS};

/// The structures and requests of `linux/userfaultfd.h`.
mod sys {
    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Api {
        pub(super) api: u64,
        pub(super) features: u64,
        pub(super) ioctls: u64,
    }

    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Span {
        pub(super) start: u64,
        pub(super) length: u64,
    }

    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Register {
        pub(super) span: Span,
        pub(super) mode: u64,
        pub(super) ioctls: u64,
    }

    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Copy {
        pub(super) to: u64,
        pub(super) from: u64,
        pub(super) length: u64,
        pub(super) mode: u64,
        pub(super) copied: i64,
    }

    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Protect {
        pub(super) span: Span,
        pub(super) mode: u64,
    }

    nix::ioctl_readwrite!(api, 0xaa, 0x3f, Api);
    nix::ioctl_readwrite!(register, 0xaa, 0x00, Register);
    nix::ioctl_readwrite!(copy, 0xaa, 0x03, Copy);
    nix::ioctl_readwrite!(protect, 0xaa, 0x06, Protect);
}

const API: u64 = 0xaa;
const FEATURE_WRITE_PROTECTED: u64 = 1 << 0;
const REGISTER_MISSING: u64 = 1 << 0;
const REGISTER_WRITE_PROTECTED: u64 = 1 << 1;
const PROTECT: u64 = 1 << 0;

/// Bytes of one message, and where in it the event, its flags and its address
/// are.
const MESSAGE: usize = 32;
const EVENT: usize = 0;
const FLAGS: usize = 8;
const ADDRESS: usize = 16;

const PAGE_FAULT: u8 = 0x12;
const FAULT_WRITE_PROTECTED: u64 = 1 << 1;

/// What a thread of this process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A page that is nowhere yet.
    Missing(usize),
    /// Leave to write to a page that is protected.
    Protected(usize),
}

/// Pages of a region whose faults are told here.
#[derive(Debug)]
pub struct Userfault {
    file: File,
    /// Address of the region's first page.
    start: usize,
}

impl Userfault {
    /// Takes over the faults of `range`: those on pages that are in neither
    /// memory nor swap, and writes to pages that [`Userfault::protect`] names.
    pub fn register(region: &Region, range: Range<usize>) -> io::Result<Userfault> {
        let (start, length) = region.bounds(&range);
        // SAFETY: the call has one argument, a number.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        let fd = nix::Error::result(fd)? as RawFd;
        // SAFETY: the descriptor is new, and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        let mut api = sys::Api {
            api: API,
            features: FEATURE_WRITE_PROTECTED,
            ..sys::Api::default()
        };
        let mut register = sys::Register {
            span: sys::Span {
                start: start.as_ptr() as u64,
                length: length as u64,
            },
            mode: REGISTER_MISSING | REGISTER_WRITE_PROTECTED,
            ..sys::Register::default()
        };
        // SAFETY: both requests have the structure that they are for; the
        // second one changes no contents.
        unsafe {
            sys::api(file.as_raw_fd(), &raw mut api)?;
            sys::register(file.as_raw_fd(), &raw mut register)?;
        }
        let start = region.address();
        Ok(Userfault { file, start })
    }

    /// Waits for the next fault.
    pub fn next(&self) -> io::Result<Fault> {
        let mut message = [0; MESSAGE];
        (&self.file).read_exact(&mut message)?;
        if message[EVENT] != PAGE_FAULT {
            return Err(io::Error::other(format!("event {:#x}", message[EVENT])));
        }
        let page = (word(&message, ADDRESS) as usize - self.start) / PAGE;
        Ok(match word(&message, FLAGS) & FAULT_WRITE_PROTECTED {
            0 => Fault::Missing(page),
            _ => Fault::Protected(page),
        })
    }

    /// Gives a missing page its contents, and lets go on who waits for it.
    pub fn give(&self, page: usize, contents: &[u64; WORDS]) -> io::Result<()> {
        let mut copy = sys::Copy {
            to: self.span(page..page + 1).start,
            from: contents.as_ptr() as u64,
            length: PAGE as u64,
            ..sys::Copy::default()
        };
        // SAFETY: the source is a page of ours. The kernel writes to pages
        // that are registered and missing only: who reads one waits for it.
        unsafe { sys::copy(self.file.as_raw_fd(), &raw mut copy) }?;
        Ok(())
    }

    /// Has writes to `range` told here before they are made.
    pub fn protect(&self, range: Range<usize>) -> io::Result<()> {
        self.set(range, PROTECT)
    }

    /// Allows a protected page to be written, and lets go on who waits for it.
    pub fn allow(&self, page: usize) -> io::Result<()> {
        self.set(page..page + 1, 0)
    }

    fn set(&self, range: Range<usize>, mode: u64) -> io::Result<()> {
        let span = self.span(range);
        let mut protect = sys::Protect { span, mode };
        // SAFETY: the request has its structure and changes no contents.
        unsafe { sys::protect(self.file.as_raw_fd(), &raw mut protect) }?;
        Ok(())
    }

    fn span(&self, range: Range<usize>) -> sys::Span {
        sys::Span {
            start: (self.start + range.start * PAGE) as u64,
            length: (range.len() * PAGE) as u64,
        }
    }
}

fn word(message: &[u8; MESSAGE], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&message[at..at + 8]);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Kind;

    /// `None` where the kernel has no such faults, or not for every user.
    fn registered(region: &Region) -> Option<Userfault> {
        use io::ErrorKind::{PermissionDenied, Unsupported};
        match Userfault::register(region, 0..region.pages()) {
            Ok(userfault) => Some(userfault),
            Err(error) if matches!(error.kind(), PermissionDenied | Unsupported) => None,
            Err(error) => panic!("userfaultfd: {error}"),
        }
    }

    #[test]
    fn missing_pages_are_given_and_protected_ones_allowed() {
        let mut region = Region::map(Kind::Anonymous, 2).expect("mapping");
        region.store(0, &[1; WORDS]);
        let Some(userfault) = registered(&region) else {
            return;
        };
        userfault.protect(0..1).expect("protected");
        std::thread::scope(|scope| {
            let handler = scope.spawn(|| {
                let missing = userfault.next().expect("a fault");
                userfault.give(1, &[2; WORDS]).expect("given");
                let protected = userfault.next().expect("a fault");
                userfault.allow(0).expect("allowed");
                (missing, protected)
            });
            assert_eq!((region.load(0), region.load(1)), ([1; WORDS], [2; WORDS]));
            region.store(0, &[3; WORDS]);
            let seen = handler.join().expect("no panic");
            assert_eq!(seen, (Fault::Missing(1), Fault::Protected(0)));
        });
        assert_eq!(region.load(0), [3; WORDS]);
    }
}

//! An agent's port. A node that is reset has another agent behind the same
//! port, so a connection ends without the port's end.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{IoContext, Result};

/// This side's end of an agent's port.
pub(super) struct Port {
    stream: UnixStream,
    /// Closing it ends the connection that uses the port.
    current: Mutex<Option<UnixStream>>,
}

impl Port {
    /// Wraps the connected socket behind QEMU's port.
    pub(super) fn new(stream: UnixStream) -> Port {
        Port {
            stream,
            current: Mutex::new(None),
        }
    }

    /// What is at this side's end.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Both halves of a new connection; what used the port until now is at its
    /// end.
    pub(super) fn connect(&self) -> Result<(Half, Half)> {
        let problem = || "cannot share the agent's port".into();
        let (keep, ended) = UnixStream::pair().what(problem)?;
        let half = |ended: &UnixStream| {
            Ok::<_, io::Error>(Half {
                stream: self.stream.try_clone()?,
                ended: ended.try_clone()?,
            })
        };
        let halves = (half(&ended).what(problem)?, half(&ended).what(problem)?);
        self.replace(Some(keep));
        Ok(halves)
    }

    /// Ends the connection that uses the port.
    pub(super) fn cut(&self) {
        self.replace(None);
    }

    fn replace(&self, next: Option<UnixStream>) {
        let mut current = self.current.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(former) = std::mem::replace(&mut *current, next) {
            // Fails only if it is closed already.
            let _ = former.shutdown(Shutdown::Both);
        }
    }
}

/// One half of a connection through a port.
pub(super) struct Half {
    stream: UnixStream,
    /// Readable when the connection is at its end.
    ended: UnixStream,
}

impl Half {
    /// Waits until the port is ready, and says whether this is the end.
    fn ended_before(&self, ready: PollFlags) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(self.ended.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stream.as_fd(), ready),
        ];
        poll(&mut fds, PollTimeout::NONE)?;
        Ok(fds[0].any().unwrap_or(false))
    }
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.ended_before(PollFlags::POLLIN)? {
            true => Ok(0),
            false => self.stream.read(buffer),
        }
    }
}

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.ended_before(PollFlags::POLLOUT)? {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => self.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_connection_ends_and_the_next_one_goes_on() {
        let (ours, mut theirs) = UnixStream::pair().expect("pair");
        let port = Port::new(ours);
        let (mut reader, mut writer) = port.connect().expect("first");
        writer.write_all(b"one").expect("write");
        let mut buffer = [0; 3];
        theirs.read_exact(&mut buffer).expect("read");
        assert_eq!(&buffer, b"one");
        let waiting = thread::spawn(move || reader.read(&mut [0; 8]));
        let (mut second, _) = port.connect().expect("second");
        assert_eq!(waiting.join().expect("thread").expect("end"), 0);
        assert!(writer.write(b"late").is_err());
        theirs.write_all(b"two").expect("write");
        second.read_exact(&mut buffer).expect("read");
        assert_eq!(&buffer, b"two");
        port.cut();
        assert_eq!(second.read(&mut buffer).expect("end"), 0);
    }
}

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::{Channel, Control, Link};
use crate::frame::{Kind, MAX_PAYLOAD};
use crate::message::{self, Hello, Lane, MAX_EXEC, Settle, VERSION};
use crate::process::{Process, Stdin, Stream};
use crate::{Error, Exec};

/// A connection to the agent of one node. Clones share it; a thread of its own
/// reads the stream until that ends.
#[derive(Clone)]
pub struct Agent {
    link: Arc<Link>,
    hello: Arc<Hello>,
}

impl Agent {
    /// Begins a session on a stream which may be in any state: the agent ends
    /// what a former session left, detached commands excepted. Waits for its
    /// answer for up to `deadline`; the agent need not run yet when this
    /// begins.
    pub fn attach(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        deadline: Duration,
    ) -> Result<Agent, Error> {
        let until = Instant::now().checked_add(deadline);
        let link = Link::open(Box::new(reader), Box::new(writer), nonce()).map_err(|source| {
            Error::Local {
                action: "start a thread to read from the agent",
                source,
            }
        })?;
        link.greet()?;
        let hello = link.table.wait(until, |table| match table.hello.take() {
            Some(hello) => Some(Ok(hello)),
            None if table.gone => Some(Err(Error::Gone)),
            None => None,
        });
        let hello = hello.ok_or(Error::NoHello(deadline))??;
        if hello.version != VERSION {
            return Err(Error::Version {
                agent: hello.version,
                host: VERSION,
            });
        }
        Ok(Agent {
            link: Arc::new(link),
            hello: Arc::new(hello),
        })
    }

    /// What the agent said about itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether the stream has ended. Nothing works on it any more then.
    pub fn is_gone(&self) -> bool {
        self.link.table.lock().gone
    }

    /// Starts a command.
    pub fn exec(&self, request: Exec) -> Result<Process, Error> {
        let bytes = message::encode_exec(&request);
        if bytes.len() > MAX_EXEC {
            return Err(Error::TooLong(bytes.len()));
        }
        let control = Control::open(&self.link)?;
        let parts = bytes.len().div_ceil(MAX_PAYLOAD);
        for (index, part) in bytes.chunks(MAX_PAYLOAD).enumerate() {
            let more = index + 1 < parts;
            self.link
                .send_part(Kind::Exec, control.stream, part, more)?;
        }
        let pid = control.started()?;
        Ok(Process::new(control, pid, &request))
    }

    /// Writes all of `data` to a regular file in the node. The file appears
    /// under its name when it is complete; an old one is replaced.
    pub fn push(&self, path: &Path, mode: u32, data: &mut dyn Read) -> Result<(), Error> {
        let control = Arc::new(self.open(Kind::Push, &message::encode_push(mode, path))?);
        let mut file = Stdin::new(Arc::clone(&control));
        let mut buffer = vec![0; MAX_PAYLOAD];
        loop {
            let count = match data.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    // Closed before `file` can say that it is complete.
                    control.close();
                    let action = "read what is to be pushed";
                    return Err(Error::Local { action, source });
                }
            };
            if file.write_all(&buffer[..count]).is_err() {
                // The agent refused the rest; its reason follows.
                break;
            }
        }
        drop(file);
        complete(&control)
    }

    /// Reads a file of the node to its end.
    pub fn pull(&self, path: &Path, sink: &mut dyn Write) -> Result<(), Error> {
        let control = Arc::new(self.open(Kind::Pull, path.as_os_str().as_bytes())?);
        let mut file = Stream::new(Arc::clone(&control), Lane::Stdout);
        let mut buffer = vec![0; MAX_PAYLOAD];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => return Err(Error::Gone),
            };
            sink.write_all(&buffer[..count])
                .map_err(|source| Error::Local {
                    action: "store what was pulled",
                    source,
                })?;
        }
        complete(&control)
    }

    /// Gives the machine the time, random numbers of its own and a root file
    /// system it can write to. Only an agent that is process 1 does so.
    pub fn settle(&self, settle: &Settle) -> Result<(), Error> {
        complete(&self.open(Kind::Settle, &settle.encode())?)
    }

    /// Has the node end its processes, sync and power off. Returns when the
    /// agent has begun to; the end of the machine is for its owner to see.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.link.send(Kind::Shutdown, 0, &[])?;
        // A stream that ends first means the same.
        self.link.table.wait(None, |table| {
            (table.shutting_down || table.gone).then_some(())
        });
        Ok(())
    }

    fn open(&self, kind: Kind, request: &[u8]) -> Result<Control, Error> {
        if request.len() > MAX_PAYLOAD {
            return Err(Error::TooLong(request.len()));
        }
        let control = Control::open(&self.link)?;
        control.send(kind, request)?;
        control.started()?;
        Ok(control)
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent(process {})", self.hello.pid)
    }
}

/// Waits for the end of a push or pull, after which the agent has forgotten
/// the stream.
fn complete(control: &Control) -> Result<(), Error> {
    let done = control.until(None, |channel| channel.exit);
    done.unwrap_or(Err(Error::Gone))?;
    control.channel.update(Channel::end);
    Ok(())
}

/// Never 0, which is what an agent without a session uses. Each `RandomState`
/// has keys from the kernel's random numbers.
fn nonce() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

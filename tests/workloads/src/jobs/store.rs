//! A redis or memcached server of one's own, and a connection to it.

use std::io::{self, BufReader, BufWriter, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::memcached::{read_stored, read_value, write_get, write_set};
use crate::pattern::PAGE;
use crate::resp::{Reply, read_reply, write_command};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(60);

/// How long until it is asked again whether it does.
const AGAIN: Duration = Duration::from_millis(20);

/// A program that keeps values in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `redis-server`.
    Redis,
    /// `memcached`.
    Memcached,
}

impl Program {
    /// Not its usual one, which may be in use.
    fn port(self) -> u16 {
        match self {
            Program::Redis => 16379,
            Program::Memcached => 21211,
        }
    }

    /// Its command line, to keep `mib` MiB of values and write none to a file.
    fn command(self, mib: u32) -> Vec<String> {
        let (port, address) = (self.port(), Ipv4Addr::LOCALHOST);
        let line = match self {
            Program::Redis => format!(
                "redis-server --bind {address} --port {port} --appendonly no --dir /tmp --save"
            ),
            // As the only user there is; with sizes that begin where the values
            // are, of which others would waste much; and room for all of them.
            Program::Memcached => format!(
                "memcached -u root -l {address} -p {port} -U 0 -t 1 -n {PAGE} -m {}",
                2 * mib + 64
            ),
        };
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if self == Program::Redis {
            // No points in time to save at.
            words.push(String::new());
        }
        words
    }
}

/// A server that runs and is connected to. Dropped, it is killed.
pub struct Store {
    program: Program,
    server: Child,
    sink: BufWriter<TcpStream>,
    source: BufReader<TcpStream>,
}

impl Store {
    /// Starts one with room for `mib` MiB of values.
    pub fn start(program: Program, mib: u32) -> Result<Store> {
        let words = program.command(mib);
        let mut server = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", words[0]))?;
        let stream = connect(program.port(), &mut server).inspect_err(|_| end(&mut server))?;
        stream.set_nodelay(true)?;
        Ok(Store {
            program,
            sink: BufWriter::new(stream.try_clone()?),
            source: BufReader::new(stream),
            server,
        })
    }

    /// Stores a value.
    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        match self.program {
            Program::Redis => {
                write_command(&mut self.sink, &[b"SET", key.as_bytes(), value])?;
                self.sink.flush()?;
                let reply = read_reply(&mut self.source)?;
                ensure!(reply == Reply::Status("OK".into()), "redis: {reply:?}");
            }
            Program::Memcached => {
                write_set(&mut self.sink, key, value)?;
                self.sink.flush()?;
                read_stored(&mut self.source)?;
            }
        }
        Ok(())
    }

    /// A value, or `None` if there is none of that key.
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        match self.program {
            Program::Redis => {
                write_command(&mut self.sink, &[b"GET", key.as_bytes()])?;
                self.sink.flush()?;
                match read_reply(&mut self.source)? {
                    Reply::Bulk(value) => Ok(value),
                    other => bail!("redis: {other:?}"),
                }
            }
            Program::Memcached => {
                write_get(&mut self.sink, key)?;
                self.sink.flush()?;
                Ok(read_value(&mut self.source)?)
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        end(&mut self.server);
    }
}

fn end(server: &mut Child) {
    // It has nothing to lose; one that has ended already is no harm.
    let _ = server.kill();
    let _ = server.wait();
}

fn connect(port: u16, server: &mut Child) -> Result<TcpStream> {
    let until = Instant::now() + START;
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => {
                return Err(error).context("connect to the server");
            }
            Err(_) if Instant::now() >= until => bail!("the server does not listen"),
            Err(_) => {}
        }
        if let Some(status) = server.try_wait()? {
            bail!("the server ended: {status}");
        }
        thread::sleep(AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_write_no_files_and_listen_to_this_machine_alone() {
        assert_eq!(
            Program::Redis.command(24).join("|"),
            "redis-server|--bind|127.0.0.1|--port|16379|--appendonly|no|--dir|/tmp|--save|"
        );
        assert_eq!(
            Program::Memcached.command(24).join("|"),
            "memcached|-u|root|-l|127.0.0.1|-p|21211|-U|0|-t|1|-n|4096|-m|112"
        );
    }
}

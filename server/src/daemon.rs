//! The server as a process: waits for connections, signals and time.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rapidswap_verbs::{Error, memlock_limit};
use remoteswap_logic::size::Size;
use remoteswap_logic::slots::MIN_CHUNK_BYTES;
use tracing::{info, warn};

use crate::control::Control;
use crate::liveness;
use crate::pool::{self, Pool};
use crate::server::{Bound, Server};

/// What the server is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on, and the only one.
    pub listen: SocketAddr,
    /// Memory to lend.
    pub size: Size,
    /// Size of its pieces.
    pub chunk: Size,
    /// How long a lost client's memory is kept.
    pub grace: Duration,
    /// Where the control socket goes.
    pub control: Option<PathBuf>,
}

impl Options {
    /// Refuses sizes that cannot work.
    pub fn check(&self) -> Result<()> {
        if self.size.0 < MIN_CHUNK_BYTES {
            bail!("size {} is too small: lend at least 1M", self.size);
        }
        if self.size.0 % 4096 != 0 {
            bail!("size {} is not a multiple of 4096 bytes", self.size);
        }
        if !self.chunk.0.is_power_of_two() || self.chunk.0 < MIN_CHUNK_BYTES {
            bail!(
                "chunk size {} is not a power of two of at least 1M",
                self.chunk
            );
        }
        if self.listen.ip().is_unspecified() {
            bail!(
                "{} is not one address: give the address of the interface to serve on",
                self.listen.ip()
            );
        }
        if self.listen.port() == 0 {
            bail!("port 0 is not a port to listen on: give one from 1 to 65535");
        }
        Ok(())
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(options: &Options) -> Result<()> {
    options.check()?;
    // First the address, which may be taken; memory needs time.
    let bound = Bound::to(options.listen).map_err(|error| explain(error, options.listen))?;
    check_available(options.size)?;
    info!(size = %options.size, "taking memory");
    let chunks = pool::map(options.size.0, options.chunk.0)
        .with_context(|| format!("cannot get {} of memory: lend less", options.size))?;
    // That took minutes if it is a large machine's: until here a signal ends
    // the process, as nobody has been told of it. Before any thread is made, so
    // that all of them inherit it.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().context("block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("make a signal descriptor")?;
    let memory = Pool::new(chunks, options.chunk.0);
    warn_unlocked(&memory, options.size);
    let server = bound
        .serve(memory, options.grace)
        .map_err(|error| explain(error, options.listen))?;
    let epoch = server.epoch();
    let channel = server.channel().clone();
    let server = Arc::new(Mutex::new(server));
    let control = match &options.control {
        Some(path) => Some(
            Control::serve(path, server.clone())
                .with_context(|| format!("cannot serve control socket {}", path.display()))?,
        ),
        None => None,
    };
    let mut stdout = std::io::stdout();
    let _ = writeln!(
        stdout,
        "ready {} {} epoch={epoch:016x}",
        options.listen, options.size
    );
    let _ = stdout.flush();
    info!(listen = %options.listen, size = %options.size, chunk = %options.chunk, "ready");

    let mut next_check = Instant::now() + liveness::INTERVAL;
    loop {
        let expiry = lock(&server).next_expiry();
        let wake = expiry.map_or(next_check, |e| e.min(next_check));
        let left = wake.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for events"),
        }
        if let Ok(Some(signal)) = signals.read_signal() {
            info!(signal = signal.ssi_signo, "stopping");
            break;
        }
        if !lock(&server).handle_events()? {
            bail!("the RDMA device was removed");
        }
        let now = Instant::now();
        if now >= next_check {
            next_check = now + liveness::INTERVAL;
            lock(&server).check_clients();
        }
        lock(&server).expire(now);
    }
    drop(control);
    // Whatever thread still answers a control command holds the server too: end
    // the sessions here and not when the last one lets go.
    lock(&server).close();
    Ok(())
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Populating more than there is would not fail but have this or another process
/// killed.
fn check_available(size: Size) -> Result<()> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available(&meminfo) {
        Some(free) if size.0 > free => bail!(
            "cannot lend {size}: only {}M of this machine's memory is available; lend less",
            free >> 20
        ),
        _ => Ok(()),
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn warn_unlocked(memory: &Pool, size: Size) {
    let unlocked = memory.unlocked();
    if unlocked == 0 {
        return;
    }
    let limit = memlock_limit().map_or("unlimited".to_owned(), |l| Size(l).to_string());
    warn!(
        "{} of {size} could not be locked and clients may be refused: RLIMIT_MEMLOCK is {limit}; \
         raise it (ulimit -l, LimitMEMLOCK=) or run as root",
        Size(unlocked)
    );
}

fn explain(error: Error, listen: SocketAddr) -> anyhow::Error {
    let ip = listen.ip();
    match error.errno().map(Errno::from_raw) {
        Some(Errno::EADDRNOTAVAIL) => {
            anyhow!("{ip} is not an address of this machine: give one that `ip address` shows")
        }
        Some(Errno::EADDRINUSE) => anyhow!(
            "port {} on {ip} is in use: stop the other server or choose another port",
            listen.port()
        ),
        Some(Errno::ENODEV) => anyhow!(
            "no RDMA device has the address {ip}: add one, as with `rxe-setup link`, or load its driver"
        ),
        _ => anyhow!(error).context(format!("cannot listen on {listen}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory() {
        let text = "MemTotal:  500 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(text), Some(2 << 20));
        assert_eq!(available("MemTotal: 500 kB\n"), None);
        assert!(check_available(Size(u64::MAX)).is_err());
    }
}

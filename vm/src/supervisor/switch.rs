//! Passes the nodes' packets on, and loses, delays or stops them as it is
//! told. Whose a packet is and whose it is to be are in its hardware
//! addresses, so it does not matter by which socket it comes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::error::{IoContext, Result};
use crate::fault::LinkFaults;
use crate::qemu::device::MAC;

/// More than any frame with the largest MTU.
const FRAME: usize = 65_536;

/// Frames that wait for one node before more are dropped, as a switch drops
/// what does not fit.
const QUEUE: usize = 4096;

/// How long a node may leave its packets lying when the switch ends.
const PATIENCE: Duration = Duration::from_millis(100);

/// The last byte of node `index`'s hardware address.
pub(super) fn station(index: usize) -> u8 {
    index as u8 + 1
}

/// The path of a node's link socket.
pub(super) fn socket(run: &Path, node: &str) -> PathBuf {
    run.join(format!("{node}.link"))
}

/// The path of the socket that a node sends to where there are more than two.
pub(super) fn ingress(run: &Path, node: &str) -> PathBuf {
    run.join(format!("{node}.switch"))
}

/// A running switch. Dropped, it has passed on all that had come.
pub(super) struct Switch {
    faults: Arc<Mutex<LinkFaults>>,
    /// Its end is the thread's.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Joins nodes that send to sockets of the switch, for good. They need not
    /// run yet.
    pub(super) fn join(run: &Path, nodes: &[String]) -> Result<Switch> {
        let port = |node: &String| {
            let path = ingress(run, node);
            let port = UnixDatagram::bind(&path)
                .and_then(|socket| Port::new(node, &self::socket(run, node), socket));
            port.what(|| format!("cannot listen on {}", path.display()))
        };
        let ports = nodes.iter().map(port).collect::<Result<_>>()?;
        Switch::start(ports, LinkFaults::default())
    }

    /// Starts with `ports`, in the order of the nodes' stations.
    pub(super) fn start(ports: Vec<Port>, faults: LinkFaults) -> Result<Switch> {
        let (stop, stopped) = UnixStream::pair().what(|| "cannot make a socket".into())?;
        let faults = Arc::new(Mutex::new(faults));
        let forwarder = Forwarder::new(ports, Arc::clone(&faults));
        let thread = thread::Builder::new()
            .name("switch".into())
            .spawn(move || forwarder.run(&stopped))
            .what(|| "cannot start a thread".into())?;
        Ok(Switch {
            faults,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Changes what it does to packets.
    pub(super) fn set(&self, faults: LinkFaults) {
        *self.faults.lock().unwrap_or_else(|e| e.into_inner()) = faults;
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The switch's side of one node.
pub(super) struct Port {
    node: String,
    /// Where packets come in.
    ingress: UnixDatagram,
    /// Leads to the node, once there is one.
    out: UnixDatagram,
    path: PathBuf,
    connected: bool,
    /// Frames for the node, and when they are due, in that order.
    queue: VecDeque<(Instant, Vec<u8>)>,
}

impl Port {
    /// A port to the node whose own socket is, or will be, at `path`.
    pub(super) fn new(node: &str, path: &Path, ingress: UnixDatagram) -> io::Result<Port> {
        let out = UnixDatagram::unbound()?;
        out.set_nonblocking(true)?;
        ingress.set_nonblocking(true)?;
        Ok(Port {
            node: node.to_owned(),
            ingress,
            connected: out.connect(path).is_ok(),
            out,
            path: path.to_owned(),
            queue: VecDeque::new(),
        })
    }

    /// Fails if there is no node behind it yet.
    pub(super) fn require_node(&self) -> io::Result<()> {
        self.out.peer_addr().map(drop)
    }

    /// Sends all that is left, due or not.
    fn flush(&mut self) {
        let ready = self.out.set_nonblocking(false);
        if ready
            .and_then(|()| self.out.set_write_timeout(Some(PATIENCE)))
            .is_err()
        {
            return;
        }
        for (_, frame) in self.queue.drain(..) {
            if self.out.send(&frame).is_err() {
                return;
            }
        }
    }

    /// Sends what is due at `now`, until the node takes no more.
    fn deliver(&mut self, now: Instant) {
        if !self.connected {
            self.connected = self.out.connect(&self.path).is_ok();
        }
        while let Some((due, frame)) = self.queue.front() {
            if *due > now {
                return;
            }
            match self.out.send(frame) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A node that is gone, or not there yet, has lost it.
                _ => drop(self.queue.pop_front()),
            }
        }
    }

    /// How long until there is something to send; none if the node itself is
    /// waited for, or nothing is.
    fn rest(&self, now: Instant) -> Option<Duration> {
        let (due, _) = self.queue.front()?;
        due.checked_duration_since(now)
            .filter(|rest| !rest.is_zero())
    }

    /// Whether a frame waits for the node to take it.
    fn is_blocked(&self, now: Instant) -> bool {
        self.queue.front().is_some_and(|(due, _)| *due <= now)
    }
}

struct Forwarder {
    ports: Vec<Port>,
    faults: Arc<Mutex<LinkFaults>>,
}

impl Forwarder {
    fn new(ports: Vec<Port>, faults: Arc<Mutex<LinkFaults>>) -> Forwarder {
        Forwarder { ports, faults }
    }

    /// Forwards until the other end of `stopped` is closed.
    fn run(mut self, stopped: &UnixStream) {
        let mut buffer = vec![0; FRAME];
        loop {
            let stop = self.wait(stopped);
            for port in 0..self.ports.len() {
                self.drain(port, &mut buffer);
            }
            if stop {
                // Nothing is kept back from now on.
                self.ports.iter_mut().for_each(Port::flush);
                return;
            }
            let now = Instant::now();
            self.ports.iter_mut().for_each(|port| port.deliver(now));
        }
    }

    /// Waits for a packet, for one that is due, for a node that takes some
    /// again, or for the end, and says whether it is the end.
    fn wait(&self, stopped: &UnixStream) -> bool {
        let now = Instant::now();
        let rests = self.ports.iter().filter_map(|port| port.rest(now));
        let timeout = rests.min().map(TimeSpec::from_duration);
        let mut fds = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        for port in &self.ports {
            fds.push(PollFd::new(port.ingress.as_fd(), PollFlags::POLLIN));
            if port.is_blocked(now) {
                fds.push(PollFd::new(port.out.as_fd(), PollFlags::POLLOUT));
            }
        }
        // Interrupted or not, what there is gets looked at.
        let _ = ppoll(&mut fds, timeout, None);
        fds[0].any().unwrap_or(false)
    }

    /// Takes all that came in at a port.
    fn drain(&mut self, port: usize, buffer: &mut [u8]) {
        while let Ok(length) = self.ports[port].ingress.recv(buffer) {
            let frame = &buffer[..length];
            let Some(from) = sender(frame, self.ports.len()) else {
                continue;
            };
            match addressee(frame, self.ports.len()) {
                Some(to) => self.pass(from, to, frame),
                None => {
                    let others = (0..self.ports.len()).filter(|to| *to != from);
                    others.for_each(|to| self.pass(from, to, frame));
                }
            }
        }
    }

    /// Passes a frame on to one node, unless it is lost on the way.
    fn pass(&mut self, from: usize, to: usize, frame: &[u8]) {
        let faults = self.faults.lock().unwrap_or_else(|e| e.into_inner());
        let parted = faults.parted(&self.ports[from].node, &self.ports[to].node);
        let lost = parted || fastrand::f64() < faults.loss.share();
        let delay = faults.delay;
        drop(faults);
        let port = &mut self.ports[to];
        if lost || port.queue.len() >= QUEUE {
            return;
        }
        // One that overtook another would be taken for a loss.
        let due = Instant::now() + delay;
        let before = port.queue.back().map(|(before, _)| *before);
        let due = before.map_or(due, |before| due.max(before));
        port.queue.push_back((due, frame.to_vec()));
        port.deliver(Instant::now());
    }
}

/// Which node a frame comes from.
fn sender(frame: &[u8], nodes: usize) -> Option<usize> {
    node_of(frame.get(6..12)?, nodes)
}

/// Which node a frame is for; none if it is for all.
fn addressee(frame: &[u8], nodes: usize) -> Option<usize> {
    node_of(frame.get(..6)?, nodes)
}

/// The node with a hardware address.
fn node_of(address: &[u8], nodes: usize) -> Option<usize> {
    let (prefix, last) = address.split_at(MAC.len());
    (0..nodes).find(|&index| prefix == MAC && last == [station(index)])
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;

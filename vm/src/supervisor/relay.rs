//! A relay in the way of the nodes' packets, which loses, delays or stops
//! them. It is there only while something is asked of it.
//!
//! QEMU looks its peer's socket up by its path for every packet. The relay's
//! socket takes the place of the node's own in one rename, and gives it back
//! in another, so that no packet finds the path empty and QEMU knows nothing.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::{RenameFlags, renameat2};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::error::{IoContext, Result};
use crate::fault::LinkFaults;

/// More than any frame with the largest MTU.
const FRAME: usize = 65_536;

/// How long a node may leave its packets lying before they are dropped, as a
/// switch drops what does not fit.
const PATIENCE: Duration = Duration::from_millis(100);

/// The last byte of node `index`'s hardware address.
pub(super) fn station(index: usize) -> u8 {
    index as u8 + 1
}

/// The path of a node's link socket.
pub(super) fn socket(run: &Path, node: &str) -> PathBuf {
    run.join(format!("{node}.link"))
}

/// A relay between all nodes of a cluster. Dropped, it is out of the way.
pub(super) struct Relay {
    faults: Arc<Mutex<LinkFaults>>,
    ports: Vec<PathBuf>,
    /// Its end is the thread's.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Puts a relay between `nodes`, in the order of their stations.
    pub(super) fn insert(run: &Path, nodes: &[String], faults: LinkFaults) -> Result<Relay> {
        let (stop, stopped) = UnixStream::pair().what(|| "cannot make a socket".into())?;
        let mut relay = Relay {
            faults: Arc::new(Mutex::new(faults)),
            ports: Vec::new(),
            stop: Some(stop),
            thread: None,
        };
        let mut ports = Vec::new();
        for node in nodes {
            let path = socket(run, node);
            let port =
                Port::open(node, &path).what(|| format!("cannot relay {}", path.display()))?;
            // From here on the relay is in the way, and its drop undoes it.
            relay.ports.push(path);
            ports.push(port);
        }
        let faults = Arc::clone(&relay.faults);
        let body = move || Forwarder::new(ports, faults).run(&stopped);
        let thread = thread::Builder::new().name("relay".into()).spawn(body);
        relay.thread = Some(thread.what(|| "cannot start a thread".into())?);
        Ok(relay)
    }

    /// Changes what it does to packets.
    pub(super) fn set(&self, faults: LinkFaults) {
        *self.faults.lock().unwrap_or_else(|e| e.into_inner()) = faults;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for path in &self.ports {
            // The run directory may be on its way out with everything in it.
            let _ = exchange(path, &aside(path));
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for path in &self.ports {
            let _ = fs::remove_file(aside(path));
        }
    }
}

/// Where a node's own socket is while the relay has its place.
fn aside(path: &Path) -> PathBuf {
    path.with_extension("direct")
}

fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    Ok(renameat2(None, a, None, b, RenameFlags::RENAME_EXCHANGE)?)
}

/// The relay's side of one node.
struct Port {
    node: String,
    /// Has the packets for the node.
    socket: UnixDatagram,
    /// Leads to the node itself, whatever the paths are.
    out: UnixDatagram,
}

impl Port {
    fn open(node: &str, path: &Path) -> io::Result<Port> {
        let out = UnixDatagram::unbound()?;
        out.connect(path)?;
        out.set_write_timeout(Some(PATIENCE))?;
        let socket = UnixDatagram::bind(aside(path))?;
        socket.set_nonblocking(true)?;
        exchange(path, &aside(path)).inspect_err(|_| {
            let _ = fs::remove_file(aside(path));
        })?;
        Ok(Port {
            node: node.to_owned(),
            socket,
            out,
        })
    }
}

/// A packet on its way.
struct Late {
    due: Instant,
    port: usize,
    frame: Vec<u8>,
}

struct Forwarder {
    ports: Vec<Port>,
    faults: Arc<Mutex<LinkFaults>>,
    /// In the order in which they are due.
    late: VecDeque<Late>,
}

impl Forwarder {
    fn new(ports: Vec<Port>, faults: Arc<Mutex<LinkFaults>>) -> Forwarder {
        Forwarder {
            ports,
            faults,
            late: VecDeque::new(),
        }
    }

    /// Forwards until the other end of `stopped` is closed.
    fn run(mut self, stopped: &UnixStream) {
        let mut buffer = vec![0; FRAME];
        loop {
            let stop = self.wait(stopped);
            for port in 0..self.ports.len() {
                self.drain(port, &mut buffer);
            }
            self.deliver(Instant::now());
            if stop {
                // Nothing is kept back from now on.
                for late in &self.late {
                    self.send(late.port, &late.frame);
                }
                return;
            }
        }
    }

    /// Waits for a packet, for one that is due, or for the end, and says
    /// whether it is the end.
    fn wait(&self, stopped: &UnixStream) -> bool {
        let timeout = self.late.front().map(|late| {
            TimeSpec::from_duration(late.due.saturating_duration_since(Instant::now()))
        });
        let mut fds = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        let ports = self.ports.iter();
        fds.extend(ports.map(|port| PollFd::new(port.socket.as_fd(), PollFlags::POLLIN)));
        // Interrupted or not, what there is gets looked at.
        let _ = ppoll(&mut fds, timeout, None);
        fds[0].any().unwrap_or(false)
    }

    fn drain(&mut self, port: usize, buffer: &mut [u8]) {
        while let Ok(length) = self.ports[port].socket.recv(buffer) {
            let frame = &buffer[..length];
            let faults = self.faults.lock().unwrap_or_else(|e| e.into_inner());
            let from = sender(frame, self.ports.len()).map(|from| &self.ports[from].node);
            let parted = from.is_some_and(|from| faults.parted(from, &self.ports[port].node));
            let lost = parted || fastrand::f64() < faults.loss.share();
            let delay = faults.delay;
            drop(faults);
            if lost {
                continue;
            }
            if delay.is_zero() && self.late.is_empty() {
                self.send(port, frame);
                continue;
            }
            // One that overtook another would be taken for a loss.
            let before = self.late.back().map(|late| late.due);
            let due = Instant::now() + delay;
            self.late.push_back(Late {
                due: before.map_or(due, |before| due.max(before)),
                port,
                frame: frame.to_vec(),
            });
        }
    }

    fn deliver(&mut self, now: Instant) {
        while self.late.front().is_some_and(|late| late.due <= now) {
            if let Some(late) = self.late.pop_front() {
                self.send(late.port, &late.frame);
            }
        }
    }

    fn send(&self, port: usize, frame: &[u8]) {
        // A node that is gone, or does not take it in time, has lost it.
        let _ = self.ports[port].out.send(frame);
    }
}

/// Which node a frame comes from, by the hardware address of its sender.
fn sender(frame: &[u8], nodes: usize) -> Option<usize> {
    let last = *frame.get(11)?;
    (0..nodes).find(|&index| station(index) == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wire {
        _dir: tempfile::TempDir,
        run: PathBuf,
        nodes: Vec<UnixDatagram>,
    }

    fn delayed(delay: Duration) -> LinkFaults {
        LinkFaults {
            delay,
            ..LinkFaults::default()
        }
    }

    const NAMES: [&str; 2] = ["client", "server"];

    impl Wire {
        fn new() -> Wire {
            let dir = tempfile::tempdir().expect("directory");
            let run = dir.path().to_owned();
            let bind = |name: &&str| {
                let node = UnixDatagram::bind(socket(&run, name)).expect("bind");
                node.set_read_timeout(Some(Duration::from_secs(5)))
                    .expect("timeout");
                node
            };
            let nodes = NAMES.iter().map(bind).collect();
            Wire {
                _dir: dir,
                run,
                nodes,
            }
        }

        fn relay(&self, faults: LinkFaults) -> Relay {
            Relay::insert(&self.run, &NAMES.map(String::from), faults).expect("relay")
        }

        fn send(&self, from: usize, text: &str) {
            let mut frame = vec![0; 14];
            frame[11] = station(from);
            frame.extend(text.as_bytes());
            let to = socket(&self.run, NAMES[1 - from]);
            self.nodes[from].send_to(&frame, to).expect("send");
        }

        fn receive(&self, at: usize) -> String {
            let mut buffer = [0; 100];
            let length = self.nodes[at].recv(&mut buffer).expect("a packet");
            String::from_utf8_lossy(&buffer[14..length]).into_owned()
        }

        fn nothing_at(&self, at: usize) -> bool {
            self.nodes[at].set_nonblocking(true).expect("set");
            let nothing = self.nodes[at].recv(&mut [0; 100]).is_err();
            self.nodes[at].set_nonblocking(false).expect("set");
            nothing
        }
    }

    #[test]
    fn packets_pass_before_during_and_after() {
        let wire = Wire::new();
        wire.send(0, "before");
        assert_eq!(wire.receive(1), "before");
        let relay = wire.relay(LinkFaults::default());
        for number in 0..50 {
            wire.send(0, &format!("there {number}"));
            wire.send(1, &format!("back {number}"));
            assert_eq!(wire.receive(1), format!("there {number}"));
            assert_eq!(wire.receive(0), format!("back {number}"));
        }
        drop(relay);
        wire.send(1, "after");
        assert_eq!(wire.receive(0), "after");
        let left: Vec<_> = fs::read_dir(&wire.run).expect("list").collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_delay_is_kept() {
        let wire = Wire::new();
        let delay = Duration::from_millis(30);
        let _relay = wire.relay(delayed(delay));
        let start = Instant::now();
        wire.send(0, "late");
        assert_eq!(wire.receive(1), "late");
        assert!(start.elapsed() >= delay);
    }

    #[test]
    fn what_is_not_delayed_does_not_overtake() {
        let wire = Wire::new();
        let open = |node: &&str| Port::open(node, &socket(&wire.run, node)).expect("port");
        let faults = Arc::new(Mutex::new(delayed(Duration::from_secs(60))));
        let mut forwarder = Forwarder::new(NAMES.iter().map(open).collect(), Arc::clone(&faults));
        let mut buffer = vec![0; FRAME];
        wire.send(0, "first");
        forwarder.drain(1, &mut buffer);
        *faults.lock().expect("faults") = LinkFaults::default();
        wire.send(0, "second");
        forwarder.drain(1, &mut buffer);
        forwarder.deliver(Instant::now());
        assert!(wire.nothing_at(1));
        forwarder.deliver(Instant::now() + Duration::from_secs(61));
        assert_eq!(
            (wire.receive(1), wire.receive(1)),
            ("first".into(), "second".into())
        );
    }

    #[test]
    fn the_end_of_a_delay_loses_nothing() {
        let wire = Wire::new();
        let relay = wire.relay(delayed(Duration::from_secs(3600)));
        wire.send(0, "kept");
        drop(relay);
        assert_eq!(wire.receive(1), "kept");
    }

    #[test]
    fn a_partition_stops_both_directions() {
        let wire = Wire::new();
        let mut faults = LinkFaults::default();
        faults.part("client", "server");
        let relay = wire.relay(faults);
        wire.send(0, "lost");
        wire.send(1, "lost");
        // The relay has dealt with both when it ends.
        drop(relay);
        assert!(wire.nothing_at(0) && wire.nothing_at(1));
    }

    #[test]
    fn some_are_lost_and_the_others_arrive() {
        let wire = Wire::new();
        let loss = "50%".parse().expect("a share");
        let relay = wire.relay(LinkFaults {
            loss,
            ..LinkFaults::default()
        });
        let mut arrived = 0;
        let mut count = || {
            while !wire.nothing_at(1) {
                arrived += 1;
            }
        };
        for _ in 0..100 {
            wire.send(0, "x");
            count();
        }
        drop(relay);
        count();
        // All of them or none: one in 2^99.
        assert!(arrived > 0 && arrived < 100, "{arrived}");
    }
}

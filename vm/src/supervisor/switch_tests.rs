use std::fs;

use super::super::relay::Relay;
use super::*;

const PAIR: &[&str] = &["client", "server"];
const THREE: &[&str] = &["client", "server", "server2"];
const ALL: u8 = 0xff;

/// Nodes without a kernel: a socket each.
struct Wire {
    _dir: tempfile::TempDir,
    run: PathBuf,
    names: Vec<String>,
    nodes: Vec<UnixDatagram>,
}

fn delayed(delay: Duration) -> LinkFaults {
    LinkFaults {
        delay,
        ..LinkFaults::default()
    }
}

fn parted(a: &str, b: &str) -> LinkFaults {
    let mut faults = LinkFaults::default();
    faults.part(a, b);
    faults
}

impl Wire {
    fn new(names: &[&str]) -> Wire {
        let dir = tempfile::tempdir().expect("directory");
        let run = dir.path().to_owned();
        let bind = |name: &&str| {
            let node = UnixDatagram::bind(socket(&run, name)).expect("bind");
            let timeout = Some(Duration::from_secs(5));
            node.set_read_timeout(timeout).expect("timeout");
            node.set_write_timeout(timeout).expect("timeout");
            node
        };
        Wire {
            nodes: names.iter().map(bind).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            _dir: dir,
            run,
        }
    }

    fn relay(&self, faults: LinkFaults) -> Relay {
        Relay::insert(&self.run, &self.names, faults).expect("relay")
    }

    /// A frame from one node for the station `to`, sent to a socket.
    fn send_to(&self, from: usize, to: u8, path: &Path, text: &str) {
        let mut frame = Vec::new();
        match to {
            ALL => frame.extend([ALL; 6]),
            to => frame.extend(MAC.iter().chain(&[to])),
        }
        frame.extend(MAC.iter().chain(&[station(from)]));
        frame.extend([0, 0]);
        frame.extend(text.as_bytes());
        self.nodes[from].send_to(&frame, path).expect("send");
    }

    /// Straight to the other node of two.
    fn send(&self, from: usize, text: &str) {
        let to = 1 - from;
        let path = socket(&self.run, &self.names[to]);
        self.send_to(from, station(to), &path, text);
    }

    /// Through the switch.
    fn switched(&self, from: usize, to: u8, text: &str) {
        self.send_to(from, to, &ingress(&self.run, &self.names[from]), text);
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
fn packets_pass_before_during_and_after_a_relay() {
    let wire = Wire::new(PAIR);
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
    let wire = Wire::new(PAIR);
    let delay = Duration::from_millis(30);
    let _relay = wire.relay(delayed(delay));
    let start = Instant::now();
    wire.send(0, "late");
    assert_eq!(wire.receive(1), "late");
    assert!(start.elapsed() >= delay);
}

#[test]
fn what_is_not_delayed_does_not_overtake() {
    let wire = Wire::new(PAIR);
    let open = |name: &&str| {
        let ingress = UnixDatagram::bind(ingress(&wire.run, name)).expect("bind");
        Port::new(name, &socket(&wire.run, name), ingress).expect("port")
    };
    let faults = Arc::new(Mutex::new(delayed(Duration::from_secs(60))));
    let mut forwarder = Forwarder::new(PAIR.iter().map(open).collect(), Arc::clone(&faults));
    let mut buffer = vec![0; FRAME];
    wire.switched(0, station(1), "first");
    forwarder.drain(0, &mut buffer);
    *faults.lock().expect("faults") = LinkFaults::default();
    wire.switched(0, station(1), "second");
    forwarder.drain(0, &mut buffer);
    assert!(wire.nothing_at(1));
    forwarder.ports[1].deliver(Instant::now() + Duration::from_secs(61));
    assert_eq!(
        (wire.receive(1), wire.receive(1)),
        ("first".into(), "second".into())
    );
}

#[test]
fn the_end_of_a_delay_loses_nothing() {
    let wire = Wire::new(PAIR);
    let relay = wire.relay(delayed(Duration::from_secs(3600)));
    wire.send(0, "kept");
    drop(relay);
    assert_eq!(wire.receive(1), "kept");
}

#[test]
fn a_partition_stops_both_directions() {
    let wire = Wire::new(PAIR);
    let relay = wire.relay(parted("client", "server"));
    wire.send(0, "lost");
    wire.send(1, "lost");
    // The relay has dealt with both when it ends.
    drop(relay);
    assert!(wire.nothing_at(0) && wire.nothing_at(1));
}

#[test]
fn some_are_lost_and_the_others_arrive() {
    let wire = Wire::new(PAIR);
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

#[test]
fn a_switch_passes_each_frame_to_its_node_and_others_to_all() {
    let wire = Wire::new(THREE);
    let switch = Switch::join(&wire.run, &wire.names).expect("switch");
    wire.switched(0, station(2), "for server2");
    wire.switched(2, station(1), "for server");
    wire.switched(1, ALL, "for all");
    drop(switch);
    assert_eq!(wire.receive(2), "for server2");
    assert_eq!(wire.receive(1), "for server");
    assert_eq!(wire.receive(0), "for all");
    assert_eq!(wire.receive(2), "for all");
    for node in 0..3 {
        assert!(wire.nothing_at(node), "{node}");
    }
}

#[test]
fn a_partition_of_one_pair_leaves_the_others() {
    let wire = Wire::new(THREE);
    let switch = Switch::join(&wire.run, &wire.names).expect("switch");
    switch.set(parted("server2", "client"));
    wire.switched(0, ALL, "from the client");
    wire.switched(2, ALL, "from server2");
    drop(switch);
    assert_eq!(wire.receive(1), "from the client");
    assert_eq!(wire.receive(1), "from server2");
    assert!(wire.nothing_at(0) && wire.nothing_at(2));
}

#[test]
fn a_node_that_takes_nothing_stops_no_other_and_gets_it_later() {
    let wire = Wire::new(THREE);
    let _switch = Switch::join(&wire.run, &wire.names).expect("switch");
    // More than a socket keeps, so that the switch has to.
    for number in 0..600 {
        wire.switched(0, station(1), &format!("{number}"));
        wire.switched(0, station(2), &format!("{number}"));
        assert_eq!(wire.receive(2), format!("{number}"));
    }
    for number in 0..600 {
        assert_eq!(wire.receive(1), format!("{number}"));
    }
}

#[test]
fn a_node_may_come_after_the_switch() {
    let dir = tempfile::tempdir().expect("directory");
    let run = dir.path();
    let names = PAIR.iter().map(|name| (*name).to_owned());
    let _switch = Switch::join(run, &names.collect::<Vec<_>>()).expect("switch");
    let bind = |name| UnixDatagram::bind(socket(run, name)).expect("bind");
    let wire = Wire {
        nodes: vec![bind("client"), bind("server")],
        names: vec!["client".into(), "server".into()],
        run: run.to_owned(),
        _dir: dir,
    };
    wire.switched(0, station(1), "hello");
    assert_eq!(wire.receive(1), "hello");
}

//! `rxe-setup prove`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rapidswap_cli::{print, say};
use rapidswap_verbs::{Event, EventChannel, EventKind, Id, dial};
use serde::Serialize;

use crate::cli::Sides;
use crate::exchange::{Hello, Note, PAGE};
use crate::peer::{Extent, Peer};
use crate::sysfs::{ROOT, ports};

/// Pause before another attempt: nothing tells when the other side is there.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one attempt may take at least before another is made.
const ATTEMPT: Duration = Duration::from_secs(8);
/// And which part of all the time: who gives much has a slow machine.
const ATTEMPTS: u32 = 8;

/// How long after the deadline a call may still take to come back.
const SLACK: Duration = Duration::from_secs(3);

/// What a proof showed.
#[derive(Debug, Serialize)]
pub struct Report {
    ok: bool,
    role: &'static str,
    device: String,
    reads: u32,
    writes: u32,
    peer_reads: u32,
    peer_writes: u32,
    bytes_compared: u64,
    bad_bytes: u64,
    attempts: u32,
    seconds: f64,
    counters: BTreeMap<String, u64>,
}

/// What both sides together found in one completed round.
#[derive(Clone, Debug)]
pub struct Findings {
    bad_bytes: u64,
    seconds: f64,
}

/// Two sides that have completed their first round.
#[derive(Debug)]
pub struct Met {
    /// This one.
    pub peer: Peer,
    /// Where the other one's memory is.
    pub other: Hello,
    /// The device that it is over.
    pub device: String,
    /// What the round showed.
    pub found: Findings,
    /// How many attempts it took.
    pub attempts: u32,
}

/// The time that a proof has.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    deadline: Instant,
    attempt: Duration,
}

impl Time {
    /// As much from now on.
    fn of(whole: Duration) -> Time {
        Time {
            deadline: Instant::now() + whole,
            attempt: ATTEMPT.max(whole / ATTEMPTS),
        }
    }

    /// When it is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When an attempt that begins now ends.
    fn attempt(&self) -> Instant {
        self.deadline.min(Instant::now() + self.attempt)
    }
}

/// Proves the link and says how it went.
pub fn run(sides: &Sides, count: u32) -> Result<()> {
    in_time(sides, |time| {
        let met = meet(sides, Extent { count, rounds: 1 }, time)?;
        let report = Report::of(role(sides), count, &met);
        print(serde_json::to_string(&report)?)?;
        tell(&report);
        report.verdict()
    })
}

/// Does something in the time that a side has for it.
pub fn in_time<T>(sides: &Sides, act: impl FnOnce(Time) -> Result<T>) -> Result<T> {
    let time = Time::of(Duration::from_secs(sides.deadline));
    let _watch = watch(time);
    act(time)
}

/// Connects the two sides and has them complete their first round.
pub fn meet(sides: &Sides, extent: Extent, time: Time) -> Result<Met> {
    match (sides.listen, sides.connect) {
        (Some(address), _) => listen(address, extent, time),
        (_, Some(address)) => connect(address, extent, time),
        (None, None) => bail!("neither --listen nor --connect was given"),
    }
}

/// What a side does.
pub fn role(sides: &Sides) -> &'static str {
    if sides.listen.is_some() {
        "listen"
    } else {
        "connect"
    }
}

impl Report {
    /// Of the round of `count` pages that two sides have completed last.
    pub fn of(role: &'static str, count: u32, met: &Met) -> Report {
        Report {
            ok: met.found.bad_bytes == 0,
            role,
            counters: counters(&met.device),
            device: met.device.clone(),
            reads: count,
            writes: count,
            peer_reads: count,
            peer_writes: count,
            bytes_compared: 4 * u64::from(count) * PAGE as u64,
            bad_bytes: met.found.bad_bytes,
            attempts: met.attempts,
            seconds: met.found.seconds,
        }
    }

    /// An error unless every byte was right.
    pub fn verdict(&self) -> Result<()> {
        ensure!(
            self.ok,
            "{} of {} bytes arrived wrong: do not use this link",
            self.bad_bytes,
            self.bytes_compared
        );
        Ok(())
    }
}

/// Ends the process if what this returns is still there some time after its end:
/// some calls into the kernel take no deadline (on iWARP, connecting waits for TCP).
fn watch(time: Time) -> Sender<()> {
    let (over, ended) = mpsc::channel();
    let left = (time.deadline + SLACK).saturating_duration_since(Instant::now());
    std::thread::spawn(move || {
        if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            say(
                "rxe-setup: no proof: the kernel does not come back from connecting or closing; see its log",
            );
            std::process::exit(1);
        }
    });
    over
}

fn tell(report: &Report) {
    say(format_args!(
        "{}: {} READs and {} WRITEs of {PAGE} bytes each way in {:.2} s, attempt {}, {} bytes compared, {} wrong",
        report.device,
        report.reads,
        report.writes,
        report.seconds,
        report.attempts,
        report.bytes_compared,
        report.bad_bytes
    ));
    let counters: Vec<String> = report
        .counters
        .iter()
        .filter(|(_, value)| **value != 0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !counters.is_empty() {
        say(format_args!("{}: {}", report.device, counters.join(", ")));
    }
}

fn counters(device: &str) -> BTreeMap<String, u64> {
    let ports = ports(Path::new(ROOT)).unwrap_or_default();
    ports
        .iter()
        .find(|port| port.device == device)
        .map(|port| port.counters())
        .unwrap_or_default()
}

fn connect(address: SocketAddr, extent: Extent, time: Time) -> Result<Met> {
    let deadline = time.deadline;
    let mut attempts = 0;
    let mut why = None;
    loop {
        attempts += 1;
        match attempt(address, extent, time.attempt()) {
            Ok(met) => return Ok(Met { attempts, ..met }),
            // What the deadline cut short says less than the attempt before it.
            Err(error) if why.is_none() || Instant::now() < deadline => why = Some(error),
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= deadline {
            let why = why.unwrap_or_else(|| anyhow!("no attempt was made"));
            return Err(why.context(format!("no proof with {address} after {attempts} attempts")));
        }
        std::thread::sleep(PAUSE);
    }
}

fn attempt(address: SocketAddr, extent: Extent, deadline: Instant) -> Result<Met> {
    let channel = EventChannel::new()?;
    let id = dial(&channel, address, deadline)?;
    let device = id.device().context("the connection has no device")?;
    let mut peer = Peer::new(id, &channel, extent, deadline)?;
    let other = peer.connect()?;
    let found = lead(&mut peer, &other, 0)?;
    Ok(Met {
        peer,
        other,
        device,
        found,
        attempts: 1,
    })
}

/// The part in a round of the side that connected.
pub fn lead(peer: &mut Peer, other: &Hello, round: u16) -> Result<Findings> {
    let start = Instant::now();
    let mine = Note {
        bad_read: peer.take_turn(other, round)?,
        bad_written: 0,
    };
    peer.send(mine)?;
    let theirs = peer.receive()?;
    let last = Note {
        bad_written: peer.check_written(other, round)?,
        ..mine
    };
    peer.send(last)?;
    Ok(findings(last, theirs, start))
}

fn listen(address: SocketAddr, extent: Extent, time: Time) -> Result<Met> {
    let channel = EventChannel::new()?;
    let listener = Id::new(&channel)?;
    let listening = listener.bind(address).and_then(|()| listener.listen(4));
    listening.with_context(|| {
        format!("cannot listen on {address}: it must be an address of an RDMA device here, its port free")
    })?;
    let mut attempts = 0;
    let mut pending = None;
    let mut last_error = None;
    loop {
        let event = match pending.take() {
            Some(event) => event,
            None => match channel.next(time.deadline, "nobody connected") {
                Ok(event) => event,
                Err(error) => {
                    let error = last_error.unwrap_or_else(|| anyhow!(error));
                    return Err(
                        error.context(format!("no proof on {address} after {attempts} attempts"))
                    );
                }
            },
        };
        let Event {
            kind: EventKind::ConnectRequest { id, .. },
            private_data,
            ..
        } = event
        else {
            continue;
        };
        attempts += 1;
        let end = time.attempt();
        match answer(
            Arc::new(id),
            &private_data,
            &channel,
            extent,
            end,
            &mut pending,
        ) {
            Ok(met) => return Ok(Met { attempts, ..met }),
            Err(error) => last_error = Some(error),
        }
    }
}

fn answer(
    id: Arc<Id>,
    private_data: &[u8],
    channel: &EventChannel,
    extent: Extent,
    deadline: Instant,
    pending: &mut Option<Event>,
) -> Result<Met> {
    let device = id.device().context("the connection has no device")?;
    let mut peer = Peer::new(id, channel, extent, deadline)?;
    let exchange = |peer: &mut Peer| {
        let other = peer.accept(private_data)?;
        let found = follow(peer, &other, 0)?;
        if extent.rounds == 1 {
            peer.part()?;
        }
        Ok((other, found))
    };
    let outcome = exchange(&mut peer);
    *pending = peer.next_request.take();
    outcome.map(|(other, found)| Met {
        peer,
        other,
        device,
        found,
        attempts: 1,
    })
}

/// The part in a round of the side that listened.
pub fn follow(peer: &mut Peer, other: &Hello, round: u16) -> Result<Findings> {
    let first = peer.receive()?;
    let start = Instant::now();
    let bad_written = peer.check_written(other, round)?;
    let mine = Note {
        bad_read: peer.take_turn(other, round)?,
        bad_written,
    };
    peer.post(mine)?;
    let last = peer.receive()?;
    let theirs = Note {
        bad_written: last.bad_written,
        ..first
    };
    Ok(findings(mine, theirs, start))
}

fn findings(mine: Note, theirs: Note, start: Instant) -> Findings {
    Findings {
        bad_bytes: [
            mine.bad_read,
            mine.bad_written,
            theirs.bad_read,
            theirs.bad_written,
        ]
        .iter()
        .fold(0, |sum, bad| sum.saturating_add(*bad)),
        seconds: start.elapsed().as_secs_f64(),
    }
}

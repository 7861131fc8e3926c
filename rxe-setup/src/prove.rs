//! `rxe-setup prove`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rapidswap_cli::{print, say};
use rapidswap_verbs::{Event, EventChannel, EventKind, Id, dial};
use serde::Serialize;

use crate::cli::Sides;
use crate::exchange::{Note, PAGE};
use crate::peer::Peer;
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
struct Report {
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

/// What both sides together found in one completed exchange.
#[derive(Clone, Debug)]
struct Findings {
    device: String,
    bad_bytes: u64,
    seconds: f64,
}

/// The time that a proof has.
#[derive(Clone, Copy)]
struct Time {
    deadline: Instant,
    attempt: Duration,
}

impl Time {
    fn of(whole: Duration) -> Time {
        Time {
            deadline: Instant::now() + whole,
            attempt: ATTEMPT.max(whole / ATTEMPTS),
        }
    }

    /// When an attempt that begins now ends.
    fn attempt(&self) -> Instant {
        self.deadline.min(Instant::now() + self.attempt)
    }
}

/// Proves the link and says how it went.
pub fn run(sides: &Sides, count: u32) -> Result<()> {
    let time = Time::of(Duration::from_secs(sides.deadline));
    watch(time.deadline + SLACK);
    let (role, (findings, attempts)) = match (sides.listen, sides.connect) {
        (Some(address), _) => ("listen", listen(address, count, time)?),
        (_, Some(address)) => ("connect", connect(address, count, time)?),
        (None, None) => bail!("neither --listen nor --connect was given"),
    };
    let report = Report {
        ok: findings.bad_bytes == 0,
        role,
        counters: counters(&findings.device),
        device: findings.device,
        reads: count,
        writes: count,
        peer_reads: count,
        peer_writes: count,
        bytes_compared: 4 * u64::from(count) * PAGE as u64,
        bad_bytes: findings.bad_bytes,
        attempts,
        seconds: findings.seconds,
    };
    print(serde_json::to_string(&report)?)?;
    tell(&report);
    if report.ok {
        Ok(())
    } else {
        bail!(
            "{} of {} bytes arrived wrong: do not use this link",
            report.bad_bytes,
            report.bytes_compared
        )
    }
}

/// Ends the process at `end` if it is still there: some calls into the kernel
/// take no deadline (on iWARP, connecting waits for TCP).
fn watch(end: Instant) {
    std::thread::spawn(move || {
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        say(
            "rxe-setup: no proof: the kernel does not come back from connecting or closing; see its log",
        );
        std::process::exit(1);
    });
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

fn connect(address: SocketAddr, count: u32, time: Time) -> Result<(Findings, u32)> {
    let deadline = time.deadline;
    let mut attempts = 0;
    let mut why = None;
    loop {
        attempts += 1;
        match attempt(address, count, time.attempt()) {
            Ok(findings) => return Ok((findings, attempts)),
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

fn attempt(address: SocketAddr, count: u32, deadline: Instant) -> Result<Findings> {
    let channel = EventChannel::new()?;
    let id = dial(&channel, address, deadline)?;
    let device = id.device().context("the connection has no device")?;
    let mut peer = Peer::new(id, &channel, count, deadline)?;
    let other = peer.connect()?;
    let start = Instant::now();
    let mine = Note {
        bad_read: peer.take_turn(&other)?,
        bad_written: 0,
    };
    peer.send(mine)?;
    let theirs = peer.receive(0)?;
    let last = Note {
        bad_written: peer.check_written(&other)?,
        ..mine
    };
    peer.send(last)?;
    Ok(findings(device, last, theirs, start))
}

fn listen(address: SocketAddr, count: u32, time: Time) -> Result<(Findings, u32)> {
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
            count,
            end,
            &mut pending,
        ) {
            Ok(findings) => return Ok((findings, attempts)),
            Err(error) => last_error = Some(error),
        }
    }
}

fn answer(
    id: Arc<Id>,
    private_data: &[u8],
    channel: &EventChannel,
    count: u32,
    deadline: Instant,
    pending: &mut Option<Event>,
) -> Result<Findings> {
    let device = id.device().context("the connection has no device")?;
    let mut peer = Peer::new(id, channel, count, deadline)?;
    let exchange = |peer: &mut Peer| {
        let other = peer.accept(private_data)?;
        let first = peer.receive(0)?;
        let start = Instant::now();
        let bad_written = peer.check_written(&other)?;
        let mine = Note {
            bad_read: peer.take_turn(&other)?,
            bad_written,
        };
        peer.post(mine)?;
        let last = peer.receive(1)?;
        let theirs = Note {
            bad_written: last.bad_written,
            ..first
        };
        let found = findings(device, mine, theirs, start);
        peer.part()?;
        Ok(found)
    };
    let outcome = exchange(&mut peer);
    *pending = peer.next_request.take();
    outcome
}

fn findings(device: String, mine: Note, theirs: Note, start: Instant) -> Findings {
    Findings {
        device,
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

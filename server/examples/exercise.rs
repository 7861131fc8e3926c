//! Puts a running server through its promises, over a real link.
//!
//! `exercise --connect ADDR:PORT`, with a server that nobody else uses and that
//! was started with `--size 8M --chunk 1M`. Prints a line for each promise and
//! ends with status 1 at the first that is broken.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rand::random;
use remoteswap_logic::wire::Reason;
use remoteswap_server::client::{ClientError, Session};

const PAGE: usize = 4096;
const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// Puts a running server (`--size 8M --chunk 1M`) through its promises.
#[derive(Parser)]
struct Cli {
    /// The server.
    #[arg(long)]
    connect: SocketAddr,
}

fn main() -> Result<()> {
    let server = Cli::parse().connect;
    let (a, b): (u64, u64) = (random(), random());

    let mut first = enter(server, a, 1, 2 * MIB)?;
    ensure!(!first.rep().lease_kept() && first.rep().capacity_bytes == 2 * MIB);
    for slot in 0..512 {
        first.store(slot, &page(slot))?;
    }
    check(&first, 0..512)?;
    ensure!(matches!(
        first.store(512, &page(0)),
        Err(ClientError::NoSlot)
    ));
    println!("stores come back");

    let second = enter(server, a, 2, 2 * MIB)?;
    ensure!(second.rep().lease_kept() && second.rep().lease == first.rep().lease);
    first
        .store
        .wait_closed(LIMIT)
        .context("the old session hears nothing")?;
    first.store.limit = Duration::from_millis(500);
    ensure!(
        first.store(0, &page(7)).is_err(),
        "the old session still writes"
    );
    check(&second, 0..512)?;
    println!("a new session fences the old one and finds its pages");

    for session in [1, 2] {
        expect(refused(server, a, session, 0), Reason::StaleSession)?;
    }
    println!("an old session number is refused");

    let old = first.place(0)?;
    ensure!(
        second.load.read(old, &mut [0; 8]).is_err(),
        "an old key still opens"
    );
    drop((first, second));
    let third = enter(server, a, 3, 2 * MIB)?;
    check(&third, 0..512)?;
    println!("old keys are void, and a broken session comes back");

    let other = enter(server, b, 1, MIB)?;
    ensure!(other.load(0)? == [0; PAGE], "memory was not empty");
    ensure!(
        other.load.read(third.place(0)?, &mut [0; 8]).is_err(),
        "another client's key opens"
    );
    drop(other);
    check(&third, 0..512)?;
    println!("clients do not see each other, and one that fails costs the other nothing");

    // B keeps 1 MiB for its grace time, A has 2 of 8.
    third.release()?;
    let c = eventually(|| {
        let all = enter(server, random(), 1, 0)?;
        if all.rep().capacity_bytes == 7 * MIB {
            return Ok(all);
        }
        all.release()?;
        bail!("memory that was released has not come back")
    })?;
    for slot in 0..7 * 256 {
        ensure!(
            c.load(slot)? == [0; PAGE],
            "slot {slot} holds another client's page"
        );
    }
    println!("released memory is lent again, zeroed");

    expect(refused(server, random(), 1, 0), Reason::NoMemory)?;
    c.release()?;
    enter(server, b, 2, MIB)?.release()?;
    let all = eventually(|| {
        let all = enter(server, random(), 1, 0)?;
        if all.rep().capacity_bytes == 8 * MIB {
            return Ok(all);
        }
        all.release()?;
        bail!("memory is missing")
    })?;
    all.release()?;
    println!("what is not there is not lent, and nothing is lost");
    Ok(())
}

fn enter(server: SocketAddr, client: u64, session: u64, wanted: u64) -> Result<Session> {
    Session::enter(server, client, session, wanted, LIMIT)
        .with_context(|| format!("session {session} of {client:x}"))
}

fn refused(server: SocketAddr, client: u64, session: u64, wanted: u64) -> Result<Reason> {
    match Session::enter(server, client, session, wanted, LIMIT) {
        Err(ClientError::Refused { reason, .. }) => Ok(reason),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("session {session} of {client:x} was let in"),
    }
}

fn expect(got: Result<Reason>, wanted: Reason) -> Result<()> {
    let got = got?;
    ensure!(got == wanted, "refused with `{got}`, not `{wanted}`");
    Ok(())
}

/// The server learns of a departure by a message of its own.
fn eventually<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

fn check(session: &Session, slots: std::ops::Range<u64>) -> Result<()> {
    for slot in slots {
        ensure!(session.load(slot)? == page(slot), "slot {slot} is wrong");
    }
    Ok(())
}

fn page(slot: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    for (i, word) in page.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(((slot + 1) << 16) | i as u64).to_le_bytes());
    }
    page
}

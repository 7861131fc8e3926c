//! Touches memory, lets the kernel page it out, and checks every byte of what
//! comes back; measures faults and page-outs.
//!
//! Results are one JSON line on stdout. Exit status: 0 all bytes right, 1
//! corrupt bytes, 2 the check itself could not be made.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;
use rapidswap_workloads::memory::{Kind, Region, fork};
use rapidswap_workloads::pagemap::{Place, places};
use rapidswap_workloads::pattern::{PAGE, Pattern, Tally, WORDS};
use rapidswap_workloads::percentiles::Percentiles;
use rapidswap_workloads::shuffle::shuffled;
use rapidswap_workloads::steps::{Performer, serve};
use rapidswap_workloads::writeback::settle;
use serde::Serialize;
use serde_json::json;

#[derive(Parser)]
#[command(
    version,
    about = "Checks that memory under pressure keeps its contents"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fill memory and check every byte of it.
    Verify(Verify),
    /// Time single random faults on memory that was paged out.
    Faults(Faults),
    /// Time MADV_PAGEOUT of touched memory.
    Pageout(Pageout),
    /// Time reading memory that was paged out, one page after the other.
    Pagein(Pagein),
    /// Do with memory what is said on stdin, a line at a time, and say what came
    /// of it; the end of stdin is the end.
    Steps(Steps),
}

#[derive(Args)]
struct Verify {
    /// Memory to touch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
    /// Order in which pages are checked.
    #[arg(long, value_enum, default_value_t = Order::Sequential)]
    order: Order,
    /// Use a tmpfs file mapped shared instead of anonymous memory.
    #[arg(long)]
    shmem: bool,
    /// How often to check all of it.
    #[arg(long, default_value_t = 1)]
    passes: u32,
    /// Names the contents.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Page out, print a line that names pages which are in swap alone and
    /// their slots, and check when a line comes on stdin.
    #[arg(long)]
    hold: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// From the first page to the last.
    Sequential,
    /// Each page once, in a shuffled order.
    Random,
    /// Parent and child check everything at once, then the child rewrites
    /// half, then both check again.
    Fork,
}

#[derive(Args)]
struct Faults {
    /// Memory to touch.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
    /// Faults to time.
    #[arg(long, default_value_t = 1000)]
    samples: usize,
    /// Print a line when the memory is out, and start when one comes on stdin.
    #[arg(long)]
    wait: bool,
    /// Write to each page, with what is in it, instead of reading.
    #[arg(long)]
    write: bool,
    /// Chooses the pages.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Pageout {
    /// Memory to touch.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
    /// How often; the memory is touched again before each.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

#[derive(Args)]
struct Pagein {
    /// Memory to touch.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
}

#[derive(Args)]
struct Steps {
    /// Memory there is.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
    /// What kind of memory it is.
    #[arg(long, value_enum, default_value_t = Memory::Anonymous)]
    kind: Memory,
    /// Where there is a tmpfs, for a file.
    #[arg(long, default_value = "/dev/shm")]
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Memory {
    /// Private anonymous memory.
    Anonymous,
    /// Shared anonymous memory.
    Common,
    /// A file.
    File,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Verify(args) => verify(&args),
        Command::Faults(args) => faults(&args),
        Command::Pageout(args) => pageout(&args),
        Command::Pagein(args) => pagein(&args),
        Command::Steps(args) => steps(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("page-pattern: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn verify(args: &Verify) -> Result<ExitCode> {
    let started = Instant::now();
    let pattern = Pattern::new(args.seed);
    let kind = if args.shmem {
        Kind::Shared
    } else {
        Kind::Anonymous
    };
    ensure!(
        !(args.shmem && args.order == Order::Fork),
        "--order fork rewrites private copies, which --shmem has none of: choose one"
    );
    let mut region = filled(kind, args.mib, pattern)?;
    let fill_seconds = started.elapsed().as_secs_f64();
    if args.hold {
        hold(&region)?;
    }
    let checking = Instant::now();
    let mut tally = Tally::default();
    for pass in 0..args.passes {
        match args.order {
            Order::Sequential => check(&region, pattern, 0..region.pages(), &mut tally),
            Order::Random => {
                let order = shuffled(region.pages() as u32, args.seed + u64::from(pass));
                let order = order.into_iter().map(|page| page as usize);
                check(&region, pattern, order, &mut tally);
            }
            Order::Fork => tally.add(check_forked(&mut region, args.seed)?),
        }
    }
    let corrupt = tally.corrupt_bytes != 0;
    print_line(&json!({
        "mib": args.mib,
        "order": args.order,
        "bytes_verified": tally.bytes_verified,
        "corrupt_bytes": tally.corrupt_bytes,
        "corrupt": tally.corrupt,
        "fill_seconds": fill_seconds,
        "verify_seconds": checking.elapsed().as_secs_f64(),
        "seconds": started.elapsed().as_secs_f64(),
    }))?;
    Ok(ExitCode::from(u8::from(corrupt)))
}

fn filled(kind: Kind, mib: u32, pattern: Pattern) -> Result<Region> {
    let pages = mib as usize * ((1 << 20) / PAGE);
    let mut region = Region::map(kind, pages).with_context(|| format!("map {mib} MiB"))?;
    for number in 0..pages {
        pattern.fill(number as u64, region.page_mut(number));
    }
    Ok(region)
}

fn check(
    region: &Region,
    pattern: Pattern,
    pages: impl IntoIterator<Item = usize>,
    tally: &mut Tally,
) {
    for number in pages {
        pattern.verify(number as u64, region.page(number), tally);
    }
}

/// Checks a region in two processes. Even pages are rewritten by the child,
/// so that each copied page has neighbours that stayed shared.
fn check_forked(region: &mut Region, seed: u64) -> Result<Tally> {
    let original = Pattern::new(seed);
    let (from_child, to_parent) = nix::unistd::pipe()?;
    let (from_child, mut to_parent) = (File::from(from_child), File::from(to_parent));
    let pages = region.pages();
    match fork().context("fork")? {
        ForkResult::Child => {
            drop(from_child);
            let mut tally = Tally::default();
            check(region, original, 0..pages, &mut tally);
            let rewritten = Pattern::new(!seed);
            for number in (0..pages).step_by(2) {
                rewritten.fill(number as u64, region.page_mut(number));
            }
            // Tells the parent that the copies are made.
            to_parent.write_all(b"\n")?;
            for number in 0..pages {
                let pattern = [rewritten, original][number % 2];
                check(region, pattern, [number], &mut tally);
            }
            serde_json::to_writer(&mut to_parent, &tally)?;
            drop(to_parent);
            // Not through main: its output is the parent's to print.
            std::process::exit(0);
        }
        ForkResult::Parent { child } => {
            drop(to_parent);
            let mut tally = Tally::default();
            check(region, original, 0..pages, &mut tally);
            let mut lines = io::BufReader::new(from_child);
            let mut line = String::new();
            lines.read_line(&mut line)?;
            check(region, original, 0..pages, &mut tally);
            let report = io::read_to_string(lines)?;
            match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => {}
                status => bail!("the child ended early: {status:?}"),
            }
            tally.add(serde_json::from_str(&report).context("the child's report")?);
            Ok(tally)
        }
    }
}

/// A page whose only copy is in swap.
#[derive(Serialize)]
struct Evicted {
    page: usize,
    area: u8,
    slot: u64,
}

/// How many pages are named by `hold`.
const NAMED: usize = 16;

fn hold(region: &Region) -> Result<()> {
    region.page_out(0..region.pages()).context("MADV_PAGEOUT")?;
    let resident = region.resident().context("mincore")?;
    let places = places(region.address(), region.pages()).context("read pagemap")?;
    let out = places.into_iter().zip(resident).enumerate();
    let out: Vec<Evicted> = out
        .filter_map(|(page, (place, resident))| match place {
            Place::Swap { area, slot } if !resident => Some(Evicted { page, area, slot }),
            _ => None,
        })
        .collect();
    let step = (out.len() / NAMED).max(1);
    let named: Vec<&Evicted> = out.iter().step_by(step).take(NAMED).collect();
    print_line(&json!({ "ready": true, "evicted_pages": out.len(), "evicted": named }))?;
    wait_for_line()
}

fn faults(args: &Faults) -> Result<ExitCode> {
    let pattern = Pattern::new(args.seed);
    let mut region = filled(Kind::Anonymous, args.mib, pattern)?;
    region.page_out(0..region.pages()).context("MADV_PAGEOUT")?;
    if args.wait {
        print_line(&json!({ "ready": true }))?;
        wait_for_line()?;
    }
    // After the wait: what was still on its way out has arrived by then.
    let resident = region.resident().context("mincore")?;
    let order = shuffled(region.pages() as u32, args.seed);
    let mut times = Vec::with_capacity(args.samples);
    let mut tally = Tally::default();
    for page in order.into_iter().map(|page| page as usize) {
        if times.len() == args.samples {
            break;
        }
        // A page that is still in the swap cache, or was read ahead since, is
        // no measure of a load.
        if resident[page] {
            continue;
        }
        let mut contents = [0; WORDS];
        pattern.fill(page as u64, &mut contents);
        let start = Instant::now();
        if args.write {
            region.page_mut(page)[0] = contents[0];
        } else {
            std::hint::black_box(region.page(page)[0]);
        }
        times.push(start.elapsed().as_nanos() as u64);
        check(&region, pattern, [page], &mut tally);
    }
    let corrupt = tally.corrupt_bytes != 0;
    let evicted = resident.iter().filter(|resident| !**resident).count();
    let times = Percentiles::of(times)
        .context("every page is still in memory: is swap on, and is there a memory limit?")?;
    print_line(&json!({
        "mib": args.mib,
        "evicted_pages": evicted,
        "fault_ns": times,
        "bytes_verified": tally.bytes_verified,
        "corrupt_bytes": tally.corrupt_bytes,
        "corrupt": tally.corrupt,
    }))?;
    Ok(ExitCode::from(u8::from(corrupt)))
}

fn pageout(args: &Pageout) -> Result<ExitCode> {
    let mut rates = Vec::new();
    let mut region = Region::map(Kind::Anonymous, args.mib as usize * ((1 << 20) / PAGE))?;
    for round in 0..args.rounds {
        let pattern = Pattern::new(u64::from(round));
        for number in 0..region.pages() {
            pattern.fill(number as u64, region.page_mut(number));
        }
        let start = Instant::now();
        region.page_out(0..region.pages()).context("MADV_PAGEOUT")?;
        let posted = start.elapsed();
        settle()?;
        let seconds = start.elapsed().as_secs_f64();
        let out = places(region.address(), region.pages())?
            .into_iter()
            .filter(|place| matches!(place, Place::Swap { .. }))
            .count();
        rates.push(json!({
            "pages_out": out,
            "pages": region.pages(),
            "call_seconds": posted.as_secs_f64(),
            "seconds": seconds,
            "mib_per_second": (out * PAGE) as f64 / f64::from(1 << 20) / seconds,
        }));
    }
    print_line(&json!({ "mib": args.mib, "rounds": rates }))?;
    Ok(ExitCode::SUCCESS)
}

fn pagein(args: &Pagein) -> Result<ExitCode> {
    let pattern = Pattern::new(1);
    let region = filled(Kind::Anonymous, args.mib, pattern)?;
    region.page_out(0..region.pages()).context("MADV_PAGEOUT")?;
    settle()?;
    let resident = region.resident().context("mincore")?;
    let out = resident.iter().filter(|resident| !**resident).count();
    ensure!(out > 0, "every page is still in memory: is swap on?");
    let start = Instant::now();
    for number in 0..region.pages() {
        std::hint::black_box(region.page(number)[0]);
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut tally = Tally::default();
    check(&region, pattern, 0..region.pages(), &mut tally);
    print_line(&json!({
        "mib": args.mib,
        "pages_in": out,
        "seconds": seconds,
        "mib_per_second": (out * PAGE) as f64 / f64::from(1 << 20) / seconds,
        "bytes_verified": tally.bytes_verified,
        "corrupt_bytes": tally.corrupt_bytes,
        "corrupt": tally.corrupt,
    }))?;
    Ok(ExitCode::from(u8::from(tally.corrupt_bytes != 0)))
}

fn steps(args: &Steps) -> Result<ExitCode> {
    let pages = args.mib as usize * ((1 << 20) / PAGE);
    let region = match args.kind {
        Memory::Anonymous => Region::map(Kind::Anonymous, pages)?,
        Memory::Common => Region::map(Kind::Common, pages)?,
        Memory::File => Region::file_in(&args.directory, pages)
            .with_context(|| format!("make a file in {}", args.directory.display()))?,
    };
    // Not through the library's buffer, which may hide that a line has come.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    serve(&mut Performer::new(region), &input, io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn wait_for_line() -> Result<()> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line)?;
    ensure!(
        read > 0,
        "stdin ended before the line that starts the check"
    );
    Ok(())
}

fn print_line(value: &serde_json::Value) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{value}")?;
    stdout.flush()?;
    Ok(())
}

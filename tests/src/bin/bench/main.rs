//! Benchmarks, each against something else that is measured in the same run.

#![forbid(unsafe_code)]

mod attended;
mod env;
mod link;
mod swap;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rapidswap_progress::{Events, Reporter};
use rapidswap_tests::table::print;
use rapidswap_tests::verdict::failed;
use rapidswap_vm::ended;

/// Measures swap against the link itself, with `swap` against other swap, or
/// with `env` the environment against other tools.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    link: link::Link,
    /// Print one JSON object on stdout and nothing else there.
    #[arg(long, global = true)]
    json: bool,
    /// How steps report themselves on stderr: text, or json, a line for each event.
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    #[arg(env = "RAPIDSWAP_EVENTS", hide_env_values = true)]
    events: Events,
}

#[derive(Subcommand)]
enum Command {
    /// Bring-up, commands, verdicts, builds and tests, beside vmtest and
    /// virtme-ng; all of it takes about an hour on two cores.
    Env(env::Env),
    /// Jobs whose memory is swapped to the memory server, to NVMe over RDMA,
    /// to NBD, to zram and to the disk; a quarter of an hour on two cores, twice
    /// that on busy ones.
    Swap(swap::Swap),
}

fn main() -> ExitCode {
    let cli: Cli = rapidswap_cli::parse("bench");
    let reporter = Reporter::new(cli.events);
    let done = match &cli.command {
        None => link::bench(&cli.link, &reporter)
            .and_then(|found| print(&found, &found.table(), cli.json)),
        Some(Command::Env(options)) => env::bench(options, &reporter).and_then(|found| {
            print(&found, &found.table(), cli.json)?;
            found.sound()
        }),
        Some(Command::Swap(options)) => swap::bench(options, &reporter)
            .and_then(|found| print(&found, &found.table(), cli.json)),
    };
    match done {
        Ok(()) => {
            ended(&reporter, 0, None);
            ExitCode::SUCCESS
        }
        Err(error) => ExitCode::from(failed("bench", &error, &reporter)),
    }
}

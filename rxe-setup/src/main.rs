//! `rxe-setup`: brings an RDMA link up, proves it, compares its device.

#![forbid(unsafe_code)]

mod cli;
mod exchange;
mod hold;
mod link;
mod parity;
mod peer;
mod prove;
mod sysfs;

use std::process::ExitCode;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli: Cli = rapidswap_cli::parse("rxe-setup");
    let done = match cli.command {
        Command::Link(options) => link::run(&options),
        Command::Prove(options) => prove::run(&options.sides, options.count),
        Command::Hold(options) => hold::run(&options),
        Command::Parity { device, json, cap } => parity::run(device.as_deref(), json, &cap),
    };
    rapidswap_cli::finish("rxe-setup", done)
}

//! Builds the guests' root file system by itself, for people who want to look
//! at it; everything else goes through the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rapidswap_images::Machine;
use rapidswap_progress::Reporter;

/// The guests' root file system.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the image of images/packages.txt unless it is cached, and print its path.
    Build {
        /// That of images/posed-host.txt instead.
        #[arg(long)]
        posed_host: bool,
    },
    /// Print the key under which it is cached.
    Key,
}

fn main() -> ExitCode {
    let answer = match Arguments::parse().command {
        Command::Build { posed_host } => {
            let machine = match posed_host {
                true => Machine::PosedHost,
                false => Machine::Guest,
            };
            rapidswap_images::ensure(machine, &Reporter::auto())
                .map(|image| image.root.display().to_string())
        }
        Command::Key => rapidswap_images::key(),
    };
    match answer {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

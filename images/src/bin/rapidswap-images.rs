//! Builds the guests' root file system by itself, for people who want to look
//! at it; everything else goes through the library.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rapidswap_cli::print;
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
    Build(Which),
    /// Print the key under which it is cached.
    Key(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// That of images/posed-host.txt instead.
    #[arg(long)]
    posed_host: bool,
}

impl Which {
    fn machine(&self) -> Machine {
        match self.posed_host {
            true => Machine::PosedHost,
            false => Machine::Guest,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Arguments = rapidswap_cli::parse("rapidswap-images");
    let reporter = Reporter::auto();
    match run(arguments.command, &reporter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.failed("rapidswap-images", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, reporter: &Reporter) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Build(which) => {
            let image = rapidswap_images::ensure(which.machine(), reporter)?;
            print(image.root.display())?;
        }
        Command::Key(which) => print(rapidswap_images::key(which.machine())?)?,
    }
    Ok(())
}

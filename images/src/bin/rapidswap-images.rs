//! Builds the guests' root file system by itself, for people who want to look
//! at it; everything else goes through the library.

use anyhow::Context;
use clap::{Parser, Subcommand};
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
    Build,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Build => {
            let image = rapidswap_images::ensure(&Reporter::auto()).context("no guest image")?;
            println!("{}", image.root.display());
        }
    }
    Ok(())
}

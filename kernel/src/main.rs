//! `rapidswap-kernel`: builds the kernel and checks the series by hand or
//! from a recipe. Results go to stdout, progress to stderr.

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use rapidswap_kernel::Variant;
use rapidswap_progress::Reporter;
use std::process::ExitCode;

/// Builds the kernel that Rapidswap runs on.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the kernel, or finds it in the cache; prints where it is.
    Build {
        #[arg(long, value_enum, default_value = "release")]
        variant: Name,
    },
    /// Builds kernel and module; prints where the module is.
    Module {
        #[arg(long, value_enum, default_value = "release")]
        variant: Name,
    },
    /// Configures only, and checks that every requested symbol survived.
    Configure {
        #[arg(long, value_enum, default_value = "release")]
        variant: Name,
    },
    /// Runs checkpatch.pl --strict over the series; any remark is a failure.
    Checkpatch,
    /// Prints the hash under which the kernel is cached.
    Hash {
        #[arg(long, value_enum, default_value = "release")]
        variant: Name,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Release,
    Debug,
}

impl From<Name> for Variant {
    fn from(name: Name) -> Variant {
        match name {
            Name::Release => Variant::Release,
            Name::Debug => Variant::Debug,
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rapidswap-kernel: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let reporter = Reporter::auto();
    match command {
        Command::Build { variant } => {
            let kernel = rapidswap_kernel::ensure(variant.into(), &reporter)?;
            let cached = if kernel.cached { "cached" } else { "built" };
            reporter.note(&format!(
                "kernel {}: {cached} ({:.1} s)",
                kernel.release, kernel.seconds
            ));
            println!("{}", kernel.vmlinux.display());
        }
        Command::Module { variant } => {
            let kernel = rapidswap_kernel::ensure(variant.into(), &reporter)?;
            let module = rapidswap_kernel::module(&kernel, variant.into(), &reporter)?;
            println!("{}", module.display());
        }
        Command::Configure { variant } => {
            let config = rapidswap_kernel::configure(variant.into(), &reporter)?;
            println!("{}", config.display());
        }
        Command::Checkpatch => {
            let patches = rapidswap_kernel::checkpatch(&reporter)?;
            reporter.note(&format!(
                "checkpatch.pl --strict: {patches} patches, no remarks"
            ));
        }
        Command::Hash { variant } => println!("{}", rapidswap_kernel::hash(variant.into())?),
    }
    Ok(())
}

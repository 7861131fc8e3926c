//! `rapidswap-kernel`: builds the kernel, and turns the series and the
//! configuration into something to edit and back. Results go to stdout,
//! progress to stderr.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rapidswap_cli::print;
use rapidswap_kernel::{Interface, Kernel, Variant};
use rapidswap_progress::Reporter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The kernel that Rapidswap runs on. Without a command: build.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    alone: Alone,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the kernel, or finds it in the cache; prints where it is.
    Build(Alone),
    /// Builds kernel and modules; prints where the modules are.
    Module {
        #[command(flatten)]
        build: Build,
        /// Folders of modules [default: that of remoteswap.ko].
        #[arg(value_name = "DIR", default_value = rapidswap_kernel::MODULE, hide_default_value = true)]
        folders: Vec<PathBuf>,
    },
    /// Makes a tar file of the kernel for machines that boot it; prints where.
    Package {
        /// Which kernel.
        #[arg(long, value_enum, default_value = "host")]
        variant: Variant,
    },
    /// Makes or updates a git tree with the series as commits; prints where.
    Edit {
        /// Where, instead of the cache.
        dir: Option<PathBuf>,
    },
    /// Turns the commits of that tree into the patches of the series.
    Refresh {
        /// The tree, if it is not the one in the cache.
        dir: Option<PathBuf>,
    },
    /// Changes the configuration by a menu; prints the fragment it is in.
    Config {
        #[command(flatten)]
        variant: OfVariant,
        /// The fragment to write to: kernel/config/NAME.config [default: vm, debug or host].
        #[arg(long, value_name = "NAME")]
        fragment: Option<String>,
        /// How to ask.
        #[arg(long, value_enum, default_value = "menuconfig")]
        interface: Interface,
    },
    /// Configures only, and checks that every requested symbol survived.
    Configure(OfVariant),
    /// Runs checkpatch.pl --strict over the series; any remark is a failure.
    Checkpatch,
    /// Prints the Rust compiler that builds the kernel.
    Rustc,
    /// Prints the hash under which the kernel is cached.
    Hash {
        #[command(flatten)]
        of: OfVariant,
        /// That of the modules in these folders for it instead, a line each.
        #[arg(long = "module", value_name = "DIR", num_args = 1..)]
        modules: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct OfVariant {
    #[arg(long, value_enum, default_value = "release")]
    variant: Variant,
}

#[derive(Args)]
struct Build {
    #[command(flatten)]
    of: OfVariant,
    /// Any source tree instead of the series, as it is; only what changed
    /// since the last time is built.
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
}

#[derive(Args)]
struct Alone {
    #[command(flatten)]
    build: Build,
    /// A patch on top of the series, to try it. May be given several times.
    #[arg(long = "patch", value_name = "FILE", conflicts_with = "tree")]
    patches: Vec<PathBuf>,
}

impl Build {
    fn kernel(&self, reporter: &Reporter) -> Result<Kernel> {
        let variant = self.of.variant;
        let kernel = match &self.tree {
            Some(tree) => rapidswap_kernel::build_tree(tree, variant, reporter),
            None => rapidswap_kernel::ensure(variant, reporter),
        };
        Ok(kernel?)
    }
}

fn main() -> ExitCode {
    let cli: Cli = rapidswap_cli::parse("rapidswap-kernel");
    let reporter = Reporter::auto();
    match run(cli.command.unwrap_or(Command::Build(cli.alone)), &reporter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.failed("rapidswap-kernel", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, reporter: &Reporter) -> Result<()> {
    match command {
        Command::Build(Alone { build, patches }) => {
            let kernel = match &patches[..] {
                [] => build.kernel(reporter)?,
                _ => rapidswap_kernel::ensure_with(&patches, build.of.variant, reporter)?,
            };
            let cached = match (&kernel.tree, kernel.cached) {
                (None, true) => "cached",
                (Some(_), true) => "unchanged",
                (_, false) => "built",
            };
            reporter.note(&format!(
                "kernel {}: {cached} ({:.1} s)",
                kernel.release, kernel.seconds
            ));
            print(kernel.vmlinux.display())?;
        }
        Command::Module { build, folders } => {
            let kernel = build.kernel(reporter)?;
            let variant = build.of.variant;
            for folder in folders {
                for module in rapidswap_kernel::modules(&kernel, variant, &folder, reporter)? {
                    print(module.display())?;
                }
            }
        }
        Command::Package { variant } => {
            let package = rapidswap_kernel::package(variant, reporter)?;
            reporter.note(&format!(
                "on each host, as root: tar -C / --keep-directory-symlink -xzf {}, then what its \
                 distribution does for a new kernel (Debian: update-initramfs -c -k, update-grub)",
                package.file_name().unwrap_or_default().to_string_lossy()
            ));
            print(package.display())?;
        }
        Command::Edit { dir } => {
            let tree = rapidswap_kernel::edit(dir.as_deref(), reporter)?;
            let named = dir.map_or_else(String::new, |_| format!(" {}", tree.display()));
            reporter.note(&format!(
                "edit and commit there, try it with ./just kernel build --tree {}, and then: \
                 ./just kernel refresh{named}",
                tree.display()
            ));
            print(tree.display())?;
        }
        Command::Refresh { dir } => refresh(dir.as_deref(), reporter)?,
        Command::Config {
            variant,
            fragment,
            interface,
        } => {
            let variant = variant.variant;
            let fragment = fragment.as_deref();
            match rapidswap_kernel::config(variant, fragment, interface, reporter)? {
                Some(change) => {
                    for line in change.lines {
                        reporter.note(&line);
                    }
                    print(change.fragment.display())?;
                }
                None => reporter.note("no change: nothing was written"),
            }
        }
        Command::Configure(of) => {
            let config = rapidswap_kernel::configure(of.variant, reporter)?;
            print(config.display())?;
        }
        Command::Checkpatch => {
            let patches = rapidswap_kernel::checkpatch(reporter)?;
            reporter.note(&format!(
                "checkpatch.pl --strict: {patches} patches, no remarks"
            ));
        }
        Command::Rustc => print(rapidswap_kernel::rustc()?.display())?,
        Command::Hash { of, modules } if modules.is_empty() => {
            print(rapidswap_kernel::hash(of.variant)?)?;
        }
        Command::Hash { of, modules } => {
            for folder in modules {
                print(rapidswap_kernel::module_hash(of.variant, &folder)?)?;
            }
        }
    }
    Ok(())
}

fn refresh(dir: Option<&Path>, reporter: &Reporter) -> Result<()> {
    let changes = rapidswap_kernel::refresh(dir, reporter)?;
    if changes.is_empty() {
        reporter.note("no change: kernel/patches has these commits already");
    }
    for change in changes {
        print(change)?;
    }
    Ok(())
}

//! `rapidswap`: the command line of clusters.

#![forbid(unsafe_code)]

mod args;
mod collect;
mod foreground;
mod output;
mod terminal;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use rapidswap_progress::Reporter;
use rapidswap_vm::{
    Cluster, Error, Exec, MemoryGroup, UpOptions, WindowSize, supervisor, virtiofs,
};

use args::{Args, Command, Internal};
use foreground::Foreground;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return ExitCode::from(output::usage(&error)),
    };
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // An interrupted command ends in the thread that took the signal.
            if foreground::interrupted() {
                loop {
                    std::thread::park();
                }
            }
            // A closed error output is no reason for another error.
            let _ = writeln!(io::stderr(), "rapidswap: {error:#}");
            ExitCode::from(output::exit_code(&error))
        }
    }
}

fn run(args: Args) -> anyhow::Result<u8> {
    let name = args.name.clone();
    match args.command {
        Command::Up(up) => {
            foreground::abandon_on_interrupt()?;
            Cluster::up(&up.options(name), &Reporter::auto())?;
            Ok(0)
        }
        Command::Down => {
            Cluster::attach(&name)?.down()?;
            Ok(0)
        }
        Command::Status { json } => {
            let status = Cluster::attach(&name)?.status()?;
            output::status(&status, json)?;
            Ok(output::outcome(&status).code())
        }
        Command::Exec { node, tty, command } => {
            let node = Cluster::attach(&name)?.node(&node)?;
            let size = tty.then(terminal::size);
            finish(Foreground::run(&node, exec(command, size)))
        }
        Command::Shell { node } => {
            let node = Cluster::attach(&name)?.node(&node)?;
            if !io::stdin().is_terminal() {
                anyhow::bail!("shell needs a terminal: use `exec` in scripts");
            }
            let shell = ["/bin/bash", "-l"].map(Into::into).to_vec();
            finish(Foreground::run(&node, exec(shell, Some(terminal::size()))))
        }
        Command::Run {
            limit,
            cpus,
            command,
        } => {
            let cluster = Cluster::attach(&name)?;
            let all = cluster.status()?.cpus;
            let cpus = cpus.unwrap_or_else(|| format!("0-{}", all - 1));
            let group = MemoryGroup::create(&cluster.node("client")?, limit)?;
            let argv = group.command(&cpus, command);
            let status = Foreground::run(&cluster.node("client")?, exec(argv, None));
            // The command's own end is what the caller asked about; a group
            // that stays is worth a word all the same.
            if let Err(error) = group.remove() {
                let _ = writeln!(io::stderr(), "rapidswap: {error}");
            }
            finish(status)
        }
        Command::Push {
            node,
            local,
            remote,
        } => push(&Cluster::attach(&name)?.node(&node)?, &local, &remote),
        Command::Pull {
            node,
            remote,
            local,
        } => pull(&Cluster::attach(&name)?.node(&node)?, &remote, &local),
        Command::Collect { dump, dir } => collect::run(&Cluster::attach(&name)?, dir, dump),
        Command::Completions { shell } => {
            let mut command = Args::command();
            clap_complete::generate(shell, &mut command, "rapidswap", &mut io::stdout());
            Ok(0)
        }
        Command::Internal(internal) => {
            match internal {
                Internal::Supervise => supervisor::run()?,
                Internal::Virtiofs { dir } => virtiofs::serve(&dir)?,
                Internal::Sweep { dir } => supervisor::sweep(&dir),
            }
            Ok(0)
        }
    }
}

fn exec(argv: Vec<std::ffi::OsString>, tty: Option<WindowSize>) -> Exec {
    let mut exec = Exec::new(argv);
    if let Some(size) = tty {
        exec = exec.tty(size);
        if let Some(term) = std::env::var_os("TERM") {
            exec = exec.env("TERM", term);
        }
    }
    exec
}

/// The command's own status, or the one for why there is none.
fn finish(status: Result<foreground::Ended, Error>) -> anyhow::Result<u8> {
    match status {
        Ok(ended) => Ok(ended.shell_code()),
        Err(error) => Err(error.into()),
    }
}

fn push(node: &rapidswap_vm::Node, local: &Path, remote: &Path) -> anyhow::Result<u8> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = File::open(local).with_context(|| format!("cannot open {}", local.display()))?;
    let meta = file
        .metadata()
        .with_context(|| format!("cannot read {}", local.display()))?;
    anyhow::ensure!(meta.is_file(), "{} is not a file", local.display());
    node.push(remote, meta.permissions().mode() & 0o777, &mut file)?;
    Ok(0)
}

/// The file appears under its name when it is complete.
fn pull(node: &rapidswap_vm::Node, remote: &Path, local: &Path) -> anyhow::Result<u8> {
    let target = if local.is_dir() {
        local.join(
            remote
                .file_name()
                .context("the remote path has no file name")?,
        )
    } else {
        local.to_owned()
    };
    let dir = match target.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let problem = || format!("cannot write {}", target.display());
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(problem)?;
    node.pull(remote, &mut file)?;
    file.persist(&target)
        .map_err(|error| error.error)
        .with_context(problem)?;
    Ok(0)
}

impl args::Up {
    fn options(self, name: String) -> UpOptions {
        UpOptions {
            name,
            accel: self.accel,
            // Refused by `validate` where it does not fit.
            memory_mib: u32::try_from(self.memory.mib()).unwrap_or(u32::MAX),
            cpus: self.cpus,
            swap: !self.no_swap,
            server_mib: self.server_mem.mib(),
            disk_mib: self.disk.mib(),
            kernel: self.kernel,
            profile: self.profile,
        }
    }
}

//! `rapidswap`: the command line of clusters.

#![forbid(unsafe_code)]

mod args;
mod bisect;
mod collect;
mod complete;
mod console;
mod copy;
mod foreground;
mod gdb;
mod logs;
mod output;
mod run;
mod terminal;
mod top;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use rapidswap_cli::{print, say};
use rapidswap_progress::Reporter;
use rapidswap_vm::{
    Cluster, DEFAULT_NAME, Error, Exec, Outcome, Profile, UpOptions, WindowSize, clean, doctor,
    ended, interrupt, supervisor, virtiofs,
};

use args::{Args, Command, Internal};
use foreground::Foreground;

fn main() -> ExitCode {
    complete::answer_shell();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = rapidswap_cli::complain("rapidswap", &error);
            // What is wrong for one commit is wrong for all.
            let bisects = std::env::args()
                .nth(1)
                .is_some_and(|arg| arg == "bisect-run");
            let code = if bisects && code != 0 {
                bisect::STOP
            } else {
                code
            };
            return ExitCode::from(code);
        }
    };
    let long = matches!(
        args.command,
        Command::Up(_) | Command::BisectRun { .. } | Command::Collect { .. }
    );
    let reporter = Reporter::new(args.events);
    let ran = run(args, &reporter);
    interrupt::heed();
    match ran {
        Ok(code) => {
            if long {
                ended(&reporter, code, None);
            }
            ExitCode::from(code)
        }
        Err(error) => {
            let code = output::exit_code(&error);
            ended(&reporter, code, Some(&error));
            if !reporter.is_json() {
                say(format_args!("rapidswap: {error:#}"));
            }
            ExitCode::from(code)
        }
    }
}

fn run(args: Args, reporter: &Reporter) -> anyhow::Result<u8> {
    let name = args.name.clone();
    match args.command {
        Command::Up(up) => {
            interrupt::take_down("rapidswap", None, reporter)?;
            Cluster::up(&up.options(name), reporter)?;
            Ok(0)
        }
        Command::Down => {
            Cluster::attach(&name)?.down()?;
            Ok(0)
        }
        Command::Status { json } => {
            let cluster = Cluster::attach(&name)?;
            let report = cluster.report()?;
            output::report(&report, json)?;
            Ok(output::outcome(&report, &cluster.faults()?).code())
        }
        Command::Exec {
            node,
            tty,
            timeout,
            command,
        } => {
            let node = Cluster::attach(&name)?.node(&node)?;
            let size = tty.then(terminal::size);
            finish(Foreground::run(&node, exec(command, size), timeout))
        }
        Command::Shell { node } => {
            let node = Cluster::attach(&name)?.node(&node)?;
            if !io::stdin().is_terminal() {
                anyhow::bail!("shell needs a terminal: use `exec` in scripts");
            }
            let shell = ["/bin/bash", "-l"].map(Into::into).to_vec();
            let shell = exec(shell, Some(terminal::size()));
            finish(Foreground::run(&node, shell, None))
        }
        Command::Run {
            limit,
            cpus,
            compare,
            command,
        } => {
            let run = run::Run {
                limit,
                cpus,
                compare,
                command,
            };
            finish(run.run(&Cluster::attach(&name)?))
        }
        Command::Top {
            cluster,
            once,
            json,
            interval,
        } => {
            let top = top::Top {
                interval,
                once,
                json,
            };
            top.run(Cluster::attach(&cluster.unwrap_or(name))?)?;
            Ok(0)
        }
        Command::Cp { from, to } => {
            copy::copy(&Cluster::attach(&name)?, from.into(), to.into())?;
            Ok(0)
        }
        Command::Logs { follow, node } => {
            let node = Cluster::attach(&name)?.node(&node)?;
            logs::print(&node, follow)?;
            Ok(0)
        }
        Command::Console { node } => console::run(&Cluster::attach(&name)?.node(&node)?),
        Command::Gdb { node, arguments } => {
            gdb::run(&Cluster::attach(&name)?, &node, arguments, reporter)
        }
        Command::Parity { json, cap } => {
            let parity = Cluster::attach(&name)?.parity(&cap)?;
            output::report(&parity, json)?;
            match parity.ok {
                true => Ok(0),
                false => Ok(Outcome::TestFailed.code()),
            }
        }
        Command::Profile {
            profile,
            filter,
            reach,
        } => {
            let profile = Profile::load(&profile)?;
            match (filter, reach) {
                (true, _) => print(profile.filter())?,
                (_, true) => profile.reach()?,
                _ => print(profile)?,
            }
            Ok(0)
        }
        Command::Fault(fault) => {
            Cluster::attach(&name)?.fault(&fault.into())?;
            Ok(0)
        }
        Command::Doctor { json } => {
            let findings = doctor::examine()?;
            output::findings(&findings, json)?;
            let bad = |finding: &doctor::Finding| finding.verdict == doctor::Verdict::Bad;
            Ok(u8::from(findings.iter().any(bad)))
        }
        Command::Collect { dump, dir } => {
            collect::run(&Cluster::attach(&name)?, dir, dump, reporter)
        }
        Command::Clean { limit, dry_run } => {
            output::cleaned(&clean::clean(limit, dry_run)?, limit, dry_run)?;
            Ok(0)
        }
        Command::BisectRun {
            up,
            timeout,
            command,
        } => {
            let name = match name.as_str() {
                DEFAULT_NAME => args::BISECTED.to_owned(),
                _ => name,
            };
            interrupt::take_down("rapidswap", Some(name.clone()), reporter)?;
            Ok(bisect::run(&up.options(name), command, timeout, reporter))
        }
        Command::Completions { shell } => {
            complete::print_registration(shell)?;
            Ok(0)
        }
        Command::Man { dir } => {
            complete::write_man_pages(&dir)?;
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

impl args::Up {
    fn options(self, name: String) -> UpOptions {
        UpOptions {
            name,
            accel: self.platform.accel,
            // Refused by `validate` where it does not fit.
            memory_mib: u32::try_from(self.memory.mib()).unwrap_or(u32::MAX),
            cpus: self.cpus,
            swap: !self.no_swap && !self.no_link,
            link: !self.no_link,
            keep: self.keep,
            modules: self.modules,
            server_mib: self.server_mem.mib(),
            servers: self.servers,
            swap_to: self.swap_to,
            disk_mib: self.disk.mib(),
            kernel: self.kernel,
            profile: self.platform.profile,
            cold: self.cold,
        }
    }
}

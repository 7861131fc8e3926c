//! The `remoteswap-server` command.

#![forbid(unsafe_code)]

mod cli;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::random;
use rapidswap_cli::print;
use remoteswap_logic::wire::{Req, Role};
use remoteswap_server::client::{ClientError, Link, read_table, release};
use remoteswap_server::{control, daemon};
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, Probe};

fn main() -> ExitCode {
    let cli: Cli = rapidswap_cli::parse("remoteswap-server");
    let filter =
        EnvFilter::try_from_env("REMOTESWAP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // Where a line cannot be written, neither can that it could not: the
        // default panics there, and the clients' memory would go with it.
        .log_internal_errors(false)
        .init();
    rapidswap_cli::finish("remoteswap-server", run(cli))
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        None => daemon::run(&cli.options()?).map(|()| ExitCode::SUCCESS),
        Some(Command::Ctl { path, words }) => {
            let answer = control::ask(&path, &words.join(" ")).with_context(|| {
                format!(
                    "no server answers on {}: was it started with --control?",
                    path.display()
                )
            })?;
            match answer.strip_prefix("error ") {
                Some(error) => bail!("{error}"),
                None => print(answer)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Probe(probe)) => run_probe(&probe),
    }
}

/// One handshake, and what came of it.
fn run_probe(probe: &Probe) -> Result<ExitCode> {
    let role = if probe.store { Role::Store } else { Role::Load };
    let req = Req {
        role,
        client_id: probe.client_id.unwrap_or_else(random),
        session: probe.session,
        wanted_bytes: probe.wanted.0,
    };
    let mut bytes = req.encode();
    if let Some(magic) = probe.magic {
        bytes[..4].copy_from_slice(&magic.to_le_bytes());
    }
    if let Some(version) = probe.wire_version {
        bytes[4..6].copy_from_slice(&version.to_le_bytes());
    }
    let limit = Duration::from_secs(probe.deadline);
    let link = match Link::connect(probe.connect, &bytes, limit) {
        Ok(link) => link,
        Err(ClientError::Refused { reason, version }) => {
            print(format_args!(
                "rejected reason=\"{reason}\" version={version}"
            ))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(ClientError::NobodyThere) => bail!(
            "no server on {}: start one there, or give another address or port",
            probe.connect
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot reach {}", probe.connect)),
    };
    let rep = link.rep;
    let (layout, _) = read_table(&link, probe.session).context("cannot read the chunk table")?;
    print(format_args!(
        "accepted epoch={:016x} lease={:016x} kept={} capacity_bytes={} chunk_bytes={} chunk_count={} pages={}",
        rep.epoch,
        rep.lease,
        rep.lease_kept(),
        rep.capacity_bytes,
        rep.chunk_bytes,
        rep.chunk_count,
        layout.pages()
    ))?;
    if probe.hold > 0 {
        match link.wait_closed(Duration::from_secs(probe.hold)) {
            Err(ClientError::Verbs(rapidswap_verbs::Error::TimedOut(_))) => {}
            Ok(()) => bail!("the server ended the session"),
            Err(error) => return Err(error.into()),
        }
    }
    if !probe.keep {
        release(&link).context("cannot release the lease")?;
    }
    Ok(ExitCode::SUCCESS)
}

//! What the shell completes, and pages for man.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{CompleteEnv, Shells};
use rapidswap_vm::Cluster;

use crate::args::Args;

/// The variable by which a shell asks for completions.
const VARIABLE: &str = "COMPLETE";

/// Answers a shell that asks what may follow, and then ends this process.
pub fn answer_shell() {
    CompleteEnv::with_factory(Args::command)
        .var(VARIABLE)
        .complete();
}

/// Prints what a shell has to run once to ask this program.
pub fn print_registration(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = program.to_str().context("its path is not text")?;
    let shells = Shells::builtins();
    let shell = shells.completer(&shell.to_string());
    let shell = shell.context("no completions for this shell")?;
    let name = "rapidswap";
    Ok(shell.write_registration(VARIABLE, name, name, program, &mut io::stdout())?)
}

/// Writes a page for the program and one for each command.
pub fn write_man_pages(dir: &Path) -> anyhow::Result<()> {
    let problem = || format!("cannot write in {}", dir.display());
    std::fs::create_dir_all(dir).with_context(problem)?;
    let command = Args::command().flatten_help(false);
    clap_mangen::generate_to(command, dir).with_context(problem)?;
    Ok(())
}

/// Names of clusters that run.
pub fn clusters(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = running()
        .into_iter()
        .map(|cluster| cluster.name().to_owned());
    beginning_with(typed, names.collect())
}

/// Names of nodes of all clusters that run; of the usual ones if none does.
pub fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(typed, node_names())
}

/// What `cp` takes: a node and a colon, or a path here.
pub fn places(typed: &OsStr) -> Vec<CompletionCandidate> {
    let nodes = node_names().into_iter().map(|name| name + ":").collect();
    let mut places = beginning_with(typed, nodes);
    places.extend(PathCompleter::any().complete(typed));
    places
}

fn node_names() -> Vec<String> {
    let mut names: Vec<String> = running()
        .iter()
        .filter_map(|cluster| cluster.names().ok())
        .flatten()
        .collect();
    if names.is_empty() {
        names = ["client", "server"].map(String::from).into();
    }
    names.sort();
    names.dedup();
    names
}

fn running() -> Vec<Cluster> {
    Cluster::running().unwrap_or_default()
}

fn beginning_with(typed: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = names.into_iter().filter(|name| name.starts_with(&*typed));
    fitting.map(CompletionCandidate::new).collect()
}

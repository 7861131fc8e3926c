//! `rapidswap gdb`: the debugger on a node's kernel.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{SigSet, Signal};
use rapidswap_progress::Reporter;
use rapidswap_vm::{Cluster, LoadedModule, Node, NodeState};

/// How long a node may take to say which modules it has. Somebody waits, and
/// whom gdb is for may well hang.
const MODULES: Duration = Duration::from_secs(5);

/// Runs gdb with the node's kernel and modules, stopped where they are, and
/// lets the node go on when gdb ends.
pub fn run(
    cluster: &Cluster,
    name: &str,
    arguments: Vec<OsString>,
    reporter: &Reporter,
) -> anyhow::Result<u8> {
    let node = cluster.node(name)?;
    let status = cluster.status()?;
    let of = status.nodes.iter().find(|node| node.name == name);
    let was_up = of.is_some_and(|node| node.state == NodeState::Up);
    let modules = match was_up {
        true => node.loaded_modules(status.patient(MODULES)),
        false => Ok(Vec::new()),
    };
    let modules = modules.unwrap_or_else(|error| {
        reporter.note(&format!("gdb does not know the node's modules: {error}"));
        Vec::new()
    });
    let stub = node.debug()?;
    // Ctrl-C is gdb's: it stops the node.
    SigSet::from_iter([Signal::SIGINT]).thread_block()?;
    let words = command(&status.vmlinux, stub.socket(), &modules, arguments);
    let ended = Command::new("gdb").args(words).status();
    drop(stub);
    if was_up {
        go_on(&node);
    }
    match ended {
        Ok(status) => Ok(shell_code(status)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("gdb is not in PATH: install it with `apt install gdb`")
        }
        Err(error) => Err(error).context("cannot run gdb"),
    }
}

/// gdb lets it go on when it detaches; one that was killed has not.
fn go_on(node: &Node) {
    // It may be gone, which the next command says.
    let _ = node.resume();
}

fn shell_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    u8::try_from(code.unwrap_or(1)).unwrap_or(u8::MAX)
}

/// gdb's arguments: what it has to know first, then the user's.
fn command(
    vmlinux: &Path,
    socket: &Path,
    modules: &[LoadedModule],
    arguments: Vec<OsString>,
) -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "-q",
        "-iex",
        "set confirm off",
        "-iex",
        "set pagination off",
    ]
    .map(Into::into)
    .into();
    words.push(vmlinux.into());
    let mut first = |line: String| words.extend(["-ex".into(), line.into()]);
    first(format!("target remote {}", socket.display()));
    for LoadedModule { file, text } in modules {
        first(format!("add-symbol-file {} {text}", file.display()));
    }
    first("set confirm on".into());
    words.extend(arguments);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gdb_knows_kernel_node_and_modules_before_it_does_as_told() {
        let module = LoadedModule {
            file: "/run/remoteswap.ko".into(),
            text: "0xffffffffa0000000".into(),
        };
        let told = vec!["-batch".into(), "-ex".into(), "bt".into()];
        let words = command(
            Path::new("/vmlinux"),
            Path::new("/run/client.gdb"),
            &[module],
            told,
        );
        let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
        assert_eq!(
            words.join("|"),
            "-q|-iex|set confirm off|-iex|set pagination off|/vmlinux|-ex|target remote /run/client.gdb|\
             -ex|add-symbol-file /run/remoteswap.ko 0xffffffffa0000000|-ex|set confirm on|-batch|-ex|bt"
        );
    }
}

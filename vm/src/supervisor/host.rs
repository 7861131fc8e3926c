//! A node that is a machine of its own: its agent is at the far end of `ssh`.
//! One connection carries everything, from the agent itself on; when it ends,
//! `host.sh` at its far end leaves the host as it was.

mod log;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{HostPlan, NodePlan, Plan};
use crate::error::{Error, IoContext, Result};
use crate::qemu::machine::{printable, quote};
use crate::sys;
pub(super) use log::follow;

/// What runs there.
const SCRIPT: &str = include_str!("host/host.sh");

/// What ssh complains about, and what the script does.
pub(super) const LOG: &str = "ssh.log";

/// The file with the command line.
pub(super) const COMMAND_LINE: &str = "ssh.txt";

/// The device to swap to, as a client knows it.
pub(super) const SWAP: &str = "/rapidswap/swap";

/// How long a host may take to let go of everything, bringing back what was
/// swapped included.
const FAREWELL: Duration = Duration::from_secs(120);

/// Asks nothing, since nobody is there to answer, and notices in half a minute
/// that a host is gone.
const OPTIONS: [&str; 10] = [
    "-T",
    "-x",
    "-o",
    "BatchMode=yes",
    "-o",
    "ServerAliveInterval=10",
    "-o",
    "ServerAliveCountMax=3",
    "-o",
    "ConnectTimeout=30",
];

/// All that a host is sent, in a compressed tar file.
pub(super) struct Parcel {
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

impl Parcel {
    /// Packs the payload in `dir` and the agent.
    pub(super) fn pack(run: &Path, dir: &Path, agent: &Path) -> Result<Parcel> {
        let path = run.join("payload.tar.gz");
        let problem = || format!("cannot pack {}", path.display());
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--gzip").arg("--file").arg(&path);
        tar.args(["--dereference", "--owner=0", "--group=0"]);
        tar.arg("--directory").arg(dir).args(["bin", "modules"]);
        let name = agent.file_name().unwrap_or_default();
        tar.arg("--directory")
            .arg(agent.parent().unwrap_or(dir))
            .arg(name);
        let output = tar.output().what(problem)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Supervisor(format!("{}: {said}", problem())));
        }
        let mut hash = Sha256::new();
        let mut file = File::open(&path).what(problem)?;
        let bytes = io::copy(&mut file, &mut hash).what(problem)?;
        Ok(Parcel {
            path,
            bytes,
            sha256: format!("{:x}", hash.finalize()),
        })
    }

    /// Sends the script and it, before anything is said to the agent.
    pub(super) fn send(&self, mut to: &UnixStream) -> io::Result<()> {
        to.write_all(SCRIPT.as_bytes())?;
        io::copy(&mut File::open(&self.path)?, &mut to).map(drop)
    }
}

/// Starts the ssh to a host; the stream leads to whatever runs there.
pub(super) fn start(
    host: &HostPlan,
    node: &NodePlan,
    plan: &Plan,
    parcel: &Parcel,
    dir: &Path,
) -> Result<(Child, UnixStream)> {
    let problem = || "cannot start ssh".to_owned();
    let args = arguments(host, node, plan, parcel);
    let written = fs::write(dir.join(COMMAND_LINE), printable("ssh", &args));
    written.what(|| format!("cannot write in {}", dir.display()))?;
    let log = File::create(dir.join(LOG)).what(problem)?;
    let (ours, theirs) = UnixStream::pair().what(problem)?;
    let input = theirs.try_clone().what(problem)?;
    let mut command = Command::new("ssh");
    command.args(args);
    command.stdin(Stdio::from(OwnedFd::from(input)));
    command.stdout(Stdio::from(OwnedFd::from(theirs)));
    command.stderr(log);
    sys::tie(&mut command, &[]);
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::Supervisor("ssh is not in PATH: install openssh-client".into())
        }
        _ => Error::Io {
            what: problem(),
            source: error,
        },
    })?;
    Ok((child, ours))
}

/// What the user's shell is told: to run the script that comes first on
/// standard input, which spares that a second round of quoting, as root.
const START: &str = r#"script=$(head -c "$1") && shift &&
if [ "$(id -u)" = 0 ]; then exec sh -c "$script" "$@"; else exec sudo -n -- sh -c "$script" "$@"; fi"#;

/// The arguments of ssh.
fn arguments(host: &HostPlan, node: &NodePlan, plan: &Plan, parcel: &Parcel) -> Vec<OsString> {
    let disk = match &host.disk {
        _ if !node.swap_disk => "none".to_owned(),
        Some(disk) => disk.display().to_string(),
        None => plan.disk_mib.to_string(),
    };
    let words = [
        "exec",
        "sh",
        "-c",
        START,
        "start",
        &SCRIPT.len().to_string(),
        "rapidswap",
        &parcel.bytes.to_string(),
        &parcel.sha256,
        &host.build_id,
        &plan.kernel_release,
        &host.netdev,
        &disk,
    ];
    let remote: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    let mut args: Vec<OsString> = OPTIONS.map(OsString::from).into();
    args.extend(host.ssh.words().iter().map(OsString::from));
    args.extend(["--".into(), remote.join(" ").into()]);
    args
}

/// Says to a host that this was all, and waits until it has let go.
pub(super) fn leave(stream: &UnixStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(FAREWELL))?;
    let mut rest = stream;
    // What is still on its way is of no use any more.
    let mut buffer = [0; 4096];
    while rest.read(&mut buffer)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::plan;

    #[test]
    fn the_command_line_of_ssh_is_as_written_down() {
        let plan = plan(1);
        let ssh = serde_json::from_str(r#"["-p", "2222", "root@host one"]"#);
        let host = HostPlan {
            ssh: ssh.expect("words"),
            netdev: "enp1s0".into(),
            disk: None,
            build_id: "0123abcd".into(),
        };
        let parcel = Parcel {
            path: "/run/payload.tar.gz".into(),
            bytes: 4_000_000,
            sha256: "fedc".into(),
        };
        let line = |node: usize, host: &HostPlan| {
            let args = arguments(host, &plan.nodes[node], &plan, &parcel);
            printable("ssh", &args).replace(&SCRIPT.len().to_string(), "LENGTH")
        };
        assert_eq!(line(0, &host), include_str!("../../tests/golden/ssh.txt"));
        // A disk of the host's own, and a node that does not swap.
        let disk = HostPlan {
            disk: Some("/dev/nvme0n1".into()),
            ..host
        };
        assert!(line(0, &disk).contains("/dev/nvme0n1"));
        assert!(line(1, &disk).ends_with("enp1s0 none'\n"));
    }
}

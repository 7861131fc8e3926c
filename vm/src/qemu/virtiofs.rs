//! Shares one directory with one VM, read-only, through virtiofs. The file
//! system server runs in a process of its own (`rapidswap __virtiofs DIR`), so
//! that a fault in it costs a share and not the supervisor.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use vhost::vhost_user::Listener;
use vhost_user_backend::{Error as BackendError, VhostUserDaemon};
use virtiofsd::passthrough::read_only::PassthroughFsRo;
use virtiofsd::passthrough::{CachePolicy, Config};
use virtiofsd::vhost_user::VhostUserFsBackendBuilder;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::error::{IoContext, Result};
use crate::qemu::device::PAYLOAD_TAG;
use crate::sys;

/// Starts a process that serves `dir`. Returns it and a connected socket for
/// QEMU. `meeting` is the path of a socket that exists during this call only.
pub(crate) fn spawn(dir: &Path, meeting: &Path) -> Result<(Child, UnixStream)> {
    let problem = || format!("cannot share {}", dir.display());
    let listener = UnixListener::bind(meeting).what(problem)?;
    let stream = UnixStream::connect(meeting).what(problem)?;
    std::fs::remove_file(meeting).what(problem)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("__virtiofs")
        .arg(dir)
        .stdin(Stdio::from(OwnedFd::from(listener)));
    sys::tie(&mut command, &[]);
    Ok((command.spawn().what(problem)?, stream))
}

/// Serves `dir` to the one VM which is connected to the listening socket on
/// standard input, until that VM ends.
pub fn serve(dir: &Path) -> anyhow::Result<()> {
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("no socket on stdin")?;
    let mut listener = Listener::from(UnixListener::from(socket));
    let root = dir
        .to_str()
        .with_context(|| format!("{} is not UTF-8", dir.display()))?;
    let config = Config {
        root_dir: root.to_owned(),
        // Nobody else writes here while the VM runs.
        cache_policy: CachePolicy::Always,
        ..Config::default()
    };
    let fs = PassthroughFsRo::new(config).with_context(|| format!("cannot serve {root}"))?;
    let backend = VhostUserFsBackendBuilder::default()
        .set_tag(Some(PAYLOAD_TAG.to_owned()))
        .build(fs)
        .map_err(|error| anyhow!("cannot make the file system server: {error}"))?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let mut daemon = VhostUserDaemon::new(PAYLOAD_TAG.to_owned(), Arc::new(backend), memory)
        .map_err(|error| anyhow!("cannot make the vhost-user server: {error:?}"))?;
    daemon
        .start(&mut listener)
        .map_err(|error| anyhow!("cannot accept the VM's connection: {error:?}"))?;
    match daemon.wait() {
        Ok(()) | Err(BackendError::HandleRequest(vhost::vhost_user::Error::Disconnected)) => Ok(()),
        Err(error) => Err(anyhow!("cannot serve the VM: {error:?}")),
    }
}

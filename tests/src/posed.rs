//! Two virtual machines that pose as hosts, by `tests/pose/pose.sh`: nothing of
//! a cluster knows that they are no real ones.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rapidswap_kernel::Variant;

use crate::rapidswap::{release, root};
use crate::wait::wait_until;

/// What a cluster must leave as it found it.
const STATE: &str = "\
    ls -d /rapidswap /run/remoteswap* /run/log/remoteswap* 2>/dev/null; \
    cat /proc/swaps; cut -d ' ' -f 1 /proc/modules; ls /sys/class/infiniband; \
    cat /sys/kernel/mm/remote_swap/area /sys/kernel/mm/remote_swap/backend; \
    ip -brief address; cat /sys/class/net/eth1/mtu /sys/class/net/eth1/flags; losetup; \
    cat /proc/sys/vm/min_free_kbytes; ls -d /sys/fs/cgroup/memory/rapidswap-* 2>/dev/null; \
    readlink /proc/[0-9]*/exe | grep rapidswap; true";

/// Two posed hosts. Dropped, they are gone.
pub struct Posed {
    child: Child,
    dir: PathBuf,
}

impl Posed {
    /// Boots them on a kernel, with their files in `dir`, and waits until they
    /// answer.
    pub fn start(kernel: Variant, dir: &Path) -> Result<Posed> {
        let variant = kernel.to_string();
        let vmlinux = path_from("rapidswap-kernel", &["build", "--variant", &variant])?;
        let image = path_from("rapidswap-images", &["build", "--posed-host"])?;
        // They end with this thread, if it cannot end them.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        command.arg(root().join("tests/pose/pose.sh"));
        command.args([&vmlinux, &image]).arg(dir);
        command.args([free_port()?, free_port()?].map(|port| port.to_string()));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no pipe")?;
        let posed = Posed {
            child,
            dir: dir.to_owned(),
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the posed hosts are not up");
        Ok(posed)
    }

    /// The profile that has them as its nodes.
    pub fn profile(&self) -> String {
        self.dir.join("profile.toml").to_string_lossy().into_owned()
    }

    /// Runs a script on one of them by an ssh of its own.
    pub fn ssh(&self, host: &str, script: &str) -> Result<String> {
        let config = self.dir.join("ssh_config");
        let output = Command::new("ssh")
            .arg("-F")
            .arg(config)
            .args([host, script])
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ssh {host}: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// All on both of them that a cluster must leave as it found it.
    pub fn state(&self) -> Result<[String; 2]> {
        Ok([self.ssh("client", STATE)?, self.ssh("server", STATE)?])
    }

    /// Waits until they are as they were.
    pub fn wait_for(&self, before: &[String; 2], limit: Duration) -> Result<()> {
        let mut now = before.clone();
        let same = wait_until("hosts as they were", limit, || {
            now = self.state()?;
            Ok((now == *before).then_some(()))
        });
        same.with_context(|| format!("they were {before:#?} and are {now:#?}"))
    }
}

impl Drop for Posed {
    fn drop(&mut self) {
        // It ends its machines and then itself.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// The path that one of this checkout's programs prints.
fn path_from(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(release().join(program))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output();
    let output = output.with_context(|| format!("run {program}"))?;
    ensure!(output.status.success(), "{program}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A port that was free just now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

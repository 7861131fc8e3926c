//! The tools that people boot kernels in VMs with today: one VM, the same
//! vmlinux, without KVM, by their fastest documented way.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rapidswap_cli::in_path;

use super::timing::{line, timed_ok};

/// What each of them is asked to run.
const COMMAND: &str = "uname -r";

/// Both, and the kernel they boot.
pub struct Others {
    vmtest: PathBuf,
    vng: PathBuf,
    vmlinux: PathBuf,
}

impl Others {
    /// Finds them, or says how to get them.
    pub fn find(vmlinux: &Path) -> Result<Others> {
        // virtme-ng gives its VM the host's files, and finds the port that
        // its script is read from by the names that udev makes.
        for (program, package) in [
            ("bwrap", "bubblewrap"),
            ("qemu-ga", "qemu-guest-agent"),
            ("udevadm", "udev"),
        ] {
            find(program, &format!("sudo apt-get install {package}"))?;
        }
        Ok(Others {
            vmtest: find("vmtest", "cargo install vmtest --locked")?,
            vng: find("vng", "pipx install virtme-ng")?,
            vmlinux: vmlinux.to_owned(),
        })
    }

    /// Seconds of one VM of vmtest.
    pub fn vmtest(&self) -> Result<f64> {
        seconds(&mut self.vmtest_command())
    }

    /// Seconds of one VM of virtme-ng.
    pub fn vng(&self) -> Result<f64> {
        seconds(&mut self.vng_command())
    }

    /// How they are called.
    pub fn lines(&self) -> Vec<String> {
        vec![line(&self.vmtest_command()), line(&self.vng_command())]
    }

    /// It takes KVM wherever there is such a device, so it sees a /dev without.
    fn vmtest_command(&self) -> Command {
        let mut command = Command::new("bwrap");
        command
            .args(["--dev-bind", "/", "/", "--dev", "/dev", "--"])
            .arg(&self.vmtest)
            .arg("-k")
            .arg(&self.vmlinux)
            .arg(COMMAND);
        command
    }

    fn vng_command(&self) -> Command {
        let mut command = Command::new(&self.vng);
        command.arg("--run").arg(&self.vmlinux).args([
            "--disable-kvm",
            "--cpus",
            "1",
            "--exec",
            COMMAND,
        ]);
        command
    }
}

fn seconds(command: &mut Command) -> Result<f64> {
    let (output, seconds) = timed_ok(command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        said.contains("-rapidswap"),
        "{}: the kernel did not say its release: {said:?}",
        line(command)
    );
    Ok(seconds)
}

fn find(program: &str, get: &str) -> Result<PathBuf> {
    in_path(program).with_context(|| {
        format!("no {program} in PATH to compare with: {get}, or give --skip others")
    })
}

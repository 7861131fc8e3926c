//! Which accelerator a cluster runs with, and why. A device file that can be
//! opened proves nothing: some hosts offer `/dev/kvm` and cannot boot a
//! kernel with it. So a guest is booted, within a deadline, and what came of
//! it is remembered until the kernel, QEMU or the host's boot changes.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rapidswap_progress::Reporter;
use serde::{Deserialize, Serialize};

use crate::device::Accel;
use crate::error::{Error, IoContext, Result};
use crate::machine::QEMU;
use crate::options::AccelChoice;
use crate::probe;

/// A guest that boots under KVM at all does so in a fraction of this.
const DEADLINE: Duration = Duration::from_secs(10);

/// The file in the cache that remembers.
const VERDICT: &str = "kvm-verdict.json";

/// QEMU that has `-netdev dgram`.
const OLDEST_QEMU: (u32, u32) = (7, 2);

/// An accelerator and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator.
    pub accel: Accel,
    /// Why, for people.
    pub reason: String,
}

/// Whether a guest boots under KVM, for one kernel, QEMU and boot of the host.
#[derive(Debug, Serialize, Deserialize)]
struct Verdict {
    key: String,
    works: bool,
    reason: String,
}

/// The accelerator where it does not depend on a probe.
pub(crate) fn known(choice: AccelChoice) -> Result<Option<Choice>> {
    if choice == AccelChoice::Tcg {
        return Ok(Some(Choice {
            accel: Accel::Tcg,
            reason: "asked for".into(),
        }));
    }
    match openable(Path::new("/dev/kvm")) {
        Ok(()) => Ok(None),
        Err(reason) => refuse(choice, reason).map(Some),
    }
}

/// The accelerator after booting `kernel`, or after what became of it last
/// time.
pub(crate) fn probed(
    choice: AccelChoice,
    kernel: &Path,
    qemu: &str,
    cache: &Path,
    reporter: &Reporter,
) -> Result<Choice> {
    let key = key(kernel, qemu)?;
    let file = cache.join(VERDICT);
    let verdict = match read(&file).filter(|verdict| verdict.key == key) {
        Some(verdict) => verdict,
        None => {
            let step = reporter.step("kvm probe", DEADLINE);
            let outcome = probe::boots(kernel, Accel::Kvm, DEADLINE);
            let (works, reason) = match outcome {
                Ok(took) => (
                    true,
                    format!("a guest booted in {:.1} s", took.as_secs_f64()),
                ),
                Err(reason) => (false, format!("/dev/kvm is there, but {reason}")),
            };
            step.done(&reason);
            let verdict = Verdict { key, works, reason };
            write(&file, &verdict);
            verdict
        }
    };
    if verdict.works {
        Ok(Choice {
            accel: Accel::Kvm,
            reason: verdict.reason,
        })
    } else {
        refuse(choice, verdict.reason)
    }
}

/// What the last probe since the host booted came to, with this QEMU.
pub(crate) fn remembered(cache: &Path, qemu: &str) -> Option<(bool, String)> {
    let verdict = read(&cache.join(VERDICT))?;
    let (start, end) = (format!("{} ", host_boot()), format!(" {qemu}"));
    let still = verdict.key.starts_with(&start) && verdict.key.ends_with(&end);
    still.then_some((verdict.works, verdict.reason))
}

/// KVM cannot be had.
fn refuse(choice: AccelChoice, reason: String) -> Result<Choice> {
    match choice {
        AccelChoice::Kvm => Err(Error::KvmUnusable(reason)),
        _ => Ok(Choice {
            accel: Accel::Tcg,
            reason,
        }),
    }
}

fn openable(device: &Path) -> Result<(), String> {
    let name = device.display();
    match OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("there is no {name}")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(format!("no permission to open {name}: join group kvm"))
        }
        Err(error) => Err(format!("cannot open {name}: {error}")),
    }
}

/// The version of QEMU, if there is one and it is new enough.
pub(crate) fn qemu_version() -> Result<String> {
    let output = match Command::new(QEMU).arg("--version").output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::MissingQemu(QEMU));
        }
        other => other.what(|| format!("cannot run {QEMU}"))?,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1);
    let version = version.unwrap_or("unknown").to_owned();
    match number(&version) {
        Some(number) if number < OLDEST_QEMU => Err(Error::OldQemu(version)),
        _ => Ok(version),
    }
}

/// Major and minor number of a version.
pub(crate) fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What a verdict holds for.
fn key(kernel: &Path, qemu: &str) -> Result<String> {
    let meta = fs::metadata(kernel).what(|| format!("cannot read {}", kernel.display()))?;
    // Which kernel of this checkout it is matters; its contents are named by
    // its path in the cache.
    Ok(format!(
        "{} {} {} {qemu}",
        host_boot(),
        kernel.display(),
        meta.size()
    ))
}

/// Which boot of the host this is.
pub(crate) fn host_boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

fn read(file: &Path) -> Option<Verdict> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Without a remembered verdict the next `up` probes again, no worse.
fn write(file: &Path, verdict: &Verdict) {
    let half = file.with_extension(std::process::id().to_string());
    let Ok(json) = serde_json::to_vec_pretty(verdict) else {
        return;
    };
    if let Some(dir) = file.parent() {
        let _ = fs::create_dir_all(dir);
    }
    if fs::write(&half, json).is_ok() {
        let _ = fs::rename(&half, file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcg_needs_no_probe() {
        let choice = known(AccelChoice::Tcg).expect("chosen").expect("known");
        assert_eq!(choice.accel, Accel::Tcg);
    }

    #[test]
    fn where_kvm_is_missing_only_asking_for_it_fails() {
        let reason = openable(Path::new("/nowhere/kvm")).expect_err("missing");
        assert_eq!(reason, "there is no /nowhere/kvm");
        let auto = refuse(AccelChoice::Auto, reason.clone()).expect("falls back");
        assert_eq!(
            auto,
            Choice {
                accel: Accel::Tcg,
                reason: reason.clone()
            }
        );
        let error = refuse(AccelChoice::Kvm, reason)
            .expect_err("hard")
            .to_string();
        assert_eq!(
            error,
            "--accel kvm: there is no /nowhere/kvm; use `--accel tcg` or `--accel auto`"
        );
    }

    #[test]
    fn a_verdict_is_remembered() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let file = temp.path().join("cache/kvm-verdict.json");
        let verdict = Verdict {
            key: "k".into(),
            works: false,
            reason: "r".into(),
        };
        write(&file, &verdict);
        let again = read(&file).expect("read back");
        assert_eq!((again.key.as_str(), again.works), ("k", false));
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(number("10.0.2").expect("number") > OLDEST_QEMU);
        assert!(number("7.1.0").expect("number") < OLDEST_QEMU);
        assert_eq!(number("unknown"), None);
    }
}

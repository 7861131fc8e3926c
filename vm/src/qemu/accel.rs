//! Which accelerator a cluster runs with, and why. A device file that can be
//! opened proves nothing: some hosts offer `/dev/kvm` and cannot boot a
//! kernel with it. So a guest is booted, within a deadline, and what came of
//! it is remembered until the kernel, QEMU or the host's boot changes.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rapidswap_progress::Reporter;
use serde::{Deserialize, Serialize};

use crate::cluster::options::AccelChoice;
use crate::error::{Error, IoContext, Result};
use crate::qemu::Qemu;
use crate::qemu::device::Accel;
use crate::qemu::memo;
use crate::qemu::probe;

/// How long an answer is waited for. A guest that boots under KVM at all does
/// so in a fraction of this.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Without the time in which the host is too busy to run a guest that has
    /// said something.
    undisturbed: Duration,
    /// With it.
    in_all: Duration,
}

/// For who wants KVM or nothing.
const PATIENT: Patience = Patience {
    undisturbed: Duration::from_secs(10),
    in_all: Duration::from_secs(30),
};

/// Where TCG does as well. A guest that has not booted by then may still do
/// so, which counts from the next time on.
const FIRST_ANSWER: Patience = Patience {
    undisturbed: Duration::from_millis(2500),
    in_all: Duration::from_secs(10),
};

/// How often it is looked whether the time is over.
const LOOK: Duration = Duration::from_millis(50);

/// The file in the cache that remembers.
const VERDICTS: &str = "kvm-verdicts.json";

/// An accelerator and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator.
    pub accel: Accel,
    /// Why, for people.
    pub reason: String,
}

/// Whether a guest boots under KVM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    works: bool,
    reason: String,
}

/// What is remembered: a verdict for each kernel and QEMU, and the boot of the
/// host for which they hold.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Verdicts {
    host_boot: String,
    of: BTreeMap<String, Verdict>,
}

/// The accelerator where it does not depend on a probe. A QEMU that the user
/// names may have its KVM from elsewhere.
pub(crate) fn known(choice: AccelChoice, qemu: &Qemu) -> Result<Option<Choice>> {
    if choice == AccelChoice::Tcg {
        return Ok(Some(Choice {
            accel: Accel::Tcg,
            reason: "asked for".into(),
        }));
    }
    match openable(Path::new("/dev/kvm")) {
        Err(reason) if !qemu.named => refuse(choice, reason).map(Some),
        _ => Ok(None),
    }
}

/// What [`crate::Cluster::up`] would decide for `kernel` where nobody asks for
/// an accelerator, with its verdicts kept in the directory `cache`.
pub fn decide(kernel: &Path, cache: &Path, reporter: &Reporter) -> Result<Choice> {
    let qemu = Qemu::find()?;
    match known(AccelChoice::Auto, &qemu)? {
        Some(choice) => Ok(choice),
        None => probed(AccelChoice::Auto, kernel, &qemu, cache, reporter),
    }
}

/// The accelerator after booting `kernel`, or after what became of it last
/// time.
pub(crate) fn probed(
    choice: AccelChoice,
    kernel: &Path,
    qemu: &Qemu,
    cache: &Path,
    reporter: &Reporter,
) -> Result<Choice> {
    let (file, key) = (cache.join(VERDICTS), key(kernel, qemu)?);
    let verdict = match read(&file).of.remove(&key) {
        // Who asks for KVM may well have mended it.
        Some(verdict) if verdict.works || choice != AccelChoice::Kvm => verdict,
        _ => probe(choice, kernel, qemu, file, key, reporter)?,
    };
    match verdict.works {
        true => Ok(Choice {
            accel: Accel::Kvm,
            reason: verdict.reason,
        }),
        false => refuse(choice, verdict.reason),
    }
}

/// Boots a guest. Where TCG does as well, only the first answer is waited for:
/// a later one is remembered for the next time.
fn probe(
    choice: AccelChoice,
    kernel: &Path,
    qemu: &Qemu,
    file: PathBuf,
    key: String,
    reporter: &Reporter,
) -> Result<Verdict> {
    let patience = match choice {
        AccelChoice::Kvm => PATIENT,
        _ => FIRST_ANSWER,
    };
    let step = reporter.step("kvm probe", FIRST_ANSWER.undisturbed);
    let (sender, answer) = channel();
    let (speaking, spoken) = channel();
    let (kernel, program) = (kernel.to_owned(), qemu.program.clone());
    let remembers = (file.clone(), key.clone());
    let body = move || {
        let speaks = |process| {
            let _ = speaking.send(process);
        };
        let booted = probe::boots(&program, &kernel, Accel::Kvm, patience.in_all, speaks);
        let verdict = match booted {
            Ok(took) => Verdict {
                works: true,
                reason: format!("a guest booted in {:.1} s", took.as_secs_f64()),
            },
            Err(reason) => Verdict {
                works: false,
                reason: format!("/dev/kvm is there, but {reason}"),
            },
        };
        remember(&remembers.0, remembers.1, &verdict);
        let _ = sender.send(verdict);
    };
    let thread = thread::Builder::new().name("kvm probe".into()).spawn(body);
    thread.what(|| "cannot start a thread".into())?;
    let (since, mut process) = (Instant::now(), None);
    let verdict = loop {
        if let Ok(verdict) = answer.recv_timeout(LOOK) {
            break verdict;
        }
        process = process.or_else(|| spoken.try_recv().ok());
        let kept = process.map_or(Duration::ZERO, probe::kept_waiting);
        let took = since.elapsed();
        // At the end of all its time the probe says so itself, if it can.
        if took.saturating_sub(kept) < patience.undisturbed && took < 2 * patience.in_all {
            continue;
        }
        let seconds = took.as_secs_f64();
        let verdict = Verdict {
            works: false,
            reason: format!(
                "/dev/kvm is there, but no guest had booted with it after {seconds:.1} s"
            ),
        };
        remember(&file, key, &verdict);
        break verdict;
    };
    step.done(&verdict.reason);
    Ok(verdict)
}

/// What the probes since the host booted came to, with this QEMU.
pub(crate) fn remembered(cache: &Path, qemu: &Qemu) -> Option<(bool, String)> {
    let end = format!(" {}", qemu.identity());
    let verdicts = read(&cache.join(VERDICTS)).of;
    let mut with = verdicts.into_iter().filter(|(key, _)| key.ends_with(&end));
    with.next()
        .map(|(_, verdict)| (verdict.works, verdict.reason))
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

/// What a verdict holds for. The contents of a kernel are named by its path in
/// the cache, and one of the user's own is known by its size and time.
fn key(kernel: &Path, qemu: &Qemu) -> Result<String> {
    let meta = fs::metadata(kernel).what(|| format!("cannot read {}", kernel.display()))?;
    let (size, time) = (meta.size(), meta.mtime());
    Ok(format!(
        "{} {size} {time} {}",
        kernel.display(),
        qemu.identity()
    ))
}

/// Which boot of the host this is.
pub(crate) fn host_boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// What holds for this boot of the host.
fn read(file: &Path) -> Verdicts {
    let verdicts: Verdicts = memo::recall(file).unwrap_or_default();
    match host_boot() {
        boot if boot == verdicts.host_boot => verdicts,
        host_boot => Verdicts {
            host_boot,
            of: BTreeMap::new(),
        },
    }
}

/// Without a remembered verdict the next `up` probes again, no worse.
fn remember(file: &Path, key: String, verdict: &Verdict) {
    let mut verdicts = read(file);
    verdicts.of.insert(key, verdict.clone());
    let _ = memo::write_down(file, &verdicts);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    /// A program in the place of QEMU.
    fn shim(dir: &Path, script: &str) -> Qemu {
        let program = dir.join("qemu");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
        Qemu {
            program,
            version: "10.0".into(),
            named: true,
        }
    }

    fn decide(dir: &Path, choice: AccelChoice, qemu: &Qemu) -> Result<Choice> {
        let kernel = dir.join("vmlinux");
        if !kernel.exists() {
            fs::write(&kernel, "no kernel").expect("written");
        }
        let cache = dir.join("cache");
        probed(choice, &kernel, qemu, &cache, &Reporter::silent())
    }

    #[test]
    fn tcg_needs_no_probe() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let qemu = shim(temp.path(), "exit 1");
        let choice = known(AccelChoice::Tcg, &qemu).expect("chosen");
        assert_eq!(choice.expect("known").accel, Accel::Tcg);
        assert_eq!(known(AccelChoice::Auto, &qemu).expect("no error"), None);
    }

    #[test]
    fn a_qemu_that_hangs_is_given_up_within_the_deadline_and_remembered() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path();
        let qemu = shim(dir, "echo $$ >> \"$0.started\"; exec sleep 1000");
        let started = Instant::now();
        let choice = decide(dir, AccelChoice::Auto, &qemu).expect("falls back");
        // It says nothing, so that no time is taken off for other work.
        let took = started.elapsed();
        assert!(took < Duration::from_millis(3500), "{took:?}");
        assert_eq!(choice.accel, Accel::Tcg);
        assert!(choice.reason.contains("no guest had booted"), "{choice:?}");
        assert_eq!(
            decide(dir, AccelChoice::Auto, &qemu).expect("as before"),
            choice
        );
        let runs = fs::read_to_string(dir.join("qemu.started")).expect("it ran");
        assert_eq!(runs.lines().count(), 1, "probed again: {runs}");
    }

    #[test]
    fn a_qemu_that_crashes_is_given_up_at_once_with_its_reason() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path();
        let qemu = shim(dir, "echo 'kvm: no such luck' >&2; kill -SEGV $$");
        let started = Instant::now();
        let choice = decide(dir, AccelChoice::Auto, &qemu).expect("falls back");
        assert!(
            started.elapsed() < FIRST_ANSWER.undisturbed,
            "{:?}",
            started.elapsed()
        );
        assert_eq!(choice.accel, Accel::Tcg);
        assert!(choice.reason.contains("kvm: no such luck"), "{choice:?}");
        let error = decide(dir, AccelChoice::Kvm, &qemu).expect_err("hard");
        assert!(matches!(error, Error::KvmUnusable(_)), "{error}");
    }

    #[test]
    fn another_qemu_is_another_question() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path();
        let first = shim(dir, "echo first >&2");
        let reason = |qemu| decide(dir, AccelChoice::Auto, qemu).expect("TCG").reason;
        assert!(reason(&first).contains("first"));
        let second = shim(dir, "echo the second one >&2");
        assert!(reason(&second).contains("the second one"));
        let remembered = remembered(&dir.join("cache"), &second).expect("one of it");
        assert!(!remembered.0 && remembered.1.contains("the second one"));
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
    fn a_verdict_is_remembered_until_the_host_boots() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let file = temp.path().join("cache/verdicts.json");
        let verdict = Verdict {
            works: false,
            reason: "r".into(),
        };
        remember(&file, "k".into(), &verdict);
        remember(&file, "l".into(), &verdict);
        let seen = read(&file).of;
        assert_eq!((seen.len(), seen.get("k")), (2, Some(&verdict)));
        let text = fs::read_to_string(&file).expect("readable");
        fs::write(&file, text.replace(&host_boot(), "another boot")).expect("written");
        assert!(read(&file).of.is_empty());
    }
}

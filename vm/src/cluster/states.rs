//! Saved states of proved clusters, in `states/` of the cache: a directory for
//! each kernel, image, QEMU, set of programs, options and boot of the host,
//! with a file for each node. Each holds some hundred MiB, so that only those
//! used last are kept.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use rapidswap_cache::{Key, UNFINISHED, finish, unfinished};
use tempfile::TempDir;

use crate::cluster::programs;
use crate::cluster::status::Start;
use crate::error::{Error, IoContext, Result};
use crate::qemu;
use crate::qemu::accel;
use crate::supervisor::{Origin, Plan};

/// QEMU that has the `mapped-ram` format.
const OLDEST_QEMU: (u32, u32) = (9, 0);

/// How many are kept.
const KEPT: usize = 4;

/// Why this QEMU cannot restore anything, if it cannot.
pub(crate) fn unsupported(qemu: &str) -> Option<String> {
    let old = qemu::number(qemu).is_none_or(|number| number < OLDEST_QEMU);
    let (major, minor) = OLDEST_QEMU;
    old.then(|| format!("QEMU {qemu} restores no saved state, {major}.{minor} and newer do"))
}

/// The place of one cluster's saved state.
pub(crate) struct States {
    dir: PathBuf,
    key: String,
}

/// A saved state.
pub(crate) struct State {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// How long ago it was saved.
    pub(crate) age: Duration,
}

impl States {
    /// Below `cache`, for clusters like this one.
    pub(crate) fn of(plan: &Plan, cache: &Path) -> Result<States> {
        Ok(States {
            dir: cache.join("states"),
            key: key(plan, &programs::rapidswap()?)?,
        })
    }

    /// The saved state, if there is one; it now counts as used.
    pub(crate) fn find(&self) -> Option<State> {
        let path = self.path();
        let first = fs::read_dir(&path).ok()?.flatten().next()?;
        let saved = first.metadata().and_then(|meta| meta.modified()).ok()?;
        let now = SystemTime::now();
        // One that looks older than it is goes earlier, no worse.
        let _ = File::open(&path).and_then(|dir| dir.set_modified(now));
        Some(State {
            path,
            age: now.duration_since(saved).unwrap_or_default(),
        })
    }

    /// Throws the saved state away.
    pub(crate) fn discard(&self) -> Result<()> {
        remove(&self.path())
    }

    /// Begins to save one, unless somebody else is saving, or has by now.
    pub(crate) fn begin(&self) -> Result<Option<Saving<'_>>> {
        let problem = || format!("cannot write in {}", self.dir.display());
        fs::create_dir_all(&self.dir).what(problem)?;
        let lock = File::create(self.dir.join("lock")).what(problem)?;
        let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
            return Ok(None);
        };
        if self.path().exists() {
            return Ok(None);
        }
        Ok(Some(Saving {
            states: self,
            dir: unfinished(&self.dir, "state")?,
            _lock: lock,
        }))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(&self.key)
    }
}

/// A state that is being saved. Dropped, it is gone.
pub(crate) struct Saving<'a> {
    states: &'a States,
    dir: TempDir,
    _lock: Flock<File>,
}

impl Saving<'_> {
    /// Where its files go.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// It is whole: from now on it is found. The ones not used for longest go.
    pub(crate) fn finish(self) -> Result<()> {
        finish(self.dir, &self.states.path())?;
        let mut whole: Vec<_> = entries(&self.states.dir)
            .filter(|(path, _)| path.is_dir() && !is_unfinished(path))
            .collect();
        whole.sort_by_key(|(_, used)| Reverse(*used));
        for (path, _) in whole.drain(..).skip(KEPT) {
            remove(&path)?;
        }
        Ok(())
    }
}

/// Removes a directory, unless somebody else has.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).what(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// What is in a directory, and when it was last used.
fn entries(dir: &Path) -> impl Iterator<Item = (PathBuf, SystemTime)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.modified().ok()?)))
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(UNFINISHED)
}

/// What a state depends on, as a name. The module is not among it: it is
/// loaded later, from a share whose contents no node has looked at before.
/// The host's boot is: a state is not synced to the disk, and one that a
/// crash of the host has cut would not be told from a whole one. The agents
/// have to do with this program, which is `own`.
fn key(plan: &Plan, own: &Path) -> Result<String> {
    let likeness = Plan {
        name: String::new(),
        base: PathBuf::new(),
        accel_reason: String::new(),
        // The same until the host boots again.
        tsc_khz: None,
        origin: Origin::Boot,
        start: Start {
            restored: false,
            reason: String::new(),
        },
        modules: Vec::new(),
        loads: Vec::new(),
        swap_to: String::new(),
        server_mib: 0,
        build_s: 0.0,
        ..plan.clone()
    };
    let mut key = Key::default();
    key.put(accel::host_boot());
    key.put(plan.qemu.identity());
    let json = serde_json::to_vec(&likeness);
    key.put(json.map_err(|error| Error::Supervisor(error.to_string()))?);
    let files = [&plan.agent, &plan.vmlinux, &plan.image];
    let files = files.into_iter().chain(&plan.programs);
    for file in files.map(PathBuf::as_path).chain([own]) {
        key.put(identity(file)?);
    }
    Ok(key.finish())
}

/// A file's length and when it was changed: all are files that are replaced
/// and not written to, and reading them would take longer than restoring.
fn identity(file: &Path) -> Result<String> {
    let problem = || format!("cannot read {}", file.display());
    let meta = fs::metadata(file).what(problem)?;
    let changed = meta.modified().what(problem)?;
    let since = changed
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(format!("{} {}", meta.len(), since.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::device::Accel;
    use crate::supervisor::plan;
    use rapidswap_kernel::Variant;

    fn states(dir: &Path, key: &str) -> States {
        States {
            dir: dir.join("states"),
            key: key.into(),
        }
    }

    fn save(states: &States) {
        let saving = states.begin().expect("begun").expect("nobody else");
        fs::write(saving.path().join("client"), "memory").expect("file");
        saving.finish().expect("finished");
    }

    #[test]
    fn a_state_is_found_when_it_is_whole_and_until_it_is_discarded() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let states = states(temp.path(), "one");
        assert!(states.find().is_none());
        let saving = states.begin().expect("begun").expect("nobody else");
        assert!(states.find().is_none());
        assert!(states.begin().expect("looked").is_none(), "two save");
        drop(saving);
        assert!(states.find().is_none());
        save(&states);
        let state = states.find().expect("saved");
        assert_eq!(
            fs::read(state.path.join("client")).expect("file"),
            b"memory"
        );
        assert!(states.begin().expect("looked").is_none(), "saved twice");
        for _ in 0..2 {
            states.discard().expect("discarded");
        }
        assert!(states.find().is_none());
    }

    #[test]
    fn what_a_killed_up_left_goes_and_so_do_those_not_used() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let half = temp.path().join("states/.unfinished-state-killed");
        fs::create_dir_all(&half).expect("directory");
        let used = |name: &str, at: u64| {
            let states = states(temp.path(), name);
            save(&states);
            let dir = File::open(states.path()).expect("saved");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            dir.set_modified(time).expect("set");
        };
        for (name, at) in [("a", 5), ("b", 1), ("c", 4), ("d", 3), ("e", 2)] {
            used(name, at);
        }
        assert!(!half.exists());
        // `b` went when `e` came; using `d` saves it from being the next.
        states(temp.path(), "d").find().expect("there");
        used("f", 6);
        let there = |name: &&str| states(temp.path(), name).find().is_some();
        let left: Vec<_> = ["a", "b", "c", "d", "e", "f"]
            .into_iter()
            .filter(there)
            .collect();
        assert_eq!(left, ["a", "c", "d", "f"]);
    }

    /// A plan whose files are in `dir`, and a change to it.
    fn changed(dir: &Path, change: impl FnOnce(&mut Plan)) -> String {
        let file = |name: &str| {
            let path = dir.join(name);
            if !path.exists() {
                fs::write(&path, name).expect("file");
            }
            path
        };
        let mut plan = Plan {
            vmlinux: file("vmlinux"),
            image: file("image"),
            agent: file("agent"),
            programs: vec![file("rxe-setup")],
            ..plan(1)
        };
        plan.qemu.program = file("qemu");
        change(&mut plan);
        key(&plan, &file("rapidswap")).expect("a key")
    }

    #[test]
    fn a_state_is_of_one_kernel_image_qemu_and_set_of_options() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path();
        let first = changed(dir, |_| {});
        let same: [fn(&mut Plan); 6] = [
            |_| {},
            |plan| plan.name = "another".into(),
            |plan| plan.modules.push("/cache/another.ko".into()),
            |plan| plan.swap_to = "server2".into(),
            |plan| plan.server_mib = 64,
            |plan| plan.origin = Origin::BootToSave,
        ];
        for (index, change) in same.into_iter().enumerate() {
            assert_eq!(changed(dir, change), first, "{index}");
        }
        let other: [fn(&mut Plan); 10] = [
            |plan| plan.qemu.version = "10.1".into(),
            |plan| plan.accel = Accel::Kvm,
            |plan| plan.cpus = 2,
            |plan| plan.disk_mib = 512,
            |plan| plan.nodes[0].memory_mib = 256,
            |plan| plan.nodes.truncate(1),
            |plan| plan.profile.link.mtu = None,
            |plan| plan.kernel = Variant::Debug.into(),
            |plan| plan.programs.clear(),
            // Another file, though it is like the first.
            |plan| plan.vmlinux = plan.image.clone(),
        ];
        let mut keys = vec![first];
        for change in other {
            keys.push(changed(dir, change));
        }
        // Files of the same names with other contents.
        for name in [
            "vmlinux",
            "image",
            "qemu",
            "agent",
            "rxe-setup",
            "rapidswap",
        ] {
            fs::write(dir.join(name), format!("another {name}")).expect("file");
            keys.push(changed(dir, |_| {}));
        }
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all, "two have the same state");
    }

    #[test]
    fn an_old_qemu_is_said() {
        assert_eq!(unsupported("10.0.2"), None);
        assert_eq!(unsupported("9.0.0"), None);
        let reason = unsupported("8.2.1").expect("too old");
        assert_eq!(
            reason,
            "QEMU 8.2.1 restores no saved state, 9.0 and newer do"
        );
    }
}

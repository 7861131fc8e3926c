//! The cache: how large it is, and what of it goes first. What a running
//! cluster uses stays, and nothing goes while a cluster is on its way up or
//! something is built.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use rapidswap_cache::UNFINISHED;

use crate::cluster::Cluster;
use crate::collect::FAILURES;
use crate::error::{Error, IoContext, Result};
use crate::size::{Size, human_readable};

/// What is in the cache and can be done without, most of it made again: what it
/// is called, and where it is.
const KINDS: [(&str, &str); 6] = [
    ("kernel", "kernel/out"),
    ("module", "module"),
    ("image", "images"),
    ("tree", "kernel/tree"),
    ("state", "states"),
    ("failure", FAILURES),
];

/// Not by content: the modules' work.
const NO_ENTRY: &str = "build";

/// Files that are locked while something is built.
const BUILDS: [&str; 2] = ["kernel/lock", "images/lock"];

/// The file that is locked while a cluster is on its way up.
const USES: &str = "uses.lock";

/// One thing in the cache.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
    /// Whether it is only what a killed build left.
    pub is_left: bool,
    /// Whether a running cluster needs it.
    pub is_needed: bool,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        write!(f, "{} {name}, {}", self.kind, human_readable(self.bytes))
    }
}

/// What was done about the cache.
#[derive(Debug)]
pub struct Cleaned {
    /// What is gone, or would be.
    pub removed: Vec<Entry>,
    /// What the cache takes from now on, all of it.
    pub left: u64,
    /// What of that is in use, or is no finished thing: sources, build
    /// directories, tools.
    pub fixed: u64,
}

impl Cleaned {
    /// What was freed.
    pub fn freed(&self) -> u64 {
        self.removed.iter().map(|entry| entry.bytes).sum()
    }
}

/// Removes what was not used for longest, until the cache is no larger than
/// `limit`, and what killed builds left; with `dry_run` only says what.
pub fn clean(limit: Size, dry_run: bool) -> Result<Cleaned> {
    let root = rapidswap_cache::root()?;
    let mut held = Vec::new();
    for file in BUILDS.iter().chain([&USES]) {
        held.push(alone(&root.join(file))?);
    }
    let mut needed = needed()?;
    let (locks, busy) = trees(&root);
    held.extend(locks.into_iter().map(Some));
    needed.extend(busy);
    let (entries, total) = (entries(&root, &needed)?, disk_use(&root));
    let removed = choose(entries.clone(), total, limit.bytes());
    if !dry_run {
        for entry in &removed {
            remove(entry)?;
        }
    }
    let freed: u64 = removed.iter().map(|entry| entry.bytes).sum();
    let free = entries.iter().filter(|entry| !entry.is_needed);
    Ok(Cleaned {
        fixed: total - free.map(|entry| entry.bytes).sum::<u64>().min(total),
        left: total.saturating_sub(freed),
        removed,
    })
}

/// What the whole cache takes on the disk.
pub(crate) fn size(root: &Path) -> u64 {
    disk_use(root)
}

/// Held by whoever needs things of the cache that no running cluster has yet.
#[derive(Debug)]
pub(crate) struct InUse {
    _lock: Flock<File>,
}

/// Nothing is cleaned away until this is dropped.
pub(crate) fn in_use() -> Result<InUse> {
    let root = rapidswap_cache::root()?;
    fs::create_dir_all(&root).what(|| format!("cannot make {}", root.display()))?;
    let path = root.join(USES);
    let lock = Flock::lock(open(&path)?, FlockArg::LockShared);
    let lock = lock.map_err(|(_, errno)| errno);
    Ok(InUse {
        _lock: lock.what(|| format!("cannot lock {}", path.display()))?,
    })
}

/// Says that the things in the cache which these files belong to were used now.
pub(crate) fn used<'a>(root: &Path, files: impl IntoIterator<Item = &'a Path>) {
    let folders = files.into_iter().flat_map(|file| file.ancestors().skip(1));
    let folders: HashSet<&Path> = folders
        .filter(|folder| folder.starts_with(root) && *folder != root)
        .collect();
    for folder in folders {
        // One that is not ours cannot be cleaned away either.
        let _ = File::open(folder).and_then(|folder| folder.set_modified(SystemTime::now()));
    }
}

/// Takes a lock that somebody may hold for long, or says so.
fn alone(path: &Path) -> Result<Option<Flock<File>>> {
    if path.parent().is_some_and(|folder| !folder.exists()) {
        return Ok(None);
    }
    match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err(_) => Err(Error::BadOption(
            "something is being built or brought up: clean when that is done".into(),
        )),
    }
}

/// Locks the trees that nobody builds just now; gives the others as well.
fn trees(root: &Path) -> (Vec<Flock<File>>, Vec<PathBuf>) {
    let (mut locks, mut busy) = (Vec::new(), Vec::new());
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let trees = below(&root.join("kernel/tree"));
    for variant in trees.flat_map(|tree| below(&tree.path())) {
        // A build locks the folder itself.
        let Ok(folder) = File::open(variant.path()) else {
            continue;
        };
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => locks.push(lock),
            Err(_) => busy.push(variant.path()),
        }
    }
    (locks, busy)
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    file.what(|| format!("cannot open {}", path.display()))
}

/// The files of running clusters.
fn needed() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for cluster in Cluster::running()? {
        match cluster.status() {
            Ok(status) => files.extend(status.files),
            // One that has ended meanwhile needs nothing.
            Err(_) if Cluster::attach(cluster.name()).is_err() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn entries(root: &Path, needed: &[PathBuf]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (kind, place) in KINDS {
        let place = root.join(place);
        // Where nothing was built there is no such folder.
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if !path.is_dir() || name == NO_ENTRY {
                continue;
            }
            let meta = entry
                .metadata()
                .what(|| format!("cannot read {}", path.display()))?;
            entries.push(Entry {
                kind,
                bytes: disk_use(&path),
                used: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                is_left: name.to_string_lossy().starts_with(UNFINISHED),
                is_needed: needed.iter().any(|file| file.starts_with(&path)),
                path,
            });
        }
    }
    Ok(entries)
}

/// What has to go so that no more than `limit` of `total` is left.
fn choose(mut entries: Vec<Entry>, total: u64, limit: u64) -> Vec<Entry> {
    entries.retain(|entry| !entry.is_needed);
    entries.sort_by_key(|entry| (!entry.is_left, entry.used));
    let mut left = total;
    let mut going = Vec::new();
    for entry in entries {
        if entry.is_left || left > limit {
            left = left.saturating_sub(entry.bytes);
            going.push(entry);
        }
    }
    going
}

/// Under a name that no build takes for finished, should this be interrupted.
fn remove(entry: &Entry) -> Result<()> {
    let problem = || format!("cannot remove {}", entry.path.display());
    let mut path = entry.path.clone();
    if !entry.is_left {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path = path.with_file_name(format!("{UNFINISHED}{name}"));
        fs::rename(&entry.path, &path).what(problem)?;
    }
    fs::remove_dir_all(&path).what(problem)
}

/// What a folder takes on the disk; files with several names count once.
fn disk_use(folder: &Path) -> u64 {
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What vanishes meanwhile takes nothing.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            }
            if seen.insert((meta.dev(), meta.ino())) {
                bytes += meta.blocks() * 512;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{Origin, Plan, plan};
    use std::time::Duration;

    fn put(root: &Path, path: &str, kib: usize, days: u64) -> PathBuf {
        let folder = root.join(path);
        fs::create_dir_all(&folder).expect("folder");
        fs::write(folder.join("file"), vec![1; kib << 10]).expect("file");
        let then = SystemTime::now() - Duration::from_secs(days * 86_400);
        let opened = File::open(&folder).expect("folder");
        opened.set_modified(then).expect("its time");
        folder
    }

    fn names(entries: &[Entry]) -> Vec<String> {
        let name = |entry: &Entry| {
            let name = entry.path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        entries.iter().map(name).collect()
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_needed_stays() {
        let dir = tempfile::tempdir().expect("directory");
        let root = dir.path();
        let old = put(root, "kernel/out/old", 400, 9);
        put(root, "kernel/out/middle", 400, 5);
        put(root, "images/new", 400, 1);
        put(root, "module/build", 400, 30);
        let tree = put(root, "kernel/tree/mine/release/out", 4, 40);
        put(root, "module/.unfinished-x", 4, 0);
        put(root, "kernel/linux", 400, 90);
        assert!(disk_use(root) > 2000 << 10);
        let (locks, busy) = trees(root);
        assert_eq!((locks.len(), busy.len()), (1, 0));
        let variant = tree.parent().expect("a folder");
        assert_eq!(trees(root).1, [variant]);
        drop(locks);
        fs::remove_dir_all(root.join("kernel/tree")).expect("removed");
        let total = disk_use(root);
        let all = |needed: &[PathBuf]| entries(root, needed).expect("entries");
        let chosen = |needed: &[PathBuf], limit| names(&choose(all(needed), total, limit));
        assert_eq!(chosen(&[], u64::MAX), [".unfinished-x"]);
        assert_eq!(chosen(&[], total - (10 << 10)), [".unfinished-x", "old"]);
        assert_eq!(chosen(&[], 0), [".unfinished-x", "old", "middle", "new"]);
        let needed = [old.join("vmlinux")];
        assert_eq!(
            chosen(&needed, total - (10 << 10)),
            [".unfinished-x", "middle"]
        );
        // Used again, it is not the oldest any more.
        used(root, [&*old.join("vmlinux")]);
        assert_eq!(chosen(&[], total - (10 << 10)), [".unfinished-x", "middle"]);
    }

    #[test]
    fn all_that_a_restored_cluster_has_stays() {
        let dir = tempfile::tempdir().expect("directory");
        let root = dir.path();
        let mut places = Vec::new();
        for place in ["kernel/out", "images", "module", "states"] {
            places.push(put(root, &format!("{place}/mine"), 4, 9));
            put(root, &format!("{place}/other"), 4, 1);
        }
        let [kernel, image, module, state] = &places[..] else {
            panic!("four places");
        };
        let plan = Plan {
            vmlinux: kernel.join("vmlinux"),
            image: image.join("root.ext4"),
            modules: vec![kernel.join("modules/a.ko"), module.join("remoteswap.ko")],
            origin: Origin::State(state.clone()),
            ..plan(1)
        };
        let all = entries(root, &plan.files()).expect("entries");
        let going = names(&choose(all, disk_use(root), 0));
        assert_eq!(going, ["other"; 4]);
    }

    #[test]
    fn what_goes_is_gone_and_the_rest_is_whole() {
        let dir = tempfile::tempdir().expect("directory");
        let root = dir.path();
        put(root, "kernel/out/old", 40, 9);
        put(root, "kernel/out/new", 40, 1);
        let total = disk_use(root);
        let going = choose(entries(root, &[]).expect("entries"), total, total - 1);
        assert_eq!(names(&going), ["old"]);
        remove(&going[0]).expect("removed");
        let left = fs::read_dir(root.join("kernel/out"))
            .expect("folder")
            .count();
        assert_eq!(left, 1);
        assert!(root.join("kernel/out/new/file").exists());
    }

    #[test]
    fn nothing_goes_while_somebody_uses_it() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join(USES);
        let shared = Flock::lock(open(&path).expect("file"), FlockArg::LockShared);
        let shared = shared.expect("lock");
        assert!(alone(&path).is_err());
        drop(shared);
        assert!(alone(&path).expect("free").is_some());
        assert!(
            alone(&dir.path().join("nowhere/lock"))
                .expect("no matter")
                .is_none()
        );
    }
}

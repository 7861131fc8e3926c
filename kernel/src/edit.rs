//! A git tree with the series as commits, for people to change.
//!
//! The builder's own tree is no place for that: it is rewritten whenever the
//! patches change. This one shares its objects with it and is never changed
//! while it holds anything that is not in the patches.

#[cfg(test)]
mod desk;
pub(crate) mod export;
mod objects;
pub(crate) mod patches;
pub(crate) mod refresh;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod series_tests;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use rapidswap_progress::Reporter;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::cache::{Cache, create_dir, require_space};
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::git::{BASE, DATE, Tree, git_command};
use crate::lock::Lock;
use crate::source;
use state::{Offered, State, digest, uncommitted, under_way};

/// Branch on which the series is checked out at first.
const BRANCH: &str = "series";

/// What the files of a kernel take, and what objects take that cannot be
/// shared.
const FILES_BYTES: u64 = 7 << 28;
const OBJECTS_BYTES: u64 = 7 << 28;

/// Makes or updates the tree; returns where it is.
pub(crate) fn edit(
    definition: &Definition,
    cache: &Cache,
    dir: &Path,
    reporter: &Reporter,
) -> Result<PathBuf> {
    let dir = std::path::absolute(dir).map_err(Error::file("find", dir))?;
    let (lock, version) = source::share(&definition.sources, cache, reporter)?;
    create_dir(&dir)?;
    let _tree = Lock::folder(&dir, reporter)?;
    let linux = cache.linux();
    let editor = Editor {
        definition,
        linux: &linux,
        dir: &dir,
        version,
        lock,
        reporter,
    };
    match State::read(&dir)? {
        Some(state) if state.head.is_some() => editor.update(state)?,
        Some(_) => editor.create()?,
        None if is_free(&dir)? => editor.create()?,
        None => {
            let why = "is not empty and was not made by ./just kernel edit: name another folder";
            return Err(Error::tree(dir, why));
        }
    }
    Ok(dir)
}

fn is_free(dir: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(dir).map_err(Error::file("read", dir))?;
    Ok(entries.next().is_none())
}

struct Editor<'a> {
    definition: &'a Definition,
    /// The builder's tree.
    linux: &'a Path,
    dir: &'a Path,
    version: String,
    lock: Lock,
    reporter: &'a Reporter,
}

impl Editor<'_> {
    fn tree(&self) -> Tree<'_> {
        Tree(self.dir)
    }

    /// Killed half-way it begins again: nobody was told of the tree yet.
    fn create(&self) -> Result<()> {
        require_space(self.dir, FILES_BYTES + self.unshared_bytes()?)?;
        let step = self.reporter.step("tree to edit", Duration::from_secs(60));
        let branch = format!("--initial-branch={BRANCH}");
        self.tree().git(["init", "--quiet", &branch]).text()?;
        State::default().write(self.dir)?;
        // A repack of the whole kernel would start with the first commit.
        self.tree().git(["config", "gc.auto", "0"]).text()?;
        let commit = self.import(DATE)?;
        step.fraction(0.1);
        let stale = self.dir.join(".git/index.lock");
        if stale.exists() {
            fs::remove_file(&stale).map_err(Error::file("remove", &stale))?;
        }
        git_command()
            .args(["checkout", "--quiet", "--force", "-B", BRANCH, &commit])
            .run("checking the tree out", self.dir, &self.lock)?;
        self.synced(commit)?;
        let patches = self.definition.series.len();
        step.done(&format!("Linux {} with {patches} patches", self.version));
        Ok(())
    }

    fn update(&self, mut state: State) -> Result<()> {
        let tree = self.tree();
        let under_way = under_way(self.dir);
        if under_way.is_none() {
            state.follow_rebase(&tree)?;
        }
        let linux_base = Tree(self.linux).resolve(BASE)?;
        let same_patches = state.patches == digest(&self.definition.series);
        let same_base = tree.resolve(BASE)? == linux_base;
        let own = match under_way {
            Some(what) => Some(format!("{what} is under way")),
            None => match uncommitted(&tree)? {
                Some(files) => Some(files),
                None => self.unexported(&state)?,
            },
        };
        match own {
            // On an older base, too: as patches it moves to the new one.
            Some(own) if same_patches => {
                self.leave(&own);
                Ok(())
            }
            Some(own) => self.offer(&own, state),
            None if same_patches && same_base => Ok(()),
            None => {
                let commit = self.import(DATE)?;
                // --keep stops at whatever it would have to overwrite.
                git_command()
                    .args(["reset", "--quiet", "--keep", &commit])
                    .run("bringing the tree up to date", self.dir, &self.lock)?;
                self.synced(commit)?;
                self.reporter
                    .note(&format!("{}: brought up to date", self.dir.display()));
                Ok(())
            }
        }
    }

    /// Commits that are not in the patches, in words.
    fn unexported(&self, state: &State) -> Result<Option<String>> {
        let head = self.tree().resolve("HEAD")?;
        if state.head.as_deref() == Some(&head) {
            return Ok(None);
        }
        Ok(Some("its commits are not in kernel/patches yet".to_owned()))
    }

    fn leave(&self, own: &str) {
        let dir = self.dir.display();
        self.reporter
            .note(&format!("{dir} is left as it is: {own}"));
    }

    /// The patches have changed, and so has the tree: nobody but the user can
    /// put the two together.
    fn offer(&self, own: &str, mut state: State) -> Result<()> {
        let tree = self.tree();
        let base = Tree(self.linux).resolve(BASE)?;
        let patches = digest(&self.definition.series);
        let present = state.offered.as_ref();
        if !present.is_some_and(|offered| offered.base == base && offered.patches == patches) {
            // Commits that the tree cannot have yet: patches that went away
            // would otherwise leave some that it has been on all the time.
            let since = UNIX_EPOCH.elapsed().unwrap_or_default();
            let commit = self.import(&format!("{} +0000", since.as_secs()))?;
            tree.set_ref("refs/rapidswap/patches", &commit)?;
            if let Some(head) = &state.head {
                tree.set_ref("refs/rapidswap/refreshed", head)?;
            }
            state.offered = Some(Offered {
                commit,
                base,
                patches,
            });
            state.write(self.dir)?;
        }
        self.leave(&format!(
            "{own}, and kernel/patches has changed; when all is committed, git rebase --onto \
             refs/rapidswap/patches refs/rapidswap/refreshed there puts the two together"
        ));
        Ok(())
    }

    /// The series as commits in the tree's repository, on the builder's base.
    fn import(&self, date: &str) -> Result<String> {
        let objects = |dir: &Path| dir.join(".git/objects");
        let base = Tree(self.linux).resolve(BASE)?;
        let tree = self.tree();
        // The tag is set last, so it says that all of the objects are there.
        if tree.resolve(BASE).ok().as_ref() != Some(&base) {
            objects::share(&objects(self.linux), &objects(self.dir))?;
        }
        tree.commit_at(date, &base, &self.definition.series, &self.version)
    }

    /// The tree is what the patches say, at this commit.
    fn synced(&self, commit: String) -> Result<()> {
        let base = Tree(self.linux).resolve(BASE)?;
        self.tree().set_ref(&format!("refs/tags/{BASE}"), &base)?;
        let state = State {
            head: Some(commit),
            patches: digest(&self.definition.series),
            ..State::default()
        };
        state.write(self.dir)
    }

    fn unshared_bytes(&self) -> Result<u64> {
        let device = |path: &Path| {
            let metadata = fs::metadata(path).map_err(Error::file("examine", path))?;
            Ok::<_, Error>(metadata.dev())
        };
        let shared = device(self.linux)? == device(self.dir)?;
        Ok(if shared { 0 } else { OBJECTS_BYTES })
    }
}

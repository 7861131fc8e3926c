//! Turns on a cluster that tests share.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

/// The turn of one test. Its name is in the file for as long as it runs, and
/// stays there if it is killed.
pub struct Turn {
    file: Flock<File>,
    /// The test that had the last turn and did not come to its end, so that
    /// what it set may still be set.
    pub cut_short: Option<String>,
}

impl Turn {
    /// Waits for it.
    pub fn take(path: &Path, test: &str) -> Result<Turn> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("lock {}", path.display()))?;
        let problem = || format!("write {}", path.display());
        let mut before = String::new();
        file.read_to_string(&mut before).with_context(problem)?;
        file.rewind().and_then(|()| file.set_len(0))?;
        file.write_all(test.as_bytes()).with_context(problem)?;
        Ok(Turn {
            file,
            cut_short: (!before.is_empty()).then_some(before),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The next one takes this for cut short, which does no harm.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_was_cut_short_is_known_to_the_next() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("turns");
        assert_eq!(Turn::take(&path, "loads::one")?.cut_short, None);
        let killed = Turn::take(&path, "loads::a_longer_name")?;
        assert_eq!(killed.cut_short, None);
        // What a kill leaves.
        std::fs::copy(&path, dir.path().join("left"))?;
        drop(killed);
        let path = dir.path().join("left");
        let next = Turn::take(&path, "loads::two")?;
        assert_eq!(next.cut_short.as_deref(), Some("loads::a_longer_name"));
        drop(next);
        assert_eq!(Turn::take(&path, "loads::three")?.cut_short, None);
        Ok(())
    }
}

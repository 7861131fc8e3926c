//! How long each step took when it last succeeded on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// Times of steps by name, in seconds, kept as one JSON object.
#[derive(Debug)]
pub(crate) struct History {
    path: Option<PathBuf>,
    seconds: Mutex<BTreeMap<String, f64>>,
}

impl History {
    /// The history in the cache, or an empty one that is not kept where there
    /// is no cache.
    pub(crate) fn open_default() -> History {
        let cache = rapidswap_cache::root().ok();
        History::open(cache.map(|dir| dir.join("step-times.json")))
    }

    /// The history in a file, or one that is not kept.
    pub(crate) fn open(path: Option<PathBuf>) -> History {
        // An unreadable history only costs an estimate.
        let seconds = path
            .as_ref()
            .and_then(|path| fs::read(path).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        History {
            path,
            seconds: Mutex::new(seconds),
        }
    }

    pub(crate) fn last(&self, step: &str) -> Option<Duration> {
        let seconds = self.seconds.lock().unwrap_or_else(|e| e.into_inner());
        let last = *seconds.get(step)?;
        Duration::try_from_secs_f64(last).ok()
    }

    pub(crate) fn record(&self, step: &str, took: Duration) {
        let mut seconds = self.seconds.lock().unwrap_or_else(|e| e.into_inner());
        seconds.insert(step.to_owned(), took.as_secs_f64());
        let Some(path) = &self.path else { return };
        if let (Some(dir), Ok(json)) = (path.parent(), serde_json::to_vec_pretty(&*seconds)) {
            // Renamed into place, so that a reader never sees half of it; a
            // full disk only costs an estimate.
            let half = path.with_extension(format!("{}", std::process::id()));
            let _ = fs::create_dir_all(dir);
            if fs::write(&half, json).is_ok() {
                let _ = fs::rename(&half, path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_remembered_by_the_next_run() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = Some(dir.path().join("cache/step-times.json"));
        let took = Duration::from_millis(1500);
        History::open(path.clone()).record("boot", took);
        let next = History::open(path);
        assert_eq!(next.last("boot"), Some(took));
        assert_eq!(next.last("image"), None);
    }
}

//! Whether things fit.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::{Error, Result};

/// What to do where the cache is on too small a disk.
pub const ELSEWHERE: &str = "point XDG_CACHE_HOME at a larger disk";

/// Refuses to start what would fill the disk: has `path` room for `needs`
/// bytes? `remedy` is what else there is to do than to free some.
pub fn require_space(path: &Path, needs: u64, remedy: &'static str) -> Result<()> {
    let stat = statvfs(path).map_err(|errno| Error::file("examine", path)(errno.into()))?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free >= needs {
        return Ok(());
    }
    Err(Error::Space {
        path: path.to_owned(),
        needs_mib: needs >> 20,
        free_mib: free >> 20,
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_one_clear_line() {
        let require = |needs| require_space(Path::new("/"), needs, ELSEWHERE);
        require(0).expect("nothing always fits");
        let error = require(1 << 60).expect_err("too much").to_string();
        let start = "not enough disk space in /: 1099511627776 MiB needed, ";
        assert!(error.starts_with(start), "{error}");
        let end = " MiB free; free some or point XDG_CACHE_HOME at a larger disk";
        assert!(error.ends_with(end), "{error}");
    }
}

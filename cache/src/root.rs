//! Where the cache is.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::{Error, Result};

/// `$XDG_CACHE_HOME/rapidswap`, by default `~/.cache/rapidswap`. A path that is
/// not absolute counts as none: the XDG base directory specification has it so,
/// and every working directory would have a cache of its own.
pub fn root() -> Result<PathBuf> {
    root_by(|name| env::var_os(name))
}

fn root_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let absolute = |name| {
        let path = variable(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(base.ok_or(Error::NoRoot)?.join("rapidswap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_of(cache: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
        let variable = |name: &str| match name {
            "XDG_CACHE_HOME" => cache.map(OsString::from),
            _ => home.map(OsString::from),
        };
        root_by(variable).ok()
    }

    #[test]
    fn what_is_no_absolute_path_counts_as_none() {
        let home = Some("/home/me");
        assert_eq!(root_of(Some("/big"), home), Some("/big/rapidswap".into()));
        for cache in [None, Some(""), Some("big"), Some("./big")] {
            let by_home = Some("/home/me/.cache/rapidswap".into());
            assert_eq!(root_of(cache, home), by_home, "{cache:?}");
            for home in [None, Some(""), Some("me")] {
                assert_eq!(root_of(cache, home), None, "{cache:?} {home:?}");
            }
        }
    }
}

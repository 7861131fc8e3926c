//! Where programs are.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

/// The file in `PATH` that running `program` would run.
pub fn in_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(program.as_ref()))
        .find(|file| file.is_file())
}

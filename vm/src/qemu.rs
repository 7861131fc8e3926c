//! Which QEMU runs the guests: the one in PATH, or what `$RAPIDSWAP_QEMU`
//! names. That may be a wrapper, which has to `exec` the real one: it is the
//! process started here that is watched and killed.

pub(crate) mod accel;
pub(crate) mod device;
pub(crate) mod machine;
pub(crate) mod memo;
pub(crate) mod probe;
pub(crate) mod qmp;
pub(crate) mod tsc;
pub mod virtiofs;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rapidswap_cli::in_path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};

/// The QEMU program, unless the user names another.
pub const QEMU: &str = "qemu-system-x86_64";

/// What names another.
const VARIABLE: &str = "RAPIDSWAP_QEMU";

/// The file in the cache that remembers the version of the one in PATH.
const VERSION: &str = "qemu-version.json";

/// QEMU that has `-netdev dgram`.
const OLDEST: (u32, u32) = (7, 2);

/// A QEMU that is there and new enough.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Qemu {
    /// The program.
    pub(crate) program: PathBuf,
    /// What it calls its version.
    pub(crate) version: String,
    /// Whether the user named it.
    pub(crate) named: bool,
}

impl Qemu {
    /// Looks for it.
    pub(crate) fn find() -> Result<Qemu> {
        Qemu::found(|program, named| match rapidswap_cache::root() {
            // A wrapper stays as it is when what it runs does not.
            Ok(cache) if !named => remembered(&cache.join(VERSION), program),
            _ => version(program),
        })
    }

    /// Looks for it, and sees that it runs.
    pub(crate) fn try_it() -> Result<Qemu> {
        Qemu::found(|program, _| version(program))
    }

    fn found(version: impl FnOnce(&Path, bool) -> Result<String>) -> Result<Qemu> {
        let named = env::var_os(VARIABLE).filter(|name| !name.is_empty());
        let name = named.clone().unwrap_or_else(|| QEMU.into());
        let program = locate(&name).ok_or_else(|| match &named {
            Some(name) => Error::BadOption(format!(
                "{VARIABLE} is {}, and there is no such program",
                name.to_string_lossy()
            )),
            None => Error::MissingQemu(QEMU),
        })?;
        Ok(Qemu {
            version: version(&program, named.is_some())?,
            program,
            named: named.is_some(),
        })
    }

    /// None, for nodes that are hosts.
    pub(crate) fn none() -> Qemu {
        Qemu {
            program: PathBuf::new(),
            version: "none".into(),
            named: false,
        }
    }

    /// What changes whenever it may behave otherwise.
    pub(crate) fn identity(&self) -> String {
        format!("{} {}", file(&self.program), self.version)
    }
}

/// What tells a program's file from any other.
fn file(program: &Path) -> String {
    let meta = fs::metadata(program);
    let (size, time) = meta.map_or((0, 0), |meta| (meta.size(), meta.mtime()));
    format!("{} {size} {time}", program.display())
}

/// A version, and the file whose it is.
#[derive(Serialize, Deserialize)]
struct Known {
    file: String,
    version: String,
}

/// The program's version, which `place` remembers: QEMU takes longer to say it
/// than all else that is to be known before it runs.
fn remembered(place: &Path, program: &Path) -> Result<String> {
    let file = file(program);
    if let Some(known) = memo::recall::<Known>(place).filter(|known| known.file == file) {
        return Ok(known.version);
    }
    let version = version(program)?;
    let known = Known { file, version };
    // Next time it is asked again, if this cannot be written.
    let _ = memo::write_down(place, &known);
    Ok(known.version)
}

/// The file that running `name` would run.
fn locate(name: &OsString) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 {
        return path.canonicalize().ok();
    }
    in_path(name)
}

fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.what(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "version");
    let version = words.nth(1).unwrap_or("unknown").to_owned();
    match number(&version) {
        Some(number) if number < OLDEST => Err(Error::OldQemu(version)),
        _ => Ok(version),
    }
}

/// Major and minor number of a version.
pub(crate) fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn versions_compare_by_number() {
        assert!(number("10.0.2").expect("number") > OLDEST);
        assert!(number("7.1.0").expect("number") < OLDEST);
        assert_eq!(number("unknown"), None);
    }

    #[test]
    fn a_program_is_asked_for_its_version_once_and_again_when_it_changes() {
        let dir = tempfile::tempdir().expect("directory");
        let (place, program) = (dir.path().join("cache/known"), dir.path().join("qemu"));
        let install = |version: &str| {
            let text =
                format!("#!/bin/sh\necho asked >> \"$0.asked\"\necho QEMU version {version}\n");
            fs::write(&program, text).expect("written");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
        };
        let asked = || {
            let text = fs::read_to_string(dir.path().join("qemu.asked")).expect("it was asked");
            text.lines().count()
        };
        let version = || remembered(&place, &program);
        install("10.0.2");
        for _ in 0..2 {
            assert_eq!(version().expect("known"), "10.0.2");
            assert_eq!(asked(), 1);
        }
        // Of another length, for its time may be the same.
        install("10.0.11");
        assert_eq!(version().expect("known"), "10.0.11");
        fs::write(&place, "nonsense").expect("written");
        assert_eq!(version().expect("known"), "10.0.11");
        install("7.1.0");
        assert!(matches!(version(), Err(Error::OldQemu(_))));
        assert_eq!(asked(), 4);
    }

    #[test]
    fn a_program_is_found_by_name_or_path() {
        let by_name = locate(&"sh".into()).expect("in PATH");
        assert_eq!(
            locate(&by_name.into()).and_then(|path| path.file_name().map(|_| ())),
            Some(())
        );
        assert_eq!(locate(&"no-such-program".into()), None);
        assert_eq!(locate(&"./no-such-program".into()), None);
    }
}

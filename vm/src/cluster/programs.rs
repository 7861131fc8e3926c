//! The programs that this checkout builds: where they are, and the directory
//! the guests see them in.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};

/// Where static programs are built for.
const STATIC: &str = "static/x86_64-unknown-linux-gnu/release";

/// Programs the nodes need for their own purposes.
const REQUIRED: [&str; 2] = ["rxe-setup", "remoteswap-server"];

/// The target directory of this checkout.
fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"));
    match std::env::var_os("CARGO_TARGET_DIR") {
        // Cargo takes a relative one from the current directory.
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        None => root.join("target"),
    }
}

/// The agent, which is process 1 in a VM.
pub(crate) fn agent() -> Result<PathBuf> {
    existing(target().join(STATIC).join("rapidswap-agent"))
}

/// The `rapidswap` program, which supervises.
pub(crate) fn rapidswap() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RAPIDSWAP") {
        return existing(path.into());
    }
    match std::env::current_exe() {
        Ok(path) if path.file_name() == Some(OsStr::new("rapidswap")) => Ok(path),
        _ => existing(target().join("release/rapidswap")),
    }
}

/// Everything that belongs into `bin/` of the payload: the programs nodes
/// need, and each other static one.
pub(crate) fn guest() -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for name in REQUIRED {
        programs.push(existing(target().join("release").join(name))?);
    }
    let folder = target().join(STATIC);
    for entry in fs::read_dir(&folder).what(|| format!("cannot read {}", folder.display()))? {
        let path = entry
            .what(|| format!("cannot read {}", folder.display()))?
            .path();
        if is_program(&path) {
            programs.push(path);
        }
    }
    Ok(programs)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let executable = path
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    executable && path.extension().is_none()
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::MissingProgram(path))
    }
}

/// Makes the directory the guests see: `bin/` and `modules/`.
pub(crate) fn assemble(dir: &Path, programs: &[PathBuf], modules: &[PathBuf]) -> Result<()> {
    for (folder, files) in [("bin", programs), ("modules", modules)] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).what(|| format!("cannot make {}", folder.display()))?;
        for file in files {
            let name = file.file_name().unwrap_or_default();
            place(file, &folder.join(name))
                .what(|| format!("cannot put {} into the payload", file.display()))?;
        }
    }
    Ok(())
}

/// A link where both are on one file system, which costs nothing; the share
/// is read-only, so the original is safe.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_holds_programs_and_modules() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let (program, module) = (temp.path().join("prog"), temp.path().join("m.ko"));
        fs::write(&program, "p").expect("file");
        fs::write(&module, "m").expect("file");
        let payload = temp.path().join("payload");
        for _ in 0..2 {
            assemble(
                &payload,
                std::slice::from_ref(&program),
                std::slice::from_ref(&module),
            )
            .expect("assembled");
        }
        assert_eq!(fs::read(payload.join("bin/prog")).expect("program"), b"p");
        assert_eq!(
            fs::read(payload.join("modules/m.ko")).expect("module"),
            b"m"
        );
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = existing("/nowhere/rxe-setup".into())
            .expect_err("missing")
            .to_string();
        assert_eq!(error, "/nowhere/rxe-setup is missing: run `./just build`");
    }
}

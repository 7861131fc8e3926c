//! Files between here and a node.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rapidswap_vm::{Cluster, Node};

/// One end of a copy: `NODE:PATH`, or a path here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In a node.
    There(String, PathBuf),
    /// Here.
    Here(PathBuf),
}

impl From<OsString> for End {
    /// What is before the first colon is a node, unless it has a slash in it.
    fn from(text: OsString) -> End {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|&byte| byte == b':');
        match colon.map(|at| (&bytes[..at], &bytes[at + 1..])) {
            Some((node, path)) if !node.is_empty() && !node.contains(&b'/') => End::There(
                String::from_utf8_lossy(node).into_owned(),
                OsString::from_vec(path.to_owned()).into(),
            ),
            _ => End::Here(text.into()),
        }
    }
}

/// Copies a file.
pub fn copy(cluster: &Cluster, from: End, to: End) -> anyhow::Result<()> {
    match (from, to) {
        (End::Here(from), End::There(node, to)) => push(&cluster.node(&node)?, &from, &to),
        (End::There(node, from), End::Here(to)) => pull(&cluster.node(&node)?, &from, &to),
        (End::There(a, from), End::There(b, to)) => {
            let between = tempfile::NamedTempFile::new().context("cannot make a file")?;
            pull(&cluster.node(&a)?, &from, between.path())?;
            push(&cluster.node(&b)?, between.path(), &inside(to, &from))
        }
        (End::Here(_), End::Here(_)) => bail!("one of the two has to be NODE:PATH"),
    }
}

/// A path that ends in a slash is a directory: the file keeps its name in it.
fn inside(path: PathBuf, other: &Path) -> PathBuf {
    match other.file_name() {
        Some(name) if path.as_os_str().as_bytes().ends_with(b"/") => path.join(name),
        _ => path,
    }
}

fn push(node: &Node, local: &Path, remote: &Path) -> anyhow::Result<()> {
    let mut file = File::open(local).with_context(|| format!("cannot open {}", local.display()))?;
    let meta = file
        .metadata()
        .with_context(|| format!("cannot read {}", local.display()))?;
    ensure!(meta.is_file(), "{} is not a file", local.display());
    let remote = inside(remote.to_owned(), local);
    node.push(&remote, meta.permissions().mode() & 0o777, &mut file)?;
    Ok(())
}

/// The file appears under its name when it is complete.
fn pull(node: &Node, remote: &Path, local: &Path) -> anyhow::Result<()> {
    let target = if local.is_dir() {
        local.join(
            remote
                .file_name()
                .context("the remote path has no file name")?,
        )
    } else {
        local.to_owned()
    };
    let dir = match target.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let problem = || format!("cannot write {}", target.display());
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(problem)?;
    node.pull(remote, &mut file)?;
    file.persist(&target)
        .map_err(|error| error.error)
        .with_context(problem)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_what_is_before_a_colon() {
        let there = |node: &str, path: &str| End::There(node.into(), path.into());
        for (text, end) in [
            ("client:/tmp/x", there("client", "/tmp/x")),
            ("client:a:b", there("client", "a:b")),
            ("./a:b", End::Here("./a:b".into())),
            ("/a/b:c", End::Here("/a/b:c".into())),
            (":x", End::Here(":x".into())),
            ("plain", End::Here("plain".into())),
        ] {
            assert_eq!(End::from(OsString::from(text)), end, "{text}");
        }
    }

    #[test]
    fn a_directory_keeps_the_name() {
        assert_eq!(
            inside("/tmp/".into(), Path::new("a/b")),
            Path::new("/tmp/b")
        );
        assert_eq!(
            inside("/tmp/c".into(), Path::new("a/b")),
            Path::new("/tmp/c")
        );
    }
}

//! From the tar file to an ext4 image, owners and modes included, by any
//! user: where that user is not root, fakeroot remembers who owns what.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::apt::last_line;
use crate::{Error, Result};

/// Room for tar file, tree and image, in bytes.
pub(crate) const SPACE: u64 = 3 << 29;

const BLOCK: u64 = 4096;

/// Free space in the image beside its content. The file is sparse, and what a
/// guest writes goes to its own snapshot.
const SLACK: u64 = 256 << 20;

/// Belongs to the host, to apt or to a running system; the agent fills the
/// directories.
const LEFT_OUT: &[&str] = &[
    "./dev/*",
    "./etc/apt/*",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./var/cache/*/*",
    "./var/lib/apt/*",
    "./var/log/*.log",
];

/// Whose word is taken for owners and modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// The file system's: we are root.
    Real,
    /// fakeroot's.
    Faked,
}

impl Owners {
    pub(crate) fn of_this_process() -> Owners {
        if nix::unistd::Uid::effective().is_root() {
            Owners::Real
        } else {
            Owners::Faked
        }
    }

    /// `program`, seeing the owners that earlier commands on `state` left.
    fn command(self, program: &str, state: &Path) -> Command {
        match self {
            Owners::Real => Command::new(program),
            Owners::Faked => {
                let mut command = Command::new("fakeroot");
                if state.exists() {
                    command.arg("-i").arg(state);
                }
                command.arg("-s").arg(state).args(["--", program]);
                command
            }
        }
    }
}

/// Packs `tar`, with more empty `directories`, into `directory/root.ext4`.
pub(crate) fn pack(
    tar: &Path,
    directory: &Path,
    owners: Owners,
    directories: &[&str],
) -> Result<()> {
    let state = directory.join("owners");
    let tree = directory.join("root");
    let image = directory.join("root.ext4");
    fs::create_dir(&tree).map_err(Error::file("create", &tree))?;
    let mut extract = owners.command("tar", &state);
    extract
        .args(["--extract", "--preserve-permissions", "--numeric-owner"])
        .args(LEFT_OUT.iter().map(|path| format!("--exclude={path}")))
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(&tree);
    run("tar", "tar", extract)?;
    let hosts = tree.join("etc/hosts");
    if !hosts.exists() && tree.join("etc").is_dir() {
        fs::write(&hosts, "127.0.0.1 localhost\n").map_err(Error::file("write", &hosts))?;
    }
    for name in directories {
        let path = tree.join(name);
        fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
    }

    let (bytes, inodes) = content(&tree)?;
    // mke2fs is in sbin, which is not in every user's PATH.
    let program = ["/usr/sbin/mke2fs", "/sbin/mke2fs"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("mke2fs");
    let mut make = owners.command(program, &state);
    make.args(arguments(bytes, inodes))
        .arg("-d")
        .arg(&tree)
        .arg(&image);
    make.arg(format!("{}k", image_size(bytes, inodes) / 1024));
    run("mke2fs", "e2fsprogs", make)
}

/// No journal: a guest's writes never outlive it. Nothing lazy: the guest
/// would finish it in the background, while it is being measured.
fn arguments(bytes: u64, inodes: u64) -> Vec<String> {
    let inodes = inodes + inodes / 4 + image_size(bytes, inodes) / (64 << 10);
    let inodes = inodes.to_string();
    [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        "rapidswap",
        "-b",
        "4096",
        "-m",
        "0",
        "-O",
        "^has_journal",
        "-E",
        "lazy_itable_init=0,nodiscard",
        "-N",
        &inodes,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Bytes in whole blocks, and the number of files, of what is under `tree`.
fn content(tree: &Path) -> Result<(u64, u64)> {
    let mut total = (0, 0);
    let mut left = vec![tree.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).map_err(Error::file("read", &path))?;
        total.0 += metadata.len().div_ceil(BLOCK) * BLOCK;
        total.1 += 1;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).map_err(Error::file("read", &path))? {
                left.push(entry.map_err(Error::file("read", &path))?.path());
            }
        }
    }
    Ok(total)
}

/// Content, a sixteenth for extent trees, bitmaps and tables, and slack, in
/// whole MiB.
fn image_size(bytes: u64, inodes: u64) -> u64 {
    let size = bytes + bytes / 16 + inodes * 512 + SLACK;
    size.div_ceil(1 << 20) << 20
}

fn run(program: &'static str, package: &'static str, mut command: Command) -> Result<()> {
    let missing = match command.get_program().to_str() {
        Some("fakeroot") => ("fakeroot", "fakeroot"),
        _ => (program, package),
    };
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(Error::start(missing.0, missing.1))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        program,
        reason: last_line(&output.stderr),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What debugfs shows of `path` in the image.
    fn inode(image: &Path, path: &str) -> String {
        let output = Command::new("/usr/sbin/debugfs")
            .args(["-R", &format!("stat {path}")])
            .arg(image)
            .output()
            .expect("debugfs of e2fsprogs");
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn packed_with(owners: Owners) {
        let home = tempfile::tempdir().expect("temporary directory");
        let tree = home.path().join("source");
        for directory in ["etc/apt", "usr/bin", "dev"] {
            fs::create_dir_all(tree.join(directory)).expect("directory");
        }
        for file in ["etc/shadow", "etc/apt/secret", "etc/hostname", "usr/bin/su"] {
            fs::write(tree.join(file), "content").expect("file");
        }
        let tar = home.path().join("root.tar");
        let make = Command::new("tar")
            .args([
                "--create",
                "--owner=7",
                "--group=42",
                "--mode=4750",
                "--file",
            ])
            .arg(&tar)
            .arg("--directory")
            .arg(&tree)
            .arg(".")
            .status();
        assert!(make.expect("tar").success());
        let build = tempfile::tempdir().expect("temporary directory");
        pack(&tar, build.path(), owners, &["rapidswap"]).expect("packed");

        let image = build.path().join("root.ext4");
        let su = inode(&image, "/usr/bin/su");
        assert!(su.contains("Mode: 04750"), "{su}");
        assert!(su.contains("User: 7 Group: 42"), "{su}");
        assert!(inode(&image, "/rapidswap").contains("Type: directory"));
        assert!(inode(&image, "/etc/hosts").contains("User: 0 Group: 0"));
        for gone in ["/etc/apt/secret", "/etc/hostname"] {
            assert!(!inode(&image, gone).contains("Inode:"), "{gone}");
        }
        let check = Command::new("/usr/sbin/e2fsck")
            .args(["-f", "-n"])
            .arg(&image)
            .output()
            .expect("e2fsck");
        assert!(check.status.success(), "{check:?}");
    }

    #[test]
    fn fakeroot_keeps_owners_and_modes() {
        packed_with(Owners::Faked);
    }

    #[test]
    fn root_keeps_owners_and_modes() {
        // As another user the file system has no say in owners.
        if Owners::of_this_process() == Owners::Real {
            packed_with(Owners::Real);
        }
    }

    #[test]
    fn a_broken_tar_file_is_named() {
        let build = tempfile::tempdir().expect("temporary directory");
        let tar = build.path().join("root.tar");
        fs::write(&tar, [7; 4096]).expect("file");
        let error = pack(&tar, build.path(), Owners::Faked, &[]).expect_err("no tar file");
        assert!(error.to_string().starts_with("tar failed: "), "{error}");
    }

    proptest! {
        #[test]
        fn content_and_slack_always_fit(bytes in 0u64..1 << 36, inodes in 0u64..1 << 22) {
            let size = image_size(bytes, inodes);
            prop_assert!(size >= bytes + inodes * 256 + SLACK);
            prop_assert_eq!(size % (1 << 20), 0);
        }
    }
}

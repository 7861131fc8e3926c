//! The packages, unpacked and configured by mmdebstrap into one tar file.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::apt::last_line;
use crate::{Error, Result};

/// Room for the unpacked system and the downloads, in bytes.
pub(crate) const SPACE: u64 = 1 << 30;

/// What to do where there is not as much.
pub(crate) const ELSEWHERE: &str = "point TMPDIR at a larger disk";

/// What dpkg leaves out. LLVM and the Mesa drivers come with stress-ng, which
/// links to EGL for its GPU stressor; they are a third of the image and are
/// opened only when something is drawn.
pub(crate) const EXCLUDED: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/lintian/*",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/*/libgallium*",
    "/usr/lib/*/libz3.so*",
    "/usr/lib/udev/hwdb.d/*",
    // User-space drivers of adapters: each program that uses verbs opens all
    // that are named here, of which a guest has use for rxe's and siw's.
    "/etc/libibverbs.d/[!rs]*.driver",
];

/// One run of mmdebstrap.
#[derive(Debug)]
pub(crate) struct Bootstrap<'a> {
    pub(crate) suite: &'a str,
    pub(crate) packages: &'a [String],
    /// One-line apt sources; none means mmdebstrap's default mirror.
    pub(crate) sources: Vec<String>,
    /// Lines for apt's configuration.
    pub(crate) settings: Vec<String>,
    pub(crate) keyring: PathBuf,
    /// Where the system is put together.
    pub(crate) temporary: &'a Path,
}

/// `TMPDIR`, else /var/tmp: /tmp is often a small piece of memory.
pub(crate) fn temporary_directory() -> PathBuf {
    env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

impl Bootstrap<'_> {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--verbose".to_owned(),
            // Root where we are root, a user namespace otherwise.
            "--mode=auto".to_owned(),
            // Without apt: nothing is ever installed in a guest.
            "--variant=essential".to_owned(),
            "--format=tar".to_owned(),
            format!("--keyring={}", self.keyring.display()),
            format!("--include={}", self.packages.join(",")),
        ];
        arguments.extend(self.settings.iter().map(|line| format!("--aptopt={line}")));
        arguments.extend(
            EXCLUDED
                .iter()
                .map(|path| format!("--dpkgopt=path-exclude={path}")),
        );
        arguments.extend([self.suite.to_owned(), "-".to_owned()]);
        arguments.extend(self.sources.iter().cloned());
        arguments
    }

    /// Writes the tar file; `on_line` sees each line of output as it comes,
    /// `log` keeps them all.
    pub(crate) fn run(&self, tar: &Path, log: &Path, mut on_line: impl FnMut(&str)) -> Result<()> {
        let output = File::create(tar).map_err(Error::file("create", tar))?;
        let mut log_file = File::create(log).map_err(Error::file("create", log))?;
        let mut child = Command::new("mmdebstrap")
            .args(self.arguments())
            .env("TMPDIR", self.temporary)
            .env("LC_ALL", "C")
            .env_remove("LANGUAGE")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::start("mmdebstrap", "mmdebstrap"))?;
        let mut errors = Errors::default();
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).split(b'\n') {
                let line = line.map_err(Error::file("read", Path::new("mmdebstrap's output")))?;
                let line = String::from_utf8_lossy(&line);
                writeln!(log_file, "{line}").map_err(Error::file("write", log))?;
                errors.line(&line);
                on_line(&line);
            }
        }
        let status = child
            .wait()
            .map_err(Error::file("wait for", Path::new("mmdebstrap")))?;
        if status.success() {
            return Ok(());
        }
        // Half a tar file must never be packed.
        let _ = fs::remove_file(tar);
        Err(errors.explain(log))
    }
}

/// The lines that say why it failed.
#[derive(Debug, Default)]
struct Errors {
    last: VecDeque<String>,
}

impl Errors {
    fn line(&mut self, line: &str) {
        if let Some(error) = line.strip_prefix("E: ") {
            self.last.push_back(error.trim().to_owned());
            if self.last.len() > 8 {
                self.last.pop_front();
            }
        }
    }

    fn explain(self, log: &Path) -> Error {
        let all: Vec<String> = self.last.into();
        let namespaces = [
            "unable to pick chroot mode",
            "unshare",
            "newuidmap",
            "newgidmap",
            "subuid",
        ];
        if let Some(reason) = all
            .iter()
            .find(|line| namespaces.iter().any(|word| line.contains(word)))
        {
            return Error::Unprivileged {
                reason: reason.clone(),
                advice: Host::this().advice(),
            };
        }
        // apt's own reason comes first, mmdebstrap's "apt-get failed" after.
        let reason = all
            .iter()
            .find(|line| !line.ends_with("failed") && !line.contains("failed to be executed"))
            .or(all.last())
            .cloned()
            .or_else(|| Some(last_line(&fs::read(log).ok()?)))
            .unwrap_or_default();
        Error::Bootstrap {
            reason,
            log: log.to_owned(),
        }
    }
}

/// What decides whether an ordinary user may make a user namespace with a
/// range of ids.
#[derive(Debug)]
struct Host {
    user: String,
    newuidmap: bool,
    range: bool,
    apparmor: bool,
}

impl Host {
    fn this() -> Host {
        let uid = nix::unistd::Uid::current();
        let user = nix::unistd::User::from_uid(uid)
            .ok()
            .flatten()
            .map_or_else(|| uid.to_string(), |user| user.name);
        let listed = |file: &str| {
            fs::read_to_string(file).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.split(':').next() == Some(user.as_str()))
            })
        };
        let sysctl = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        Host {
            newuidmap: ["/usr/bin/newuidmap", "/bin/newuidmap"]
                .iter()
                .any(|path| Path::new(path).exists()),
            range: listed("/etc/subuid") && listed("/etc/subgid"),
            apparmor: fs::read_to_string(sysctl).is_ok_and(|value| value.trim() == "1"),
            user,
        }
    }

    /// What is missing, as what to do about it.
    fn obstacle(&self) -> Option<String> {
        if !self.newuidmap {
            return Some("sudo apt-get install uidmap".to_owned());
        }
        if !self.range {
            let user = &self.user;
            return Some(format!(
                "give the user a range of ids: sudo usermod --add-subuids 200000-265535 --add-subgids 200000-265535 {user}"
            ));
        }
        self.apparmor.then(|| {
            "Ubuntu restricts user namespaces; allow them: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0".to_owned()
        })
    }

    fn advice(&self) -> String {
        self.obstacle().unwrap_or_else(|| {
            "user namespaces are not permitted here; allow them (sudo sysctl user.max_user_namespaces=10000, and in a container its seccomp profile), or build the image as root"
                .to_owned()
        })
    }
}

/// What keeps this user from building an image, as what to do about it.
/// Nothing keeps root.
pub fn obstacle() -> Option<String> {
    if nix::unistd::Uid::current().is_root() {
        return None;
    }
    Host::this().obstacle()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example<'a>(packages: &'a [String], temporary: &'a Path) -> Bootstrap<'a> {
        Bootstrap {
            suite: "trixie",
            packages,
            sources: vec!["deb http://a.example/debian trixie main".into()],
            settings: vec!["Acquire::Retries \"3\";".into()],
            keyring: "/keys.gpg".into(),
            temporary,
        }
    }

    #[test]
    fn the_command_line() {
        let packages = ["kmod".to_owned(), "time".to_owned()];
        let arguments = example(&packages, Path::new("/var/tmp")).arguments();
        let (first, rest) = arguments.split_at(7);
        assert_eq!(
            first,
            [
                "--verbose",
                "--mode=auto",
                "--variant=essential",
                "--format=tar",
                "--keyring=/keys.gpg",
                "--include=kmod,time",
                "--aptopt=Acquire::Retries \"3\";",
            ]
        );
        let (excluded, last) = rest.split_at(EXCLUDED.len());
        assert_eq!(excluded[0], "--dpkgopt=path-exclude=/usr/share/doc/*");
        assert_eq!(
            last,
            ["trixie", "-", "deb http://a.example/debian trixie main"]
        );
    }

    #[test]
    fn the_advice_names_what_stands_in_the_way() {
        let host = |newuidmap, range, apparmor| Host {
            user: "ann".into(),
            newuidmap,
            range,
            apparmor,
        };
        assert!(host(false, false, true).advice().contains("uidmap"));
        assert!(host(true, false, true).advice().ends_with(" ann"));
        assert!(host(true, true, true).advice().contains("apparmor"));
        assert!(
            host(true, true, false)
                .advice()
                .contains("max_user_namespaces")
        );
    }

    #[test]
    fn a_missing_package_is_named() {
        let mut errors = Errors::default();
        errors.line("I: downloading packages with apt...");
        errors.line("E: Unable to locate package no-such-thing");
        errors.line("E: apt-get install failed");
        let text = errors.explain(Path::new("/log")).to_string();
        assert!(
            text.contains("Unable to locate package no-such-thing"),
            "{text}"
        );
    }

    #[test]
    fn no_namespaces_is_told_from_other_failures() {
        let mut errors = Errors::default();
        errors
            .line("E: unable to pick chroot mode automatically (use --mode for manual selection)");
        let error = errors.explain(Path::new("/log"));
        assert!(matches!(error, Error::Unprivileged { .. }), "{error}");
    }
}

//! Long-running commands that do not outlive this process.
//!
//! Each runs in a process group of its own under a small shell that holds the
//! reading end of a pipe. When this process ends in whatever way, SIGKILL
//! included, the pipe closes and the shell ends the whole group. No signal
//! handler is needed, so a program that uses this crate keeps its own.

use command_fds::{CommandFdExt, FdMapping};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::RawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use crate::error::{Error, Result};
use crate::lock::Lock;

/// `$@` becomes the command.
const GUARD: &str = r#"
exec 2>&1 3<&0 </dev/null
"$@" 3<&- &
child=$!
{ read -r _ <&3 || kill -TERM 0; } >/dev/null 2>&1 &
exec 3<&-
wait "$child"
"#;

/// From here on the descriptors are shares of the locks, which the whole group
/// holds.
const LOCKS: RawFd = 4;

/// What of this process's environment a build sees: nothing that could change
/// its result.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR"];

/// A command to be run to its end.
pub(crate) struct Guarded {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Guarded {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Guarded {
        Guarded {
            argv: vec![program.as_ref().to_owned()],
            env: Vec::new(),
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Guarded {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Guarded {
        self.argv
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Guarded {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in `dir` and hands over each line of its output, stdout and
    /// stderr together.
    pub(crate) fn lines(
        &self,
        dir: &Path,
        lock: &Lock,
        mut line: impl FnMut(&str) -> Result<()>,
    ) -> Result<ExitStatus> {
        let name = &self.argv[0];
        let locks = (LOCKS..).zip(lock.handles()?);
        let locks = locks.map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        let mut child = self
            .command(&["sh", "-c", GUARD, "rapidswap-guard"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .fd_mappings(locks.collect())
            .expect("each has a descriptor of its own")
            .spawn()
            .map_err(Error::file("run", name))?;
        let output = child.stdout.take().expect("stdout is piped");
        let mut group = Group {
            lifeline: child.stdin.take(),
            leader: child,
        };
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let n = output
                .read_until(b'\n', &mut bytes)
                .map_err(Error::file("read the output of", name))?;
            if n == 0 {
                break;
            }
            line(String::from_utf8_lossy(&bytes).trim_end())?;
        }
        group.end(name)
    }

    /// The command after a prefix, with the environment of a build.
    pub(crate) fn command(&self, prefix: &[&str]) -> Command {
        let prefix = prefix.iter().map(OsStr::new);
        let mut argv = prefix.chain(self.argv.iter().map(OsString::as_os_str));
        let mut command = Command::new(argv.next().unwrap_or_default());
        command
            .args(argv)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| {
                let value = std::env::var_os(name)?;
                Some((*name, value))
            }))
            .env("LC_ALL", "C")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it and, if it fails, says `what` did and the line that says why.
    pub(crate) fn run(&self, what: &str, dir: &Path, lock: &Lock) -> Result<()> {
        let mut output = Vec::new();
        let status = self.lines(dir, lock, |line| {
            output.push(line.to_owned());
            Ok(())
        })?;
        succeeded(what, status, &output)
    }
}

/// The running process group.
struct Group {
    lifeline: Option<ChildStdin>,
    leader: Child,
}

impl Group {
    fn end(&mut self, name: &OsStr) -> Result<ExitStatus> {
        let status = self.leader.wait().map_err(Error::file("wait for", name))?;
        if let Some(mut lifeline) = self.lifeline.take() {
            // Tells the guard that nothing is left to end. When it cannot be
            // told, it ends nothing but itself.
            let _ = lifeline.write_all(b"done\n");
        }
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.lifeline.take().is_some() {
            // The pipe is closed now; wait until the leader has gone with its
            // group, so that the locks are not given up before.
            let _ = self.leader.wait();
        }
    }
}

/// The status as an error that quotes the output's most telling line.
pub(crate) fn succeeded(what: &str, status: ExitStatus, output: &[String]) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        what: what.to_owned(),
        status: ending(status),
        why: telling(output).to_owned(),
    })
}

/// The first line that speaks of an error; a compiler's comes before make's
/// summary of it, and either before the last line that says anything.
pub(crate) fn telling(output: &[String]) -> &str {
    const COMPILER: &[&str] = &[
        "error:",
        "error[",
        "fatal:",
        "undefined reference",
        "No space left",
    ];
    const MAKE: &[&str] = &["***", "ERROR"];
    let first = |marks: &[&str]| {
        let mut lines = output.iter();
        lines.find(|line| marks.iter().any(|mark| line.contains(mark)))
    };
    first(COMPILER)
        .or_else(|| first(MAKE))
        .or_else(|| output.iter().rfind(|line| !line.trim().is_empty()))
        .map_or("it printed nothing", |line| line.trim())
}

pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::cache::Cache;
    use nix::errno::Errno;
    use nix::fcntl::{Flock, FlockArg};
    use rapidswap_progress::Reporter;
    use std::fs;
    use std::sync::mpsc;
    use std::thread;

    fn locked() -> (tempfile::TempDir, Lock) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let lock = both(&Cache::at(dir.path().to_owned()));
        (dir, lock)
    }

    /// What a build of the release kernel holds.
    fn both(cache: &Cache) -> Lock {
        let source = cache.use_source(&Reporter::silent()).expect("lock");
        let lock = cache.use_build(source, Variant::Release, &Reporter::silent());
        lock.expect("lock")
    }

    fn lines_of(script: &str) -> (Vec<String>, ExitStatus) {
        let (dir, lock) = locked();
        let mut output = Vec::new();
        let status = Guarded::new("sh")
            .args(["-c", script])
            .env("EXTRA", "a b")
            .lines(dir.path(), &lock, |line| {
                output.push(line.to_owned());
                Ok(())
            })
            .expect("run");
        (output, status)
    }

    #[test]
    fn output_and_status_are_the_commands_own() {
        let (output, status) = lines_of("echo \"$EXTRA\"; echo two >&2; cat; exit 7");
        assert_eq!(output, ["a b", "two"]);
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn the_callers_environment_does_not_leak_in() {
        let (output, _) = lines_of("env");
        assert!(output.iter().any(|line| line == "LC_ALL=C"));
        assert!(
            !output.iter().any(|line| line.starts_with("CARGO")),
            "{output:?}"
        );
    }

    #[test]
    fn a_dropped_command_is_ended_with_its_group() {
        let (dir, lock) = locked();
        // The grandchild holds the fifo open: its end is our end of file.
        let fifo = dir.path().join("alive");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        let (sender, ended) = mpsc::channel();
        let watch = thread::spawn({
            let fifo = fifo.clone();
            move || sender.send(fs::read(fifo)).expect("main waits")
        });
        let result = Guarded::new("sh")
            .args([
                "-c",
                "sh -c 'exec 9>alive; echo up; sleep 600 & wait' & wait",
            ])
            .lines(dir.path(), &lock, |line| {
                assert_eq!(line, "up");
                Err(Error::NoTerminal("nconfig"))
            });
        assert!(matches!(result, Err(Error::NoTerminal("nconfig"))));
        let wait = std::time::Duration::from_secs(20);
        ended
            .recv_timeout(wait)
            .expect("the group has ended")
            .expect("read");
        watch.join().expect("no panic");
    }

    /// Where the process is the one that a test starts of itself, runs what it is
    /// to be killed at.
    fn victim() {
        let Ok(script) = std::env::var("RAPIDSWAP_VICTIM") else {
            return;
        };
        let dir = std::env::current_dir().expect("has one");
        let cache = Cache::at(dir.join("cache"));
        let lock = both(&cache);
        let status = Guarded::new("sh")
            .args(["-c", &script])
            .lines(&dir, &lock, |_| Ok(()));
        panic!("it was to be killed before: {status:?}");
    }

    /// Kills a builder that runs `script` when that has opened the fifo `alive`
    /// for writing; returns that fifo, which ends when all who have it open are
    /// gone. The builder is `test`, which begins with [`victim`].
    fn kill_builder(test: &str, dir: &Path, script: &str) -> fs::File {
        let fifo = dir.join("alive");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        let mut victim = Command::new(std::env::current_exe().expect("has one"))
            .args(["--exact", &format!("guarded::tests::{test}"), "--nocapture"])
            .env("RAPIDSWAP_VICTIM", script)
            .current_dir(dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("spawn");
        let alive = fs::File::open(&fifo).expect("open");
        victim.kill().expect("kill");
        victim.wait().expect("wait");
        alive
    }

    #[test]
    fn a_killed_builder_takes_its_commands_along_and_then_frees_the_locks() {
        victim();
        let dir = tempfile::tempdir().expect("temporary directory");
        let script = "sh -c 'exec 9>alive; sleep 600 & wait' & wait";
        let test = "a_killed_builder_takes_its_commands_along_and_then_frees_the_locks";
        let mut alive = kill_builder(test, dir.path(), script);
        let (sender, ended) = mpsc::channel();
        let watch = thread::spawn(move || {
            let read = std::io::Read::read(&mut alive, &mut [0]);
            sender.send(read).expect("main waits");
        });
        let wait = std::time::Duration::from_secs(20);
        let read = ended.recv_timeout(wait).expect("the group has ended");
        assert_eq!(read.expect("read"), 0);
        watch.join().expect("no panic");
        let cache = Cache::at(dir.path().join("cache"));
        both(&cache);
        cache.change_source(&Reporter::silent()).expect("lock");
    }

    #[test]
    fn what_outlives_a_killed_builder_keeps_both_locks() {
        victim();
        let dir = tempfile::tempdir().expect("temporary directory");
        let gate = dir.path().join("gate");
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        let test = "what_outlives_a_killed_builder_keeps_both_locks";
        let script = "trap '' TERM; exec 9>alive; read _ <gate";
        let alive = kill_builder(test, dir.path(), script);
        let kernel = dir.path().join("cache/kernel");
        let locks = ["lock", "build/release.lock"].map(|lock| kernel.join(lock));
        let lock = |path: &Path, how| {
            let file = fs::File::options().write(true).open(path).expect("open");
            Flock::lock(file, how).map_err(|(_, errno)| errno)
        };
        for path in &locks {
            let held = lock(path, FlockArg::LockExclusiveNonblock);
            assert_eq!(held.expect_err("is held"), Errno::EWOULDBLOCK);
        }
        fs::write(&gate, "\n").expect("write");
        for path in &locks {
            lock(path, FlockArg::LockExclusive).expect("is free");
        }
        drop(alive);
    }

    #[test]
    fn the_compilers_error_is_quoted_not_makes() {
        let output: Vec<String> = [
            "  CC      mm/remote_swap.o",
            "mm/remote_swap.c:7:1: error: expected ';'",
            "make[3]: *** [mm/remote_swap.o] Error 1",
            "make: *** Error 2",
        ]
        .map(String::from)
        .into();
        assert_eq!(
            telling(&output),
            "mm/remote_swap.c:7:1: error: expected ';'"
        );
        assert_eq!(
            telling(&output[2..]),
            "make[3]: *** [mm/remote_swap.o] Error 1"
        );
        assert_eq!(telling(&output[..1]), "CC      mm/remote_swap.o");
        assert_eq!(telling(&[]), "it printed nothing");
    }
}

//! Boots a kernel to its first program and sees whether that lives.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::qemu::device::{Accel, Board, Control, Entropy, PanicWatch, SerialStream};
use crate::qemu::machine::Machine;
use crate::qemu::qmp::{Event, Qmp};
use crate::sys;

/// What the probe's program prints.
const ALIVE: &[u8] = b"rapidswap-probe: user space is alive\n";

/// Boots `kernel` with a program of its own until that has printed a line on
/// the console. Gives the time this took, or what came instead; `speaks` is
/// told QEMU's process when the guest begins to say something.
pub(crate) fn boots(
    qemu: &Path,
    kernel: &Path,
    accel: Accel,
    deadline: Duration,
    speaks: impl FnOnce(u32),
) -> Result<Duration, String> {
    let started = Instant::now();
    let probe = Probe::start(qemu, kernel, accel).map_err(|error| format!("no probe: {error}"))?;
    let until = started + deadline;
    match probe.watch(until, speaks) {
        Ok(()) => Ok(started.elapsed()),
        Err(reason) => Err(reason
            .unwrap_or_else(|| format!("no guest boots with it within {} s", deadline.as_secs()))),
    }
}

/// How long a process that was ready to run has waited for a processor: the
/// thread of it that has waited longest. Nothing where the kernel does not say.
pub(crate) fn kept_waiting(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let waited = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let said = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            // Time run, time waited, both in ns, and how often it ran.
            said.split_whitespace().nth(1)?.parse().ok()
        });
    Duration::from_nanos(waited.max().unwrap_or(0))
}

/// The least that boots a kernel, with the console and the control channel on
/// inherited descriptors.
fn machine(accel: Accel, kernel: &Path, initrd: &Path, [console, control]: [RawFd; 2]) -> Machine {
    Machine {
        kernel: kernel.into(),
        initrd: initrd.into(),
        devices: vec![
            Box::new(Board {
                accel,
                memory_mib: 256,
                cpus: 1,
                tsc_khz: None,
            }),
            Box::new(PanicWatch),
            Box::new(SerialStream { fd: console }),
            Box::new(Control { fd: control }),
            Box::new(Entropy),
        ],
    }
}

struct Probe {
    qemu: Child,
    console: UnixStream,
    monitor: UnixStream,
    complaints: tempfile::NamedTempFile,
    _initrd: tempfile::NamedTempFile,
}

impl Probe {
    fn start(qemu: &Path, kernel: &Path, accel: Accel) -> io::Result<Probe> {
        let initrd = tempfile::NamedTempFile::new()?;
        std::fs::write(initrd.path(), rapidswap_agent::initramfs(&first_program()))?;
        let (console, far_console) = UnixStream::pair()?;
        let (monitor, far_monitor) = UnixStream::pair()?;
        let (far_console, far_monitor) = (OwnedFd::from(far_console), OwnedFd::from(far_monitor));
        let inherited = [far_console.as_raw_fd(), far_monitor.as_raw_fd()];
        let mut command = Command::new(qemu);
        command.args(machine(accel, kernel, initrd.path(), inherited).args());
        let complaints = tempfile::NamedTempFile::new()?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(complaints.reopen()?);
        sys::tie(&mut command, &inherited);
        Ok(Probe {
            qemu: command.spawn()?,
            console,
            monitor,
            complaints,
            _initrd: initrd,
        })
    }

    /// `Ok` when the program lives; else a reason, or none if time ran out.
    fn watch(&self, until: Instant, speaks: impl FnOnce(u32)) -> Result<(), Option<String>> {
        let told = |error: io::Error| Some(error.to_string());
        // A processor that stops is the end of the wait, not only a deadline:
        // QEMU itself would sit there for ever.
        let waker = self.console.try_clone().map_err(told)?;
        let monitor = self.monitor.try_clone().map_err(told)?;
        // On a thread of its own, since it may never answer.
        let (sender, control) = channel();
        thread::spawn(move || {
            let qmp = Qmp::start(monitor, move |event| {
                if matches!(
                    event,
                    Event::Stop(_) | Event::GuestPanicked | Event::Shutdown(_)
                ) {
                    let _ = waker.shutdown(std::net::Shutdown::Both);
                }
            });
            let _ = sender.send(qmp);
        });
        let (mut seen, mut speaks) = (Vec::new(), Some(speaks));
        let mut buffer = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(None);
            }
            self.console.set_read_timeout(Some(left)).map_err(told)?;
            match (&self.console).read(&mut buffer) {
                Ok(0) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let control = control.recv_timeout(left).ok().and_then(Result::ok);
                    let status = control.and_then(|qmp| qmp.status().ok());
                    let status = status.unwrap_or_else(|| self.complaint());
                    return Err(Some(format!("no guest boots with it ({status})")));
                }
                Ok(count) => {
                    seen.extend_from_slice(&buffer[..count]);
                    if let Some(speaks) = speaks.take() {
                        speaks(self.qemu.id());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(None),
                Err(error) => return Err(Some(error.to_string())),
            }
            // Without its end, which the console writes its own way.
            let alive = &ALIVE[..ALIVE.len() - 1];
            if seen.windows(alive.len()).any(|window| window == alive) {
                return Ok(());
            }
        }
    }
}

impl Probe {
    /// What a QEMU that ended said first.
    fn complaint(&self) -> String {
        let said = std::fs::read_to_string(self.complaints.path()).unwrap_or_default();
        match said.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => format!(
                "QEMU ended: {}",
                line.trim_start_matches("qemu-system-x86_64: ")
            ),
            None => "QEMU ended".to_owned(),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// A static x86-64 program which prints [`ALIVE`] on its standard output and
/// then sleeps: one segment with both headers, the code and the text.
/// Written out here so that a probe depends on no other build.
fn first_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = [
        b"\xb8\x01\0\0\0".as_slice(),        // mov eax, 1 (write)
        b"\xbf\x01\0\0\0",                   // mov edi, 1
        b"\x48\x8d\x35\x10\0\0\0",           // lea rsi, [rip + 16] (the text)
        &[0xba, ALIVE.len() as u8, 0, 0, 0], // mov edx, length
        b"\x0f\x05",                         // syscall
        b"\xb8\x22\0\0\0",                   // mov eax, 34 (pause)
        b"\x0f\x05",                         // syscall
        b"\xeb\xf7",                         // jmp back to the pause
    ]
    .concat();
    let size = HEADERS + (code.len() + ALIVE.len()) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
    let word = |elf: &mut Vec<u8>, value: u32| elf.extend(value.to_le_bytes());
    let long = |elf: &mut Vec<u8>, value: u64| elf.extend(value.to_le_bytes());
    half(&mut elf, 2); // executable
    half(&mut elf, 62); // x86-64
    word(&mut elf, 1);
    long(&mut elf, BASE + HEADERS); // entry
    long(&mut elf, 64); // program headers
    long(&mut elf, 0);
    word(&mut elf, 0);
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut elf, value);
    }
    word(&mut elf, 1); // loaded
    word(&mut elf, 5); // readable, executable
    for value in [0, BASE, BASE, size, size, 0x1000] {
        long(&mut elf, value);
    }
    elf.extend_from_slice(&code);
    elf.extend_from_slice(ALIVE);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::QEMU;
    use crate::qemu::machine::printable;
    use std::io::BufRead;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_program_runs_on_this_host_too() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let path = temp.path().join("init");
        std::fs::write(&path, first_program()).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
        let mut child = Command::new(&path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = Vec::new();
        let stdout = child.stdout.take().expect("piped");
        io::BufReader::new(stdout)
            .read_until(b'\n', &mut line)
            .expect("a line");
        assert_eq!(line, ALIVE);
        assert!(child.try_wait().expect("look").is_none(), "it sleeps on");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    #[test]
    fn the_command_line_is_as_written_down() {
        let (kernel, initrd) = (Path::new("/cache/vmlinux"), Path::new("/tmp/initrd"));
        let machine = machine(Accel::Kvm, kernel, initrd, [10, 11]);
        let line = printable(QEMU, &machine.args());
        assert_eq!(line, include_str!("../../tests/golden/qemu-probe.txt"));
    }

    #[test]
    fn what_waits_for_a_processor_is_told_from_what_sleeps() {
        let start = |script: &str| {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", "0", "sh", "-c", script]);
            sys::tie(&mut command, &[]);
            command.spawn().expect("it starts")
        };
        // Three that want all of one processor, and one that wants nothing.
        let mut spinning = [(); 3].map(|()| start("while :; do :; done"));
        let mut sleeping = start("exec sleep 1000");
        let until = Instant::now() + Duration::from_secs(20);
        let waited = || kept_waiting(spinning[0].id());
        while waited() < Duration::from_millis(500) && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
        }
        let (spun, slept) = (waited(), kept_waiting(sleeping.id()));
        for child in spinning.iter_mut().chain([&mut sleeping]) {
            child.kill().expect("killed");
            child.wait().expect("reaped");
        }
        assert!(spun >= Duration::from_millis(500), "{spun:?}");
        assert!(slept < spun / 2, "{slept:?} of {spun:?}");
    }

    #[test]
    fn a_kernel_that_is_none_does_not_boot() {
        let kernel = tempfile::NamedTempFile::new().expect("file");
        let reason = boots(
            Path::new(QEMU),
            kernel.path(),
            Accel::Tcg,
            Duration::from_secs(60),
            |_| {},
        )
        .expect_err("none");
        assert!(reason.contains("QEMU ended"), "{reason}");
    }
}

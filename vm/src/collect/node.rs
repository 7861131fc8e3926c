//! One node's part of what is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rapidswap_protocol::Output;
use serde_json::{Value, json};

use super::Missing;
use super::scripts::{ITEMS, Item};
use crate::cluster::node::{ANSWER, Node};
use crate::console;
use crate::error::{Error, IoContext, Result};
use crate::wait::within;

/// How long a console may go on about tasks and memory, at the speed of an
/// emulated UART.
const KEYED: Duration = Duration::from_secs(20);

/// A console that says nothing for so long has said it all.
const QUIET: Duration = Duration::from_secs(1);

/// Lines of a console that are shown.
const SHOWN: usize = 40;

/// How long QEMU may take to begin and end a dump, whatever is dumped.
const DUMP: Duration = Duration::from_secs(30);

/// And how much memory, in MiB, it dumps each second at least, to a slow disk.
const DUMP_RATE: u64 = 8;

/// The name of a node's memory.
const VMCORE: &str = "vmcore";

/// Why a node's agent gave nothing.
struct Silence {
    reason: String,
    /// It may be there and not get to it.
    hangs: bool,
}

/// A directory in which a node's files are kept.
pub(super) struct Folder {
    pub(super) node: String,
    pub(super) missing: Vec<Missing>,
    pub(super) telling: Vec<String>,
    source: Node,
    dir: PathBuf,
}

impl Folder {
    pub(super) fn make(source: &Node, dir: &Path) -> Result<Folder> {
        let dir = dir.join(source.name());
        fs::create_dir_all(&dir).what(|| format!("cannot make {}", dir.display()))?;
        Ok(Folder {
            node: source.name().to_owned(),
            missing: Vec::new(),
            telling: Vec::new(),
            source: source.clone(),
            dir,
        })
    }

    /// What the node's own programs say; its keyboard where they do not.
    pub(super) fn ask_agent(&mut self) {
        for (index, item) in ITEMS.iter().enumerate() {
            match self.ask(item) {
                Ok(output) => self.keep(item, &output),
                Err(silence) => {
                    // Who is silent once is not asked again.
                    for item in &ITEMS[index..] {
                        self.note(item.file, Err(silence.reason.clone()));
                    }
                    if silence.hangs {
                        let keyed = self.press_sysrq();
                        self.note("console.log (sysrq by the keyboard)", keyed);
                    }
                    return;
                }
            }
        }
    }

    fn ask(&self, item: &Item) -> std::result::Result<Output, Silence> {
        let (node, script) = (self.source.clone(), item.script);
        match within(ANSWER, move || node.exec(["sh", "-c", script])) {
            Some(Ok(output)) => Ok(output),
            Some(Err(Error::NodeGone { reason, .. })) => Err(Silence {
                reason: format!("the node is gone: {reason}"),
                hangs: false,
            }),
            Some(Err(other)) => Err(Silence {
                reason: other.to_string(),
                hangs: false,
            }),
            None => Err(Silence {
                reason: format!("the agent did not answer in {} s", ANSWER.as_secs()),
                hangs: true,
            }),
        }
    }

    fn keep(&mut self, item: &Item, output: &Output) {
        self.write(item.file, &output.stdout);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let reason = format!("incomplete: {}: {}", output.status, said.trim());
            self.note(item.file, Err(reason));
        }
    }

    /// Tasks and memory on the console, by the keys of a keyboard: a kernel
    /// that takes interrupts does this without any program.
    fn press_sysrq(&self) -> std::result::Result<(), String> {
        let console = self.source.console_path();
        // The log level first, or the console shows none of it.
        for key in ["9", "l", "m", "t"] {
            let keys: Vec<Value> = ["alt", "sysrq", key]
                .iter()
                .map(|key| json!({"type": "qcode", "data": key}))
                .collect();
            let sent = self.source.qmp("send-key", json!({ "keys": keys }));
            sent.map_err(|error| error.to_string())?;
            let before = size(&console);
            let deadline = Instant::now() + KEYED;
            let (mut last, mut since) = (before, Instant::now());
            while since.elapsed() < QUIET && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
                let now = size(&console);
                if now != last {
                    (last, since) = (now, Instant::now());
                }
            }
        }
        let text = self.source.console().map_err(|error| error.to_string())?;
        match text.contains("sysrq: Show State") {
            true => Ok(()),
            false => Err("the kernel does not take keys: it runs with interrupts off".into()),
        }
    }

    /// What QEMU knows about the machine.
    pub(super) fn ask_qemu(&mut self) {
        let file = "qemu-state.txt";
        let state = self.qemu_state();
        match state {
            Ok(text) => self.write(file, text.as_bytes()),
            Err(error) => self.note(file, Err(error.to_string())),
        }
    }

    fn qemu_state(&self) -> Result<String> {
        let status = self.source.qmp("query-status", Value::Null)?;
        let line = json!({"command-line": "info registers -a"});
        let registers = self.source.qmp("human-monitor-command", line)?;
        Ok(format!("{status}\n{}", registers.as_str().unwrap_or("")))
    }

    /// The node's memory, as `crash` and drgn read it.
    pub(super) fn dump(&mut self) {
        let dumped = self.dumped().map_err(|error| error.to_string());
        self.note(
            VMCORE,
            dumped.and_then(|failure| failure.map_or(Ok(()), Err)),
        );
    }

    /// Why QEMU could not dump all, if it could not.
    fn dumped(&self) -> Result<Option<String>> {
        let path = self.dir.join(VMCORE);
        // The compressed forms do not say what machine they are of, which drgn
        // has to know.
        let arguments = json!({
            "paging": false,
            "protocol": format!("file:{}", path.display()),
            "format": "elf",
            "detach": true,
        });
        let memory_mib = self.source.status()?.memory_mib;
        let limit = DUMP + Duration::from_secs(memory_mib / DUMP_RATE);
        let until = Some(("DUMP_COMPLETED", limit));
        let command = "dump-guest-memory";
        let end = self.source.qmp_until(command, arguments, until)?;
        Ok(end["error"].as_str().map(str::to_owned))
    }

    /// The lines of the console that matter, before anything adds to it.
    pub(super) fn look(&mut self) {
        let from = self.source.console_path();
        let splats = console::scan(&from).map(|scan| scan.splats);
        let splats = splats.unwrap_or_default();
        let last = splats.last().map(|splat| &splat.occasion);
        // The first of the newest ones: what follows is its consequence.
        let first = splats.iter().find(|splat| Some(&splat.occasion) == last);
        self.telling = console::telling(&from, first, SHOWN);
    }

    /// What is in files already.
    pub(super) fn copy_files(&mut self) {
        let from = self.source.console_path();
        let run = from.parent().unwrap_or(Path::new("/")).to_owned();
        let own = match run.join("ssh.txt").exists() {
            true => ["ssh.log", "ssh.txt"],
            false => ["qemu.log", "qemu.txt"],
        };
        for file in [console::FILE, "agent.log"].into_iter().chain(own) {
            let copied = fs::copy(run.join(file), self.dir.join(file));
            let copied = copied.map(drop).map_err(|error| error.to_string());
            self.note(file, copied);
        }
    }

    fn write(&mut self, file: &str, bytes: &[u8]) {
        let written = fs::write(self.dir.join(file), bytes);
        self.note(file, written.map_err(|error| error.to_string()));
    }

    fn note(&mut self, file: &str, result: std::result::Result<(), String>) {
        if let Err(reason) = result {
            self.missing.push(Missing {
                item: Path::new(&self.node).join(file),
                reason,
            });
        }
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

//! A node's console, and the marks that tests leave on it.

use std::time::Duration;

use crate::cluster::node::Node;
use crate::console::occasion::TestRun;
use crate::console::splat::kernel_message;
use crate::console::{self, ConsoleScan};
use crate::error::{Error, IoContext, Result};

/// How long the console may be behind the kernel's log.
const SHOWN: Duration = Duration::from_secs(30);

impl Node {
    /// What is on its console. One that cannot be read is an error, not a clean
    /// one.
    pub fn scan(&self) -> Result<ConsoleScan> {
        let path = self.console_path();
        console::scan(&path).what(|| format!("cannot scan {}", path.display()))
    }

    /// Writes a line to its kernel's log that says that a test begins, and
    /// waits until the console shows it.
    pub fn mark_begin(&self, run: &TestRun) -> Result<()> {
        self.mark(&run.begin())
    }

    /// Writes a line to its kernel's log that says that a test ends, and waits
    /// until the console shows it, and so all that came before.
    pub fn mark_end(&self, run: &TestRun) -> Result<()> {
        self.mark(&run.end())
    }

    fn mark(&self, message: &str) -> Result<()> {
        // A warning, because the console shows nothing less.
        let script = r#"printf '<4>%s\n' "$0" > /dev/kmsg"#;
        self.run("writing to the kernel's log", ["sh", "-c", script, message])?;
        match self.await_line(SHOWN, |line| kernel_message(line) == Some(message))? {
            true => Ok(()),
            false => Err(Error::Step {
                what: format!("scanning the console for `{message}`"),
                node: self.name().to_owned(),
                detail: format!("it is not there {} s after it was written", SHOWN.as_secs()),
            }),
        }
    }
}

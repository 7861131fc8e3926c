//! Kernel faults on demand: by lkdtm, and by modules of our own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rapidswap_progress::Reporter;
use rapidswap_vm::{Cluster, Outcome, SplatKind, UpOptions, classify};
use serde_json::{Value, json};

use crate::guest::{Guest, Running};
use crate::rapidswap::root;
use crate::remote_module::insmod;
use crate::scene::{Scene, kernel_variant, scaled};
use crate::verdict::Verdict;
use crate::wait::TimedOut;

const TRIGGER: &str = "/sys/kernel/debug/provoke-crash/DIRECT";

/// How long a fault may take to its console.
const SEEN: Duration = Duration::from_secs(30);

/// A cluster of a test's own, which it may ruin.
pub fn ruin(options: &UpOptions, test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let scene = Scene::of(Cluster::up(options, &Reporter::auto())?)?;
    let result = test(&scene);
    let down = scene.cluster.down();
    result?;
    Ok(down?)
}

/// Waits for a command that ends with its node.
pub fn ends(command: Running) -> Result<()> {
    let output = command.finish(scaled(SEEN)?)?;
    bail!("the node did not end: {}", output.status)
}

/// Checks that a watched test ended as it had to: at this node, with a fault of
/// each of these kinds there and none elsewhere.
pub fn expect(verdict: &Verdict, outcome: Outcome, node: &str, kinds: &[SplatKind]) -> Result<()> {
    ensure!(
        verdict.outcome == outcome && verdict.node.as_deref() == Some(node),
        "not a {outcome} on {node}: {verdict}"
    );
    let faults = &verdict.seen.faults;
    for kind in kinds {
        ensure!(
            faults.iter().any(|fault| fault.kind == *kind),
            "no {kind}: {verdict}"
        );
    }
    ensure!(faults.iter().all(|fault| fault.node == node), "{verdict}");
    ensure!(
        kinds.is_empty() || verdict.to_string().contains(&verdict.test),
        "the test is not named: {verdict}"
    );
    Ok(())
}

/// Copies a module of `tests/provoke-ko` to a node, and returns its path there.
/// It does what it is for when it is loaded.
fn own_module(guest: &Guest, name: &str) -> Result<String> {
    let variant = kernel_variant()?;
    let reporter = Reporter::auto();
    let kernel = rapidswap_kernel::ensure(variant, &reporter)?;
    let folder = root().join("tests/provoke-ko");
    let modules = rapidswap_kernel::modules(&kernel, variant, &folder, &reporter)?;
    let is_it = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == name);
    let module = modules.iter().find(is_it);
    guest.install(module.with_context(|| format!("no module {name}"))?)
}

/// A node whose kernel can be made to fail.
pub struct Provoked<'a> {
    guest: &'a Guest,
}

impl<'a> Provoked<'a> {
    /// Prepares a node.
    pub fn new(guest: &'a Guest) -> Result<Provoked<'a>> {
        insmod(guest, "lkdtm", &[])?;
        Ok(Provoked { guest })
    }

    /// A node that was prepared before.
    pub fn again(guest: &'a Guest) -> Provoked<'a> {
        Provoked { guest }
    }

    /// A fault after which the kernel goes on, by lkdtm.
    pub fn fault(&self, name: &str) -> Result<()> {
        self.guest.write(TRIGGER, name)
    }

    /// A fault from which whoever asks for it does not come back.
    pub fn fatal(&self, name: &str) -> Result<Running> {
        let script = r#"printf %s "$1" > "$0""#;
        self.guest.start(&["sh", "-c", script, TRIGGER, name])
    }

    /// The same by a module of our own.
    pub fn load(&self, module: &str) -> Result<()> {
        let path = own_module(self.guest, module)?;
        self.guest.ok(&["insmod", &path]).map(drop)
    }

    /// One by a module of our own from whose loading nobody comes back.
    pub fn load_fatal(&self, module: &str) -> Result<Running> {
        let path = own_module(self.guest, module)?;
        self.guest.start(&["insmod", &path])
    }

    /// From now on nobody tells QEMU of a panic.
    pub fn unbind_pvpanic(&self) -> Result<()> {
        let script = "cd /sys/bus/pci/drivers/pvpanic-pci\n\
            for device in 0000:*; do echo $device > unbind; done";
        self.guest.sh(script).map(drop)
    }

    /// A fault in the keyboard's interrupt.
    pub fn panic_in_interrupt(&self) -> Result<()> {
        let keys: Vec<Value> = ["alt", "sysrq", "c"]
            .iter()
            .map(|key| json!({"type": "qcode", "data": key}))
            .collect();
        let keys = json!({ "keys": keys });
        Ok(self.guest.node.qmp("send-key", keys).map(drop)?)
    }

    /// Waits until the node's console shows a new fault of a kind, which it does
    /// not if the node is gone.
    pub fn wait_for(&self, kind: SplatKind, before: usize) -> Result<()> {
        let (limit, mut count) = (scaled(SEEN)?, 0);
        let came = self.guest.node.await_line(limit, |line| {
            count += usize::from(classify(line).is_some_and(|(of, _)| of == kind));
            count > before
        })?;
        let what = format!("a {kind} on the console");
        match came {
            true => Ok(()),
            false => Err(TimedOut { what, limit }.into()),
        }
    }

    /// How many faults of a kind the node's console shows.
    pub fn count(&self, kind: SplatKind) -> Result<usize> {
        let splats = self.guest.node.scan()?.splats;
        Ok(splats.iter().filter(|splat| splat.kind == kind).count())
    }

    /// Writes to the node's log, and around the kernel to its console, as fast
    /// as it can until the returned command is dropped.
    pub fn flood(&self) -> Result<Running> {
        self.noise(
            "while :; do echo \"<3>[noise] WARNINGS BUGS\" > /dev/kmsg; done &\n\
            while :; do printf '[noise] [noise '; done > /dev/ttyS0 &",
        )
    }

    /// Has the kernel print lines so long that it does hardly anything else,
    /// until the returned command is dropped.
    pub fn prints(&self) -> Result<Running> {
        self.noise(
            "line=$(printf %0900d 0)\n\
            while :; do echo \"<3>[noise] $line\" > /dev/kmsg; done &",
        )
    }

    fn noise(&self, script: &str) -> Result<Running> {
        let unlimited = "echo on > /proc/sys/kernel/printk_devkmsg";
        let script = format!("{unlimited}\n{script}\necho flowing; wait");
        let mut noise = self.guest.start(&["sh", "-c", &script])?;
        noise.line()?;
        Ok(noise)
    }
}

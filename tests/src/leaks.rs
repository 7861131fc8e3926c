//! Memory of a kernel that nothing points to any more, found by kmemleak.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rapidswap_vm::Node;

use crate::guest::Guest;

const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";
const VERBOSE: &str = "/sys/module/kmemleak/parameters/verbose";

/// How often a node is looked at after a test, and at first after its first one. The
/// kernel by itself looks every 10 min. Of a test that does little it is most of the
/// time: half a minute for two nodes without KVM.
const EVERY: Duration = Duration::from_secs(300);

/// Has kmemleak look unless it has lately. What it finds may be an earlier test's: it
/// says how long ago it was allocated, and by what.
pub fn look_now_and_then(node: &Node) -> Result<()> {
    let stamp = stamp(node);
    let looked = fs::metadata(&stamp).and_then(|looked| looked.modified());
    let since = looked.ok().and_then(|looked| looked.elapsed().ok());
    if since.is_some_and(|since| since < EVERY) {
        return Ok(());
    }
    look(&Guest::new(node.clone()))?;
    File::create(&stamp).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(())
}

/// The file that is as old as the last look at a node. It goes with its cluster.
fn stamp(node: &Node) -> PathBuf {
    node.console_path().with_file_name("leaks-looked-for")
}

/// Has kmemleak look, and say on the console what it finds. It looks twice,
/// because it takes what it never saw before for something that is still being
/// changed; what is younger than 5 s it leaves for the next time.
pub fn look(guest: &Guest) -> Result<()> {
    guest.write(VERBOSE, "Y")?;
    for _ in 0..2 {
        guest.write(KMEMLEAK, "scan")?;
    }
    Ok(())
}

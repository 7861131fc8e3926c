//! Memory of nodes that was kept.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// How an ELF file of a 64-bit machine begins, and that it is a core.
const ELF: &[u8] = b"\x7fELF\x02";
const CORE: [u8; 2] = [4, 0];

/// What the notes of a kernel begin with.
const RELEASE: &[u8] = b"OSRELEASE=6.";

/// Checks that a file is a node's memory, and says of what kernel it is.
pub fn check(path: &Path) -> Result<()> {
    // Its notes come first; what follows is the node's memory.
    let mut dump = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(1 << 20).read_to_end(&mut dump)?;
    let is_core = dump.starts_with(ELF) && dump.get(16..18) == Some(&CORE);
    ensure!(is_core, "{}: no core", path.display());
    let release = dump.windows(RELEASE.len()).any(|word| word == RELEASE);
    ensure!(
        release,
        "{} does not say of what kernel it is",
        path.display()
    );
    Ok(())
}

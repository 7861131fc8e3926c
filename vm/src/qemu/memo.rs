//! What is known from before, in a file of the cache.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// What was written down there; `None` if nothing was that still makes sense.
pub(crate) fn recall<T: DeserializeOwned>(place: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(place).ok()?).ok()
}

/// Writes it down whole or not at all, whoever else does so or reads.
pub(crate) fn write_down(place: &Path, known: &impl Serialize) -> io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut written = NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut written, known)?;
    written.persist(place)?;
    Ok(())
}

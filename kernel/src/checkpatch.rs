//! The kernel's own style check, on the series.

use rapidswap_progress::Reporter;

use crate::builder::Builder;
use crate::error::{Error, Result};
use crate::guarded::Guarded;

impl Builder {
    /// Runs `checkpatch.pl --strict` on each patch; any remark is an error.
    /// Returns how many patches were clean.
    pub(crate) fn checkpatch(&self, reporter: &Reporter) -> Result<usize> {
        let lock = self.cache.lock(reporter)?;
        self.patched_source(&lock, reporter)?;
        let linux = self.cache.linux();
        let mut faulty = Vec::new();
        for patch in &self.definition.series {
            let status = Guarded::new("perl")
                .arg(linux.join("scripts/checkpatch.pl"))
                .args([
                    "--strict",
                    "--terse",
                    "--show-types",
                    "--no-summary",
                    "--root",
                ])
                .arg(&linux)
                .arg(&patch.path)
                .lines(&linux, &lock, |line| {
                    reporter.note(line);
                    Ok(())
                })?;
            if !status.success() {
                faulty.push(patch.name());
            }
        }
        if !faulty.is_empty() {
            return Err(Error::Checkpatch(faulty));
        }
        Ok(self.definition.series.len())
    }
}

//! The kernel's own style check, on the series.

use rapidswap_progress::Reporter;

use crate::builder::Builder;
use crate::error::{Error, Result};
use crate::guarded::{Guarded, succeeded};

impl Builder {
    /// Runs `checkpatch.pl --strict` on each patch; any remark is an error.
    /// Returns how many patches were clean.
    pub(crate) fn checkpatch(&self, reporter: &Reporter) -> Result<usize> {
        let (lock, _) = self.patched_source(reporter)?;
        let linux = self.cache.linux();
        let mut output = Vec::new();
        // One process for all of them: it takes longer to start than to look at a patch.
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
            .args(self.definition.series.iter().map(|patch| &patch.path))
            // From inside the tree: checkpatch.pl takes a file that is
            // tracked where it runs for source, not for a patch.
            .lines(&linux, &lock, |line| {
                output.push(line.to_owned());
                Ok(())
            })?;
        if status.success() {
            return Ok(self.definition.series.len());
        }
        let mut faulty = Vec::new();
        for patch in &self.definition.series {
            // Helpers of checkpatch.pl that lack a library talk too.
            let path = format!("{}:", patch.path.display());
            let mut remarks = output
                .iter()
                .filter(|line| line.starts_with(&path))
                .peekable();
            if remarks.peek().is_some() {
                faulty.push(patch.name());
            }
            remarks.for_each(|line| reporter.note(line));
        }
        if faulty.is_empty() {
            succeeded("checkpatch.pl", status, &output)?;
        }
        Err(Error::Checkpatch(faulty))
    }
}

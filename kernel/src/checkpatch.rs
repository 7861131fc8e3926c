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
        let mut faulty = Vec::new();
        for patch in &self.definition.series {
            let mut output = Vec::new();
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
                // From inside the tree: checkpatch.pl takes a file that is
                // tracked where it runs for source, not for a patch.
                .lines(&linux, &lock, |line| {
                    output.push(line.to_owned());
                    Ok(())
                })?;
            if !status.success() {
                // Helpers of checkpatch.pl that lack a library talk too.
                let path = patch.path.to_string_lossy();
                let remarks = output.iter().filter(|line| line.starts_with(&*path));
                if remarks.clone().count() == 0 {
                    succeeded("checkpatch.pl", status, &output)?;
                }
                remarks.for_each(|line| reporter.note(line));
                faulty.push(patch.name());
            }
        }
        if !faulty.is_empty() {
            return Err(Error::Checkpatch(faulty));
        }
        Ok(self.definition.series.len())
    }
}

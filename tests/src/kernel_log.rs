//! What a node's kernel has logged since some moment.

use anyhow::Result;

use crate::guest::Guest;

/// A moment in a node's kernel log.
pub struct Mark<'a> {
    guest: &'a Guest,
    lines: usize,
}

impl<'a> Mark<'a> {
    /// Now.
    pub fn new(guest: &'a Guest) -> Result<Mark<'a>> {
        let lines = guest.ok(&["dmesg"])?.lines().count();
        Ok(Mark { guest, lines })
    }

    /// The lines that have come since.
    pub fn since(&self) -> Result<Vec<String>> {
        let log = self.guest.ok(&["dmesg"])?;
        Ok(log.lines().skip(self.lines).map(str::to_owned).collect())
    }
}

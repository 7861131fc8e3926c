//! What a node's kernel has logged since some moment.

use anyhow::Result;

use crate::guest::Guest;

/// A moment in a node's kernel log.
pub struct Mark<'a> {
    guest: &'a Guest,
    last: Option<String>,
}

impl<'a> Mark<'a> {
    /// Now.
    pub fn new(guest: &'a Guest) -> Result<Mark<'a>> {
        let log = guest.ok(&["dmesg"])?;
        let last = log.lines().last().map(str::to_owned);
        Ok(Mark { guest, last })
    }

    /// The lines that have come since, but for those that the log has no room
    /// for any more.
    pub fn since(&self) -> Result<Vec<String>> {
        let log = self.guest.ok(&["dmesg"])?;
        let lines = after(&log, self.last.as_deref());
        Ok(lines.map(str::to_owned).collect())
    }

    /// How many of them have this text in them.
    pub fn count(&self, text: &str) -> Result<usize> {
        let lines = self.since()?;
        Ok(lines.iter().filter(|line| line.contains(text)).count())
    }
}

/// The lines after the one that was the last. The time in front tells one from
/// all others; where it is gone, those that are there came after it.
fn after<'a>(log: &'a str, last: Option<&str>) -> impl Iterator<Item = &'a str> {
    let lines: Vec<_> = log.lines().collect();
    let seen = lines.iter().rposition(|line| Some(*line) == last);
    lines.into_iter().skip(seen.map_or(0, |seen| seen + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_room_keeps_what_came_last() {
        let since = |log, last| after(log, last).collect::<Vec<_>>();
        assert_eq!(since("[1] a\n[2] b\n[3] c\n", Some("[2] b")), ["[3] c"]);
        assert_eq!(since("[3] c\n[4] d\n", Some("[2] b")), ["[3] c", "[4] d"]);
        assert!(since("[1] a\n", Some("[1] a")).is_empty());
        assert_eq!(since("[1] a\n", None), ["[1] a"]);
    }
}

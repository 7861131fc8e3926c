//! Tables for people: a name and what was found, aligned.
//!
//! Two columns need no crate: `comfy-table` is for tables that wrap to a
//! terminal's width.

use std::fmt;
use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// Rows in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(String, String)>,
}

impl Table {
    /// Names and what was found.
    pub fn rows(&self) -> &[(String, String)] {
        &self.rows
    }

    /// Adds a row.
    pub fn row(&mut self, name: &str, value: impl fmt::Display) {
        self.rows.push((name.to_owned(), value.to_string()));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, _)| name.chars().count());
        let width = width.max().unwrap_or(0);
        for (name, value) in &self.rows {
            writeln!(f, "  {name:<width$}  {value}")?;
        }
        Ok(())
    }
}

/// Prints what was found: as a table, or as one JSON object.
pub fn print(found: &impl Serialize, table: &Table, json: bool) -> Result<()> {
    match json {
        true => rapidswap_cli::print(serde_json::to_string(found)?)?,
        false => write!(io::stdout(), "{table}")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned() {
        let mut table = Table::default();
        table.row("a", 1);
        table.row("long name", "x");
        assert_eq!(table.to_string(), "  a          1\n  long name  x\n");
    }
}

//! What is tuned in a node's kernel for the time of a test.

use anyhow::{Context, Result};

use crate::guest::Guest;

/// Where the knobs of remote swap are.
pub const REMOTE_SWAP: &str = "/sys/kernel/mm/remote_swap";

/// Pages that are read at once around a fault, as a power of two.
pub const PAGE_CLUSTER: &str = "/proc/sys/vm/page-cluster";

/// Where MGLRU is turned on and off.
pub const MGLRU: &str = "/sys/kernel/mm/lru_gen";

/// A file of /proc or /sys with another value, which gets its old one back when
/// this is dropped.
pub struct Setting<'a> {
    guest: &'a Guest,
    path: String,
    old: String,
}

impl<'a> Setting<'a> {
    /// Writes `value` to the file at `path`.
    pub fn new(guest: &'a Guest, path: &str, value: &str) -> Result<Setting<'a>> {
        let old = chosen(&guest.read(path)?).to_owned();
        guest.write(path, value)?;
        Ok(Setting {
            guest,
            path: path.to_owned(),
            old,
        })
    }

    /// Sets a knob of remote swap.
    pub fn knob(guest: &'a Guest, name: &str, value: &str) -> Result<Setting<'a>> {
        Setting::new(guest, &format!("{REMOTE_SWAP}/{name}"), value)
            .with_context(|| format!("set {name}"))
    }

    /// Has reclaim keep generations of pages (MGLRU), or two lists.
    pub fn mglru(guest: &'a Guest, on: bool) -> Result<Setting<'a>> {
        let value = if on { "y" } else { "n" };
        Setting::new(guest, &format!("{MGLRU}/enabled"), value)
    }

    /// Has programs that ask for it get folios of 4 KiB times 2 to the power
    /// `order`, or no longer.
    pub fn folios(guest: &'a Guest, order: u32, on: bool) -> Result<Setting<'a>> {
        let path = format!("{}/enabled", folios(order));
        Setting::new(guest, &path, if on { "madvise" } else { "never" })
    }
}

/// Gives the RAM backend a fault of one kind, for instance `delay` of its
/// `store_fault`, or `none`.
pub fn ram_fault(guest: &Guest, kind: &str, fault: &str) -> Result<()> {
    guest.write(
        &format!("/sys/module/remote_swap_ram/parameters/{kind}"),
        fault,
    )
}

/// Has tasks reclaim by themselves, with no workers beside them, of whom the
/// writer of pages ahead is one unless `writer` says otherwise.
pub fn no_workers(guest: &Guest, writer: bool) -> Result<Vec<Setting<'_>>> {
    let mut settings = vec![Setting::knob(guest, "sthd_cnt", "0")?];
    if !writer {
        settings.push(Setting::knob(guest, "write_ahead", "0")?);
    }
    Ok(settings)
}

/// The order of huge pages, which programs get by their own switch as well.
const HUGE: u32 = 9;

/// Has programs that ask for it get folios of one order, and of no other.
pub fn only_folios(guest: &Guest, order: u32) -> Result<Vec<Setting<'_>>> {
    let mut settings = vec![Setting::folios(guest, order, true)?];
    if order != HUGE {
        settings.push(Setting::folios(guest, HUGE, false)?);
    }
    Ok(settings)
}

impl Drop for Setting<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.guest.write(&self.path, &self.old) {
            eprintln!("{error:#}");
        }
    }
}

/// The directory of folios of an order.
fn folios(order: u32) -> String {
    let kib = 4 << order;
    format!("/sys/kernel/mm/transparent_hugepage/hugepages-{kib}kB")
}

/// How many folios of an order were counted by this name.
pub fn count(guest: &Guest, order: u32, name: &str) -> Result<u64> {
    let text = guest.read(&format!("{}/stats/{name}", folios(order)))?;
    text.trim()
        .parse()
        .with_context(|| format!("{name}: {text:?}"))
}

/// What a file says that its value is: the word in brackets, or all of it.
fn chosen(text: &str) -> &str {
    let bracketed = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text.trim(), |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_value_is_what_is_chosen() {
        assert_eq!(chosen("always inherit [madvise] never\n"), "madvise");
        assert_eq!(chosen("0-3\n"), "0-3");
        assert_eq!(
            folios(4),
            "/sys/kernel/mm/transparent_hugepage/hugepages-64kB"
        );
    }
}

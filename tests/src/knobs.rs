//! The knobs that every test on the shared cluster has: `$RAPIDSWAP_KNOBS`.
//!
//! What holds as a node boots has to hold with its knobs at other values. So
//! the client has these for the time of a test, which may set others itself.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};

use crate::guest::Guest;
use crate::setting::{MGLRU, PAGE_CLUSTER, REMOTE_SWAP, Setting};

/// Names them.
const VARIABLE: &str = "RAPIDSWAP_KNOBS";

/// Pages go one by one, when reclaim or a fault comes to them.
const OFF: &str = "batch_swapout=0,bypass_swapcache=0,speculative_io=0,load_spin_us=0,\
    write_ahead=0,fs_headroom=0,sthd_cnt=0,page-cluster=0,mglru=n,\
    hugepages-64kB=never,hugepages-2048kB=never";

/// What a node boots with, and on top of that what it leaves off: every
/// program has folios of 64 KiB.
const ALL: &str = "mglru=y,hugepages-64kB=always";

/// Names of knobs, with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knobs(BTreeMap<String, String>);

impl Knobs {
    /// Those that the environment asks for.
    pub fn of_environment() -> Result<Knobs> {
        Knobs::parse(&std::env::var(VARIABLE).unwrap_or_default())
    }

    /// `off`, `all`, or `NAME=VALUE,…`; of nothing, none.
    fn parse(text: &str) -> Result<Knobs> {
        let list = match text {
            "" => return Ok(Knobs::default()),
            "off" => OFF,
            "all" => ALL,
            list => list,
        };
        let knobs = list.split(',').map(|knob| {
            let pair = knob.split_once('=');
            let known = pair.filter(|(name, value)| file(name).is_some() && !value.is_empty());
            let (name, value) = known.with_context(|| {
                format!(
                    "{VARIABLE}: `{knob}` is no knob: use `off`, `all`, or NAME=VALUE[,…] with \
                     names of docs/knobs.md, page-cluster, mglru or hugepages-SIZEkB"
                )
            })?;
            Ok((name.to_owned(), value.to_owned()))
        });
        knobs.collect::<Result<_>>().map(Knobs)
    }

    /// Sets them in a node, until what this returns is dropped.
    pub fn set<'a>(&self, guest: &'a Guest) -> Result<Vec<Setting<'a>>> {
        let settings = self.0.iter().map(|(name, value)| {
            let path = file(name).with_context(|| format!("no knob {name}"))?;
            Setting::new(guest, &path, value)
                .map_err(|error| anyhow!("{VARIABLE}: {name} cannot be `{value}`: {error:#}"))
        });
        settings.collect()
    }
}

/// The file of a knob: remote swap's own, and those that change how the kernel
/// comes to what is remote.
fn file(name: &str) -> Option<String> {
    match name {
        "batch_swapout" | "bypass_swapcache" | "speculative_io" | "load_spin_us"
        | "write_ahead" | "fs_headroom" | "sthd_cnt" | "offload_cpus" => {
            Some(format!("{REMOTE_SWAP}/{name}"))
        }
        "page-cluster" => Some(PAGE_CLUSTER.to_owned()),
        "mglru" => Some(format!("{MGLRU}/enabled")),
        _ => {
            let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            size.parse::<u32>().ok()?;
            Some(format!(
                "/sys/kernel/mm/transparent_hugepage/{name}/enabled"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_for_without_the_variable() {
        assert_eq!(Knobs::parse("").expect("nothing"), Knobs::default());
    }

    #[test]
    fn off_and_all_are_lists_of_known_knobs() {
        let off = Knobs::parse("off").expect("off");
        assert!(off.0.len() == 11 && off.0["sthd_cnt"] == "0", "{off:?}");
        let all = Knobs::parse("all").expect("all");
        let listed = Knobs::parse("mglru=y,hugepages-64kB=always").expect("a list");
        assert_eq!(all, listed);
    }

    #[test]
    fn each_has_its_file() {
        for (name, path) in [
            ("write_ahead", "/sys/kernel/mm/remote_swap/write_ahead"),
            ("mglru", "/sys/kernel/mm/lru_gen/enabled"),
            (
                "hugepages-64kB",
                "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled",
            ),
        ] {
            assert_eq!(file(name).as_deref(), Some(path));
        }
    }

    #[test]
    fn what_is_no_knob_is_named_in_one_line() {
        for (text, bad) in [
            ("on", "on"),
            ("sthd_cnt", "sthd_cnt"),
            ("sthd_cnt=", "sthd_cnt="),
            ("area=/dev/vda", "area=/dev/vda"),
            ("sthd_cnt=1,", ""),
            ("sthd_cnt=1,hugepages-xkB=always", "hugepages-xkB=always"),
        ] {
            let error = Knobs::parse(text).expect_err(text).to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
            assert!(error.starts_with(VARIABLE) && !error.contains('\n'));
        }
    }
}

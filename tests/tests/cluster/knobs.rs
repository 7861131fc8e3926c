//! Each knob of remote swap changes what it is said to, and no data.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::timed;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::{PAGE_CLUSTER, REMOTE_SWAP, Setting};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;

const MIB: u64 = 6;
const LIMIT_MIB: u64 = 3;
const PAGES: u64 = MIB * 256;

/// Writes to all memory and checks it, under a limit.
fn rewritten(client: &Guest) -> Result<()> {
    let limit = Limit::new(client, LIMIT_MIB)?;
    let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
    program.run(&format!("huge 0..{PAGES}; fill 1 0..{PAGES}"))?;
    program.check(&format!("rewrite 1 2 0..{PAGES}"), PAGES)?;
    program.check(&format!("check 2 0..{PAGES}"), PAGES)?;
    program.end()
}

/// How much `counter` grows by that.
fn grown(client: &Guest, counter: &str) -> Result<u64> {
    let before = client.vmstat()?;
    rewritten(client)?;
    client.vmstat()?.grown(&before, counter)
}

/// A counter that moves with a knob, and does not without.
fn moves(client: &Guest, knob: &str, counter: &str) -> Result<()> {
    let on = {
        let _on = Setting::knob(client, knob, "1")?;
        grown(client, counter)?
    };
    let off = {
        let _off = Setting::knob(client, knob, "0")?;
        grown(client, counter)?
    };
    eprintln!("{counter} with {knob} {on}, without {off}");
    ensure!(on > 0, "{counter} with {knob}: {on}");
    ensure!(off == 0, "{counter} without {knob}: {off}");
    Ok(())
}

#[test]
fn a_counter_moves_with_each_switch() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        moves(swap.client, "batch_swapout", "rswpout_batch")?;
        moves(swap.client, "bypass_swapcache", "rswpin_bypass")?;
        swap.moved()?.remote_alone(PAGES / 2)?;
        swap.end()
    })
}

/// A fault's own load is timed apart from those to the swap cache.
#[test]
fn loads_begin_early_or_as_from_a_device() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let faults =
            || -> Result<u64> { Ok(timed(client)?.get("load_fault").copied().unwrap_or(0)) };
        let without = {
            let _off = Setting::knob(client, "speculative_io", "0")?;
            rewritten(client)?;
            faults()?
        };
        rewritten(client)?;
        let with = faults()?;
        eprintln!("{without} early loads without, {with} with");
        ensure!(without == 0 && with > 100, "{without} and {with}");
        swap.moved()?.remote_alone(PAGES / 2)?;
        swap.end()
    })
}

/// It is the spinning that the load would wait for.
#[test]
fn a_fault_never_spins_with_one_cpu() -> Result<()> {
    on_cluster(|scene| {
        let cpus = scene.cluster.status()?.cpus;
        ensure!(cpus == 1, "{cpus} CPUs");
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let _longest = Setting::knob(swap.client, "load_spin_us", "1000")?;
        let spun = grown(swap.client, "rswpin_spin")?;
        ensure!(spun == 0, "{spun} loads ended while a fault spun");
        swap.moved()?.remote_alone(PAGES / 2)?;
        swap.end()
    })
}

#[test]
fn what_is_no_value_is_refused() -> Result<()> {
    on_cluster(|scene| {
        let client = &scene.client;
        for (knob, value) in [
            ("batch_swapout", "2"),
            ("bypass_swapcache", "-1"),
            ("speculative_io", "yes"),
            ("load_spin_us", "1001"),
            ("write_ahead", "4097"),
            ("fs_headroom", "1G"),
            ("sthd_cnt", "9"),
            ("offload_cpus", "x"),
            ("offload_cpus", "4000"),
            ("offload_cpus", ""),
        ] {
            let path = format!("{REMOTE_SWAP}/{knob}");
            let before = client.read(&path)?;
            let refused = client.write(&path, &format!("{value}\n"));
            ensure!(refused.is_err(), "{knob} took `{value}`");
            ensure!(client.read(&path)? == before, "{knob} is another one");
        }
        Ok(())
    })
}

/// What is varied together: a name, and how it is set to either value.
type Factor = (
    &'static str,
    for<'a> fn(&'a Guest, bool) -> Result<Setting<'a>>,
);

fn switch<'a>(client: &'a Guest, name: &str, on: bool, value: &str) -> Result<Setting<'a>> {
    Setting::knob(client, name, if on { value } else { "0" })
}

const FACTORS: [Factor; 10] = [
    ("fs_headroom", |client, on| {
        switch(client, "fs_headroom", on, "2048")
    }),
    ("load_spin_us", |client, on| {
        switch(client, "load_spin_us", on, "100")
    }),
    ("page-cluster", |client, on| {
        let value = if on { "3" } else { "0" };
        Setting::new(client, PAGE_CLUSTER, value)
    }),
    ("batch_swapout", |client, on| {
        switch(client, "batch_swapout", on, "1")
    }),
    ("bypass_swapcache", |client, on| {
        switch(client, "bypass_swapcache", on, "1")
    }),
    ("write_ahead", |client, on| {
        switch(client, "write_ahead", on, "64")
    }),
    ("sthd_cnt", |client, on| switch(client, "sthd_cnt", on, "4")),
    ("speculative_io", |client, on| {
        switch(client, "speculative_io", on, "1")
    }),
    ("MGLRU", |client, on| Setting::mglru(client, on)),
    ("64 KiB folios", |client, on| Setting::folios(client, 4, on)),
];

/// Those that are set while swap is on, and before them how many stores may be
/// under way, which the module is loaded with: one or as many as possible.
const ALL: usize = FACTORS.len() + 1;
const DEPTHS: [(bool, &str); 2] = [(false, "store_depth=1"), (true, "store_depth=64")];

/// Every two factors meet in all four combinations: an orthogonal array of
/// eleven factors in twelve runs (Plackett and Burman, Biometrika 33, 1946).
fn runs() -> impl Iterator<Item = [bool; ALL]> {
    const FIRST: &[u8; ALL] = b"++-+++---+-";
    let row = |run: usize| std::array::from_fn(|factor| FIRST[(factor + run) % ALL] == b'+');
    (0..ALL).map(row).chain([[false; ALL]])
}

#[test]
fn every_pair_of_knobs_keeps_every_byte() -> Result<()> {
    for (one, other) in (0..ALL).flat_map(|one| (0..one).map(move |other| (one, other))) {
        let mut met: Vec<_> = runs().map(|run| (run[one], run[other])).collect();
        met.sort_unstable();
        met.dedup();
        ensure!(met.len() == 4, "{one} and {other}: {met:?}");
    }
    on_cluster(|scene| {
        for (deep, depth) in DEPTHS {
            let swap = Arrangement::remote_with(scene, 64, Backing::Disk, &[depth])?;
            for run in runs().filter(|run| run[0] == deep) {
                every_byte_is_kept(&swap, &run[1..]).with_context(|| depth)?;
            }
            swap.end()?;
        }
        Ok(())
    })
}

fn every_byte_is_kept(swap: &Arrangement<'_>, run: &[bool]) -> Result<()> {
    let factors = FACTORS.iter().zip(run.iter().copied());
    let on = factors.clone().filter(|(_, on)| *on);
    let names: Vec<_> = on.map(|(factor, _)| factor.0).collect();
    let names = names.join(", ");
    let _set = factors
        .map(|((_, set), on)| set(swap.client, on))
        .collect::<Result<Vec<_>>>()?;
    let before = swap.client.vmstat()?;
    rewritten(swap.client).with_context(|| format!("with {names}"))?;
    let moved = swap.client.vmstat()?.since(&before);
    let moved = moved.context("no counters")?;
    eprintln!("{names}: {moved}");
    moved.remote_alone(PAGES / 2)
}

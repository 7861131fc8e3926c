//! Half an hour of allocating at the limit. It takes that long whatever the
//! machine, so that this is not part of the plain test command.

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{guarded_within, options};
use rapidswap_vm::{Cluster, UpOptions};

/// What `stress-ng` has, of which half may be in memory.
const WORKING_SET_MIB: u64 = 48;

/// How many pages have to go each way at least: about a hundred a second.
const PAGES: u64 = 200_000;

/// How long the whole may take.
const LIMIT: Duration = Duration::from_secs(45 * 60);

#[test]
fn nothing_is_killed_in_half_an_hour_at_the_limit() -> Result<()> {
    let wanted = UpOptions {
        swap: true,
        server_mib: 128,
        ..options("test-soak")?
    };
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    guarded_within(cluster.clone(), LIMIT, |scene| {
        let client = &scene.client;
        let limit = Limit::new(client, WORKING_SET_MIB / 2)?;
        let before = client.vmstat()?;
        let bytes = format!("{WORKING_SET_MIB}M");
        let output = limit.run(&[
            "stress-ng",
            "--vm",
            "2",
            "--vm-bytes",
            &bytes,
            "--vm-method",
            "all",
            "--verify",
            "--timeout",
            "30m",
        ])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", output.status);
        let after = client.vmstat()?;
        let grown = |counter: &str| after.grown(&before, counter);
        let (stored, loaded) = (grown("rswpout")?, grown("rswpin")?);
        let (killed, direct) = (grown("oom_kill")?, grown("rswp_direct")?);
        eprintln!("{stored} stored, {loaded} loaded, {direct} direct reclaims\n{said}");
        ensure!(killed == 0, "{killed} programs killed");
        ensure!(
            stored >= PAGES && loaded >= PAGES,
            "{stored} and {loaded} pages are too few to say anything"
        );
        ensure!(grown("rswpout_disk")? + grown("rswpin_fail")? == 0);
        Ok(())
    })?;
    Ok(cluster.down()?)
}

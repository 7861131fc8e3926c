//! Allocations that fail, one after the other: a module that cannot be loaded
//! says so and leaves nothing behind, which KASAN and kmemleak look for.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::memory_server::{ADDRESS, MemoryServer};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::swap_area::{self, Backing};

const FAILSLAB: &str = "/sys/kernel/debug/failslab";

/// Loads a module again and again, with the first, the second and each other
/// allocation failing in turn, until there are no more of them; unloads it
/// where it was loaded nevertheless. Prints how often it was not loaded, and
/// any error that is not that of an allocation.
const LOAD_OFTEN: &str = r#"
use strict;
my ($path, $name, $parameters) = @ARGV;
my ($finit_module, $delete_module, $ENOMEM) = (313, 176, 12);
open(my $file, "<", $path) or die "$path: $!";
open(my $switch, "+<", "/proc/self/fail-nth") or die "fail-nth: $!";
my $refused = 0;
for (my $nth = 1; ; $nth++) {
    sysseek($switch, 0, 0);
    syswrite($switch, "$nth\n") or die "fail-nth: $!";
    my $loaded = syscall($finit_module, fileno($file), $parameters, 0) == 0;
    my $error = $!;
    sysseek($switch, 0, 0);
    sysread($switch, my $left, 16);
    sysseek($switch, 0, 0);
    syswrite($switch, "0\n");
    if ($loaded) {
        syscall($delete_module, $name, 0) == 0 or die "unload: $!";
        last if $left > 0;
    } elsif ($error + 0 == $ENOMEM) {
        $refused++;
    } else {
        print "allocation $nth: $error\n";
    }
}
print "$refused\n";
"#;

fn load_often(guest: &Guest, module: &str, parameters: &str) -> Result<()> {
    let path = format!("/rapidswap/modules/{module}.ko");
    let said = guest.ok(&["perl", "-e", LOAD_OFTEN, &path, module, parameters])?;
    let refused = said.trim().parse::<u32>();
    let refused = refused.with_context(|| format!("{module}: {said}"))?;
    ensure!(refused > 10, "{module}: only {refused} allocations failed");
    eprintln!("{module}: {refused} allocations failed");
    Ok(())
}

#[test]
fn a_load_without_memory_leaves_nothing_behind() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let server = MemoryServer::start(&scene.server, 16)?;
        for (file, text) in [("ignore-gfp-wait", "N"), ("verbose", "0")] {
            scene.client.write(&format!("{FAILSLAB}/{file}"), text)?;
        }
        load_often(&scene.client, "remote_swap_ram", "")?;
        load_often(
            &scene.client,
            "remoteswap",
            &format!("sip={ADDRESS} rmsize=0"),
        )?;
        server.stop()?;
        // With memory all is as if nothing had been.
        let swap = Arrangement::remote(scene, 16, Backing::Disk)?;
        let limit = Limit::new(swap.client, 8)?;
        all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "12"])?, 12, 1)?;
        ensure!(swap.moved()?.stored > 0);
        drop(limit);
        swap.end()
    })
}

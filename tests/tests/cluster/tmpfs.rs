//! Files of a tmpfs whose pages are remote.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::ram_fault;
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::{self, Backing};

const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;
const PAGES: u64 = MIB * 256;

/// Whether a file is read and written or mapped, its pages are the same.
#[test]
fn written_read_and_mapped() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::File)?;
        program.run("write 1 0..4096")?;
        program.check("read 1 0..4096", PAGES)?;
        program.check("check 1 0..4096", PAGES)?;
        // One way in, the other way back.
        program.run("write 2 0..1024; fill 3 1024..2048")?;
        program.check("check 1 2048..4096", 2048)?;
        program.check("check 2 0..1024; read 3 1024..2048", 2048)?;
        program.check("read 1 2048..4096", 2048)?;
        let moved = swap.moved()?;
        eprintln!("{moved}");
        moved.remote_alone((MIB - LIMIT_MIB) * 256)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// Pages that are cut off while they are remote are gone for good, and of one
/// that is cut in two the rest is zero.
#[test]
fn cut_off_and_punched() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let limit = Limit::new(client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::File)?;
        program.run("fill 1 0..4096; pageout 0..4096; settle")?;
        let full = program.run("allocated; places 0..4096")?;
        let used = swap_area::used(client)?;

        // 100 bytes into page 2048.
        program.run("truncate 8388708")?;
        let half = program.run("allocated; places 0..2048")?;
        let half_used = swap_area::used(client)?;
        program.run("truncate 16777216")?;
        program.check("cut 1 2048 100..4096; check zero 2049..4096", 2048)?;
        program.check("check 1 0..2048", 2048)?;

        // From 10 bytes into page 256 to 20 into page 512.
        program.run("pageout 0..2048; settle")?;
        let before = program.run("allocated; places 0..2048")?;
        program.run("punch 1048586..2097172")?;
        let after = program.run("allocated")?;
        program.check(
            "cut 1 256 10..4096; check zero 257..512; cut 1 512 0..20",
            257,
        )?;
        program.check("check 1 0..256; check 1 513..2048", 1791)?;

        let moved = swap.moved()?;
        eprintln!(
            "slots {used} and then {half_used}; pages {}, {}, {} and {}; {moved}",
            full.allocated, half.allocated, before.allocated, after.allocated
        );
        ensure!(
            full.resident <= PAGES / 10 && full.allocated == PAGES,
            "{full:?}"
        );
        ensure!(half.allocated == 2049, "{half:?}");
        ensure!(half_used + 1700 <= used, "{half_used} slots of {used} left");
        ensure!(before.resident <= 205, "{before:?}");
        ensure!(before.allocated - after.allocated == 255, "{after:?}");
        moved.remote_alone(2048)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// What cannot be had cannot be cut in two, and so nothing is cut off: else it would
/// be there again when it can be had.
#[test]
fn what_cannot_be_had_is_not_cut_off() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64"])?;
        let client = swap.client;
        let limit = Limit::new(client, 2 * LIMIT_MIB)?;
        let mut program = Steps::start(&limit, 1, Kind::File)?;
        program.run("fill 1 0..256; pageout 0..256; settle")?;
        let pid = limit.pid_of("page-pattern")?;
        let by_another = |command: &str| {
            client.sh(&format!(
                "for file in /proc/{pid}/fd/*; do
                    case $(readlink $file) in /dev/shm/*) {command} $file;; esac
                done"
            ))
        };
        let commands = [
            "truncate -s 100",
            "fallocate -p -o 100 -l 200",
            "fallocate -p -o 4096 -l 5000",
        ];
        ram_fault(client, "load_fault", "fail")?;
        let refused = commands.map(|command| by_another(command).is_err());
        ram_fault(client, "load_fault", "none")?;
        ensure!(refused == [true; 3], "refused: {refused:?} of {commands:?}");
        program.check("check 1 0..256", 256)?;

        program.run("pageout 0..256; settle")?;
        by_another("truncate -s 100")?;
        by_another("truncate -s 1M")?;
        program.check("cut 1 0 100..4096; check zero 1..256", 256)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

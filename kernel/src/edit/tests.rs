//! From patches to commits and back, with a user at work in between.

use std::fs;

use crate::bench::{modified, pack, read};
use crate::edit::desk::Desk;
use crate::edit::state::State;

#[test]
fn edit_and_refresh_alone_change_nothing() {
    let mut desk = Desk::new();
    let before = desk.texts();
    assert_eq!(desk.refresh().expect("refreshes"), [""; 0]);
    assert_eq!(desk.texts(), before);
    // Nor do they in a tree that was made of these patches.
    fs::remove_dir_all(&desk.tree).expect("remove");
    desk.edit();
    assert_eq!(
        desk.git(&["log", "--format=%an: %s", "base.."]),
        "User: other: two\nRapidswap: mm: one"
    );
    assert_eq!(desk.refresh().expect("refreshes"), [""; 0]);
    assert_eq!(desk.texts(), before);
    for patch in &before {
        assert!(
            patch
                .content
                .starts_with(&format!("From {} Mon Sep", "0".repeat(40)))
        );
        assert!(patch.content.contains("\nSubject: [PATCH] "));
        assert!(patch.content.ends_with("\n"), "{}", patch.content);
        assert!(!patch.content.contains("\n-- \n"));
    }
}

#[test]
fn commits_become_the_series_and_the_kernel_is_built_of_it() {
    let mut desk = Desk::new();
    // One amended, one put in between, one dropped.
    desk.git(&["reset", "--quiet", "--hard", "HEAD~"]);
    desk.change("new.c", "new\n", "new: between");
    fs::write(desk.tree.join("mm.c"), "fixed\n").expect("write");
    desk.git(&["commit", "--quiet", "--all", "--fixup", "HEAD~"]);
    desk.git(&["rebase", "--quiet", "--interactive", "--autosquash", "base"]);
    assert_eq!(
        desk.refresh().expect("refreshes"),
        [
            "changed 0001-mm-one.patch",
            "added 0002-new-between.patch",
            "removed 0002-other-two.patch",
        ]
    );
    let kernel = desk.bench.ensure().expect("builds");
    assert_eq!(read(&kernel.vmlinux), "fixed\n");
    let linux = desk.bench.builder.cache.linux();
    assert_eq!(read(&linux.join("new.c")), "new\n");
    assert_eq!(read(&linux.join("other.c")), "other\n");
}

#[test]
fn an_older_tree_is_brought_up_to_date_where_it_differs() {
    let mut desk = Desk::new();
    let old = desk.texts();
    desk.change("new.c", "new\n", "new: three");
    desk.refresh().expect("refreshes");
    let whole = desk.git(&["rev-parse", "HEAD^{tree}"]);
    // The checkout goes back and forth between two series.
    let third = desk.texts().pop().expect("three");
    fs::remove_file(&third.path).expect("remove");
    desk.bench.reload();
    assert_eq!(desk.texts(), old);
    let untouched = modified(desk.tree.join("mm.c"));
    desk.edit();
    assert!(!desk.tree.join("new.c").exists());
    desk.bench
        .write("patches/0003-new-three.patch", &third.content);
    desk.edit();
    assert_eq!(desk.git(&["rev-parse", "HEAD^{tree}"]), whole);
    assert_eq!(desk.git(&["branch", "--show-current"]), "series");
    assert_eq!(modified(desk.tree.join("mm.c")), untouched);
    assert_eq!(desk.refresh().expect("refreshes"), [""; 0]);
}

#[test]
fn work_that_is_in_no_patch_is_left_alone() {
    let mut desk = Desk::new();
    let all = desk.texts();
    fs::remove_file(&all[1].path).expect("remove");
    desk.bench.reload();
    for dirty in ["other.c", "untracked.c"] {
        fs::write(desk.tree.join(dirty), "mine\n").expect("write");
        desk.edit();
        assert_eq!(desk.file(dirty), "mine\n");
    }
    desk.git(&["add", "--all"]);
    desk.git(&["commit", "--quiet", "--message", "mine"]);
    let head = desk.git(&["rev-parse", "HEAD"]);
    desk.edit();
    assert_eq!(desk.git(&["rev-parse", "HEAD"]), head);
    assert_eq!(desk.git(&["status", "--porcelain"]), "");
}

#[test]
fn newer_patches_and_own_commits_are_put_together_by_a_rebase() {
    let mut desk = Desk::new();
    // Somebody else's patch arrives in the checkout...
    desk.change("new.c", "new\n", "new: theirs");
    desk.refresh().expect("refreshes");
    let theirs = desk.texts().pop().expect("three");
    fs::remove_file(&theirs.path).expect("remove");
    desk.bench.reload();
    desk.edit();
    desk.change("third.c", "third\n", "third: mine");
    desk.bench
        .write("patches/0003-new-theirs.patch", &theirs.content);
    // ...and refresh must not undo it.
    let error = desk.refresh().expect_err("would remove it").to_string();
    assert!(error.contains("kernel/patches has changed"), "{error}");
    desk.edit();
    assert!(!desk.tree.join("new.c").exists());
    let refs = ["refs/rapidswap/patches", "refs/rapidswap/refreshed"];
    desk.git(&["rebase", "--quiet", "--onto", refs[0], refs[1]]);
    assert_eq!(
        desk.refresh().expect("refreshes"),
        ["added 0004-third-mine.patch"]
    );
    assert_eq!(desk.texts()[2], theirs);
}

#[test]
fn a_patch_that_went_away_elsewhere_does_not_come_back() {
    let mut desk = Desk::new();
    fs::remove_dir_all(&desk.tree).expect("remove");
    desk.edit();
    desk.change("third.c", "third\n", "third: mine");
    fs::remove_file(&desk.texts()[1].path).expect("remove");
    desk.bench.reload();
    for _ in 0..2 {
        let error = desk.refresh().expect_err("would bring it back").to_string();
        assert!(error.contains("kernel/patches has changed"), "{error}");
        desk.edit();
    }
    let refs = ["refs/rapidswap/patches", "refs/rapidswap/refreshed"];
    desk.git(&["rebase", "--quiet", "--onto", refs[0], refs[1]]);
    desk.refresh().expect("refreshes");
    assert_eq!(desk.names(), ["0001-mm-one.patch", "0002-third-mine.patch"]);
}

#[test]
fn a_new_tarball_becomes_the_base() {
    let mut desk = Desk::new();
    let release = desk.bench.dir.path().join("linux-6.12.3");
    fs::write(release.join("late.c"), "late\n").expect("write");
    pack(desk.bench.dir.path());
    // Not under somebody's hands, though.
    desk.change("new.c", "new\n", "new: three");
    desk.edit();
    assert!(!desk.tree.join("late.c").exists());
    assert_eq!(
        desk.refresh().expect("refreshes"),
        ["added 0003-new-three.patch"]
    );
    let before = desk.texts();
    desk.edit();
    assert_eq!(desk.file("late.c"), "late\n");
    assert_eq!(desk.git(&["show", "base:late.c"]), "late");
    assert_eq!(desk.refresh().expect("refreshes"), [""; 0]);
    assert_eq!(desk.texts(), before);
}

#[test]
fn a_tree_that_was_not_made_whole_is_made_again() {
    let mut desk = Desk::new();
    State::default().write(&desk.tree).expect("write");
    fs::write(desk.tree.join(".git/index.lock"), "").expect("write");
    fs::write(desk.tree.join("mm.c"), "ha").expect("write");
    let error = desk.refresh().expect_err("not whole").to_string();
    assert!(error.contains("./just kernel edit makes one"), "{error}");
    desk.edit();
    assert_eq!(desk.file("mm.c"), "first\n");
    assert_eq!(desk.refresh().expect("refreshes"), [""; 0]);
}

#[test]
fn the_tree_outlives_the_builders() {
    let desk = Desk::new();
    let linux = desk.bench.builder.cache.linux();
    fs::remove_dir_all(linux).expect("remove");
    desk.git(&["fsck", "--strict"]);
    assert!(!desk.tree.join(".git/objects/info/alternates").exists());
}

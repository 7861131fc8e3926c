//! What must stop edit or refresh, with everything left as it was.

use rapidswap_progress::Reporter;
use std::fs;

use crate::edit::desk::Desk;
use crate::edit::refresh::refresh;
use crate::edit::state::State;

/// Refresh says no with these words, and the patches are as they were.
fn refused(desk: &mut Desk, words: &str) {
    let before = desk.texts();
    let error = desk.refresh().expect_err(words).to_string();
    assert!(error.contains(words), "{error}");
    assert!(error.starts_with(&*desk.tree.to_string_lossy()), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(desk.texts(), before);
}

#[test]
fn changes_that_are_not_committed() {
    let mut desk = Desk::new();
    fs::write(desk.tree.join("mm.c"), "mine\n").expect("write");
    refused(&mut desk, "mm.c is not committed: commit or stash it first");
    fs::write(desk.tree.join("untracked.c"), "mine\n").expect("write");
    refused(&mut desk, "mm.c and 1 more are not committed");
    assert_eq!(desk.file("mm.c"), "mine\n");
}

#[test]
fn histories_that_are_no_series() {
    let mut desk = Desk::new();
    desk.git(&["checkout", "--quiet", "-b", "side", "HEAD~"]);
    desk.change("side.c", "side\n", "side");
    desk.git(&["merge", "--quiet", "--no-ff", "-m", "both", "series"]);
    refused(&mut desk, "(both) is a merge: rebase instead");

    desk.git(&["checkout", "--quiet", "base"]);
    refused(&mut desk, "there are no commits since the tag base");

    desk.git(&["checkout", "--quiet", "--orphan", "foreign"]);
    desk.git(&["commit", "--quiet", "--message", "foreign"]);
    refused(&mut desk, "HEAD does not descend from the tag base");
}

#[test]
fn commits_that_are_no_patches() {
    let mut desk = Desk::new();
    desk.git(&["commit", "--quiet", "--allow-empty", "--message", "empty"]);
    refused(&mut desk, "(empty) changes nothing");
    let message = "mm: why\n\nBefore.\n---\nAfter.";
    desk.git(&["reset", "--quiet", "--hard", "HEAD~"]);
    desk.change("mm.c", "mine\n", message);
    refused(
        &mut desk,
        "0003-mm-why.patch is another after being a patch",
    );
}

#[test]
fn a_rebase_that_is_under_way() {
    let mut desk = Desk::new();
    desk.change("mm.c", "mine\n", "mm: three");
    let output = desk.try_git(&["rebase", "--exec", "false", "base"]);
    assert!(!output.status.success());
    refused(&mut desk, "a rebase is under way: end it first");
    let head = desk.git(&["rev-parse", "HEAD"]);
    desk.edit();
    assert_eq!(desk.git(&["rev-parse", "HEAD"]), head);
}

#[test]
fn folders_of_somebody_else() {
    let mut desk = Desk::new();
    let error = refresh(&desk.patches, &desk.patches, &Reporter::silent());
    let error = error.expect_err("no tree").to_string();
    assert!(error.contains("./just kernel edit makes one"), "{error}");
    desk.tree = desk.patches.clone();
    let before = desk.texts();
    let error = desk.try_edit().expect_err("not empty").to_string();
    assert!(error.contains("name another folder"), "{error}");
    assert_eq!(desk.texts(), before);
}

#[test]
fn patches_that_changed_since() {
    let mut desk = Desk::new();
    let patch = desk.texts().remove(0);
    let content = patch.content.replace("mm: one", "mm: eins");
    desk.bench.write("patches/0001-mm-one.patch", &content);
    refused(&mut desk, "kernel/patches has changed");
}

#[test]
fn but_not_patches_that_a_killed_refresh_left() {
    let mut desk = Desk::new();
    desk.git(&["reset", "--quiet", "--hard", "HEAD~"]);
    desk.change("new.c", "new\n", "new: instead");
    desk.change("mm.c", "mine\n", "mm: three");
    let head = desk.git(&["rev-parse", "HEAD"]);
    let mut state = State::read(&desk.tree).expect("read").expect("has one");
    state.refreshing = true;
    state.write(&desk.tree).expect("write");
    // One of three steps was done.
    let third = desk.git(&["format-patch", "--stdout", "-1"]);
    desk.bench.write("patches/0003-mm-three.patch", &third);
    desk.refresh().expect("goes on");
    let names = [
        "0001-mm-one.patch",
        "0002-new-instead.patch",
        "0003-mm-three.patch",
    ];
    assert_eq!(desk.names(), names);
    assert_eq!(desk.git(&["rev-parse", "HEAD"]), head);
    assert_eq!(desk.refresh().expect("refreshes"), [""; 0]);
}

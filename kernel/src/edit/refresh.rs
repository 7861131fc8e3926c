//! The tree's commits back into `kernel/patches`.

use rapidswap_progress::Reporter;
use std::path::Path;

use crate::definition::{Text, series};
use crate::edit::export::{Export, export};
use crate::edit::patches::{Change, compare, replace};
use crate::edit::state::{State, digest, uncommitted, under_way};
use crate::error::{Error, Result};
use crate::git::{BASE, Tree};
use crate::lock::Lock;

/// Makes the folder hold the commits of the tree since `base`; returns what
/// that changed. Nothing is touched unless all of them can be patches.
pub(crate) fn refresh(dir: &Path, folder: &Path, reporter: &Reporter) -> Result<Vec<Change>> {
    let dir = &std::path::absolute(dir).map_err(Error::file("find", dir))?;
    let tree = Tree(dir);
    let refuse = |why: String| Err(Error::tree(dir, why));
    let mut state = match State::read(dir)? {
        Some(state) if state.head.is_some() => state,
        _ => return refuse("is no tree to take commits from: ./just kernel edit makes one".into()),
    };
    let parent = folder.parent().unwrap_or(folder);
    let _tree = Lock::folder(dir, reporter)?;
    let lock = Lock::folder(parent, reporter)?;
    if let Some(what) = under_way(dir) {
        return refuse(format!("{what} is under way: end it first"));
    }
    if let Some(files) = uncommitted(&tree)? {
        return refuse(format!("{files}: commit or stash it first"));
    }
    state.follow_rebase(&tree)?;
    let head = tree.resolve("HEAD")?;
    check_history(&tree, &head)?;
    let old = series(folder)?;
    let export = export(&tree, BASE, &head, &old)?;
    check_round_trip(&tree, &head, &export)?;
    let changes = compare(&old, &export.patches);
    if !changes.is_empty() {
        if !state.refreshing && state.patches != digest(&old) {
            return refuse(
                "kernel/patches has changed since it was made from them, and refreshing would \
                 undo that: ./just kernel edit says how to put the two together"
                    .into(),
            );
        }
        state.refreshing = true;
        state.write(dir)?;
        replace(folder, &old, &export.patches, &lock)?;
    }
    let synced = State {
        head: Some(head),
        patches: digest(&export.patches),
        ..State::default()
    };
    synced.write(dir)?;
    Ok(changes)
}

/// Patches can only be made of one line of commits, each with a change.
fn check_history(tree: &Tree<'_>, head: &str) -> Result<()> {
    let refuse = |why: String| Err(Error::tree(tree.0, why));
    if !tree.descends(head, BASE)? {
        return refuse(format!(
            "HEAD does not descend from the tag {BASE}: check the series out first"
        ));
    }
    let range = format!("{BASE}..{head}");
    let named = |commit: &str| tree.git(["log", "-1", "--format=%h (%s)", commit]).text();
    let merges = tree.git(["rev-list", "--min-parents=2", &range]).text()?;
    if let Some(merge) = merges.lines().next() {
        let merge = named(merge)?;
        return refuse(format!("{merge} is a merge: rebase instead"));
    }
    let commits = tree
        .git(["log", "--reverse", "--format=%H %T", &range])
        .text()?;
    if commits.is_empty() {
        return refuse(format!("there are no commits since the tag {BASE}"));
    }
    let mut before = tree
        .git(["rev-parse", &format!("{BASE}^{{tree}}")])
        .text()?;
    for (commit, content) in commits.lines().filter_map(|line| line.split_once(' ')) {
        if content == before {
            let commit = named(commit)?;
            return refuse(format!(
                "{commit} changes nothing: drop it with git rebase -i"
            ));
        }
        before = content.to_owned();
    }
    Ok(())
}

/// The patches must give the same commits again.
fn check_round_trip(tree: &Tree<'_>, head: &str, export: &Export) -> Result<()> {
    let again = tree.commit(BASE, &export.patches, "of the tag base")?;
    let (wanted, got) = (messages(tree, head)?, messages(tree, &again)?);
    let mut pairs = wanted.iter().zip(&got).zip(&export.patches);
    let differing = pairs.find(|((wanted, got), _)| wanted != got);
    match differing {
        None if wanted.len() == got.len() => Ok(()),
        None => Err(Error::tree(tree.0, "not every commit gives a patch")),
        Some((_, patch)) => Err(lossy(tree, patch)),
    }
}

fn lossy(tree: &Tree<'_>, patch: &Text) -> Error {
    let name = patch.name();
    let why = format!(
        "the commit of {name} is another after being a patch: no line of its message may be ---, \
         or start with diff or Index:, and its subject must be one paragraph of one line"
    );
    Error::tree(tree.0, why)
}

/// All that matters of the commits since `base`: content, author, message.
fn messages(tree: &Tree<'_>, head: &str) -> Result<Vec<Vec<String>>> {
    let format = "--format=%T%n%an%n%ae%n%ad%n%B%x00";
    let log = tree
        .git([
            "log",
            "--reverse",
            "--date=raw",
            format,
            &format!("{BASE}..{head}"),
        ])
        .text()?;
    let commits = log
        .split('\0')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let lines = |commit: &str| {
        commit
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    Ok(commits.map(lines).collect())
}

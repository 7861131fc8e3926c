//! The series of this checkout, on the kernel it is written for.

use rapidswap_progress::Reporter;
use std::fs;
use std::path::Path;

use crate::cache::Cache;
use crate::definition::{Definition, Text};
use crate::edit::refresh::refresh;
use crate::edit::state::{State, digest};
use crate::git::{BASE, Tree};
use crate::source;

#[test]
fn the_series_comes_back_from_its_commits_byte_for_byte() {
    let definition = Definition::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("valid");
    let cache = Cache::open_default().expect("has one");
    // Who changes the tree would be waited for, and changes nothing of the base.
    if !cache.linux().exists() {
        source::share(&definition.sources, &cache, &Reporter::silent()).expect("source");
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let (linux, edit) = (cache.linux(), dir.path().join("edit"));
    fs::create_dir(&edit).expect("create");
    let tree = Tree(&edit);
    tree.git(["init", "--quiet"]).text().expect("init");
    let alternates = format!("{}\n", linux.join(".git/objects").display());
    fs::write(edit.join(".git/objects/info/alternates"), alternates).expect("write");
    let base = Tree(&linux).resolve(BASE).expect("has a base");
    tree.set_ref("refs/tags/base", &base).expect("set");
    let series = &definition.series;
    let head = tree.commit(BASE, series, "of the cache").expect("applies");
    // Of the files only the one that says how differences are shown.
    for args in [
        &["sparse-checkout", "set", "--no-cone", "/.gitattributes"][..],
        &["checkout", "--quiet", "--detach", &head],
    ] {
        tree.git(args).text().expect("check out");
    }
    let state = State {
        head: Some(head),
        patches: digest(series),
        refreshing: true,
        ..State::default()
    };
    state.write(&edit).expect("write");
    // With nothing in it to go by.
    let folder = dir.path().join("kernel/patches");
    fs::create_dir_all(&folder).expect("create");
    let changes = refresh(&edit, &folder, &Reporter::silent()).expect("refreshes");
    assert_eq!(changes.len(), series.len());
    let again = crate::definition::series(&folder).expect("read");
    let names = |series: &[Text]| series.iter().map(Text::name).collect::<Vec<_>>();
    assert_eq!(names(&again), names(series));
    for (again, patch) in again.iter().zip(series) {
        let mut lines = again.content.split('\n').zip(patch.content.split('\n'));
        let differing = lines.find(|(again, line)| again != line);
        assert_eq!(differing, None, "{}", patch.name());
        assert_eq!(again.content.len(), patch.content.len(), "{}", patch.name());
    }
}

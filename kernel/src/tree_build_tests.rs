//! Building a source tree that somebody edits.

use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::bench::{Bench, read};
use crate::error::Result;
use crate::{Kernel, Variant};

/// The release's tree as it was packed.
fn tree(bench: &Bench) -> PathBuf {
    bench.dir.path().join("linux-6.12.3")
}

fn build(bench: &Bench, tree: &Path, variant: Variant) -> Result<Kernel> {
    bench
        .builder
        .build_tree(tree, variant, Instant::now(), &Reporter::silent())
}

fn times(kernel: &Kernel) -> usize {
    read(&kernel.build.join("configured")).lines().count()
}

#[test]
fn what_is_edited_is_built_and_nothing_of_it_counts_as_cached() {
    let bench = Bench::new();
    let tree = tree(&bench);
    let first = build(&bench, &tree, Variant::Release).expect("builds");
    assert_eq!(read(&first.vmlinux), "plain\n");
    assert_eq!(read(&first.modules.join("x.ko")), "x\n");
    assert_eq!(first.release, "6.12.3-rapidswap");
    assert_eq!(first.tree.as_deref(), Some(&*tree));
    assert!(!first.cached);

    let again = build(&bench, &tree, Variant::Release).expect("builds");
    assert!(again.cached);
    assert_eq!(
        (again.hash, again.vmlinux),
        (first.hash.clone(), first.vmlinux)
    );

    fs::write(tree.join("mm.c"), "edited\n").expect("write");
    let edited = build(&bench, &tree, Variant::Release).expect("builds");
    assert_eq!(read(&edited.vmlinux), "edited\n");
    assert_ne!(edited.hash, first.hash);
    assert!(!edited.cached);
    assert_eq!(times(&edited), 1);
    assert!(!bench.builder.cache.out().exists());
    assert!(!bench.builder.cache.linux().exists());
}

#[test]
fn the_configuration_follows_fragments_and_kconfig() {
    let mut bench = Bench::new();
    let tree = tree(&bench);
    build(&bench, &tree, Variant::Release).expect("builds");
    bench.write("config/vm.config", "CONFIG_SOUND=m\n");
    let kernel = build(&bench, &tree, Variant::Release).expect("builds");
    assert!(read(&kernel.config).contains("CONFIG_SOUND=m"));
    assert_eq!(times(&kernel), 2);
    fs::create_dir(tree.join("mm")).expect("create");
    fs::write(tree.join("mm/Kconfig"), "config X\n").expect("write");
    let kernel = build(&bench, &tree, Variant::Release).expect("builds");
    assert_eq!(times(&kernel), 3);
}

#[test]
fn trees_and_variants_do_not_share_products() {
    let bench = Bench::new();
    let (tree, other) = (tree(&bench), bench.dir.path().join("other/linux-6.12.3"));
    fs::create_dir_all(&other).expect("create");
    let scripts = ["merge_config.sh", "conf.pl"].map(|name| format!("scripts/kconfig/{name}"));
    fs::create_dir_all(other.join("scripts/kconfig")).expect("create");
    for file in ["Makefile", "Kconfig", &scripts[0], &scripts[1]] {
        let to = other.join(file);
        fs::copy(tree.join(file), to).expect("copy");
    }
    fs::write(other.join("mm.c"), "other\n").expect("write");
    let builds = [
        build(&bench, &tree, Variant::Release).expect("builds"),
        build(&bench, &tree, Variant::Debug).expect("builds"),
        build(&bench, &other, Variant::Release).expect("builds"),
    ];
    assert_eq!(
        builds.each_ref().map(|kernel| read(&kernel.vmlinux)),
        ["plain\n", "plain\n", "other\n"]
    );
    let config = read(&builds[1].config);
    assert!(config.contains("CONFIG_CHECKS=y"), "{config}");
    assert!(!read(&builds[0].config).contains("CONFIG_CHECKS=y"));
}

#[test]
fn the_module_is_built_against_the_tree() {
    let bench = Bench::new();
    let tree = tree(&bench);
    for content in ["plain\n", "edited\n"] {
        fs::write(tree.join("mm.c"), content).expect("write");
        let kernel = build(&bench, &tree, Variant::Release).expect("builds");
        assert_eq!(bench.module(&kernel), format!("{content}shim\n"));
    }
}

#[test]
fn a_failed_build_leaves_the_last_kernel_in_place() {
    let bench = Bench::new();
    let tree = tree(&bench);
    let kernel = build(&bench, &tree, Variant::Release).expect("builds");
    fs::write(tree.join("mm.c"), "syntax error: here\n").expect("write");
    let error = build(&bench, &tree, Variant::Release).expect_err("does not build");
    assert!(
        error.to_string().contains("1:syntax error: here"),
        "{error}"
    );
    assert_eq!(read(&kernel.vmlinux), "plain\n");
}

#[test]
fn what_cannot_be_built_is_said_before() {
    let bench = Bench::new();
    let tree = tree(&bench);
    let error = |dir: &Path| {
        let built = build(&bench, dir, Variant::Release);
        built.expect_err("cannot be built").to_string()
    };
    assert!(error(&tree.join("absent")).contains("cannot find"));
    assert!(error(&tree.join("scripts")).ends_with("is no source tree of Linux"));
    fs::write(tree.join(".config"), "").expect("write");
    assert!(error(&tree).contains("run make mrproper there"));
    fs::remove_file(tree.join(".config")).expect("remove");
    let makefile = read(&tree.join("Makefile")).replace("PATCHLEVEL = 12", "PATCHLEVEL = 1");
    fs::write(tree.join("Makefile"), makefile).expect("write");
    assert!(error(&tree).contains("holds Linux 6.1.3, but the series is for 6.12"));
}

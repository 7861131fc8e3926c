//! The whole way from a tarball to a module, by the real tar, git and make.

use rapidswap_progress::Reporter;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::bench::{Bench, modified, pack, patch_to, read};
use crate::definition::Origin;
use crate::digest::sha256_of;
use crate::error::Error;
use crate::{Kernel, Variant};

#[test]
fn a_kernel_is_built_once_and_then_found() {
    let bench = Bench::new();
    let built = bench.ensure().expect("builds");
    assert!(!built.cached);
    assert_eq!(read(&built.vmlinux), "first\n");
    assert_eq!(read(&built.modules.join("x.ko")), "x\n");
    assert_eq!(
        read(&built.config),
        "CONFIG_TINY=y\nCONFIG_SWAP=y\n# CONFIG_SOUND is not set\n"
    );
    assert_eq!(built.release, "6.12.3-rapidswap");

    let found = bench.ensure().expect("is found");
    assert!(found.cached);
    assert_eq!((found.vmlinux, found.hash), (built.vmlinux, built.hash));
    let debug = bench.builder.hash(Variant::Debug).expect("hash");
    assert_ne!(debug, bench.builder.hash(Variant::Release).expect("hash"));
}

#[test]
fn a_damaged_result_is_made_whole_again() {
    let bench = Bench::new();
    let kernel = bench.ensure().expect("builds");
    let out = bench.builder.cache.out().join(&kernel.hash);
    fs::remove_file(out.join("release")).expect("remove");
    fs::remove_file(out.join("vmlinux")).expect("remove");
    let again = bench.ensure().expect("builds");
    assert!(!again.cached);
    assert_eq!(read(&again.vmlinux), "first\n");
}

#[test]
fn only_what_a_changed_patch_touches_is_written() {
    let mut bench = Bench::new();
    let first = bench.ensure().expect("builds");
    let other = bench.builder.cache.linux().join("other.c");
    let config = first.build.join(".config");
    let before = (modified(other.clone()), modified(config.clone()));

    bench.write("patches/0001-one.patch", &patch_to("second"));
    let second = bench.ensure().expect("builds");
    assert_ne!(first.hash, second.hash);
    assert_eq!(read(&second.vmlinux), "second\n");
    assert_eq!(read(&first.vmlinux), "first\n");
    assert_eq!(before, (modified(other), modified(config)));
}

#[test]
fn a_source_that_was_restored_is_not_written_again() {
    let mut bench = Bench::new();
    bench.ensure().expect("builds");
    let other = bench.builder.cache.linux().join("other.c");
    let before = modified(other.clone());
    let copy = other.with_extension("copy");
    fs::copy(&other, &copy).expect("copy");
    let file = fs::File::options().append(true).open(&copy).expect("open");
    file.set_modified(before).expect("set");
    fs::rename(&copy, &other).expect("rename");

    bench.write("patches/0001-one.patch", &patch_to("second"));
    let second = bench.ensure().expect("builds");
    assert_eq!(read(&second.vmlinux), "second\n");
    assert_eq!(before, modified(other));
}

#[test]
fn patches_of_somebodys_own_come_after_the_series() {
    let mut bench = Bench::new();
    let own = bench.dir.path().join("own.patch");
    fs::write(&own, "--- a/mm.c\n+++ b/mm.c\n@@ -1 +1 @@\n-first\n+own\n").expect("write");
    let without = bench.ensure().expect("builds");
    bench.builder.definition.add(&[own]).expect("is read");
    let with = bench.ensure().expect("builds");
    assert_eq!(read(&with.vmlinux), "own\n");
    assert_eq!(read(&without.vmlinux), "first\n");
    bench.reload();
    assert_eq!(bench.ensure().expect("is found").hash, without.hash);
}

#[test]
fn a_module_is_built_against_its_own_kernel() {
    let mut bench = Bench::new();
    let first = bench.ensure().expect("builds");
    assert_eq!(bench.module(&first), "first\nshim\n");

    bench.write("patches/0001-one.patch", &patch_to("second"));
    let second = bench.ensure().expect("builds");
    assert_eq!(bench.module(&second), "second\nshim\n");

    // The O= directory is now the second's: it is made the first's again.
    bench.write("patches/0001-one.patch", &patch_to("first"));
    fs::write(bench.dir.path().join("module/shim.c"), "new shim\n").expect("write");
    let found = bench.ensure().expect("is found");
    assert!(found.cached);
    assert_eq!(bench.module(&found), "first\nnew shim\n");
}

#[test]
fn a_folder_of_modules_gives_each_of_them() {
    let bench = Bench::new();
    let kernel = bench.ensure().expect("builds");
    let folder = bench.dir.path().join("some.drivers");
    fs::create_dir(&folder).expect("create");
    let refused = |bench: &Bench| {
        let error = bench.modules(&kernel, "some.drivers").expect_err("cannot");
        error.to_string()
    };
    assert!(refused(&bench).ends_with("it has no Kbuild and no Makefile"));
    fs::write(folder.join("Kbuild"), "").expect("write");
    fs::write(folder.join("b.c"), "b\n").expect("write");
    assert!(refused(&bench).contains("obj-m := NAME.o"));

    fs::write(folder.join("Kbuild"), "obj-m := b.o a.o\n").expect("write");
    let built = bench.modules(&kernel, "some.drivers").expect("builds");
    let names: Vec<_> = built.iter().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["a.ko", "b.ko"]);
    assert_eq!(read(&built[0]), "first\nb\n");
    assert_eq!(fs::read_dir(&folder).expect("read").count(), 2);

    // One that is built no more is not found any more.
    fs::write(folder.join("Kbuild"), "obj-m := b.o\n").expect("write");
    assert_eq!(
        bench
            .modules(&kernel, "some.drivers")
            .expect("builds")
            .len(),
        1
    );
    let again = bench.modules(&kernel, "./some.drivers/").expect("is found");
    assert_eq!(again.len(), 1);
    assert_eq!(bench.module(&kernel), "first\nshim\n");
}

#[test]
fn a_release_is_fetched_by_url_and_checksum() {
    let mut bench = Bench::new();
    let sha256 = sha256_of(&bench.dir.path().join("linux.tar.xz")).expect("hash");
    bench.take_release(&sha256);
    let kernel = bench.ensure().expect("builds");
    assert_eq!(read(&kernel.vmlinux), "first\n");

    // Both ways give the same tree, so the same kernel.
    bench.builder.definition.sources.origin = Origin::Auto;
    let found = bench.ensure().expect("is found");
    assert!(found.cached);
    assert_eq!(found.hash, kernel.hash);
}

#[test]
fn a_wrong_checksum_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.take_release(&"0".repeat(64));
    let error = bench.ensure().expect_err("another file");
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    let tarballs = fs::read_dir(bench.builder.cache.tarballs()).expect("read");
    assert_eq!(tarballs.count(), 0);
}

#[test]
fn an_unreachable_url_is_named() {
    let mut bench = Bench::new();
    bench.take_release(&"0".repeat(64));
    fs::remove_file(bench.dir.path().join("linux.tar.xz")).expect("remove");
    let error = bench.ensure().expect_err("nothing to fetch").to_string();
    assert!(error.starts_with("downloading file:///"), "{error}");
    assert!(error.contains("curl: (37)"), "{error}");
}

#[test]
fn without_the_package_its_name_is_told() {
    let mut bench = Bench::new();
    bench.builder.definition.sources.origin = Origin::Debian;
    fs::remove_file(bench.dir.path().join("linux.tar.xz")).expect("remove");
    let error = bench.ensure().expect_err("no source").to_string();
    assert!(
        error.contains("install the package linux-source-6.12"),
        "{error}"
    );
}

#[test]
fn a_symbol_that_kconfig_drops_fails_the_build() {
    let mut bench = Bench::new();
    bench.write("config/vm.config", "CONFIG_NEEDS_MORE=m\n");
    let error = bench.ensure().expect_err("dropped").to_string();
    assert_eq!(
        error,
        "requested symbols did not survive: CONFIG_NEEDS_MORE=m (vm.config) is n"
    );
    assert_eq!(bench.finished(), 0);
}

#[test]
fn the_configuration_is_made_again_only_when_it_could_differ() {
    let mut bench = Bench::new();
    let times = |kernel: &Kernel| read(&kernel.build.join("configured")).lines().count();
    assert_eq!(times(&bench.ensure().expect("builds")), 1);
    bench.write("patches/0001-one.patch", &patch_to("second"));
    assert_eq!(times(&bench.ensure().expect("builds")), 1);
    bench.write("config/vm.config", "CONFIG_SOUND=m\n");
    assert_eq!(times(&bench.ensure().expect("builds")), 2);
    // Edited by hand, it is not what the fragments say any more.
    let kernel = bench.ensure().expect("is found");
    fs::write(kernel.build.join(".config"), "CONFIG_MINE=y\n").expect("write");
    bench.write("patches/0001-one.patch", &patch_to("third"));
    let kernel = bench.ensure().expect("builds");
    assert_eq!(times(&kernel), 3);
    assert!(read(&kernel.config).contains("CONFIG_SOUND=m"));
}

#[test]
fn asking_for_the_configuration_changes_nothing_that_was_built() {
    let mut bench = Bench::new();
    let kernel = bench.ensure().expect("builds");
    let config = bench
        .builder
        .configuration(Variant::Release, &Reporter::silent())
        .expect("configures");
    assert_eq!(read(&config), read(&kernel.config));
    bench.write("config/vm.config", "CONFIG_SOUND=m\n");
    let config = bench
        .builder
        .configuration(Variant::Release, &Reporter::silent())
        .expect("configures");
    assert!(read(&config).contains("CONFIG_SOUND=m"));
    assert_eq!(read(&kernel.build.join(".config")), read(&kernel.config));
}

#[test]
fn a_failed_build_says_where_and_leaves_nothing_half_done() {
    let mut bench = Bench::new();
    bench.write("patches/0001-one.patch", &patch_to("syntax error: here"));
    let error = bench.ensure().expect_err("does not build");
    let Error::Build { why, log, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(why, "1:syntax error: here");
    assert!(read(log).contains("  CC      mm.o"));
    assert_eq!(bench.finished(), 0);

    bench.write("patches/0001-one.patch", &patch_to("right"));
    assert_eq!(read(&bench.ensure().expect("builds").vmlinux), "right\n");
}

#[test]
fn a_patch_that_does_not_apply_is_named_before_anything_is_built() {
    let mut bench = Bench::new();
    bench.write("patches/0002-two.patch", &patch_to("again"));
    let error = bench.ensure().expect_err("does not apply").to_string();
    assert!(
        error.starts_with("0002-two.patch does not apply to Linux 6.12.3"),
        "{error}"
    );
    assert!(!bench.builder.cache.build(Variant::Release).exists());
}

#[test]
fn a_remark_of_checkpatch_is_a_failure() {
    let mut bench = Bench::new();
    let check = |bench: &Bench| bench.builder.checkpatch(&Reporter::silent());
    assert_eq!(check(&bench).expect("clean"), 1);
    let ugly = patch_to("ugly").replace("-plain", "-first");
    bench.write("patches/0002-two.patch", &ugly);
    let error = check(&bench).expect_err("a remark").to_string();
    assert_eq!(error, "checkpatch.pl has remarks on 0002-two.patch");
}

#[test]
fn another_line_of_kernels_is_refused() {
    let mut bench = Bench::new();
    bench.builder.definition.sources.line = "6.1".to_owned();
    let error = bench.ensure().expect_err("6.12 is not 6.1").to_string();
    assert!(
        error.ends_with("holds Linux 6.12.3, but the series is for 6.1"),
        "{error}"
    );
    assert!(!bench.builder.cache.linux().exists());
}

#[test]
fn a_new_tarball_replaces_the_tree_and_all_that_was_built_from_it() {
    let bench = Bench::new();
    let first = bench.ensure().expect("builds");
    let stale = first.build.join("stale.o");
    fs::write(&stale, "x").expect("write");
    fs::write(bench.dir.path().join("linux-6.12.3/other.c"), "changed\n").expect("write");
    pack(bench.dir.path());

    let second = bench.ensure().expect("builds");
    assert_ne!(first.hash, second.hash);
    assert!(!stale.exists());
    let linux = bench.builder.cache.linux();
    assert_eq!(read(&linux.join("other.c")), "changed\n");
    // No object of an old tree may look newer than a source of the new one.
    let age = SystemTime::now().duration_since(modified(linux.join("Makefile")));
    assert!(age.unwrap_or_default() < Duration::from_secs(600));
}

//! The command line, seen from outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs `rapidswap` where no cluster runs and none can be seen.
fn rapidswap(runtime: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rapidswap"))
        .args(args)
        .env("XDG_RUNTIME_DIR", runtime)
        .output()
        .expect("rapidswap runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that has to fail with one line on standard error; gives
/// that line and the exit status.
fn refused(args: &[&str]) -> (String, i32) {
    let runtime = tempfile::tempdir().expect("temporary directory");
    let output = rapidswap(runtime.path(), args);
    let line = text(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{args:?}: {line}");
    assert!(output.stdout.is_empty(), "{args:?}");
    let left = fs::read_dir(runtime.path()).expect("readable").count();
    assert_eq!(left, 0, "{args:?} left something behind");
    (
        line.trim_end().to_owned(),
        output.status.code().expect("a code"),
    )
}

#[test]
fn the_readme_has_every_command() {
    let help = include_str!("golden/help.txt");
    let listed = help.split("Commands:\n").nth(1).expect("a list");
    let listed = listed.split("\n\n").next().expect("an end");
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| *name != "help") {
        let line = format!("\n    rapidswap {name}");
        assert!(include_str!("../README.md").contains(&line), "no {name}");
    }
}

#[test]
fn help_is_as_written_down() {
    let runtime = tempfile::tempdir().expect("temporary directory");
    let help = |args: &[&str]| text(&rapidswap(runtime.path(), args).stdout);
    assert_eq!(help(&["--help"]), include_str!("golden/help.txt"));
    assert_eq!(help(&["up", "--help"]), include_str!("golden/help-up.txt"));
    assert_eq!(
        help(&["run", "--help"]),
        include_str!("golden/help-run.txt")
    );
    assert_eq!(
        help(&["top", "--help"]),
        include_str!("golden/help-top.txt")
    );
    assert_eq!(
        help(&["exec", "--help"]),
        include_str!("golden/help-exec.txt")
    );
    assert_eq!(
        help(&["bisect-run", "--help"]),
        include_str!("golden/help-bisect-run.txt")
    );
    assert_eq!(
        help(&["clean", "--help"]),
        include_str!("golden/help-clean.txt")
    );
}

#[test]
fn without_a_cluster_every_command_says_how_to_start_one() {
    let commands: [&[&str]; 13] = [
        &["down"],
        &["status"],
        &["status", "--json"],
        &["exec", "client", "--", "true"],
        &["run", "--limit", "64M", "--", "true"],
        &["top"],
        &["top", "--once", "--json"],
        &["cp", "/etc/hostname", "client:/tmp/x"],
        &["logs", "client"],
        &["console", "client"],
        &["gdb", "client", "--", "-batch"],
        &["fault", "pause", "client"],
        &["collect", "--dump"],
    ];
    for args in commands {
        let expected =
            "rapidswap: no cluster named `default` is running: start it with `./just up`";
        assert_eq!(refused(args), (expected.to_owned(), 1));
    }
    for args in [&["down", "--name", "other"], &["top", "--once", "other"]] {
        let (line, _) = refused(args);
        assert!(
            line.ends_with("start it with `./just up --name other`"),
            "{line}"
        );
    }
}

#[test]
fn hosts_that_nobody_reaches_are_a_reason_to_skip() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("hosts.toml");
    // Nothing listens there, wherever this runs.
    let hosts = include_str!("../../profiles/mlx5.toml").replace(
        "ssh = \"root@client\"",
        "ssh = [\"-F\", \"none\", \"-p\", \"1\", \"127.0.0.1\"]",
    );
    fs::write(&path, hosts).expect("a profile");
    let (line, code) = refused(&["profile", path.to_str().expect("text"), "--reach"]);
    assert!(
        line.starts_with("rapidswap: skipped: host `client`: "),
        "{line}"
    );
    assert_eq!(code, 77);
    let runtime = tempfile::tempdir().expect("temporary directory");
    let output = rapidswap(runtime.path(), &["profile", "rxe", "--reach"]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
}

#[test]
fn what_is_not_a_size_is_one_line() {
    for args in [
        &["run", "--limit", "64Q", "--", "true"] as &[&str],
        &["up", "--disk", "64Q"],
        &["up", "--memory", "64Q"],
        &["up", "--server-mem", "64Q"],
    ] {
        let (line, code) = refused(args);
        assert!(
            line.contains("`64Q` is not a size: write a number with K, M or G"),
            "{line}"
        );
        assert_eq!(code, 2);
    }
}

#[test]
fn options_out_of_range_are_one_line() {
    for (args, expected) in [
        (
            &["up", "--memory", "1M"] as &[&str],
            "--memory 1M is out of range",
        ),
        (&["up", "--cpus", "0"], "--cpus 0 is out of range"),
        (
            &["up", "--disk", "9999999999M"],
            "--disk 9999999999M is out of range",
        ),
        (
            &["up", "--profile", "mlx6"],
            "no profile named `mlx6`: use mlx4, mlx5, rxe, siw",
        ),
        (&["up", "--name", "a/b"], "`a/b` is not a cluster name"),
        (&["down", "--name", "../x"], "`../x` is not a cluster name"),
    ] {
        let (line, code) = refused(args);
        assert!(line.contains(expected), "{line}");
        assert_eq!(code, 1);
    }
}

#[test]
fn a_wrong_command_line_is_one_line() {
    for args in [
        &["frobnicate"] as &[&str],
        &["exec", "client"],
        &["up", "--accel", "xen"],
        &["run"],
    ] {
        let (line, code) = refused(args);
        assert!(line.starts_with("rapidswap: "), "{line}");
        assert_eq!(code, 2);
    }
}

#[test]
fn an_interval_is_a_time_that_nodes_can_answer_in() {
    for (interval, says) in [("10ms", "use 100ms or more"), ("soon", "expected number")] {
        let (line, code) = refused(&["top", "--interval", interval]);
        assert!(line.contains(says), "{line}");
        assert_eq!(code, 2);
    }
}

#[test]
fn a_missing_qemu_says_what_to_install() {
    let runtime = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_rapidswap"))
        .arg("up")
        .env("XDG_RUNTIME_DIR", runtime.path())
        .env("XDG_CACHE_HOME", runtime.path().join("cache"))
        .env("PATH", runtime.path())
        .output()
        .expect("rapidswap runs");
    let line = text(&output.stderr);
    assert_eq!(
        line,
        "rapidswap: qemu-system-x86_64 is not in PATH: install it with `apt install qemu-system-x86`\n"
    );
    assert_eq!(output.status.code(), Some(94));
}

#[test]
fn a_shell_completes_commands_and_nodes() {
    let runtime = tempfile::tempdir().expect("temporary directory");
    // What bash does when somebody presses the tabulator key.
    let script = r#"source <("$0" completions bash)
        COMP_TYPE=9 COMP_WORDS=(rapidswap "$@" "") COMP_CWORD=$(($# + 1))
        _clap_complete_rapidswap rapidswap "" ""
        printf '%s\n' "${COMPREPLY[@]}""#;
    let complete = |words: &[&str]| {
        let output = Command::new("bash")
            .env("XDG_RUNTIME_DIR", runtime.path())
            .args(["-c", script, env!("CARGO_BIN_EXE_rapidswap")])
            .args(words)
            .output()
            .expect("bash runs");
        text(&output.stdout)
    };
    let commands = complete(&[]);
    for command in ["up", "down", "status", "exec", "cp", "logs", "fault"] {
        assert!(commands.lines().any(|line| line == command), "{commands}");
    }
    let nodes = complete(&["logs"]);
    assert!(nodes.lines().any(|line| line == "client"), "{nodes}");
    assert!(!nodes.contains("__supervise"), "{nodes}");
    let places = complete(&["cp"]);
    for place in ["client:", "server:", "Cargo.toml"] {
        assert!(places.lines().any(|line| line == place), "{places}");
    }
}

#[test]
fn there_is_a_page_for_each_command() {
    let runtime = tempfile::tempdir().expect("temporary directory");
    let pages = runtime.path().join("man1");
    let output = rapidswap(runtime.path(), &["man", pages.to_str().expect("text")]);
    assert!(output.status.success(), "{output:?}");
    for page in [
        "rapidswap.1",
        "rapidswap-exec.1",
        "rapidswap-gdb.1",
        "rapidswap-top.1",
        "rapidswap-bisect-run.1",
        "rapidswap-fault-partition.1",
    ] {
        let page = fs::read_to_string(pages.join(page)).expect(page);
        assert!(page.contains(".TH"), "{page}");
    }
}

#[test]
fn the_doctor_says_what_is_missing_and_what_mends_it() {
    let empty = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_rapidswap"))
        .arg("doctor")
        .env("XDG_RUNTIME_DIR", empty.path())
        .env("XDG_CACHE_HOME", empty.path().join("x".repeat(90)))
        .env("PATH", empty.path())
        .output()
        .expect("rapidswap runs");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    let qemu = said.lines().find(|line| line.contains(" qemu "));
    assert!(
        qemu.is_some_and(|line| line.starts_with("BAD") && line.contains("apt install")),
        "{said}"
    );
    let left = fs::read_dir(empty.path()).expect("readable").count();
    assert_eq!(left, 0, "the doctor changed something");
}

#[test]
fn what_programs_read_is_json_to_the_end() {
    let runtime = tempfile::tempdir().expect("temporary directory");
    let output = rapidswap(runtime.path(), &["down", "--events", "json"]);
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one object");
    assert_eq!(
        (&line["event"], &line["code"]),
        (&"ended".into(), &1.into())
    );
    let error = line["error"].as_str().expect("a reason");
    assert!(error.starts_with("no cluster named `default`"), "{error}");
}

#[test]
fn cleaning_an_empty_cache_frees_nothing_and_makes_nothing() {
    let empty = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_rapidswap"))
        .arg("clean")
        .env("XDG_RUNTIME_DIR", empty.path().join("run"))
        .env("XDG_CACHE_HOME", empty.path().join("cache"))
        .output()
        .expect("rapidswap runs");
    assert_eq!(text(&output.stdout), "freed 0 B, 0 B left\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(empty.path()).expect("readable").count(), 0);
}

#[test]
fn a_result_that_nobody_reads_is_an_error_and_no_panic() {
    for args in [&["profile", "rxe"][..], &["profile", "rxe", "--filter"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let output = Command::new(env!("CARGO_BIN_EXE_rapidswap"))
            .args(args)
            .stdout(full.expect("every Linux has it"))
            .output()
            .expect("rapidswap runs");
        let said = text(&output.stderr);
        assert!(said.starts_with("rapidswap: No space left"), "{said}");
        assert_eq!((said.lines().count(), output.status.code()), (1, Some(1)));
    }
}

#[test]
fn a_relative_cache_counts_as_none() {
    let home = tempfile::tempdir().expect("temporary directory");
    let image = home.path().join(".cache/rapidswap/images/old");
    fs::create_dir_all(&image).expect("an image");
    fs::write(image.join("root.ext4"), [1; 4096]).expect("an image");
    let output = Command::new(env!("CARGO_BIN_EXE_rapidswap"))
        .args(["clean", "--dry-run", "--limit", "1"])
        .current_dir(home.path())
        .env("XDG_RUNTIME_DIR", home.path().join("run"))
        .env("XDG_CACHE_HOME", "cache")
        .env("HOME", home.path())
        .output()
        .expect("rapidswap runs");
    let said = text(&output.stdout);
    assert!(said.starts_with("would remove image old, "), "{said}");
}

#[test]
fn a_wrong_command_line_ends_a_bisection() {
    for args in [
        &["bisect-run", "--kernel", "/nowhere", "--", "true"] as &[&str],
        &["bisect-run"],
        &["bisect-run", "--cpus", "0", "--", "true"],
    ] {
        assert_eq!(refused(args).1, 128, "{args:?}");
    }
}

#[test]
fn kernels_and_modules_that_are_not_there_are_one_line() {
    for (args, says) in [
        (
            &["--kernel", "fast"] as &[&str],
            "there is no kernel `fast`: use release, debug",
        ),
        (
            &["--module", "/nowhere"],
            "there is no folder `/nowhere` with a module in it",
        ),
    ] {
        let (line, code) = refused(&[&["up"], args].concat());
        assert!(line.contains(says), "{line}");
        assert_eq!(code, 2);
    }
    for (args, says) in [
        (
            &["--servers", "17"] as &[&str],
            "--servers 17 is out of range",
        ),
        (
            &["--swap-to", "client"],
            "--swap-to client is no server of this cluster: use server",
        ),
        (
            &["--module", "server2=/usr"],
            "no node named `server2`: this cluster has client, server",
        ),
    ] {
        let (line, code) = refused(&[&["up"], args].concat());
        assert!(line.contains(says), "{line}");
        assert_eq!(code, 1);
    }
}

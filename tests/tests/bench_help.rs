//! The benchmarks' command line, which needs no cluster.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .output()
        .expect("bench runs")
}

#[test]
fn help_is_as_written_down() {
    let help = |arguments: &[&str]| String::from_utf8(bench(arguments).stdout).expect("text");
    assert_eq!(help(&["--help"]), include_str!("golden/bench.txt"));
    let swap = help(&["swap", "--help"]);
    assert_eq!(swap, include_str!("golden/bench-swap.txt"));
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_starts() {
    let cases: [(&[&str], &str); 4] = [
        (&["swap", "--rows", "floppy"], "floppy"),
        (&["swap", "--workloads", "chess"], "chess"),
        (&["swap", "--size", "0"], "0"),
        (&["swap", "--rounds", "0"], "--rounds"),
    ];
    for (arguments, said) in cases {
        let output = bench(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[test]
fn memory_that_no_server_starts_in_is_refused() {
    let output = bench(&["swap", "--full", "--size", "4M"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    assert!(stderr.contains("give 16M or more"), "{stderr}");
}

#[test]
fn nodes_of_an_unknown_profile_are_refused_before_anything_starts() {
    for (program, arguments) in [
        (env!("CARGO_BIN_EXE_bench"), &[] as &[&str]),
        (env!("CARGO_BIN_EXE_bench"), &["swap"]),
        (env!("CARGO_BIN_EXE_demo"), &[]),
    ] {
        // One of the usual name may be up, of whoever works here.
        let arguments = [arguments, &["--name", "test-nobody"]].concat();
        let mut by_option = Command::new(program);
        by_option
            .args(&arguments)
            .args(["--profile", "carrier-pigeon"]);
        let mut by_variable = Command::new(program);
        by_variable.args(&arguments);
        by_variable.env("RAPIDSWAP_PROFILE", "carrier-pigeon");
        for mut command in [by_option, by_variable] {
            let output = command.output().expect("it runs");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
            assert!(
                stderr.contains("no profile named `carrier-pigeon`"),
                "{command:?}: {stderr}"
            );
        }
    }
}

//! The page-pattern program on this host, where nothing need be swapped.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn page_pattern(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_page-pattern"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("page-pattern starts");
    let mut stdin = child.stdin.take().expect("stdin");
    // A program that reads nothing may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("page-pattern ends")
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let parse = |line| serde_json::from_str(line).expect("one JSON value a line");
    text.lines().map(parse).collect()
}

#[test]
fn every_order_checks_every_byte() {
    let mib = 4u64 << 20;
    let cases: [(&[&str], u64); 5] = [
        (&["--order", "sequential"], 1),
        (&["--order", "random", "--passes", "3"], 3),
        (&["--order", "fork"], 4),
        (&["--shmem", "--seed", "9"], 1),
        (&["--shmem", "--order", "random"], 1),
    ];
    for (arguments, times) in cases {
        let output = page_pattern(&[&["verify", "--mib", "4"][..], arguments].concat(), "");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let report = lines(&output).remove(0);
        assert_eq!(report["bytes_verified"], mib * times, "{arguments:?}");
        assert_eq!(report["corrupt_bytes"], 0, "{arguments:?}");
    }
}

#[test]
fn held_memory_is_checked_when_told() {
    let output = page_pattern(&["verify", "--mib", "2", "--hold"], "go\n");
    assert!(output.status.success(), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["ready"], true);
    assert_eq!(lines[1]["bytes_verified"], 2 << 20);
}

#[test]
fn steps_are_answered_a_line_each() {
    let said = "fill 1 0..256\ncheck 1 0..128; check zero 256..512\n\
        child rewrite 1 2 0..64; check 2 0..64\njoin\ncheck 1 0..256\nrepeat check 1 0..1\nstop\n";
    let output = page_pattern(&["steps", "--mib", "2"], said);
    assert!(output.status.success(), "{output:?}");
    let verified: Vec<_> = lines(&output)
        .iter()
        .map(|line| {
            (
                line["bytes_verified"].clone(),
                line["corrupt_bytes"].clone(),
            )
        })
        .collect();
    let pages = [0, 384, 0, 128, 256, 0].map(|pages| ((pages << 12).into(), 0.into()));
    assert_eq!(verified, pages);
}

#[test]
fn common_memory_is_the_childs_too() {
    let said =
        "fill 1 0..4\nchild rewrite 1 2 0..2\njoin\ncheck 2 0..2; check 1 2..4\ncheck 1 0..1\n";
    let output = page_pattern(&["steps", "--mib", "1", "--kind", "common"], said);
    let lines = lines(&output);
    assert_eq!(lines[3]["corrupt_bytes"], 0, "{lines:?}");
    assert_ne!(lines[4]["corrupt_bytes"], 0, "{lines:?}");
}

#[test]
fn a_step_that_cannot_be_done_is_the_end() {
    let output = page_pattern(
        &["steps", "--mib", "1"],
        "lock 0..1\ncheck 1 0..257\nsettle\n",
    );
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[1]["error"], "pages 0..257 of 256");
}

#[test]
fn a_check_that_cannot_be_made_is_no_corruption() {
    let cases: [(&[&str], &str); 3] = [
        (&["verify", "--mib", "1", "--hold"], "stdin ended"),
        (&["verify", "--shmem", "--order", "fork"], "choose one"),
        (&["verify", "--mib", "0"], "--mib"),
    ];
    for (arguments, said) in cases {
        let output = page_pattern(arguments, "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

//! The command line, seen from outside.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

/// A stream that cannot be written.
fn full() -> Stdio {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("every Linux has it").into()
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_no_panic() {
    let key = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rapidswap-images"));
        command.arg("key").stdout(full());
        command
    };
    let output = key().output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("rapidswap-images: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(output.status.code(), Some(1));
    // Nor is it one where that cannot be said.
    let status = key().stderr(full()).status().expect("it runs");
    assert_eq!(status.code(), Some(1));
}

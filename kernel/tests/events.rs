//! What who reads events is told of a failure.

use std::process::Command;

use rapidswap_progress::{Event, Stamped};

#[test]
fn a_failure_is_an_event_and_nothing_else() {
    let output = Command::new(env!("CARGO_BIN_EXE_rapidswap-kernel"))
        .args(["build", "--tree", "/nowhere"])
        .env("RAPIDSWAP_EVENTS", "json")
        .output()
        .expect("rapidswap-kernel runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let events: Vec<Stamped> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}")))
        .collect();
    let Some(Event::Ended { code, error, .. }) = events.last().map(|stamped| &stamped.event) else {
        panic!("no end: {said}");
    };
    assert_eq!(output.status.code(), Some(i32::from(*code)));
    let error = error.as_deref().expect("a reason");
    assert!(error.contains("/nowhere"), "{error}");
}

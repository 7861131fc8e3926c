//! What profiles leave out.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rapidswap_vm::Profile;

/// One that is renamed would be run again where it cannot be had, and nobody
/// would miss one that is gone.
#[test]
fn profiles_leave_out_tests_that_there_are() -> Result<()> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--list", "--format", "terse"])
        .output()?;
    let list = String::from_utf8(output.stdout)?;
    let tests: Vec<_> = list
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    for name in Profile::names()? {
        for (left_out, reason) in Profile::load(&name)?.skip {
            let is_it = |test: &&&str| match left_out.ends_with("::") {
                true => test.starts_with(&left_out),
                false => **test == left_out,
            };
            tests.iter().find(is_it).with_context(|| {
                format!("profiles/{name}.toml leaves out {left_out}, and there is no such test")
            })?;
            ensure!(reason.len() > 10, "{name}: {left_out}: no reason");
        }
    }
    Ok(())
}

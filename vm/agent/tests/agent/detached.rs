//! Commands that outlive the connection.

use std::fs;
use std::io::Read;
use std::process::Command;

use rapidswap_protocol::{Exec, ExitStatus};

use crate::support::{Host, shell, start_witnessed};

#[test]
fn a_detached_command_writes_a_log_and_outlives_the_connection() {
    let mut host = Host::start();
    let agent = host.attach();
    let script = r#"echo out; echo err >&2; exec 3>"$FIFO"; read x; trap '' HUP; sleep 600"#;
    let exec = shell(script).detach().log("service");
    let (process, mut witness) = start_witnessed(&agent, &host.path("fifo"), exec);
    assert!(process.stdin.is_none());
    let pid = process.pid();
    drop(process);
    assert!(agent.exec(Exec::new(["true"])).unwrap().wait().is_ok());
    agent.shutdown().unwrap();
    assert!(host.wait_for_agent().success());
    let group = format!("-{pid}");
    let killed = Command::new("kill").args(["-9", "--", &group]).status();
    assert!(killed.unwrap().success());
    assert_eq!(witness.read(&mut [0]).unwrap(), 0);
    let log = fs::read_to_string(host.path("logs/service")).unwrap();
    assert_eq!(log, "out\nerr\n");
}

#[test]
fn a_detached_commands_end_is_told_while_connected() {
    let host = Host::start();
    let agent = host.attach();
    let mut process = agent.exec(shell("echo hi; exit 6").detach()).unwrap();
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(6));
    assert_eq!(process.stdout.read(&mut [0]).unwrap(), 0);
    assert_eq!(fs::read(host.path("logs/sh")).unwrap(), b"hi\n");
}

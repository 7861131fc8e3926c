//! Commands and how they end.

use std::io::{Read, Write};

use rapidswap_protocol::{Error, Exec, ExitStatus};

use crate::support::{Host, SIGTERM, assert_died, line, shell, start_witnessed};

#[test]
fn outputs_are_separate_and_the_status_is_the_commands_own() {
    let host = Host::start();
    let agent = host.attach();
    let process = agent.exec(shell("echo out; echo err >&2; exit 3")).unwrap();
    let output = process.output().unwrap();
    assert_eq!(output.status, ExitStatus::Code(3));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn a_signal_that_kills_is_told_from_a_code() {
    let host = Host::start();
    let agent = host.attach();
    for signal in [9, 15, 34, 64] {
        let script = format!("kill -{signal} $$");
        let status = agent.exec(shell(&script)).unwrap().wait().unwrap();
        assert_eq!(status, ExitStatus::Signal(signal));
    }
}

#[test]
fn arguments_environment_and_directory_arrive_as_given() {
    let host = Host::start();
    let agent = host.attach();
    let script = r#"printf '%s|' "$@"; printf '%s|' "$X Y"; pwd"#;
    let exec = Exec::new(["sh", "-c", script, "sh", "a b", "", "'\"\n$"]);
    let exec = exec.env("X", "1 2").cwd("/usr");
    let output = agent.exec(exec).unwrap().output().unwrap();
    assert_eq!(output.stdout, b"a b||'\"\n$|1 2 Y|/usr\n");
}

#[test]
fn a_command_line_of_many_frames_arrives_whole() {
    let host = Host::start();
    let agent = host.attach();
    let mut argv = vec!["echo".to_owned()];
    argv.extend((0..20_000).map(|number| format!("argument-{number}")));
    let output = agent.exec(Exec::new(&argv)).unwrap().output().unwrap();
    assert_eq!(output.stdout.len(), argv[1..].join(" ").len() + 1);

    let long = "x".repeat(2 << 20);
    let refused = agent.exec(Exec::new(["echo", &long]));
    assert!(matches!(refused, Err(Error::TooLong(_))));
}

#[test]
fn what_cannot_run_is_said_in_one_line() {
    let host = Host::start();
    let agent = host.attach();
    let no_args: [&str; 0] = [];
    let cases = [
        (Exec::new(["no-such-program"]), 2, "run no-such-program"),
        (Exec::new(["/usr"]), 13, "run /usr"),
        (Exec::new(["true"]).cwd("/no/such"), 2, "enter /no/such"),
        (Exec::new(no_args), 0, "empty command line"),
    ];
    for (exec, expected, words) in cases {
        match agent.exec(exec) {
            Err(Error::Remote { errno, message }) => {
                assert_eq!(errno, expected, "{message}");
                assert!(message.contains(words), "{message}");
                assert!(!message.contains('\n'), "{message}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[test]
fn input_and_output_stream_while_the_command_runs() {
    let host = Host::start();
    let agent = host.attach();
    let mut cat = agent.exec(Exec::new(["cat"])).unwrap();
    let mut stdin = cat.stdin.take().unwrap();
    for word in ["one", "two", "three"] {
        writeln!(stdin, "{word}").unwrap();
        assert_eq!(line(&mut cat.stdout), word);
    }
    drop(stdin);
    assert_eq!(cat.wait().unwrap(), ExitStatus::Code(0));
}

#[test]
fn a_command_ends_with_its_process_and_not_with_its_pipes() {
    let host = Host::start();
    let agent = host.attach();
    let script = r#"exec 3>"$FIFO"; sleep 600 & echo $!; head -c 300000 /dev/zero; exit 5"#;
    let (mut process, witness) = start_witnessed(&agent, &host.path("fifo"), shell(script));
    let sleeper = line(&mut process.stdout);
    let output = process.output().unwrap();
    assert_eq!(output.status, ExitStatus::Code(5));
    assert_eq!(output.stdout.len(), 300_000);
    let kill = Exec::new(["kill", &sleeper]);
    assert!(agent.exec(kill).unwrap().wait().unwrap().success());
    assert_died(witness);
}

#[test]
fn the_end_is_known_before_the_outputs_are_read() {
    let host = Host::start();
    let agent = host.attach();
    let mut process = agent.exec(shell("seq 5000; exit 4")).unwrap();
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(4));
    let mut rest = process.stdout.clone();
    drop(process);
    let mut text = String::new();
    rest.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\n5000\n"));
}

#[test]
fn a_signal_reaches_the_whole_group() {
    let host = Host::start();
    let agent = host.attach();
    let script = r#"trap 'exit 9' TERM; (exec 3>"$FIFO"; exec sleep 600) & echo up; wait"#;
    let (mut process, witness) = start_witnessed(&agent, &host.path("fifo"), shell(script));
    assert_eq!(line(&mut process.stdout), "up");
    process.signal(SIGTERM);
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(9));
    assert_died(witness);
}

#[test]
fn a_dropped_command_is_killed() {
    let host = Host::start();
    let agent = host.attach();
    let script = r#"exec 3>"$FIFO"; trap '' TERM HUP; sleep 600"#;
    let (process, witness) = start_witnessed(&agent, &host.path("fifo"), shell(script));
    drop(process);
    assert_died(witness);
}

//! Files on their way between host and node.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;

use rapidswap_protocol::{Error, Exec};

use crate::support::{Host, pattern};

#[test]
fn files_arrive_whole_and_with_their_modes() {
    let host = Host::start();
    let agent = host.attach();
    for (length, mode) in [(0, 0o600), (1, 0o755), (3_000_000, 0o4751), (10, 0o444)] {
        let data = pattern(length);
        let path = host.path("file");
        agent.push(&path, mode, &mut data.as_slice()).unwrap();
        assert!(fs::read(&path).unwrap() == data);
        let permissions = fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, mode);
        let mut back = Vec::new();
        agent.pull(&path, &mut back).unwrap();
        assert!(back == data);
    }
    let names: Vec<_> = fs::read_dir(host.dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_running_program_can_be_replaced() {
    let host = Host::start();
    let agent = host.attach();
    let sleep = fs::read("/bin/sleep").unwrap();
    let path = host.path("sleep");
    agent.push(&path, 0o755, &mut sleep.as_slice()).unwrap();
    let exec = Exec::new([path.as_os_str(), "600".as_ref()]);
    let _running = agent.exec(exec).unwrap();
    agent.push(&path, 0o755, &mut sleep.as_slice()).unwrap();
}

#[test]
fn files_without_a_size_are_pulled_to_their_end() {
    let host = Host::start();
    let agent = host.attach();
    let mut version = Vec::new();
    agent.pull("/proc/version".as_ref(), &mut version).unwrap();
    assert_eq!(version, fs::read("/proc/version").unwrap());
}

#[test]
fn what_cannot_be_moved_is_said_in_one_line() {
    let host = Host::start();
    let agent = host.attach();
    let message = |result: Result<(), Error>| match result {
        Err(Error::Remote { errno, message }) => (errno, message),
        other => panic!("{other:?}"),
    };
    let (errno, text) = message(agent.pull("/no/such".as_ref(), &mut io::sink()));
    assert_eq!(errno, 2);
    assert!(text.starts_with("cannot read /no/such: "), "{text}");
    let (errno, text) = message(agent.pull("/usr".as_ref(), &mut io::sink()));
    assert_eq!(errno, 21, "{text}");
    let (errno, text) = message(agent.push("/no/such".as_ref(), 0o644, &mut io::empty()));
    assert_eq!(errno, 2);
    assert!(text.starts_with("cannot write /no/such: "), "{text}");
    let (_, text) = message(agent.push(host.dir.path(), 0o644, &mut io::empty()));
    assert!(text.contains("is a directory"), "{text}");
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Other.into())
    }
}

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Other.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failure_on_this_side_leaves_nothing_behind() {
    let host = Host::start();
    let agent = host.attach();
    let path = host.path("file");
    let mut data = io::repeat(1).take(500_000).chain(Broken);
    let pushed = agent.push(&path, 0o644, &mut data);
    assert!(matches!(pushed, Err(Error::Local { .. })));
    let pulled = agent.pull("/dev/zero".as_ref(), &mut Broken);
    assert!(matches!(pulled, Err(Error::Local { .. })));
    // An answer shows that the agent has done all that was asked before.
    assert!(agent.exec(Exec::new(["true"])).is_ok());
    assert_eq!(fs::read_dir(host.dir.path()).unwrap().count(), 0);
}

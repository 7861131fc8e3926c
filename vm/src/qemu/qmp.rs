//! QEMU's control protocol: one JSON object a line, answers and events mixed.
//! A dozen commands and five events are all that is used, so this is the
//! whole client; the generated crates cost more to compile than to replace.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Error, IoContext, Result};
use crate::wait::wait_until;

/// How long QEMU may take to answer. Its main loop can be busy for seconds
/// on a loaded host; longer means that it hangs.
const ANSWER: Duration = Duration::from_secs(20);

/// The id of what QEMU is asked at each stop.
const STOPPED: &str = "stopped";

/// Something QEMU said on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest's kernel panicked.
    GuestPanicked,
    /// The processors were stopped, by a command or by a failure, with what
    /// [`Qmp::status`] is then.
    Stop(String),
    /// The processors go on.
    Resume,
    /// The machine is shut down, with QEMU's reason.
    Shutdown(String),
}

/// What a reboot does, the guest's own or one from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// The machine stops.
    Ends,
    /// The machine starts again.
    Resets,
}

/// A connection to one QEMU. Commands may be given from any thread; they are
/// carried out one at a time.
pub struct Qmp {
    requests: Arc<Requests>,
    answers: Mutex<Answers>,
    awaited: Arc<Awaited>,
}

/// The way to QEMU. Taken for one line, and never until that is answered.
struct Requests(Mutex<UnixStream>);

impl Requests {
    fn send(&self, command: &str, arguments: Value, id: Value) -> io::Result<()> {
        let mut request = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut stream = self.0.lock().unwrap_or_else(|e| e.into_inner());
        stream.write_all(format!("{request}\n").as_bytes())
    }
}

/// The way back. Taken until the answer is there.
struct Answers {
    incoming: Receiver<Value>,
    next_id: u64,
}

/// Who waits for which event's data.
#[derive(Default)]
struct Awaited(Mutex<Vec<(String, Sender<Value>)>>);

impl Awaited {
    fn add(&self, event: &str) -> Receiver<Value> {
        let (sender, data) = channel();
        let mut waiting = self.0.lock().unwrap_or_else(|e| e.into_inner());
        waiting.push((event.to_owned(), sender));
        data
    }

    fn happened(&self, message: &Value) {
        let mut waiting = self.0.lock().unwrap_or_else(|e| e.into_inner());
        waiting.retain(|(event, sender)| {
            let other = message["event"] != *event;
            if !other {
                // Nobody waits any more when the receiver is gone.
                let _ = sender.send(message["data"].clone());
            }
            other
        });
    }

    /// Nothing happens any more.
    fn end(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(|e| e.into_inner());
        waiting.clear();
    }
}

impl Qmp {
    /// Negotiates on a connected socket. `on_event` is called on a thread of
    /// its own for each event, until QEMU ends.
    pub fn start(stream: UnixStream, on_event: impl Fn(Event) + Send + 'static) -> Result<Qmp> {
        let reader = stream
            .try_clone()
            .what(|| "cannot share the QMP socket".into())?;
        let requests = Arc::new(Requests(Mutex::new(stream)));
        let (sender, incoming) = channel();
        let awaited = Arc::new(Awaited::default());
        let (asks, tells) = (Arc::clone(&requests), Arc::clone(&awaited));
        thread::Builder::new()
            .name("qmp".into())
            .spawn(move || {
                listen(reader, &asks, &tells, &sender, on_event);
                tells.end();
            })
            .what(|| "cannot start a thread".into())?;
        let qmp = Qmp {
            requests,
            answers: Mutex::new(Answers {
                incoming,
                next_id: 1,
            }),
            awaited,
        };
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// Carries out one command and gives its `return` value.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut answers = self.answers.lock().unwrap_or_else(|e| e.into_inner());
        let id = answers.next_id;
        answers.next_id += 1;
        let sent = self.requests.send(command, arguments, id.into());
        sent.what(|| format!("cannot send {command} to QEMU"))?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = answers.incoming.recv_timeout(left).map_err(|error| {
                Error::Supervisor(match error {
                    RecvTimeoutError::Timeout => {
                        format!(
                            "QEMU did not answer {command} within {} s",
                            ANSWER.as_secs()
                        )
                    }
                    RecvTimeoutError::Disconnected => format!("QEMU ended during {command}"),
                })
            })?;
            // An answer to a command that timed out earlier is late, not ours.
            if answer["id"] != id {
                continue;
            }
            if let Some(error) = answer.get("error") {
                let reason = error["desc"].as_str().unwrap_or("no reason given");
                return Err(Error::Supervisor(format!(
                    "QEMU refused {command}: {reason}"
                )));
            }
            return Ok(answer["return"].clone());
        }
    }

    /// Carries out one command that goes on after its answer, beside others, and
    /// gives the data of the event by which QEMU says its end.
    pub fn execute_until(
        &self,
        command: &str,
        arguments: Value,
        event: &str,
        limit: Duration,
    ) -> Result<Value> {
        // Before the command, which may be quick.
        let end = self.awaited.add(event);
        self.execute(command, arguments)?;
        end.recv_timeout(limit).map_err(|error| {
            Error::Supervisor(match error {
                RecvTimeoutError::Timeout => {
                    format!("QEMU did not end {command} within {} s", limit.as_secs())
                }
                RecvTimeoutError::Disconnected => format!("QEMU ended during {command}"),
            })
        })
    }

    /// Stops the guest's processors.
    pub fn stop(&self) -> Result<()> {
        self.execute("stop", Value::Null).map(drop)
    }

    /// Lets the guest's processors go on.
    pub fn cont(&self) -> Result<()> {
        self.execute("cont", Value::Null).map(drop)
    }

    /// What becomes of the machine when it reboots.
    pub fn reboot(&self, action: Reboot) -> Result<()> {
        let action = match action {
            Reboot::Ends => "shutdown",
            Reboot::Resets => "reset",
        };
        self.execute("set-action", json!({ "reboot": action }))
            .map(drop)
    }

    /// Resets the machine, which runs from its start when this returns.
    /// A reboot must not be its end just now, see [`Qmp::reboot`].
    pub fn reset(&self) -> Result<()> {
        let runs = self.status()? == "running";
        self.execute("system_reset", Value::Null)?;
        if runs {
            return Ok(());
        }
        // What does not run is reset in its own time, and then waits.
        let ready = wait_until(ANSWER, || Ok((self.status()? == "prelaunch").then_some(())))?;
        match ready {
            Some(()) => self.cont(),
            None => Err(Error::Supervisor("QEMU did not reset the machine".into())),
        }
    }

    /// QEMU's word for what the machine does: `running`, `paused`,
    /// `internal-error`, `guest-panicked`, …
    pub fn status(&self) -> Result<String> {
        Ok(status(&self.execute("query-status", Value::Null)?))
    }
}

/// The word in an answer to `query-status`.
fn status(answer: &Value) -> String {
    answer["status"].as_str().unwrap_or("unknown").to_owned()
}

/// Sorts what QEMU says until it ends.
fn listen(
    stream: UnixStream,
    requests: &Requests,
    awaited: &Awaited,
    answers: &Sender<Value>,
    on_event: impl Fn(Event),
) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if message["event"] == "STOP" {
            // Here, because whoever deals with the event must not wait for QEMU,
            // which answers nothing while another command takes its time. One
            // that is gone ends this loop.
            let _ = requests.send("query-status", Value::Null, STOPPED.into());
        } else if message["id"] == STOPPED {
            on_event(Event::Stop(status(&message["return"])));
        } else if message.get("event").is_some() {
            awaited.happened(&message);
            if let Some(event) = event(&message) {
                on_event(event);
            }
        } else if message.get("id").is_some() {
            // Nobody waits any more when the receiver is gone.
            let _ = answers.send(message);
        }
    }
}

fn event(message: &Value) -> Option<Event> {
    match message["event"].as_str()? {
        "GUEST_PANICKED" => Some(Event::GuestPanicked),
        "RESUME" => Some(Event::Resume),
        "SHUTDOWN" => Some(Event::Shutdown(
            message["data"]["reason"].as_str().unwrap_or("").to_owned(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::QEMU;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::process::Command;

    /// A QEMU that answers everything at once, says what it is told to do, and
    /// that its dump has failed when it is to stop.
    fn dumping_qemu(stream: UnixStream, told: &Sender<String>) {
        let say = |text: Value| writeln!(&stream, "{text}").expect("a listener");
        for line in BufReader::new(&stream).lines() {
            let request: Value = serde_json::from_str(&line.expect("a line")).expect("a request");
            say(json!({"return": {}, "id": request["id"]}));
            let command = request["execute"].as_str().expect("a command");
            if command == "stop" {
                let data = json!({"result": {"status": "failed"}, "error": "no room"});
                say(json!({"event": "DUMP_COMPLETED", "data": data}));
            }
            let _ = told.send(command.to_owned());
            if command == "quit" {
                return;
            }
        }
    }

    #[test]
    fn a_command_that_goes_on_ends_with_its_event_its_limit_or_qemu() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let (sender, told) = channel();
        thread::spawn(move || dumping_qemu(theirs, &sender));
        let qmp = Qmp::start(ours, |_| {}).expect("negotiated");
        let dump = |limit| qmp.execute_until("dump", Value::Null, "DUMP_COMPLETED", limit);
        let begun = || while told.recv_timeout(ANSWER).expect("a command") != "dump" {};
        thread::scope(|scope| {
            let dumped = scope.spawn(|| dump(ANSWER));
            begun();
            // Other commands are not kept waiting.
            qmp.stop().expect("stop");
            let data = dumped.join().expect("no panic").expect("its end");
            assert_eq!(data["error"], "no room");

            let late = dump(Duration::ZERO).expect_err("too long").to_string();
            assert_eq!(late, "QEMU did not end dump within 0 s");
            begun();

            let dumped = scope.spawn(|| dump(ANSWER));
            begun();
            qmp.execute("quit", Value::Null).expect("quit");
            let ended = dumped.join().expect("no panic").expect_err("no end");
            assert_eq!(ended.to_string(), "QEMU ended during dump");
        });
    }

    #[test]
    fn a_real_qemu_answers_refuses_and_reports() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let theirs = OwnedFd::from(theirs);
        let mut command = Command::new(QEMU);
        command.args(["-nodefaults", "-display", "none", "-machine", "none", "-S"]);
        command.args([
            "-chardev",
            &format!("socket,id=qmp,fd={}", theirs.as_raw_fd()),
        ]);
        command.args(["-mon", "chardev=qmp,mode=control"]);
        crate::sys::tie(&mut command, &[theirs.as_raw_fd()]);
        let mut qemu = command.spawn().expect("QEMU starts");
        drop(theirs);
        let (sender, events) = channel();
        let qmp = Qmp::start(ours, move |event| drop(sender.send(event))).expect("negotiated");
        assert_eq!(qmp.status().expect("status"), "prelaunch");
        qmp.cont().expect("cont");
        assert_eq!(events.recv_timeout(ANSWER), Ok(Event::Resume));
        qmp.stop().expect("stop");
        let stopped = Event::Stop("paused".into());
        assert_eq!(events.recv_timeout(ANSWER), Ok(stopped));
        let refusal = qmp
            .execute("no-such-command", Value::Null)
            .expect_err("refused");
        assert!(
            refusal.to_string().contains("QEMU refused no-such-command"),
            "{refusal}"
        );
        qmp.execute("quit", Value::Null).expect("quit");
        assert_eq!(
            events.recv_timeout(ANSWER),
            Ok(Event::Shutdown("host-qmp-quit".into()))
        );
        qemu.wait().expect("QEMU ends");
        assert!(qmp.status().is_err());
    }
}

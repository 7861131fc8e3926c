//! The terminal that `top` has for itself.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use rapidswap_vm::{Activity, Error};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Intervals;
use super::view::View;

/// What happens while it is shown.
enum Happened {
    /// An interval has passed, or the cluster is gone.
    Passed(Box<Result<Activity, Error>>),
    /// The screen has another size.
    Resized,
    /// Somebody wants to leave.
    Leave,
}

/// Shows intervals until somebody leaves or the cluster ends. The terminal is
/// as it was afterwards, whatever happened.
pub fn show(intervals: Intervals) -> anyhow::Result<()> {
    let (sender, happened) = channel();
    // Before any other thread starts, so that only one gets them.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().context("cannot hold signals back")?;
    let ends = sender.clone();
    thread::spawn(move || {
        let _ = signals.wait();
        let _ = ends.send(Happened::Leave);
    });
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    let keys = sender.clone();
    thread::spawn(move || listen(&keys));
    // Nodes that do not answer must not keep anybody from leaving.
    thread::spawn(move || {
        for activity in intervals {
            let over = activity.is_err();
            let sent = sender.send(Happened::Passed(Box::new(activity)));
            if over || sent.is_err() {
                return;
            }
        }
    });
    let shown = follow(&mut terminal, &happened);
    ratatui::restore();
    shown
}

fn follow(
    terminal: &mut DefaultTerminal,
    happened: &std::sync::mpsc::Receiver<Happened>,
) -> anyhow::Result<()> {
    let mut view = View::default();
    loop {
        terminal
            .draw(|frame| view.draw(frame))
            .context("cannot draw")?;
        match happened.recv() {
            Ok(Happened::Passed(activity)) => view.push((*activity)?),
            Ok(Happened::Resized) => {}
            Ok(Happened::Leave) | Err(_) => return Ok(()),
        }
    }
}

/// Passes keys on, until there is no terminal any more.
fn listen(happened: &Sender<Happened>) {
    loop {
        let what = match event::read() {
            Ok(Event::Key(key)) if leaves(&key) => Happened::Leave,
            Ok(Event::Resize(..)) => Happened::Resized,
            Ok(_) => continue,
            Err(_) => Happened::Leave,
        };
        if happened.send(what).is_err() {
            return;
        }
    }
}

fn leaves(key: &KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => with_control,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_control_c_leave() {
        let key = |code, modifiers| leaves(&KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Up, KeyModifiers::NONE));
    }
}

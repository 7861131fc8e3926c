//! Makes things go wrong, and right again.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use super::relay::Relay;
use super::switch::Switch;
use super::{Event, Shared};
use crate::cluster::status::NodeState;
use crate::error::{Error, Result};
use crate::fault::{Fault, LinkFaults};

/// The links between the nodes, and what is in their way.
pub(super) struct Links {
    run: PathBuf,
    nodes: Vec<String>,
    inner: Mutex<Inner>,
}

struct Inner {
    faults: LinkFaults,
    way: Way,
}

/// How packets get from one node to another.
enum Way {
    /// From one of two nodes to the other.
    Direct,
    /// Between two, by way of a relay: exactly while there are faults.
    Relayed(Relay),
    /// Between more than two, always.
    Switched(Switch),
}

impl Links {
    /// Links between `nodes`, in the order of their stations, before those
    /// start.
    pub(super) fn new(run: PathBuf, nodes: Vec<String>) -> Result<Links> {
        let way = match nodes.len() {
            2 => Way::Direct,
            _ => Way::Switched(Switch::join(&run, &nodes)?),
        };
        let inner = Inner {
            faults: LinkFaults::default(),
            way,
        };
        Ok(Links {
            run,
            nodes,
            inner: Mutex::new(inner),
        })
    }

    /// What is wrong with them just now.
    pub(super) fn faults(&self) -> LinkFaults {
        let inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        inner.faults.clone()
    }

    /// Changes what is wrong with them.
    fn change(&self, change: impl FnOnce(&mut LinkFaults)) -> Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let mut faults = inner.faults.clone();
        change(&mut faults);
        match (&inner.way, faults.is_none()) {
            (Way::Switched(switch), _) => switch.set(faults.clone()),
            (_, true) => inner.way = Way::Direct,
            (Way::Relayed(relay), false) => relay.set(faults.clone()),
            (Way::Direct, false) => {
                let relay = Relay::insert(&self.run, &self.nodes, faults.clone())?;
                inner.way = Way::Relayed(relay);
            }
        }
        inner.faults = faults;
        Ok(())
    }
}

/// Carries one fault out; it has happened when this returns.
pub(super) fn inject(fault: Fault, shared: &Shared, events: &Sender<Event>) -> Result<()> {
    let links = &shared.links;
    if let (Fault::Loss(_) | Fault::Delay(_) | Fault::Partition(..), Some(host)) =
        (&fault, shared.guests.iter().find(|guest| guest.is_host()))
    {
        // Their packets do not pass here.
        return Err(Error::Host(host.name.clone()));
    }
    match fault {
        Fault::Link { node, up } => shared.known(&node)?.set_link(up),
        Fault::Loss(loss) => links.change(|faults| faults.loss = loss),
        Fault::Delay(delay) => links.change(|faults| faults.delay = delay),
        Fault::Partition(a, b) => {
            shared.known(&a)?;
            shared.known(&b)?;
            if a == b {
                let text = format!("a partition is between two nodes, not `{a}` and itself");
                return Err(Error::BadOption(text));
            }
            links.change(|faults| faults.part(&a, &b))
        }
        Fault::Clear => {
            links.change(|faults| *faults = LinkFaults::default())?;
            let left = shared.guests.iter();
            let left = left.filter(|guest| !guest.is_host());
            for guest in left.filter(|guest| !matches!(guest.state(), NodeState::Gone(_))) {
                guest.set_link(true)?;
                guest.resume()?;
            }
            Ok(())
        }
        Fault::Pause(node) => shared.known(&node)?.pause(),
        Fault::Resume(node) => shared.known(&node)?.resume(),
        Fault::Kill(node) => {
            shared.known(&node)?;
            let index = shared.guests.iter().position(|other| other.name == node);
            // Only the main thread knows for certain whose a process id is.
            let (done, killed) = channel();
            let _ = events.send(Event::Kill(index.unwrap_or_default(), done));
            // A supervisor that ends kills them all.
            let _ = killed.recv();
            Ok(())
        }
        Fault::Reset(node) => shared.known(&node)?.reset(shared.boot_deadline),
    }
}

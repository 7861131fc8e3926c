//! The command line of `fault`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;
use rapidswap_vm::Percent;

use crate::args::duration;
use crate::complete;

/// What can be made to go wrong.
#[derive(Debug, Subcommand)]
pub enum Fault {
    /// Pull a node's cable out, or plug it in again.
    Link {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        /// Which of the two.
        state: LinkState,
    },
    /// Lose a share of all packets on the links.
    Loss {
        /// Such as 1%; 0% for none.
        share: Percent,
    },
    /// Have every packet on the links arrive later.
    Delay {
        /// Such as 5ms; 0s for none.
        #[arg(value_parser = duration)]
        time: Duration,
    },
    /// Let no packet pass between two nodes.
    Partition {
        /// One of them.
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        a: String,
        /// The other.
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        b: String,
    },
    /// End all faults of the links, and let paused nodes go on.
    Clear,
    /// Stop a node's processors.
    Pause {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Let a paused node's processors go on.
    Resume {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// End a node's machine at once, for good.
    Kill {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Reset a node's machine, and wait until it is back with its link.
    Reset {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
}

/// How a node's cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkState {
    /// Pulled out.
    Down,
    /// Plugged in.
    Up,
}

impl From<Fault> for rapidswap_vm::Fault {
    fn from(fault: Fault) -> rapidswap_vm::Fault {
        use rapidswap_vm::Fault as To;
        match fault {
            Fault::Link { node, state } => To::Link {
                node,
                up: state == LinkState::Up,
            },
            Fault::Loss { share } => To::Loss(share),
            Fault::Delay { time } => To::Delay(time),
            Fault::Partition { a, b } => To::Partition(a, b),
            Fault::Clear => To::Clear,
            Fault::Pause { node } => To::Pause(node),
            Fault::Resume { node } => To::Resume(node),
            Fault::Kill { node } => To::Kill(node),
            Fault::Reset { node } => To::Reset(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use rapidswap_vm::Fault as To;

    use crate::args::{Args, Command};

    /// What a command line asks for.
    fn asked(line: &str) -> To {
        let words = ["rapidswap", "fault"].into_iter().chain(line.split(' '));
        match Args::try_parse_from(words).expect(line).command {
            Command::Fault(fault) => fault.into(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_command_asks_for_its_own_fault() {
        let node = || "server".to_owned();
        let link = |up| To::Link { node: node(), up };
        let share = "1.5%".parse().expect("a share");
        for (line, fault) in [
            ("link server up", link(true)),
            ("link server down", link(false)),
            ("loss 1.5%", To::Loss(share)),
            ("delay 5ms", To::Delay(Duration::from_millis(5))),
            (
                "partition client server",
                To::Partition("client".into(), node()),
            ),
            ("clear", To::Clear),
            ("pause server", To::Pause(node())),
            ("resume server", To::Resume(node())),
            ("kill server", To::Kill(node())),
            ("reset server", To::Reset(node())),
        ] {
            assert_eq!(asked(line), fault, "{line}");
        }
    }
}

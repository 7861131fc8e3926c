use std::io;
use std::time::Duration;

/// Why an operation on a node did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream to the agent ended or broke.
    #[error("the connection to the agent is gone")]
    Gone,
    /// No agent answered in time.
    #[error("no answer from the agent within {0:?}; look at the node's console")]
    NoHello(Duration),
    /// The agent was built from other sources.
    #[error("the agent speaks protocol version {agent}, this program {host}; rebuild both")]
    Version {
        /// The version the agent speaks.
        agent: u16,
        /// The version this crate speaks.
        host: u16,
    },
    /// The agent tried and failed.
    #[error("{message}")]
    Remote {
        /// The `errno` of the failed call in the node, 0 where there was none.
        errno: i32,
        /// What failed, and why.
        message: String,
    },
    /// Reading what is to be pushed, or storing what was pulled, failed on
    /// this side.
    #[error("cannot {action}")]
    Local {
        /// What failed.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The command line and environment together are longer than the agent
    /// takes.
    #[error("a command line of {0} bytes is too long; pass the data in a file")]
    TooLong(usize),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error {
            Error::Gone => io::ErrorKind::ConnectionAborted,
            Error::NoHello(_) => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

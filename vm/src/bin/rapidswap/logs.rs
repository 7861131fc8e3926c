//! What a node's kernel says.

use std::io::{self, Write};

use rapidswap_vm::{Error, Node};

/// Prints a node's console and, to `follow`, what comes after, until the node
/// or the cluster ends or nobody reads it any more.
pub fn print(node: &Node, follow: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let printed = node.follow(None, |bytes| {
        out.write_all(bytes)?;
        out.flush()?;
        anyhow::Ok((!follow).then_some(()))
    });
    match printed {
        Err(error) if !has_ended(&error) && !is_unread(&error) => Err(error),
        _ => Ok(()),
    }
}

fn has_ended(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<Error>();
    error.is_some_and(|error| matches!(error, Error::NoCluster(_)))
}

fn is_unread(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

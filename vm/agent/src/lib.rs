//! What a host needs to boot a VM on the agent: the initramfs around it.

mod cpio;

pub use cpio::initramfs;

//! How kernels report their faults.

use super::SplatKind;

/// Which texts, where in a message, make which sort. The first that fits
/// counts, so the more specific come first.
pub(super) const FORMS: &[(SplatKind, Place, &str)] = {
    use Place::{Anywhere, Start};
    use SplatKind::*;
    &[
        (RustPanic, Start, "rust_kernel: panicked"),
        (Kasan, Start, "BUG: KASAN:"),
        (Sanitizer, Start, "BUG: KCSAN:"),
        (Sanitizer, Start, "BUG: KMSAN:"),
        (Sanitizer, Start, "BUG: KFENCE:"),
        (Ubsan, Start, "UBSAN:"),
        (Sanitizer, Start, "kmemleak: unreferenced object"),
        (
            Locking,
            Start,
            "BUG: sleeping function called from invalid context",
        ),
        (Locking, Start, "BUG: scheduling while atomic"),
        (Locking, Start, "BUG: Invalid wait context"),
        (Locking, Start, "[ BUG: Invalid wait context ]"),
        (Locking, Start, "BUG: spinlock"),
        (
            Locking,
            Start,
            "WARNING: possible circular locking dependency",
        ),
        (Locking, Start, "WARNING: possible recursive locking"),
        (Locking, Start, "WARNING: possible irq lock inversion"),
        (Locking, Start, "WARNING: inconsistent lock state"),
        (Locking, Start, "WARNING: bad unlock balance"),
        (Locking, Start, "WARNING: held lock freed"),
        (
            Locking,
            Start,
            "WARNING: lock held when returning to user space",
        ),
        (Locking, Start, "WARNING: suspicious RCU usage"),
        (Locking, Start, "WARNING: Nested lock was not taken"),
        (Locking, Start, "WARNING: HARDIRQ-"),
        (Locking, Start, "WARNING: SOFTIRQ-"),
        (Locking, Start, "INFO: trying to register non-static key"),
        (Locking, Start, "DEBUG_LOCKS_WARN_ON"),
        (RcuStall, Anywhere, "detected stall"),
        (RcuStall, Anywhere, "self-detected stall on CPU"),
        (RcuStall, Anywhere, "detected expedited stalls"),
        (HungTask, Anywhere, "blocked for more than"),
        (OutOfMemory, Start, "Out of memory"),
        (Panic, Start, "Kernel panic - not syncing"),
        (Lockup, Start, "watchdog: BUG: soft lockup"),
        (Lockup, Start, "watchdog: Watchdog detected hard LOCKUP"),
        (Lockup, Start, "BUG: workqueue lockup"),
        (Warning, Start, "WARNING:"),
        (Bug, Start, "kernel BUG at"),
        (Bug, Start, "BUG:"),
        // Of SLUB: the cache's name, and what is wrong with it.
        (Bug, Start, "BUG "),
        (Bug, Start, "watchdog: BUG:"),
        (Bug, Start, "Bad page state"),
        // Of mm/swapfile.c, behind the name of a function.
        (Bug, Anywhere, ": Bad swap file entry "),
        (Bug, Anywhere, ": Bad swap offset entry "),
        (Bug, Anywhere, ": Unused swap file entry "),
        (Bug, Anywhere, ": Unused swap offset entry "),
        (Bug, Start, "list_add corruption"),
        (Bug, Start, "list_del corruption"),
        (Bug, Start, "refcount_t:"),
        (Bug, Start, "unregister_netdevice: waiting for"),
        (Oops, Start, "Oops"),
        (Oops, Start, "general protection fault"),
        (Oops, Start, "stack segment:"),
        (Oops, Start, "invalid opcode:"),
        (Oops, Start, "divide error:"),
        (Oops, Start, "double fault:"),
        (Oops, Start, "PANIC: double fault"),
        (Oops, Start, "Unable to handle kernel"),
        (Oops, Start, "int3:"),
    ]
};

#[derive(Clone, Copy)]
pub(super) enum Place {
    /// The message begins with it.
    Start,
    /// It is somewhere in the message.
    Anywhere,
}

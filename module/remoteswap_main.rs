// SPDX-License-Identifier: GPL-2.0-only

//! Swap to another machine's memory over RDMA: the client.
//!
//! A backend of `mm/remote_swap.c` that moves pages with one-sided READs and WRITEs, over a load
//! queue pair and a store queue pair. What they do together is a session; see [`session`].
//!
//! Lock order, outermost first. A spinlock is never held while anything sleeps, and all of them
//! are taken in process context only, completions included:
//!
//! 1. the core's attach mutex (attach, detach), or `Selftest::latencies`
//! 2. `Session::progress`, a mutex: the session's worker, and the module's exit
//! 3. `AreaCell::area`, a mutex
//! 4. the connection manager's and the verbs' own, and the core's area lock
//! 5. `Stores::path`, `Loads::state`: spinlocks, never one inside the other; posting is done under
//!    them, so that who closes them knows that nobody posts
//! 6. `Pool::order`, a spinlock, and inside it the driver's own of the queue pair
//! 7. `Session::why`, `Session::dialing`, `Heartbeat::state`, `Answer::result`, `Mailbox::mail`: innermost spinlocks
//!
//! Allocation: at load, by the session's worker in a `NoReclaim` scope, by the self-test, and when
//! the module goes and no area is attached. Stores, loads and completions allocate nothing.

use kernel::prelude::*;

#[deny(unsafe_code)]
mod clock;
#[deny(unsafe_code)]
mod complaint;
#[deny(unsafe_code)]
mod config;
#[deny(unsafe_code)]
mod control;
#[deny(unsafe_code)]
mod dial;
#[deny(unsafe_code)]
mod driver;
#[deny(unsafe_code)]
mod errno;
#[deny(unsafe_code)]
mod heartbeat;
#[deny(unsafe_code)]
mod latency;
#[deny(unsafe_code)]
mod link;
#[deny(unsafe_code)]
mod load;
#[deny(unsafe_code)]
mod map;
#[deny(unsafe_code)]
mod session;
#[deny(unsafe_code)]
mod status;
#[deny(unsafe_code)]
mod store;
mod verbs;

/// What needs no kernel, shared with the memory server and tested on the host.
#[allow(dead_code, unreachable_pub)]
#[deny(unsafe_code)]
mod logic {
    #[path = "src/backlog.rs"]
    pub(crate) mod backlog;
    #[path = "src/bitmap.rs"]
    pub(crate) mod bitmap;
    #[path = "src/credits.rs"]
    pub(crate) mod credits;
    #[path = "src/fifo.rs"]
    pub(crate) mod fifo;
    #[path = "src/histogram.rs"]
    pub(crate) mod histogram;
    #[path = "src/send_queue.rs"]
    pub(crate) mod send_queue;
    #[path = "src/session.rs"]
    pub(crate) mod session;
    #[path = "src/size.rs"]
    pub(crate) mod size;
    #[path = "src/slots.rs"]
    pub(crate) mod slots;
    #[path = "src/wire.rs"]
    pub(crate) mod wire;
}

use verbs::debugfs::Directory;
use verbs::singleton::Installed;
use verbs::swap::Registration;

module! {
    type: RemoteSwap,
    name: "remoteswap",
    author: "Rapidswap developers",
    description: "Swap to another machine's memory over RDMA",
    license: "GPL v2",
}

/// The loaded module. Its parts go in the order they stand in: first nobody can ask for anything
/// any more, then the session ends, and last goes what all of them refer to.
struct RemoteSwap {
    _files: Directory,
    _backend: Registration,
    _session: session::Running,
    _driver: Installed<driver::Driver>,
}

impl kernel::Module for RemoteSwap {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let config = config::Config::from_params()?;
        let driver = driver::install(config)?;
        let session = session::Running::start();
        let backend = Registration::new::<driver::Driver>(module).inspect_err(|error| {
            if *error == EBUSY {
                pr_err!(
                    "cannot be the swap backend (error {}): unload the one that is there, see /sys/kernel/mm/remote_swap/backend\n",
                    error.to_errno()
                );
            }
        })?;
        Ok(RemoteSwap {
            _files: Directory::new(),
            _backend: backend,
            _session: session,
            _driver: driver,
        })
    }
}

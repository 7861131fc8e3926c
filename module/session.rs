// SPDX-License-Identifier: GPL-2.0-only

//! What connects, keeps and ends the two queue pairs.
//!
//! [`logic::session`](crate::logic::session) decides, the worker here carries out: it alone makes
//! and destroys queue pairs. Anybody may call [`fail`], which only wakes it. Whatever went wrong,
//! there is one way down: no more posting, both queue pairs to the error state, wait until the
//! adapter has given back every request. By then each store has ended, with an error if need be,
//! and each load waits.
//!
//! The queue pairs are destroyed when the next session is up; see [`Ended`].
//!
//! Locks: `Session::progress`, a mutex held by the worker while it sleeps, and `Session::why`, an
//! innermost spinlock. The worker allocates, in a scope that never starts reclaim. The ticker
//! neither sleeps nor allocates, and has a workqueue of its own so that deadlines are kept while
//! the worker waits for a connection.

use crate::clock::now_ms;
use crate::complaint::Complaint;
use crate::config::Config;
use crate::control::{self, Control};
use crate::dial::{dial, Line};
use crate::driver::{self, Driver};
use crate::heartbeat::Heartbeat;
use crate::link::{Ended, Link};
use crate::load;
use crate::logic::session::{Action, Event, Lease, Session as Machine};
use crate::logic::wire::{Req, Role, RELEASED};
use crate::map::{Map, Path};
use crate::status::Shown;
use crate::store;
use crate::verbs;
use crate::verbs::mail::{Alarm, Mailbox};
use crate::verbs::pool::Pool;
use crate::verbs::reclaim::NoReclaim;
use crate::verbs::scratch::Scratch;
use crate::verbs::work::Delayed;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_mutex, new_spinlock, Arc, Mutex, SpinLock};

/// How often deadlines are looked at.
const TICK_MS: u32 = 100;

struct Progress {
    machine: Machine,
    client_id: u64,
    link: Link,
    ended: Ended,
    // What was last complained of while there was no session.
    said: Option<Complaint>,
}

#[derive(Default)]
struct Dialing {
    mailbox: Option<Arc<Mailbox>>,
    stopping: bool,
}

/// The connection to the server.
#[pin_data]
pub(crate) struct Session {
    #[pin]
    worker: Delayed,
    #[pin]
    ticker: Delayed,
    // Whose answer the worker waits for.
    #[pin]
    dialing: SpinLock<Dialing>,
    // A device of ours goes away.
    removal: AtomicBool,
    pub(crate) control: Arc<Pool<Control>>,
    #[pin]
    pub(crate) heartbeat: Heartbeat,
    #[pin]
    progress: Mutex<Progress>,
    // Why the present session is to end.
    #[pin]
    why: SpinLock<Option<Complaint>>,
    pub(crate) shown: Shown,
}

impl Session {
    /// None yet, and none until [`Running::start`].
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            worker <- Delayed::new(kernel::c_str!("remoteswap_session"), work),
            ticker <- Delayed::new(kernel::c_str!("remoteswap_tick"), tick),
            dialing <- new_spinlock!(Dialing::default(), "remoteswap_dialing"),
            removal: AtomicBool::new(false),
            control: Pool::new(control::DEPTH)?,
            heartbeat <- Heartbeat::new(),
            progress <- new_mutex!(
                Progress {
                    machine: Machine::new(now_ms()),
                    client_id: verbs::random(),
                    link: Link::default(),
                    ended: Ended::new(),
                    said: None,
                },
                "remoteswap_progress"
            ),
            why <- new_spinlock!(None, "remoteswap_why"),
            shown: Shown::new(),
        })
    }

    fn fail(&self, complaint: Complaint) {
        let mut why = self.why.lock();
        // The first is the cause, the rest are its effects.
        if why.is_none() {
            *why = Some(complaint);
        }
        drop(why);
        self.worker.schedule(0);
    }

    fn work(&self, driver: &Driver) {
        let _scope = NoReclaim::enter();
        let mut progress = self.progress.lock();
        let why = self.why.lock().take();
        if let Some(why) = why {
            if progress.machine.is_up() {
                let number = progress.machine.number();
                pr_warn!("session {number} lost: {why}; swapping to the device until it is back\n");
                progress.said = Some(why);
            }
            self.advance(driver, &mut progress, Event::Failed);
        }
        if self.removal.swap(false, Ordering::Relaxed) {
            progress.ended.clear();
        }
        self.advance(driver, &mut progress, Event::Tick);
        if let Some(at) = progress.machine.wake_at() {
            let pause = at.saturating_sub(now_ms());
            // Somebody may have asked for it meanwhile.
            self.worker
                .schedule_if_idle(pause.min(u64::from(u32::MAX)) as u32);
        }
    }

    /// Feeds the machine, and what comes of what it says, until it has nothing more to say.
    fn advance(&self, driver: &Driver, progress: &mut Progress, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            let action = progress.machine.on(event, now_ms());
            self.shown.set_state(progress.machine.name());
            next = match self.act(driver, progress, action) {
                Ok(event) => event,
                Err(complaint) => {
                    self.complain(driver, progress, complaint);
                    Some(Event::Failed)
                }
            };
        }
    }

    fn act(
        &self,
        driver: &Driver,
        progress: &mut Progress,
        action: Action,
    ) -> Result<Option<Event>, Complaint> {
        let timeout_ms = driver.config.store_timeout_ms;
        match action {
            Action::None | Action::Finished => Ok(None),
            Action::Connect => {
                let depth = load::DEPTH + control::DEPTH;
                let line = self.dial(driver, progress, Role::Load, depth)?;
                if usize::from(line.reads) <= control::READS {
                    return Err(Complaint::NoReads);
                }
                let lease = lease_of(&line);
                progress.link.load = Some(line);
                Ok(Some(Event::LoadUp(lease)))
            }
            Action::ReadTable => {
                let session = progress.machine.number();
                if let Some(line) = &progress.link.load {
                    let map = Map::read(&self.control, &line.qp, &line.rep, session, timeout_ms)?;
                    progress.link.map = Some(map);
                }
                Ok(Some(Event::TableRead))
            }
            Action::JoinStore => {
                let line = self.dial(driver, progress, Role::Store, store::DEPTH)?;
                if progress.link.load.as_ref().map(lease_of) != Some(lease_of(&line)) {
                    return Err(Complaint::TwoLeases);
                }
                progress.link.store = Some(line.qp);
                Ok(Some(Event::StoreUp))
            }
            Action::Open { lose } => {
                self.open(driver, progress, lose);
                Ok(None)
            }
            Action::TearDown { release } => {
                // A session that is broken tells nobody anything.
                if release && self.why.lock().is_none() {
                    self.release(&progress.link, timeout_ms);
                }
                self.tear_down(driver, progress);
                Ok(Some(Event::Drained))
            }
        }
    }

    fn dial(
        &self,
        driver: &Driver,
        progress: &Progress,
        role: Role,
        depth: usize,
    ) -> Result<Line, Complaint> {
        let mailbox = Arc::pin_init(Mailbox::new(alarm), GFP_KERNEL)
            .map_err(|error| Complaint::Verbs("making a mailbox", error))?;
        let mut dialing = self.dialing.lock();
        if dialing.stopping {
            return Err(Complaint::Cancelled);
        }
        let _last = dialing.mailbox.replace(mailbox.clone());
        drop(dialing);
        let req = Req {
            role,
            client_id: progress.client_id,
            session: progress.machine.number(),
            wanted_bytes: driver.config.wanted,
        };
        let until = progress.machine.wake_at().unwrap_or(0);
        let left = until.saturating_sub(now_ms()).min(u64::from(u32::MAX)) as u32;
        dial(&driver.config, &mailbox, &req, depth, left)
    }

    fn open(&self, driver: &Driver, progress: &mut Progress, lose: bool) {
        let (Some(line), Some(map), Some(store)) = (
            &progress.link.load,
            &progress.link.map,
            &progress.link.store,
        ) else {
            // The machine asks for each of them before it opens.
            return;
        };
        if lose {
            // Nothing is in flight: the last session's requests are all back, and this one has
            // none yet.
            driver.loads.lose();
            driver.area.lose();
        }
        let Config { ip, port, .. } = &driver.config;
        let (number, pages) = (progress.machine.number(), map.pages());
        pr_info!("session {number} with {ip}:{port} is up, {pages} pages\n");
        self.shown.set_session(line.rep.epoch, pages);
        progress.said = None;
        driver.area.serve(pages);
        driver.stores.open(Path::new(store, map));
        let window = usize::from(line.reads).min(load::DEPTH) - control::READS;
        driver.loads.open(
            Path::new(&line.qp, map),
            window,
            driver.config.store_timeout_ms,
        );
        // Packets go out, so those of the sessions before have.
        progress.ended.clear();
    }

    fn tear_down(&self, driver: &Driver, progress: &mut Progress) {
        driver.stores.close();
        driver.loads.close();
        let link = mem::take(&mut progress.link);
        let ids = link.ids();
        let link = match link.end() {
            Ok(()) => Some(link),
            Err(error) => {
                let error = error.to_errno();
                pr_warn!("a queue pair could not be ended (error {error}) and is destroyed\n");
                // Until then the adapter may still move what it has not given back.
                drop(link);
                None
            }
        };
        driver.stores.drained();
        driver.loads.drained();
        self.control.abandon();
        drop(ids);
        if let Some(link) = link {
            progress.ended.put(link);
        }
        // What failed meanwhile did so because of this.
        self.why.lock().take();
    }

    /// Tells the server that it need not keep our pages any longer.
    fn release(&self, link: &Link, timeout_ms: u32) {
        let (Some(line), Some(map)) = (&link.load, &link.map) else {
            return;
        };
        let what = "WRITE that gives the lease back";
        let told = Scratch::new()
            .and_then(|mut scratch| {
                scratch.write(&RELEASED.to_le_bytes())?;
                Ok(scratch)
            })
            .map_err(|error| Complaint::Verbs(what, error))
            .and_then(|scratch| {
                let route = map.release_route();
                control::ask(&self.control, &line.qp, route, scratch, what, timeout_ms)
            });
        if let Err(complaint) = told {
            pr_warn!("the server was not told that its memory is free again: {complaint}; it keeps it for its time of grace\n");
        }
    }

    /// Says why there is no session, each time that it is something else.
    fn complain(&self, driver: &Driver, progress: &mut Progress, complaint: Complaint) {
        if complaint != Complaint::Cancelled && progress.said != Some(complaint) {
            let Config { ip, port, .. } = &driver.config;
            pr_warn!("no session with {ip}:{port}: {complaint}; trying again for as long as the module is loaded\n");
            progress.said = Some(complaint);
        }
    }

    fn tick(&self, driver: &Driver) {
        let now = now_ms();
        let config = &driver.config;
        let overdue = |due: Option<u64>| due.is_some_and(|due| due < now);
        // Whoever held them back may have been kept from it since, and they are late otherwise.
        driver.stores.commit();
        if overdue(driver.stores.first_due()) {
            self.fail(Complaint::Overdue("store"));
        } else if overdue(self.control.first_due()) {
            self.fail(Complaint::Overdue("READ of the module's own"));
        } else if overdue(driver.loads.first_due()) {
            self.fail(Complaint::Overdue("load"));
        }
        driver.loads.expire(now);
        driver.loads.pump();
        self.heartbeat.beat(
            &driver.loads,
            &self.control,
            now,
            config.keepalive_ms,
            config.store_timeout_ms,
        );
        self.ticker.schedule(TICK_MS);
    }

    fn stop(&self, driver: &Driver) {
        let mut dialing = self.dialing.lock();
        dialing.stopping = true;
        let mailbox = dialing.mailbox.take();
        drop(dialing);
        if let Some(mailbox) = mailbox {
            mailbox.cancel();
        }
        self.ticker.stop();
        self.worker.stop();
        let mut progress = self.progress.lock();
        self.advance(driver, &mut progress, Event::Stop);
        progress.ended.clear();
    }
}

fn lease_of(line: &Line) -> Lease {
    Lease {
        epoch: line.rep.epoch,
        lease: line.rep.lease,
    }
}

/// Something is wrong with the present session, if there is one. May be called from anywhere.
pub(crate) fn fail(complaint: Complaint) {
    if let Some(driver) = driver::get() {
        driver.session.fail(complaint);
    }
}

fn alarm(alarm: Alarm) {
    match alarm {
        Alarm::Lost(name) => fail(Complaint::Lost(name, 0)),
        Alarm::Removal => {
            if let Some(driver) = driver::get() {
                driver.session.removal.store(true, Ordering::Relaxed);
                driver.session.worker.schedule(0);
            }
        }
    }
}

fn work() {
    if let Some(driver) = driver::get() {
        driver.session.work(driver);
    }
}

fn tick() {
    if let Some(driver) = driver::get() {
        driver.session.tick(driver);
    }
}

/// The session is being kept, until this is dropped: then all of it is gone.
pub(crate) struct Running(());

impl Running {
    /// From here on.
    pub(crate) fn start() -> Running {
        if let Some(driver) = driver::get() {
            driver.session.worker.schedule(0);
            driver.session.ticker.schedule(TICK_MS);
        }
        Running(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(driver) = driver::get() {
            driver.session.stop(driver);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! The module's parts, together, and what the swap core asks of them.
//!
//! Takes no lock of its own. Allocates at load only.

use crate::config::Config;
use crate::load::Loads;
use crate::session::Session;
use crate::status::Selftest;
use crate::store::Stores;
use crate::verbs::singleton::{Installed, Singleton};
use crate::verbs::swap::{AreaCell, Backend, Declined, Failed, LoadTicket, StoreTicket};
use kernel::prelude::*;

/// Everything.
#[pin_data]
pub(crate) struct Driver {
    pub(crate) config: Config,
    #[pin]
    pub(crate) area: AreaCell,
    #[pin]
    pub(crate) stores: Stores,
    #[pin]
    pub(crate) loads: Loads,
    #[pin]
    pub(crate) session: Session,
    #[pin]
    pub(crate) selftest: Selftest,
}

static DRIVER: Singleton<Driver> = Singleton::new();

/// Makes the driver, which does nothing yet.
pub(crate) fn install(config: Config) -> Result<Installed<Driver>> {
    let driver = KBox::try_pin_init(
        try_pin_init!(Driver {
            config,
            area <- AreaCell::new(),
            stores <- Stores::new(config.store_depth),
            loads <- Loads::new(),
            session <- Session::new(),
            selftest <- Selftest::new(),
        }? Error),
        GFP_KERNEL,
    )?;
    Ok(DRIVER.install(driver))
}

/// The driver, for callbacks.
pub(crate) fn get() -> Option<&'static Driver> {
    DRIVER.get()
}

impl Backend for Driver {
    fn instance() -> Option<&'static Driver> {
        get()
    }

    fn area(&self) -> &AreaCell {
        &self.area
    }

    fn attached(&self, slots: u64) -> Option<u64> {
        let pages = self.session.shown.capacity();
        if pages == 0 {
            pr_info!("area of {slots} slots attached; no server yet, so it is swapped to its device until there is one\n");
        } else if pages < slots {
            pr_info!("area of {slots} slots attached; the server has room for {pages}, the rest is swapped to the device\n");
        }
        (pages != 0).then_some(pages)
    }

    fn store(&self, ticket: StoreTicket) -> Result<(), Declined> {
        self.stores.take(ticket, self.config.store_timeout_ms)
    }

    fn commit(&self) {
        self.stores.commit();
        self.loads.pump();
    }

    fn load(&self, ticket: LoadTicket) -> Result<(), Failed> {
        self.loads.accept(ticket, self.config.load_timeout_ms)
    }
}

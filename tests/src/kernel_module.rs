//! Modules of the nodes' kernel, from the shared directory.

use anyhow::{Context, Result};

use crate::guest::Guest;

/// Loads a module with parameters, and before it those that it names itself
/// as needed: there is no list of modules in the nodes that `modprobe` could
/// read. One that is loaded or built in stays as it is.
pub fn load(guest: &Guest, module: &str, parameters: &str) -> Result<()> {
    let script = format!(
        "load() {{\n\
         \tif [ -d /sys/module/$(echo $1 | tr - _) ]; then return; fi\n\
         \tlocal file=/rapidswap/modules/$1.ko needed\n\
         \tfor needed in $(modinfo -F depends $file | tr , ' '); do load $needed; done\n\
         \tshift\n\
         \tinsmod $file \"$@\"\n\
         }}\n\
         load {module} {parameters}"
    );
    let loaded = guest.sh(&script).map(drop);
    loaded.with_context(|| format!("load {module}"))
}

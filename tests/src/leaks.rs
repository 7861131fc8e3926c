//! Memory of a kernel that nothing points to any more, found by kmemleak.

use anyhow::Result;

use crate::guest::Guest;

const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";
const VERBOSE: &str = "/sys/module/kmemleak/parameters/verbose";

/// Has kmemleak look, and say on the console what it finds. It looks twice,
/// because it takes what it never saw before for something that is still being
/// changed; what is younger than 5 s it leaves for the next time.
pub fn look(guest: &Guest) -> Result<()> {
    guest.write(VERBOSE, "Y")?;
    for _ in 0..2 {
        guest.write(KMEMLEAK, "scan")?;
    }
    Ok(())
}

//! The lines of a kernel's log that report a fault: a run in which one appears
//! has failed, whatever its exit status.

mod forms;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::console::occasion::Occasion;
use forms::{FORMS, Place};

/// A line on a console that reports a fault of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Splat {
    /// The node whose console it is on.
    pub node: String,
    /// Its line number, from 1.
    pub line: usize,
    /// What sort of fault.
    pub kind: SplatKind,
    /// The line without its time stamp.
    pub text: String,
    /// During which test, by the marks in the same log.
    pub occasion: Occasion,
}

/// Faults that one line names; the console has the others.
const NAMED: usize = 3;

impl Splat {
    /// The first few of them, and how many more there are.
    pub fn named(faults: &[Splat]) -> Vec<String> {
        let mut named: Vec<String> = faults.iter().take(NAMED).map(Splat::to_string).collect();
        let more = faults.len().saturating_sub(NAMED);
        if more > 0 {
            named.push(format!("{more} more faults"));
        }
        named
    }
}

impl fmt::Display for Splat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Splat {
            node,
            line,
            kind,
            text,
            occasion,
        } = self;
        write!(f, "{kind} on {node} {occasion}, line {line}: {text}")
    }
}

/// Sorts of kernel faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplatKind {
    /// `WARN()` and its relatives.
    Warning,
    /// A failed assertion, a bad access.
    Bug,
    /// A processor that does one thing and nothing else.
    Lockup,
    /// Reported by the lock validator or the atomic-sleep check.
    Locking,
    /// Reported by KASAN.
    Kasan,
    /// Reported by UBSAN.
    Ubsan,
    /// Reported by KCSAN, KMSAN, KFENCE or kmemleak.
    Sanitizer,
    /// A processor exception in the kernel.
    Oops,
    /// A task that has been blocked for too long.
    HungTask,
    /// A grace period that does not end.
    RcuStall,
    /// A program was killed because the whole node had no memory left; what a
    /// memory group kills at its limit is none.
    OutOfMemory,
    /// A panic in Rust code.
    RustPanic,
    /// The kernel gave up.
    Panic,
}

impl fmt::Display for SplatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SplatKind::Warning => "warning",
            SplatKind::Bug => "bug",
            SplatKind::Lockup => "lockup",
            SplatKind::Locking => "locking fault",
            SplatKind::Kasan => "KASAN report",
            SplatKind::Ubsan => "UBSAN report",
            SplatKind::Sanitizer => "sanitizer report",
            SplatKind::Oops => "oops",
            SplatKind::HungTask => "hung task",
            SplatKind::RcuStall => "RCU stall",
            SplatKind::OutOfMemory => "out of memory",
            SplatKind::RustPanic => "Rust panic",
            SplatKind::Panic => "panic",
        })
    }
}

/// What a console's line reports, if it is the kernel's and reports a fault.
pub fn classify(line: &str) -> Option<(SplatKind, &str)> {
    let message = kernel_message(line)?;
    let fits = |place: Place, text: &str| match place {
        Place::Start => message.starts_with(text),
        Place::Anywhere => message.contains(text),
    };
    let form = FORMS.iter().find(|(_, place, text)| fits(*place, text));
    form.map(|(kind, ..)| (*kind, message))
}

/// The message behind the kernel's time stamp, and its thread where the
/// kernel prints callers: `[   12.345678][  T123] text`.
pub(crate) fn kernel_message(line: &str) -> Option<&str> {
    // A program may have left the cursor in the middle of a line, and brackets
    // in what it wrote.
    let starts = line.match_indices('[').map(|(start, _)| start);
    starts
        .filter_map(|start| after_stamp(&line[start..]))
        .next()
}

fn after_stamp(text: &str) -> Option<&str> {
    let (stamp, mut rest) = text.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim_start().split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(micros) {
        return None;
    }
    if let Some((caller, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let caller = caller.trim_start();
        if caller.starts_with(['T', 'C']) && digits(&caller[1..]) {
            rest = after;
        }
    }
    Some(rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(line: &str) -> Option<SplatKind> {
        classify(line).map(|(kind, _)| kind)
    }

    #[test]
    fn the_kernels_own_forms_are_found() {
        use SplatKind::*;
        for (line, expected) in [
            (
                "[    1.000000] WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:1 f+0x1/0x2",
                Warning,
            ),
            (
                "[    1.000000][   T12] BUG: Bad page state in process x  pfn:1",
                Bug,
            ),
            (
                "[    1.000000] BUG: kernel NULL pointer dereference, address: 0",
                Bug,
            ),
            ("[    1.000000] kernel BUG at mm/swapfile.c:100!", Bug),
            (
                "[    1.000000] _swap_info_get: Unused swap offset entry 00001a2b",
                Bug,
            ),
            (
                "[    1.000000] get_swap_device: Bad swap file entry 3ffffffffffff",
                Bug,
            ),
            (
                "[    1.000000] BUG kmalloc-64 (Not tainted): Poison overwritten",
                Bug,
            ),
            (
                "[   10.000000] WARNING: possible circular locking dependency detected",
                Locking,
            ),
            (
                "[   10.000000] BUG: sleeping function called from invalid context at x",
                Locking,
            ),
            (
                "[   10.000000] INFO: trying to register non-static key.",
                Locking,
            ),
            (
                "[  240.000000] INFO: task swapper:12 blocked for more than 120 seconds.",
                HungTask,
            ),
            (
                "[   60.000000] Out of memory: Killed process 64 (server) total-vm:206624kB",
                OutOfMemory,
            ),
            (
                "[   60.000000] rcu: INFO: rcu_sched self-detected stall on CPU",
                RcuStall,
            ),
            (
                "[   60.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
                RcuStall,
            ),
            (
                "[    2.000000] rust_kernel: panicked at module/x.rs:1:1:",
                RustPanic,
            ),
            (
                "[    2.000000] Oops: general protection fault, probably for non-c",
                Oops,
            ),
            (
                "[    2.000000] general protection fault: 0000 [#1] PREEMPT SMP",
                Oops,
            ),
            ("[    2.000000] Oops: 0000 [#1] PREEMPT SMP NOPTI", Oops),
            (
                "[    2.000000] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
                Kasan,
            ),
            (
                "[    2.000000] UBSAN: array-index-out-of-bounds in drivers/x.c:1:2",
                Ubsan,
            ),
            (
                "[   90.000000] kmemleak: unreferenced object 0xffff888004a9c000 (size 256):",
                Sanitizer,
            ),
            (
                "[    2.000000] Kernel panic - not syncing: Fatal exception",
                Panic,
            ),
            (
                "[   30.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [x:1]",
                Lockup,
            ),
            (
                "some program$ [    1.000000] WARNING: CPU: 0 PID: 1 at x",
                Warning,
            ),
            (
                "[info] half a line [x[    1.000000] WARNING: CPU: 0 PID: 1 at x",
                Warning,
            ),
        ] {
            assert_eq!(kind(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_programs_do_is_no_kernel_fault() {
        for line in [
            "[    9.000000] traps: prog[77] general protection fault ip:40 sp:7f error:0 in prog",
            "[    9.000000] prog[77]: segfault at 0 ip 000 sp 000 error 4 in prog[400000+1000]",
            "WARNING: this is a program's own",
            "[INFO] BUG: a program's log",
            "[    9.000000] EXT4-fs (vda): mounted filesystem",
            "[    9.000000] kmemleak:   backtrace (crc 5fbd3a2e):",
            "[    9.000000] process 77 (prog) attempted a POSIX timer syscall",
            "[    9.000000] Memory cgroup out of memory: Killed process 77 (prog)",
        ] {
            assert_eq!(kind(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".{0,80}") {
            let _ = classify(&line);
        }

        #[test]
        fn a_warning_is_found_behind_any_stamp(seconds in 0u32.., micros in 0u32..1_000_000) {
            let line = format!("[{seconds:5}.{micros:06}] WARNING: x");
            prop_assert_eq!(kind(&line), Some(SplatKind::Warning));
        }
    }
}

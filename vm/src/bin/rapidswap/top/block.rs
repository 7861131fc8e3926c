//! An interval as plain text.

use std::fmt::Write;

use rapidswap_vm::swap::latency::time;
use rapidswap_vm::{Activity, Memory, Rates, human_readable};

/// One block of lines.
pub fn text(activity: &Activity) -> String {
    let mut text = headline(activity) + "\n";
    if let Some(client) = &activity.client {
        for (name, rate) in rates(&client.per_second) {
            // A string takes any text.
            let _ = writeln!(text, "  {name:<16} {rate:>9.1} /s");
        }
        for (stage, spread) in &client.latency {
            let _ = writeln!(
                text,
                "  {stage:<16} {:>9} times  p50 {:>8}  p99 {:>8}",
                spread.count,
                time(spread.p50_ns),
                time(spread.p99_ns)
            );
        }
    }
    for Use { name, used, total } in uses(activity) {
        let (used, total) = (human_readable(used), human_readable(total));
        let _ = writeln!(text, "  {name:<16} {used:>9} of {total}");
    }
    text
}

/// The cluster, its session and its nodes, on one line.
pub fn headline(activity: &Activity) -> String {
    let session = match &activity.client {
        Some(client) => client.session.as_deref().unwrap_or("off"),
        None => "unknown",
    };
    let nodes = activity.nodes.iter();
    let nodes: Vec<String> = nodes
        .map(|(name, state)| format!("{name} {state}"))
        .collect();
    format!(
        "{}: remote swap {session}; {}; last {:.1} s",
        activity.cluster,
        nodes.join(", "),
        activity.seconds
    )
}

/// Rates with their names.
pub fn rates(rates: &Rates) -> [(&'static str, f64); 7] {
    [
        ("faults", rates.faults),
        ("loads", rates.loads),
        ("read ahead", rates.read_ahead),
        ("read ahead, used", rates.read_ahead_used),
        ("stores", rates.stores),
        ("to swap device", rates.disk_writes),
        ("failures", rates.failures),
    ]
}

/// Something of which there is only so much.
#[derive(Debug, PartialEq, Eq)]
pub struct Use {
    /// Its name.
    pub name: String,
    /// Bytes in use.
    pub used: u64,
    /// Bytes there are.
    pub total: u64,
}

/// What memory, swap, limited groups and servers' offers are used for.
pub fn uses(activity: &Activity) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut add = |name: String, used, total| uses.push(Use { name, used, total });
    if let Some(client) = &activity.client {
        let Memory {
            total_bytes: total,
            swap_total_bytes: swap,
            ..
        } = client.memory;
        let used = total.saturating_sub(client.memory.available_bytes);
        add("client memory".into(), used, total);
        if swap > 0 {
            let used = swap.saturating_sub(client.memory.swap_free_bytes);
            add("client swap".into(), used, swap);
        }
        for group in &client.groups {
            add(group.name.clone(), group.used_bytes, group.limit_bytes);
        }
    }
    for (name, server) in &activity.servers {
        let leased = server.leased_bytes;
        add(format!("{name} leased"), leased, leased + server.free_bytes);
        let total = server.memory.total_bytes;
        let used = total.saturating_sub(server.memory.available_bytes);
        add(format!("{name} memory"), used, total);
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::samples::{activity, idle};

    #[test]
    fn the_block_is_as_written_down() {
        let golden = include_str!("../../../../tests/golden/top-block.txt");
        assert_eq!(text(&activity(800.0)), golden);
    }

    #[test]
    fn swap_that_is_off_is_left_out() {
        let mut activity = activity(1.0);
        let client = activity.client.as_mut().expect("there");
        client.memory.swap_total_bytes = 0;
        client.session = None;
        let text = text(&activity);
        assert!(text.starts_with("default: remote swap off;"), "{text}");
        assert!(!text.contains("client swap"), "{text}");
    }

    #[test]
    fn a_client_that_cannot_be_asked_is_named_all_the_same() {
        let expected = "default: remote swap unknown; client paused, server up; last 1.0 s\n";
        assert_eq!(text(&idle()), expected);
    }
}

//! Intervals that tests draw.

use std::collections::BTreeMap;

use rapidswap_vm::swap::latency::Spread;
use rapidswap_vm::{Activity, Group, Memory, Rates, Serving, Swapping};

const MIB: u64 = 1 << 20;

fn memory(total: u64, available: u64, swap: u64, swap_free: u64) -> Memory {
    Memory {
        total_bytes: total * MIB,
        available_bytes: available * MIB,
        swap_total_bytes: swap * MIB,
        swap_free_bytes: swap_free * MIB,
    }
}

fn named<T>(pairs: impl IntoIterator<Item = (&'static str, T)>) -> BTreeMap<String, T> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// An interval with so many faults a second, half as many stores, and all
/// that there can be.
pub fn activity(faults: f64) -> Activity {
    let spread = |count, p50_ns, p99_ns| Spread {
        count,
        p50_ns: Some(p50_ns),
        p99_ns: Some(p99_ns),
    };
    Activity {
        cluster: "default".into(),
        seconds: 1.0,
        nodes: named([("client", "up".into()), ("server", "up".into())]),
        client: Some(Swapping {
            session: Some("up".into()),
            per_second: Rates {
                faults,
                loads: 2.0 * faults,
                read_ahead: faults,
                read_ahead_used: faults * 0.75,
                stores: faults / 2.0,
                disk_writes: 0.0,
                failures: 0.0,
            },
            latency: named([
                ("fault", spread(faults as u64, 1_310_720, 9_961_472)),
                ("load_wait", spread(2 * faults as u64, 928, 47_104)),
                ("store_batch", spread(12, 22_020_096, 96_468_992)),
                ("store_wait", Spread::default()),
            ]),
            memory: memory(483, 400, 255, 191),
            groups: vec![Group {
                name: "rapidswap-7-1".into(),
                used_bytes: 15 * MIB,
                limit_bytes: 16 * MIB,
            }],
        }),
        servers: named([(
            "server",
            Serving {
                clients: 1,
                leased_bytes: 192 * MIB,
                free_bytes: 64 * MIB,
                memory: memory(739, 380, 0, 0),
            },
        )]),
    }
}

/// An interval in which the client stood still.
pub fn idle() -> Activity {
    Activity {
        nodes: named([("client", "paused".into()), ("server", "up".into())]),
        client: None,
        servers: BTreeMap::new(),
        ..activity(0.0)
    }
}

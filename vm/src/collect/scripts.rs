//! What a node's own shell is asked for.

/// A file, and the script whose output it is.
pub(super) struct Item {
    pub(super) file: &'static str,
    pub(super) script: &'static str,
}

/// In this order: the log as it was comes before what is added to it.
pub(super) const ITEMS: &[Item] = &[
    Item {
        file: "dmesg.txt",
        script: "dmesg",
    },
    Item {
        file: "commands.log",
        script: r#"for log in /run/log/*; do
            [ -f "$log" ] || continue
            echo "== $log"
            cat "$log"
        done"#,
    },
    Item {
        file: "statistics.txt",
        script: r#"show() { echo "== $1"; cat "$1"; }
        grep -H . /proc/vmstat | grep -E ':(rswp|pswp|swap_ra)'
        for file in /proc/swaps /proc/meminfo /proc/interrupts \
            /sys/kernel/mm/remote_swap/* /sys/kernel/debug/remoteswap/status \
            /sys/kernel/debug/remoteswap/latency /sys/kernel/debug/remoteswap/histograms; do
            [ ! -f "$file" ] || show "$file"
        done
        grep -H . /sys/class/infiniband/*/ports/*/hw_counters/*
        for socket in /run/*.sock; do
            [ -S "$socket" ] || continue
            echo "== memory server at $socket"
            /rapidswap/bin/remoteswap-server ctl "$socket" stats
        done
        true"#,
    },
    Item {
        file: "sysrq-memory.txt",
        script: "echo m > /proc/sysrq-trigger; dmesg | sed -n '/sysrq: Show Memory/,$p'",
    },
    Item {
        file: "sysrq-tasks.txt",
        script: "echo t > /proc/sysrq-trigger; dmesg | sed -n '/sysrq: Show State/,$p'",
    },
];

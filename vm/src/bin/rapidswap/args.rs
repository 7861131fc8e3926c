//! The command line, as types.

mod fault;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::complete;
use crate::top;
use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::{ArgValueCompleter, Shell};
use fault::Fault;
use rapidswap_cli::LONGEST;
use rapidswap_progress::Events;
use rapidswap_vm::{Cap, DEFAULT_NAME, ModuleFolder, NodeKernel, Platform, Size};

/// Swap to another machine's memory: clusters of VMs joined by soft-RoCE.
#[derive(Debug, Parser)]
#[command(name = "rapidswap", version, max_term_width = 90, after_help = EXIT_CODES)]
pub struct Args {
    /// The cluster meant; clusters of different names run side by side.
    #[arg(long, global = true, default_value = DEFAULT_NAME)]
    #[arg(add = ArgValueCompleter::new(complete::clusters))]
    pub name: String,
    /// How long steps report themselves on standard error: as text, or as a line of
    /// JSON for each event.
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    #[arg(env = "RAPIDSWAP_EVENTS", hide_env_values = true)]
    pub events: Events,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Reads a time as people type it, up to the longest.
pub fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time > LONGEST {
        true => Err("longer than a year".to_owned()),
        false => Ok(time),
    }
}

const EXIT_CODES: &str = "\
Exit status: that of the command for `exec`, `shell` and `run` (128 and the
signal if one killed it); else 0 for success and
    1  failed, and one line on standard error says why
    2  wrong command line
   77  skipped, with a reason
   94  infrastructure failed: QEMU, the supervisor, a build
   95  hang: something did not end in its time
   96  `--accel kvm`, and no guest boots under KVM
   97  boot failed: a node did not come up
   98  guest panic: a node's kernel gave up or rebooted
   99  guest splat: a node's kernel complained
  124  the command ran for longer than `exec --timeout` allows
  126  the command is there and cannot be executed
  127  there is no such command
  130  interrupted";

const REPORT: &str = "\
After the command, standard error has the report of `time -v` and what remote swap did
meanwhile, counted on the whole client: pages that faults waited for and how long that took
from the request to the answer, pages read ahead and how many of them a fault then met,
pages stored, and those that went to the swap device.";

const TOP: &str = "\
Pages a second that faults waited for, were loaded, read ahead, stored; how long each stage
in the module took in the interval, half of the times and 99 of 100 at most; memory, groups
with a limit, and what the servers have lent. Without a terminal it is a block of lines for
each interval.";

const BISECT: &str = "\
Exit status, as `git bisect run` takes it:
    0  good: the command ended with 0, and no kernel complained
    1  bad: it did not, or took too long, or a kernel did not boot, panicked or complained
  125  to be skipped: the kernel or a module could not be built, QEMU failed, or the
       command ended with 125
  128  the end: the command line is wrong

In a source tree of Linux:
  git bisect start BAD GOOD
  git bisect run /path/to/rapidswap bisect-run --kernel . --timeout 2m -- sh -c 'CHECK'";

/// The name of a cluster for bisecting, unless another is given.
pub const BISECTED: &str = "bisect";

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build what is missing, boot the nodes, prove the links, turn remote swap on.
    Up(Up),
    /// End the cluster and everything that belongs to it.
    Down,
    /// Show how the cluster is.
    Status {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Run a command in a node, with this one's standard streams.
    Exec {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        /// Run it on a terminal.
        #[arg(long, short = 't')]
        tty: bool,
        /// End it after this long, such as 30s: by SIGTERM, and 5 s later by SIGKILL.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        timeout: Option<Duration>,
        /// The command and its arguments, passed as typed.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Open a shell in a node.
    Shell {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Run a command in the client under a memory limit; reports what it took.
    #[command(after_help = REPORT)]
    Run {
        /// Its memory limit, such as 64M.
        #[arg(long, value_name = "SIZE")]
        limit: Size,
        /// Processors it may use, such as 0 or 0-1; all of them unless given.
        #[arg(long, value_name = "LIST")]
        cpus: Option<String>,
        /// Run it again without the limit, with no input and its output thrown away, and
        /// report how much slower the limit makes it.
        #[arg(long)]
        compare: bool,
        /// The command and its arguments, passed as typed.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Watch what the nodes do; leave with q.
    #[command(after_help = TOP)]
    Top {
        /// The cluster, as with `--name`.
        #[arg(add = ArgValueCompleter::new(complete::clusters))]
        cluster: Option<String>,
        /// One interval, and no screen.
        #[arg(long)]
        once: bool,
        /// As one JSON object for each interval, a line each.
        #[arg(long)]
        json: bool,
        /// How long an interval is.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = top::interval)]
        interval: Duration,
    },
    /// Copy a file into, out of or between nodes.
    Cp {
        /// The file: NODE:PATH, or a path here.
        #[arg(add = ArgValueCompleter::new(complete::places))]
        from: OsString,
        /// Where to: NODE:PATH, or a path here; a directory keeps the name.
        #[arg(add = ArgValueCompleter::new(complete::places))]
        to: OsString,
    },
    /// Be at a node's serial console, with a shell on it; leave with Ctrl-] q.
    Console {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Debug a node's kernel: gdb with its symbols, connected; the node stands still meanwhile.
    Gdb {
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        /// More for gdb, such as -batch -ex bt.
        #[arg(last = true, value_name = "ARGS")]
        arguments: Vec<OsString>,
    },
    /// Print what a node's kernel said on its console.
    Logs {
        /// Go on with what it says from now on, until the node or the cluster ends.
        #[arg(long, short = 'f')]
        follow: bool,
        /// `client`, `server`, `server2`, …
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Compare what the nodes' RDMA devices offer with what is needed of them.
    Parity {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
        /// As if a node's device offered no more, such as server:max_qp_rd_atom=8.
        #[arg(long, value_name = "NODE:ATTRIBUTE=VALUE")]
        cap: Vec<Cap>,
    },
    /// Print a profile: its nodes, their link, and the tests that it leaves out.
    Profile {
        /// Its name in `profiles/`, or the path of a .toml file.
        profile: String,
        /// The tests that are left out as an expression of nextest's instead.
        #[arg(long)]
        filter: bool,
        /// Print nothing, and see that its hosts are reached from here; 77 if not.
        #[arg(long, conflicts_with = "filter")]
        reach: bool,
    },
    /// Make something go wrong, from outside: in the links or in a node.
    #[command(subcommand)]
    Fault(Fault),
    /// Look at this host: what is missing, and the command that mends it.
    Doctor {
        /// As one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Keep what can be had of the cluster: consoles, logs, tasks, statistics.
    Collect {
        /// The nodes' memory too, a vmcore each, for crash or drgn.
        #[arg(long)]
        dump: bool,
        /// Where to; a new directory here unless given.
        dir: Option<PathBuf>,
    },
    /// Remove what was not used for longest from the cache of kernels, modules and images.
    Clean {
        /// How large the cache may stay.
        #[arg(long, value_name = "SIZE", default_value = "10G")]
        limit: Size,
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// One step of `git bisect run`: bring a cluster up, run a command on its client, and
    /// end it.
    #[command(after_help = BISECT)]
    BisectRun {
        /// How the cluster is to be.
        #[command(flatten)]
        up: Box<Up>,
        /// A command that takes longer is bad.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        timeout: Option<Duration>,
        /// The command and its arguments, passed as typed.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write pages for man into a directory.
    Man {
        /// The directory, made if need be.
        dir: PathBuf,
    },
    /// The parts of a cluster.
    #[command(flatten)]
    Internal(Internal),
}

/// How a cluster is to be.
#[derive(Debug, ClapArgs)]
pub struct Up {
    /// What its nodes are.
    #[command(flatten)]
    pub platform: Platform,
    /// Memory of the client; a server has what it serves on top.
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    pub memory: Size,
    /// Processors of each node.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cpus: u32,
    /// Stop after the link proof: no memory server, no swap.
    #[arg(long)]
    pub no_swap: bool,
    /// Memory that each server offers.
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub server_mem: Size,
    /// How many nodes offer memory: server, server2, and so on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub servers: u32,
    /// The server whose memory the client swaps to.
    #[arg(long, value_name = "NODE", default_value = "server")]
    #[arg(add = ArgValueCompleter::new(complete::nodes))]
    pub swap_to: String,
    /// Size of the client's swap disk.
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub disk: Size,
    /// Which kernel the nodes run: release, debug, host, a source tree of Linux, which
    /// is built as far as it changed, or an image as it is, vmlinux or bzImage, with the
    /// modules in `modules/` beside it. By default the profile's, which is release for
    /// virtual machines.
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Option<NodeKernel>,
    /// A folder of modules, built for the nodes' kernel and loaded by the client, or by
    /// another node. May be given several times.
    #[arg(long = "module", value_name = "[NODE=]DIR")]
    pub modules: Vec<ModuleFolder>,
    /// Stop after the boot: no links, no module, no swap.
    #[arg(long)]
    pub no_link: bool,
    /// If something fails, leave what there is for you to look at.
    #[arg(long)]
    pub keep: bool,
    /// Boot the nodes: neither restore nor make a saved state.
    #[arg(long)]
    pub cold: bool,
}

/// Processes that a cluster consists of; nothing to be typed.
#[derive(Debug, Subcommand)]
pub enum Internal {
    /// Own a cluster.
    #[command(name = "__supervise", hide = true)]
    Supervise,
    /// Serve a directory to a VM.
    #[command(name = "__virtiofs", hide = true)]
    Virtiofs {
        /// The directory.
        dir: PathBuf,
    },
    /// Remove a run directory when its owner has ended.
    #[command(name = "__sweep", hide = true)]
    Sweep {
        /// The directory.
        dir: PathBuf,
    },
}

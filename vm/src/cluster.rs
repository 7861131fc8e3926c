//! A cluster from the outside.

mod answers;
pub(crate) mod debug;
pub(crate) mod kernels;
pub(crate) mod lease;
pub(crate) mod node;
pub(crate) mod options;
pub(crate) mod platform;
pub(crate) mod prepare;
pub(crate) mod process;
pub(crate) mod profile;
pub(crate) mod programs;
pub(crate) mod request;
pub(crate) mod rundir;
pub(crate) mod start;
pub(crate) mod states;
pub(crate) mod status;

use std::fmt::Display;
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::FlockArg;
use rapidswap_progress::{Event, Reporter};

use self::node::{Node, ask};
use self::options::{DEFAULT_NAME, UpOptions, check_name};
use self::prepare::prepare;
use self::process::reply;
use self::profile::CLIENT;
use self::request::{Reply, Request};
use self::rundir::Presence;
use self::start::start;
use self::status::{NodeState, Status};
use crate::clean;
use crate::console::allowed::Allowed;
use crate::console::splat::Splat;
use crate::error::{Error, IoContext, Result, names};
use crate::fault::Fault;
use crate::link;
use crate::outcome::word;
use crate::supervisor::Plan;
use crate::swap::{self, SwapOptions};
use crate::wait::wait_until;

/// How long a supervisor may take to end its nodes and to go.
const END: Duration = Duration::from_secs(60);

/// Name of the log in the run directory of how it came up.
pub(crate) const EVENTS: &str = "events.jsonl";

/// A running cluster. Dropping it does nothing to the cluster, which belongs
/// to its supervisor: end it with [`Cluster::down`].
#[derive(Clone, Debug)]
pub struct Cluster {
    name: String,
    run_dir: PathBuf,
}

impl Cluster {
    /// Makes what is missing, boots the nodes and proves the link, or restores
    /// both, and, unless told otherwise, turns remote swap on. If it fails,
    /// what can be had of it is collected and nothing of it runs on, unless it
    /// is to be kept.
    pub fn up(options: &UpOptions, reporter: &Reporter) -> Result<Cluster> {
        options.validate()?;
        let base = rundir::base();
        rundir::sweep(&base);
        // One that only somebody looks at has no supervisor. Who else has the name
        // refuses it in the end.
        let cluster = Cluster::named(&options.name);
        if cluster.connect().is_ok() {
            return Err(Error::AlreadyUp(options.name.clone()));
        }
        // Until the cluster runs, and then it says itself what it needs.
        let _in_use = clean::in_use()?;
        let plan = prepare(options, reporter)?;
        let outcome = cluster.come_up(plan, options, reporter);
        if outcome.is_err()
            && options.keep
            && rundir::presence(&base, &options.name)? == Presence::Live
        {
            reporter.note(&cluster.kept());
        }
        outcome?;
        Ok(cluster)
    }

    fn come_up(&self, plan: Plan, options: &UpOptions, reporter: &Reporter) -> Result<()> {
        let started = Instant::now();
        let lease = start(plan, options, reporter)?;
        let link_s = started.elapsed().as_secs_f64();
        let ready = self.judge(self.make_ready(options, reporter), reporter);
        let lease = lease.or_keep(ready, options.keep, reporter)?;
        let up_s = started.elapsed().as_secs_f64();
        lease.commit(up_s, link_s, options.swap)?;
        reporter.note(&format!("cluster {} is up in {up_s:.1} s", options.name));
        Ok(())
    }

    /// What comes after the links: modules and swap.
    fn make_ready(&self, options: &UpOptions, reporter: &Reporter) -> Result<()> {
        if !options.modules.is_empty() {
            let status = self.status()?;
            for name in self.names()? {
                self.load_modules(&name, &status)?;
            }
        }
        if options.swap {
            let step = reporter.step("remote swap", Duration::from_secs(2));
            swap::on(
                self,
                &SwapOptions {
                    server_mib: options.server_mib,
                    to: options.swap_to.clone(),
                    ..SwapOptions::default()
                },
            )?;
            step.done("on");
        }
        Ok(())
    }

    /// Loads what a node is to load of somebody's own.
    fn load_modules(&self, name: &str, status: &Status) -> Result<()> {
        let node = self.known(name);
        for wanted in status.modules.iter().filter(|wanted| wanted.node == name) {
            let file = format!("{}/{}", swap::MODULES, wanted.module);
            node.run(&format!("loading {}", wanted.module), ["insmod", &file])?;
        }
        Ok(())
    }

    /// What to tell somebody who wanted it kept in spite of a failure.
    pub fn kept(&self) -> String {
        let name = match self.name.as_str() {
            DEFAULT_NAME => String::new(),
            name => format!(" --name {name}"),
        };
        format!(
            "cluster {} is kept: look at it with `./just shell client{name}`, end it with `./just down{name}`",
            self.name
        )
    }

    /// The running cluster of that name.
    pub fn attach(name: &str) -> Result<Cluster> {
        check_name(name)?;
        let base = rundir::base();
        rundir::sweep(&base);
        match rundir::presence(&base, name)? {
            Presence::Live => Ok(Cluster::named(name)),
            Presence::Absent => Err(Error::NoCluster(name.to_owned())),
        }
    }

    /// All that run, of this user, by name.
    pub fn running() -> Result<Vec<Cluster>> {
        let base = rundir::base();
        let mut clusters = Vec::new();
        // Without the directory none has run yet.
        for entry in fs::read_dir(&base).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if check_name(&name).is_ok() && rundir::presence(&base, &name)? == Presence::Live {
                clusters.push(Cluster::named(&name));
            }
        }
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(clusters)
    }

    pub(crate) fn named(name: &str) -> Cluster {
        Cluster {
            name: name.to_owned(),
            run_dir: rundir::base().join(name),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of its socket and consoles, while it runs.
    pub fn run_dir(&self) -> &PathBuf {
        &self.run_dir
    }

    /// Ends it; returns when no process and no file of it is left.
    pub fn down(self) -> Result<()> {
        let connection = self.connect()?;
        match ask(&connection, &Request::Down) {
            Ok(_) => {
                // Nothing more is said: this is the end of the supervisor itself.
                let _ = reply(&connection);
                Ok(())
            }
            // Somebody else asked first.
            Err(Error::SupervisorGone) => self.await_end(),
            Err(error) => Err(error),
        }
    }

    /// Waits for the end of a supervisor that is on its way there.
    fn await_end(&self) -> Result<()> {
        let base = rundir::base();
        let gone = wait_until(END, || {
            let presence = rundir::presence(&base, &self.name)?;
            Ok((presence == Presence::Absent).then_some(()))
        })?;
        gone.ok_or(Error::SupervisorGone)
    }

    /// How it is.
    pub fn status(&self) -> Result<Status> {
        match ask(&self.connect()?, &Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(node::failed(other)),
        }
    }

    /// Makes something go wrong, or right again; it has happened when this
    /// returns. A node that was reset has its link again, and a server what it
    /// served, all of it empty.
    pub fn fault(&self, fault: &Fault) -> Result<()> {
        let ask = || ask(&self.connect()?, &Request::Fault(fault.clone())).map(drop);
        let Fault::Reset(node) = fault else {
            return ask();
        };
        // A second reset is one of a node that has come back from the first.
        self.node(node)?;
        let _alone = rundir::node_lock(&self.run_dir, node, "reset", FlockArg::LockExclusive)?;
        ask()?;
        self.recover(node)
    }

    /// What `up` did to a node after it had booted.
    fn recover(&self, name: &str) -> Result<()> {
        let (status, node) = (self.status()?, self.known(name));
        let mut ends = status.addresses()?.into_iter();
        let Some((_, address)) = ends.find(|(known, _)| known == name) else {
            return Ok(());
        };
        if status.link {
            link::set_up(&node, &status.profile, address)?;
        }
        self.load_modules(name, &status)?;
        if status.swap && name != CLIENT {
            let listen = SocketAddrV4::new(address.ip, status.profile.link.port.get());
            swap::start_server(&status, &node, listen, status.server_mib)?;
        }
        Ok(())
    }

    /// One of its nodes.
    pub fn node(&self, name: &str) -> Result<Node> {
        let nodes = self.names()?;
        if nodes.iter().any(|node| node == name) {
            return Ok(self.known(name));
        }
        Err(Error::UnknownNode {
            node: name.to_owned(),
            known: names(nodes.iter().map(String::as_str)),
        })
    }

    /// All of its nodes.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self.names()?.iter().map(|name| self.known(name)).collect())
    }

    /// The names of its nodes, the client first.
    pub fn names(&self) -> Result<Vec<String>> {
        match ask(&self.connect()?, &Request::Names)? {
            Reply::Names(names) => Ok(names),
            other => Err(node::failed(other)),
        }
    }

    /// A node that is known to be there.
    pub(crate) fn known(&self, name: &str) -> Node {
        Node::new(&self.run_dir, &self.name, name)
    }

    /// Kernel faults on any console so far. A console that cannot be read is
    /// an error, not a clean one.
    pub fn splats(&self) -> Result<Vec<Splat>> {
        let mut splats = Vec::new();
        for node in self.nodes()? {
            splats.extend(node.scan()?.splats);
        }
        Ok(splats)
    }

    /// Those of [`Cluster::splats`] that are on no list of known ones.
    pub fn faults(&self) -> Result<Vec<Splat>> {
        let allowed = Allowed::load()?;
        let mut faults = self.splats()?;
        faults.retain(|splat| allowed.reason(splat).is_none());
        Ok(faults)
    }

    /// What came of something that was done here. What a kernel says comes
    /// before what it ended as, which may be the consequence; a console that
    /// cannot be read is no clean one. Events say what there is to say of the
    /// nodes.
    pub fn judge<T, E>(&self, done: Result<T, E>, reporter: &Reporter) -> Result<T, E>
    where
        E: From<Error> + Display,
    {
        match self.tell(reporter) {
            Ok(faults) if !faults.is_empty() => {
                let then = done.err().map(|error| format!("; then: {error:#}"));
                let then = then.unwrap_or_default();
                Err(Error::KernelFaults { faults, then }.into())
            }
            Err(error) if done.is_ok() => Err(error.into()),
            _ => done,
        }
    }

    /// Says by events which kernels complained, and which nodes are gone; gives
    /// the faults.
    pub fn tell(&self, reporter: &Reporter) -> Result<Vec<Splat>> {
        let faults = self.faults()?;
        for fault in &faults {
            reporter.say(Event::KernelFault {
                node: fault.node.clone(),
                kind: word(fault.kind),
                line: fault.line,
                text: fault.text.clone(),
            });
        }
        for node in self.status()?.nodes {
            if let NodeState::Gone(gone) = node.state {
                reporter.say(Event::NodeGone {
                    node: node.name,
                    outcome: word(gone.outcome),
                    reason: gone.reason,
                });
            }
        }
        Ok(faults)
    }

    /// The command line of a node's QEMU, or of the ssh to a host, as one would
    /// type it.
    pub fn command_line(&self, node: &str) -> Result<String> {
        let path = self.node(node)?.status()?.command_line;
        fs::read_to_string(&path).what(|| format!("cannot read {}", path.display()))
    }

    fn connect(&self) -> Result<UnixStream> {
        node::connect(&self.run_dir, &self.name)
    }
}

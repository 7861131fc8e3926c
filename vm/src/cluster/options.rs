//! What a cluster is asked to be.

use crate::cluster::kernels::{ModuleFolder, NodeKernel};
use crate::cluster::profile::SERVER;
use crate::error::{Error, Result};

/// The cluster that commands without `--name` mean.
pub const DEFAULT_NAME: &str = "default";

/// Each has all its memory from this host.
const MAX_SERVERS: u32 = 16;

/// Which accelerator is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AccelChoice {
    /// KVM where a guest really boots under it, else TCG.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// QEMU's translator, on any host.
    Tcg,
}

/// How [`crate::Cluster::up`] makes a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpOptions {
    /// Its name; clusters of different names run side by side.
    pub name: String,
    /// The accelerator asked for.
    pub accel: AccelChoice,
    /// Memory of the client node in MiB; the server node has as much and
    /// what it serves on top. With the debug kernel both have what that needs
    /// for its checks as well.
    pub memory_mib: u32,
    /// CPUs of each node.
    pub cpus: u32,
    /// Whether to go on after the link proof: memory server, module, swapon.
    pub swap: bool,
    /// Memory the server offers, in MiB.
    pub server_mib: u64,
    /// How many nodes offer memory.
    pub servers: u32,
    /// The node whose memory the client swaps to.
    pub swap_to: String,
    /// Size of the client's swap disk in MiB.
    pub disk_mib: u64,
    /// Which kernel the nodes run; the profile's if none is asked for.
    pub kernel: Option<NodeKernel>,
    /// Modules of somebody's own that nodes load once their links are up.
    pub modules: Vec<ModuleFolder>,
    /// Whether to bring the links up and prove them.
    pub link: bool,
    /// Whether the cluster stays when something about it fails.
    pub keep: bool,
    /// Which profile joins the nodes, by its name in `profiles/`.
    pub profile: String,
    /// Whether to boot the nodes, with no saved state restored or made.
    pub cold: bool,
}

impl Default for UpOptions {
    fn default() -> UpOptions {
        UpOptions {
            name: DEFAULT_NAME.to_owned(),
            accel: AccelChoice::Auto,
            memory_mib: 512,
            cpus: 1,
            swap: true,
            server_mib: 256,
            servers: 1,
            swap_to: SERVER.to_owned(),
            disk_mib: 256,
            kernel: None,
            modules: Vec::new(),
            link: true,
            keep: false,
            profile: "rxe".to_owned(),
            cold: false,
        }
    }
}

impl UpOptions {
    /// Refuses what cannot work before anything is started.
    pub fn validate(&self) -> Result<()> {
        check_name(&self.name)?;
        let refuse = |text: String| Err(Error::BadOption(text));
        if !(256..=262_144).contains(&self.memory_mib) {
            return refuse(format!(
                "--memory {}M is out of range: a node needs 256M to 256G",
                self.memory_mib
            ));
        }
        if !(1..=64).contains(&self.cpus) {
            return refuse(format!("--cpus {} is out of range: use 1 to 64", self.cpus));
        }
        if !(1..=1 << 20).contains(&self.server_mib) {
            return refuse(format!(
                "--server-mem {}M is out of range: use 1M to 1T",
                self.server_mib
            ));
        }
        if !(1..=MAX_SERVERS).contains(&self.servers) {
            return refuse(format!(
                "--servers {} is out of range: use 1 to {MAX_SERVERS}",
                self.servers
            ));
        }
        if self.swap && !self.link {
            return refuse("there is no remote swap without links: use --no-swap as well".into());
        }
        if !(1..=1 << 30).contains(&self.disk_mib) {
            return refuse(format!(
                "--disk {}M is out of range: use 1M to 1024T",
                self.disk_mib
            ));
        }
        Ok(())
    }
}

/// A name becomes a directory and part of socket paths, which are short.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 32 || name.starts_with('-') || !name.chars().all(plain) {
        return Err(Error::BadName(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        UpOptions::default().validate().expect("defaults");
    }

    #[test]
    fn bad_options_say_what_to_do() {
        let cases = [
            UpOptions {
                name: "../x".into(),
                ..UpOptions::default()
            },
            UpOptions {
                name: String::new(),
                ..UpOptions::default()
            },
            UpOptions {
                memory_mib: 1,
                ..UpOptions::default()
            },
            UpOptions {
                cpus: 0,
                ..UpOptions::default()
            },
            UpOptions {
                server_mib: 0,
                ..UpOptions::default()
            },
            UpOptions {
                servers: 17,
                ..UpOptions::default()
            },
            UpOptions {
                disk_mib: 0,
                ..UpOptions::default()
            },
        ];
        for options in cases {
            let error = options.validate().expect_err("refused").to_string();
            assert!(error.contains("use ") || error.contains("needs"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}

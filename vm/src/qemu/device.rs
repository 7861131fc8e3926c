//! The devices a node is made of. A device is a small type that knows both
//! its QEMU arguments and its kernel arguments; all of it is pure data.

mod channel;
mod disk;

use std::ffi::OsString;

pub use channel::{
    AgentPort, Console, Control, LINK, Link, MAC, PAYLOAD_TAG, Payload, SerialStream,
};
pub use disk::{RootDisk, SwapDisk};

/// One part of a virtual machine.
pub trait Device {
    /// What it adds to the QEMU command line.
    fn qemu_args(&self) -> Vec<OsString>;

    /// What it adds to the kernel command line.
    fn kernel_args(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The accelerator a cluster runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's translator.
    Tcg,
    /// No QEMU: the nodes are hosts.
    None,
}

impl Accel {
    /// The name QEMU and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
            Accel::None => "none",
        }
    }
}

/// The board: accelerator, processors, memory.
#[derive(Clone, Debug)]
pub struct Board {
    /// The accelerator; machine flags depend on it.
    pub accel: Accel,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Number of processors.
    pub cpus: u32,
    /// Rate of the time stamp counter, where the guest is not to measure it.
    pub tsc_khz: Option<u32>,
}

impl Device for Board {
    fn qemu_args(&self) -> Vec<OsString> {
        let (accel, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            // Five-level page tables only make the translated MMU slower, and `rep movsb`,
            // which the kernel copies with where it is said to be fast, goes byte by byte.
            Accel::Tcg | Accel::None => (
                "tcg,thread=multi,tb-size=256",
                "max,la57=off,erms=off,fsrm=off",
            ),
        };
        let memory = self.memory_mib;
        let mut args = vec![
            "-machine".into(),
            "q35,memory-backend=ram,usb=off,vmport=off,smm=off,sata=off".into(),
        ];
        args.extend(["-accel", accel, "-cpu", cpu].map(OsString::from));
        args.extend(["-smp".into(), self.cpus.to_string().into()]);
        args.extend(["-m".into(), format!("{memory}M").into()]);
        // Shared, because the virtiofs process reads and writes it too.
        args.push("-object".into());
        args.push(format!("memory-backend-memfd,id=ram,size={memory}M,share=on").into());
        args
    }

    fn kernel_args(&self) -> Vec<String> {
        // A mouse, and 256 terminals of a kind that nothing opens, take a tenth of
        // the boot. The keyboard stays, for the keys of sysrq.
        let mut args = words("nokaslr pty.legacy_count=0 i8042.noaux");
        args.extend(self.tsc_khz.map(|khz| format!("tsc_early_khz={khz}")));
        if self.accel == Accel::Tcg {
            // Nothing drifts under TCG: do not calibrate against the PM timer
            // and do not doubt the result on a busy host.
            args.extend(words(
                "tsc=reliable no_timer_check rcupdate.rcu_expedited=1",
            ));
        }
        args
    }
}

/// A panicked or rebooting guest stops where it is and QEMU says so.
#[derive(Clone, Copy, Debug)]
pub struct PanicWatch;

impl Device for PanicWatch {
    fn qemu_args(&self) -> Vec<OsString> {
        // Paused, not ended: the console and a dump survive. A panic alone stops
        // nothing: what the kernel could not print while something else held the
        // console it prints after it has told pvpanic, and restarts then.
        words("-no-reboot -action panic=none,shutdown=pause -device pvpanic-pci")
    }

    fn kernel_args(&self) -> Vec<String> {
        words("panic=-1 oops=panic")
    }
}

/// Where the kernel leaves what a dump of its memory is read by.
#[derive(Clone, Copy, Debug)]
pub struct DumpNotes;

impl Device for DumpNotes {
    fn qemu_args(&self) -> Vec<OsString> {
        words("-device vmcoreinfo")
    }
}

/// Randomness, so that nothing in the guest waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Entropy;

impl Device for Entropy {
    fn qemu_args(&self) -> Vec<OsString> {
        words("-device virtio-rng-pci")
    }

    fn kernel_args(&self) -> Vec<String> {
        words("random.trust_cpu=on")
    }
}

/// The machine waits to be told where its saved state is.
#[derive(Clone, Copy, Debug)]
pub struct Incoming;

impl Device for Incoming {
    fn qemu_args(&self) -> Vec<OsString> {
        words("-incoming defer")
    }
}

/// Tells the guest which node it is, and the host which guest.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node's name.
    pub node: String,
    /// The cluster's name, for whoever looks at the process list.
    pub cluster: String,
}

impl Device for Identity {
    fn qemu_args(&self) -> Vec<OsString> {
        vec![
            "-name".into(),
            // Threads are named as well, so that those of its CPUs are known.
            format!("rapidswap-{}-{},debug-threads=on", self.cluster, self.node).into(),
        ]
    }

    fn kernel_args(&self) -> Vec<String> {
        vec![format!("rapidswap.node={}", self.node)]
    }
}

/// Splits constant text at blanks.
fn words<T: for<'a> From<&'a str>>(text: &'static str) -> Vec<T> {
    text.split(' ').map(T::from).collect()
}

/// QEMU separates properties by commas; a comma within a value is doubled.
fn escape(value: &std::ffi::OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut escaped = Vec::with_capacity(value.len());
    for byte in value.as_bytes() {
        escaped.push(*byte);
        if *byte == b',' {
            escaped.push(b',');
        }
    }
    OsString::from_vec(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_stays_part_of_the_path() {
        let disk = RootDisk {
            image: "/a,b/root.ext4".into(),
        };
        let args = disk.qemu_args();
        assert!(
            args[1]
                .to_str()
                .expect("text")
                .ends_with("file=/a,,b/root.ext4")
        );
    }
}

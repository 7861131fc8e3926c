//! A virtual machine as a list of devices, folded into one command line.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::PathBuf;

use crate::qemu::device::Device;

/// What QEMU boots and the devices it boots it with.
pub struct Machine {
    /// The uncompressed kernel, entered by PVH.
    pub kernel: PathBuf,
    /// The initial file system, which holds the agent.
    pub initrd: PathBuf,
    /// The devices, in the order of the command line.
    pub devices: Vec<Box<dyn Device>>,
}

impl Machine {
    /// The arguments after the program name.
    pub fn args(&self) -> Vec<OsString> {
        let fixed = ["-nodefaults", "-no-user-config", "-display", "none"];
        let mut args: Vec<OsString> = fixed.map(OsString::from).into();
        args.extend(self.devices.iter().flat_map(|device| device.qemu_args()));
        args.extend(["-kernel".into(), self.kernel.clone().into()]);
        args.extend(["-initrd".into(), self.initrd.clone().into()]);
        args.extend(["-append".into(), self.kernel_line().into()]);
        args
    }

    /// The kernel's command line.
    pub fn kernel_line(&self) -> String {
        let args: Vec<String> = self
            .devices
            .iter()
            .flat_map(|device| device.kernel_args())
            .collect();
        args.join(" ")
    }
}

/// A command line as one would type it into a shell, one option a line.
pub fn printable(program: &str, args: &[OsString]) -> String {
    let mut text = String::from(program);
    for arg in args {
        let quoted = quote(arg);
        let separator = if quoted.starts_with('-') {
            " \\\n  "
        } else {
            " "
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{quoted}");
    }
    text.push('\n');
    text
}

/// An argument as a shell takes it.
pub(crate) fn quote(arg: &OsStr) -> String {
    let text = arg.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::QEMU;
    use crate::qemu::device::*;

    fn client(accel: Accel) -> Machine {
        Machine {
            kernel: "/cache/vmlinux".into(),
            initrd: "/run/initrd.cpio".into(),
            devices: vec![
                Box::new(Identity {
                    node: "client".into(),
                    cluster: "default".into(),
                }),
                Box::new(Board {
                    accel,
                    memory_mib: 512,
                    cpus: 1,
                    tsc_khz: (accel == Accel::Tcg).then_some(2_600_000),
                }),
                Box::new(PanicWatch),
                Box::new(DumpNotes),
                Box::new(Console {
                    log: "/run/client/console.log".into(),
                    socket: "/run/client.console".into(),
                }),
                Box::new(Control { fd: 10 }),
                Box::new(AgentPort { fd: 11 }),
                Box::new(Entropy),
                Box::new(RootDisk {
                    image: "/cache/root.ext4".into(),
                }),
                Box::new(SwapDisk { fd: 12 }),
                Box::new(Link {
                    local: "/run/client.link".into(),
                    remote: "/run/server.link".into(),
                    station: 1,
                    mtu: Some(4200),
                }),
                Box::new(Payload { fd: 13 }),
            ],
        }
    }

    #[test]
    fn the_tcg_command_line_is_as_written_down() {
        let line = printable(QEMU, &client(Accel::Tcg).args());
        assert_eq!(line, include_str!("../../tests/golden/qemu-tcg.txt"));
    }

    #[test]
    fn the_kvm_command_line_is_as_written_down() {
        let line = printable(QEMU, &client(Accel::Kvm).args());
        assert_eq!(line, include_str!("../../tests/golden/qemu-kvm.txt"));
    }

    #[test]
    fn a_restored_machine_is_the_same_and_waits_for_its_state() {
        let mut restored = client(Accel::Tcg);
        restored.devices.push(Box::new(Incoming));
        let line = printable(QEMU, &restored.args());
        assert_eq!(line, include_str!("../../tests/golden/qemu-restored.txt"));
        assert_eq!(restored.kernel_line(), client(Accel::Tcg).kernel_line());
    }

    #[test]
    fn quoting_survives_a_shell() {
        let odd = ["a b", "it's", "", "$HOME", "plain"];
        for text in odd {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(OsStr::new(text)))])
                .output()
                .expect("sh runs");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
}

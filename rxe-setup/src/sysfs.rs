//! What the kernel says about RDMA devices in `/sys/class/infiniband`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Where the devices are.
pub const ROOT: &str = "/sys/class/infiniband";

/// A port of an RDMA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name of the device.
    pub device: String,
    /// Its number, from 1.
    pub port: u8,
    directory: PathBuf,
}

/// All ports of all devices, by name.
pub fn ports(root: &Path) -> io::Result<Vec<Port>> {
    let mut found = Vec::new();
    for device in names(root)? {
        let ports = root.join(&device).join("ports");
        for number in names(&ports)? {
            if let Ok(port) = number.parse() {
                found.push(Port {
                    device: device.clone(),
                    port,
                    directory: ports.join(&number),
                });
            }
        }
    }
    Ok(found)
}

impl Port {
    /// The port's state, such as `ACTIVE`.
    pub fn state(&self) -> io::Result<String> {
        // "4: ACTIVE"
        let text = fs::read_to_string(self.directory.join("state"))?;
        Ok(text
            .split(':')
            .next_back()
            .unwrap_or_default()
            .trim()
            .to_owned())
    }

    /// Whether the port sends through a network interface.
    pub fn is_on(&self, netdev: &str) -> bool {
        let table = self.directory.join("gid_attrs/ndevs");
        let by_gid = names(&table).unwrap_or_default().into_iter().any(|index| {
            fs::read_to_string(table.join(index)).is_ok_and(|name| name.trim() == netdev)
        });
        // Soft devices also say so themselves, GIDs or not.
        let parent = self.directory.join("../../parent");
        by_gid || fs::read_to_string(parent).is_ok_and(|name| name.trim() == netdev)
    }

    /// The GIDs that are set.
    pub fn gids(&self) -> io::Result<Vec<Ipv6Addr>> {
        let table = self.directory.join("gids");
        let mut gids = Vec::new();
        for index in names(&table)? {
            // Entries without a GID read as zero or as an error.
            let text = fs::read_to_string(table.join(index)).unwrap_or_default();
            match text.trim().parse::<Ipv6Addr>() {
                Ok(gid) if !gid.is_unspecified() => gids.push(gid),
                _ => {}
            }
        }
        Ok(gids)
    }

    /// The device's counters.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let table = self.directory.join("hw_counters");
        let mut counters = BTreeMap::new();
        for name in names(&table).unwrap_or_default() {
            let text = fs::read_to_string(table.join(&name)).unwrap_or_default();
            if let Ok(value) = text.trim().parse() {
                // Not a counter but how often they are fetched.
                if name != "lifespan" {
                    counters.insert(name, value);
                }
            }
        }
        counters
    }
}

/// How an address is written as a GID.
pub fn gid_of(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Sorted names in a directory; none if there is no such directory.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_soft_roce_port_as_the_kernel_shows_it() {
        let root = tempfile::tempdir().unwrap();
        let port = root.path().join("rxe0/ports/1");
        write(&port.join("state"), "4: ACTIVE\n");
        write(&port.join("gid_attrs/ndevs/0"), "eth0\n");
        write(
            &port.join("gids/0"),
            "fe80:0000:0000:0000:5054:00ff:fe12:3456\n",
        );
        write(
            &port.join("gids/1"),
            "0000:0000:0000:0000:0000:ffff:0a4d:0001\n",
        );
        write(
            &port.join("gids/2"),
            "0000:0000:0000:0000:0000:0000:0000:0000\n",
        );
        write(&port.join("hw_counters/sent_pkts"), "12\n");
        write(&port.join("hw_counters/lifespan"), "10\n");
        let ports = ports(root.path()).unwrap();
        let [port] = &ports[..] else {
            panic!("{ports:?}")
        };
        assert_eq!((port.device.as_str(), port.port), ("rxe0", 1));
        assert_eq!(port.state().unwrap(), "ACTIVE");
        assert!(port.is_on("eth0") && !port.is_on("eth1"));
        let gids = port.gids().unwrap();
        assert_eq!(gids.len(), 2);
        assert!(gids.contains(&gid_of("10.77.0.1".parse().unwrap())));
        assert_eq!(
            port.counters(),
            BTreeMap::from([("sent_pkts".to_owned(), 12)])
        );
    }

    #[test]
    fn no_devices_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(ports(&root.path().join("infiniband")).unwrap(), []);
    }
}

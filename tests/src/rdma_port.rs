//! Which of a node's RDMA devices is its end of the link.

use anyhow::{Context, Result};
use rapidswap_vm::Profile;
use serde::Deserialize;

use crate::guest::Guest;

/// A port of a node's RDMA device, as `rdma -j link show` has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RdmaPort {
    /// The device's name.
    #[serde(rename = "ifname")]
    pub device: String,
    /// The port's number.
    pub port: u32,
    /// The network device on it; over InfiniBand none is said.
    netdev: Option<String>,
}

impl RdmaPort {
    /// The one that joins a node to the others.
    pub fn of(node: &Guest, profile: &Profile) -> Result<RdmaPort> {
        let name = node.node.name();
        let said = node.ok(&["rdma", "-j", "link", "show"])?;
        let device = profile.of(name).and_then(|node| node.device.as_deref());
        choose(&said, device, profile.netdev(name))
            .with_context(|| format!("no RDMA device of {name} is on the link: {said}"))
    }
}

/// The port on that network device. The first one of the device that is meant,
/// where none is known to be.
fn choose(said: &str, device: Option<&str>, netdev: &str) -> Option<RdmaPort> {
    let mut ports: Vec<RdmaPort> = serde_json::from_str(said).ok()?;
    ports.retain(|port| device.is_none_or(|device| port.device == device));
    let on = ports
        .iter()
        .position(|port| port.netdev.as_deref() == Some(netdev));
    let index = on.or(device.map(|_| 0))?;
    (index < ports.len()).then(|| ports.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARDS: &str = r#"[
        {"ifindex":0,"ifname":"mlx4_0","port":1,"state":"ACTIVE","physical_state":"LINK_UP"},
        {"ifindex":1,"ifname":"mlx5_0","port":1,"state":"DOWN","netdev":"ens1np0","netdev_index":2},
        {"ifindex":1,"ifname":"mlx5_0","port":2,"state":"ACTIVE","netdev":"ens1np1","netdev_index":3}
    ]"#;

    fn chosen(device: Option<&str>, netdev: &str) -> Option<(String, u32)> {
        choose(CARDS, device, netdev).map(|port| (port.device, port.port))
    }

    #[test]
    fn the_network_device_tells_the_port() {
        let port = |device: &str, port| Some((device.to_owned(), port));
        assert_eq!(chosen(None, "ens1np1"), port("mlx5_0", 2));
        assert_eq!(chosen(Some("mlx5_0"), "ens1np1"), port("mlx5_0", 2));
        assert_eq!(chosen(Some("mlx4_0"), "ib0"), port("mlx4_0", 1));
    }

    #[test]
    fn nothing_is_guessed() {
        assert_eq!(chosen(None, "ib0"), None);
        assert_eq!(chosen(Some("mlx5_1"), "ens1np0"), None);
        assert_eq!(choose("", None, "eth0"), None);
    }
}

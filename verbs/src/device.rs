//! What the machine's RDMA devices can do.

use std::ffi::CStr;

use rdma_sys as sys;

use crate::error::{Error, Result};

/// An open device.
///
/// # Invariants
///
/// `context` is open until `drop`.
#[derive(Debug)]
pub struct Device {
    context: *mut sys::ibv_context,
    name: String,
}

/// Limits of a device that matter to Rapidswap.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ibv_query_device(3)")]
pub struct DeviceAttributes {
    pub vendor_id: u32,
    pub vendor_part_id: u32,
    pub max_mr_size: u64,
    pub max_mr: i64,
    pub max_qp: i64,
    pub max_qp_wr: i64,
    pub max_sge: i64,
    pub max_sge_rd: i64,
    pub max_cq: i64,
    pub max_cqe: i64,
    pub max_pd: i64,
    pub max_qp_rd_atom: i64,
    pub max_qp_init_rd_atom: i64,
    pub max_srq: i64,
}

/// State of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortAttributes {
    /// Whether it carries traffic.
    pub active: bool,
    /// Largest packet payload now.
    pub active_mtu: u32,
    /// Largest it could have.
    pub max_mtu: u32,
    /// Whether it is Ethernet and not InfiniBand.
    pub ethernet: bool,
}

/// Opens all devices there are.
pub fn devices() -> Result<Vec<Device>> {
    let mut count = 0;
    // SAFETY: a place for the count; the list is freed below.
    let list = unsafe { sys::ibv_get_device_list(&mut count) };
    if list.is_null() {
        let error = Error::last("list RDMA devices");
        return match error.errno() {
            Some(nix::libc::ENOSYS | nix::libc::ENOENT) => Ok(Vec::new()),
            _ => Err(error),
        };
    }
    let mut open = Vec::new();
    for i in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: `count` entries, valid until the list is freed; an opened
        // device stays valid after that.
        unsafe {
            let device = *list.add(i);
            let name = CStr::from_ptr(sys::ibv_get_device_name(device))
                .to_string_lossy()
                .into_owned();
            let context = sys::ibv_open_device(device);
            if !context.is_null() {
                // INVARIANT: just opened.
                open.push(Device { context, name });
            }
        }
    }
    // SAFETY: the list from above, not used any more.
    unsafe { sys::ibv_free_device_list(list) };
    Ok(open)
}

impl Device {
    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its limits.
    pub fn attributes(&self) -> Result<DeviceAttributes> {
        // SAFETY: all-zero is a valid ibv_device_attr: integers only.
        let mut raw: sys::ibv_device_attr = unsafe { std::mem::zeroed() };
        // SAFETY: an open context and a place for the answer.
        match unsafe { sys::ibv_query_device(self.context, &mut raw) } {
            0 => Ok(DeviceAttributes {
                vendor_id: raw.vendor_id,
                vendor_part_id: raw.vendor_part_id,
                max_mr_size: raw.max_mr_size,
                max_mr: raw.max_mr.into(),
                max_qp: raw.max_qp.into(),
                max_qp_wr: raw.max_qp_wr.into(),
                max_sge: raw.max_sge.into(),
                max_sge_rd: raw.max_sge_rd.into(),
                max_cq: raw.max_cq.into(),
                max_cqe: raw.max_cqe.into(),
                max_pd: raw.max_pd.into(),
                max_qp_rd_atom: raw.max_qp_rd_atom.into(),
                max_qp_init_rd_atom: raw.max_qp_init_rd_atom.into(),
                max_srq: raw.max_srq.into(),
            }),
            code => Err(Error::code("query the device", code)),
        }
    }

    /// State of a port; they count from 1.
    pub fn port(&self, port: u8) -> Result<PortAttributes> {
        // SAFETY: all-zero is a valid ibv_port_attr: integers only.
        let mut raw: sys::ibv_port_attr = unsafe { std::mem::zeroed() };
        // SAFETY: an open context and a place for the answer.
        match unsafe { sys::ibv_query_port(self.context, port, &mut raw) } {
            0 => Ok(PortAttributes {
                active: raw.state == sys::ibv_port_state::IBV_PORT_ACTIVE,
                active_mtu: mtu(raw.active_mtu),
                max_mtu: mtu(raw.max_mtu),
                // IBV_LINK_LAYER_ETHERNET
                ethernet: raw.link_layer == 2,
            }),
            code => Err(Error::code("query the port", code)),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: by the invariant open, and nothing was made on it.
        unsafe { sys::ibv_close_device(self.context) };
    }
}

// The enumeration counts powers of two from 1 = 256.
fn mtu(raw: sys::ibv_mtu::Type) -> u32 {
    if (1..=5).contains(&raw) {
        128 << raw
    } else {
        0
    }
}

//! remoteswap-server.
fn main() {}

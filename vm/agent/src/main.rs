//! rapidswap-agent.
fn main() {}

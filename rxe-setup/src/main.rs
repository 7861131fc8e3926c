//! rapidswap-rxe-setup.
fn main() {}

//! rapidswap-kernel.

//! rapidswap-protocol.

//! remoteswap-logic.

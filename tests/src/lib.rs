//! rapidswap-tests.

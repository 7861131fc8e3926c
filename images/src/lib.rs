//! rapidswap-images.

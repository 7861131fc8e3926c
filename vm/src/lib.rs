//! rapidswap-vm.

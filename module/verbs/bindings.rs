// SPDX-License-Identifier: GPL-2.0-only

//! The C declarations that bindgen makes of `bindings.h`, as `Kbuild` lists them.
//!
//! Takes no lock, allocates nothing.

#![allow(
    clippy::all,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;

type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!("../bindings_generated.rs");

//! The allocator's one setting: freed memory goes back to the system soon.
//!
//! mimalloc keeps freed pages for a while in case they are needed again. Kept for long they add to the resident set, which
//! the memory limit is about; given back at once, a buffer that comes again for the next part is cleared by the kernel
//! every time. What was measured: docs/performance.md, "Page faults".

/// `mi_option_purge_delay` of mimalloc's public header (`mimalloc.h`), versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Milliseconds that freed memory is kept.
const KEPT: std::ffi::c_long = 10;

/// Sets the purge delay. To be called once, before threads are started.
pub fn give_back_soon() {
    // SAFETY: mi_option_set stores a number in a table of options; it takes any option number and
    // value, and may be called at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT) };
}

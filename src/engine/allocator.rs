//! The allocator's settings: memory comes in huge pages, and freed memory goes back to the system soon.
//!
//! A run goes through tens of megabytes again and again (candidates, affinities, tables of hashes), of which a processor knows
//! where 4 KiB each lie for a few thousand pages only; and what comes new is cleared by the kernel page by page. Pages of 2 MiB
//! are asked for with `madvise`, so they come where the system leaves the choice to programs or uses them anyway.
//!
//! mimalloc keeps freed pages for a while in case they are needed again. Kept for long they add to the resident set, which
//! the memory limit is about; given back at once, a buffer that comes again for the next part is cleared by the kernel
//! every time. What was measured: docs/performance.md, "Page faults".

use libmimalloc_sys::mi_option_large_os_pages as ALLOW_LARGE_OS_PAGES;
use std::ffi::c_long;

/// Options of mimalloc's public header (`mimalloc.h`), version 3, that its crate does not name.
type Setting = libmimalloc_sys::mi_option_t;
const PURGE_DELAY: Setting = 15;
const MINIMAL_PURGE_SIZE: Setting = 44;

/// KiB of a huge page. Smaller pieces are not given back: that would break the page up, and what comes again is cleared in small
/// ones.
const HUGE_PAGE: c_long = 2048;
/// Milliseconds that freed memory is kept.
const KEPT: c_long = 10;
/// A memory limit in bytes below which every page counts: what is kept or rounded up, some 50 MiB, is a tenth of this.
const TIGHT: u64 = 512 << 20;
/// KiB of the smallest piece that is given back under a tight limit.
const SMALL_PIECE: c_long = 64;

/// Asks for huge pages, unless the environment says otherwise (`MIMALLOC_ALLOW_LARGE_OS_PAGES=0`). To be called before anything is
/// allocated: the allocator asks once, when it reserves its first gigabyte.
pub extern "C" fn in_huge_pages() {
    // SAFETY: mi_option_set_default stores a number in a table of options if the environment has set none; it takes any option
    // number and value, and may be called at any time, before the allocator's own initialisation too.
    unsafe {
        libmimalloc_sys::mi_option_set_default(ALLOW_LARGE_OS_PAGES, 1);
        libmimalloc_sys::mi_option_set_default(MINIMAL_PURGE_SIZE, HUGE_PAGE);
    }
}

/// Sets the purge delay, unless the environment does (`MIMALLOC_PURGE_DELAY`). To be called once, before threads are started.
pub fn give_back_soon() {
    // SAFETY: as above.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT) };
}

/// Keeps nothing and rounds nothing up where the memory limit is tight.
pub fn suit(limit: u64) {
    if limit >= TIGHT {
        return;
    }
    // SAFETY: as above.
    unsafe {
        libmimalloc_sys::mi_option_set_default(MINIMAL_PURGE_SIZE, SMALL_PIECE);
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0);
    }
    // SAFETY: sets a flag of this process: from now on it gets no huge pages, whatever was asked for. It can only fail on a
    // system without them.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

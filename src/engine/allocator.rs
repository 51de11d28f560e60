//! The allocator's settings: memory comes in small pages, and freed memory goes back to the system soon.
//!
//! In pages of 2 MiB a run resides in an eighth more memory, and a machine that shares its memory with others (a virtual one that gives
//! free pages back to its host) clears them at half a gigabyte a second. The few tables that are read here and there
//! ask for them by themselves ([`crate::numerics::pages`]).
//!
//! mimalloc keeps freed pages for a while in case they are needed again. Kept for long they add to the resident set, which
//! the memory limit is about; given back at once, a buffer that comes again for the next part is cleared by the kernel
//! every time. What was measured: docs/performance.md, "Page faults" and "Small pages again".

use std::ffi::c_long;

/// Options of mimalloc's public header (`mimalloc.h`), version 3, that its crate does not name.
type Setting = libmimalloc_sys::mi_option_t;
const PURGE_DELAY: Setting = 15;
const ALLOW_THP: Setting = 43;
const MINIMAL_PURGE_SIZE: Setting = 44;

/// Milliseconds that freed memory is kept.
const KEPT: c_long = 10;
/// KiB of the smallest piece that is given back.
const PIECE: c_long = 64;
/// A memory limit in bytes below which every page counts: what is kept or rounded up, some 50 MiB, is a tenth of this.
const TIGHT: u64 = 512 << 20;

/// Asks for no huge pages, unless the environment says otherwise (`MIMALLOC_ALLOW_THP=1`). To be called before anything is
/// allocated: the allocator asks once, when it reserves its first gigabyte.
pub extern "C" fn in_small_pages() {
    // SAFETY: mi_option_set_default stores a number in a table of options if the environment has set none; it takes any option
    // number and value, and may be called at any time, before the allocator's own initialisation too.
    unsafe {
        libmimalloc_sys::mi_option_set_default(ALLOW_THP, 0);
        libmimalloc_sys::mi_option_set_default(MINIMAL_PURGE_SIZE, PIECE);
    }
}

/// Sets the purge delay, unless the environment does (`MIMALLOC_PURGE_DELAY`). To be called once, before threads are started.
pub fn give_back_soon() {
    // SAFETY: as above.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT) };
}

/// Keeps nothing where the memory limit is tight; elsewhere gives huge pages to tables that ask for them, which the
/// allocator has turned off for all of the process.
pub fn suit(limit: u64) {
    if limit < TIGHT {
        // SAFETY: as above.
        unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0) };
        return;
    }
    #[cfg(target_os = "linux")]
    {
        /// Of `linux/prctl.h`, since Linux 6.18: turned off but for memory that asks.
        const EXCEPT_ADVISED: libc::c_ulong = 2;
        // SAFETY: both set a flag of this process, which concerns no content of its memory. They fail on a system
        // without huge pages, and the first on one that does not know the exception.
        unsafe {
            if libc::prctl(libc::PR_SET_THP_DISABLE, 1, EXCEPT_ADVISED, 0, 0) != 0 {
                libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
            }
        }
    }
}

//! Large tables in pages of 2 MiB where the system gives them on request.

/// An empty vector whose memory will be huge pages as it is filled, where Linux is set to give them to those
/// who ask (`transparent_hugepage/enabled`: `madvise`). What is read here and there then misses few
/// translations of addresses: one of them is 2 MiB instead of 4 KiB. Elsewhere, and where it is less than
/// such a page, a vector like any other.
pub fn in_huge_pages<T>(capacity: usize) -> Vec<T> {
    let table = Vec::with_capacity(capacity);
    #[cfg(target_os = "linux")]
    ask(&table);
    table
}

/// So many times `value`, in such pages.
pub fn filled<T: Clone>(value: T, count: usize) -> Vec<T> {
    let mut table = in_huge_pages(count);
    table.resize(count, value);
    table
}

/// Asks for the pages that are wholly within the memory of a vector: no other memory is concerned.
#[cfg(target_os = "linux")]
fn ask<T>(table: &Vec<T>) {
    const PAGE: usize = 2 << 20;
    let memory = table.as_ptr().cast::<u8>();
    let bytes = table.capacity() * size_of::<T>();
    let before = memory.align_offset(PAGE);
    let inside = bytes.saturating_sub(before) / PAGE * PAGE;
    if inside > 0 {
        // SAFETY: `before + inside` is at most `bytes`, so the range is within the vector's allocation, and
        // this advice changes no content. If it is refused, the pages stay small.
        unsafe {
            libc::madvise(memory.add(before).cast_mut().cast(), inside, libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_what_others_hold() {
        for capacity in [0, 3, (5 << 20) / 4] {
            let mut table: Vec<u32> = in_huge_pages(capacity);
            assert!(table.is_empty() && table.capacity() >= capacity);
            let before = table.as_ptr();
            table.extend(0..capacity as u32);
            assert!(table.as_ptr() == before && table.iter().copied().eq(0..capacity as u32));
        }
        assert_eq!(in_huge_pages::<()>(9).len(), 0);
        for count in [0, 1, 3 << 20] {
            let table = filled([7u16, 8], count);
            assert!(table.len() == count && table.iter().all(|value| *value == [7, 8]));
        }
    }
}

//! The different values of a column in the order of their first rows, and which of them each row has.
//!
//! Open addressing, at most half full; a table never shrinks and is only emptied for the next row group.

use super::statistics::Number;
use crate::numerics::simd::prefetch;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Slots of the smallest table.
const SLOTS: usize = 256;
/// Room for the length before a text.
const LENGTH: usize = 4;

/// Entries of a table of numbers that the near cache does not hold beside those of the other columns.
const LARGE: usize = 2048;
/// Values whose places in a large table are asked for together, before the first is looked up.
const AHEAD: usize = 256;

/// Numbers, told apart by their bits.
pub struct Numbers<T> {
    /// The index of a value plus one; zero is empty. Four bytes, so that the tables of many columns stay in the cache.
    slots: Vec<u32>,
    entries: Vec<T>,
}

impl<T: Number> Numbers<T> {
    pub fn new() -> Self {
        Self { slots: vec![0; SLOTS], entries: Vec::new() }
    }

    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// The index of a value.
    #[inline]
    pub fn index_of(&mut self, value: T) -> u32 {
        let bits = value.bits();
        let mask = self.slots.len() - 1;
        let mut at = slot_of(bits, self.slots.len());
        loop {
            let number = self.slots[at];
            match self.entries.get(number.wrapping_sub(1) as usize) {
                Some(known) if known.bits() == bits => return number - 1,
                Some(_) => at = (at + 1) & mask,
                None => return self.insert(value, at),
            }
        }
    }

    /// Appends the indices of values. A part goes through its columns in turn, so that a large table has left the cache
    /// until its next page comes, and a look-up waits twice: for the slot and for the entry.
    pub fn put_indices(&mut self, values: &[T], out: &mut Vec<u32>) {
        for values in values.chunks(AHEAD) {
            if self.entries.len() >= LARGE {
                values.iter().for_each(|value| self.expect(*value));
                values.iter().for_each(|value| self.expect_entry(*value));
            }
            out.extend(values.iter().map(|value| self.index_of(*value)));
        }
    }

    /// Asks for the slot that a look-up of the value begins at.
    pub fn expect(&self, value: T) {
        prefetch(&self.slots[slot_of(value.bits(), self.slots.len())]);
    }

    /// Asks for the entry in that slot.
    pub fn expect_entry(&self, value: T) {
        let number = self.slots[slot_of(value.bits(), self.slots.len())];
        if let Some(entry) = self.entries.get(number.wrapping_sub(1) as usize) {
            prefetch(entry);
        }
    }

    #[cold]
    fn insert(&mut self, value: T, at: usize) -> u32 {
        let index = self.entries.len() as u32;
        self.entries.push(value);
        self.slots[at] = index + 1;
        if self.entries.len() * 2 > self.slots.len() {
            let size = self.slots.len() * 2;
            self.slots.clear();
            self.slots.resize(size, 0);
            for (index, entry) in self.entries.iter().enumerate() {
                let mut at = slot_of(entry.bits(), size);
                while self.slots[at] != 0 {
                    at = (at + 1) & (size - 1);
                }
                self.slots[at] = index as u32 + 1;
            }
        }
        index
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.slots.fill(0);
    }
}

/// A slot by the upper bits of a product, which depend on all bits of the value.
#[inline]
fn slot_of(bits: u64, slots: usize) -> usize {
    let mixed = (bits ^ bits >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - slots.trailing_zeros())) as usize
}

/// Texts.
pub struct Texts {
    /// The upper half of a text's hash, and its index plus one; zero is empty.
    slots: Vec<(u32, u32)>,
    /// All entries as a page has them: length and bytes.
    plain: Vec<u8>,
    starts: Vec<usize>,
    hash: FixedState,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            slots: vec![(0, 0); SLOTS],
            plain: Vec::new(),
            starts: Vec::new(),
            hash: FixedState::with_seed(0),
        }
    }
}

impl Texts {
    /// The entries as a dictionary page has them.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// The index of a text, and whether it is new.
    pub fn index_of(&mut self, text: &[u8]) -> (u32, bool) {
        let hash = self.hash.hash_one(text);
        let (short, mask) = ((hash >> 32) as u32, self.slots.len() - 1);
        let mut at = short as usize & mask;
        loop {
            let (known, number) = self.slots[at];
            if number == 0 {
                break;
            }
            if known == short && self.entry(number as usize - 1) == text {
                return (number - 1, false);
            }
            at = (at + 1) & mask;
        }
        let index = self.starts.len() as u32;
        self.starts.push(self.plain.len());
        put_text(text, &mut self.plain);
        self.slots[at] = (short, index + 1);
        if self.starts.len() * 2 > self.slots.len() {
            self.grow();
        }
        (index, true)
    }

    fn entry(&self, index: usize) -> &[u8] {
        let end = self.starts.get(index + 1).copied().unwrap_or(self.plain.len());
        &self.plain[self.starts[index] + LENGTH..end]
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 4;
        let old = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
        for slot in old.into_iter().filter(|slot| slot.1 != 0) {
            let mut at = slot.0 as usize & (size - 1);
            while self.slots[at].1 != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = slot;
        }
    }

    pub fn clear(&mut self) {
        self.plain.clear();
        self.starts.clear();
        self.slots.fill((0, 0));
    }
}

/// Appends a text as PLAIN pages have it. It is from an Arrow array, so its length fits.
#[inline]
pub fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::hash_u64;
    use std::collections::HashMap;

    #[test]
    fn numbers_come_in_the_order_of_their_first_rows() {
        let mut numbers = Numbers::<i64>::new();
        // Again and again the same and new ones, over what is large and over pages of any length; then all but the same slot.
        let spread = |row: u64| hash_u64(row % 9000 % (row / 7 + 1), 1) as i64;
        let close = |row: u64| ((row % 5000) << 32) as i64;
        for value in [spread as fn(u64) -> i64, close] {
            let values: Vec<i64> = (0..40_000).map(value).collect();
            let mut naive = HashMap::new();
            let expected: Vec<u32> = values
                .iter()
                .map(|value| {
                    let next = naive.len() as u32;
                    *naive.entry(*value).or_insert(next)
                })
                .collect();
            let mut found = Vec::new();
            let mut rest = values.as_slice();
            while let Some((page, more)) =
                rest.split_at_checked((rest.len() % 2999 + 1).min(rest.len())).filter(|two| !two.0.is_empty())
            {
                numbers.put_indices(page, &mut found);
                rest = more;
            }
            assert!(found == expected);
            assert!(numbers.entries().len() > 2 * LARGE && numbers.entries().len() == naive.len());
            assert!(
                values.iter().zip(&found).all(|(value, index)| numbers.entries()[*index as usize] == *value)
            );
            numbers.clear();
        }
    }
}

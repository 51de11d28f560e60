//! Rows of a stretch by customer: a radix sort of row numbers by 64-bit key.
//!
//! The keys of a stretch are a narrow range, so few of their bits differ. Those bits and the row's number
//! share one 64-bit word, and the words are sorted from the least digit up (LSD radix sort, Knuth, *The Art
//! of Computer Programming* 3, 5.2.5): a few passes over 8 bytes a row, and no comparison. Where they do not
//! fit a word, pairs are compared. Rows of equal keys stay in the order of their numbers.
//!
//! Memory: 20 bytes a row, kept from one stretch to the next.

/// Bits of a digit: 2,048 counters stay in the nearest cache.
const DIGIT: u32 = 11;

/// The sort and its buffers.
#[derive(Debug, Default)]
pub struct RowOrder {
    words: Vec<u64>,
    spare: Vec<u64>,
    counts: Vec<u32>,
    /// Row numbers by key.
    pub rows: Vec<u32>,
    /// Where in `rows` each key's rows end.
    pub ends: Vec<u32>,
}

impl RowOrder {
    /// Orders the rows `start`, `start` + 1, … (below 2³²) by their keys.
    pub fn sort(&mut self, keys: &[u64], start: u32) {
        self.rows.clear();
        self.ends.clear();
        let Some(first) = keys.first() else { return };
        let differing = keys.iter().fold(0, |bits, key| bits | (key ^ first));
        let low = differing.trailing_zeros().min(63);
        let key_bits = (64 - differing.leading_zeros()).saturating_sub(low);
        let row_bits = usize::BITS - (keys.len() - 1).leading_zeros();
        if key_bits + row_bits > 64 {
            self.compare(keys, start);
            return;
        }
        let mask = if key_bits == 64 { u64::MAX } else { (1 << key_bits) - 1 };
        let word = |(row, key): (usize, &u64)| ((key >> low) & mask).unbounded_shl(row_bits) | row as u64;
        self.words.clear();
        self.words.extend(keys.iter().enumerate().map(word));
        self.radix(key_bits, row_bits);
        let row_mask = 1u64.unbounded_shl(row_bits).wrapping_sub(1);
        self.rows.extend(self.words.iter().map(|word| (word & row_mask) as u32 + start));
        let key = |word: &u64| word.unbounded_shr(row_bits);
        let changes = self.words.windows(2).enumerate().filter(|(_, two)| key(&two[0]) != key(&two[1]));
        self.ends.extend(changes.map(|(at, _)| at as u32 + 1));
        self.ends.push(keys.len() as u32);
    }

    /// Orders words, which are lent to be changed between the ends of what is equal above their lowest `low_bits`.
    ///
    /// One pass by the upper bits that differ leaves but a few of equal bits together, which are put in order by comparing.
    pub fn sort_words(&mut self, words: &[u64], low_bits: u32) -> (&mut Vec<u64>, &[u32]) {
        self.words.clear();
        self.words.extend_from_slice(words);
        self.ends.clear();
        let Some(first) = words.first() else { return (&mut self.words, &self.ends) };
        let differing = words.iter().fold(0, |bits, word| bits | (word ^ first)) >> low_bits;
        let key_bits = u64::BITS - differing.leading_zeros();
        let digit = key_bits.min(DIGIT);
        let shift = low_bits + key_bits - digit;
        self.radix(digit, shift);
        for near in self.words.chunk_by_mut(|a, b| a >> shift == b >> shift) {
            near.sort_unstable();
        }
        let key = |word: &u64| word >> low_bits;
        let changes = self.words.windows(2).enumerate().filter(|(_, two)| key(&two[0]) != key(&two[1]));
        self.ends.extend(changes.map(|(at, _)| at as u32 + 1));
        self.ends.push(words.len() as u32);
        (&mut self.words, &self.ends)
    }

    /// Sorts the words by the `key_bits` above the lowest `row_bits`.
    fn radix(&mut self, key_bits: u32, row_bits: u32) {
        let passes = key_bits.div_ceil(DIGIT);
        let digit = key_bits.div_ceil(passes.max(1));
        let (size, last) = (1usize << digit, (1u64 << digit) - 1);
        // Every word of it is written before it is read.
        self.spare.resize(self.words.len(), 0);
        // All counts in one reading; the passes then only move.
        self.counts.clear();
        self.counts.resize(size * passes as usize, 0);
        for word in &self.words {
            let mut rest = word.unbounded_shr(row_bits);
            for counts in self.counts.chunks_exact_mut(size) {
                counts[(rest & last) as usize] += 1;
                rest >>= digit;
            }
        }
        for (pass, counts) in self.counts.chunks_exact_mut(size).enumerate() {
            let shift = row_bits + pass as u32 * digit;
            let rows = self.words.len() as u32;
            if counts.contains(&rows) {
                continue;
            }
            let mut start = 0;
            for count in counts.iter_mut() {
                start += std::mem::replace(count, start);
            }
            for word in &self.words {
                let next = &mut counts[(word.unbounded_shr(shift) & last) as usize];
                self.spare[*next as usize] = *word;
                *next += 1;
            }
            std::mem::swap(&mut self.words, &mut self.spare);
        }
    }

    /// The same by comparing.
    fn compare(&mut self, keys: &[u64], start: u32) {
        let key = |row: u32| keys[(row - start) as usize];
        self.rows.extend(start..start + keys.len() as u32);
        self.rows.sort_unstable_by_key(|row| (key(*row), *row));
        let changes = self.rows.windows(2).enumerate().filter(|(_, two)| key(two[0]) != key(two[1]));
        self.ends.extend(changes.map(|(at, _)| at as u32 + 1));
        self.ends.push(keys.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(order: &mut RowOrder, keys: &[u64]) {
        order.sort(keys, 1000);
        let mut expected: Vec<u32> = (1000..1000 + keys.len() as u32).collect();
        expected.sort_by_key(|row| keys[*row as usize - 1000]);
        assert_eq!(order.rows, expected);
        let key = |row: u32| keys[row as usize - 1000];
        let mut at = 0;
        for end in &order.ends {
            let stretch = &order.rows[at..*end as usize];
            assert!(stretch.iter().all(|row| key(*row) == key(stretch[0])));
            at = *end as usize;
        }
        let distinct: std::collections::BTreeSet<&u64> = keys.iter().collect();
        assert_eq!((at, order.ends.len()), (keys.len(), distinct.len()));
    }

    proptest! {
        #[test]
        fn rows_come_by_key_and_number(
            keys in prop::collection::vec(any::<u64>(), 0..300),
            low in 0u32..64,
            width in 0u32..65,
            repeats in 1usize..4,
        ) {
            // Every width and place of the bits that differ, and the same buffers again.
            let mask = if width == 64 { u64::MAX } else { ((1u64 << width) - 1).unbounded_shl(low) };
            let keys: Vec<u64> = keys.iter().map(|key| (key & mask) | (0xA5A5_u64.rotate_left(low) & !mask)).collect();
            let mut order = RowOrder::default();
            check(&mut order, &keys.repeat(repeats));
            check(&mut order, &keys);
        }
    }

    #[test]
    fn one_row_and_one_key() {
        let mut order = RowOrder::default();
        check(&mut order, &[7]);
        check(&mut order, &[7; 1000]);
        check(&mut order, &[]);
    }
}

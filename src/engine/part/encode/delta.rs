//! Integers as differences (Encodings.md, DELTA_BINARY_PACKED): blocks of 128, in each the least difference and four
//! packed runs of 32, each as wide as its largest needs.

use super::bits::{PACKED_TOGETHER, pack, put_varint, put_zigzag, width_of};

const BLOCK: usize = 128;
const RUNS: usize = BLOCK / PACKED_TOGETHER;

/// Appends all values of a page. Differences wrap around at the width of the column, as the format has it: at 32 bits
/// if it `is_small`.
pub fn put_deltas(values: &[i64], is_small: bool, out: &mut Vec<u8>) {
    put_varint(BLOCK as u64, out);
    put_varint(RUNS as u64, out);
    put_varint(values.len() as u64, out);
    put_zigzag(values.first().copied().unwrap_or(0), out);
    let mut at = 1;
    while at < values.len() {
        let end = values.len().min(at + BLOCK);
        put_block(&values[at - 1..end], is_small, out);
        at = end;
    }
}

/// Appends the differences between up to 129 values.
fn put_block(values: &[i64], is_small: bool, out: &mut Vec<u8>) {
    let count = values.len() - 1;
    let mut deltas = [0i64; BLOCK];
    for ((delta, before), value) in deltas.iter_mut().zip(values).zip(&values[1..]) {
        *delta = value.wrapping_sub(*before);
    }
    if is_small {
        deltas.iter_mut().for_each(|delta| *delta = i64::from(*delta as i32));
    }
    let least = least(&deltas[..count]);
    put_zigzag(least, out);
    // What follows the last value is zero, and packed runs without any value have no width and no bytes.
    let mut above = [0u64; BLOCK];
    for (above, delta) in above[..count].iter_mut().zip(&deltas) {
        *above = delta.wrapping_sub(least) as u64;
    }
    let (runs, _) = above.as_chunks::<PACKED_TOGETHER>();
    let widths: [u32; RUNS] =
        std::array::from_fn(|run| width_of(runs[run].iter().fold(0, |all, above| all | above)));
    out.extend_from_slice(&widths.map(|width| width as u8));
    for (run, width) in runs.iter().zip(widths).take(count.div_ceil(PACKED_TOGETHER)) {
        pack(run, width, out);
    }
}

/// The least of some numbers, in four lanes that do not wait for each other.
fn least(values: &[i64]) -> i64 {
    let mut lanes = [i64::MAX; 4];
    let (fours, rest) = values.as_chunks::<4>();
    for four in fours {
        for (lane, value) in lanes.iter_mut().zip(four) {
            *lane = (*lane).min(*value);
        }
    }
    rest.iter().chain(&lanes).copied().min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(values: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        put_deltas(values, false, &mut out);
        out
    }

    #[test]
    fn known_bytes() {
        assert_eq!(encoded(&[]), [128, 1, 4, 0, 0]);
        assert_eq!(encoded(&[-3]), [128, 1, 4, 1, 5]);
        // Encodings.md, example 1: equal differences need no bits.
        assert_eq!(encoded(&[1, 2, 3, 4, 5]), [128, 1, 4, 5, 2, 2, 0, 0, 0, 0]);
        // Example 2: least difference -2, above it 0, 0, 0, 3, 3, 3, 3.
        assert_eq!(
            encoded(&[7, 5, 3, 1, 2, 3, 4, 5]),
            [128, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn extremes_wrap_around() {
        // i64::MAX - i64::MIN is -1, i64::MIN - i64::MAX is 1.
        assert_eq!(
            encoded(&[i64::MIN, i64::MAX, i64::MIN])[3..],
            [3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 2, 0, 0, 0, 0b1000, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_block_more() {
        let values: Vec<i64> = (0..130).collect();
        assert_eq!(encoded(&values), [128, 1, 4, 130, 1, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }
}

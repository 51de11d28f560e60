//! Numbers of few bits, packed one after the other from the lowest bit up, and variable-length integers.
//!
//! Thirty-two values are packed at once: neighbours are merged into words of twice the width until a word is wider
//! than 32 bits, which vectorises, and only what is left goes bit by bit through an accumulator.

/// Values that are packed at once: a number of bytes at any width.
pub const PACKED_TOGETHER: usize = 32;

/// Bits of the largest of some values.
pub fn width_of(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

/// Appends an unsigned LEB128.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer so that small magnitudes are short.
pub fn put_zigzag(value: i64, out: &mut Vec<u8>) {
    put_varint(((value << 1) ^ (value >> 63)) as u64, out);
}

/// Appends 32 values of `width` bits each, `4 * width` bytes. No value may be wider.
pub fn pack(values: &[u64; PACKED_TOGETHER], width: u32, out: &mut Vec<u8>) {
    match width {
        0 => {}
        1..=32 => pack_pairs(&merge(values, width), 2 * width, out),
        _ => put_words(values, width, out),
    }
}

/// As [`pack`], for indices, which have at most 32 bits.
pub fn pack_indices(values: &[u32; PACKED_TOGETHER], width: u32, out: &mut Vec<u8>) {
    let mut pairs = [0; 16];
    for (pair, two) in pairs.iter_mut().zip(values.chunks_exact(2)) {
        *pair = u64::from(two[0]) | u64::from(two[1]) << width;
    }
    pack_pairs(&pairs, 2 * width, out);
}

/// Goes on merging while a word of twice the width has room.
fn pack_pairs(pairs: &[u64; 16], width: u32, out: &mut Vec<u8>) {
    if width > 32 {
        return put_words(pairs, width, out);
    }
    let fours: [u64; 8] = merge(pairs, width);
    if 2 * width > 32 {
        return put_words(&fours, 2 * width, out);
    }
    let eights: [u64; 4] = merge(&fours, 2 * width);
    if 4 * width > 32 {
        return put_words(&eights, 4 * width, out);
    }
    let sixteens: [u64; 2] = merge(&eights, 4 * width);
    put_words(&sixteens, 8 * width, out);
}

fn merge<const N: usize, const HALF: usize>(values: &[u64; N], width: u32) -> [u64; HALF] {
    let mut merged = [0; HALF];
    for (word, two) in merged.iter_mut().zip(values.chunks_exact(2)) {
        *word = two[0] | two[1] << width;
    }
    merged
}

/// Appends words of `width` bits; together they are a number of bytes.
fn put_words(words: &[u64], width: u32, out: &mut Vec<u8>) {
    let (mut held, mut bits) = (0u64, 0u32);
    for &word in words {
        held |= word << bits;
        bits += width;
        if bits >= u64::BITS {
            out.extend_from_slice(&held.to_le_bytes());
            bits -= u64::BITS;
            // What did not fit; nothing if the word ended with the other one.
            held = word.checked_shr(width - bits).unwrap_or(0);
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..bits as usize / 8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the format says it.
    fn slowly(values: &[u64], width: u32) -> Vec<u8> {
        let mut out = vec![0u8; (values.len() * width as usize).div_ceil(8)];
        for (number, value) in values.iter().enumerate() {
            for bit in 0..width as usize {
                let at = number * width as usize + bit;
                out[at / 8] |= ((value >> bit & 1) as u8) << (at % 8);
            }
        }
        out
    }

    #[test]
    fn packs_every_width_as_the_format_says() {
        for width in 0..=64 {
            let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
            let values: [u64; 32] = std::array::from_fn(|i| {
                (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7) & mask
            });
            let mut out = vec![1, 2, 3];
            pack(&values, width, &mut out);
            assert_eq!(out[3..], slowly(&values, width), "width {width}");
            if width <= 32 {
                let mut out = Vec::new();
                pack_indices(&values.map(|value| value as u32), width, &mut out);
                assert_eq!(out, slowly(&values, width), "indices of width {width}");
            }
        }
    }

    #[test]
    fn the_example_of_the_format() {
        // Encodings.md: 0 to 7 in three bits.
        let mut values = [0; 32];
        for (number, value) in values.iter_mut().enumerate().take(8) {
            *value = number as u64;
        }
        let mut out = Vec::new();
        pack(&values, 3, &mut out);
        assert_eq!(out[..3], [0b1000_1000, 0b1100_0110, 0b1111_1010]);
    }

    #[test]
    fn integers_of_variable_length() {
        let mut out = Vec::new();
        put_varint(0, &mut out);
        put_varint(127, &mut out);
        put_varint(128, &mut out);
        put_varint(u64::MAX, &mut out);
        assert_eq!(out, [0, 127, 0x80, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        let mut out = Vec::new();
        for value in [0, -1, 1, -2, i64::MIN] {
            put_zigzag(value, &mut out);
        }
        assert_eq!(out, [0, 1, 2, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!([0, 1, 2, 255, 256].map(width_of), [0, 1, 2, 8, 9]);
    }
}

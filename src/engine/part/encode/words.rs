//! Snappy's format for pages of 64-bit numbers: whole values are found again, not strings of bytes.
//!
//! Numbers repeat whole or not at all, so that one look a value finds nearly all that the usual search for four equal
//! bytes finds, several times quicker. (format_description.txt of Snappy: a length, then literals and copies.)

use super::bits::put_varint;

const WIDTH: usize = size_of::<u64>();
/// Places by the hash of a value: more than values in a page, 16 KiB.
const PLACES_BITS: u32 = 12;
/// How far back a copy with two bytes of offset reaches, and its longest length.
const FARTHEST: usize = u16::MAX as usize;
const LONGEST: usize = 64 / WIDTH;

/// Where values were seen last in a page.
pub struct Words {
    places: Vec<u32>,
}

impl Words {
    pub fn new() -> Self {
        Self { places: vec![0; 1 << PLACES_BITS] }
    }

    /// Compresses a page whose values begin at `start`.
    pub fn compress(&mut self, page: &[u8], start: usize, out: &mut Vec<u8>) {
        out.clear();
        put_varint(page.len() as u64, out);
        self.places.fill(0);
        let (words, _) = page[start..].as_chunks::<WIDTH>();
        let (mut done, mut at) = (0, 0);
        while let Some(word) = words.get(at) {
            let hash = u64::from_le_bytes(*word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let place = &mut self.places[(hash >> (u64::BITS - PLACES_BITS)) as usize];
            // One more than the number of the value; zero is none.
            let known = std::mem::replace(place, at as u32 + 1).wrapping_sub(1) as usize;
            let back = at.wrapping_sub(known) * WIDTH;
            if words.get(known) != Some(word) || back > FARTHEST {
                at += 1;
                continue;
            }
            let pairs = words[at..].iter().zip(&words[known..]).take(LONGEST);
            let length = pairs.take_while(|(one, other)| one == other).count();
            put_literal(&page[done..start + at * WIDTH], out);
            put_copy(back, length * WIDTH, out);
            at += length;
            done = start + at * WIDTH;
        }
        put_literal(&page[done..], out);
    }
}

fn put_literal(bytes: &[u8], out: &mut Vec<u8>) {
    for bytes in bytes.chunks(1 << 16) {
        let length = bytes.len() - 1;
        match length {
            0..60 => out.push((length as u8) << 2),
            60..256 => out.extend_from_slice(&[60 << 2, length as u8]),
            _ => out.extend_from_slice(&[61 << 2, length as u8, (length >> 8) as u8]),
        }
        out.extend_from_slice(bytes);
    }
}

/// Appends a copy of 8 to 64 bytes.
fn put_copy(back: usize, length: usize, out: &mut Vec<u8>) {
    if length < 12 && back < 2048 {
        out.extend_from_slice(&[1 | (length as u8 - 4) << 2 | ((back >> 8) as u8) << 5, back as u8]);
    } else {
        out.extend_from_slice(&[2 | (length as u8 - 1) << 2, back as u8, (back >> 8) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], levels: &[u8]) -> usize {
        let mut page = levels.to_vec();
        values.iter().for_each(|value| page.extend_from_slice(&value.to_le_bytes()));
        let mut out = Vec::new();
        Words::new().compress(&page, levels.len(), &mut out);
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&out).unwrap(), page);
        out.len()
    }

    #[test]
    fn known_bytes() {
        let mut out = Vec::new();
        let page: Vec<u8> = [1u64, 1, 2].iter().flat_map(|value| value.to_le_bytes()).collect();
        Words::new().compress(&page, 0, &mut out);
        // 24 bytes: a literal of 8, a copy of 8 from 8 back, a literal of 8.
        assert_eq!(out, [24, 28, 1, 0, 0, 0, 0, 0, 0, 0, 1 | 4 << 2, 8, 28, 2, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn snappy_reads_it() {
        assert_eq!(check(&[], &[]), 1);
        check(&[], &[1, 2, 3]);
        // A run is copied 64 bytes at a time.
        assert!(check(&[0.0; 2048], &[7; 5]) < 2048 / 8 * 3 + 20);
        let mixed: Vec<f64> =
            (0..2048).map(|n| if n % 3 == 0 { n as f64 / 7.0 } else { (n % 5) as f64 }).collect();
        assert!(check(&mixed, &[1; 100]) < 2048 * 8 * 2 / 3);
        // Nothing repeats; and what repeats is too far back for a copy.
        let all: Vec<f64> = (0..30_000).map(f64::from).collect();
        check(&all, &[]);
        let again: Vec<f64> = (0..30_000).map(|n| f64::from(n % 9000)).collect();
        check(&again, &[0; 70_000]);
    }
}

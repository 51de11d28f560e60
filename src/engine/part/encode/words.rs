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
    /// What places of the present page count from: those of pages before are less.
    before: u32,
}

impl Words {
    pub fn new() -> Self {
        Self { places: vec![0; 1 << PLACES_BITS], before: 1 }
    }

    /// Compresses a page whose values begin at `start` into the front of `out`, which grows where it has to; returns how many
    /// bytes it takes.
    pub fn compress(&mut self, page: &[u8], start: usize, out: &mut Vec<u8>) -> usize {
        // A tag of three bytes for sixty at the least, but for the last of a literal and copies, which are shorter than what
        // they stand for.
        let most = 32 + page.len() + page.len() / 6;
        if out.len() < most {
            out.resize(most, 0);
        }
        let mut to = Cursor { out, at: 0 };
        to.put_length(page.len());
        let (words, _) = page[start..].as_chunks::<WIDTH>();
        if u32::MAX - self.before < words.len() as u32 {
            self.places.fill(0);
            self.before = 1;
        }
        let before = self.before;
        self.before += words.len() as u32;
        let (mut done, mut at) = (0, 0);
        while let Some(word) = words.get(at) {
            let hash = u64::from_le_bytes(*word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let place = &mut self.places[(hash >> (u64::BITS - PLACES_BITS)) as usize];
            let known = std::mem::replace(place, before + at as u32).wrapping_sub(before) as usize;
            let back = at.wrapping_sub(known) * WIDTH;
            if words.get(known) != Some(word) || back > FARTHEST {
                at += 1;
                continue;
            }
            let pairs = words[at..].iter().zip(&words[known..]).take(LONGEST);
            let length = pairs.take_while(|(one, other)| one == other).count();
            to.put_literal(&page[done..start + at * WIDTH]);
            to.put_copy(back, length * WIDTH);
            at += length;
            done = start + at * WIDTH;
        }
        to.put_literal(&page[done..]);
        to.at
    }
}

/// Where what is written goes, in room that is there.
struct Cursor<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put_length(&mut self, length: usize) {
        let mut bytes = Vec::with_capacity(10);
        put_varint(length as u64, &mut bytes);
        self.put(&bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_literal(&mut self, bytes: &[u8]) {
        for bytes in bytes.chunks(1 << 16) {
            let length = bytes.len() - 1;
            match length {
                0..60 => {
                    self.put(&[(length as u8) << 2]);
                    // A few whole values, mostly: moved as such, and not by a call.
                    let (words, rest) = bytes.as_chunks::<WIDTH>();
                    words.iter().for_each(|word| self.put(word));
                    self.put(rest);
                    continue;
                }
                60..256 => self.put(&[60 << 2, length as u8]),
                _ => self.put(&[61 << 2, length as u8, (length >> 8) as u8]),
            }
            self.put(bytes);
        }
    }

    /// Appends a copy of 8 to 64 bytes.
    fn put_copy(&mut self, back: usize, length: usize) {
        if length < 12 && back < 2048 {
            self.put(&[1 | (length as u8 - 4) << 2 | ((back >> 8) as u8) << 5, back as u8]);
        } else {
            self.put(&[2 | (length as u8 - 1) << 2, back as u8, (back >> 8) as u8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], levels: &[u8]) -> usize {
        let mut page = levels.to_vec();
        values.iter().for_each(|value| page.extend_from_slice(&value.to_le_bytes()));
        let mut out = Vec::new();
        let mut compressor = Words::new();
        let mut size = 0;
        // What pages before have left does not show, nor that what counts them starts over.
        for before in [1, 1000, u32::MAX - 3] {
            compressor.before = before;
            size = compressor.compress(&page, levels.len(), &mut out);
            assert_eq!(snap::raw::Decoder::new().decompress_vec(&out[..size]).unwrap(), page);
        }
        size
    }

    #[test]
    fn known_bytes() {
        let mut out = Vec::new();
        let page: Vec<u8> = [1u64, 1, 2].iter().flat_map(|value| value.to_le_bytes()).collect();
        let size = Words::new().compress(&page, 0, &mut out);
        // 24 bytes: a literal of 8, a copy of 8 from 8 back, a literal of 8.
        assert_eq!(out[..size], [24, 28, 1, 0, 0, 0, 0, 0, 0, 0, 1 | 4 << 2, 8, 28, 2, 0, 0, 0, 0, 0, 0, 0]);
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

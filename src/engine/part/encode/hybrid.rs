//! Runs and bit-packed groups in turn: indices into a dictionary, definition levels (Encodings.md, RLE / bit-packing
//! hybrid).
//!
//! Bit-packed values come in groups of eight. A run is told from the groups by its header's lowest bit and may have
//! any length, so that groups start anew behind it.

use super::bits::{PACKED_TOGETHER, pack_indices, put_varint};

/// Values of a bit-packed group.
const GROUP: usize = 8;
/// Bytes of a bitmap that are worth a run of their own.
const BITMAP_RUN: usize = 4;

/// Appends indices of `width` bits, 1 to 32.
pub fn put_indices(values: &[u32], width: u32, out: &mut Vec<u8>) {
    // A run has a header and a value, and the groups behind it need a header again.
    let run_bytes = 4 + width.div_ceil(8) as usize;
    let worth = (run_bytes * 8 / width as usize).max(GROUP);
    let (mut packed, mut at) = (0, 0);
    while at + GROUP <= values.len() {
        let first = values[at];
        if values[at..at + GROUP].iter().fold(0, |differs, value| differs | (value ^ first)) != 0 {
            at += GROUP;
            continue;
        }
        let run = GROUP + values[at + GROUP..].iter().take_while(|value| **value == first).count();
        if run < worth {
            at += run / GROUP * GROUP;
            continue;
        }
        put_groups(&values[packed..at], width, out);
        put_run(run, first, width, out);
        at += run;
        packed = at;
    }
    match &values[packed..] {
        [] => {}
        [first, rest @ ..] if rest.iter().all(|value| value == first) => {
            put_run(rest.len() + 1, *first, width, out);
        }
        left => put_groups(left, width, out),
    }
}

/// Appends a bitmap of `bits` bits as levels of one bit.
pub fn put_bitmap(bitmap: &[u8], bits: usize, out: &mut Vec<u8>) {
    // Bits behind the last whole byte are never part of a run: it would be too long.
    let (whole, bytes) = (bits / 8, bits.div_ceil(8));
    let (mut packed, mut at) = (0, 0);
    while at < whole {
        let first = bitmap[at];
        if first != 0 && first != u8::MAX {
            at += 1;
            continue;
        }
        let run = bitmap[at..whole].iter().take_while(|byte| **byte == first).count();
        if run >= BITMAP_RUN {
            put_packed(&bitmap[packed..at], out);
            put_run(run * 8, u32::from(first & 1), 1, out);
            packed = at + run;
        }
        at += run;
    }
    put_packed(&bitmap[packed..bytes], out);
}

/// Appends one value, `count` times.
pub fn put_run(count: usize, value: u32, width: u32, out: &mut Vec<u8>) {
    put_varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

fn put_packed(bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        put_varint((bytes.len() as u64) << 1 | 1, out);
        out.extend_from_slice(bytes);
    }
}

/// Appends bit-packed groups; the last is filled up with zeros.
fn put_groups(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    put_varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    let (whole, rest) = values.as_chunks::<PACKED_TOGETHER>();
    for chunk in whole {
        pack_indices(chunk, width, out);
    }
    if !rest.is_empty() {
        let mut last = [0; PACKED_TOGETHER];
        last[..rest.len()].copy_from_slice(rest);
        pack_indices(&last, width, out);
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(values: &[u32], width: u32) -> Vec<u8> {
        let mut out = Vec::new();
        put_indices(values, width, &mut out);
        out
    }

    #[test]
    fn known_bytes() {
        assert!(indices(&[], 3).is_empty());
        // One group: header 1 << 1 | 1, then the example of the format.
        assert_eq!(indices(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [3, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        // A group that is not full.
        assert_eq!(indices(&[1, 0, 1], 1), [3, 0b101]);
        // A run of 100, then what is left of it is a run as well.
        assert_eq!(indices(&[4; 100], 3), [200, 1, 4]);
        assert_eq!(indices(&[300], 9), [2, 44, 1]);
        // A group, a run of any length and a group again.
        let mut values = vec![0, 1, 2, 3, 4, 5, 6, 7];
        values.extend([5; 41]);
        values.extend([7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(
            indices(&values, 3),
            [3, 0b1000_1000, 0b1100_0110, 0b1111_1010, 82, 5, 3, 0b0111_0111, 0b0011_1001, 0b0000_0101]
        );
    }

    #[test]
    fn bitmaps() {
        let levels = |bitmap: &[u8], bits| {
            let mut out = Vec::new();
            put_bitmap(bitmap, bits, &mut out);
            out
        };
        assert!(levels(&[], 0).is_empty());
        assert_eq!(levels(&[0b101], 3), [3, 0b101]);
        assert_eq!(levels(&[255; 4], 32), [64, 1]);
        assert_eq!(levels(&[255; 4], 31), [9, 255, 255, 255, 255]);
        assert_eq!(levels(&[3, 0, 0, 0, 0, 0, 1], 50), [3, 3, 80, 0, 3, 1]);
    }
}

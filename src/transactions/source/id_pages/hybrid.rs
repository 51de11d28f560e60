//! Numbers of a few bits in runs and packed groups of eight (Apache Parquet format, *Encodings*: RLE / bit-packing
//! hybrid): which rows have a value, and codes of a dictionary.

use super::bad;
use bytes::Bytes;
use parquet::errors::ParquetError;

/// Numbers of a few bits in a page.
pub(super) struct Hybrid {
    bytes: Bytes,
    at: usize,
    width: u32,
    run: Run,
}

enum Run {
    Repeated {
        value: u32,
        left: usize,
    },
    /// So many more numbers from this bit on.
    Packed {
        bit: usize,
        left: usize,
    },
}

impl Hybrid {
    pub fn new(bytes: Bytes, width: u32) -> Result<Self, ParquetError> {
        if width > u32::BITS {
            return Err(bad(&format!("numbers of {width} bits")));
        }
        Ok(Self { bytes, at: 0, width, run: Run::Repeated { value: 0, left: 0 } })
    }

    /// Whether it is `value` and nothing else for `count` numbers.
    pub fn repeats(&mut self, value: u32, count: usize) -> bool {
        if matches!(self.run, Run::Repeated { left: 0, .. }) && self.next_run().is_err() {
            return false;
        }
        matches!(self.run, Run::Repeated { value: one, left } if one == value && left >= count)
    }

    fn next_run(&mut self) -> Result<(), ParquetError> {
        let (mut header, mut shift) = (0u64, 0);
        loop {
            let byte = *self.bytes.get(self.at).ok_or_else(|| bad("fewer numbers than rows"))?;
            self.at += 1;
            header |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return Err(bad("a run that is too long"));
            }
        }
        let count = (header >> 1) as usize;
        self.run = if header & 1 == 1 {
            let bit = self.at * 8;
            // The last group may be cut short by the end of the page.
            self.at = self.at.saturating_add(count * self.width as usize).min(self.bytes.len());
            Run::Packed { bit, left: count * 8 }
        } else {
            let length = self.width.div_ceil(8) as usize;
            let bytes =
                self.bytes.get(self.at..self.at + length).ok_or_else(|| bad("a run without its number"))?;
            self.at += length;
            let value = bytes.iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
            Run::Repeated { value, left: count }
        };
        Ok(())
    }

    /// Appends the next `count` numbers.
    pub fn fill(&mut self, count: usize, out: &mut Vec<u32>) -> Result<(), ParquetError> {
        let mut wanted = count;
        while wanted > 0 {
            match &mut self.run {
                Run::Repeated { left: 0, .. } | Run::Packed { left: 0, .. } => self.next_run()?,
                Run::Repeated { value, left } => {
                    let taken = wanted.min(*left);
                    out.resize(out.len() + taken, *value);
                    *left -= taken;
                    wanted -= taken;
                }
                Run::Packed { bit, left } => {
                    let taken = wanted.min(*left);
                    for at in 0..taken {
                        out.push(bits_at(&self.bytes, *bit + at * self.width as usize, self.width)?);
                    }
                    *bit += taken * self.width as usize;
                    *left -= taken;
                    wanted -= taken;
                }
            }
        }
        Ok(())
    }
}

/// `width` bits (at most 32) from a bit on.
fn bits_at(bytes: &[u8], bit: usize, width: u32) -> Result<u32, ParquetError> {
    let (start, shift) = (bit / 8, bit % 8);
    let word = match bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => {
            let rest = bytes.get(start..).unwrap_or_default();
            if rest.len() * 8 < shift + width as usize {
                return Err(bad("fewer numbers than rows"));
            }
            rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
        }
    };
    Ok((word >> shift & ((1u64 << width) - 1)) as u32)
}

//! Rows of the shuffle by column, and their form on scratch disk.

use bytemuck::Pod;
use std::fs::File;
use std::io::{IoSlice, Read, Write};

/// Which optional columns the rows have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    pub amounts: bool,
    pub quantities: bool,
    pub transactions: bool,
    /// The customer key is a prefix only; the text itself is kept beside it.
    pub texts: bool,
}

impl Layout {
    /// Bytes of a row, not counting text ids.
    pub fn row_bytes(self) -> u64 {
        18 + 8 * u64::from(self.amounts)
            + 4 * u64::from(self.quantities)
            + 8 * u64::from(self.transactions)
            + 20 * u64::from(self.texts)
    }
}

/// Normalised transactions by column; optional columns are empty when the layout has none.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    /// Order-preserving customer keys.
    pub keys: Vec<u64>,
    /// Seconds since 1970.
    pub seconds: Vec<u32>,
    /// Package codes (of the run's dictionary).
    pub packages: Vec<u32>,
    /// Channel codes (of the run's dictionary).
    pub channels: Vec<u16>,
    /// Minor units of money, of the line.
    pub amounts: Vec<i64>,
    pub quantities: Vec<f32>,
    /// Hash of the transaction id.
    pub transactions: Vec<u64>,
    pub text_lengths: Vec<u32>,
    pub text_bytes: Vec<u8>,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        (self.keys.len() * 18
            + self.amounts.len() * 8
            + self.quantities.len() * 4
            + self.transactions.len() * 8
            + self.text_lengths.len() * 4
            + self.text_bytes.len()) as u64
    }

    pub fn clear(&mut self) {
        self.keys.clear();
        self.seconds.clear();
        self.packages.clear();
        self.channels.clear();
        self.amounts.clear();
        self.quantities.clear();
        self.transactions.clear();
        self.text_lengths.clear();
        self.text_bytes.clear();
    }

    /// Makes room for `rows` more rows.
    pub(super) fn reserve(&mut self, rows: usize, layout: Layout) {
        let optional = |on: bool| if on { rows } else { 0 };
        self.keys.reserve_exact(rows);
        self.seconds.reserve_exact(rows);
        self.packages.reserve_exact(rows);
        self.channels.reserve_exact(rows);
        self.amounts.reserve_exact(optional(layout.amounts));
        self.quantities.reserve_exact(optional(layout.quantities));
        self.transactions.reserve_exact(optional(layout.transactions));
        self.text_lengths.reserve_exact(optional(layout.texts));
    }

    /// Makes it `rows` rows, to be put in their places; nothing is said of their values. Not for rows with texts.
    pub(super) fn resize(&mut self, rows: usize, layout: Layout) {
        let optional = |on: bool| if on { rows } else { 0 };
        self.keys.resize(rows, 0);
        self.seconds.resize(rows, 0);
        self.packages.resize(rows, 0);
        self.channels.resize(rows, 0);
        self.amounts.resize(optional(layout.amounts), 0);
        self.quantities.resize(optional(layout.quantities), 0.0);
        self.transactions.resize(optional(layout.transactions), 0);
    }

    /// Puts every row of `from` in its place. Not for rows with texts.
    pub(super) fn put(&mut self, from: &Self, places: &[u32]) {
        put(&mut self.keys, &from.keys, places);
        put(&mut self.seconds, &from.seconds, places);
        put(&mut self.packages, &from.packages, places);
        put(&mut self.channels, &from.channels, places);
        put(&mut self.amounts, &from.amounts, places);
        put(&mut self.quantities, &from.quantities, places);
        put(&mut self.transactions, &from.transactions, places);
    }

    /// The rows in memory of just their size, as rows that stay must take what they are counted as; the room of these
    /// is used again.
    pub(super) fn handed_over(&mut self) -> Self {
        let rows = self.clone();
        self.clear();
        rows
    }

    /// Appends the rows of `from` at `positions`; `text_starts` are the offsets of its texts.
    pub(super) fn gather(&mut self, from: &Self, positions: &[u32], text_starts: &[usize]) {
        let of = |position: &u32| *position as usize;
        self.keys.extend(positions.iter().map(|p| from.keys[of(p)]));
        self.seconds.extend(positions.iter().map(|p| from.seconds[of(p)]));
        self.packages.extend(positions.iter().map(|p| from.packages[of(p)]));
        self.channels.extend(positions.iter().map(|p| from.channels[of(p)]));
        if !from.amounts.is_empty() {
            self.amounts.extend(positions.iter().map(|p| from.amounts[of(p)]));
        }
        if !from.quantities.is_empty() {
            self.quantities.extend(positions.iter().map(|p| from.quantities[of(p)]));
        }
        if !from.transactions.is_empty() {
            self.transactions.extend(positions.iter().map(|p| from.transactions[of(p)]));
        }
        if !from.text_lengths.is_empty() {
            for position in positions {
                let at = of(position);
                let length = from.text_lengths[at];
                self.text_lengths.push(length);
                let start = text_starts[at];
                self.text_bytes.extend_from_slice(&from.text_bytes[start..start + length as usize]);
            }
        }
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.keys.extend_from_slice(&other.keys);
        self.seconds.extend_from_slice(&other.seconds);
        self.packages.extend_from_slice(&other.packages);
        self.channels.extend_from_slice(&other.channels);
        self.amounts.extend_from_slice(&other.amounts);
        self.quantities.extend_from_slice(&other.quantities);
        self.transactions.extend_from_slice(&other.transactions);
        self.text_lengths.extend_from_slice(&other.text_lengths);
        self.text_bytes.extend_from_slice(&other.text_bytes);
    }

    /// Offsets of the texts, empty without texts.
    pub fn text_starts(&self) -> Vec<usize> {
        let mut at = 0;
        self.text_lengths
            .iter()
            .map(|length| {
                let start = at;
                at += *length as usize;
                start
            })
            .collect()
    }

    /// Writes rows of several places as one chunk, and packed rows with them, straight from where they are.
    pub(super) fn write_together(
        chunks: &[Self],
        words: &[Box<[u64]>],
        file: &mut File,
    ) -> std::io::Result<()> {
        let sum = |of: fn(&Self) -> usize| chunks.iter().map(of).sum::<usize>() as u64;
        let lengths = [
            sum(Self::len),
            sum(|rows| rows.amounts.len()),
            sum(|rows| rows.quantities.len()),
            sum(|rows| rows.transactions.len()),
            sum(|rows| rows.text_lengths.len()),
            sum(|rows| rows.text_bytes.len()),
            words.iter().map(|words| words.len()).sum::<usize>() as u64,
        ];
        let columns: [fn(&Self) -> &[u8]; 9] = [
            |rows| bytemuck::cast_slice(&rows.keys),
            |rows| bytemuck::cast_slice(&rows.seconds),
            |rows| bytemuck::cast_slice(&rows.packages),
            |rows| bytemuck::cast_slice(&rows.channels),
            |rows| bytemuck::cast_slice(&rows.amounts),
            |rows| bytemuck::cast_slice(&rows.quantities),
            |rows| bytemuck::cast_slice(&rows.transactions),
            |rows| bytemuck::cast_slice(&rows.text_lengths),
            |rows| &rows.text_bytes,
        ];
        let mut pieces = vec![IoSlice::new(bytemuck::cast_slice(&lengths))];
        for column in columns {
            pieces.extend(
                chunks.iter().map(|rows| IoSlice::new(column(rows))).filter(|piece| !piece.is_empty()),
            );
        }
        pieces.extend(words.iter().map(|words| IoSlice::new(bytemuck::cast_slice(words))));
        write_all(file, &mut pieces)
    }

    /// Appends one written chunk, and its packed rows to `words`; false at the end of the file.
    pub(super) fn read(&mut self, words: &mut Vec<u64>, file: &mut impl Read) -> std::io::Result<bool> {
        let mut lengths = [0u64; 7];
        let mut at = 0;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut lengths);
        while at < bytes.len() {
            match file.read(&mut bytes[at..])? {
                0 if at == 0 => return Ok(false),
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => at += count,
            }
        }
        let [rows, amounts, quantities, transactions, text_lengths, text_bytes, packed] = lengths;
        read_column(file, &mut self.keys, rows)?;
        read_column(file, &mut self.seconds, rows)?;
        read_column(file, &mut self.packages, rows)?;
        read_column(file, &mut self.channels, rows)?;
        read_column(file, &mut self.amounts, amounts)?;
        read_column(file, &mut self.quantities, quantities)?;
        read_column(file, &mut self.transactions, transactions)?;
        read_column(file, &mut self.text_lengths, text_lengths)?;
        read_column(file, &mut self.text_bytes, text_bytes)?;
        read_column(file, words, packed)?;
        Ok(true)
    }
}

fn put<T: Copy>(to: &mut [T], from: &[T], places: &[u32]) {
    for (value, place) in from.iter().zip(places) {
        to[*place as usize] = *value;
    }
}

fn write_all(file: &mut File, mut pieces: &mut [IoSlice<'_>]) -> std::io::Result<()> {
    while !pieces.is_empty() {
        match file.write_vectored(pieces) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut pieces, written),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_column<T: Pod>(file: &mut impl Read, column: &mut Vec<T>, count: u64) -> std::io::Result<()> {
    let start = column.len();
    column.resize(start + count as usize, T::zeroed());
    file.read_exact(bytemuck::cast_slice_mut(&mut column[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom};

    /// More pieces than the system takes in one call.
    #[test]
    fn what_is_written_from_many_places_is_read_as_one() {
        let chunks: Vec<Rows> = (0..1500u32)
            .map(|at| Rows {
                keys: vec![u64::from(at); 2],
                seconds: vec![at, at + 1],
                packages: vec![7, at],
                channels: vec![at as u16; 2],
                amounts: vec![-i64::from(at), 5],
                text_lengths: vec![1, at % 3],
                text_bytes: vec![at as u8; 1 + (at % 3) as usize],
                ..Rows::default()
            })
            .collect();
        let mut file = tempfile::tempfile().unwrap();
        let packed: [Box<[u64]>; 2] = [vec![1, 2].into(), vec![3].into()];
        Rows::write_together(&chunks, &packed, &mut file).unwrap();
        Rows::write_together(&[], &packed[..1], &mut file).unwrap();
        Rows::write_together(&chunks[..1], &[], &mut file).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let (mut read, mut words) = (Rows::default(), Vec::new());
        while read.read(&mut words, &mut file).unwrap() {}
        assert_eq!(words, [1, 2, 3, 1, 2]);
        let mut expected = Rows::default();
        chunks.iter().chain(&chunks[..1]).for_each(|chunk| expected.append(chunk));
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    }
}

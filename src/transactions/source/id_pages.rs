//! Ids of text from the pages of their column, as keys.
//!
//! Arrow makes a text of every id: a length, a copy, a check. What comes of it here is its key, and the ids are half of what
//! a row is decoded from. So pages are decompressed by the library, and the values read where they lie (PLAIN, or codes of
//! a dictionary; Apache Parquet format, *Encodings*). Where an id is none of digits and signs, or missing, the batch
//! is text after all.

use crate::engine::input::Input;
use crate::numerics::digits;
use crate::transactions::keys;
use arrow::array::{StringArray, StringBuilder};
use arrow::buffer::ScalarBuffer;
use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use std::sync::Arc;

/// The ids of a batch.
pub(super) enum Ids {
    Keys(ScalarBuffer<u64>),
    Texts(StringArray),
}

/// The ids of a row group, some at a time. Memory: a page, and the dictionary with 8 bytes an entry.
pub(super) struct IdPages {
    pages: SerializedPageReader<Input>,
    is_optional: bool,
    dictionary: Dictionary,
    page: Option<OpenPage>,
    levels: Vec<u32>,
    codes: Vec<u32>,
}

#[derive(Default)]
struct Dictionary {
    bytes: Bytes,
    /// Where each entry lies, and its key if it has one.
    entries: Vec<(u32, u32, Option<u64>)>,
}

struct OpenPage {
    rows: usize,
    values: Values,
    /// Whether rows have a value, as 1 or 0; None if all have.
    present: Option<Hybrid>,
}

enum Values {
    /// Lengths of four bytes, each with its text behind it.
    Plain {
        bytes: Bytes,
        at: usize,
    },
    Codes(Hybrid),
}

/// What becomes of a batch: keys as long as all have one.
enum Found {
    Keys(Vec<u64>),
    Texts(StringBuilder),
}

impl IdPages {
    /// Of a column of a row group; None if it is not stored as texts in a way that is read here.
    pub fn of(input: &Input, group: &RowGroupMetaData, column: usize) -> Result<Option<Self>, ParquetError> {
        let chunk = group.column(column);
        let descr = chunk.column_descr();
        let is_optional = descr.max_def_level() == 1;
        let is_known = |encoding: Encoding| match encoding {
            Encoding::PLAIN | Encoding::RLE | Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => true,
            // Of levels that are not there.
            #[expect(deprecated, reason = "old writers name it")]
            Encoding::BIT_PACKED => !is_optional,
            _ => false,
        };
        if chunk.column_type() != Type::BYTE_ARRAY
            || descr.max_rep_level() > 0
            || descr.max_def_level() > 1
            || !chunk.encodings().all(is_known)
        {
            return Ok(None);
        }
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let pages = SerializedPageReader::new(Arc::new(input.clone()), chunk, rows, None)?;
        Ok(Some(Self {
            pages,
            is_optional,
            dictionary: Dictionary::default(),
            page: None,
            levels: Vec::new(),
            codes: Vec::new(),
        }))
    }

    /// The next `rows` ids.
    pub fn read(&mut self, rows: usize) -> Result<Ids, ParquetError> {
        let mut found = Found::Keys(Vec::with_capacity(rows));
        let mut left = rows;
        while left > 0 {
            let Some(page) = &mut self.page else {
                self.open()?;
                continue;
            };
            let taken = left.min(page.rows);
            page.rows -= taken;
            left -= taken;
            let is_empty = page.rows == 0;
            self.take(taken, &mut found)?;
            if is_empty {
                self.page = None;
            }
        }
        Ok(match found {
            Found::Keys(keys) => Ids::Keys(keys.into()),
            Found::Texts(mut texts) => Ids::Texts(texts.finish()),
        })
    }

    /// Opens the next page of values.
    fn open(&mut self) -> Result<(), ParquetError> {
        let page = self.pages.get_next_page()?.ok_or_else(|| bad("fewer ids than rows"))?;
        let (rows, encoding, levels, values) = match page {
            Page::DictionaryPage { buf, num_values, .. } => {
                self.dictionary = Dictionary::of(buf, num_values as usize)?;
                return Ok(());
            }
            Page::DataPage { buf, num_values, encoding, .. } if self.is_optional => {
                let length = u32_at(&buf, 0)? as usize;
                let (levels, values) = (cut(&buf, 4, length)?, cut_from(&buf, length.saturating_add(4))?);
                (num_values, encoding, Some(levels), values)
            }
            Page::DataPage { buf, num_values, encoding, .. } => (num_values, encoding, None, buf),
            Page::DataPageV2 {
                buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, ..
            } => {
                let (before, length) = (rep_levels_byte_len as usize, def_levels_byte_len as usize);
                let levels = self.is_optional.then(|| cut(&buf, before, length)).transpose()?;
                (num_values, encoding, levels, cut_from(&buf, before.saturating_add(length))?)
            }
        };
        let values = match encoding {
            Encoding::PLAIN => Values::Plain { bytes: values, at: 0 },
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                let width =
                    u32::from(*values.first().ok_or_else(|| bad("a page without the width of its codes"))?);
                Values::Codes(Hybrid::new(values.slice(1..), width)?)
            }
            other => return Err(bad(&format!("ids in a page of {other}"))),
        };
        let rows = rows as usize;
        let mut present = levels.map(|levels| Hybrid::new(levels, 1)).transpose()?;
        if present.as_mut().is_some_and(|present| present.repeats(1, rows)) {
            present = None;
        }
        self.page = (rows > 0).then_some(OpenPage { rows, values, present });
        Ok(())
    }

    /// Appends ids of the open page.
    fn take(&mut self, rows: usize, found: &mut Found) -> Result<(), ParquetError> {
        let Some(page) = &mut self.page else { return Ok(()) };
        let mut values = rows;
        if let Some(present) = &mut page.present {
            self.levels.clear();
            present.fill(rows, &mut self.levels)?;
            values = self.levels.iter().filter(|level| **level == 1).count();
        }
        let levels = (values < rows).then_some(&self.levels);
        match &mut page.values {
            Values::Plain { bytes, at } => match levels {
                None => take_plain(bytes, at, rows, found)?,
                Some(levels) => levels.iter().try_for_each(|level| match level {
                    1 => found.push(next_plain(bytes, at)?),
                    _ => found.push_null(),
                })?,
            },
            Values::Codes(codes) => {
                self.codes.clear();
                codes.fill(values, &mut self.codes)?;
                let mut codes = self.codes.iter();
                for row in 0..rows {
                    if levels.is_some_and(|levels| levels[row] != 1) {
                        found.push_null()?;
                    } else if let Some(code) = codes.next() {
                        self.dictionary.push(*code, found)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Appends values one behind the other, those of one length and of digits together.
fn take_plain(bytes: &Bytes, at: &mut usize, rows: usize, found: &mut Found) -> Result<(), ParquetError> {
    let mut left = rows;
    while left > 0 {
        if let Found::Keys(keys) = found {
            let length = u32_at(bytes, *at)? as usize;
            let stride = length.saturating_add(4);
            let is_alike = |row: &usize| {
                let at = row.checked_mul(stride).and_then(|start| start.checked_add(*at));
                at.is_some_and(|at| u32_at(bytes, at).is_ok_and(|other| other as usize == length))
            };
            let alike = (0..left).take_while(is_alike).count();
            let done = digits::pack(bytes.get(*at + 4..).unwrap_or_default(), stride, length, alike, keys);
            *at += done * stride;
            left -= done;
        }
        // What is no digit, or of another length, or at the end.
        for _ in 0..left.min(4) {
            found.push(next_plain(bytes, at)?)?;
            left -= 1;
        }
    }
    Ok(())
}

fn next_plain<'b>(bytes: &'b Bytes, at: &mut usize) -> Result<&'b [u8], ParquetError> {
    let start = at.saturating_add(4);
    let end = start.saturating_add(u32_at(bytes, *at)? as usize);
    *at = end;
    bytes.get(start..end).ok_or_else(|| bad("an id that ends after its page"))
}

impl Found {
    fn push(&mut self, text: &[u8]) -> Result<(), ParquetError> {
        if let (Self::Keys(keys), Some(key)) = (&mut *self, keys::pack(text)) {
            keys.push(key);
            return Ok(());
        }
        let text =
            std::str::from_utf8(text).map_err(|error| bad(&format!("an id that is no text: {error}")))?;
        self.as_texts().append_value(text);
        Ok(())
    }

    fn push_null(&mut self) -> Result<(), ParquetError> {
        self.as_texts().append_null();
        Ok(())
    }

    /// From now on it is text, and so is what there is.
    fn as_texts(&mut self) -> &mut StringBuilder {
        if let Self::Keys(keys) = self {
            *self = Self::Texts(texts_of(keys));
        }
        match self {
            Self::Texts(texts) => texts,
            Self::Keys(_) => unreachable!("made text above"),
        }
    }
}

/// The texts behind keys.
pub(super) fn texts_of(keys: &[u64]) -> StringBuilder {
    let mut texts = StringBuilder::with_capacity(keys.len(), keys.len() * 12);
    let mut id = String::with_capacity(16);
    for key in keys {
        id.clear();
        keys::unpack(*key, &mut id);
        texts.append_value(&id);
    }
    texts
}

impl Dictionary {
    fn of(bytes: Bytes, count: usize) -> Result<Self, ParquetError> {
        let (mut entries, mut at) = (Vec::new(), 0);
        for _ in 0..count {
            let text = next_plain(&bytes, &mut at)?;
            entries.push(((at - text.len()) as u32, at as u32, keys::pack(text)));
        }
        Ok(Self { bytes, entries })
    }

    fn push(&self, code: u32, found: &mut Found) -> Result<(), ParquetError> {
        let (start, end, key) =
            *self.entries.get(code as usize).ok_or_else(|| bad("a code that no id has"))?;
        match (key, found) {
            (Some(key), Found::Keys(keys)) => keys.push(key),
            (_, found) => found.push(&self.bytes[start as usize..end as usize])?,
        }
        Ok(())
    }
}

/// Numbers of a few bits in runs and packed groups of eight (the format's RLE / bit-packing hybrid).
struct Hybrid {
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
    fn new(bytes: Bytes, width: u32) -> Result<Self, ParquetError> {
        if width > u32::BITS {
            return Err(bad(&format!("numbers of {width} bits")));
        }
        Ok(Self { bytes, at: 0, width, run: Run::Repeated { value: 0, left: 0 } })
    }

    /// Whether it is `value` and nothing else for `count` numbers.
    fn repeats(&mut self, value: u32, count: usize) -> bool {
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
    fn fill(&mut self, count: usize, out: &mut Vec<u32>) -> Result<(), ParquetError> {
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

fn u32_at(bytes: &Bytes, at: usize) -> Result<u32, ParquetError> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    four.map(|four| u32::from_le_bytes(*four)).ok_or_else(|| bad("a page that ends within a length"))
}

fn cut(bytes: &Bytes, start: usize, length: usize) -> Result<Bytes, ParquetError> {
    let end = start.saturating_add(length);
    if end > bytes.len() {
        return Err(bad("levels that end after their page"));
    }
    Ok(bytes.slice(start..end))
}

fn cut_from(bytes: &Bytes, start: usize) -> Result<Bytes, ParquetError> {
    cut(bytes, start, bytes.len().saturating_sub(start))
}

fn bad(what: &str) -> ParquetError {
    ParquetError::General(format!("the column of ids has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::location::{InputFile, Location};
    use arrow::array::{ArrayRef, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    /// What is read of a file with these ids, in batches of so many rows; None if it is not read here.
    fn read(
        ids: &[Option<String>],
        optional: bool,
        batch: usize,
        properties: WriterProperties,
    ) -> Option<Vec<Ids>> {
        let folder = crate::engine::scratch::Scratch::temporary().unwrap();
        let path = folder.path().join("a.parquet");
        let array = Arc::new(StringArray::from(ids.to_vec())) as ArrayRef;
        let table = RecordBatch::try_from_iter_with_nullable([("id", array, optional)]).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, table.schema(), Some(properties)).unwrap();
        writer.write(&table).unwrap();
        writer.close().unwrap();
        let footer = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let group = footer.metadata().row_group(0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files =
            crate::engine::location::list(&path.display().to_string(), "ids", runtime.handle()).unwrap();
        let [InputFile { location: Location::Local { .. }, .. }] = &files[..] else { panic!("a local file") };
        let input = Input::open(&files[0], runtime.handle()).unwrap();
        let mut pages = IdPages::of(&input, group, 0).unwrap()?;
        let found = ids.chunks(batch).map(|some| pages.read(some.len()).unwrap()).collect();
        assert!(pages.read(1).is_err(), "there are no more");
        Some(found)
    }

    fn check(ids: &[Option<String>], optional: bool, batch: usize, properties: WriterProperties) {
        let found = read(ids, optional, batch, properties).expect("it is read here");
        for (found, expected) in found.iter().zip(ids.chunks(batch)) {
            let keys: Option<Vec<u64>> =
                expected.iter().map(|id| keys::pack(id.as_deref()?.as_bytes())).collect();
            match (found, keys) {
                (Ids::Keys(found), Some(expected)) => assert_eq!(found[..], expected),
                (Ids::Texts(found), None) => {
                    let found: Vec<Option<String>> = found.iter().map(|id| id.map(str::to_owned)).collect();
                    assert_eq!(found, expected);
                }
                _ => panic!("keys where all have one, and texts where not"),
            }
        }
    }

    fn properties(version: WriterVersion, dictionary: Option<usize>, page: usize) -> WriterProperties {
        WriterProperties::builder()
            .set_writer_version(version)
            .set_compression(Compression::SNAPPY)
            .set_dictionary_enabled(dictionary.is_some())
            .set_dictionary_page_size_limit(dictionary.unwrap_or(1 << 20))
            .set_data_page_row_count_limit(page)
            .set_write_batch_size(page.min(64))
            .set_encoding(parquet::basic::Encoding::PLAIN)
            .build()
    }

    #[test]
    fn keys_where_all_are_digits_and_texts_where_not() {
        let number = |row: usize| format!("90{:010}", row * 7_919 % 700 * 31);
        let digits: Vec<Option<String>> = (0..3000).map(|row| Some(number(row))).collect();
        let mut lengths = digits.clone();
        lengths.iter_mut().step_by(7).for_each(|id| *id = Some("+90-1".to_owned()));
        let mut odd = digits.clone();
        odd[1500] = Some("né".to_owned());
        odd[2999] = Some(String::new());
        let mut nulls = digits.clone();
        nulls.iter_mut().skip(1001).step_by(500).for_each(|id| *id = None);
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            // None, one that all ids fit in, and one that is given up on the way.
            for dictionary in [None, Some(1 << 20), Some(4000)] {
                for (page, batch) in [(100, 333), (5000, 1000), (1000, 8192)] {
                    let properties = || properties(version, dictionary, page);
                    for ids in [&digits, &lengths, &odd] {
                        check(ids, false, batch, properties());
                        check(ids, true, batch, properties());
                    }
                    check(&nulls, true, batch, properties());
                }
            }
        }
        check(&vec![None; 100], true, 30, properties(WriterVersion::PARQUET_1_0, None, 1000));
        check(&digits[..1], false, 30, properties(WriterVersion::PARQUET_1_0, None, 1000));
    }

    #[test]
    fn other_encodings_are_left_to_the_reader_of_all() {
        let ids: Vec<Option<String>> = (0..100).map(|row| Some(format!("{row}"))).collect();
        let deltas = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_encoding(parquet::basic::Encoding::DELTA_BYTE_ARRAY)
            .build();
        assert!(read(&ids, false, 10, deltas).is_none());
    }

    #[test]
    fn damaged_numbers_are_errors() {
        let fill = |bytes: &'static [u8], width: u32, count: usize| {
            let mut out = Vec::new();
            Hybrid::new(Bytes::from_static(bytes), width)?.fill(count, &mut out).map(|()| out)
        };
        assert_eq!(fill(&[6, 5], 3, 3).unwrap(), [5; 3]);
        // Eight numbers of three bits: the example of the format.
        assert_eq!(fill(&[3, 0x88, 0xc6, 0xfa], 3, 8).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(fill(&[3, 0x88], 3, 2).unwrap(), [0, 1], "cut short");
        for (bytes, width) in [(&[][..], 3), (&[6], 3), (&[3, 0x88], 3), (&[0xff; 6], 3), (&[0x80], 1)] {
            assert!(fill(bytes, width, 8).is_err());
        }
        assert!(Hybrid::new(Bytes::new(), 33).is_err());
        let mut found = Found::Keys(Vec::new());
        for bytes in [&[][..], &[1, 0], &[9, 0, 0, 0, b'1'], &[0xff; 8]] {
            assert!(take_plain(&Bytes::copy_from_slice(bytes), &mut 0, 1, &mut found).is_err());
        }
        assert!(
            take_plain(&Bytes::from_static(&[1, 0, 0, 0, 0xff]), &mut 0, 1, &mut found).is_err(),
            "no text"
        );
        let dictionary = Dictionary::of(Bytes::from_static(&[1, 0, 0, 0, b'7']), 1).unwrap();
        assert!(dictionary.push(0, &mut found).is_ok() && dictionary.push(1, &mut found).is_err());
        assert!(Dictionary::of(Bytes::from_static(&[1, 0, 0, 0, b'7']), 2).is_err());
    }
}

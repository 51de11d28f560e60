//! Ids of text from the pages of their column, as keys.
//!
//! Arrow makes a text of every id: a length, a copy, a check. What comes of it here is its key, and the ids are half of what
//! a row is decoded from. So pages are decompressed by the library, and the values read where they lie (PLAIN, or codes of
//! a dictionary; Apache Parquet format, *Encodings*). Where an id is none of digits and signs, or missing, the batch
//! is text after all.

mod hybrid;
#[cfg(test)]
mod tests;

use crate::engine::input::Input;
use crate::numerics::digits;
use crate::transactions::keys;
use arrow::array::{StringArray, StringBuilder};
use arrow::buffer::ScalarBuffer;
use bytes::Bytes;
use hybrid::Hybrid;
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

/// What becomes of a batch: keys as long as all have one, then texts of all.
#[derive(Default)]
struct Found {
    keys: Vec<u64>,
    texts: Option<StringBuilder>,
}

impl IdPages {
    /// Of a column of the file's schema; None if it is not stored as texts in a way that is read here.
    pub fn of(input: &Input, group: &RowGroupMetaData, column: usize) -> Result<Option<Self>, ParquetError> {
        // Columns within columns are stored each on its own.
        let schema = group.schema_descr();
        let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == column);
        let Some(chunk) = leaf.map(|leaf| group.column(leaf)) else { return Ok(None) };
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
            || descr.path().parts().len() > 1
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
        let mut found = Found { keys: Vec::with_capacity(rows), texts: None };
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
        Ok(match found.texts {
            None => Ids::Keys(found.keys.into()),
            Some(mut texts) => Ids::Texts(texts.finish()),
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
        if found.texts.is_none() {
            let length = u32_at(bytes, *at)? as usize;
            let stride = length.saturating_add(4);
            let is_alike = |row: &usize| {
                let at = row.checked_mul(stride).and_then(|start| start.checked_add(*at));
                at.is_some_and(|at| u32_at(bytes, at).is_ok_and(|other| other as usize == length))
            };
            let alike = (0..left).take_while(is_alike).count();
            let done = digits::pack(
                bytes.get(*at + 4..).unwrap_or_default(),
                stride,
                length,
                alike,
                &mut found.keys,
            );
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
        if let (None, Some(key)) = (&self.texts, keys::pack(text)) {
            self.keys.push(key);
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
        self.texts.get_or_insert_with(|| texts_of(&self.keys))
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
        match (key, &found.texts) {
            (Some(key), None) => found.keys.push(key),
            _ => found.push(&self.bytes[start as usize..end as usize])?,
        }
        Ok(())
    }
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

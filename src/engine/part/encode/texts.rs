//! Columns of text: as a dictionary, as it is, or as what differs from the text before.

use super::chunk::{Chunk, Known};
use super::compress::Compressors;
use super::delta::put_deltas;
use super::dictionary::{self, put_text};
use super::hybrid::put_indices;
use super::statistics::{Finder, TextBounds};
use super::{Form, Target, index_width};
use arrow::array::{Array, AsArray, DictionaryArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int32Type;
use parquet::basic::Encoding;
use parquet::errors::ParquetError;

/// Bytes of text that end a page before its rows do.
const PAGE_BYTES: usize = 1 << 20;
/// A value of an array's dictionary that no row had yet.
const UNSEEN: u32 = u32::MAX;

/// A column of text of one row group. Memory: the text of a page, and the dictionary.
pub struct Texts {
    form: Form,
    dictionary: dictionary::Texts,
    /// Of the values of the last array that came as a dictionary, where they are in ours.
    remap: Vec<u32>,
    remapped: Option<StringArray>,
    /// Entries when the page began.
    known: usize,
    /// The dictionary has become too large; its pages stay.
    is_plain: bool,
    /// Rows of the open page: indices, or text as PLAIN pages have it, or what differs.
    indices: Vec<u32>,
    plain: Vec<u8>,
    shared: Vec<i64>,
    own: Vec<i64>,
    bounds: TextBounds,
    page_bounds: TextBounds,
    finder: Option<Finder>,
    last: Vec<u8>,
    has_last: bool,
    /// Whether the texts of the page rise.
    is_rising: bool,
    /// The bounds of the page before.
    before: TextBounds,
}

impl Texts {
    pub fn new(form: Form, finder: Option<Finder>) -> Self {
        Self {
            form,
            dictionary: dictionary::Texts::default(),
            remap: Vec::new(),
            remapped: None,
            known: 0,
            is_plain: false,
            indices: Vec::new(),
            plain: Vec::new(),
            shared: Vec::new(),
            own: Vec::new(),
            bounds: TextBounds::default(),
            page_bounds: TextBounds::default(),
            finder,
            last: Vec::new(),
            has_last: false,
            is_rising: false,
            before: TextBounds::default(),
        }
    }

    /// Appends rows of plain text.
    pub fn push(&mut self, texts: &StringArray, to: &mut Target<'_>) -> Result<(), ParquetError> {
        let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
        let text = |row: usize| &bytes[offsets[row] as usize..offsets[row + 1] as usize];
        self.push_rows(texts.len(), texts.nulls(), to, |texts, row| texts.put(text(row)))
    }

    /// Appends rows that are keys of a dictionary. Each of its values is looked up once, and not again as long as
    /// arrays share them.
    pub fn push_keys(
        &mut self,
        array: &DictionaryArray<Int32Type>,
        to: &mut Target<'_>,
    ) -> Result<(), ParquetError> {
        let (keys, values) = (array.keys().values(), array.values().as_string::<i32>());
        let is_known = self.remapped.as_ref().is_some_and(|known| {
            known.offsets().ptr_eq(values.offsets()) && known.values().ptr_eq(values.values())
        });
        if !is_known {
            self.remap.clear();
            self.remap.resize(values.len(), UNSEEN);
            self.remapped = Some(values.clone());
        }
        let with_null = (values.null_count() > 0).then(|| array.logical_nulls()).flatten();
        let nulls = with_null.as_ref().or(array.nulls());
        if !matches!(self.form, Form::Dictionary { .. }) && nulls.is_none_or(|nulls| nulls.null_count() == 0)
        {
            return self.push_runs(keys, values, to);
        }
        self.push_rows(keys.len(), nulls, to, |texts, row| {
            let key = keys[row] as usize;
            if !texts.is_by_index() {
                return texts.put(values.value(key).as_bytes());
            }
            let index = match texts.remap[key] {
                UNSEEN => {
                    let index = texts.intern(values.value(key).as_bytes());
                    texts.remap[key] = index;
                    index
                }
                index => index,
            };
            texts.indices.push(index);
            // Keys are not compared with the text before.
            texts.has_last = false;
            false
        })
    }

    /// Appends rows that are keys, all with a value, without a dictionary: equal ones that follow each other are looked at once.
    fn push_runs(
        &mut self,
        keys: &[i32],
        values: &StringArray,
        to: &mut Target<'_>,
    ) -> Result<(), ParquetError> {
        for run in keys.chunk_by(|a, b| a == b) {
            let text = values.value(run[0] as usize).as_bytes();
            let mut left = run.len();
            while left > 0 {
                let start = self.plain.len();
                let mut is_full = self.put(text);
                let mut rows = left.min(to.levels.room());
                if self.form == Form::Fronts {
                    self.shared.resize(self.shared.len() + rows - 1, text.len() as i64);
                    self.own.resize(self.own.len() + rows - 1, 0);
                } else {
                    rows = rows.min(1 + self.repeat(start, rows - 1));
                    is_full |= self.plain.len() >= PAGE_BYTES;
                }
                to.levels.push(rows, None)?;
                left -= rows;
                if is_full || to.levels.is_full() {
                    self.end_page(to)?;
                }
            }
        }
        Ok(())
    }

    /// Repeats the plain text from `start` on up to so many times, but no more often than until the page is full; how often.
    fn repeat(&mut self, start: usize, most: usize) -> usize {
        let size = self.plain.len() - start;
        let times = most.min(PAGE_BYTES.saturating_sub(self.plain.len()).div_ceil(size));
        self.plain.reserve(times * size);
        let mut there = 1;
        while there <= times {
            let again = there.min(times + 1 - there);
            self.plain.extend_from_within(start..start + again * size);
            there += again;
        }
        times
    }

    /// Appends the rows that have a value by `put`, which says whether the page is full of text.
    fn push_rows(
        &mut self,
        rows: usize,
        nulls: Option<&NullBuffer>,
        to: &mut Target<'_>,
        mut put: impl FnMut(&mut Self, usize) -> bool,
    ) -> Result<(), ParquetError> {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let mut at = 0;
        while at < rows {
            let (mut end, most) = (at, at + to.levels.room().min(rows - at));
            let mut is_full = false;
            while end < most && !is_full {
                if nulls.is_none_or(|nulls| nulls.is_valid(end)) {
                    is_full = put(self, end);
                }
                end += 1;
            }
            let nulls = nulls.map(|nulls| nulls.slice(at, end - at));
            to.levels.push(end - at, nulls.as_ref())?;
            at = end;
            if is_full || to.levels.is_full() {
                self.end_page(to)?;
            }
        }
        Ok(())
    }

    fn is_by_index(&self) -> bool {
        matches!(self.form, Form::Dictionary { .. }) && !self.is_plain
    }

    /// The index of a text, with statistics if it is new.
    fn intern(&mut self, text: &[u8]) -> u32 {
        let (index, is_new) = self.dictionary.index_of(text);
        if is_new {
            self.bounds.see(text);
        }
        index
    }

    /// Appends a text; whether the page is full of it.
    fn put(&mut self, text: &[u8]) -> bool {
        let shared = if self.has_last { common_prefix(&self.last, text) } else { 0 };
        let is_same = self.has_last && shared == text.len() && shared == self.last.len();
        if self.is_by_index() {
            let index = match self.indices.last() {
                Some(index) if is_same => *index,
                _ => {
                    self.keep(text);
                    self.intern(text)
                }
            };
            self.indices.push(index);
            return false;
        }
        let is_first = !self.page_bounds.any();
        match self.form {
            Form::Fronts => {
                // The first text of a page stands alone.
                let shared = if is_first { 0 } else { shared };
                self.shared.push(shared as i64);
                self.own.push((text.len() - shared) as i64);
                self.plain.extend_from_slice(&text[shared..]);
            }
            _ => put_text(text, &mut self.plain),
        }
        // As long as texts rise, the last is the greatest, and the first the least.
        if is_first {
            self.page_bounds.see(text);
            self.is_rising = true;
        }
        if !is_same {
            self.is_rising &= is_first || text.get(shared) > self.last.get(shared);
            if !self.is_rising {
                self.page_bounds.see(&self.last);
                self.page_bounds.see(text);
            }
            self.keep(text);
            if let Some(finder) = &mut self.finder {
                finder.see_text(text);
            }
        }
        self.plain.len() >= PAGE_BYTES
    }

    fn keep(&mut self, text: &[u8]) {
        self.last.clear();
        self.last.extend_from_slice(text);
        self.has_last = true;
    }

    /// Ends the open page.
    pub fn end_page(&mut self, to: &mut Target<'_>) -> Result<(), ParquetError> {
        let counts = to.levels.counts();
        to.body.clear();
        to.levels.finish(to.body);
        let encoding = match self.form {
            Form::Dictionary { most_bytes } if !self.is_plain => {
                let width = index_width(self.dictionary.len());
                to.body.push(width as u8);
                put_indices(&self.indices, width, to.body);
                let is_full = self.dictionary.plain().len() >= most_bytes;
                let new = self.dictionary.len() - self.known;
                self.is_plain = is_full || to.chunk.is_wasted_on(new, self.indices.len());
                self.known = self.dictionary.len();
                self.indices.clear();
                Encoding::RLE_DICTIONARY
            }
            Form::Fronts => {
                put_deltas(&self.shared, true, to.body);
                put_deltas(&self.own, true, to.body);
                to.body.extend_from_slice(&self.plain);
                self.shared.clear();
                self.own.clear();
                self.plain.clear();
                Encoding::DELTA_BYTE_ARRAY
            }
            _ => {
                to.body.extend_from_slice(&self.plain);
                self.plain.clear();
                Encoding::PLAIN
            }
        };
        self.end_bounds(counts)?;
        to.chunk.put_page(counts, encoding, (to.body, None), to.compressors)
    }

    fn end_bounds(&mut self, counts: (usize, usize)) -> Result<(), ParquetError> {
        if self.is_rising && self.page_bounds.any() {
            self.page_bounds.see(&self.last);
        }
        self.bounds.see_all(&self.page_bounds);
        if let Some(finder) = &mut self.finder {
            let compared = self.page_bounds.compared_with(&self.before);
            finder.end_page(counts, self.page_bounds.short(), compared)?;
            if self.page_bounds.any() {
                std::mem::swap(&mut self.before, &mut self.page_bounds);
            }
        }
        self.page_bounds.clear();
        Ok(())
    }

    /// Ends the row group: the page of the dictionary, and what is known of all values.
    pub fn finish(
        &mut self,
        chunk: &mut Chunk,
        compressors: &mut Compressors,
    ) -> Result<Known, ParquetError> {
        if matches!(self.form, Form::Dictionary { .. }) {
            chunk.put_dictionary(self.dictionary.len(), self.dictionary.plain(), compressors)?;
            self.dictionary.clear();
            self.remapped = None;
        }
        let statistics = self.bounds.statistics(chunk.nulls());
        let (bloom_filter, column_index) = match &mut self.finder {
            Some(finder) => finder.finish()?,
            None => (None, None),
        };
        self.bounds.clear();
        self.before.clear();
        (self.known, self.is_plain, self.has_last) = (0, false, false);
        Ok(Known { statistics, bloom_filter, column_index })
    }
}

/// Bytes that two texts begin with, eight at a time.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let most = one.len().min(other.len());
    let (ones, _) = one[..most].as_chunks::<8>();
    let (others, _) = other[..most].as_chunks::<8>();
    for (at, (one, other)) in ones.iter().zip(others).enumerate() {
        let differs = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if differs != 0 {
            return at * 8 + differs.trailing_zeros() as usize / 8;
        }
    }
    let whole = ones.len() * 8;
    whole + one[whole..most].iter().zip(&other[whole..]).take_while(|(one, other)| one == other).count()
}

//! A column of a row group: its pages one after the other, with headers, and what the footer says of them.

use super::bits::put_zigzag;
use super::compress::{Codec, Compressors};
use parquet::basic::{Encoding, PageType};
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, LevelHistogram, PageEncodingStats};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;
use std::io::Read;

/// Pages that a dictionary has to show what it gains.
const TRIED_PAGES: usize = 8;

/// Bytes of a piece of a column.
const BLOCK: usize = 32 << 10;

/// The pages of a column. Memory: the encoded column, kept from row group to row group.
pub struct Chunk {
    descr: ColumnDescPtr,
    codec: Codec,
    dictionary: Vec<u8>,
    pages: Blocks,
    header: Vec<u8>,
    /// Offsets are those in `pages`.
    locations: Vec<PageLocation>,
    kinds: Vec<PageEncodingStats>,
    rows: u64,
    nulls: u64,
    uncompressed: usize,
}

/// What is known of a column besides its pages.
pub struct Known {
    pub statistics: Statistics,
    pub bloom_filter: Option<Sbbf>,
    pub column_index: Option<ColumnIndexMetaData>,
}

impl Chunk {
    pub fn new(descr: ColumnDescPtr, codec: Codec) -> Self {
        Self {
            descr,
            codec,
            dictionary: Vec::new(),
            pages: Blocks::default(),
            header: Vec::new(),
            locations: Vec::new(),
            kinds: Vec::new(),
            rows: 0,
            nulls: 0,
            uncompressed: 0,
        }
    }

    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// Whether a dictionary gains nothing: at this page, not among the first, most values are still new to it.
    pub fn is_wasted_on(&self, new: usize, values: usize) -> bool {
        self.locations.len() >= TRIED_PAGES && new * 4 >= values * 3 && values > 0
    }

    /// Appends a page of data: levels and values. `numbers` is where plain 64-bit numbers begin, if it holds such.
    pub fn put_page(
        &mut self,
        (rows, nulls): (usize, usize),
        encoding: Encoding,
        (body, numbers): (&[u8], Option<usize>),
        compressors: &mut Compressors,
    ) -> Result<(), ParquetError> {
        let start = self.pages.length;
        let stored = compressors.compress(self.codec, body, numbers)?;
        let header = &mut self.header;
        header.clear();
        put_sizes(PageType::DATA_PAGE, body.len(), stored.len(), header)?;
        // Field 5, the header of a data page: values, encoding, encoding of both levels.
        header.push(0x2c);
        put_field(rows as i64, header);
        for encoding in [encoding, Encoding::RLE, Encoding::RLE] {
            put_field(i64::from(encoding as i32), header);
        }
        header.extend_from_slice(&[0, 0]);
        self.uncompressed += header.len() + body.len();
        self.pages.put(header);
        self.pages.put(stored);
        self.locations.push(PageLocation {
            offset: start as i64,
            compressed_page_size: to_i32(self.pages.length - start)?,
            first_row_index: self.rows as i64,
        });
        match self.kinds.last_mut() {
            Some(kind) if kind.encoding == encoding => kind.count += 1,
            _ => self.kinds.push(PageEncodingStats { page_type: PageType::DATA_PAGE, encoding, count: 1 }),
        }
        self.rows += rows as u64;
        self.nulls += nulls as u64;
        Ok(())
    }

    /// Sets the page of the dictionary, which comes before all others.
    pub fn put_dictionary(
        &mut self,
        entries: usize,
        body: &[u8],
        compressors: &mut Compressors,
    ) -> Result<(), ParquetError> {
        let stored = compressors.compress(self.codec, body, None)?;
        self.dictionary.clear();
        put_sizes(PageType::DICTIONARY_PAGE, body.len(), stored.len(), &mut self.dictionary)?;
        // Field 7, the header of a dictionary page: entries, encoding, not sorted.
        self.dictionary.push(0x4c);
        put_field(entries as i64, &mut self.dictionary);
        put_field(i64::from(Encoding::PLAIN as i32), &mut self.dictionary);
        self.dictionary.extend_from_slice(&[0x12, 0, 0]);
        self.uncompressed += self.dictionary.len() + body.len();
        self.dictionary.extend_from_slice(stored);
        let kind =
            PageEncodingStats { page_type: PageType::DICTIONARY_PAGE, encoding: Encoding::PLAIN, count: 1 };
        self.kinds.insert(0, kind);
        Ok(())
    }

    /// What the footer says; offsets are those in [`Chunk::bytes`].
    pub fn close(&mut self, known: Known) -> Result<ColumnCloseResult, ParquetError> {
        let first = self.dictionary.len() as i64;
        let size = self.dictionary.len() + self.pages.length;
        let mut locations = std::mem::take(&mut self.locations);
        locations.iter_mut().for_each(|location| location.offset += first);
        let kinds = std::mem::take(&mut self.kinds);
        let mut encodings = vec![Encoding::RLE];
        encodings.extend(kinds.iter().map(|kind| kind.encoding));
        let levels = (self.descr.max_def_level() > 0)
            .then(|| LevelHistogram::from(vec![self.nulls as i64, (self.rows - self.nulls) as i64]));
        let metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(self.codec.of_format())
            .set_encodings(encodings)
            .set_page_encoding_stats(kinds)
            .set_total_compressed_size(size as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.rows as i64)
            .set_dictionary_page_offset((first > 0).then_some(0))
            .set_data_page_offset(first)
            .set_statistics(known.statistics)
            .set_definition_level_histogram(levels)
            .build()?;
        Ok(ColumnCloseResult {
            bytes_written: size as u64,
            rows_written: self.rows,
            metadata,
            bloom_filter: known.bloom_filter,
            column_index: known.column_index,
            offset_index: Some(OffsetIndexMetaData {
                page_locations: locations,
                unencoded_byte_array_data_bytes: None,
            }),
        })
    }

    /// Bytes that are kept for the next row group.
    pub fn held(&self) -> usize {
        self.dictionary.capacity() + self.pages.blocks.len() * BLOCK
    }

    /// The chunk as it stands in the file.
    pub fn bytes(&self) -> ChunkBytes<'_> {
        ChunkBytes { dictionary: &self.dictionary, pages: &self.pages }
    }

    /// Begins the chunk of the next row group.
    pub fn clear(&mut self) {
        self.dictionary.clear();
        self.pages.clear();
        (self.rows, self.nulls, self.uncompressed) = (0, 0, 0);
    }
}

/// The beginning of every header, in Thrift's compact protocol: type and both sizes of the page.
fn put_sizes(page: PageType, size: usize, stored: usize, out: &mut Vec<u8>) -> Result<(), ParquetError> {
    put_field(i64::from(page as i32), out);
    put_field(i64::from(to_i32(size)?), out);
    put_field(i64::from(to_i32(stored)?), out);
    Ok(())
}

/// The next field of a structure, a 32-bit integer.
fn put_field(value: i64, out: &mut Vec<u8>) {
    out.push(0x15);
    put_zigzag(value, out);
}

fn to_i32(size: usize) -> Result<i32, ParquetError> {
    i32::try_from(size).map_err(|_| ParquetError::General(format!("a page of {size} bytes is too large")))
}

/// Bytes in pieces of one size, which stay for the next row group: nothing is moved when there are more.
#[derive(Default)]
struct Blocks {
    blocks: Vec<Vec<u8>>,
    /// The one that is being filled.
    at: usize,
    length: usize,
}

impl Blocks {
    fn put(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len();
        while !bytes.is_empty() {
            if self.at == self.blocks.len() {
                self.blocks.push(Vec::with_capacity(BLOCK));
            }
            let block = &mut self.blocks[self.at];
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - block.len()));
            block.extend_from_slice(now);
            self.at += usize::from(block.len() == BLOCK);
            bytes = later;
        }
    }

    fn clear(&mut self) {
        self.blocks.iter_mut().for_each(Vec::clear);
        (self.at, self.length) = (0, 0);
    }
}

/// A chunk's dictionary and pages, read one after the other.
#[derive(Clone, Copy)]
pub struct ChunkBytes<'a> {
    dictionary: &'a [u8],
    pages: &'a Blocks,
}

/// What is left to be read.
pub struct Rest<'a> {
    now: &'a [u8],
    blocks: std::slice::Iter<'a, Vec<u8>>,
}

impl Read for Rest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.now.is_empty() {
            match self.blocks.next() {
                Some(block) => self.now = block,
                None => return Ok(0),
            }
        }
        self.now.read(buffer)
    }
}

impl Length for ChunkBytes<'_> {
    fn len(&self) -> u64 {
        (self.dictionary.len() + self.pages.length) as u64
    }
}

impl<'a> ChunkReader for ChunkBytes<'a> {
    type T = Rest<'a>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut rest = Rest { now: self.dictionary, blocks: self.pages.blocks.iter() };
        std::io::copy(&mut (&mut rest).take(start), &mut std::io::sink())?;
        Ok(rest)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<bytes::Bytes, ParquetError> {
        let mut bytes = Vec::with_capacity(length);
        self.get_read(start)?.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

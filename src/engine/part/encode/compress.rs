//! Compression of pages, with contexts and a buffer that are kept: a page is small, and a context of zstd is not.

use super::words::Words;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;

/// How the pages of a column are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Snappy,
    /// Level 1.
    Zstd,
}

const ZSTD_LEVEL: i32 = 1;

impl Codec {
    pub fn of_format(self) -> Compression {
        match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Snappy => Compression::SNAPPY,
            Self::Zstd => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default()),
        }
    }
}

/// Contexts of the codecs, made when first needed.
pub struct Compressors {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    snappy: snap::raw::Encoder,
    words: Words,
    stored: Vec<u8>,
}

impl Default for Compressors {
    fn default() -> Self {
        Self { zstd: None, snappy: snap::raw::Encoder::new(), words: Words::new(), stored: Vec::new() }
    }
}

impl Compressors {
    /// The page as it is stored; `numbers` is where 64-bit numbers begin, if it holds such.
    pub fn compress<'a>(
        &'a mut self,
        codec: Codec,
        page: &'a [u8],
        numbers: Option<usize>,
    ) -> Result<&'a [u8], ParquetError> {
        match (codec, numbers) {
            (Codec::None, _) => Ok(page),
            (Codec::Snappy, Some(start)) => {
                let size = self.words.compress(page, start, &mut self.stored);
                Ok(&self.stored[..size])
            }
            (Codec::Snappy, None) => {
                let most = snap::raw::max_compress_len(page.len());
                if self.stored.len() < most {
                    self.stored.resize(most, 0);
                }
                let size = self.snappy.compress(page, &mut self.stored).map_err(external)?;
                Ok(&self.stored[..size])
            }
            (Codec::Zstd, _) => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
                };
                let most = zstd::zstd_safe::compress_bound(page.len());
                if self.stored.len() < most {
                    self.stored.resize(most, 0);
                }
                let size = zstd.compress_to_buffer(page, self.stored.as_mut_slice())?;
                Ok(&self.stored[..size])
            }
        }
    }
}

fn external(error: snap::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

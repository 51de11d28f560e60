//! The Parquet files: one of purchases a day, and the catalogue.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, PrimitiveArray, StringArray, TimestampMicrosecondArray,
    UInt16Array,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt16Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use chrono::{Days, NaiveDate};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::Model;
use super::catalogue::{CHARGINGS, Catalogue, SERVICES, VALIDITIES};
use super::customers::{MSISDN_LENGTH, push_msisdn};
use super::error::GenerateError;
use super::purchases::{Drawn, Purchase};
use super::segments::CHANNELS;
use super::spill::SpillReader;
use super::workers::share_out;

/// Rows of a row group.
const ROW_GROUP: usize = 128 << 10;
/// Rows turned into Arrow arrays at once.
const BATCH: usize = 16 << 10;
/// A day with more purchases than this on average is sorted in so many bands of its hours. The
/// busiest band of a day has at most some five times the average.
const BAND_ROWS: u64 = 1 << 20;
const DAY_SECONDS: u64 = 86_400;

/// Where one day's purchases are written.
pub(super) fn day_file(folder: &Path, date: NaiveDate) -> PathBuf {
    folder.join(format!("day-{}.parquet", date.format("%Y-%m-%d")))
}

/// The date of a day of the period. `generate` has checked that all of them exist.
pub(super) fn date_of(model: &Model, day: u32) -> NaiveDate {
    model.start.checked_add_days(Days::new(u64::from(day))).unwrap_or(model.start)
}

/// Writes one file a day into `folder`, each in the order of time, and calls `progress` with the
/// rows written so far, from any thread. `beside` is done by one of the threads at the same time.
pub(super) fn write_days(
    model: &Model,
    drawn: &Drawn,
    folder: &Path,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
    beside: impl Fn() -> Result<(), GenerateError> + Sync,
) -> Result<(), GenerateError> {
    let columns = PurchaseColumns::new(&model.catalogue);
    let written = AtomicU64::new(0);
    share_out(
        threads,
        model.days as usize + 1,
        |_| Ok((SpillReader::open(&drawn.spilled)?, Vec::new())),
        |(reader, records), piece| match piece.checked_sub(1) {
            None => beside(),
            Some(day) => {
                let date = date_of(model, day as u32);
                let mut table = TableWriter::create(&day_file(folder, date), &columns.schema)?;
                let bands = reader.rows(day).div_ceil(BAND_ROWS).max(1);
                for band in 0..bands {
                    let edge = |band| (DAY_SECONDS * band / bands) as u32;
                    reader.read(day, &(edge(band)..edge(band + 1)), records)?;
                    records.sort_unstable();
                    for rows in records.chunks(BATCH) {
                        table.write(columns.batch(date, rows))?;
                        let before = written.fetch_add(rows.len() as u64, Ordering::Relaxed);
                        progress(before + rows.len() as u64);
                    }
                }
                table.close()
            }
        },
    )?;
    Ok(())
}

/// What all batches of purchases share.
struct PurchaseColumns {
    schema: SchemaRef,
    codes: ArrayRef,
    channels: ArrayRef,
}

impl PurchaseColumns {
    fn new(catalogue: &Catalogue) -> Self {
        let schema = Schema::new(vec![
            Field::new("PACKAGE_CODE", code_type(), false),
            Field::new("CHANNEL", code_type(), true),
            Field::new("BUY_DATE", DataType::Timestamp(TimeUnit::Microsecond, None), false),
            Field::new("MSISDN", DataType::Utf8, false),
        ]);
        let channels = Arc::new(StringArray::from_iter_values(CHANNELS));
        Self { schema: Arc::new(schema), codes: package_codes(catalogue), channels }
    }

    fn batch(&self, date: NaiveDate, records: &[u64]) -> Result<RecordBatch, ArrowError> {
        let purchases = || records.iter().map(|&record| Purchase::unpack(record));
        let midnight = date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros();
        let packages = UInt16Array::from_iter_values(purchases().map(|purchase| purchase.package));
        let channels: UInt16Array = purchases().map(|purchase| purchase.channel.map(u16::from)).collect();
        let times = TimestampMicrosecondArray::from_iter_values(
            purchases().map(|purchase| midnight + i64::from(purchase.second) * 1_000_000),
        );
        let customers = msisdns(purchases().map(|purchase| purchase.subscriber))?;
        RecordBatch::try_new(
            Arc::clone(&self.schema),
            vec![coded(packages, &self.codes)?, coded(channels, &self.channels)?, Arc::new(times), customers],
        )
    }
}

/// Writes the catalogue the way people keep one: quantities as text.
pub(super) fn write_catalogue(catalogue: &Catalogue, path: &Path) -> Result<(), GenerateError> {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        text("PACKAGE_CODE"),
        Field::new("PRICE", DataType::Float64, false),
        text("QUOTA"),
        text("MAX_SPEED"),
        text("MIN_SPEED"),
        text("SERVICE_TYPE"),
        text("CHARGING_TYPE"),
        text("VALIDITY"),
    ]));
    let packages = || catalogue.packages.iter();
    let prices = packages().map(|package| package.price_minor as f64 / 100.0);
    let columns: Vec<ArrayRef> = vec![
        package_codes(catalogue),
        Arc::new(Float64Array::from_iter_values(prices)),
        Arc::new(StringArray::from_iter_values(packages().map(|package| package.quota))),
        Arc::new(StringArray::from_iter_values(packages().map(|package| package.max_speed))),
        Arc::new(StringArray::from_iter_values(packages().map(|package| package.min_speed))),
        Arc::new(StringArray::from_iter_values(packages().map(|package| SERVICES[package.service]))),
        Arc::new(StringArray::from_iter_values(packages().map(|package| CHARGINGS[package.charging]))),
        Arc::new(StringArray::from_iter_values(packages().map(|package| VALIDITIES[package.validity].0))),
    ];
    let mut table = TableWriter::create(path, &schema)?;
    table.write(RecordBatch::try_new(schema, columns))?;
    table.close()
}

/// One Parquet file being written: zstd level 1, row groups of 128 Ki rows. Readers see plain text
/// columns whatever Arrow type they were written from.
pub(super) struct TableWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
}

impl TableWriter {
    pub(super) fn create(path: &Path, schema: &SchemaRef) -> Result<Self, GenerateError> {
        let file = File::create_new(path).map_err(GenerateError::io("create", path))?;
        let options = ArrowWriterOptions::new()
            .with_properties(properties().map_err(GenerateError::parquet(path))?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, Arc::clone(schema), options)
            .map_err(GenerateError::parquet(path))?;
        Ok(Self { path: path.to_path_buf(), writer })
    }

    pub(super) fn write(&mut self, batch: Result<RecordBatch, ArrowError>) -> Result<(), GenerateError> {
        batch
            .map_err(ParquetError::from)
            .and_then(|batch| self.writer.write(&batch))
            .map_err(GenerateError::parquet(&self.path))
    }

    pub(super) fn close(self) -> Result<(), GenerateError> {
        self.writer.close().map_err(GenerateError::parquet(&self.path))?;
        Ok(())
    }
}

/// Dictionaries suit codes, not numbers that hardly repeat: those would be hashed for nothing. Times
/// are in order, so their differences are small; the least and largest MSISDN of a page say nothing.
fn properties() -> Result<WriterProperties, ParquetError> {
    let (msisdn, time) = (ColumnPath::from("MSISDN"), ColumnPath::from("BUY_DATE"));
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_column_dictionary_enabled(msisdn.clone(), false)
        .set_column_statistics_enabled(msisdn, EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(time.clone(), false)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
        .build())
}

/// The Arrow type of a column of codes: keys into a short list.
pub(super) fn code_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8))
}

/// A column of keys into `values`.
pub(super) fn coded(keys: PrimitiveArray<UInt16Type>, values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::clone(values))?))
}

/// The codes of all packages, in the catalogue's order.
pub(super) fn package_codes(catalogue: &Catalogue) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(catalogue.packages.iter().map(|package| &package.code)))
}

/// A column of MSISDNs. All have the same length, so the offsets need no counting.
pub(super) fn msisdns(subscribers: impl ExactSizeIterator<Item = u32>) -> Result<ArrayRef, ArrowError> {
    let rows = subscribers.len();
    let mut text = Vec::with_capacity(rows * MSISDN_LENGTH);
    subscribers.for_each(|subscriber| push_msisdn(subscriber, &mut text));
    let offsets = OffsetBuffer::from_repeated_length(MSISDN_LENGTH, rows);
    Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(text), None)?))
}

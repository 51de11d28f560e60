//! Files that are written here and read back by parquet-rs.

use super::*;
use arrow::array::{
    BooleanArray, Date32Array, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use proptest::prelude::*;
use std::sync::Arc;

/// Small numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

/// How alike the values of a column are, and how many are missing.
#[derive(Debug, Clone, Copy)]
struct Nature {
    different: u64,
    run: u64,
    missing: u64,
}

/// Numbers of values, with runs and gaps.
fn keys(nature: Nature, rows: usize, dice: &mut Dice) -> Vec<Option<u64>> {
    let (mut last, mut left) = (0, 0);
    let mut next = || {
        if left == 0 {
            (last, left) = (dice.roll(nature.different), dice.roll(nature.run) + 1);
        }
        left -= 1;
        // All, none or some are there.
        (nature.missing < 100 && dice.roll(100) >= nature.missing).then_some(last)
    };
    (0..rows).map(|_| next()).collect()
}

fn integer(key: u64) -> i64 {
    match key {
        0 => i64::MAX,
        1 => i64::MIN,
        2..1000 => key as i64 - 500,
        _ => key.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64,
    }
}

fn float(key: u64) -> f64 {
    let special = [-0.0, 0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 1.5];
    special.get(key as usize).copied().unwrap_or(key as f64 / -7.0)
}

fn text(key: u64) -> String {
    match key {
        0 => String::new(),
        1 => "é".repeat(20),
        _ => format!("{}{key:04}", "package".repeat(key as usize % 4)),
    }
}

/// The value at every place, in chunks of their own dictionaries.
fn schema() -> SchemaRef {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
    let kinds = [DataType::Int64, DataType::Int32, DataType::Float64, DataType::Boolean, DataType::Utf8]
        .into_iter()
        .chain([text, moment, DataType::Date32]);
    let mut fields = vec![Field::new("customer_id", DataType::Utf8, false)];
    for (number, kind) in kinds.enumerate() {
        fields.push(Field::new(format!("must_{number}"), kind.clone(), false));
        fields.push(Field::new(format!("may_{number}"), kind, true));
    }
    Arc::new(Schema::new(fields))
}

fn array(kind: &DataType, keys: &[Option<u64>], dice: &mut Dice) -> ArrayRef {
    let all = keys.iter().copied();
    match kind {
        DataType::Int64 => Arc::new(all.map(|key| key.map(integer)).collect::<Int64Array>()),
        DataType::Int32 => {
            Arc::new(all.map(|key| key.map(|key| integer(key) as i32)).collect::<Int32Array>())
        }
        DataType::Float64 => Arc::new(all.map(|key| key.map(float)).collect::<Float64Array>()),
        DataType::Boolean => Arc::new(all.map(|key| key.map(|key| key % 2 == 0)).collect::<BooleanArray>()),
        DataType::Utf8 => Arc::new(all.map(|key| key.map(text)).collect::<StringArray>()),
        DataType::Timestamp(..) => {
            Arc::new(all.map(|key| key.map(integer)).collect::<TimestampMicrosecondArray>())
        }
        DataType::Date32 => {
            Arc::new(all.map(|key| key.map(|key| integer(key) as i32)).collect::<Date32Array>())
        }
        // Values in another order each time, some twice, some of no row, some missing.
        _ => {
            let most = all.clone().flatten().max().unwrap_or(0) as usize + 1;
            let shift = dice.roll(most as u64) as usize;
            let mut values: Vec<Option<String>> =
                (0..2 * most).map(|place| Some(text(((place + shift) % most) as u64))).collect();
            values.push(None);
            let place = |key: u64, dice: &mut Dice| {
                let at = (key as usize + most - shift) % most;
                (at + most * dice.roll(2) as usize) as i32
            };
            let is_nullable = keys.contains(&None);
            let keys: Int32Array = all
                .map(|key| match key {
                    Some(key) => Some(place(key, dice)),
                    None if is_nullable && dice.roll(2) == 0 => Some(2 * most as i32),
                    None => None,
                })
                .collect();
            if !is_nullable {
                values.pop();
            }
            Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(values))))
        }
    }
}

/// A table with customers in order, each with some rows.
fn table(natures: &[Nature], rows: usize, seed: u64) -> RecordBatch {
    let mut dice = Dice(seed);
    let schema = schema();
    let columns = schema.fields().iter().enumerate().map(|(number, field)| {
        let nature = natures[number % natures.len()];
        if number == 0 {
            let mut customer = 250_000_000_000;
            let ids = (0..rows).map(|_| {
                customer += if dice.roll(nature.run) == 0 { 1 + dice.roll(nature.different) } else { 0 };
                customer.to_string()
            });
            return Arc::new(ids.map(Some).collect::<StringArray>()) as ArrayRef;
        }
        let nature = Nature { missing: if field.is_nullable() { nature.missing } else { 0 }, ..nature };
        let keys = keys(nature, rows, &mut dice);
        array(field.data_type(), &keys, &mut dice)
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn storage(forms: u64, codec: Codec, group_rows: usize, page_rows: usize, most_bytes: usize) -> Storage {
    let mut dice = Dice(forms);
    let schema = schema();
    let columns = schema.fields().iter().enumerate().map(|(number, field)| {
        let forms: &[Form] = match field.data_type() {
            DataType::Float64 => &[Form::Plain, Form::Dictionary { most_bytes }],
            DataType::Utf8 if number == 0 => &[Form::Plain, Form::Fronts],
            DataType::Utf8 | DataType::Dictionary(..) => {
                &[Form::Plain, Form::Fronts, Form::Dictionary { most_bytes }]
            }
            _ => &[Form::Plain, Form::Deltas, Form::Dictionary { most_bytes }],
        };
        ColumnStorage { form: dice.pick(forms), codec, is_looked_up: number == 0 }
    });
    Storage { group_rows, page_rows, columns: columns.collect() }
}

/// Writes a table in batches of the sizes that `cut` says.
fn write(table: &RecordBatch, storage: &Storage, mut cut: impl FnMut() -> usize) -> Bytes {
    let schema = ArrowSchemaConverter::new().convert(&table.schema()).unwrap();
    let mut group = Group::new(&schema, storage.clone()).unwrap();
    let mut file =
        SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), Arc::new(WriterProperties::new()))
            .unwrap();
    let mut at = 0;
    while at < table.num_rows() {
        let rows = cut().clamp(1, table.num_rows() - at);
        group.push(&table.slice(at, rows), &mut file).unwrap();
        at += rows;
    }
    group.finish(&mut file).unwrap();
    group.leave();
    file.into_inner().unwrap().into()
}

/// What a reader finds.
fn read(file: &Bytes) -> (RecordBatch, Arc<ParquetMetaData>) {
    let options = ArrowReaderOptions::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .with_encoding_stats_as_mask(false);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    let (schema, metadata) = (builder.schema().clone(), builder.metadata().clone());
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(|batch| batch.unwrap()).collect();
    (concat_batches(&schema, &batches).unwrap(), metadata)
}

/// The same file by parquet-rs alone.
fn by_parquet(table: &RecordBatch, group_rows: usize) -> Bytes {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows));
    let options =
        ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), table.schema(), options).unwrap();
    writer.write(table).unwrap();
    writer.into_inner().unwrap().into()
}

/// With plain text for dictionaries.
fn plain(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values).unwrap(),
        _ => array.clone(),
    }
}

/// Least and greatest value of a column, as the footer should have them.
fn expected(array: &ArrayRef) -> Option<(Vec<u8>, Vec<u8>)> {
    let array = plain(array);
    let numbers = |values: Vec<i64>, width: usize| {
        let bytes = |value: i64| value.to_le_bytes()[..width].to_vec();
        Some((bytes(*values.iter().min()?), bytes(*values.iter().max()?)))
    };
    match array.data_type() {
        DataType::Int64 => numbers(array.as_primitive::<Int64Type>().iter().flatten().collect(), 8),
        DataType::Timestamp(..) => {
            numbers(array.as_primitive::<TimestampMicrosecondType>().iter().flatten().collect(), 8)
        }
        DataType::Int32 => {
            numbers(array.as_primitive::<Int32Type>().iter().flatten().map(i64::from).collect(), 4)
        }
        DataType::Date32 => {
            numbers(array.as_primitive::<Date32Type>().iter().flatten().map(i64::from).collect(), 4)
        }
        DataType::Boolean => numbers(array.as_boolean().iter().flatten().map(i64::from).collect(), 1),
        DataType::Float64 => {
            let all = array.as_primitive::<Float64Type>().iter().flatten().filter(|value| !value.is_nan());
            let least = all.clone().min_by(f64::total_cmp)?;
            let most = all.max_by(f64::total_cmp)?;
            let least = if least == 0.0 { -0.0 } else { least };
            let most = if most == 0.0 { 0.0 } else { most };
            Some((least.to_le_bytes().to_vec(), most.to_le_bytes().to_vec()))
        }
        _ => {
            let all = array.as_string::<i32>();
            let (min, max) = (all.iter().flatten().min()?, all.iter().flatten().max()?);
            Some((min.into(), max.into()))
        }
    }
}

fn check_statistics(table: &RecordBatch, metadata: &ParquetMetaData, page_rows: usize) {
    let mut at = 0;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows() as usize;
        for (column, array) in table.columns().iter().enumerate() {
            let (array, chunk) = (array.slice(at, rows), group.column(column));
            let found: &Statistics = chunk.statistics().unwrap();
            let nulls = plain(&array).null_count() as u64;
            assert_eq!(found.null_count_opt(), Some(nulls));
            let bounds = found.min_bytes_opt().zip(found.max_bytes_opt());
            assert_eq!(bounds.map(|(min, max)| (min.to_vec(), max.to_vec())), expected(&array), "{column}");
            let pages = metadata.offset_index().unwrap()[number][column].page_locations();
            let starts: Vec<usize> = pages.iter().map(|page| page.first_row_index as usize).collect();
            assert_eq!(starts, (0..rows).step_by(page_rows).collect::<Vec<_>>());
            let mut end = chunk.data_page_offset();
            for page in pages {
                assert_eq!(page.offset, end);
                end += i64::from(page.compressed_page_size);
            }
            let (start, length) = chunk.byte_range();
            assert_eq!(end as u64, start + length);
        }
        let ColumnIndexMetaData::BYTE_ARRAY(index) = &metadata.column_index().unwrap()[number][0] else {
            panic!("the customers have no bounds of pages");
        };
        for (page, start) in (0..rows).step_by(page_rows).enumerate() {
            let part = table.column(0).slice(at + start, page_rows.min(rows - start));
            let (min, max) = expected(&part).unwrap();
            assert_eq!(index.min_value(page), Some(min.as_slice()));
            assert_eq!(index.max_value(page), Some(max.as_slice()));
        }
        at += rows;
    }
    assert_eq!(at, table.num_rows());
}

fn check_filters(file: &Bytes, table: &RecordBatch, metadata: &ParquetMetaData) {
    let mut at = 0;
    for group in metadata.row_groups() {
        let filter = Sbbf::read_from_column_chunk(group.column(0), file).unwrap().unwrap();
        let rows = group.num_rows() as usize;
        let ids = table.column(0).slice(at, rows);
        assert!(ids.as_string::<i32>().iter().flatten().all(|id| filter.check(id)));
        at += rows;
    }
}

fn natures() -> impl Strategy<Value = Vec<Nature>> {
    let nature =
        (prop_oneof![1..3u64, 3..40u64, 40..3000u64], 1..60u64, prop_oneof![Just(0), 1..100u64, Just(100)]);
    proptest::collection::vec(
        nature.prop_map(|(different, run, missing)| Nature { different, run, missing }),
        1..9,
    )
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::None), Just(Codec::Snappy), Just(Codec::Zstd)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        natures in natures(),
        rows in 0..2500usize,
        seed: u64,
        codec in codec(),
        group_rows in 1..2000usize,
        page_rows in 1..300usize,
        most_bytes in 1..4000usize,
    ) {
        let table = table(&natures, rows, seed);
        let storage = storage(seed, codec, group_rows.max(rows / 40), page_rows, most_bytes);
        let mut dice = Dice(seed);
        let file = write(&table, &storage, || dice.roll(700) as usize);
        // The same bytes, however the rows are cut.
        prop_assert!(file == write(&table, &storage, || usize::MAX), "other bytes in one batch");
        prop_assert!(file == write(&table, &storage, || dice.roll(10) as usize), "other bytes in small batches");
        let (found, metadata) = read(&file);
        for (found, wanted) in found.columns().iter().zip(table.columns()) {
            prop_assert_eq!(found, &plain(wanted));
        }
        let (by_parquet, of_parquet) = read(&by_parquet(&table, storage.group_rows));
        prop_assert_eq!(&found, &by_parquet);
        prop_assert_eq!(metadata.num_row_groups(), of_parquet.num_row_groups());
        if rows > 0 {
            check_statistics(&table, &metadata, page_rows);
            check_filters(&file, &table, &metadata);
        }
    }
}

#[test]
fn no_rows() {
    let table = table(&[Nature { different: 3, run: 1, missing: 0 }], 0, 1);
    let (found, metadata) = read(&write(&table, &storage(1, Codec::Zstd, 10, 10, 10), || 1));
    assert_eq!((found.num_rows(), metadata.num_row_groups()), (0, 0));
    assert_eq!(found.num_columns(), table.num_columns());
}

/// One column, its form and what its pages are then.
fn encodings(array: ArrayRef, form: Form) -> Vec<(Encoding, i32)> {
    let schema = Arc::new(Schema::new(vec![Field::new("value", array.data_type().clone(), true)]));
    let table = RecordBatch::try_new(schema, vec![array]).unwrap();
    let columns = vec![ColumnStorage { form, codec: Codec::None, is_looked_up: false }];
    let storage = Storage { group_rows: 10_000, page_rows: 100, columns };
    let (found, metadata) = read(&write(&table, &storage, || 1000));
    assert_eq!(found.column(0), &plain(table.column(0)));
    let pages = metadata.row_group(0).column(0).page_encoding_stats().unwrap();
    pages.iter().map(|page| (page.encoding, page.count)).collect()
}

#[test]
fn dictionaries_give_way() {
    let form = Form::Dictionary { most_bytes: 4000 };
    let different = || Arc::new((0..2000).map(|n| Some(n as f64)).collect::<Float64Array>()) as ArrayRef;
    // After 500 entries of eight bytes, at the end of a page.
    assert_eq!(
        encodings(different(), form),
        [(Encoding::PLAIN, 1), (Encoding::RLE_DICTIONARY, 5), (Encoding::PLAIN, 15)]
    );
    // After some pages of new values.
    let form = Form::Dictionary { most_bytes: 1 << 20 };
    assert_eq!(
        encodings(different(), form),
        [(Encoding::PLAIN, 1), (Encoding::RLE_DICTIONARY, 9), (Encoding::PLAIN, 11)]
    );
    let texts = Arc::new((0..2000).map(|n| Some(n.to_string())).collect::<StringArray>());
    assert_eq!(
        encodings(texts, form),
        [(Encoding::PLAIN, 1), (Encoding::RLE_DICTIONARY, 9), (Encoding::PLAIN, 11)]
    );
    let few = Arc::new((0..2000).map(|n| Some((n % 7) as f64)).collect::<Float64Array>());
    assert_eq!(encodings(few, form), [(Encoding::PLAIN, 1), (Encoding::RLE_DICTIONARY, 20)]);
}

#[test]
fn long_texts_end_pages_and_have_no_bounds() {
    let long: Vec<String> = (0..5).map(|n| format!("{n}").repeat(600_000)).collect();
    let array = Arc::new(StringArray::from(long)) as ArrayRef;
    assert_eq!(encodings(array.clone(), Form::Plain), [(Encoding::PLAIN, 3)]);
    let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, false)]));
    let table = RecordBatch::try_new(schema, vec![array]).unwrap();
    let columns = vec![ColumnStorage { form: Form::Plain, codec: Codec::Zstd, is_looked_up: true }];
    let (_, metadata) = read(&write(&table, &Storage { group_rows: 9, page_rows: 9, columns }, || 1));
    let chunk = metadata.row_group(0).column(0);
    assert_eq!(chunk.statistics().unwrap().min_bytes_opt(), None);
    assert!(chunk.column_index_offset().is_none());
}

#[test]
fn a_missing_value_that_must_be_there_is_refused() {
    let field = |is_nullable| Field::new("value", DataType::Int64, is_nullable);
    let array = Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef;
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field(true)])), vec![array]).unwrap();
    let schema = ArrowSchemaConverter::new().convert(&Schema::new(vec![field(false)])).unwrap();
    let columns = vec![ColumnStorage { form: Form::Deltas, codec: Codec::None, is_looked_up: false }];
    let mut group = Group::new(&schema, Storage { group_rows: 9, page_rows: 9, columns }).unwrap();
    let mut file =
        SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), Arc::new(WriterProperties::new()))
            .unwrap();
    assert!(group.push(&batch, &mut file).is_err());
}

#[test]
fn customers_that_are_numbers_are_found() {
    let ids: Vec<i64> = (0..1000).map(|row| row / 3 * 7 - 500).collect();
    let schema = Arc::new(Schema::new(vec![Field::new("customer_id", DataType::Int64, false)]));
    let table = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(ids.clone()))]).unwrap();
    let columns = vec![ColumnStorage { form: Form::Deltas, codec: Codec::Zstd, is_looked_up: true }];
    let file = write(&table, &Storage { group_rows: 600, page_rows: 100, columns }, || 77);
    let (found, metadata) = read(&file);
    assert_eq!(found, table);
    for (number, rows) in ids.chunks(600).enumerate() {
        let ColumnIndexMetaData::INT64(index) = &metadata.column_index().unwrap()[number][0] else {
            panic!("no bounds of pages");
        };
        let bounds: Vec<(i64, i64)> = rows.chunks(100).map(|page| (page[0], page[page.len() - 1])).collect();
        let found: Vec<(i64, i64)> = index
            .min_values_iter()
            .flatten()
            .zip(index.max_values_iter().flatten())
            .map(|(min, max)| (*min, *max))
            .collect();
        assert_eq!(found, bounds);
        let filter =
            Sbbf::read_from_column_chunk(metadata.row_group(number).column(0), &file).unwrap().unwrap();
        assert!(rows.iter().all(|id| filter.check(id)));
        assert!((0..100).filter(|other| filter.check(&(other * 7 - 499))).count() < 30);
    }
}

//! Files of the usual writers' forms, read back.

use super::*;
use crate::engine::location::{InputFile, Location};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field};
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
    // A column of two before it.
    let number = Arc::new(Int32Array::from(vec![7; ids.len()])) as ArrayRef;
    let two = ["a", "b"].map(|name| (Arc::new(Field::new(name, DataType::Int32, false)), number.clone()));
    let two = Arc::new(StructArray::from(two.to_vec())) as ArrayRef;
    let columns = [("two", two, false), ("id", array, optional)];
    let table = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, table.schema(), Some(properties)).unwrap();
    writer.write(&table).unwrap();
    writer.close().unwrap();
    let footer = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let group = footer.metadata().row_group(0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let files = crate::engine::location::list(&path.display().to_string(), "ids", runtime.handle()).unwrap();
    let [InputFile { location: Location::Local { .. }, .. }] = &files[..] else { panic!("a local file") };
    let input = Input::open(&files[0], runtime.handle()).unwrap();
    assert!(IdPages::of(&input, group, 0).unwrap().is_none(), "no texts");
    let mut pages = IdPages::of(&input, group, 1).unwrap()?;
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
        .set_encoding(Encoding::PLAIN)
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
        .set_column_encoding("id".into(), Encoding::DELTA_BYTE_ARRAY)
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
    let mut found = Found::default();
    for bytes in [&[][..], &[1, 0], &[9, 0, 0, 0, b'1'], &[0xff; 8]] {
        assert!(take_plain(&Bytes::copy_from_slice(bytes), &mut 0, 1, &mut found).is_err());
    }
    assert!(take_plain(&Bytes::from_static(&[1, 0, 0, 0, 0xff]), &mut 0, 1, &mut found).is_err(), "no text");
    let dictionary = Dictionary::of(Bytes::from_static(&[1, 0, 0, 0, b'7']), 1).unwrap();
    assert!(dictionary.push(0, &mut found).is_ok() && dictionary.push(1, &mut found).is_err());
    assert!(Dictionary::of(Bytes::from_static(&[1, 0, 0, 0, b'7']), 2).is_err());
}

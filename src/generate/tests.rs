//! The data set as a reader finds it: what was asked is there, and what was planted can be measured.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// A folder that is removed with the value.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("packwise-generate-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder of our own");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Model {
    pub(super) fn for_tests(customers: u64, days: u32, packages: u32) -> Self {
        Self::plan(&Options { customers, days, packages, ..options(Path::new("unused")) })
    }
}

fn options(out: &Path) -> Options {
    Options {
        out: out.to_path_buf(),
        transactions: 20_000,
        customers: 2_000,
        packages: 60,
        days: 28,
        seed: 11,
        start: DEFAULT_START,
        threads: 2,
    }
}

fn quiet(_rows: u64) {}

fn read(path: &Path) -> RecordBatch {
    let file = fs::File::open(path).expect("the file exists");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
    let schema = builder.schema().clone();
    let batches = builder.build().expect("it can be read").collect::<Result<Vec<_>, _>>().expect("all of it");
    concat_batches(&schema, &batches).expect("one schema")
}

fn text<'a>(table: &'a RecordBatch, name: &str) -> &'a StringArray {
    table.column_by_name(name).expect("the column exists").as_string()
}

fn typed<'a, A: Array + 'static>(table: &'a RecordBatch, name: &str) -> &'a A {
    let column = table.column_by_name(name).expect("the column exists");
    column.as_any().downcast_ref().expect("the column has the type")
}

/// One purchase as read: the day counted from the start, second of the day, customer, package.
struct Row {
    day: i32,
    second: i64,
    customer: String,
    package: String,
    channel: Option<String>,
}

fn purchases(generated: &Generated) -> Vec<Row> {
    let mut rows = Vec::new();
    for (day, file) in generated.files.iter().enumerate() {
        let table = read(file);
        let times: &TimestampMicrosecondArray = typed(&table, "BUY_DATE");
        let midnight = DEFAULT_START.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()
            + day as i64 * 86_400_000_000;
        for row in 0..table.num_rows() {
            let channels = text(&table, "CHANNEL");
            rows.push(Row {
                day: day as i32,
                second: (times.value(row) - midnight) / 1_000_000,
                customer: text(&table, "MSISDN").value(row).to_owned(),
                package: text(&table, "PACKAGE_CODE").value(row).to_owned(),
                channel: channels.is_valid(row).then(|| channels.value(row).to_owned()),
            });
        }
    }
    rows
}

#[test]
fn what_was_asked_is_there() {
    let folder = Folder::new("asked");
    let seen = AtomicU64::new(0);
    let generated = generate(&options(folder.path()), &|rows| {
        seen.fetch_max(rows, Ordering::Relaxed);
    })
    .expect("an empty folder");
    assert_eq!((generated.transactions, seen.into_inner()), (20_000, 20_000));

    let names: Vec<_> = generated.files.iter().map(|file| file.file_name().expect("a name")).collect();
    assert_eq!((names.len(), names[0].to_str()), (28, Some("day-2026-03-01.parquet")));
    assert_eq!(names[27].to_str(), Some("day-2026-03-28.parquet"));

    let schema = read(&generated.files[0]).schema();
    let columns: Vec<_> =
        schema.fields().iter().map(|f| (f.name().as_str(), f.data_type().clone(), f.is_nullable())).collect();
    assert_eq!(
        columns,
        [
            ("PACKAGE_CODE", DataType::Utf8, false),
            ("CHANNEL", DataType::Utf8, true),
            ("BUY_DATE", DataType::Timestamp(TimeUnit::Microsecond, None), false),
            ("MSISDN", DataType::Utf8, false),
        ]
    );

    let catalogue = read(&generated.packages_file);
    let prices: &Float64Array = typed(&catalogue, "PRICE");
    let codes = text(&catalogue, "PACKAGE_CODE").iter().flatten();
    let prices: HashMap<&str, i64> =
        codes.zip(prices.values().iter().map(|price| (price * 100.0).round() as i64)).collect();
    assert_eq!(prices.len(), 60);

    let rows = purchases(&generated);
    assert_eq!(rows.len(), 20_000);
    let times: Vec<_> = rows.iter().map(|row| (row.day, row.second)).collect();
    assert!(times.is_sorted() && rows.iter().all(|row| (0..86_400).contains(&row.second)));
    // Indexing fails for a package that is not in the catalogue.
    assert_eq!(rows.iter().map(|row| prices[row.package.as_str()]).sum::<i64>(), generated.revenue_minor);
    let buyers: HashSet<&str> = rows.iter().map(|row| row.customer.as_str()).collect();
    assert_eq!(buyers.len() as u64, generated.customers_with_purchases);
    assert!(buyers.iter().all(|msisdn| msisdn.len() == 12 && msisdn.starts_with("905")));
    let unknown = rows.iter().filter(|row| row.channel.is_none()).count();
    assert!((50..160).contains(&unknown), "{unknown} of 20,000 without a channel");

    let mut left: Vec<_> = fs::read_dir(folder.path()).expect("the folder").flatten().collect();
    left.sort_by_key(fs::DirEntry::file_name);
    let left: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(left, ["packages.parquet", "transactions", "truth.parquet", "truth_tastes.parquet"]);
}

#[test]
fn files_do_not_depend_on_threads_but_on_the_seed() {
    // More customers than one block has, so that blocks are shared out.
    let make = |threads, seed| {
        let folder = Folder::new("threads");
        let asked = Options { threads, seed, customers: 40_000, days: 9, ..options(folder.path()) };
        let generated = generate(&asked, &quiet).expect("an empty folder");
        let mut files = generated.files.clone();
        files.extend([generated.packages_file, generated.truth_file, generated.tastes_file]);
        let bytes: Vec<_> = files.iter().map(|file| fs::read(file).expect("written")).collect();
        (bytes, generated.revenue_minor, generated.customers_with_purchases)
    };
    let one = make(1, 11);
    assert!(one == make(3, 11));
    let other = make(1, 12);
    assert!(one.0.iter().zip(&other.0).all(|(one, other)| one != other));
}

#[test]
fn planted_facts_can_be_measured() {
    let folder = Folder::new("planted");
    let asked = Options { transactions: 120_000, customers: 3_000, days: 56, ..options(folder.path()) };
    let generated = generate(&asked, &quiet).expect("an empty folder");
    let mut by_customer: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in purchases(&generated) {
        by_customer.entry(row.customer.clone()).or_default().push(row);
    }
    let catalogue = read(&generated.packages_file);
    let prices: &Float64Array = typed(&catalogue, "PRICE");
    let prices: HashMap<&str, f64> =
        text(&catalogue, "PACKAGE_CODE").iter().flatten().zip(prices.values().iter().copied()).collect();

    let truth = read(&generated.truth_file);
    assert_eq!(truth.num_rows(), 3_000);
    let day = |column: &Date32Array, row| {
        column.value(row) - DEFAULT_START.signed_duration_since(NaiveDate::default()).num_days() as i32
    };
    let (first, last): (&Date32Array, &Date32Array) = (typed(&truth, "first_day"), typed(&truth, "last_day"));
    let counts: &Int64Array = typed(&truth, "purchases");
    let expected: &Float64Array = typed(&truth, "activity");
    let (joins, lapses): (&BooleanArray, &BooleanArray) =
        (typed(&truth, "joins_late"), typed(&truth, "lapses"));
    let climbs: &BooleanArray = typed(&truth, "ladder");
    let climb_day: &Date32Array = typed(&truth, "ladder_day");
    let segments = truth.column_by_name("segment").expect("a column");
    let segments = segments.as_primitive::<arrow::datatypes::Int32Type>();

    assert!((expected.values().iter().sum::<f64>() - 120_000.0).abs() < 1.0);
    // By segment: purchases on weekends and on working days.
    let mut rhythm = [[0f64; 2]; segments::SEGMENTS];
    let (mut top, mut of) = (0.0, 0.0);
    let (mut before, mut after) = ((0.0, 0.0), (0.0, 0.0));
    for row in 0..truth.num_rows() {
        let bought = by_customer.remove(text(&truth, "MSISDN").value(row)).unwrap_or_default();
        assert_eq!(bought.len() as i64, counts.value(row));
        assert_eq!(joins.value(row), day(first, row) > 0);
        assert_eq!(lapses.value(row), day(last, row) < 55);
        assert!(bought.iter().all(|b| (day(first, row)..=day(last, row)).contains(&b.day)), "row {row}");
        let favourites: Vec<&str> = ["favourite_1", "favourite_2", "favourite_3", "ladder_to"]
            .iter()
            .filter_map(|name| text(&truth, name).iter().nth(row).flatten())
            .collect();
        for purchase in &bought {
            // 2026-03-01 is a Sunday.
            let weekend = matches!(purchase.day % 7, 0 | 6);
            rhythm[segments.value(row) as usize][usize::from(weekend)] += 1.0;
            top += f64::from(u8::from(favourites.contains(&purchase.package.as_str())));
            of += 1.0;
            if climbs.value(row) && day(first, row) == 0 && day(last, row) == 55 {
                let paid = if purchase.day < day(climb_day, row) { &mut before } else { &mut after };
                paid.0 += prices[purchase.package.as_str()];
                paid.1 += 1.0;
            }
        }
    }
    assert!(
        by_customer.is_empty(),
        "customers without a truth: {by_customer:?}",
        by_customer = by_customer.len()
    );
    // Favourites take 0.6 on average, and now and then something else falls on them too.
    assert!((0.6..0.72).contains(&(top / of)), "{}", top / of);
    // The first favourite, 0.4 of the purchases, gets dearer by some 30 %.
    let rise = (after.0 / after.1) / (before.0 / before.1);
    assert!((1.05..1.25).contains(&rise), "{rise}");
    // Two weekend days and five working days a week.
    let weekend = |segment: usize| rhythm[segment][1] / 2.0 / (rhythm[segment][0] / 5.0);
    assert!((weekend(0) - 1.5).abs() < 0.1, "{}", weekend(0));
    assert!((weekend(4) - 0.5).abs() < 0.1, "{}", weekend(4));

    let mut counts: Vec<i64> = counts.values().to_vec();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let heavy = counts[..300].iter().sum::<i64>() as f64 / 120_000.0;
    assert!(heavy > 0.3, "{heavy}");
}

#[test]
fn the_smallest_data_set_is_made_too() {
    let folder = Folder::new("small");
    let asked = Options {
        transactions: 1,
        customers: 10,
        packages: 1,
        days: 1,
        threads: 0,
        ..options(folder.path())
    };
    let generated = generate(&asked, &quiet).expect("an empty folder");
    assert_eq!((purchases(&generated).len(), generated.customers_with_purchases), (1, 1));
    assert_eq!(read(&generated.truth_file).num_rows(), 10);
}

#[test]
fn a_day_too_big_to_sort_at_once_is_whole_and_in_order() {
    let folder = Folder::new("bands");
    let asked = Options { transactions: 1_100_000, days: 1, ..options(folder.path()) };
    let generated = generate(&asked, &quiet).expect("an empty folder");
    let table = read(&generated.files[0]);
    let times: &TimestampMicrosecondArray = typed(&table, "BUY_DATE");
    assert_eq!(times.len(), 1_100_000);
    assert!(times.values().is_sorted());
}

#[test]
fn nonsense_is_refused_before_the_folder_is_touched() {
    let folder = Folder::new("refused");
    let out = folder.path().join("out");
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut asked = options(&out);
        change(&mut asked);
        generate(&asked, &quiet).expect_err("nonsense").to_string()
    };
    let range = |option, value: u64, most: u64| {
        format!("{option} = {value} is out of range: it must be from 1 to {most}")
    };
    assert_eq!(refused(&|o| o.transactions = 0), range("transactions", 0, 10_000_000_000));
    assert_eq!(refused(&|o| o.customers = 1 << 40), range("customers", 1 << 40, 1_000_000_000));
    assert_eq!(refused(&|o| o.packages = 10_000), range("packages", 10_000, 9_999));
    assert_eq!(refused(&|o| o.days = 0), range("days", 0, 3_660));
    assert!(refused(&|o| o.threads = 257).starts_with("threads = 257"));
    assert_eq!(
        refused(&|o| o.start = NaiveDate::MAX),
        format!(
            "28 days from {} leave the dates that can be written (1970-01-01 to 2261-12-31)",
            NaiveDate::MAX
        )
    );
    assert!(!out.exists());
}

#[test]
fn a_data_set_is_never_overwritten_and_a_failure_leaves_nothing() {
    let folder = Folder::new("overwritten");
    let asked = options(folder.path());
    fs::create_dir(folder.path().join("transactions")).expect("a new folder");
    generate(&asked, &quiet).expect("an empty transactions folder is no data set");
    let error = generate(&asked, &quiet).expect_err("there is a data set now");
    assert!(matches!(&error, GenerateError::NotEmpty { path } if path.ends_with("packages.parquet")));

    let busy = Folder::new("busy");
    fs::create_dir(busy.path().join(".tmp")).expect("a new folder");
    let error = generate(&options(busy.path()), &quiet).expect_err("somebody else is at work");
    assert!(matches!(error, GenerateError::InUse { .. }) && busy.path().join(".tmp").exists());

    let blocked = Folder::new("blocked");
    let file = blocked.path().join("file");
    fs::write(&file, "not a folder").expect("a new file");
    let error = generate(&options(&file.join("out")), &quiet).expect_err("below a file");
    assert!(matches!(error, GenerateError::Io { .. }) && error.hint().is_some());
    assert_eq!(fs::read_dir(blocked.path()).expect("the folder").count(), 1);
}

//! The made-up transactions and catalogue of the tests.

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use std::sync::Arc;

/// 2026-01-01 as days since 1970, the first day of the made-up shop.
pub const FIRST_DAY: i64 = 20_454;
/// Days that the shop is open.
pub const DAYS: i64 = 90;

/// One row of the made-up transactions.
#[derive(Debug, Clone, PartialEq)]
pub struct Purchase {
    pub customer: u32,
    pub package: &'static str,
    /// Since 1970.
    pub seconds: i64,
    pub channel: Option<&'static str>,
    /// Of the line, negative for a return.
    pub cents: i64,
    pub quantity: f64,
}

/// Packages with their prices in cents.
pub const PACKAGES: [(&str, i64); 12] = [
    ("P01", 499),
    ("P02", 799),
    ("P03", 1000),
    ("P04", 1250),
    ("P05", 1500),
    ("P06", 1799),
    ("P07", 2500),
    ("P08", 2999),
    ("P09", 3333),
    ("P10", 4500),
    ("P11", 6000),
    ("P12", 9900),
];

/// Numbers that look random and never change (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Purchases of customers 0 to `customers` − 1: three kinds of customers with tastes of their own, some
/// returns, some rows without a channel. The last row is on the last day.
pub fn purchases(customers: u32, seed: u64) -> Vec<Purchase> {
    let mut dice = Dice::new(seed);
    let mut rows = Vec::new();
    for customer in 0..customers {
        let kind = u64::from(customer % 3);
        for _ in 0..1 + dice.below(4 + 6 * kind) {
            let (package, price) = match dice.below(10) {
                0..7 => PACKAGES[(kind * 4 + dice.below(4)) as usize],
                _ => PACKAGES[dice.below(12) as usize],
            };
            let quantity = 1 + dice.below(3) as i64;
            let sign = if dice.below(40) == 0 { -1 } else { 1 };
            rows.push(Purchase {
                customer,
                package,
                seconds: (FIRST_DAY + dice.below(DAYS as u64) as i64) * 86_400 + dice.below(86_400) as i64,
                channel: [Some("APP"), Some("APP"), Some("SMS"), Some("SHOP"), None][dice.below(5) as usize],
                cents: sign * price * quantity,
                quantity: (sign * quantity) as f64,
            });
        }
    }
    if let Some(row) = rows.last_mut() {
        row.seconds = (FIRST_DAY + DAYS) * 86_400 - 1;
    }
    rows
}

/// How customers are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Integers of different lengths, some negative.
    Integer,
    /// Six digits, as integers: their numeric order is that of their texts.
    Digits,
    Phone,
    FreeText,
}

impl Ids {
    pub fn name(self, customer: u32) -> String {
        match self {
            Self::Integer => (i64::from(customer) * 37 - 500).to_string(),
            Self::Digits => (100_000 + customer).to_string(),
            Self::Phone => format!("+90530{:07}", u64::from(customer) * 7919 % 10_000_000),
            Self::FreeText => format!("cust-{}-{customer}", ["α", "b", "Ω"][customer as usize % 3]),
        }
    }
}

/// Purchases as a batch with the columns MSISDN, PACKAGE_CODE, BUY_DATE (microseconds), CHANNEL, AMOUNT
/// and QUANTITY.
pub fn batch(rows: &[Purchase], ids: Ids) -> RecordBatch {
    let names = StringArray::from_iter_values(rows.iter().map(|row| ids.name(row.customer)));
    let names = Arc::new(names) as ArrayRef;
    let customers = match ids {
        Ids::Integer | Ids::Digits => cast(&names, &DataType::Int64).unwrap(),
        Ids::Phone | Ids::FreeText => names,
    };
    let micros = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.seconds * 1_000_000));
    RecordBatch::try_from_iter_with_nullable([
        ("MSISDN", customers, true),
        (
            "PACKAGE_CODE",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.package))) as ArrayRef,
            true,
        ),
        ("BUY_DATE", Arc::new(micros), true),
        ("CHANNEL", Arc::new(rows.iter().map(|row| row.channel).collect::<StringArray>()), true),
        (
            "AMOUNT",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.cents as f64 / 100.0))),
            true,
        ),
        ("QUANTITY", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.quantity))), true),
    ])
    .unwrap()
}

/// The catalogue of [`PACKAGES`], with quantities as people write them.
pub fn catalogue() -> String {
    let mut text =
        String::from("CODE,PRICE,QUOTA,MAX_SPEED,MIN_SPEED,SERVICE_TYPE,CHARGING_TYPE,VALIDITY,GONE\n");
    for (number, (code, cents)) in PACKAGES.iter().enumerate() {
        let quota = ["500 MB", "1.5 GB", "2048", "unlimited"][number % 4];
        let speed = ["10", "100 Mbps", "512 kbps"][number % 3];
        let service = ["DATA", "VOICE", "SMS"][number % 3];
        let charging = ["PREPAID", "POSTPAID"][number % 2];
        let validity = ["1 month", "7 days", "30", "1 week"][number % 4];
        let price = *cents as f64 / 100.0;
        text.push_str(&format!("{code},{price},{quota},{speed},1,{service},{charging},{validity},no\n"));
    }
    text
}

/// The settings that map every column of [`catalogue`].
pub const CATALOGUE: &str = r#"
[catalogue]
path = "packages.parquet"
columns = { package = "CODE", price = "PRICE", quota = "QUOTA", max_speed = "MAX_SPEED", min_speed = "MIN_SPEED", service_type = "SERVICE_TYPE", charging_type = "CHARGING_TYPE", validity = "VALIDITY", retired = "GONE" }
"#;

/// Days since 1970 of purchases, for date columns.
pub fn days(rows: &[Purchase]) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.seconds.div_euclid(86_400) as i32)))
}

/// The time in seconds since 1970 as ISO text.
pub fn iso(seconds: i64) -> String {
    chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%dT%H:%M:%S").to_string()
}

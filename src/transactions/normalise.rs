//! A batch of input turned into normalised rows; what cannot be is rejected with a reason.

use super::InputError;
use super::codes::{Code, CodeCache, Codes};
use super::keys::{self, KeyKind};
use super::quarantine::Rejected;
use super::source::{Batch, Role};
use super::text_column::TextColumn;
use super::times;
use crate::config::resolve::Returns;
use crate::engine::rows::{Layout, Rows};
use crate::numerics::random::hash_bytes;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// Why a row was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NoCustomer,
    NoPackage,
    NoTime,
    UnparsableTime,
    TimeOutOfRange,
    FutureTime,
    UnknownPackage,
    NoAmount,
    AbsurdAmount,
    AbsurdQuantity,
    NegativeAmount,
}

impl Reason {
    pub const ALL: [Self; 11] = [
        Self::NoCustomer,
        Self::NoPackage,
        Self::NoTime,
        Self::UnparsableTime,
        Self::TimeOutOfRange,
        Self::FutureTime,
        Self::UnknownPackage,
        Self::NoAmount,
        Self::AbsurdAmount,
        Self::AbsurdQuantity,
        Self::NegativeAmount,
    ];

    /// As published in the quarantine table and the report.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoCustomer => "customer is null or empty",
            Self::NoPackage => "package is null or empty",
            Self::NoTime => "time is null",
            Self::UnparsableTime => "time cannot be parsed",
            Self::TimeOutOfRange => "time is before 1970 or after 2106",
            Self::FutureTime => "time is after the end of the data",
            Self::UnknownPackage => "package is not in the catalogue",
            Self::NoAmount => "amount is null and the catalogue has no price",
            Self::AbsurdAmount => "amount is not a number or absurdly large",
            Self::AbsurdQuantity => "quantity is not a number or absurdly large",
            Self::NegativeAmount => "amount or quantity is negative",
        }
    }
}

/// What the normaliser goes by, the same for all workers.
pub struct Rules {
    pub layout: Layout,
    pub keys: KeyKind,
    pub packages: Codes,
    pub channels: Codes,
    /// Price of every package of the catalogue in minor units, by code; empty without one.
    pub prices: Vec<Option<i64>>,
    pub has_amount: bool,
    /// Amounts are known for every row (a column, or a price for every package).
    pub scale: f64,
    pub max_amount: f64,
    pub amount_is_unit: bool,
    pub returns: Returns,
    /// Last second of the data if the configuration names it.
    pub as_of_end: Option<i64>,
}

/// The code of rows without a channel.
pub const NO_CHANNEL: u16 = u16::MAX;
/// More channels than this are no channels.
pub const MOST_CHANNELS: usize = 60_000;

/// Counts of one worker.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub rows: u64,
    pub good: u64,
    pub rejected: [u64; Reason::ALL.len()],
    pub returns_dropped: u64,
    /// Returns taken off revenue.
    pub returns_netted: u64,
    pub null_channels: u64,
    pub null_amounts: u64,
    pub null_quantities: u64,
    /// Rows by day since 1970.
    pub by_day: Vec<u64>,
    /// Rows by channel code.
    pub by_channel: Vec<u64>,
}

impl Counts {
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.good += other.good;
        for (mine, theirs) in self.rejected.iter_mut().zip(other.rejected) {
            *mine += theirs;
        }
        self.returns_dropped += other.returns_dropped;
        self.returns_netted += other.returns_netted;
        self.null_channels += other.null_channels;
        self.null_amounts += other.null_amounts;
        self.null_quantities += other.null_quantities;
        for (mine, theirs) in [(&mut self.by_day, &other.by_day), (&mut self.by_channel, &other.by_channel)] {
            mine.resize(mine.len().max(theirs.len()), 0);
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }

    pub fn rejected_rows(&self) -> u64 {
        self.rejected.iter().sum()
    }
}

/// A worker's normaliser.
pub struct Normaliser<'a> {
    rules: &'a Rules,
    package_cache: CodeCache,
    channel_cache: CodeCache,
    pub rows: Rows,
    pub counts: Counts,
}

/// A text id does not fit the keys that the sample suggested; the pass starts over with text keys.
#[derive(Debug)]
pub struct KeysTooNarrow;

/// What a batch can fail with.
#[derive(Debug)]
pub enum BatchFailure {
    Input(InputError),
    Keys(KeysTooNarrow),
}

impl From<InputError> for BatchFailure {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

enum Customers {
    Integers(Int64Array),
    Texts(TextColumn),
}

enum Times {
    Typed(ArrayRef),
    Texts(TextColumn),
}

/// A number column: the values, and the original to tell "null" from "not a number".
struct Numbers {
    values: Float64Array,
    original: ArrayRef,
    texts: Option<TextColumn>,
}

impl Numbers {
    fn new(array: &ArrayRef) -> Result<Self, InputError> {
        let values = cast(array, &DataType::Float64).map_err(InputError::batch)?;
        let is_text = matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let texts = is_text.then(|| TextColumn::new(array)).transpose().map_err(InputError::batch)?;
        Ok(Self { values: values.as_primitive::<Float64Type>().clone(), original: array.clone(), texts })
    }

    /// None if null (or empty text), NaN if not a number.
    fn get(&self, row: usize) -> Option<f64> {
        if self.values.is_valid(row) {
            Some(self.values.value(row))
        } else if self.original.is_null(row) {
            None
        } else {
            let text = self.texts.as_ref().and_then(|texts| texts.get(row)).unwrap_or_default();
            (!text.trim().is_empty()).then_some(f64::NAN)
        }
    }
}

impl<'a> Normaliser<'a> {
    pub fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            package_cache: CodeCache::default(),
            channel_cache: CodeCache::default(),
            rows: Rows::default(),
            counts: Counts::default(),
        }
    }

    /// Normalises a batch into `self.rows` (cleared first); rejected rows go to `rejected`.
    pub fn normalise(&mut self, batch: &Batch, rejected: &mut Rejected) -> Result<(), BatchFailure> {
        self.rows.clear();
        let rules = self.rules;
        let needed = |role: Role| batch.column(role).ok_or_else(InputError::lost_column);
        let customers = needed(Role::Customer)?;
        let customers = match rules.keys {
            KeyKind::Integer => {
                let cast = cast(customers, &DataType::Int64).map_err(InputError::batch)?;
                Customers::Integers(cast.as_primitive::<Int64Type>().clone())
            }
            _ => Customers::Texts(TextColumn::new(customers).map_err(InputError::batch)?),
        };
        let packages = TextColumn::new(needed(Role::Package)?).map_err(InputError::batch)?;
        let times = needed(Role::Time)?;
        let times = match times.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Times::Texts(TextColumn::new(times).map_err(InputError::batch)?)
            }
            _ => Times::Typed(times.clone()),
        };
        let text = |role: Role| -> Result<Option<TextColumn>, InputError> {
            batch.column(role).map(TextColumn::new).transpose().map_err(InputError::batch)
        };
        let channels = text(Role::Channel)?;
        let transactions = text(Role::Transaction)?;
        let amounts = batch.column(Role::Amount).map(Numbers::new).transpose()?;
        let quantities = batch.column(Role::Quantity).map(Numbers::new).transpose()?;

        self.counts.rows += batch.rows as u64;
        for row in 0..batch.rows {
            let checked = self.row(
                row,
                &customers,
                &packages,
                &times,
                channels.as_ref(),
                amounts.as_ref(),
                quantities.as_ref(),
            );
            match checked {
                Ok(Checked::Good(good)) => {
                    self.push(&good, &customers, row, transactions.as_ref())?;
                }
                Ok(Checked::DroppedReturn) => self.counts.returns_dropped += 1,
                Err(reason) => {
                    self.counts.rejected[reason as usize] += 1;
                    rejected.push(row, reason, batch).map_err(BatchFailure::Input)?;
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one argument a column of the batch")]
    fn row(
        &mut self,
        row: usize,
        customers: &Customers,
        packages: &TextColumn,
        times: &Times,
        channels: Option<&TextColumn>,
        amounts: Option<&Numbers>,
        quantities: Option<&Numbers>,
    ) -> Result<Checked, Reason> {
        let rules = self.rules;
        match customers {
            Customers::Integers(ids) if ids.is_null(row) => return Err(Reason::NoCustomer),
            Customers::Texts(ids) if ids.get(row).is_none_or(|id| id.trim().is_empty()) => {
                return Err(Reason::NoCustomer);
            }
            _ => {}
        }
        let package = packages.get(row).map(str::trim).filter(|code| !code.is_empty());
        let package = package.ok_or(Reason::NoPackage)?;
        let Code::Known(package) = self.package_cache.code(&rules.packages, package) else {
            return Err(Reason::UnknownPackage);
        };
        let seconds = match times {
            Times::Typed(array) if array.is_null(row) => return Err(Reason::NoTime),
            Times::Typed(array) => times::seconds(array.as_ref(), row).ok_or(Reason::UnparsableTime)?,
            Times::Texts(texts) => {
                let text = texts.get(row).filter(|text| !text.trim().is_empty()).ok_or(Reason::NoTime)?;
                times::parse(text).ok_or(Reason::UnparsableTime)?
            }
        };
        let seconds_short = u32::try_from(seconds).map_err(|_| Reason::TimeOutOfRange)?;
        if rules.as_of_end.is_some_and(|end| seconds > end) {
            return Err(Reason::FutureTime);
        }
        let quantity = match quantities.map(|numbers| numbers.get(row)) {
            None => 1.0,
            Some(None) => {
                self.counts.null_quantities += 1;
                1.0
            }
            Some(Some(quantity)) if quantity.abs() <= 1e9 => quantity,
            Some(Some(_)) => return Err(Reason::AbsurdQuantity),
        };
        let amount = self.amount(row, package, quantity, amounts)?;
        if amount < 0 || quantity < 0.0 {
            match rules.returns {
                Returns::Net => self.counts.returns_netted += 1,
                Returns::Drop => return Ok(Checked::DroppedReturn),
                Returns::Quarantine => return Err(Reason::NegativeAmount),
            }
        }
        let channel =
            match channels.map(|texts| texts.get(row).map(str::trim).filter(|text| !text.is_empty())) {
                None => NO_CHANNEL,
                Some(None) => {
                    self.counts.null_channels += 1;
                    NO_CHANNEL
                }
                Some(Some(text)) => match self.channel_cache.code(&rules.channels, text) {
                    Code::Known(code) => code as u16,
                    Code::Unknown | Code::TooMany => NO_CHANNEL,
                },
            };
        Ok(Checked::Good(GoodRow {
            seconds: seconds_short,
            package,
            channel,
            amount,
            quantity: quantity as f32,
        }))
    }

    /// Minor units of the line: what was paid, else the catalogue's price times the quantity, else 0
    /// where nothing tells (relevance only).
    fn amount(
        &mut self,
        row: usize,
        package: u32,
        quantity: f64,
        amounts: Option<&Numbers>,
    ) -> Result<i64, Reason> {
        let rules = self.rules;
        let given = match amounts.map(|numbers| numbers.get(row)) {
            Some(None) => {
                self.counts.null_amounts += 1;
                None
            }
            Some(given) => given,
            None => None,
        };
        if let Some(amount) = given {
            let amount = if rules.amount_is_unit { amount * quantity } else { amount };
            if amount.is_nan() || amount.abs() > rules.max_amount {
                return Err(Reason::AbsurdAmount);
            }
            return Ok((amount * rules.scale).round() as i64);
        }
        match rules.prices.get(package as usize).copied().flatten() {
            Some(price) => {
                let amount = price as f64 * quantity;
                if amount.is_nan() || amount.abs() > rules.max_amount * rules.scale {
                    return Err(Reason::AbsurdAmount);
                }
                Ok(amount.round() as i64)
            }
            None if rules.has_amount => Err(Reason::NoAmount),
            None => Ok(0),
        }
    }

    fn push(
        &mut self,
        good: &GoodRow,
        customers: &Customers,
        row: usize,
        transactions: Option<&TextColumn>,
    ) -> Result<(), BatchFailure> {
        let layout = self.rules.layout;
        let key = match (customers, &self.rules.keys) {
            (Customers::Integers(ids), _) => keys::integer_key(ids.value(row)),
            (Customers::Texts(ids), KeyKind::Text { prefix }) => {
                let id = ids.get(row).unwrap_or_default().trim().as_bytes();
                self.rows.text_lengths.push(id.len() as u32);
                self.rows.text_bytes.extend_from_slice(id);
                keys::text_key(id, prefix)
            }
            (Customers::Texts(ids), _) => keys::pack(ids.get(row).unwrap_or_default().trim().as_bytes())
                .ok_or(BatchFailure::Keys(KeysTooNarrow))?,
        };
        self.rows.keys.push(key);
        self.rows.seconds.push(good.seconds);
        self.rows.packages.push(good.package);
        self.rows.channels.push(good.channel);
        if layout.amounts {
            self.rows.amounts.push(good.amount);
        }
        if layout.quantities {
            self.rows.quantities.push(good.quantity);
        }
        if layout.transactions {
            let id = transactions.and_then(|ids| ids.get(row)).unwrap_or_default();
            // 0 stands for "no id", which never repeats.
            let hash = if id.is_empty() { 0 } else { hash_bytes(id.as_bytes(), 0).max(1) };
            self.rows.transactions.push(hash);
        }
        self.counts.good += 1;
        let day = good.seconds as usize / times::DAY as usize;
        if self.counts.by_day.len() <= day {
            self.counts.by_day.resize(day + 1, 0);
        }
        self.counts.by_day[day] += 1;
        if good.channel != NO_CHANNEL {
            let channel = good.channel as usize;
            if self.counts.by_channel.len() <= channel {
                self.counts.by_channel.resize(channel + 1, 0);
            }
            self.counts.by_channel[channel] += 1;
        }
        Ok(())
    }
}

enum Checked {
    Good(GoodRow),
    DroppedReturn,
}

struct GoodRow {
    seconds: u32,
    package: u32,
    channel: u16,
    amount: i64,
    quantity: f32,
}

/// The last day of the data: from the day of the median row on, for as long as no more than 31 empty
/// days lie between one day with rows and the next. So a mistyped year does not move the end.
pub fn last_day(by_day: &[u64]) -> Option<i64> {
    let total: u64 = by_day.iter().sum();
    let mut seen = 0;
    let median = by_day.iter().position(|count| {
        seen += count;
        total > 0 && seen * 2 >= total
    })?;
    let mut last = median;
    for (day, count) in by_day.iter().enumerate().skip(median) {
        if *count > 0 {
            if day - last > 32 {
                break;
            }
            last = day;
        }
    }
    Some(last as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_ignores_rows_far_after_the_bulk() {
        let mut days = vec![0; 400];
        days[100..130].fill(50);
        days[150] = 1; // 20 empty days later: belongs to the data
        days[390] = 3; // a mistyped year does not
        assert_eq!(last_day(&days), Some(150));
        assert_eq!(last_day(&[]), None);
        assert_eq!(last_day(&[0, 0]), None);
    }
}

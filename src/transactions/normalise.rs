//! A batch of input turned into normalised rows; what cannot be is rejected with a reason.

mod columns;
mod counts;
mod plain;

pub use counts::{Counts, Reason, last_day};

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
use arrow::array::{Array, AsArray, Int64Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use columns::{EntryCodes, Looked, Numbers, Times, all_seconds, look_up, trimmed};
use std::cell::LazyCell;

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
    pub contract: RowContract,
}

/// What the data contract says of single rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowContract {
    /// Rows without it are rejected.
    pub needs_channel: bool,
    pub needs_amount: bool,
    pub needs_quantity: bool,
    /// `channels` are the accepted ones, and rows of others are rejected.
    pub accepts_only: bool,
    /// Revenue is summed by day.
    pub sums_revenue: bool,
}

/// The code of rows without a channel.
pub const NO_CHANNEL: u16 = u16::MAX;
/// More channels than this are no channels.
pub const MOST_CHANNELS: usize = 60_000;

/// A worker's normaliser.
pub struct Normaliser<'a> {
    rules: &'a Rules,
    package_cache: CodeCache,
    channel_cache: CodeCache,
    package_codes: EntryCodes,
    channel_codes: EntryCodes,
    /// Seconds of a batch with typed times.
    seconds: Vec<i64>,
    /// Rows of a batch by channel, counted in four places.
    by_channel: Vec<[u64; 4]>,
    /// Largest amount in minor units that is allowed and that a float holds exactly.
    exact: f64,
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
    /// All of them.
    Keys(ScalarBuffer<u64>),
}

/// The columns of a batch.
struct Columns {
    customers: Customers,
    packages: TextColumn,
    times: Times,
    channels: Option<TextColumn>,
    amounts: Option<Numbers>,
    quantities: Option<Numbers>,
    transactions: Option<TextColumn>,
}

impl<'a> Normaliser<'a> {
    pub fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            package_cache: CodeCache::default(),
            channel_cache: CodeCache::default(),
            package_codes: EntryCodes::default(),
            channel_codes: EntryCodes::default(),
            seconds: Vec::new(),
            by_channel: Vec::new(),
            exact: (rules.max_amount * rules.scale).min((1u64 << 53) as f64),
            rows: Rows::default(),
            counts: Counts::default(),
        }
    }

    /// Normalises a batch into `self.rows` (cleared first); rejected rows go to `rejected`.
    pub fn normalise(&mut self, batch: &Batch, rejected: &mut Rejected) -> Result<(), BatchFailure> {
        self.rows.clear();
        let columns = self.columns(batch)?;
        self.counts.rows += batch.rows as u64;
        if batch.forgotten.is_empty() && self.all_plain(&columns, batch.rows) {
            return Ok(());
        }
        // What is refused is shown with its id.
        let with_ids = LazyCell::new(|| batch.with_ids());
        let mut forgotten = batch.forgotten.iter().peekable();
        for row in 0..batch.rows {
            if forgotten.next_if(|next| **next == row).is_some() {
                self.counts.forgotten += 1;
                continue;
            }
            match self.row(row, &columns) {
                Ok(Checked::Good(good)) => self.push(&good, &columns, row)?,
                Ok(Checked::DroppedReturn) => self.counts.returns_dropped += 1,
                Err(reason) => {
                    self.counts.rejected[reason as usize] += 1;
                    let batch = with_ids.as_ref().unwrap_or(batch);
                    rejected.push(row, reason, batch).map_err(BatchFailure::Input)?;
                }
            }
        }
        Ok(())
    }

    /// The columns of a batch, the seconds of its times, and no codes of its texts yet.
    fn columns(&mut self, batch: &Batch) -> Result<Columns, InputError> {
        let needed = |role: Role| batch.column(role).ok_or_else(InputError::lost_column);
        let customers = match (&batch.keys, &self.rules.keys) {
            (Some(keys), _) => Customers::Keys(keys.clone()),
            (None, KeyKind::Integer) => {
                let cast = cast(needed(Role::Customer)?, &DataType::Int64).map_err(InputError::batch)?;
                Customers::Integers(cast.as_primitive::<Int64Type>().clone())
            }
            (None, _) => {
                Customers::Texts(TextColumn::new(needed(Role::Customer)?).map_err(InputError::batch)?)
            }
        };
        let times = needed(Role::Time)?;
        let times = match times.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Times::Texts(TextColumn::new(times).map_err(InputError::batch)?)
            }
            _ => {
                all_seconds(times, &mut self.seconds);
                Times::Typed(times.clone())
            }
        };
        let text = |role: Role| -> Result<Option<TextColumn>, InputError> {
            batch.column(role).map(TextColumn::new).transpose().map_err(InputError::batch)
        };
        let packages = TextColumn::new(needed(Role::Package)?).map_err(InputError::batch)?;
        let channels = text(Role::Channel)?;
        self.package_codes.begin(&packages);
        if let Some(channels) = &channels {
            self.channel_codes.begin(channels);
        }
        Ok(Columns {
            customers,
            packages,
            times,
            channels,
            transactions: text(Role::Transaction)?,
            amounts: batch.column(Role::Amount).map(Numbers::new).transpose()?,
            quantities: batch.column(Role::Quantity).map(Numbers::new).transpose()?,
        })
    }

    /// Checks a row and works out what it is kept as.
    fn row(&mut self, row: usize, columns: &Columns) -> Result<Checked, Reason> {
        let Columns { customers, packages, times, channels, amounts, quantities, .. } = columns;
        let rules = self.rules;
        match customers {
            Customers::Integers(ids) if ids.is_null(row) => return Err(Reason::NoCustomer),
            Customers::Texts(ids) if ids.get(row).is_none_or(|id| trimmed(id).is_empty()) => {
                return Err(Reason::NoCustomer);
            }
            _ => {}
        }
        let package =
            match look_up(packages, row, &mut self.package_codes, &mut self.package_cache, &rules.packages) {
                Looked::Code(Code::Known(code)) => code,
                Looked::Code(_) => return Err(Reason::UnknownPackage),
                Looked::Nothing => return Err(Reason::NoPackage),
            };
        let seconds = match times {
            Times::Typed(array) if array.is_null(row) => return Err(Reason::NoTime),
            Times::Typed(_) => self.seconds.get(row).copied().ok_or(Reason::UnparsableTime)?,
            Times::Texts(texts) => {
                let text = texts.get(row).filter(|text| !text.trim().is_empty()).ok_or(Reason::NoTime)?;
                times::parse(text).ok_or(Reason::UnparsableTime)?
            }
        };
        let seconds_short = u32::try_from(seconds).map_err(|_| Reason::TimeOutOfRange)?;
        if rules.as_of_end.is_some_and(|end| seconds > end) {
            return Err(Reason::FutureTime);
        }
        let quantity = match quantities.as_ref().map(|numbers| numbers.get(row)) {
            None => 1.0,
            Some(None) if rules.contract.needs_quantity => return Err(Reason::NoQuantity),
            Some(None) => {
                self.counts.null_quantities += 1;
                1.0
            }
            Some(Some(quantity)) if quantity.abs() <= 1e9 => quantity,
            Some(Some(_)) => return Err(Reason::AbsurdQuantity),
        };
        let amount = self.amount(row, package, quantity, amounts.as_ref())?;
        let is_return = amount < 0 || quantity < 0.0;
        if is_return {
            match rules.returns {
                Returns::Net => {}
                Returns::Drop => return Ok(Checked::DroppedReturn),
                Returns::Quarantine => return Err(Reason::NegativeAmount),
            }
        }
        let (seen, cache) = (&mut self.channel_codes, &mut self.channel_cache);
        let channel = match channels.as_ref().map(|texts| look_up(texts, row, seen, cache, &rules.channels)) {
            None => NO_CHANNEL,
            Some(Looked::Nothing) if rules.contract.needs_channel => return Err(Reason::NoChannel),
            Some(Looked::Nothing) => {
                self.counts.null_channels += 1;
                NO_CHANNEL
            }
            Some(Looked::Code(Code::Known(code))) => code as u16,
            Some(Looked::Code(Code::Unknown)) if rules.contract.accepts_only => {
                return Err(Reason::ChannelNotAccepted);
            }
            Some(Looked::Code(Code::Unknown | Code::TooMany)) => NO_CHANNEL,
        };
        self.counts.returns_netted += u64::from(is_return);
        Ok(Checked::Good(GoodRow {
            seconds: seconds_short,
            package,
            channel,
            amount,
            // Nothing is a negative zero: the sign of a quantity says whether it is a return.
            quantity: quantity as f32 + 0.0,
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
            Some(None) if rules.contract.needs_amount => return Err(Reason::MissingAmount),
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
            // One piece at its price, as most rows are: the product below is the price itself.
            Some(price) if quantity == 1.0 && (price.unsigned_abs() as f64) <= self.exact => Ok(price),
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

    fn push(&mut self, good: &GoodRow, columns: &Columns, row: usize) -> Result<(), BatchFailure> {
        let layout = self.rules.layout;
        let key = match (&columns.customers, &self.rules.keys) {
            (Customers::Integers(ids), _) => keys::integer_key(ids.value(row)),
            (Customers::Keys(keys), _) => keys[row],
            (Customers::Texts(ids), KeyKind::Text { prefix }) => {
                let id = trimmed(ids.get(row).unwrap_or_default()).as_bytes();
                self.rows.text_lengths.push(id.len() as u32);
                self.rows.text_bytes.extend_from_slice(id);
                keys::text_key(id, prefix)
            }
            (Customers::Texts(ids), _) => keys::pack(trimmed(ids.get(row).unwrap_or_default()).as_bytes())
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
            let id = columns.transactions.as_ref().and_then(|ids| ids.get(row)).unwrap_or_default();
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
        if self.rules.contract.sums_revenue {
            let days = &mut self.counts.revenue_by_day;
            if days.len() <= day {
                days.resize(day + 1, 0);
            }
            days[day] = days[day].saturating_add(good.amount);
        }
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

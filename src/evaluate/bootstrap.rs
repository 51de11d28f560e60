//! How sure a difference between two methods is: the paired bootstrap over customers.
//!
//! Two methods are judged on the same customers, and customers differ far more than methods do. So
//! the customers are resampled and both methods keep their pairs (Efron and Tibshirani 1993, "An
//! Introduction to the Bootstrap", chapters 13 and 16). Instead of drawing n customers with
//! replacement, each customer gets an independent Poisson(1) number of copies (Chamandy, Muralidharan,
//! Najmi and Naidu 2012, "Estimating uncertainty for massive data streams", Google). That is a pure
//! function of (seed, repeat, position of the customer): threads do not show, and all comparisons of
//! a call see the same resamples, so that their intervals can be compared with each other.
//!
//! The interval is the percentile interval: from the 2.5 % to the 97.5 % quantile of the repeats. With
//! few customers or very unequal money it is a little too narrow.

use serde::Serialize;

use crate::numerics::random::{hash_bytes, hash_u64};

/// Two methods over the same customers.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// A value for each customer; NaN where there is nothing to measure.
    pub a: &'a [f32],
    pub b: &'a [f32],
    /// `None` compares means. With denominators (0 or more) the ratios Σ a / Σ d and Σ b / Σ d are
    /// compared: for revenue recall `a` and `b` are the money of the hits, `d` that of the truth.
    pub denominators: Option<&'a [f32]>,
}

/// A difference a − b with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Of the customers as they are.
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// Resamples behind the ends. Fewer than asked when some held no customer to measure.
    pub repeats: usize,
}

/// Why there is no interval.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BootstrapError {
    #[error("{repeats} repeats were asked; the ends of a 95 % interval need {FEWEST} or more")]
    Repeats { repeats: usize },
    #[error("the pair has {a} and {b} values and {denominators} denominators, not as many of each")]
    Lengths { a: usize, b: usize, denominators: usize },
    #[error("customer {customer} has the values {a} and {b}, not finite numbers")]
    Infinite { customer: usize, a: f32, b: f32 },
    #[error("customer {customer} has the denominator {denominator}, not a finite number of 0 or more")]
    Denominator { customer: usize, denominator: f32 },
    #[error("none of the {customers} customers has something to compare")]
    Nothing { customers: usize },
}

/// One repeat for each 2.5 %.
const FEWEST: usize = 40;
/// Customers whose weights are drawn at a time: they and a piece of a column stay in the first cache.
const BLOCK: usize = 2_048;
/// Independent partial sums: a fixed order that the compiler can vectorise.
const LANES: usize = 8;

/// The interval of one difference; see [`differences`]. `denominators` as in [`Pair`].
pub fn difference(
    a: &[f32],
    b: &[f32],
    denominators: Option<&[f32]>,
    repeats: usize,
    seed: u64,
) -> Result<Interval, BootstrapError> {
    let intervals = differences(&[Pair { a, b, denominators }], repeats, seed, 1)?;
    intervals.into_iter().next().ok_or(BootstrapError::Nothing { customers: a.len() })
}

/// The intervals of many differences, each over its own customers from the first on, under the same
/// resamples; the same bits for any number of threads and whatever other pairs are in the call.
///
/// A customer for whom either value or the denominator is NaN is left out of that pair. For the
/// interval of one method alone compare it with zeros.
///
/// Errors: fewer than 40 repeats; columns of different lengths; infinite values or negative
/// denominators; a pair with nothing to compare (no customers, all denominators 0). Cost: customers ×
/// repeats × (a drawn weight + a multiplication for each pair, two with denominators or NaN): 50,000
/// customers, 1,000 repeats and 10 pairs take about a quarter of a second on one core. Memory: 8 bytes
/// a customer and pair (16 with denominators or NaN), 8 bytes a repeat and pair.
pub fn differences(
    pairs: &[Pair<'_>],
    repeats: usize,
    seed: u64,
    threads: usize,
) -> Result<Vec<Interval>, BootstrapError> {
    if repeats < FEWEST {
        return Err(BootstrapError::Repeats { repeats });
    }
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let columns = pairs.iter().map(Column::new).collect::<Result<Vec<_>, _>>()?;
    let key = hash_bytes(b"bootstrap", seed);
    let mut drawn = vec![0.0; repeats * columns.len()];
    let share = repeats.div_ceil(threads.max(1));
    let work = |first: usize, rows: &mut [f64]| {
        for (repeat, row) in (first..).zip(rows.chunks_mut(columns.len())) {
            resample(&columns, hash_u64(repeat as u64, key), row);
        }
    };
    std::thread::scope(|scope| {
        for (part, rows) in drawn.chunks_mut(share * columns.len()).enumerate() {
            let work = &work;
            scope.spawn(move || work(part * share, rows));
        }
    });
    let interval = |(at, column): (usize, &Column)| {
        let values = drawn.iter().skip(at).step_by(columns.len()).copied();
        let mut values = values.filter(|value| value.is_finite()).collect::<Vec<_>>();
        values.sort_unstable_by(f64::total_cmp);
        match (quantile(&values, 0.025), quantile(&values, 0.975)) {
            (Some(low), Some(high)) => Ok(Interval { mean: column.mean, low, high, repeats: values.len() }),
            _ => Err(BootstrapError::Nothing { customers: column.customers() }),
        }
    };
    columns.iter().enumerate().map(interval).collect()
}

/// A pair, ready to be summed: customers left out have zeros.
struct Column {
    differences: Vec<f64>,
    /// Missing when every customer counts 1.
    denominators: Option<Vec<f64>>,
    mean: f64,
}

impl Column {
    fn new(pair: &Pair<'_>) -> Result<Self, BootstrapError> {
        let customers = pair.a.len();
        let given = pair.denominators.map_or(customers, <[f32]>::len);
        if pair.b.len() != customers || given != customers {
            return Err(BootstrapError::Lengths { a: customers, b: pair.b.len(), denominators: given });
        }
        let mut differences = Vec::with_capacity(customers);
        let mut denominators = Vec::with_capacity(customers);
        for (customer, (&a, &b)) in pair.a.iter().zip(pair.b).enumerate() {
            let denominator = pair.denominators.and_then(|given| given.get(customer).copied()).unwrap_or(1.0);
            if a.is_infinite() || b.is_infinite() {
                return Err(BootstrapError::Infinite { customer, a, b });
            }
            if denominator.is_infinite() || denominator < 0.0 {
                return Err(BootstrapError::Denominator { customer, denominator });
            }
            let counts = !(a.is_nan() || b.is_nan() || denominator.is_nan());
            differences.push(if counts { f64::from(a) - f64::from(b) } else { 0.0 });
            denominators.push(if counts { f64::from(denominator) } else { 0.0 });
        }
        let all: f64 = denominators.iter().sum();
        if all <= 0.0 {
            return Err(BootstrapError::Nothing { customers });
        }
        let mean = differences.iter().sum::<f64>() / all;
        let plain = denominators.iter().all(|&denominator| denominator == 1.0);
        Ok(Self { differences, denominators: (!plain).then_some(denominators), mean })
    }

    fn customers(&self) -> usize {
        self.differences.len()
    }
}

/// The differences of all columns in the resample of that key; NaN where it holds nothing.
fn resample(columns: &[Column], key: u64, row: &mut [f64]) {
    let customers = columns.iter().map(Column::customers).max().unwrap_or(0);
    let mut weights = [0.0; BLOCK];
    let mut sums = vec![(0.0, 0.0); columns.len()];
    for first in (0..customers).step_by(BLOCK) {
        draw_weights(key, first, &mut weights);
        // Whole numbers: exact in any order.
        let full: f64 = weights.iter().sum();
        for (column, (above, below)) in columns.iter().zip(&mut sums) {
            let range = first.min(column.customers())..(first + BLOCK).min(column.customers());
            let weights = &weights[..range.len()];
            *above += weighted_sum(weights, &column.differences[range.clone()]);
            *below += match &column.denominators {
                Some(denominators) => weighted_sum(weights, &denominators[range]),
                None if weights.len() == BLOCK => full,
                None => weights.iter().sum(),
            };
        }
    }
    for (value, (above, below)) in row.iter_mut().zip(sums) {
        *value = if below > 0.0 { above / below } else { f64::NAN };
    }
}

/// The Poisson(1) weights of customers `first..first + BLOCK`, `first` a multiple of four.
///
/// A 64-bit hash has 16 bits for each of four customers. The weight is the number of steps of the
/// distribution function, rounded to 1 / 65,536, that lie at or below them: at most 8, a mean off by
/// less than 0.0001.
fn draw_weights(key: u64, first: usize, weights: &mut [f64; BLOCK]) {
    let mut bits = [0_u16; BLOCK];
    for (group, four) in (first as u64 / 4..).zip(bits.chunks_exact_mut(4)) {
        let hash = hash_u64(group, key);
        for (lane, bits) in four.iter_mut().enumerate() {
            *bits = (hash >> (16 * lane)) as u16;
        }
    }
    for (weight, &bits) in weights.iter_mut().zip(&bits) {
        *weight = f64::from(STEPS.iter().map(|&step| u16::from(bits >= step)).sum::<u16>());
    }
}

/// 65,536 · P(weight ≤ w) for w = 0, 1, ..., rounded: e⁻¹ (1 + 1 + 1/2 + 1/6 + ...).
const STEPS: [u16; 8] = [24_109, 48_219, 60_273, 64_292, 65_296, 65_497, 65_531, 65_535];

/// Σ weight · value over slices of one length, in eight interleaved sums.
fn weighted_sum(weights: &[f64], values: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (weight_chunks, weight_rest) = weights.as_chunks::<LANES>();
    let (value_chunks, value_rest) = values.as_chunks::<LANES>();
    for (weights, values) in weight_chunks.iter().zip(value_chunks) {
        for lane in 0..LANES {
            lanes[lane] += weights[lane] * values[lane];
        }
    }
    let rest: f64 = weight_rest.iter().zip(value_rest).map(|(weight, value)| weight * value).sum();
    lanes.iter().sum::<f64>() + rest
}

/// The quantile of ascending values, linear between neighbours (the seventh definition of Hyndman and
/// Fan 1996, "Sample quantiles in statistical packages", The American Statistician 50).
fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let place = share * ascending.len().checked_sub(1)? as f64;
    let below = *ascending.get(place.floor() as usize)?;
    let above = *ascending.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests;

//! Assignment of offers under caps, by prices.
//!
//! Which offers to make under limits over all customers is a linear program over customers × packages. Its
//! dual has one price per limit: given the prices, every customer takes the `top` candidates with the
//! largest utility less price, and customers no longer concern each other (Everett 1963, "Generalized
//! Lagrange multiplier method"; at the scale of a whole base Zhang et al., "Solving billion-scale knapsack
//! problems", WWW 2020). So candidates are streamed, and only prices and counts are in memory.
//!
//! | file | does |
//! |---|---|
//! | `caps/book.rs` | the limits, by package |
//! | `caps/soft.rs` | what one customer takes when choices are blurred, and sums of it |
//! | `caps/prices.rs` | Newton's method on the dual, from blurred choices to sharp ones |
//! | `caps/repair.rs` | denies single offers until every limit is met to the last offer |
//! | `caps/round.rs` | one reading of the repair |
//!
//! Prices alone cannot split customers who are alike, and one offer more or less is below their resolution.
//! So they end where limits are just overrun, and the repair takes from the takers with the smallest
//! regret. Sums over customers are sums of integers and ties are broken by the customers' hashes: neither
//! parts nor their order nor threads show in the result.

mod book;
mod prices;
mod repair;
mod round;
mod soft;

use crate::engine::workers;
use book::Book;
use std::collections::BTreeMap;

/// A limit on what offers use in total, over all customers. Without `max` and `min` it only counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    pub name: String,
    /// Package and what one offer of it uses, at least zero. Packages that are not listed use nothing.
    pub weights: Vec<(u32, f64)>,
    pub max: Option<f64>,
    pub min: Option<f64>,
}

/// A package that could be offered to a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub package: u32,
    /// On any scale, the same for all customers; the sum over offers is what is maximised.
    pub utility: f32,
}

/// Customers' candidates, in parts that can be read many times.
pub trait Candidates: Sync {
    type Error: std::error::Error + Send + 'static;

    fn parts(&self) -> usize;

    /// Calls `f` for every customer of a part with its row in the part, the hash of its key and its
    /// candidates (each package once, best first), the same in every reading.
    fn read(&self, part: usize, f: &mut dyn FnMut(u32, u64, &[Candidate])) -> Result<(), Self::Error>;
}

/// What a constraint's `min` could not be met for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("its max is smaller")]
    AboveMax,
    #[error("the customers' candidates allow no more")]
    TooFewCandidates,
    #[error("no exchange of offers within the other constraints raises it")]
    NoRoom,
}

/// Why there is no assignment.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CapError<E: std::error::Error + 'static> {
    #[error("the candidates could not be read")]
    Source(#[source] E),
    #[error("constraint {constraint:?} needs at least {wanted}, but reaches only {}: {reason}", rounded(*reached))]
    CannotMeet { constraint: String, wanted: f64, reached: f64, reason: Reason },
    #[error("constraint {constraint:?}: an offer of package {package} cannot use {value}")]
    Weight { constraint: String, package: u32, value: f64 },
    #[error("constraint {constraint:?}: {bound} cannot be {value}")]
    Bound { constraint: String, bound: &'static str, value: f64 },
    #[error("a candidate for package {package} has the utility {value}")]
    Utility { package: u32, value: f32 },
}

/// For a message: what fixed-point steps add behind the third decimal says nothing.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// What the prices mean for each package. Memory: 8 bytes a package.
#[derive(Debug, Clone, PartialEq)]
pub struct PackagePrices {
    /// Σ price · weight, by package; packages beyond the end have none.
    adjustments: Vec<f64>,
    /// An offer whose adjusted utility is below this is not made.
    floor: f64,
}

impl PackagePrices {
    /// One price per constraint.
    pub fn new(constraints: &[Constraint], prices: &[f64], floor: f64) -> Self {
        let mut adjustments = Vec::new();
        for (constraint, price) in constraints.iter().zip(prices) {
            for &(package, weight) in &constraint.weights {
                let package = package as usize;
                adjustments.resize(adjustments.len().max(package + 1), 0.0);
                adjustments[package] += price * weight;
            }
        }
        Self { adjustments, floor }
    }

    /// No prices: every customer takes its best candidates.
    pub fn free() -> Self {
        Self { adjustments: Vec::new(), floor: f64::NEG_INFINITY }
    }

    /// Utility less what the prices take (or plus what they give).
    pub fn adjusted(&self, candidate: Candidate) -> f64 {
        let adjustment = self.adjustments.get(candidate.package as usize).copied().unwrap_or(0.0);
        f64::from(candidate.utility) - adjustment
    }
}

/// Prices, and the offers that are denied on top of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// By constraint: above zero where `max` holds offers back, below zero where `min` asks for more.
    pub prices: Vec<f64>,
    /// By package, for [`choose`].
    pub package_prices: PackagePrices,
    /// What the offers use, by constraint.
    pub totals: Vec<f64>,
    /// What they would use without any limit.
    pub unconstrained: Vec<f64>,
    /// Readings of all parts.
    pub iterations: usize,
    /// Packages that a customer must not be offered, ascending, by part and row.
    pub denied: BTreeMap<(u32, u32), Vec<u32>>,
}

/// The offers of one customer under the prices: at most `top` positions among its candidates, by adjusted
/// utility, then by package number. `denied` is ascending. The solver and the publisher both call this.
pub fn choose(
    candidates: &[Candidate],
    prices: &PackagePrices,
    denied: &[u32],
    top: usize,
    out: &mut Vec<usize>,
) {
    out.clear();
    for (at, &candidate) in candidates.iter().enumerate() {
        let adjusted = prices.adjusted(candidate);
        if adjusted.is_nan() || adjusted < prices.floor || denied.binary_search(&candidate.package).is_ok() {
            continue;
        }
        let place = out.partition_point(|&other| {
            let value = prices.adjusted(candidates[other]);
            value > adjusted || (value == adjusted && candidates[other].package <= candidate.package)
        });
        if place < top {
            out.truncate(top - 1);
            out.insert(place, at);
        }
    }
}

/// Finds prices and denials under which the offers of all customers, `top` each where there are as many
/// candidates, meet every constraint and have nearly the largest sum of utilities.
///
/// No total exceeds its `max`. Where limits are so tight that not every customer can have `top` offers,
/// an empty place counts as a utility one whole range of the candidates' utilities below the lowest.
///
/// Cost: usually 15 to 50 readings of the source, and about 1 µs for a customer with 20 candidates in each. Memory:
/// for each thread 16 bytes a pair of constraints and 40 bytes a package; 16 bytes for each offer that a
/// repair takes away at once; about 100 bytes for each customer in `denied`, and as much again while the
/// repair runs. Few customers are denied anything unless many are exactly alike.
///
/// # Errors
/// A source that fails, a weight, bound or utility that makes no sense, or a `min` that cannot be met.
pub fn assign<S: Candidates>(
    constraints: &[Constraint],
    top: usize,
    source: &S,
    threads: usize,
) -> Result<Assignment, CapError<S::Error>> {
    let book = Book::new(constraints)?;
    let survey = Survey::of(&book, top, source, threads)?;
    for (constraint, (min, &reached)) in constraints.iter().zip(book.minima.iter().zip(&survey.attainable)) {
        if reached < *min {
            return Err(CapError::CannotMeet {
                constraint: constraint.name.clone(),
                wanted: *min,
                reached,
                reason: Reason::TooFewCandidates,
            });
        }
    }
    let unconstrained = book.totals(&survey.counts);
    let floor = f64::from(survey.lowest) - survey.range();
    if book.violated(&unconstrained).is_empty() {
        let prices = vec![0.0; constraints.len()];
        let package_prices = PackagePrices::new(constraints, &prices, floor);
        let totals = unconstrained.clone();
        let denied = BTreeMap::new();
        return Ok(Assignment { prices, package_prices, totals, unconstrained, iterations: 1, denied });
    }
    let dual = prices::Dual { book: &book, constraints, top, source, threads, floor, range: survey.range() };
    let solved = dual.solve(&unconstrained)?;
    let repair = repair::Repair {
        book: &book,
        prices: &solved.prices,
        package_prices: &solved.package_prices,
        blur: solved.blur,
        top,
        source,
        threads,
    };
    let repaired = repair.run(solved.totals)?;
    if let Some(&short) = book.violated(&repaired.totals).first() {
        return Err(CapError::CannotMeet {
            constraint: constraints[short].name.clone(),
            wanted: book.minima[short],
            reached: repaired.totals[short],
            reason: Reason::NoRoom,
        });
    }
    Ok(Assignment {
        prices: solved.prices,
        package_prices: solved.package_prices,
        totals: repaired.totals,
        unconstrained,
        iterations: 1 + solved.passes + repaired.passes,
        denied: repaired.denied,
    })
}

/// One reading of all parts: `visit` gets the worker's state, the part and what the source says of a
/// customer. Returns the workers' states, in no particular order.
fn pass<S: Candidates, T: Send>(
    source: &S,
    threads: usize,
    state: impl Fn() -> T + Sync,
    visit: impl Fn(&mut T, (u32, u32), u64, &[Candidate]) + Sync,
) -> Result<Vec<T>, CapError<S::Error>> {
    workers::for_each(threads, source.parts(), state, |state, part| {
        source.read(part, &mut |row, key, candidates| visit(state, (part as u32, row), key, candidates))
    })
    .map_err(CapError::Source)
}

/// What the first reading finds.
struct Survey {
    lowest: f32,
    highest: f32,
    /// Offers by package without any limit.
    counts: Vec<u64>,
    /// The most that any assignment can use, for constraints with a `min`.
    attainable: Vec<f64>,
}

impl Survey {
    fn of<S: Candidates>(
        book: &Book,
        top: usize,
        source: &S,
        threads: usize,
    ) -> Result<Self, CapError<S::Error>> {
        struct Own {
            lowest: f32,
            highest: f32,
            bad: Option<(u32, f32)>,
            counts: Vec<u64>,
            attainable: Vec<i128>,
            chosen: Vec<usize>,
            weights: Vec<(u32, f64)>,
        }
        let free = PackagePrices::free();
        let state = || Own {
            lowest: f32::INFINITY,
            highest: f32::NEG_INFINITY,
            bad: None,
            counts: vec![0; book.packages()],
            attainable: vec![0; book.maxima.len()],
            chosen: Vec::new(),
            weights: Vec::new(),
        };
        let states = pass(source, threads, state, |own, _, _, candidates| {
            choose(candidates, &free, &[], top, &mut own.chosen);
            own.weights.clear();
            for candidate in candidates {
                if !candidate.utility.is_finite() && own.bad.is_none_or(|bad| candidate.package < bad.0) {
                    own.bad = Some((candidate.package, candidate.utility));
                }
                own.lowest = own.lowest.min(candidate.utility);
                own.highest = own.highest.max(candidate.utility);
                let uses = book.uses(candidate.package).iter();
                own.weights.extend(uses.filter(|(at, _)| book.minima[*at as usize] > f64::NEG_INFINITY));
            }
            book.count(&mut own.counts, candidates, &own.chosen);
            own.weights.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
            for group in own.weights.chunk_by(|a, b| a.0 == b.0) {
                let at = group[0].0 as usize;
                let most: f64 = group.iter().take(top).map(|(_, weight)| weight / book.scales[at]).sum();
                own.attainable[at] += soft::fixed(most);
            }
        })?;
        let mut all = Self {
            lowest: f32::INFINITY,
            highest: f32::NEG_INFINITY,
            counts: vec![0; book.packages()],
            attainable: Vec::new(),
        };
        let mut attainable = vec![0; book.maxima.len()];
        for own in &states {
            all.lowest = all.lowest.min(own.lowest);
            all.highest = all.highest.max(own.highest);
            all.counts.iter_mut().zip(&own.counts).for_each(|(sum, own)| *sum += own);
            attainable.iter_mut().zip(&own.attainable).for_each(|(sum, own)| *sum += own);
        }
        if let Some((package, value)) = states.iter().filter_map(|own| own.bad).min_by_key(|bad| bad.0) {
            return Err(CapError::Utility { package, value });
        }
        // A little more than was added up: fixed point cuts off, and the exact sum comes after the repair.
        let back = |(sum, scale): (i128, &f64)| soft::unfixed(sum) * scale * (1.0 + 1e-9);
        all.attainable = attainable.into_iter().zip(&book.scales).map(back).collect();
        Ok(all)
    }

    /// How far utilities spread; one when there is nothing to go by.
    fn range(&self) -> f64 {
        let range = f64::from(self.highest) - f64::from(self.lowest);
        if range > 0.0 && range.is_finite() { range } else { 1.0 }
    }
}

#[cfg(test)]
mod tests;

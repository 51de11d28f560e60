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
    #[error("constraint {constraint:?} needs at least {wanted}, but reaches only {reached}: {reason}")]
    CannotMeet { constraint: String, wanted: f64, reached: f64, reason: Reason },
    #[error("constraint {constraint:?}: an offer of package {package} cannot use {value}")]
    Weight { constraint: String, package: u32, value: f64 },
    #[error("constraint {constraint:?}: {bound} cannot be {value}")]
    Bound { constraint: String, bound: &'static str, value: f64 },
    #[error("a candidate for package {package} has the utility {value}")]
    Utility { package: u32, value: f32 },
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
mod tests {
    use super::*;
    use crate::numerics::random::{generator, hash_u64};
    use proptest::prelude::*;
    use rand::Rng;
    use rand::seq::SliceRandom;

    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    #[error("part {0} is gone")]
    struct Gone(usize);

    type Customer = (u64, Vec<Candidate>);

    #[derive(Clone)]
    struct Memory {
        parts: Vec<Vec<Customer>>,
        missing: Option<usize>,
    }

    impl Candidates for Memory {
        type Error = Gone;

        fn parts(&self) -> usize {
            self.parts.len()
        }

        fn read(&self, part: usize, f: &mut dyn FnMut(u32, u64, &[Candidate])) -> Result<(), Gone> {
            for (row, (key, candidates)) in self.parts[part].iter().enumerate() {
                f(row as u32, *key, candidates);
            }
            if self.missing == Some(part) { Err(Gone(part)) } else { Ok(()) }
        }
    }

    fn memory(customers: &[Customer], each: usize) -> Memory {
        Memory { parts: customers.chunks(each).map(<[_]>::to_vec).collect(), missing: None }
    }

    /// Utilities of packages 0, 1, …; a NaN is no candidate.
    fn customer(key: u64, utilities: &[f32]) -> Customer {
        let mut candidates: Vec<Candidate> = (0..)
            .zip(utilities)
            .filter(|(_, utility)| !utility.is_nan())
            .map(|(package, &utility)| Candidate { package, utility })
            .collect();
        candidates.sort_by(|a, b| b.utility.total_cmp(&a.utility).then(a.package.cmp(&b.package)));
        (hash_u64(key, 5), candidates)
    }

    fn constraint(weights: &[(u32, f64)], min: Option<f64>, max: Option<f64>) -> Constraint {
        Constraint { name: format!("{weights:?}"), weights: weights.to_vec(), max, min }
    }

    fn at_most(packages: &[u32], max: f64) -> Constraint {
        constraint(&packages.iter().map(|p| (*p, 1.0)).collect::<Vec<_>>(), None, Some(max))
    }

    fn at_least(packages: &[u32], min: f64) -> Constraint {
        constraint(&packages.iter().map(|p| (*p, 1.0)).collect::<Vec<_>>(), Some(min), None)
    }

    /// What every customer is offered, by key.
    fn offers(assignment: &Assignment, source: &Memory, top: usize) -> BTreeMap<u64, Vec<u32>> {
        let mut offers = BTreeMap::new();
        let mut chosen = Vec::new();
        for (part, customers) in source.parts.iter().enumerate() {
            for (row, (key, candidates)) in customers.iter().enumerate() {
                let denied = assignment.denied.get(&(part as u32, row as u32)).map_or(&[][..], Vec::as_slice);
                choose(candidates, &assignment.package_prices, denied, top, &mut chosen);
                offers.insert(*key, chosen.iter().map(|&at| candidates[at].package).collect());
            }
        }
        offers
    }

    /// Σ (utility − floor) of the offers, and the most that it could be by the prices.
    fn value_and_bound(
        assignment: &Assignment,
        constraints: &[Constraint],
        source: &Memory,
        top: usize,
        floor: f64,
    ) -> (f64, f64) {
        let made = offers(assignment, source, top);
        let prices = &assignment.package_prices;
        let (mut value, mut bound, mut chosen) = (0.0, 0.0, Vec::new());
        for (key, candidates) in source.parts.iter().flatten() {
            let own = &made[key];
            let made = candidates.iter().filter(|candidate| own.contains(&candidate.package));
            value += made.map(|candidate| f64::from(candidate.utility) - floor).sum::<f64>();
            choose(candidates, prices, &[], top, &mut chosen);
            bound += chosen.iter().map(|&at| prices.adjusted(candidates[at]) - floor).sum::<f64>();
        }
        for (constraint, price) in constraints.iter().zip(&assignment.prices) {
            let limit = if *price > 0.0 { constraint.max } else { constraint.min };
            bound += price * limit.unwrap_or(0.0);
        }
        (value, bound)
    }

    fn check(assignment: &Assignment, constraints: &[Constraint], source: &Memory, top: usize) {
        let made = offers(assignment, source, top);
        for (constraint, &total) in constraints.iter().zip(&assignment.totals) {
            let weight = |p: &u32| constraint.weights.iter().filter(|w| w.0 == *p).map(|w| w.1).sum::<f64>();
            let used: f64 = made.values().flatten().map(weight).sum();
            assert!((used - total).abs() <= 1e-9 * (1.0 + total), "{used} {total}");
            assert!(constraint.max.is_none_or(|max| total <= max), "{total} {constraint:?}");
            assert!(constraint.min.is_none_or(|min| total >= min), "{total} {constraint:?}");
        }
    }

    #[test]
    fn choose_takes_the_best_adjusted_utilities_and_the_smaller_package_of_equals() {
        let (_, candidates) = customer(1, &[1.0, 3.0, 2.0, 2.0, -9.0]);
        let packages = |prices: &PackagePrices, denied: &[u32], top| {
            let mut out = vec![77];
            choose(&candidates, prices, denied, top, &mut out);
            out.into_iter().map(|at| candidates[at].package).collect::<Vec<_>>()
        };
        assert_eq!(packages(&PackagePrices::free(), &[], 3), [1, 2, 3]);
        assert_eq!(packages(&PackagePrices::free(), &[1, 3], 3), [2, 0, 4]);
        assert!(packages(&PackagePrices::free(), &[], 0).is_empty());
        let constraints = [at_most(&[1, 2], 0.0), constraint(&[(0, 2.0)], Some(1.0), None)];
        let prices = PackagePrices::new(&constraints, &[1.5, -0.25], -5.0);
        // Adjusted: 1.5, 1.5, 0.5, 2, and -9 below the floor.
        assert_eq!(packages(&prices, &[], 9), [3, 0, 1, 2]);
    }

    #[test]
    fn a_tight_example_by_hand() {
        // All four prefer package 0, by 4, 3, 2 and 1. Two of them can have it.
        let customers: Vec<Customer> =
            (0..4).map(|at| customer(at, &[5.0, 1.0 + at as f32, f32::NAN])).collect();
        let source = memory(&customers, 3);
        let assignment = assign(&[at_most(&[0], 2.0)], 1, &source, 2).unwrap();
        assert_eq!((assignment.unconstrained[0], assignment.totals[0]), (4.0, 2.0));
        let made = offers(&assignment, &source, 1);
        let of = |at: usize| made[&customers[at].0][0];
        assert_eq!([of(0), of(1), of(2), of(3)], [0, 0, 1, 1]);
        assert!((1.9..=3.0).contains(&assignment.prices[0]), "{:?}", assignment.prices);
    }

    #[test]
    fn customers_who_are_alike_are_split_by_their_hashes() {
        let customers: Vec<Customer> = (0..500).map(|at| customer(at, &[3.0, 2.0, 1.0])).collect();
        let constraints = [at_most(&[0], 150.0), at_most(&[1], 80.0)];
        let source = memory(&customers, 64);
        let assignment = assign(&constraints, 1, &source, 1).unwrap();
        check(&assignment, &constraints, &source, 1);
        assert_eq!(assignment.totals, [150.0, 80.0]);
        let made = offers(&assignment, &source, 1);
        let early = customers[..250].iter().filter(|(key, _)| made[key] == [0]).count();
        assert!((50..100).contains(&early), "{early} of 150 are in the first half of the rows");
    }

    #[test]
    fn a_limit_that_is_not_reached_has_no_price_and_one_that_has_a_price_is_reached() {
        let (customers, constraints) = mixed(3_000, 1);
        let source = memory(&customers, 700);
        let assignment = assign(&constraints, 3, &source, 1).unwrap();
        check(&assignment, &constraints, &source, 3);
        assert!(assignment.iterations <= 60, "{}", assignment.iterations);
        for ((constraint, price), total) in constraints.iter().zip(&assignment.prices).zip(&assignment.totals)
        {
            let weight = constraint.weights.iter().fold(0.0f64, |most, w| most.max(w.1));
            let (max, min) = (constraint.max.unwrap_or(f64::MAX), constraint.min.unwrap_or(f64::MIN));
            assert!(*price <= 0.0 || max - total <= 3.0 * weight, "{price} {total} {max}");
            assert!(*price >= 0.0 || total - min <= 3.0 * weight, "{price} {total} {min}");
        }
        assert!(assignment.prices.iter().any(|price| *price > 0.01), "{:?}", assignment.prices);
        assert!(assignment.prices.iter().any(|price| *price < -0.01), "{:?}", assignment.prices);
        let (value, bound) = value_and_bound(&assignment, &constraints, &source, 3, -10.0);
        let range = 6.0;
        assert!(bound >= value - 1e-6 && bound - value < 3e-4 * range * 3_000.0, "{value} {bound}");
        // Limits that hold anyway cost nothing and need one reading.
        let loose = [at_most(&[0], 3_000.0), at_least(&[1], 1.0)];
        let assignment = assign(&loose, 3, &source, 1).unwrap();
        assert_eq!((assignment.prices, assignment.iterations), (vec![0.0, 0.0], 1));
        assert!(assignment.denied.is_empty());
    }

    /// 20 packages, constraints of every kind; a third of the customers differ in nothing but the hash.
    fn mixed(n: u64, key: u64) -> (Vec<Customer>, Vec<Constraint>) {
        let mut random = generator(9, "caps test", key);
        let customers = (0..n)
            .map(|at| {
                let taste =
                    |p: u32| if at % 3 == 0 { 0.0 } else { random.gen_range(-2.0f32..2.0) - 0.1 * p as f32 };
                customer(at, &(0..20).map(taste).collect::<Vec<_>>())
            })
            .collect();
        let share = |share: f64| (share * n as f64).floor();
        let costs: Vec<(u32, f64)> = (0..20).map(|p| (p, 1.0 + f64::from(p * 7 % 20) / 4.0)).collect();
        let constraints = vec![
            at_most(&[0], share(0.1)),
            at_most(&[1], share(0.12)),
            at_most(&[0, 1, 2, 3, 4], share(0.7)),
            constraint(&costs, None, Some(share(8.0))),
            at_least(&[17, 18, 19], share(0.5)),
            constraint(&[(10, 1.0), (11, 1.0)], Some(share(0.2)), Some(share(0.45))),
            at_most(&[9], share(1.0)),
        ];
        (customers, constraints)
    }

    #[test]
    fn parts_order_and_threads_do_not_show() {
        let (customers, constraints) = mixed(400, 2);
        let one = memory(&customers, 400);
        let first = assign(&constraints, 2, &one, 1).unwrap();
        let expected = offers(&first, &one, 2);
        let mut shuffled = customers.clone();
        shuffled.shuffle(&mut generator(1, "caps test", 3));
        for (customers, each, threads) in [(&customers, 7, 1), (&customers, 50, 3), (&shuffled, 33, 2)] {
            let source = memory(customers, each);
            let assignment = assign(&constraints, 2, &source, threads).unwrap();
            assert_eq!(assignment.prices, first.prices);
            assert_eq!(assignment.totals, first.totals);
            assert_eq!(assignment.denied.len(), first.denied.len());
            assert!(offers(&assignment, &source, 2) == expected);
        }
        assert!(!first.denied.is_empty());
    }

    #[test]
    fn the_scale_of_utilities_does_not_matter() {
        let (customers, constraints) = mixed(300, 4);
        let source = memory(&customers, 100);
        let mut other = source.clone();
        let candidates = other.parts.iter_mut().flatten().flat_map(|(_, candidates)| candidates);
        candidates.for_each(|candidate| candidate.utility = candidate.utility * 1024.0 + 0.0);
        let (one, two) =
            (assign(&constraints, 2, &source, 1).unwrap(), assign(&constraints, 2, &other, 1).unwrap());
        assert!(one.prices.iter().zip(&two.prices).all(|(one, two)| one * 1024.0 == *two));
        assert_eq!(one.denied, two.denied);
    }

    #[test]
    fn a_budget_below_what_offers_cost_leaves_places_empty() {
        let mut random = generator(9, "caps test", 5);
        let customers: Vec<Customer> =
            (0..300).map(|at| customer(at, &[0; 4].map(|_| random.gen_range(0.0f32..1.0)))).collect();
        let source = memory(&customers, 40);
        let costs = [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)];
        let constraints = [constraint(&costs, None, Some(100.5))];
        let assignment = assign(&constraints, 2, &source, 1).unwrap();
        check(&assignment, &constraints, &source, 2);
        let made: usize = offers(&assignment, &source, 2).values().map(Vec::len).sum();
        assert_eq!((made, assignment.totals[0]), (100, 100.0), "a hundred of the cheapest");
        let nothing = [at_most(&[0, 1, 2, 3], 0.0)];
        let assignment = assign(&nothing, 2, &source, 1).unwrap();
        assert_eq!(assignment.totals, [0.0]);
        assert!(offers(&assignment, &source, 2).values().all(Vec::is_empty));
    }

    #[test]
    fn a_min_is_met_by_those_who_lose_least() {
        let customers: Vec<Customer> = (0..10).map(|at| customer(at, &[10.0, at as f32])).collect();
        let source = memory(&customers, 4);
        let constraints = [at_least(&[1], 3.0)];
        let assignment = assign(&constraints, 1, &source, 1).unwrap();
        assert_eq!(assignment.totals, [3.0]);
        let made = offers(&assignment, &source, 1);
        assert!((0..10).all(|at| made[&customers[at].0] == [u32::from(at >= 7)]), "{made:?}");
        assert!((-4.0..=-2.9).contains(&assignment.prices[0]), "{:?}", assignment.prices);
    }

    #[test]
    fn every_error_names_the_constraint_and_what_was_found() {
        let customers: Vec<Customer> = (0..10).map(|at| customer(at, &[2.0, 1.0, f32::NAN])).collect();
        let source = memory(&customers, 4);
        let text = |constraints: &[Constraint]| assign(constraints, 1, &source, 1).unwrap_err().to_string();
        let above = constraint(&[(0, 1.0)], Some(5.0), Some(4.0));
        assert_eq!(
            text(std::slice::from_ref(&above)),
            "constraint \"[(0, 1.0)]\" needs at least 5, but reaches only 4: its max is smaller"
        );
        assert!(
            text(&[at_least(&[2], 1.0)])
                .contains("at least 1, but reaches only 0: the customers' candidates")
        );
        assert!(text(&[at_least(&[0, 1], 11.0)]).contains("the customers' candidates allow no more"));
        let room = text(&[at_most(&[0, 1], 4.0), at_least(&[1], 5.0)]);
        assert!(room.contains("[(1, 1.0)]") && room.contains("at least 5"), "{room}");
        assert!(room.contains("no exchange of offers within the other constraints raises it"), "{room}");
        assert!(text(&[constraint(&[(3, -1.0)], None, Some(1.0))]).contains("package 3 cannot use -1"));
        assert!(text(&[constraint(&[(3, f64::NAN)], None, None)]).contains("package 3 cannot use NaN"));
        assert!(text(&[at_most(&[0], f64::NAN)]).contains("max cannot be NaN"));
        assert!(text(&[at_least(&[0], -1.0)]).contains("min cannot be -1"));
        let mut gone = source.clone();
        gone.missing = Some(1);
        assert_eq!(assign(&[at_most(&[0], 1.0)], 1, &gone, 2), Err(CapError::Source(Gone(1))));
        let mut bad = source.clone();
        bad.parts[1][0].1[1].utility = f32::NAN;
        let error = assign(&[at_most(&[0], 1.0)], 1, &bad, 2).unwrap_err();
        assert_eq!(error.to_string(), "a candidate for package 1 has the utility NaN");
        let empty = assign(&[at_most(&[0], 1.0)], 1, &memory(&[], 1), 1).unwrap();
        assert_eq!((empty.totals, empty.denied.len()), (vec![0.0], 0));
    }

    /// All ways to offer at most `top` candidates, as (value over the floor, use by constraint).
    fn options(
        candidates: &[Candidate],
        constraints: &[Constraint],
        top: usize,
        floor: f64,
    ) -> Vec<(f64, Vec<f64>)> {
        let sets = (0u32..1 << candidates.len()).filter(|set| set.count_ones() as usize <= top);
        let option = |set: u32| {
            let taken =
                || (0..candidates.len()).filter(move |at| set >> at & 1 == 1).map(|at| candidates[at]);
            let weight = |constraint: &Constraint, package: u32| {
                constraint.weights.iter().filter(|w| w.0 == package).map(|w| w.1).sum::<f64>()
            };
            let uses = |constraint: &Constraint| taken().map(|taken| weight(constraint, taken.package)).sum();
            (
                taken().map(|taken| f64::from(taken.utility) - floor).sum(),
                constraints.iter().map(uses).collect(),
            )
        };
        sets.map(option).collect()
    }

    /// The best value of all assignments that meet the constraints.
    fn optimum(options: &[Vec<(f64, Vec<f64>)>], constraints: &[Constraint], used: &[f64]) -> Option<f64> {
        let within = |used: &[f64]| {
            constraints.iter().zip(used).all(|(c, used)| c.max.is_none_or(|max| *used <= max + 1e-9))
        };
        if !within(used) {
            return None;
        }
        let Some((first, rest)) = options.split_first() else {
            let met =
                constraints.iter().zip(used).all(|(c, used)| c.min.is_none_or(|min| *used >= min - 1e-9));
            return met.then_some(0.0);
        };
        let best = |(value, uses): &(f64, Vec<f64>)| {
            let used: Vec<f64> = used.iter().zip(uses).map(|(used, more)| used + more).collect();
            optimum(rest, constraints, &used).map(|others| others + value)
        };
        first.iter().filter_map(best).max_by(f64::total_cmp)
    }

    /// Up to five customers, five packages and three constraints, with weights other than one or a min only
    /// if `any`.
    fn tiny(key: u64, any: bool) -> (Vec<Customer>, Vec<Constraint>, usize) {
        let mut random = generator(9, "tiny caps", key);
        let (n, ties) = (random.gen_range(2..=5u64), random.gen_bool(0.3));
        let utility = |random: &mut rand_xoshiro::Xoshiro256PlusPlus| match random.gen_range(0..10) {
            0..3 => f32::NAN,
            _ if ties => random.gen_range(0..3u8).into(),
            _ => random.gen_range(0.0..1.0),
        };
        let customers =
            (0..n).map(|at| customer(key * 8 + at, &[0; 5].map(|_| utility(&mut random)))).collect();
        let limit = |random: &mut rand_xoshiro::Xoshiro256PlusPlus| {
            let unit = !any || random.gen_bool(0.6);
            let mut weights: Vec<(u32, f64)> = Vec::new();
            for package in 0..5 {
                if random.gen_bool(0.5) {
                    weights.push((package, if unit { 1.0 } else { random.gen_range(0.5..3.0) }));
                }
            }
            let max = random.gen_range(0..=n) as f64;
            let min = (any && random.gen_bool(0.4)).then(|| (max * 0.4).floor());
            constraint(&weights, min, (!any || random.gen_bool(0.8)).then_some(max))
        };
        let constraints = (0..random.gen_range(1..=3)).map(|_| limit(&mut random)).collect();
        (customers, constraints, random.gen_range(1..=2))
    }

    #[test]
    fn tiny_instances_come_near_the_optimum_of_brute_force() {
        for (any, best, far, refused) in [(false, 0.99, 0.001, 0), (true, 0.92, 0.01, 4)] {
            let (mut gaps, mut errors) = (Vec::new(), 0);
            for key in 0..300 {
                let (customers, constraints, top) = tiny(key, any);
                let source = memory(&customers, 2);
                let utilities =
                    || customers.iter().flat_map(|(_, all)| all).map(|one| f64::from(one.utility));
                let (low, high) =
                    utilities().fold((f64::MAX, f64::MIN), |(low, high), u| (low.min(u), high.max(u)));
                let range = if high > low { high - low } else { 1.0 };
                let all: Vec<_> = customers
                    .iter()
                    .map(|(_, candidates)| options(candidates, &constraints, top, low - range))
                    .collect();
                let best = optimum(&all, &constraints, &vec![0.0; constraints.len()]);
                match assign(&constraints, top, &source, 1) {
                    Ok(assignment) => {
                        check(&assignment, &constraints, &source, top);
                        let (value, _) =
                            value_and_bound(&assignment, &constraints, &source, top, low - range);
                        gaps.push((best.unwrap() - value) / range / customers.len() as f64);
                    }
                    Err(CapError::CannotMeet { .. }) => errors += usize::from(best.is_some()),
                    Err(error) => panic!("{error}"),
                }
            }
            let optimal = gaps.iter().filter(|gap| **gap < 1e-6).count() as f64 / gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            assert!(gaps.iter().all(|gap| *gap > -1e-6), "better than the best");
            assert!(optimal >= best && mean <= far && errors <= refused, "{optimal} {mean} {errors}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// Limits around what some other choice uses, so that they can be met but for the last offer.
        #[test]
        fn limits_hold_for_any_instance(key in 0u64..1_000_000, n in 1u64..120, top in 1usize..4, ties: bool) {
            let mut random = generator(11, "caps test", key);
            let customers: Vec<Customer> = (0..n)
                .map(|at| {
                    let mut utility = || match random.gen_range(0..4) {
                        0 => f32::NAN,
                        _ if ties => random.gen_range(0..3u8).into(),
                        _ => random.gen_range(-5.0..5.0),
                    };
                    customer(at, &[0; 8].map(|_| utility()))
                })
                .collect();
            let mut constraints: Vec<Constraint> = (0..random.gen_range(1..5))
                .map(|_| {
                    let listed = (0..9).filter(|_| random.gen_bool(0.4)).collect::<Vec<u32>>();
                    let weights: Vec<_> = listed.into_iter().map(|p| (p, [0.0, 1.0, 1.0, 2.5][random.gen_range(0..4)])).collect();
                    constraint(&weights, None, None)
                })
                .collect();
            let source = memory(&customers, 17);
            let free = assign(&constraints, top, &source, 1).unwrap();
            for (constraint, total) in constraints.iter_mut().zip(&free.totals) {
                constraint.max = random.gen_bool(0.7).then(|| total * random.gen_range(0.0..1.2));
                constraint.min = (constraint.max.is_none()).then(|| total * random.gen_range(0.8..1.1));
            }
            match assign(&constraints, top, &source, 2) {
                Ok(assignment) => check(&assignment, &constraints, &source, top),
                Err(CapError::CannotMeet { wanted, reached, .. }) => prop_assert!(reached < wanted),
                Err(error) => prop_assert!(false, "{}", error),
            }
            constraints.iter_mut().for_each(|constraint| constraint.min = None);
            check(&assign(&constraints, top, &source, 1).unwrap(), &constraints, &source, top);
        }
    }
}

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
    let customers: Vec<Customer> = (0..4).map(|at| customer(at, &[5.0, 1.0 + at as f32, f32::NAN])).collect();
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
    for ((constraint, price), total) in constraints.iter().zip(&assignment.prices).zip(&assignment.totals) {
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
        text(&[at_least(&[2], 1.0)]).contains("at least 1, but reaches only 0: the customers' candidates")
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
        let taken = || (0..candidates.len()).filter(move |at| set >> at & 1 == 1).map(|at| candidates[at]);
        let weight = |constraint: &Constraint, package: u32| {
            constraint.weights.iter().filter(|w| w.0 == package).map(|w| w.1).sum::<f64>()
        };
        let uses = |constraint: &Constraint| taken().map(|taken| weight(constraint, taken.package)).sum();
        (taken().map(|taken| f64::from(taken.utility) - floor).sum(), constraints.iter().map(uses).collect())
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
        let met = constraints.iter().zip(used).all(|(c, used)| c.min.is_none_or(|min| *used >= min - 1e-9));
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
    let customers = (0..n).map(|at| customer(key * 8 + at, &[0; 5].map(|_| utility(&mut random)))).collect();
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
            let utilities = || customers.iter().flat_map(|(_, all)| all).map(|one| f64::from(one.utility));
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
                    let (value, _) = value_and_bound(&assignment, &constraints, &source, top, low - range);
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

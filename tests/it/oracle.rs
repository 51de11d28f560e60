//! The offers against the best predictor that anybody could have: one that knows how the data are made and
//! what every segment likes, and draws the right conclusions from a customer's history.

use crate::support::{Shop, column, floats, integers, read_parquet, read_schema, texts};
use crate::truth::MADE;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use packwise::numerics::random::hash_bytes;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

/// Days that are known; the 28 after them are to be predicted.
const KNOWN: usize = 64;
/// One customer in so many is looked at.
const EVERY: u64 = 16;
/// Packages of a history that may be favourites: the most bought ones.
const LIKELY: usize = 6;
/// How favourites share what they have, with the probability of each number of them (as `generate` plants
/// them; see src/generate/customers.rs).
const PARTS: [(f64, &[f64]); 3] = [(0.40, &[1.0]), (0.35, &[0.65, 0.35]), (0.25, &[0.5, 0.3, 0.2])];
/// What favourites have together, in the middle of fifths of its range.
const TOGETHER: [f64; 5] = [0.52, 0.56, 0.60, 0.64, 0.68];

type Counts = HashMap<usize, f64>;

/// What is known of a customer, and what it bought afterwards.
#[derive(Default)]
struct Customer {
    segment: usize,
    history: Counts,
    bought: HashSet<usize>,
}

fn one_batch(path: &Path) -> RecordBatch {
    concat_batches(&read_schema(path), &read_parquet(path)).unwrap()
}

fn is_sampled(id: &str) -> bool {
    hash_bytes(id.as_bytes(), 3).is_multiple_of(EVERY)
}

/// The probability of every package in every segment.
fn tastes(path: &Path, codes: &HashMap<String, usize>) -> Vec<Vec<f64>> {
    let table = one_batch(path);
    let segments = column(&table, "segment");
    let segments = segments.as_primitive::<arrow::datatypes::Int32Type>();
    let count = segments.values().iter().max().map_or(0, |most| *most as usize + 1);
    let mut tastes = vec![vec![0.0; codes.len()]; count];
    let probabilities = floats(&table, "probability");
    for (row, code) in texts(&table, "package_code").iter().enumerate() {
        tastes[segments.value(row) as usize][codes[code]] = probabilities.value(row);
    }
    tastes
}

/// The ten packages that a customer buys most probably next: the mean over everything that its favourites
/// may be, weighted by how well that explains the history (Bayes). A favourite that was never bought may be
/// any other package. That some customers climb to a bigger package is left out.
fn best_guess(customer: &Customer, taste: &[f64]) -> HashSet<usize> {
    let mut items: Vec<(usize, f64)> = customer.history.iter().map(|(p, n)| (*p, *n)).collect();
    items.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let rest = items.split_off(items.len().min(LIKELY));
    let k = items.len();
    let unknown = (1.0 - items.iter().map(|(p, _)| taste[*p]).sum::<f64>()).max(1e-9);
    let prior = |slot: usize| if slot < k { taste[items[slot].0] } else { unknown };
    let mut worlds: Vec<(f64, Vec<f64>, f64)> = Vec::new();
    for (number, parts) in PARTS {
        for code in 0..(k + 1).pow(parts.len() as u32) {
            let slots: Vec<usize> =
                (0..parts.len() as u32).map(|at| code / (k + 1).pow(at) % (k + 1)).collect();
            let known = || slots.iter().filter(|slot| **slot < k);
            if known().count() != known().collect::<BTreeSet<_>>().len() {
                continue;
            }
            for together in TOGETHER {
                let mut shares = vec![0.0; k + 1];
                slots.iter().zip(parts).for_each(|(slot, part)| shares[*slot] += together * part);
                let mut ln = number.ln() + slots.iter().map(|slot| prior(*slot).ln()).sum::<f64>();
                for ((package, times), share) in items.iter().zip(&shares) {
                    ln += times * (share + (1.0 - together) * taste[*package] + 1e-300).ln();
                }
                ln += rest.iter().map(|(p, n)| n * ((1.0 - together) * taste[*p] + 1e-300).ln()).sum::<f64>();
                worlds.push((ln, shares, 1.0 - together));
            }
        }
    }
    let most = worlds.iter().map(|world| world.0).fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut shares, mut background) = (0.0, vec![0.0; k + 1], 0.0);
    for (ln, of_world, left) in worlds {
        let weight = (ln - most).exp();
        total += weight;
        background += weight * left;
        shares.iter_mut().zip(of_world).for_each(|(sum, share)| *sum += weight * share);
    }
    let of_unknown = (background + shares[k] / unknown) / total;
    let mut scores: Vec<f64> = taste.iter().map(|probability| probability * of_unknown).collect();
    for ((package, _), share) in items.iter().zip(&shares) {
        scores[*package] = (background * taste[*package] + share) / total;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order.into_iter().take(10).collect()
}

#[test]
fn offers_are_close_to_the_best_that_knowing_all_tastes_allows() {
    let shop = Shop::new();
    let sizes = ["--transactions", "1000000", "--customers", "100000", "--packages", "600", "--seed", "1"];
    shop.ok(&[&["generate", "--out", "made", "--days", "92"][..], &sizes].concat());
    shop.configure(MADE);
    let catalogue = texts(&one_batch(&shop.path("made/packages.parquet")), "PACKAGE_CODE");
    let codes: HashMap<String, usize> =
        catalogue.into_iter().enumerate().map(|(at, code)| (code, at)).collect();

    let mut customers: HashMap<String, Customer> = HashMap::new();
    let truth = one_batch(&shop.path("made/truth.parquet"));
    let segments = integers(&truth, "segment");
    for (row, id) in texts(&truth, "MSISDN").into_iter().enumerate().filter(|(_, id)| is_sampled(id)) {
        customers.insert(id, Customer { segment: segments.value(row) as usize, ..Customer::default() });
    }
    let mut days: Vec<_> = std::fs::read_dir(shop.path("made/transactions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    days.sort();
    std::fs::create_dir(shop.path("early")).unwrap();
    for (day, path) in days.iter().enumerate() {
        if day < KNOWN {
            std::fs::copy(path, shop.path("early").join(path.file_name().unwrap())).unwrap();
        }
        let table = one_batch(path);
        for (id, code) in texts(&table, "MSISDN").into_iter().zip(texts(&table, "PACKAGE_CODE")) {
            let Some(customer) = customers.get_mut(&id) else { continue };
            if day < KNOWN {
                *customer.history.entry(codes[&code]).or_default() += 1.0;
            } else {
                customer.bought.insert(codes[&code]);
            }
        }
    }
    let settings =
        ["transactions.path=early", "transactions.columns.amount=", "transactions.columns.quantity="];
    let run = shop.run(&settings);
    let table = shop.table(&run, "recommendations");
    let mut offers: HashMap<String, HashSet<usize>> = HashMap::new();
    for (id, code) in texts(&table, "customer_id").into_iter().zip(texts(&table, "package_code")) {
        offers.entry(id).or_default().insert(codes[&code]);
    }

    let tastes = tastes(&shop.path("made/truth_tastes.parquet"), &codes);
    let (mut own, mut best, mut tested) = (0.0, 0.0, 0u32);
    for (id, customer) in &customers {
        if customer.history.is_empty() || customer.bought.is_empty() {
            continue;
        }
        let found = |list: &HashSet<usize>| {
            list.intersection(&customer.bought).count() as f64 / customer.bought.len() as f64
        };
        own += found(&offers[id]);
        best += found(&best_guess(customer, &tastes[customer.segment]));
        tested += 1;
    }
    let (own, best) = (own / f64::from(tested), best / f64::from(tested));
    eprintln!(
        "{tested} customers: recall {own:.4}, with all tastes known {best:.4}, ratio {:.4}",
        own / best
    );
    assert!(tested > 3_000, "{tested} customers are too few");
    assert!(best > 0.5 && own / best > 0.95, "recall {own:.4} of {best:.4}");
}

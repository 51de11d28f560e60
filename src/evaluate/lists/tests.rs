use super::*;
use proptest::prelude::*;

const PRICES: [Option<i64>; 10] = [
    Some(100),
    Some(200),
    Some(300),
    Some(400),
    None,
    Some(600),
    Some(700),
    Some(800),
    Some(900),
    Some(1000),
];
/// Exact powers of two, so that the bits can be checked by hand; package 9 nobody has bought.
const POPULARITY: [f64; 10] = [0.5, 0.25, 0.125, 0.5, 0.25, 0.125, 0.0625, 1.0, 0.5, 0.0];
const CATALOGUE: Catalogue<'_> = Catalogue { prices: &PRICES, popularity: &POPULARITY };
/// Bought 1, 3, 4 and 6; had bought 0, 1 and 3 before at 250 on average: 3 and 6 cost more, 4 has
/// no price.
const TRUTH: Truth<'_> =
    Truth { packages: &[1, 3, 4, 6], amounts: &[200, 800, 50, 700], known: &[0, 1, 3], usual_price: 250.0 };

fn marks(list: &[u32], truth: &Truth<'_>, cutoffs: &[usize]) -> Vec<Marks> {
    Judge::new(cutoffs).unwrap().judge(list, truth, &CATALOGUE).unwrap().marks.to_vec()
}

fn assert_marks(marks: &Marks, expected: &[(Metric, Option<f64>)]) {
    for &(metric, expected) in expected {
        match (marks.get(metric), expected) {
            (Some(value), Some(expected)) => {
                assert!((value - expected).abs() < 1e-12, "{metric:?} at {}: {value}", marks.k);
            }
            (value, expected) => assert_eq!(value, expected, "{metric:?} at {}", marks.k),
        }
    }
}

fn log2(x: f64) -> f64 {
    x.log2()
}

/// The list 3 (hit, known), 0 (known), 6 (hit), 2, 1 (hit, known) against four bought.
#[test]
fn every_metric_worked_out_by_hand() {
    let at = marks(&[3, 0, 6, 2, 1], &TRUTH, &[1, 3, 5]);
    let full = 1.0 + 1.0 / log2(3.0) + 1.0 / 2.0 + 1.0 / log2(5.0);
    assert_marks(
        &at[0],
        &[
            (Metric::Precision, Some(1.0)),
            (Metric::Recall, Some(0.25)),
            (Metric::Hit, Some(1.0)),
            // The truth is larger than k: the two ideals differ.
            (Metric::NdcgFull, Some(1.0 / full)),
            (Metric::Ndcg, Some(1.0)),
            (Metric::AveragePrecision, Some(1.0)),
            (Metric::RepeatRecall, Some(0.5)),
            (Metric::ExploreRecall, Some(0.0)),
            (Metric::RepeatShareOfTruth, Some(0.5)),
            (Metric::RepeatShareOfList, Some(1.0)),
            (Metric::HitMoney, Some(800.0)),
            (Metric::TruthMoney, Some(1750.0)),
            (Metric::UpsellRecall, Some(0.5)),
            (Metric::Novelty, Some(1.0)),
        ],
    );
    let ideal_of_three = 1.0 + 1.0 / log2(3.0) + 0.5;
    assert_marks(
        &at[1],
        &[
            (Metric::Precision, Some(2.0 / 3.0)),
            (Metric::Recall, Some(0.5)),
            (Metric::NdcgFull, Some(1.5 / full)),
            (Metric::Ndcg, Some(1.5 / ideal_of_three)),
            // Precision 1 at rank 1 and 2/3 at rank 3, over min(4, 3).
            (Metric::AveragePrecision, Some((1.0 + 2.0 / 3.0) / 3.0)),
            (Metric::RepeatRecall, Some(0.5)),
            (Metric::ExploreRecall, Some(0.5)),
            (Metric::RepeatShareOfList, Some(2.0 / 3.0)),
            (Metric::HitMoney, Some(1500.0)),
            (Metric::UpsellRecall, Some(1.0)),
            (Metric::Novelty, Some((1.0 + 1.0 + 4.0) / 3.0)),
        ],
    );
    let gain = 1.5 + 1.0 / log2(6.0);
    assert_marks(
        &at[2],
        &[
            (Metric::Precision, Some(0.6)),
            (Metric::Recall, Some(0.75)),
            (Metric::NdcgFull, Some(gain / full)),
            // Four were bought: with k = 5 both ideals are the whole truth.
            (Metric::Ndcg, Some(gain / full)),
            (Metric::AveragePrecision, Some((1.0 + 2.0 / 3.0 + 0.6) / 4.0)),
            (Metric::RepeatRecall, Some(1.0)),
            (Metric::ExploreRecall, Some(0.5)),
            (Metric::RepeatShareOfList, Some(0.6)),
            (Metric::HitMoney, Some(1700.0)),
            (Metric::Novelty, Some((1.0 + 1.0 + 4.0 + 3.0 + 2.0) / 5.0)),
        ],
    );
}

#[test]
fn a_short_list_has_misses_in_its_empty_places() {
    let at = marks(&[1, 8], &TRUTH, &[2, 5]);
    let full = 1.0 + 1.0 / log2(3.0) + 1.0 / 2.0 + 1.0 / log2(5.0);
    assert_marks(
        &at[1],
        &[
            (Metric::Precision, Some(0.2)),
            (Metric::Recall, Some(0.25)),
            (Metric::Ndcg, Some(1.0 / full)),
            (Metric::AveragePrecision, Some(0.25)),
            // Of the two that are listed, not of the five places.
            (Metric::RepeatShareOfList, Some(0.5)),
            (Metric::Novelty, Some(1.5)),
        ],
    );
    assert_eq!(at[0].list_hash, at[1].list_hash, "the same two packages");
}

#[test]
fn an_empty_list_has_zeros_and_no_shares_of_its_own() {
    let at = marks(&[], &TRUTH, &[3]);
    let zeros = [
        Metric::Precision,
        Metric::Recall,
        Metric::Hit,
        Metric::NdcgFull,
        Metric::Ndcg,
        Metric::AveragePrecision,
        Metric::RepeatRecall,
        Metric::ExploreRecall,
        Metric::HitMoney,
        Metric::UpsellRecall,
    ];
    assert_marks(&at[0], &zeros.map(|metric| (metric, Some(0.0))));
    assert_marks(&at[0], &[(Metric::RepeatShareOfList, None), (Metric::Novelty, None)]);
    assert!(at[0].column_value(Metric::Novelty).is_nan() && at[0].column_value(Metric::Recall) == 0.0);
}

#[test]
fn nothing_of_a_kind_is_not_zero() {
    let only_known = Truth { packages: &[1], amounts: &[0], known: &[1], usual_price: 0.0 };
    let at = marks(&[1, 9], &only_known, &[2]);
    let absent = [Metric::ExploreRecall, Metric::UpsellRecall];
    assert_marks(&at[0], &absent.map(|metric| (metric, None)));
    // Package 9 has no popularity and is left out of the mean.
    assert_marks(&at[0], &[(Metric::RepeatRecall, Some(1.0)), (Metric::Novelty, Some(2.0))]);
    let only_new = Truth { packages: &[1], amounts: &[0], known: &[], usual_price: 200.0 };
    // A price of exactly the usual one is no upsell.
    let absent = [Metric::RepeatRecall, Metric::UpsellRecall];
    assert_marks(&marks(&[1], &only_new, &[2])[0], &absent.map(|metric| (metric, None)));
    assert_marks(&marks(&[9], &only_new, &[2])[0], &[(Metric::Novelty, None)]);
}

#[test]
fn hashes_tell_lists_apart_by_packages_and_order() {
    let hash = |list: &[u32]| marks(list, &TRUTH, &[3])[0].list_hash;
    assert_eq!(hash(&[1, 2, 3]), hash(&[1, 2, 3, 4]));
    let lists: [&[u32]; 7] = [&[], &[0], &[1], &[0, 1], &[1, 0], &[0, 1, 2], &[1, 0, 2]];
    let hashes = lists.map(hash).into_iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(hashes.len(), lists.len());
}

#[test]
fn what_does_not_fit_is_named() {
    assert_eq!(Judge::new(&[]).unwrap_err(), MetricsError::NoCutoffs);
    assert_eq!(Judge::new(&[0]).unwrap_err(), MetricsError::Cutoffs { previous: 0, k: 0 });
    assert_eq!(Judge::new(&[3, 5, 5]).unwrap_err(), MetricsError::Cutoffs { previous: 5, k: 5 });
    let error = |list: &[u32], truth: &Truth<'_>| {
        Judge::new(&[3]).unwrap().judge(list, truth, &CATALOGUE).unwrap_err()
    };
    assert_eq!(error(&[2, 5, 2], &TRUTH), MetricsError::Twice { package: 2 });
    assert_eq!(error(&[10], &TRUTH), MetricsError::Package { package: 10, packages: 10 });
    let with = |packages, amounts, known, usual_price| Truth { packages, amounts, known, usual_price };
    assert_eq!(error(&[], &with(&[], &[], &[], 0.0)), MetricsError::EmptyTruth);
    assert_eq!(error(&[], &with(&[1], &[], &[], 0.0)), MetricsError::Amounts { packages: 1, amounts: 0 });
    assert_eq!(
        error(&[], &with(&[1, 1], &[0, 0], &[], 0.0)),
        MetricsError::Order { of: "of the truth", previous: 1, package: 1 }
    );
    assert_eq!(
        error(&[], &with(&[1], &[0], &[5, 2], 0.0)),
        MetricsError::Order { of: "bought before", previous: 5, package: 2 }
    );
    assert_eq!(error(&[], &with(&[1], &[-4], &[], 0.0)), MetricsError::Amount { package: 1, amount: -4 });
    assert_eq!(error(&[], &with(&[99], &[4], &[], 0.0)), MetricsError::Package { package: 99, packages: 10 });
    assert!(matches!(error(&[], &with(&[1], &[4], &[], f64::NAN)), MetricsError::UsualPrice { .. }));
    let mut judge = Judge::new(&[3]).unwrap();
    let short = Catalogue { prices: &PRICES, popularity: &[0.5] };
    assert_eq!(
        judge.judge(&[], &TRUTH, &short).unwrap_err(),
        MetricsError::Catalogue { prices: 10, popularity: 1 }
    );
    let over = Catalogue { prices: &[None], popularity: &[1.5] };
    let truth = with(&[0], &[4], &[], 0.0);
    assert_eq!(
        judge.judge(&[0], &truth, &over).unwrap_err().to_string(),
        "package 0 has the popularity 1.5, not a share between 0 and 1"
    );
}

proptest! {
    /// Bounds and relations that hold for any list, and a list made of the truth is perfect.
    #[test]
    fn marks_stay_within_their_bounds(
        truth in prop::collection::btree_set(0_u32..9, 1..7),
        known in prop::collection::btree_set(0_u32..9, 0..7),
        list in Just((0_u32..9).collect::<Vec<_>>()).prop_shuffle(),
        length in 0_usize..9,
    ) {
        let (packages, known) = (Vec::from_iter(truth), Vec::from_iter(known));
        let amounts = packages.iter().map(|&package| i64::from(package)).collect::<Vec<_>>();
        let truth = Truth { packages: &packages, amounts: &amounts, known: &known, usual_price: 300.0 };
        let at = marks(&list[..length], &truth, &[1, 2, 4, 8, 16]);
        let mut recall_before = 0.0;
        for marks in &at {
            let get = |metric| marks.get(metric).unwrap_or(0.0);
            for metric in Metric::ALL {
                let unbounded = [Metric::HitMoney, Metric::TruthMoney, Metric::Novelty];
                prop_assert!(get(metric) >= 0.0, "{metric:?}");
                prop_assert!(get(metric) <= 1.0 || unbounded.contains(&metric), "{metric:?}");
            }
            prop_assert!(get(Metric::Recall) >= recall_before);
            recall_before = get(Metric::Recall);
            prop_assert!(get(Metric::NdcgFull) <= get(Metric::Ndcg));
            prop_assert!(get(Metric::HitMoney) <= get(Metric::TruthMoney));
            let hits = get(Metric::Recall) * packages.len() as f64;
            prop_assert!((get(Metric::Precision) * marks.k as f64 - hits).abs() < 1e-9);
            let repeat = packages.iter().filter(|package| known.contains(package)).count() as f64;
            let explore = packages.len() as f64 - repeat;
            let split = get(Metric::RepeatRecall) * repeat + get(Metric::ExploreRecall) * explore;
            prop_assert!((split - hits).abs() < 1e-9);
        }
        for marks in marks(&packages, &truth, &[1, 2, 4, 8]) {
            prop_assert_eq!(marks.get(Metric::Ndcg), Some(1.0));
            prop_assert_eq!(marks.get(Metric::AveragePrecision), Some(1.0));
        }
    }
}

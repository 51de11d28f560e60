use super::*;
use proptest::prelude::*;

const PACKAGES: usize = 5;
const CUTOFFS: [usize; 2] = [1, 3];

/// Truth packages, amounts, known packages and the list of one customer.
type Case = (Vec<u32>, Vec<i64>, Vec<u32>, Vec<u32>);

fn tally(cases: &[Case]) -> Tally {
    let mut tally = Tally::new(&CUTOFFS, PACKAGES).unwrap();
    let mut judge = Judge::new(&CUTOFFS).unwrap();
    let catalogue = Catalogue { prices: &[Some(100); PACKAGES], popularity: &[0.5; PACKAGES] };
    for (packages, amounts, known, list) in cases {
        let truth = Truth { packages, amounts, known, usual_price: 50.0 };
        tally.add(&judge.judge(list, &truth, &catalogue).unwrap()).unwrap();
    }
    tally
}

fn three() -> Vec<Case> {
    vec![
        (vec![0, 1], vec![300, 700], vec![0], vec![0, 1, 2]),
        (vec![4], vec![1000], vec![], vec![0, 1, 2]),
        (vec![2], vec![0], vec![2], vec![0, 2]),
    ]
}

#[test]
fn figures_of_three_customers_worked_out_by_hand() {
    let tally = tally(&three());
    let one = tally.figures(1).unwrap();
    assert_eq!((one.k, one.customers), (1, 3));
    assert_eq!((one.precision, one.recall), (Some(1.0 / 3.0), Some(0.5 / 3.0)));
    // All three lists start with package 0.
    assert_eq!((one.coverage, one.gini, one.same_for_all), (Some(0.2), Some(0.8), Some(1.0)));
    assert_eq!((one.hit_money, one.truth_money, one.revenue_recall), (300, 2000, Some(0.15)));

    let figures = tally.figures(3).unwrap();
    assert_eq!(figures.recall, Some(2.0 / 3.0));
    assert_eq!(figures.hit, Some(2.0 / 3.0));
    // The first and the third have repeats, both found; the first and the second have new ones.
    assert_eq!((figures.repeat_recall, figures.repeat_customers), (Some(1.0), 2));
    assert_eq!((figures.explore_recall, figures.explore_customers), (Some(0.5), 2));
    assert_eq!(figures.repeat_share_of_truth, Some(0.5));
    assert_eq!(figures.repeat_share_of_list, Some((1.0 / 3.0 + 0.5) / 3.0));
    // Ratio of sums: the third, who paid nothing, does not count.
    assert_eq!(figures.revenue_recall, Some(0.5));
    assert_eq!((figures.upsell_recall, figures.upsell_customers), (Some(2.0 / 3.0), 3));
    assert_eq!(figures.novelty, Some(1.0));
    // Listed 3, 2, 3, 0 and 0 times: ascending 0 0 2 3 3, (−4·0 −2·0 +0·2 +2·3 +4·3) / (5 · 8).
    assert_eq!((figures.coverage, figures.gini), (Some(0.6), Some(18.0 / 40.0)));
    assert_eq!(figures.same_for_all, Some(2.0 / 3.0));
}

#[test]
fn nobody_has_no_figures_and_nothing_to_measure_is_none() {
    let empty = Tally::new(&CUTOFFS, PACKAGES).unwrap().figures(3).unwrap();
    assert_eq!(empty.customers, 0);
    for figure in [empty.recall, empty.revenue_recall, empty.coverage, empty.gini, empty.same_for_all] {
        assert_eq!(figure, None);
    }
    let unpaid = tally(&[(vec![1], vec![0], vec![], vec![])]).figures(3).unwrap();
    assert_eq!((unpaid.recall, unpaid.revenue_recall, unpaid.repeat_recall), (Some(0.0), None, None));
    assert_eq!((unpaid.coverage, unpaid.gini, unpaid.same_for_all), (Some(0.0), None, Some(1.0)));
    let json = serde_json::to_value(&unpaid).unwrap();
    assert_eq!(json["recall"], 0.0);
    assert!(json["revenue_recall"].is_null() && json["truth_money"] == 0, "{json}");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut tally = tally(&three());
    let before = tally.figures(3).unwrap();
    let unknown = MetricsError::UnknownCutoff { k: 2, cutoffs: vec![1, 3] };
    assert_eq!(tally.figures(2).unwrap_err(), unknown);
    assert!(tally.merge(Tally::new(&[1, 2], PACKAGES).unwrap()).is_err());
    let error = tally.merge(Tally::new(&CUTOFFS, 9).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "a tally over 5 packages at [1, 3] cannot take in 9 at [1, 3]");
    let mut judge = Judge::new(&[3]).unwrap();
    let catalogue = Catalogue { prices: &[None; 9], popularity: &[0.5; 9] };
    let truth = Truth { packages: &[1], amounts: &[5], known: &[], usual_price: 0.0 };
    assert!(tally.add(&judge.judge(&[1], &truth, &catalogue).unwrap()).is_err());
    let mut judge = Judge::new(&CUTOFFS).unwrap();
    let judged = judge.judge(&[1, 8], &truth, &catalogue).unwrap();
    assert_eq!(tally.add(&judged).unwrap_err(), MetricsError::Package { package: 8, packages: 5 });
    assert_eq!(tally.figures(3).unwrap(), before);
    assert_eq!(Tally::new(&[], 3).unwrap_err(), MetricsError::NoCutoffs);
}

#[test]
fn columns_keep_customers_in_order() {
    let mut columns = Columns::new(&[(3, Metric::Recall), (1, Metric::HitMoney), (3, Metric::RepeatRecall)]);
    let mut judge = Judge::new(&CUTOFFS).unwrap();
    let catalogue = Catalogue { prices: &[None; PACKAGES], popularity: &[0.5; PACKAGES] };
    for (packages, amounts, known, list) in &three() {
        let truth = Truth { packages, amounts, known, usual_price: 0.0 };
        columns.push(&judge.judge(list, &truth, &catalogue).unwrap()).unwrap();
    }
    assert_eq!(columns.get(3, Metric::Recall), Some(&[1.0, 0.0, 1.0][..]));
    assert_eq!(columns.get(1, Metric::HitMoney), Some(&[300.0, 0.0, 0.0][..]));
    let repeats = columns.get(3, Metric::RepeatRecall).unwrap();
    assert!(repeats[0] == 1.0 && repeats[1].is_nan() && repeats[2] == 1.0, "{repeats:?}");
    assert_eq!(columns.get(1, Metric::Recall), None);
    let mut elsewhere = Columns::new(&[(3, Metric::Hit), (7, Metric::Hit)]);
    let truth = Truth { packages: &[1], amounts: &[5], known: &[], usual_price: 0.0 };
    let error = elsewhere.push(&judge.judge(&[1], &truth, &catalogue).unwrap()).unwrap_err();
    assert_eq!(error, MetricsError::UnknownCutoff { k: 7, cutoffs: vec![1, 3] });
    assert_eq!(elsewhere.get(3, Metric::Hit), Some(&[][..]));
}

#[test]
fn metrics_stand_in_the_array_where_their_number_says() {
    assert!(Metric::ALL.iter().enumerate().all(|(at, &metric)| metric as usize == at));
    let classes = [0, 1, 2, 3, 5, 6, 900].map(|n| HISTORY_CLASSES[history_class(n)]);
    assert_eq!(classes, ["0", "1", "2", "3–5", "3–5", "6+", "6+"]);
}

#[test]
fn gini_of_known_distributions() {
    assert_eq!(gini(vec![7; 4]), Some(0.0));
    assert_eq!(gini(vec![0, 0, 0, 9]), Some(0.75));
    // 1 2 3 4: (−3 −2 +3 +12) / (4 · 10).
    assert_eq!(gini(vec![4, 2, 1, 3]), Some(0.25));
    assert_eq!((gini(vec![]), gini(vec![0, 0])), (None, None));
}

fn case() -> impl Strategy<Value = Case> {
    let package = 0..PACKAGES as u32;
    let truth = prop::collection::btree_map(package.clone(), 0_i64..1_000, 1..4);
    let known = prop::collection::btree_set(package.clone(), 0..4);
    let list = Just(Vec::from_iter(package)).prop_shuffle();
    (truth, known, list, 0..=PACKAGES).prop_map(|(truth, known, mut list, length)| {
        list.truncate(length);
        let (packages, amounts) = truth.into_iter().unzip();
        (packages, amounts, Vec::from_iter(known), list)
    })
}

proptest! {
    /// Parts merged in order give the figures of the whole: counts exactly, means but for rounding.
    #[test]
    fn merged_parts_are_the_whole(cases in prop::collection::vec(case(), 0..40), at in 0_usize..40) {
        let (left, right) = cases.split_at(at.min(cases.len()));
        let mut merged = tally(left);
        merged.merge(tally(right)).unwrap();
        for k in CUTOFFS {
            let (merged, whole) = (merged.figures(k).unwrap(), tally(&cases).figures(k).unwrap());
            prop_assert_eq!(merged.coverage, whole.coverage);
            prop_assert_eq!(merged.gini, whole.gini);
            prop_assert_eq!(merged.same_for_all, whole.same_for_all);
            prop_assert_eq!(merged.revenue_recall, whole.revenue_recall);
            prop_assert_eq!(merged.explore_customers, whole.explore_customers);
            let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-12,
                (a, b) => a == b,
            };
            prop_assert!(near(merged.ndcg, whole.ndcg) && near(merged.map, whole.map));
            prop_assert!(near(merged.repeat_recall, whole.repeat_recall));
        }
    }
}

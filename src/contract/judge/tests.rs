use super::*;
use crate::contract::{Accepted, Freshness, Nulls, Reconciliation, RowCount, Uniqueness, UnknownPackages};

fn day(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 5, number).unwrap()
}

fn facts() -> Facts {
    Facts { today: day(20), as_of: day(18), rows: 1_000, max_rejected_share: 0.1, ..Facts::default() }
}

/// The one verdict beside that on rejected rows.
fn only(contract: &Contract, facts: &Facts) -> Verdict {
    let verdicts = judge(contract, facts);
    assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    verdicts.into_iter().next_back().unwrap()
}

fn status(contract: &Contract, facts: &Facts) -> Status {
    only(contract, facts).status
}

#[test]
fn the_share_of_rejected_rows_is_judged_without_any_rule() {
    let of = |rejected| judge(&Contract::default(), &Facts { rejected, ..facts() });
    assert_eq!(of(100).len(), 1);
    assert_eq!((of(100)[0].status, of(101)[0].status), (Status::Kept, Status::Failed));
    assert_eq!(
        sentences(&of(101), Status::Failed),
        ["contract.max_rejected_share: the share of rejected rows is 0.101000, 0.1 is allowed"]
    );
}

#[test]
fn data_is_fresh_up_to_the_limit() {
    let of = |max_age_days, on_break| Contract {
        freshness: Freshness { on_break, max_age_days },
        ..Contract::default()
    };
    assert_eq!(status(&of(2, Action::Fail), &facts()), Status::Kept);
    assert_eq!(status(&of(1, Action::Fail), &facts()), Status::Failed);
    assert_eq!(status(&of(1, Action::Warn), &facts()), Status::Warned);
    // Data from the future is not old.
    let future = Facts { as_of: day(25), ..facts() };
    assert_eq!(status(&of(0, Action::Fail), &future), Status::Kept);
    let found = only(&of(1, Action::Warn), &facts());
    assert_eq!(found.found, Some(2.0));
    assert_eq!(found.text, "the data ends on 2026-05-18, 2 days before the run, 1 are allowed");
}

#[test]
fn rows_are_compared_with_the_median_of_the_newest_runs() {
    let of = |runs, min_ratio, max_ratio| Contract {
        row_count: RowCount { on_break: Action::Fail, runs, min_ratio, max_ratio },
        ..Contract::default()
    };
    let before = |rows: &[u64]| Facts { rows_before: rows.to_vec(), ..facts() };
    assert_eq!(status(&of(7, 0.5, 2.0), &before(&[])), Status::NotJudged);
    assert_eq!(status(&of(7, 0.5, 2.0), &before(&[0])), Status::NotJudged);
    assert_eq!(status(&of(7, 0.5, 2.0), &before(&[2_000])), Status::Kept);
    assert_eq!(status(&of(7, 0.5, 2.0), &before(&[2_001])), Status::Failed);
    assert_eq!(status(&of(7, 0.5, 2.0), &before(&[500])), Status::Kept);
    assert_eq!(status(&of(7, 0.5, 2.0), &before(&[499])), Status::Failed);
    // One odd night does not move a median; an even number takes the mean of the two in the middle.
    assert_eq!(status(&of(3, 0.9, 1.1), &before(&[9, 1_000, 1_000_000, 1_050])), Status::Kept);
    assert_eq!(only(&of(4, 0.0, 9.0), &before(&[1, 400, 600, 9_999])).found, Some(2.0));
    assert_eq!(only(&of(2, 0.0, 9.0), &before(&[1, 1, 1_000, 1_000])).found, Some(1.0));
}

#[test]
fn nulls_are_counted_for_the_roles_that_are_looked_at() {
    let of = |on_break| Contract {
        nulls: Nulls { on_break, max_share: [None, None, None, Some(0.05), None, None] },
        ..Contract::default()
    };
    let nulls = |rows| Facts { nulls: [Some(999), None, None, rows, None, None], ..facts() };
    assert_eq!(status(&of(Action::Fail), &nulls(Some(50))), Status::Kept);
    assert_eq!(status(&of(Action::Fail), &nulls(Some(51))), Status::Failed);
    assert_eq!(status(&of(Action::Warn), &nulls(Some(51))), Status::Warned);
    assert_eq!(status(&of(Action::Quarantine), &nulls(Some(0))), Status::Kept);
    assert_eq!(status(&of(Action::Quarantine), &nulls(Some(1))), Status::Quarantined);
    assert_eq!(status(&of(Action::Fail), &nulls(None)), Status::NotJudged);
    assert!(of(Action::Quarantine).nulls.quarantines(3));
    assert!(!of(Action::Quarantine).nulls.quarantines(4) && !of(Action::Fail).nulls.quarantines(3));
}

#[test]
fn channels_are_held_against_the_accepted_ones() {
    let of = |on_break, max_share| Contract {
        accepted: Accepted { on_break, channels: vec!["app".into(), "shop".into()], max_share },
        ..Contract::default()
    };
    let channels = |others: u64| Facts {
        channels: Some(vec![("app".into(), 900), ("kiosk".into(), others), ("web".into(), 0)]),
        ..facts()
    };
    assert_eq!(status(&of(Action::Fail, 0.0), &channels(0)), Status::Kept);
    assert_eq!(status(&of(Action::Fail, 0.0), &channels(1)), Status::Failed);
    assert_eq!(status(&of(Action::Warn, 0.01), &channels(10)), Status::Kept);
    let broken = only(&of(Action::Warn, 0.01), &channels(11));
    assert!(broken.status == Status::Warned && broken.text.ends_with("most of them \"kiosk\""), "{broken:?}");
    let rejected = Facts { rejected_channels: 3, ..channels(0) };
    assert_eq!(status(&of(Action::Quarantine, 0.5), &rejected), Status::Quarantined);
    assert_eq!(status(&of(Action::Fail, 0.0), &facts()), Status::NotJudged);
}

#[test]
fn packages_and_repeats_have_limits_of_their_own() {
    let packages = |rows| {
        let rule = UnknownPackages { on_break: Action::Fail, max_share: 0.002 };
        status(
            &Contract { unknown_packages: rule, ..Contract::default() },
            &Facts { unknown_packages: rows, ..facts() },
        )
    };
    assert_eq!(packages(Some(2)), Status::Kept);
    assert_eq!(packages(Some(3)), Status::Failed);
    assert_eq!(packages(None), Status::NotJudged);

    let repeats = |on_break, duplicates, repeated_ids| {
        let rule = Uniqueness { on_break, max_duplicates: 0.01, max_repeated_ids: 0.001 };
        let facts = Facts { duplicates, repeated_ids, ..facts() };
        let verdicts = judge(&Contract { uniqueness: rule, ..Contract::default() }, &facts);
        (verdicts[1].status, verdicts[2].status)
    };
    assert_eq!(repeats(Action::Fail, 10, Some(1)), (Status::Kept, Status::Kept));
    assert_eq!(repeats(Action::Fail, 11, Some(2)), (Status::Failed, Status::Failed));
    assert_eq!(repeats(Action::Warn, 11, None), (Status::Warned, Status::NotJudged));
}

#[test]
fn revenue_is_reconciled_in_all_or_day_by_day() {
    let contract = Contract {
        reconciliation: Reconciliation { on_break: Action::Fail, tolerance: 0.01, ..Default::default() },
        ..Contract::default()
    };
    let revenue = BTreeMap::from([(day(17), 100.0), (day(18), 300.0)]);
    let of = |control| Facts { revenue: Some(revenue.clone()), control: Some(control), ..facts() };
    assert_eq!(status(&contract, &of(Control::Total(400.0))), Status::Kept);
    assert_eq!(status(&contract, &of(Control::Total(404.0))), Status::Kept);
    assert_eq!(status(&contract, &of(Control::Total(405.0))), Status::Failed);
    let days = |days: &[(u32, f64)]| {
        of(Control::ByDay(days.iter().map(|(number, total)| (day(*number), *total)).collect()))
    };
    // A day that the control does not name is not looked at; one that was not read is nothing.
    assert_eq!(status(&contract, &days(&[(18, 301.0)])), Status::Kept);
    assert_eq!(status(&contract, &days(&[(16, 0.0), (18, 300.0)])), Status::Kept);
    assert_eq!(status(&contract, &days(&[(16, 1.0), (18, 300.0)])), Status::Failed);
    assert_eq!(status(&contract, &days(&[(17, 0.0)])), Status::Failed);
    let found = only(&contract, &days(&[(17, 100.0), (18, 250.0)]));
    assert_eq!(
        found.text,
        "revenue of 2026-05-18 is 300.00, the control total 250.00: a difference of 0.2000, 0.01 is allowed"
    );
    assert_eq!(status(&contract, &Facts { control: None, ..of(Control::Total(1.0)) }), Status::NotJudged);
    assert_eq!(status(&contract, &Facts { revenue: None, ..of(Control::Total(1.0)) }), Status::NotJudged);
}

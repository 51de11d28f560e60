//! The section `[contract]` from typed to resolved.

use super::check::Check;
use super::typed;
use crate::contract::{
    Accepted, Action, Contract, Freshness, Nulls, Reconciliation, RowCount, Source, Uniqueness,
    UnknownPackages,
};

const WHOLE: [(&str, Action); 3] = [("off", Action::Off), ("warn", Action::Warn), ("fail", Action::Fail)];
/// Of rules about single rows.
const ROWS: [(&str, Action); 4] = [
    ("off", Action::Off),
    ("warn", Action::Warn),
    ("fail", Action::Fail),
    ("quarantine", Action::Quarantine),
];

pub(super) fn resolve(
    raw: &typed::Contract,
    columns: &typed::TransactionColumns,
    check: &mut Check,
) -> Contract {
    let nulls = nulls(&raw.nulls, check);
    let accepted = Accepted {
        on_break: check.choice("contract.accepted.on_break", &raw.accepted.on_break, &ROWS),
        channels: raw.accepted.channels.clone(),
        max_share: check.share("contract.accepted.max_share", raw.accepted.max_share),
    };
    if accepted.on_break != Action::Off && accepted.channels.is_empty() {
        check.problem("contract.accepted.channels", "[]", "name the channels that there are");
    }
    if accepted.on_break == Action::Quarantine && columns.channel.is_empty() {
        check.problem(
            "contract.accepted.on_break",
            "\"quarantine\"",
            "needs transactions.columns.channel, to know the channel of a row",
        );
    }
    let counts = &raw.row_count;
    if counts.min_ratio > counts.max_ratio {
        check.problem(
            "contract.row_count.min_ratio",
            counts.min_ratio,
            "must not be above contract.row_count.max_ratio",
        );
    }
    Contract {
        freshness: Freshness {
            on_break: check.choice("contract.freshness.on_break", &raw.freshness.on_break, &WHOLE),
            max_age_days: check.integer(
                "contract.freshness.max_age_days",
                raw.freshness.max_age_days,
                0,
                36_500,
            ) as u32,
        },
        row_count: RowCount {
            on_break: check.choice("contract.row_count.on_break", &counts.on_break, &WHOLE),
            runs: check.integer("contract.row_count.runs", counts.runs, 1, 1_000),
            min_ratio: check.at_least("contract.row_count.min_ratio", counts.min_ratio, 0.0),
            max_ratio: check.at_least("contract.row_count.max_ratio", counts.max_ratio, 0.0),
        },
        nulls,
        accepted,
        unknown_packages: UnknownPackages {
            on_break: check.choice(
                "contract.unknown_packages.on_break",
                &raw.unknown_packages.on_break,
                &WHOLE,
            ),
            max_share: check.share("contract.unknown_packages.max_share", raw.unknown_packages.max_share),
        },
        uniqueness: Uniqueness {
            on_break: check.choice("contract.uniqueness.on_break", &raw.uniqueness.on_break, &WHOLE),
            max_duplicates: check.share("contract.uniqueness.max_duplicates", raw.uniqueness.max_duplicates),
            max_repeated_ids: check
                .share("contract.uniqueness.max_repeated_ids", raw.uniqueness.max_repeated_ids),
        },
        reconciliation: reconciliation(&raw.reconciliation, check),
    }
}

fn nulls(raw: &typed::Nulls, check: &mut Check) -> Nulls {
    let mut most = |role: &str, share: f64| {
        // Written so that NaN is a problem.
        let is_looked_at = share != -1.0;
        is_looked_at.then(|| check.share(&format!("contract.nulls.{role}"), share))
    };
    let max_share = [
        most("customer", raw.customer),
        most("package", raw.package),
        most("time", raw.time),
        most("channel", raw.channel),
        most("amount", raw.amount),
        most("quantity", raw.quantity),
    ];
    Nulls { on_break: check.choice("contract.nulls.on_break", &raw.on_break, &ROWS), max_share }
}

fn reconciliation(raw: &typed::Reconciliation, check: &mut Check) -> Reconciliation {
    let file = raw.control_file.trim();
    let total = raw.control_total;
    if !total.is_finite() {
        check.problem("contract.reconciliation.control_total", total, "must be a number of currency units");
    }
    if !file.is_empty() && total != 0.0 {
        check.problem(
            "contract.reconciliation.control_total",
            total,
            "leave it at 0, or leave contract.reconciliation.control_file empty: one of them counts",
        );
    }
    Reconciliation {
        on_break: check.choice("contract.reconciliation.on_break", &raw.on_break, &WHOLE),
        control: match (file.is_empty(), total) {
            (false, _) => Source::File(file.to_owned()),
            (true, 0.0) => Source::None,
            (true, total) => Source::Total(total),
        },
        tolerance: check.at_least("contract.reconciliation.tolerance", raw.tolerance, 0.0),
    }
}

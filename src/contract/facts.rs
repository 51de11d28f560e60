//! What the rules are held against, put together from the pass over the input and from earlier runs.

use super::control::Control;
use super::judge::Facts;
use crate::transactions::Transactions;
use crate::transactions::normalise::Reason;
use crate::transactions::times::date_of;
use crate::transactions::whole_customers::Cleaned;
use chrono::NaiveDate;

/// What is known before the input is read.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Day of the run, UTC.
    pub today: NaiveDate,
    /// Rows of published runs, oldest first.
    pub rows_before: Vec<u64>,
    pub control: Option<Control>,
}

/// The facts about an input that was read; `mapped` says which of [`super::ROLES`] the input has.
pub fn gather(
    transactions: &Transactions,
    cleaned: Cleaned,
    max_rejected_share: f64,
    mapped: [bool; 6],
    has_transaction_ids: bool,
    known: Known,
) -> Facts {
    let counts = &transactions.counts;
    let rejected = |reason: Reason| counts.rejected[reason as usize];
    let nulls = [
        rejected(Reason::NoCustomer),
        rejected(Reason::NoPackage),
        rejected(Reason::NoTime),
        counts.null_channels + rejected(Reason::NoChannel),
        counts.null_amounts + rejected(Reason::MissingAmount),
        counts.null_quantities + rejected(Reason::NoQuantity),
    ];
    let mut of_roles = [None; 6];
    for ((to, rows), mapped) in of_roles.iter_mut().zip(nulls).zip(mapped) {
        *to = mapped.then_some(rows);
    }
    let channels = transactions.channel_names.iter().cloned().zip(transactions.channel_rows.iter().copied());
    let revenue = counts.revenue_by_day.iter().enumerate().filter(|(day, _)| counts.by_day[*day] > 0);
    Facts {
        today: known.today,
        as_of: date_of(transactions.as_of_day),
        rows: counts.rows,
        rejected: counts.rejected_rows() + cleaned.future,
        max_rejected_share,
        rows_before: known.rows_before,
        nulls: of_roles,
        channels: mapped[3].then(|| channels.collect()),
        rejected_channels: rejected(Reason::ChannelNotAccepted),
        unknown_packages: transactions.has_catalogue.then(|| rejected(Reason::UnknownPackage)),
        duplicates: cleaned.duplicates,
        repeated_ids: has_transaction_ids.then_some(cleaned.repeated_transactions),
        revenue: transactions.has_money.then(|| {
            revenue.map(|(day, minor)| (date_of(day as i64), *minor as f64 / transactions.scale)).collect()
        }),
        control: known.control,
    }
}

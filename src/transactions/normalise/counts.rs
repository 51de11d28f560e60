//! What became of rows: reasons for rejection, counts, and the last day that they tell of.

/// Why a row was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NoCustomer,
    NoPackage,
    NoTime,
    UnparsableTime,
    TimeOutOfRange,
    FutureTime,
    UnknownPackage,
    NoAmount,
    AbsurdAmount,
    AbsurdQuantity,
    NegativeAmount,
    NoChannel,
    MissingAmount,
    NoQuantity,
    ChannelNotAccepted,
}

impl Reason {
    pub const ALL: [Self; 15] = [
        Self::NoCustomer,
        Self::NoPackage,
        Self::NoTime,
        Self::UnparsableTime,
        Self::TimeOutOfRange,
        Self::FutureTime,
        Self::UnknownPackage,
        Self::NoAmount,
        Self::AbsurdAmount,
        Self::AbsurdQuantity,
        Self::NegativeAmount,
        Self::NoChannel,
        Self::MissingAmount,
        Self::NoQuantity,
        Self::ChannelNotAccepted,
    ];

    /// As published in the quarantine table and the report.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoCustomer => "customer is null or empty",
            Self::NoPackage => "package is null or empty",
            Self::NoTime => "time is null",
            Self::UnparsableTime => "time cannot be parsed",
            Self::TimeOutOfRange => "time is before 1970 or after 2106",
            Self::FutureTime => "time is after the end of the data",
            Self::UnknownPackage => "package is not in the catalogue",
            Self::NoAmount => "amount is null and the catalogue has no price",
            Self::AbsurdAmount => "amount is not a number or absurdly large",
            Self::AbsurdQuantity => "quantity is not a number or absurdly large",
            Self::NegativeAmount => "amount or quantity is negative",
            Self::NoChannel => "channel is null, which the contract refuses",
            Self::MissingAmount => "amount is null, which the contract refuses",
            Self::NoQuantity => "quantity is null, which the contract refuses",
            Self::ChannelNotAccepted => "channel is not accepted by the contract",
        }
    }
}

/// Counts of one worker.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub rows: u64,
    pub good: u64,
    pub rejected: [u64; Reason::ALL.len()],
    /// Rows of customers who are to be forgotten.
    pub forgotten: u64,
    pub returns_dropped: u64,
    /// Returns taken off revenue.
    pub returns_netted: u64,
    pub null_channels: u64,
    pub null_amounts: u64,
    pub null_quantities: u64,
    /// Rows by day since 1970.
    pub by_day: Vec<u64>,
    /// Rows by channel code.
    pub by_channel: Vec<u64>,
    /// Minor units by day since 1970, if they are asked for.
    pub revenue_by_day: Vec<i64>,
}

impl Counts {
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.good += other.good;
        for (mine, theirs) in self.rejected.iter_mut().zip(other.rejected) {
            *mine += theirs;
        }
        self.forgotten += other.forgotten;
        self.returns_dropped += other.returns_dropped;
        self.returns_netted += other.returns_netted;
        self.null_channels += other.null_channels;
        self.null_amounts += other.null_amounts;
        self.null_quantities += other.null_quantities;
        let days = self.revenue_by_day.len().max(other.revenue_by_day.len());
        self.revenue_by_day.resize(days, 0);
        for (mine, theirs) in self.revenue_by_day.iter_mut().zip(&other.revenue_by_day) {
            *mine = mine.saturating_add(*theirs);
        }
        for (mine, theirs) in [(&mut self.by_day, &other.by_day), (&mut self.by_channel, &other.by_channel)] {
            mine.resize(mine.len().max(theirs.len()), 0);
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }

    /// Reasons that occurred, with their rows; `late` rows were found to lie after the end of the data when the
    /// pass was over.
    pub fn reasons(&self, late: u64) -> Vec<(&'static str, u64)> {
        let rows = |reason: Reason| {
            let late = if reason == Reason::FutureTime { late } else { 0 };
            (reason.text(), self.rejected[reason as usize] + late)
        };
        Reason::ALL.into_iter().map(rows).filter(|(_, rows)| *rows > 0).collect()
    }

    pub fn rejected_rows(&self) -> u64 {
        self.rejected.iter().sum()
    }
}

/// The last day of the data: from the day of the median row on, for as long as no more than 31 empty
/// days lie between one day with rows and the next. So a mistyped year does not move the end.
pub fn last_day(by_day: &[u64]) -> Option<i64> {
    let total: u64 = by_day.iter().sum();
    let mut seen = 0;
    let median = by_day.iter().position(|count| {
        seen += count;
        total > 0 && seen * 2 >= total
    })?;
    let mut last = median;
    for (day, count) in by_day.iter().enumerate().skip(median) {
        if *count > 0 {
            if day - last > 32 {
                break;
            }
            last = day;
        }
    }
    Some(last as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_ignores_rows_far_after_the_bulk() {
        let mut days = vec![0; 400];
        days[100..130].fill(50);
        days[150] = 1; // 20 empty days later: belongs to the data
        days[390] = 3; // a mistyped year does not
        assert_eq!(last_day(&days), Some(150));
        assert_eq!(last_day(&[]), None);
        assert_eq!(last_day(&[0, 0]), None);
    }
}

//! Batches in which every row is as it should be, a column at a time: most batches are such.
//!
//! Row by row, every column asks of every row whether it has a value, and a dozen branches follow. Here a column is asked once.
//! Whatever is out of the ordinary (a null but of a channel, a text without a code, an amount or a quantity of its own) sends the batch the long
//! way instead, so that there is one place where rows are refused. Nothing is learned of a batch before all that the long way asks
//! first is known to be in order: a growing dictionary gets the same texts either way.

use super::columns::{EntryCodes, Looked, Times, look_up};
use super::{Columns, Customers, NO_CHANNEL, Normaliser};
use crate::engine::rows::Layout;
use crate::numerics::digits;
use crate::transactions::codes::{Code, CodeCache, Codes};
use crate::transactions::keys::{self, KeyKind};
use crate::transactions::text_column::TextColumn;
use crate::transactions::times::DAY;
use arrow::array::{Array, StringArray};

impl Normaliser<'_> {
    /// Puts a batch of so many rows into `self.rows` and counts them; false, with no row in them, if it has to go the long way.
    pub(super) fn all_plain(&mut self, columns: &Columns, rows: usize) -> bool {
        let Columns { customers, packages, times, channels, amounts, quantities, transactions } = columns;
        let rules = self.rules;
        let is_asked_more = rules.layout != Layout::default()
            || amounts.is_some()
            || quantities.is_some()
            || transactions.is_some()
            || rules.contract.sums_revenue;
        let is_plain = !is_asked_more
            && all_keys(customers, &rules.keys, &mut self.rows.keys)
            && self.all_in_time(times)
            && self.all_packages(packages)
            && self.all_channels(channels.as_ref(), rows);
        if is_plain {
            self.count_plain();
        } else {
            self.rows.clear();
        }
        is_plain
    }

    fn all_in_time(&mut self, times: &Times) -> bool {
        let Times::Typed(array) = times else { return false };
        let latest = self.rules.as_of_end.unwrap_or(i64::MAX).min(i64::from(u32::MAX));
        // All of them, and not only up to the first: that takes many at once.
        let is_out = self.seconds.iter().fold(false, |out, seconds| out | !(0..=latest).contains(seconds));
        let is_plain = !is_out && array.null_count() == 0 && self.seconds.len() == array.len();
        if is_plain {
            self.rows.seconds.extend(self.seconds.iter().map(|seconds| *seconds as u32));
        }
        is_plain
    }

    /// Known packages that cost what the catalogue says, or nothing where nothing tells.
    fn all_packages(&mut self, packages: &TextColumn) -> bool {
        let Self { rules, package_codes, package_cache, rows, exact, .. } = self;
        let known = (package_codes, package_cache, &rules.packages);
        all_codes(packages, known, None, &mut rows.packages, |looked| {
            let Looked::Code(Code::Known(code)) = looked else { return None };
            let is_plain = match rules.prices.get(code as usize).copied().flatten() {
                Some(price) => price >= 0 && price as f64 <= *exact,
                None => !rules.has_amount,
            };
            is_plain.then_some(code)
        })
    }

    fn all_channels(&mut self, channels: Option<&TextColumn>, rows: usize) -> bool {
        let Self { rules, channel_codes, channel_cache, rows: out, counts, .. } = self;
        let Some(channels) = channels else {
            out.channels.resize(rows, NO_CHANNEL);
            return true;
        };
        let known = (channel_codes, channel_cache, &rules.channels);
        let missing = (!rules.contract.needs_channel).then_some(NO_CHANNEL);
        let is_plain = all_codes(channels, known, missing, &mut out.channels, |looked| match looked {
            Looked::Code(Code::Known(code)) => Some(code as u16),
            Looked::Code(_) if !rules.contract.accepts_only => Some(NO_CHANNEL),
            _ => None,
        });
        if let (true, TextColumn::Dictionary(entries, _)) = (is_plain, channels) {
            counts.null_channels += entries.null_count() as u64;
        }
        is_plain
    }

    fn count_plain(&mut self) {
        let (rows, counts) = (&self.rows, &mut self.counts);
        counts.good += rows.len() as u64;
        // Rows of one day mostly come together.
        let mut rest = rows.seconds.as_slice();
        while let Some(first) = rest.first() {
            let day = i64::from(*first) / DAY;
            let of_day = (day * DAY) as u32..((day + 1) * DAY).min(i64::from(u32::MAX)) as u32;
            let same = rest.iter().take_while(|second| of_day.contains(second)).count().max(1);
            let day = day as usize;
            if counts.by_day.len() <= day {
                counts.by_day.resize(day + 1, 0);
            }
            counts.by_day[day] += same as u64;
            rest = &rest[same..];
        }
        // Codes and one, so that what stands for none is the first; in four places, as a sum waits for its last addend.
        let of = |channel: &u16| usize::from(channel.wrapping_add(1));
        let most = rows.channels.iter().map(of).max().unwrap_or(0);
        self.by_channel.clear();
        self.by_channel.resize(most + 1, [0; 4]);
        let (fours, others) = rows.channels.as_chunks::<4>();
        for four in fours {
            for (place, channel) in four.iter().enumerate() {
                self.by_channel[of(channel)][place] += 1;
            }
        }
        others.iter().for_each(|channel| self.by_channel[of(channel)][0] += 1);
        if counts.by_channel.len() < most {
            counts.by_channel.resize(most, 0);
        }
        for (sum, counted) in counts.by_channel.iter_mut().zip(&self.by_channel[1..]) {
            *sum += counted.iter().sum::<u64>();
        }
    }
}

/// The keys of all customers; false where one is missing, or is text of more than digits and signs.
fn all_keys(customers: &Customers, kind: &KeyKind, out: &mut Vec<u64>) -> bool {
    match (customers, kind) {
        (Customers::Keys(keys), _) => {
            out.extend_from_slice(keys);
            true
        }
        (Customers::Integers(ids), _) if ids.null_count() == 0 => {
            out.extend(ids.values().iter().map(|id| keys::integer_key(*id)));
            true
        }
        (Customers::Texts(TextColumn::Plain(ids)), KeyKind::Packed) if ids.null_count() == 0 => {
            all_packed(ids, out)
        }
        _ => false,
    }
}

fn all_packed(ids: &StringArray, out: &mut Vec<u64>) -> bool {
    let bytes = ids.values().as_slice();
    let offsets = ids.value_offsets();
    out.reserve(ids.len());
    // Ids of one length lie evenly.
    let length = offsets.first().zip(offsets.get(1)).map_or(0, |(start, end)| (end - start) as usize);
    let is_even = offsets.windows(2).fold(true, |even, ends| even & (ends[1] - ends[0] == length as i32));
    let mut done = 0;
    while done < ids.len() {
        if is_even {
            let rest = &bytes[offsets[done] as usize..];
            done += digits::pack(rest, length, length, ids.len() - done, out);
        }
        // What is no digit, or at the end.
        for ends in offsets[done..].windows(2).take(4) {
            let Some(key) = keys::pack_within(bytes, ends[0] as usize..ends[1] as usize) else {
                return false;
            };
            out.push(key);
            done += 1;
        }
    }
    true
}

/// The codes of all rows, as `code_of` makes them of what a text is known as, or `missing` where there is none; false where
/// neither gives one, or where the column has no dictionary.
fn all_codes<C: Copy>(
    column: &TextColumn,
    (seen, cache, codes): (&mut EntryCodes, &mut CodeCache, &Codes),
    missing: Option<C>,
    out: &mut Vec<C>,
    code_of: impl Fn(Looked) -> Option<C>,
) -> bool {
    let TextColumn::Dictionary(entries, texts) = column else { return false };
    let nulls = entries.nulls().filter(|nulls| nulls.null_count() > 0);
    if nulls.is_some() && missing.is_none() {
        return false;
    }
    let mut by_entry: Vec<Option<C>> = vec![None; texts.len()];
    out.reserve(entries.len());
    entries.values().iter().enumerate().all(|(row, entry)| {
        let code = match nulls.is_some_and(|nulls| nulls.is_null(row)) {
            true => missing,
            false => {
                let known = &mut by_entry[*entry as usize];
                if known.is_none() {
                    *known = code_of(look_up(column, row, seen, cache, codes));
                }
                *known
            }
        };
        code.inspect(|code| out.push(*code)).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::Returns;
    use crate::transactions::normalise::{Counts, RowContract, Rules};
    use crate::transactions::quarantine::Rejected;
    use crate::transactions::source::Batch;
    use arrow::array::{ArrayRef, TimestampSecondArray};
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use std::sync::Arc;

    const DAYS: i64 = 20_000 * DAY;

    fn rules(keys: KeyKind) -> Rules {
        Rules {
            layout: Layout::default(),
            keys,
            packages: Codes::fixed(["A", "B", "dear", "free"].into_iter()),
            channels: Codes::growing(2),
            prices: vec![Some(100), Some(250), Some(1 << 60), None],
            has_amount: false,
            scale: 100.0,
            max_amount: 1e12,
            amount_is_unit: false,
            returns: Returns::Net,
            as_of_end: Some(DAYS + 3 * DAY),
            contract: RowContract::default(),
        }
    }

    type Row = (Option<&'static str>, Option<&'static str>, Option<i64>, Option<&'static str>);

    /// Packages and channels as a dictionary, or as plain text, which goes the long way.
    fn batch(rows: &[Row], dictionary: bool) -> Batch {
        let text = |of: fn(&Row) -> Option<&'static str>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let of = |array: ArrayRef| if dictionary { cast(&array, &coded).unwrap() } else { array };
        let times = Arc::new(rows.iter().map(|row| row.2).collect::<TimestampSecondArray>());
        let (customers, packages, channels) =
            (text(|row| row.0), of(text(|row| row.1)), of(text(|row| row.3)));
        let columns =
            [Some(customers), Some(packages), Some(times as ArrayRef), Some(channels), None, None, None];
        Batch { columns, keys: None, rows: rows.len(), forgotten: Vec::new() }
    }

    /// What comes of batches one after the other, and how many of them were plain.
    fn outcome(batches: &[Vec<Row>], dictionary: bool, rules: &Rules) -> (Vec<String>, Counts, usize) {
        let mut normaliser = Normaliser::new(rules);
        let mut rejected = Rejected::new(None, 0);
        let (mut told, mut plain) = (Vec::new(), 0);
        for rows in batches {
            let batch = batch(rows, dictionary);
            let columns = normaliser.columns(&batch).unwrap();
            // Asked once more than a run does: what is learned of it, the long way learns too.
            plain += usize::from(normaliser.all_plain(&columns, batch.rows));
            normaliser.counts = Counts::default();
            normaliser.normalise(&batch, &mut rejected).unwrap();
            told.push(format!("{:?} {:?}", normaliser.rows, normaliser.counts));
        }
        told.push(format!("{} {:?} {:?}", rejected.len(), rules.channels.sorted(), rules.packages.sorted()));
        (told, normaliser.counts, plain)
    }

    const GOOD: Row = (Some("905301112233"), Some("A"), Some(DAYS + 5), Some("app"));

    #[test]
    fn a_batch_becomes_the_same_rows_either_way() {
        let good = vec![GOOD, (Some("7"), Some("free"), Some(DAYS + DAY), Some("shop")), GOOD];
        let odd: [Row; 10] = [
            (None, GOOD.1, GOOD.2, GOOD.3),
            (Some(" "), GOOD.1, GOOD.2, GOOD.3),
            (Some(" 905301112233 "), GOOD.1, GOOD.2, GOOD.3),
            (GOOD.0, None, GOOD.2, GOOD.3),
            (GOOD.0, Some("unknown"), GOOD.2, GOOD.3),
            (GOOD.0, Some("dear"), GOOD.2, GOOD.3),
            (GOOD.0, GOOD.1, None, GOOD.3),
            (GOOD.0, GOOD.1, Some(DAYS + 9 * DAY), GOOD.3),
            (GOOD.0, GOOD.1, Some(-1), GOOD.3),
            (GOOD.0, GOOD.1, GOOD.2, None),
        ];
        let mut batches = vec![good.clone()];
        for row in odd {
            batches.push(vec![GOOD, row, GOOD]);
        }
        // A third channel is one too many for the codes, and no reason to refuse a row.
        batches.push(vec![(GOOD.0, GOOD.1, GOOD.2, Some("third")), GOOD]);
        batches.push(Vec::new());
        batches.push(good);
        let (by_column, _, plain) = outcome(&batches, true, &rules(KeyKind::Packed));
        let (by_row, counts, none) = outcome(&batches, false, &rules(KeyKind::Packed));
        assert_eq!(by_column, by_row);
        assert_eq!((plain, none, counts.good), (5, 0, 3));
    }
}

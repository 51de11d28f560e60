//! Stretches of packed rows: sorted as numbers, and read from left to right.

use super::WholeCustomers;
use super::cleaner::Cleaner;
use super::ids::Customer;
use crate::engine::packing::Packing;
use crate::transactions::Transactions;
use crate::transactions::normalise::NO_CHANNEL;
use std::iter::repeat_n;

impl Cleaner {
    /// Appends a stretch, sorted and cleaned; false, with nothing done, if a row is too late and has to be refused.
    pub(super) fn clean_words(
        &mut self,
        words: &[u64],
        base: u64,
        packing: &Packing,
        transactions: &Transactions,
        whole: &mut WholeCustomers,
    ) -> bool {
        let latest = words.iter().map(|word| packing.unpack(*word).second).max();
        if latest.is_some_and(|second| i64::from(second) > transactions.as_of_end) {
            return false;
        }
        let (words, ends) = self.order.sort_words(words, packing.low_bits());
        let second = |word: &u64| word >> packing.of_one_second();
        let (mut start, mut kept) = (0, 0);
        for end in ends {
            let end = *end as usize;
            let own = &mut words[start..end];
            let mut count = own.len();
            if own.windows(2).any(|two| second(&two[0]) == second(&two[1])) {
                for same in own.chunk_by_mut(|a, b| second(a) == second(b)) {
                    same.sort_unstable_by_key(|word| ranks(packing, *word, transactions));
                }
                let equal = own.windows(2).filter(|two| two[0] == two[1]).count();
                whole.cleaned.duplicates += equal as u64;
                if transactions.drop_duplicates && equal > 0 {
                    count = 1;
                    for at in 1..own.len() {
                        if own[at] != own[at - 1] {
                            own[count] = own[at];
                            count += 1;
                        }
                    }
                }
            }
            if start != kept {
                words.copy_within(start..start + count, kept);
            }
            let key = packing.key(base, words[kept] >> packing.low_bits());
            whole.customers.extend(repeat_n(self.customers.len() as i32, count));
            self.customers.push(Customer::of_key(key));
            start = end;
            kept += count;
        }
        whole.unpack(&words[..kept], packing, transactions);
        true
    }
}

/// The order of rows of one customer and second, as published.
fn ranks(packing: &Packing, word: u64, transactions: &Transactions) -> (u32, u32) {
    let row = packing.unpack(word);
    let channel = match row.channel {
        NO_CHANNEL => u32::MAX,
        code => transactions.channel_ranks[code as usize],
    };
    (transactions.package_ranks[row.package as usize], channel)
}

impl WholeCustomers {
    /// Appends the columns of words, one column after the other.
    fn unpack(&mut self, words: &[u64], packing: &Packing, transactions: &Transactions) {
        let rows = || words.iter().map(|word| packing.unpack(*word));
        self.seconds.extend(rows().map(|row| row.second));
        self.packages.extend(rows().map(|row| transactions.package_ranks[row.package as usize] as i32));
        self.channels.extend(rows().map(|row| match row.channel {
            NO_CHANNEL => -1,
            code => transactions.channel_ranks[code as usize] as i32,
        }));
        self.fill_in(transactions);
    }
}

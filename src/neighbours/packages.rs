//! What the candidates of a pool bought, for those who count it: most bought few packages, and these lie in half a
//! line of a cache, where no length has to be known to read them.

use crate::numerics::simd;

/// Packages in a row.
pub const FEW: usize = 8;
/// In the last place of a row: not a package but where the rest is.
const LONG: u32 = 1 << 31;

/// Lists of packages by rank. Memory: 32 bytes a list, 4 more for a long one and for each of its packages beyond the seventh.
pub struct PackageLists {
    /// Ranks are below.
    packages: u32,
    rows: Vec<Row>,
    /// Of each long list how many more packages it has, and these.
    rests: Vec<u32>,
}

/// Filled up with numbers from `packages` on, each place with its own: whoever adds to what the row names adds to nothing that
/// counts, and not to the same nothing every time.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Row([u32; FEW]);

impl PackageLists {
    /// No lists, of ranks below `packages`.
    pub fn new(packages: usize) -> Self {
        Self { packages: packages as u32, rows: Vec::new(), rests: Vec::new() }
    }

    pub fn push(&mut self, list: &[u32]) {
        let mut row = std::array::from_fn(|place| self.packages + place as u32);
        match list.len() {
            0..=FEW => row[..list.len()].copy_from_slice(list),
            _ => {
                let (first, rest) = list.split_at(FEW - 1);
                row[..FEW - 1].copy_from_slice(first);
                row[FEW - 1] = LONG | self.rests.len() as u32;
                self.rests.push(rest.len() as u32);
                self.rests.extend_from_slice(rest);
            }
        }
        self.rows.push(Row(row));
    }

    /// The packages of a list.
    pub fn of(&self, list: u32) -> impl Iterator<Item = u32> + '_ {
        let (first, rest) = self.row(list);
        first.iter().chain(rest).copied().filter(|package| *package < self.packages)
    }

    /// The first places of a list, and the rest of it. Up to [`FEW`] ranks from the number of all packages on may be
    /// among them, which are none.
    #[inline(always)]
    pub fn row(&self, list: u32) -> (&[u32; FEW - 1], &[u32]) {
        let [first @ .., last] = &self.rows[list as usize].0;
        match last & LONG {
            0 => (first, std::slice::from_ref(last)),
            _ => {
                let (count, rest) = (self.rests[(last & !LONG) as usize..]).split_at(1);
                (first, &rest[..count[0] as usize])
            }
        }
    }

    /// Asks for the rest of a list whose row is at hand; of a short one, for that of the first that has one, without a branch.
    #[inline(always)]
    pub fn expect_rest(&self, list: u32) {
        let last = self.rows[list as usize].0[FEW - 1];
        let at = if last & LONG == 0 { 0 } else { last & !LONG };
        if let Some(rest) = self.rests.get(at as usize) {
            simd::prefetch(rest);
        }
    }

    /// Asks for a list that is read soon.
    pub fn expect(&self, list: u32) {
        if let Some(row) = self.rows.get(list as usize) {
            simd::prefetch(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_whatever_their_length() {
        let mut lists = PackageLists::new(40);
        let all: Vec<Vec<u32>> =
            [0, 1, 7, 8, 9, 30].map(|length| (0..length).map(|at| at + 9).collect()).into();
        all.iter().for_each(|list| lists.push(list));
        for (at, list) in all.iter().enumerate() {
            assert_eq!(&lists.of(at as u32).collect::<Vec<_>>(), list);
            let (first, rest) = lists.row(at as u32);
            assert!(first.iter().chain(rest).all(|rank| *rank < 40 + FEW as u32));
            lists.expect(at as u32);
            lists.expect_rest(at as u32);
        }
        lists.expect(99);
    }
}

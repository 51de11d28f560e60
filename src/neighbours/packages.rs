//! What the candidates of a pool bought, for those who count it: most bought few packages, and these lie in half a
//! line of a cache, where no length has to be known to read them.

use crate::numerics::simd;

/// Packages in a row.
pub const FEW: usize = 8;
/// In the last place of a row: not a package but the number of a list, in which the rest is.
const LONG: u32 = 1 << 31;

/// Lists of packages by rank. Memory: 32 bytes a list, 4 more for each package beyond the seventh of a long one.
pub struct PackageLists {
    /// Ranks are below.
    packages: u32,
    rows: Vec<Row>,
    long: Vec<Box<[u32]>>,
}

/// Filled up with numbers from `packages` on, each place with its own: whoever adds to what the row names adds to nothing that
/// counts, and not to the same nothing every time.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Row([u32; FEW]);

impl PackageLists {
    /// No lists, of ranks below `packages`.
    pub fn new(packages: usize) -> Self {
        Self { packages: packages as u32, rows: Vec::new(), long: Vec::new() }
    }

    pub fn push(&mut self, list: &[u32]) {
        let mut row = std::array::from_fn(|place| self.packages + place as u32);
        match list.len() {
            0..=FEW => row[..list.len()].copy_from_slice(list),
            _ => {
                let (first, rest) = list.split_at(FEW - 1);
                row[..FEW - 1].copy_from_slice(first);
                row[FEW - 1] = LONG | self.long.len() as u32;
                self.long.push(rest.into());
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
            _ => (first, &self.long[(last & !LONG) as usize]),
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
        }
        lists.expect(99);
    }
}

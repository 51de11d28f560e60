//! Sparse rows, their transpose, and work divided into parts.

use std::convert::Infallible;

use crate::engine::workers::for_each;
use crate::evaluate::recommender::Sums;

/// Rows that a part has: small enough to even out long and short rows over the threads.
pub(super) const PART: usize = 64;

/// A sparse matrix by rows. 12 bytes an entry and 8 a row.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    width: usize,
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f64>,
}

impl Rows {
    /// No rows yet, of `width` columns.
    pub fn new(width: usize) -> Self {
        Self { width, offsets: vec![0], columns: Vec::new(), values: Vec::new() }
    }

    /// Adds the next row. Columns beyond the width have no place and are dropped.
    pub fn push(&mut self, entries: impl IntoIterator<Item = (u32, f64)>) {
        for (column, value) in entries {
            if (column as usize) < self.width {
                self.columns.push(column);
                self.values.push(value);
            }
        }
        self.offsets.push(self.columns.len());
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Entries of a row in the order they were pushed; none for a row that does not exist, which is
    /// what a package launched after the fit has.
    pub fn row(&self, row: usize) -> impl ExactSizeIterator<Item = (u32, f64)> + '_ {
        let range = match self.offsets.get(row..).and_then(|rest| rest.first_chunk::<2>()) {
            Some(&[start, end]) => start..end,
            None => 0..0,
        };
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// Rows become columns; the entries of each new row are in the order of the old rows.
    pub fn transpose(&self) -> Self {
        let mut offsets = vec![0usize; self.width + 1];
        for &column in &self.columns {
            offsets[column as usize + 1] += 1;
        }
        for column in 0..self.width {
            offsets[column + 1] += offsets[column];
        }
        let mut next = offsets.clone();
        let (mut columns, mut values) = (vec![0; self.columns.len()], vec![0.0; self.values.len()]);
        for row in 0..self.len() {
            for (column, value) in self.row(row) {
                let place = &mut next[column as usize];
                columns[*place] = row as u32;
                values[*place] = value;
                *place += 1;
            }
        }
        Self { width: self.len(), offsets, columns, values }
    }

    /// The dot products of `vector` with all columns that share a row with it: with the transpose of
    /// customers × packages, the customers who share a package. Cost: the entries of those rows.
    pub fn products(&self, vector: &[(u32, f64)], sums: &mut Sums) {
        sums.begin(self.width);
        for &(row, factor) in vector {
            for (column, value) in self.row(row as usize) {
                sums.add(column, factor * value);
            }
        }
    }
}

/// Adds `factor` times the entries to the scores. Packages that have no score add nothing.
pub(super) fn add_scaled(scores: &mut [f64], factor: f64, entries: impl Iterator<Item = (u32, f64)>) {
    for (package, value) in entries {
        if let Some(score) = scores.get_mut(package as usize) {
            *score += factor * value;
        }
    }
}

/// The results of `job` for every part, in the order of the parts. `state` makes the scratch memory
/// that a thread keeps between its parts.
pub(super) fn in_parts<S: Send, T: Send>(
    threads: usize,
    parts: usize,
    state: impl Fn() -> S + Sync,
    job: impl Fn(&mut S, usize) -> T + Sync,
) -> Vec<T> {
    let workers = for_each(
        threads,
        parts,
        || (state(), Vec::new()),
        |(scratch, done), part| {
            done.push((part, job(scratch, part)));
            Ok::<(), Infallible>(())
        },
    );
    let workers = match workers {
        Ok(workers) => workers,
        Err(never) => match never {},
    };
    let mut results: Vec<(usize, T)> = workers.into_iter().flat_map(|(_, done)| done).collect();
    results.sort_unstable_by_key(|&(part, _)| part);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_beyond_the_width_and_rows_beyond_the_last_are_none() {
        let mut rows = Rows::new(3);
        rows.push([(2, 1.0), (3, 9.0), (0, 2.0)]);
        assert_eq!(rows.row(0).collect::<Vec<_>>(), [(2, 1.0), (0, 2.0)]);
        assert_eq!((rows.len(), rows.width(), rows.row(1).len(), rows.row(usize::MAX).len()), (1, 3, 0, 0));
        let mut scores = [0.0; 2];
        add_scaled(&mut scores, 0.5, rows.row(0));
        assert_eq!(scores, [1.0, 0.0]);
    }

    #[test]
    fn parts_come_in_order_on_any_threads() {
        for threads in [1, 2, 5] {
            assert_eq!(
                in_parts(threads, 9, || 3, |state, part| part * *state),
                [0, 3, 6, 9, 12, 15, 18, 21, 24]
            );
        }
    }

    proptest! {
        #[test]
        fn products_are_dot_products_and_transposing_twice_changes_nothing(
            dense in prop::collection::vec(prop::collection::vec(0..3u8, 5), 0..8),
            vector in prop::collection::vec(0..3u8, 5),
        ) {
            let sparse = |row: &[u8]| {
                let held = row.iter().zip(0..).filter(|&(&value, _)| value > 0);
                held.map(|(&value, column)| (column, f64::from(value))).collect::<Vec<(u32, f64)>>()
            };
            let mut rows = Rows::new(5);
            dense.iter().for_each(|row| rows.push(sparse(row)));
            let back = rows.transpose().transpose();
            prop_assert_eq!((back.offsets, back.columns), (rows.offsets.clone(), rows.columns.clone()));
            prop_assert_eq!(&back.values, &rows.values);
            let mut sums = Sums::default();
            rows.transpose().products(&sparse(&vector), &mut sums);
            for (row, at) in dense.iter().zip(0..) {
                let dot = row.iter().zip(&vector).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                prop_assert_eq!(sums.get(at), dot);
            }
        }
    }
}

//! The places that have lists: k-means centroids in two layers, so that the one nearest to a query is found in two steps.

use crate::neighbours::cells::{assign, in_space, train};
use crate::neighbours::index::IndexError;
use crate::numerics::kmeans::{self, Options, Start};

/// k-means iterations for the heads of a ward.
const TRAINING_ITERATIONS: usize = 8;

/// Heads by ward. Memory: 4 bytes a dimension and head.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    dims: usize,
    /// Centroids of the sample, row-major.
    pub wards: Vec<f32>,
    /// Centroids of the sample's rows in each ward, row-major, ward by ward.
    pub rows: Vec<f32>,
    /// First head of each ward, and one past the last.
    pub firsts: Vec<usize>,
}

impl Heads {
    /// About as many heads as `wanted`, of each ward as its share of the row-major sample, one at least.
    pub fn train(
        sample: &[f32],
        dims: usize,
        wanted: usize,
        seed: u64,
        threads: usize,
    ) -> Result<Self, IndexError> {
        let count = sample.len() / dims;
        let wards = in_space(&train(sample, dims, wanted.isqrt(), seed, threads)?, dims);
        let (labels, _) = assign(sample, dims, &wards, threads);
        let mut own: Vec<Vec<f32>> = vec![Vec::new(); wards.len() / dims];
        for (ward, row) in labels.into_iter().zip(sample.chunks_exact(dims)) {
            own[ward as usize].extend_from_slice(row);
        }
        let (mut rows, mut firsts) = (Vec::new(), vec![0]);
        for (own, ward) in own.iter().zip(wards.chunks_exact(dims)) {
            let share = (own.len() / dims * wanted).div_ceil(count);
            if share == 0 {
                rows.extend_from_slice(ward);
            } else {
                let (start, max_iterations) = (Start::Rows, TRAINING_ITERATIONS);
                let options = Options { start, max_iterations, threads, ..Options::new(share, seed) };
                let model = kmeans::fit(own, dims, &options).map_err(IndexError::Training)?;
                rows.extend(in_space(&model.centroids, dims));
            }
            firsts.push(rows.len() / dims);
        }
        Ok(Self { dims, wards, rows, firsts })
    }

    pub fn len(&self) -> usize {
        self.rows.len() / self.dims
    }

    /// The heads of a ward, row-major.
    pub fn of_ward(&self, ward: usize) -> &[f32] {
        &self.rows[self.firsts[ward] * self.dims..self.firsts[ward + 1] * self.dims]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::conformance::customers;

    #[test]
    fn every_ward_has_heads_and_dense_ones_have_more() {
        let (dims, wanted) = (3, 60);
        // Half of the sample lies in one place.
        let mut sample = customers(400, dims, 1);
        sample.extend([50.0; 3].repeat(400));
        let heads = Heads::train(&sample, dims, wanted, 5, 2).expect("rows");
        let counts: Vec<usize> = heads.firsts.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert!((wanted..=wanted + counts.len()).contains(&heads.len()), "{}", heads.len());
        assert!(counts.iter().any(|count| *count >= wanted / 2), "{counts:?}");
        let all = (0..counts.len()).flat_map(|ward| heads.of_ward(ward).to_vec());
        assert!(all.eq(heads.rows.iter().copied()));
        assert_eq!(heads.rows, Heads::train(&sample, dims, wanted, 5, 1).expect("rows").rows);
    }
}

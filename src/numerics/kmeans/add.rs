//! Sums of rows by cluster.

use super::Prepared;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use crate::numerics::simd::{InstructionSet, Kernel, dispatch};
use std::cmp::Reverse;

/// Sums of eight columns.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Eight(pub [f64; 8]);

/// Counts, sums of coordinates (empty when not asked for) and inertia of some rows.
pub(super) struct Pass {
    pub counts: Vec<u64>,
    /// Cluster by cluster, each from eight columns of its own.
    sums: Vec<Eight>,
    pub inertia: f64,
}

impl Pass {
    pub fn empty(k: usize, dims: usize, with_sums: bool) -> Self {
        let eights = if with_sums { k * dims.div_ceil(8) } else { 0 };
        Self { counts: vec![0; k], sums: vec![Eight([0.0; 8]); eights], inertia: 0.0 }
    }

    /// Adds rows to their clusters.
    pub fn add(&mut self, rows: &[f32], dims: usize, labels: &[u32]) {
        for &label in labels {
            self.counts[label as usize] += 1;
        }
        if !self.sums.is_empty() {
            add(InstructionSet::detect(), rows, dims, labels, &mut self.sums);
        }
    }

    pub fn merge(&mut self, other: &Pass) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        let sums = self.sums.iter_mut().flat_map(|eight| &mut eight.0);
        sums.zip(other.sums.iter().flat_map(|eight| &eight.0)).for_each(|(a, b)| *a += b);
        self.inertia += other.inertia;
    }

    /// The means; a cluster that is still empty stays where it was.
    pub fn centroids(&self, before: &[f32], dims: usize) -> Vec<f32> {
        let mut centroids = before.to_vec();
        let sums = self.sums.chunks_exact(dims.div_ceil(8));
        let clusters = centroids.chunks_exact_mut(dims).zip(sums).zip(&self.counts);
        for ((centroid, sums), &count) in clusters.filter(|(_, count)| **count > 0) {
            let sums = sums.iter().flat_map(|eight| &eight.0);
            centroid.iter_mut().zip(sums).for_each(|(c, sum)| *c = (sum / count as f64) as f32);
        }
        centroids
    }
}

fn add(set: InstructionSet, rows: &[f32], dims: usize, labels: &[u32], sums: &mut [Eight]) {
    match set {
        // SAFETY: this value exists only where the instructions do.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { avx512::add(rows, dims, labels, sums) },
        set => dispatch(set, Add { rows, dims, labels, sums }),
    }
}

struct Add<'a> {
    rows: &'a [f32],
    dims: usize,
    labels: &'a [u32],
    sums: &'a mut [Eight],
}

impl Kernel for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let width = self.dims.div_ceil(8);
        for (row, &label) in self.rows.chunks_exact(self.dims).zip(self.labels) {
            let sums = self.sums[label as usize * width..][..width].iter_mut().flat_map(|eight| &mut eight.0);
            for (sum, &x) in sums.zip(row) {
                *sum += f64::from(x);
            }
        }
    }
}

/// Moves the rows farthest from their centroids into empty clusters, one each: of equals the first
/// row, never the last row of a cluster, never a row that already lies on its centroid.
pub(super) fn reseed(data: &Prepared, labels: &[u32], distances: &[f32], pass: &mut Pass) {
    let dims = data.dims;
    let empty: Vec<usize> = (0..pass.counts.len()).filter(|&c| pass.counts[c] == 0).collect();
    if empty.is_empty() {
        return;
    }
    let mut far: Vec<usize> = (0..labels.len()).filter(|&row| distances[row] > 0.0).collect();
    far.sort_by_key(|&row| Reverse(distances[row].to_bits()));
    let mut far = far.into_iter();
    for cluster in empty {
        let Some(row) = far.find(|&row| pass.counts[labels[row] as usize] > 1) else { return };
        let from = labels[row] as usize;
        pass.counts[from] -= 1;
        pass.counts[cluster] = 1;
        let width = dims.div_ceil(8);
        for (d, &x) in data.row(row).iter().enumerate() {
            pass.sums[from * width + d / 8].0[d % 8] -= f64::from(x);
            pass.sums[cluster * width + d / 8].0[d % 8] = f64::from(x);
        }
    }
}

/// Sums of rows by cluster, row-major, for tests.
#[cfg(test)]
pub(super) fn sums(set: InstructionSet, rows: &[f32], dims: usize, labels: &[u32], k: usize) -> Vec<f64> {
    let mut sums = vec![Eight([0.0; 8]); k * dims.div_ceil(8)];
    add(set, rows, dims, labels, &mut sums);
    let of = |own: &[Eight]| -> Vec<f64> { own.iter().flat_map(|eight| eight.0).take(dims).collect() };
    sums.chunks(dims.div_ceil(8)).flat_map(of).collect()
}

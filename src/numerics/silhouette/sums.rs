//! Clusters of a labelling, and distances added up by them.

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

use super::{ClusterSilhouette, Silhouette};
use crate::numerics::blocks::LANES;
use crate::numerics::simd::{self, Kernel};

/// Sixteens of distances that are added in f32 before the sums go to f64.
const FLUSH: usize = 32;

/// The rows cluster by cluster.
pub(super) struct Clusters {
    order: Vec<u32>,
    /// Label and number of rows, by ascending label.
    clusters: Vec<(u32, usize)>,
    /// The place of each row's cluster among them, infinitely high for what fills the last sixteen.
    own: Vec<[u32; LANES]>,
}

impl Clusters {
    pub fn new(labels: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        order.sort_by_key(|&row| labels[row as usize]);
        let mut own = vec![[u32::MAX; LANES]; labels.len().div_ceil(LANES)];
        let mut clusters = Vec::new();
        for rows in order.chunk_by(|&a, &b| labels[a as usize] == labels[b as usize]) {
            for &row in rows {
                own.as_flattened_mut()[row as usize] = clusters.len() as u32;
            }
            clusters.push((labels[rows[0] as usize], rows.len()));
        }
        Self { order, clusters, own }
    }

    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    /// The silhouettes of the sixteen rows of a block, from their distances to all rows (an array a row).
    pub fn values(&self, block: usize, tile: &[[f32; LANES]]) -> [f64; LANES] {
        let Nearest { own, other } = simd::widest(Means { clusters: self, own: &self.own[block], tile });
        let mut values = [0.0; LANES];
        for ((value, a), b) in values.iter_mut().zip(own).zip(other) {
            let larger = a.max(b);
            // Alone in its cluster (a is NaN), or all points in one place: 0 by definition.
            *value = if a.is_nan() || larger == 0.0 { 0.0 } else { (b - a) / larger };
        }
        values
    }

    /// Means over clusters and over all, added in the order of the clusters.
    pub fn summary(&self, value: impl Fn(usize) -> f64) -> Silhouette {
        let (mut rest, mut clusters) = (&self.order[..], Vec::with_capacity(self.clusters.len()));
        for &(label, count) in &self.clusters {
            let (rows, after) = rest.split_at(count);
            rest = after;
            let sum = rows.iter().map(|&row| value(row as usize)).sum::<f64>();
            clusters.push(ClusterSilhouette { label, count, mean: sum / count as f64 });
        }
        let sum = clusters.iter().map(|cluster| cluster.mean * cluster.count as f64).sum::<f64>();
        Silhouette { mean: sum / self.order.len() as f64, clusters }
    }
}

/// Of sixteen rows the mean distance to the others of their own cluster (NaN if there are none), and the least
/// mean distance to another one.
struct Nearest {
    own: [f64; LANES],
    other: [f64; LANES],
}

struct Means<'a> {
    clusters: &'a Clusters,
    own: &'a [u32; LANES],
    tile: &'a [[f32; LANES]],
}

impl Kernel for Means<'_> {
    type Output = Nearest;
    #[inline(always)]
    fn run(self) -> Nearest {
        let mut nearest = Nearest { own: [f64::NAN; LANES], other: [f64::INFINITY; LANES] };
        let mut rest = &self.clusters.order[..];
        for (place, &(_, count)) in self.clusters.clusters.iter().enumerate() {
            let (rows, after) = rest.split_at(count);
            rest = after;
            let sums = sums(self.tile, rows);
            let (all, others) = (count as f64, if count > 1 { (count - 1) as f64 } else { f64::NAN });
            for q in 0..LANES {
                let own = self.own[q] == place as u32;
                let mean = sums[q] / if own { others } else { all };
                nearest.own[q] = if own { mean } else { nearest.own[q] };
                nearest.other[q] = if !own && mean < nearest.other[q] { mean } else { nearest.other[q] };
            }
        }
        nearest
    }
}

/// The sums of the distances of some rows, for sixteen points at once. The rows are dealt to sixteen f32 sums,
/// those that fill no sixteen are added in f64.
#[inline(always)]
fn sums(tile: &[[f32; LANES]], rows: &[u32]) -> [f64; LANES] {
    let (sixteens, rest) = rows.as_chunks::<LANES>();
    let mut totals = [0.0f64; LANES];
    for stretch in sixteens.chunks(FLUSH) {
        let mut dealt = [[0.0f32; LANES]; LANES];
        for rows in stretch {
            for place in 0..LANES {
                let distances = &tile[rows[place] as usize];
                for q in 0..LANES {
                    dealt[place][q] += distances[q];
                }
            }
        }
        add(&mut totals, dealt.iter());
    }
    add(&mut totals, rest.iter().map(|&row| &tile[row as usize]));
    totals
}

#[inline(always)]
fn add<'a>(totals: &mut [f64; LANES], distances: impl Iterator<Item = &'a [f32; LANES]>) {
    let mut sums = [0.0f64; LANES];
    for distances in distances {
        for q in 0..LANES {
            sums[q] += f64::from(distances[q]);
        }
    }
    for q in 0..LANES {
        totals[q] += sums[q];
    }
}

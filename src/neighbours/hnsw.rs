//! Search in a navigable graph (HNSW; Malkov and Yashunin 2018), by hnsw_rs behind our interface.
//!
//! For single lookups in large pools; for batches cells are faster by far at equal recall, above all
//! when the queries come from elsewhere than the pool. What hnsw_rs 0.3.5 does that must not reach a
//! user is kept out here: it panics on NaN, takes queries of a wrong dimension in silence and ends the
//! process for more than 256 connections (so inputs are checked first); its parallel build differs from
//! run to run (so points go in one by one, in order, and two builds are equal); copies of a vector can
//! cut each other off (so a query that found too few neighbours is answered exactly); reading its dumps
//! back is undefined behaviour on foreign bytes (so they are never read: rebuild). Its distances only
//! steer: what is returned has the distances of our kernel and their order.

use super::exact::{positions_of, scan_all};
use super::graph::{GraphOptions, WIDEST};
use super::index::{
    IndexError, NeighbourIndex, Neighbours, SearchError, Tunable, check_points, check_queries,
};
use super::nearest::Nearest;
use crate::numerics::blocks::Blocks;
use hnsw_rs::anndists::dist::distances::Distance;

/// hnsw_rs keeps sixteen layers at most.
const LAYERS: usize = 16;

/// A pool as a graph.
pub struct Hnsw {
    graph: hnsw_rs::hnsw::Hnsw<'static, f32, Steering>,
    points: Blocks,
    width: usize,
}

impl Hnsw {
    /// Links row-major points of `dims` columns, in order, on this thread; searches with a width of 64
    /// until told otherwise. Cost: 0.5 ms a point at 200,000 × 16; memory some 2 KB a point.
    pub fn build(points: &[f32], dims: usize, options: GraphOptions) -> Result<Self, IndexError> {
        let n = check_points(points, dims)?;
        options.check()?;
        let GraphOptions { connections, build_width } = options;
        let graph = hnsw_rs::hnsw::Hnsw::new(connections, n, LAYERS, build_width, Steering);
        for (position, point) in points.chunks_exact(dims).enumerate() {
            graph.insert_slice((point, position));
        }
        Ok(Self { graph, points: Blocks::from_rows(points, dims), width: 64 })
    }
}

impl Tunable for Hnsw {
    fn effort(&self) -> usize {
        self.width
    }

    fn set_effort(&mut self, width: usize) {
        self.width = width.clamp(1, self.most_effort());
    }

    fn most_effort(&self) -> usize {
        self.len().min(WIDEST)
    }
}

impl NeighbourIndex for Hnsw {
    fn len(&self) -> usize {
        self.points.slots()
    }

    fn dims(&self) -> usize {
        self.points.dims()
    }

    fn search(
        &self,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        out: &mut Neighbours,
    ) -> Result<(), SearchError> {
        let dims = self.dims();
        check_queries(queries, dims, k, exclude)?;
        out.begin(k);
        // One more than asked, in case that the excluded point is among them.
        let asked = k.saturating_add(usize::from(exclude.is_some())).min(self.len());
        for (index, query) in queries.chunks_exact(dims).enumerate() {
            let exclude = exclude.map(|all| &all[index..=index]);
            let mut best = Nearest::new(1, k, exclude);
            for found in self.graph.search(query, asked, self.width) {
                let distance = self.points.distance(query, found.d_id);
                best.offer(0, found.d_id as u32, distance);
            }
            if !best.is_full(0, self.len()) {
                best = Nearest::new(1, k, exclude);
                scan_all(&self.points, &positions_of(&self.points), query, &mut best);
            }
            out.extend(&mut best);
        }
        Ok(())
    }
}

/// The squared distance that steers the graph: eight plain sums, so that graphs are equal on every
/// machine and the compiler can use whatever vectors the target has.
#[derive(Clone, Copy, Default)]
struct Steering;

impl Distance<f32> for Steering {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        let mut sums = [0.0f32; 8];
        for (a, b) in a.iter().zip(b) {
            for i in 0..8 {
                sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
            }
        }
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
        sums.iter().sum::<f32>() + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_cut_each_other_off_are_still_found() {
        let points = [1.0f32, 2.0].repeat(300);
        let index = Hnsw::build(&points, 2, GraphOptions::default()).expect("points");
        let mut out = Neighbours::new();
        index.search(&[1.0, 2.0], 200, Some(&[0]), &mut out).expect("query");
        assert_eq!(out.of(0).0.len(), 200);
    }
}

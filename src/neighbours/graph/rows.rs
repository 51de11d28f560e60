//! Points side by side, padded to whole registers.

use super::key_of;
use crate::numerics::blocks::LANES;
use crate::numerics::pages::in_huge_pages;
use crate::numerics::simd::prefetch;

/// Nodes whose distances are computed together.
const TOGETHER: usize = 8;

/// Sixteen dimensions of one point.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Lane([f32; LANES]);

/// Points of `dims` dimensions, 64 bytes each 16 dimensions.
pub struct Rows {
    /// Lanes a point.
    width: usize,
    lanes: Vec<Lane>,
}

impl Rows {
    /// The rows that `order` names.
    pub fn gather(points: &[f32], dims: usize, order: impl ExactSizeIterator<Item = u32>) -> Self {
        let width = dims.div_ceil(LANES);
        let mut rows = Self { width, lanes: in_huge_pages(order.len() * width) };
        let mut lanes = Vec::new();
        for row in order {
            rows.pad(&points[row as usize * dims..][..dims], &mut lanes);
            rows.lanes.extend_from_slice(&lanes);
        }
        rows
    }

    pub fn len(&self) -> usize {
        self.lanes.len() / self.width
    }

    /// A query as a row: zeros after its dimensions.
    pub fn pad(&self, query: &[f32], out: &mut Vec<Lane>) {
        out.clear();
        out.resize(self.width, Lane([0.0; LANES]));
        for (lane, values) in out.iter_mut().zip(query.chunks(LANES)) {
            lane.0[..values.len()].copy_from_slice(values);
        }
    }

    #[inline(always)]
    pub fn of(&self, node: usize) -> &[Lane] {
        &self.lanes[node * self.width..][..self.width]
    }

    /// Asks for a point that is read soon.
    #[inline(always)]
    pub fn prefetch(&self, node: usize) {
        self.of(node).iter().for_each(prefetch);
    }

    /// Adds the keys of nodes, by the distance that steers. Loops and not iterators: a closure would be
    /// compiled without the instructions of the kernel around it.
    #[inline(always)]
    pub fn keys(&self, query: &[Lane], nodes: &[u32], keys: &mut Vec<u64>) {
        let mut sums = [Lane([0.0; LANES]); TOGETHER];
        for nodes in nodes.chunks(TOGETHER) {
            self.sums(query, nodes, &mut sums);
            for (node, sums) in nodes.iter().zip(&sums) {
                keys.push(key_of(sums.total(), *node));
            }
        }
    }

    /// The sums of a few nodes. They go through memory: added up at once, they were computed in pieces of
    /// two to four lanes, with whatever instructions.
    #[inline(always)]
    fn sums(&self, query: &[Lane], nodes: &[u32], sums: &mut [Lane; TOGETHER]) {
        for (node, sums) in nodes.iter().zip(sums) {
            *sums = squares(query, self.of(*node as usize));
        }
    }

    /// The squared distance as all indexes return it: one chain over the dimensions.
    #[inline(always)]
    pub fn distance(&self, query: &[f32], node: usize) -> f32 {
        let mut sum = 0.0f32;
        for (lane, query) in self.of(node).iter().zip(query.chunks(LANES)) {
            for (x, q) in lane.0.iter().zip(query) {
                sum = (x - q).mul_add(x - q, sum);
            }
        }
        sum
    }
}

/// The squared distance that steers, of one pair.
#[inline(always)]
pub fn between(a: &[Lane], b: &[Lane]) -> f32 {
    squares(a, b).total()
}

/// Sixteen sums of squares side by side.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "three arrays by one constant range, as in numerics/blocks.rs"
)]
fn squares(a: &[Lane], b: &[Lane]) -> Lane {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let apart = a.0[lane] - b.0[lane];
            sums[lane] = apart.mul_add(apart, sums[lane]);
        }
    }
    Lane(sums)
}

impl Lane {
    /// The sum, in a fixed tree, so that it has the same bits with all instructions.
    #[inline(always)]
    fn total(&self) -> f32 {
        let eight: [f32; 8] = std::array::from_fn(|at| self.0[at] + self.0[at + 8]);
        let four: [f32; 4] = std::array::from_fn(|at| eight[at] + eight[at + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}

//! Points side by side, padded to whole registers.

use super::key_of;
use crate::numerics::blocks::LANES;

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
        let mut rows = Self { width, lanes: Vec::with_capacity(order.len() * width) };
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

    /// The squared distance that steers: sixteen sums side by side, added up in a fixed tree, so that it
    /// has the same bits with all instructions.
    #[inline(always)]
    pub fn steer(&self, query: &[Lane], node: usize) -> f32 {
        between(query, self.of(node))
    }

    /// Adds the keys of nodes, by the distance that steers. A loop and not an iterator: a closure would be
    /// compiled without the instructions of the kernel around it.
    #[inline(always)]
    pub fn keys(&self, query: &[Lane], nodes: &[u32], keys: &mut Vec<u64>) {
        for node in nodes {
            keys.push(key_of(self.steer(query, *node as usize), *node));
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

/// The sum over sixteen lanes side by side.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "three arrays by one constant range, as in numerics/blocks.rs"
)]
pub fn between(a: &[Lane], b: &[Lane]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let apart = a.0[lane] - b.0[lane];
            sums[lane] = apart.mul_add(apart, sums[lane]);
        }
    }
    let eight: [f32; 8] = std::array::from_fn(|at| sums[at] + sums[at + 8]);
    let four: [f32; 4] = std::array::from_fn(|at| eight[at] + eight[at + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

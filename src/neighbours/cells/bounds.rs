//! How near a point of a cell can be at the least, before any of it is looked at.
//!
//! For two centroids n and i the difference |x − c_i|² − |x − c_n|² is linear in x and changes by at most 2 |c_i − c_n| a
//! unit of length. If no point of cell i has more than `lead` of it, then every point of the cell is at least
//!
//! ```text
//! (|q − c_i|² − |q − c_n|² − lead) / 2 |c_i − c_n|
//! ```
//!
//! from the query q. With a lead of 0, which every cell has by its definition, this is the distance of q from the plane
//! half-way, the bound of an inverted file; but cells hardly ever reach that plane except to their next neighbours, and leads are
//! measured. It took the cells that exact search has to scan from 346 to 255 of 447 (a mixture of Gaussians × 16) and from
//! 112 to 65 (customers × 32).

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

use super::{above, slack};
use crate::numerics::blocks::{Blocks, LANES};
use crate::numerics::coarse::ranks::Within;
use crate::numerics::simd::{Kernel, widest};

/// Squares from here on could overflow in a bound, which then says nothing.
const LARGE: f32 = 1e36;

/// Of all pairs of cells what the bound needs. Memory: 8 × cells² bytes.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    dims: usize,
    /// Blocks of cells a row.
    blocks: usize,
    /// Row n, lane i: at least the lead of cell i's points.
    leads: Vec<[f32; LANES]>,
    /// At most 1 / 2 |c_i − c_n|; 0 where the bound would say nothing.
    inverses: Vec<[f32; LANES]>,
}

impl Bounds {
    /// Of points cell by cell, `firsts[i]..firsts[i + 1]` the blocks of cell i, farthest point from the centroid first. Cost: points × cells
    /// distances. The same bits on any number of threads.
    pub fn build(points: &Blocks, firsts: &[usize], centroids: &Blocks, threads: usize) -> Self {
        let (dims, cells, blocks) = (points.dims(), firsts.len() - 1, centroids.blocks());
        let mut leads = vec![[0.0; LANES]; cells * blocks];
        let mut inverses = vec![[f32::INFINITY; LANES]; cells * blocks];
        // Measured by columns: one cell against all centroids.
        let part = cells.div_ceil(threads.max(1));
        let measure = |cell: usize| leads_of(points, firsts[cell]..firsts[cell + 1], centroids, cell);
        let run = |first: usize| (first..(first + part).min(cells)).flat_map(measure).collect();
        let columns: Vec<Vec<f32>> = std::thread::scope(|scope| {
            let handles: Vec<_> =
                (0..cells).step_by(part).map(|first| scope.spawn(move || run(first))).collect();
            let joined = handles.into_iter().map(|handle| handle.join());
            joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        for (cell, column) in columns.iter().flat_map(|part| part.chunks_exact(cells)).enumerate() {
            for (row, lead) in column.iter().enumerate() {
                leads[row * blocks + cell / LANES][cell % LANES] = *lead;
            }
        }
        let (mut centroid, mut squares) = (vec![0.0; dims], vec![0.0; blocks * LANES]);
        for row in 0..cells {
            centroids.copy_point(row, &mut centroid);
            centroids.distances(&centroid, 0..blocks, &mut squares);
            for (cell, square) in squares[..cells].iter().enumerate() {
                let inverse = (0.5 / above(*square, dims).sqrt() * (1.0 - slack(dims))) as f32;
                let lead = leads[row * blocks + cell / LANES][cell % LANES];
                let is_known = *square > 0.0 && *square < LARGE && lead.is_finite();
                inverses[row * blocks + cell / LANES][cell % LANES] =
                    if is_known { inverse.next_down() } else { 0.0 };
            }
        }
        Self { dims, blocks, leads, inverses }
    }

    /// For every cell a lower bound of its points' distances from a query, given the squares of the query's distances from all
    /// centroids and one of the cells, best the nearest; infinite behind the last cell. The same bits with all instructions.
    pub fn gaps(&self, squares: &[[f32; LANES]], nearest: usize, gaps: &mut [[f32; LANES]]) {
        let Within { leads, inverses } = self.row(nearest);
        let near = self.near(squares[nearest / LANES][nearest % LANES]);
        widest(Gaps { squares, near, shrink: self.shrink(), leads, inverses, gaps });
    }

    /// The same bounds of some pairs of query and cell: `squares` of the query's distances from the cell's centroid; of each pair
    /// the square of its distance from another centroid, best the nearest, that one's cell and the pair's.
    pub fn gaps_of(
        &self,
        squares: &[f32],
        pairs: impl Iterator<Item = (f32, usize, usize)>,
        gaps: &mut Vec<f32>,
    ) {
        gaps.clear();
        let (mut some, mut count) = ([[0.0; LANES]; 3], 0);
        let mut put = |some: &[[f32; LANES]; 3], count: usize| {
            let first = gaps.len();
            let mut sixteen = [0.0; LANES];
            sixteen[..count].copy_from_slice(&squares[first..first + count]);
            let [nears, leads, inverses] = some;
            let pairs = widest(PairGaps { squares: &sixteen, nears, shrink: self.shrink(), leads, inverses });
            gaps.extend_from_slice(&pairs[..count]);
        };
        for (square, nearest, cell) in pairs {
            let Within { leads, inverses } = self.row(nearest);
            some[0][count] = self.near(square);
            some[1][count] = leads[cell / LANES][cell % LANES];
            some[2][count] = inverses[cell / LANES][cell % LANES];
            count += 1;
            if count == LANES {
                put(&some, count);
                count = 0;
            }
        }
        put(&some, count);
    }

    /// Leads and inverses of all cells, seen from one.
    pub fn row(&self, nearest: usize) -> Within<'_> {
        let row = nearest * self.blocks..(nearest + 1) * self.blocks;
        Within { leads: &self.leads[row.clone()], inverses: &self.inverses[row] }
    }

    /// Not below the square of a distance, of the square as computed.
    pub fn near(&self, square: f32) -> f32 {
        let near = if square < LARGE { above(square, self.dims) as f32 } else { f32::INFINITY };
        near.next_up()
    }

    fn shrink(&self) -> f32 {
        (1.0 - 2.0 * slack(self.dims)) as f32
    }
}

/// For all centroids the greatest lead of some blocks of points over their own.
fn leads_of(points: &Blocks, blocks: std::ops::Range<usize>, centroids: &Blocks, own: usize) -> Vec<f32> {
    let dims = points.dims();
    let mut rows = vec![0.0; centroids.slots() * dims];
    for (slot, row) in rows.chunks_exact_mut(dims).enumerate() {
        centroids.copy_point(slot, row);
    }
    let mut distances: [Vec<[f32; LANES]>; 4] = std::array::from_fn(|_| vec![[0.0; LANES]; blocks.len()]);
    let mut owns = vec![[0.0; LANES]; blocks.len()];
    points.distances_of([&rows[own * dims..][..dims]], blocks.clone(), [&mut owns]);
    for square in owns.as_flattened_mut() {
        // Of a vacant slot no lead, whatever is taken from it.
        let is_vacant = *square == f32::INFINITY;
        *square = if is_vacant { f32::NEG_INFINITY } else { (above(*square, dims) as f32).next_up() };
    }
    let shrink = (1.0 - 2.0 * slack(dims)) as f32;
    let mut leads = Vec::with_capacity(centroids.slots());
    for four in rows.chunks(4 * dims) {
        let some: [&[f32]; 4] =
            std::array::from_fn(|q| four.get(q * dims..(q + 1) * dims).unwrap_or(&four[..dims]));
        points.distances_of(some, blocks.clone(), distances.each_mut().map(|out| &mut out[..]));
        for distances in &distances[..four.len() / dims] {
            let lead = widest(Lead { owns: &owns, squares: distances, shrink });
            leads.push(lead + lead.abs() * (slack(dims) as f32) + f32::MIN_POSITIVE);
        }
    }
    leads
}

struct Lead<'a> {
    owns: &'a [[f32; LANES]],
    squares: &'a [[f32; LANES]],
    shrink: f32,
}

impl Kernel for Lead<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let mut most = [f32::NEG_INFINITY; LANES];
        for (own, square) in self.owns.iter().zip(self.squares) {
            for lane in 0..LANES {
                let lead = (-square[lane]).mul_add(self.shrink, own[lane]);
                most[lane] = if lead > most[lane] { lead } else { most[lane] };
            }
        }
        most.iter().fold(f32::NEG_INFINITY, |most, lead| most.max(*lead))
    }
}

struct Gaps<'a> {
    squares: &'a [[f32; LANES]],
    near: f32,
    shrink: f32,
    leads: &'a [[f32; LANES]],
    inverses: &'a [[f32; LANES]],
    gaps: &'a mut [[f32; LANES]],
}

impl Kernel for Gaps<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { squares, near, shrink, leads, inverses, gaps } = self;
        // Flat: of arrays of sixteen the compiler takes the same lane of several together, by gathers.
        let pairs = leads.as_flattened().iter().zip(inverses.as_flattened());
        let cells = squares.as_flattened().iter().zip(pairs);
        for (gap, (square, (lead, inverse))) in gaps.as_flattened_mut().iter_mut().zip(cells) {
            *gap = gap_of(*square, near, shrink, *lead, *inverse);
        }
    }
}

/// The gaps of sixteen pairs, each with a near centroid of its own.
struct PairGaps<'a> {
    squares: &'a [f32; LANES],
    nears: &'a [f32; LANES],
    shrink: f32,
    leads: &'a [f32; LANES],
    inverses: &'a [f32; LANES],
}

impl Kernel for PairGaps<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run(self) -> [f32; LANES] {
        let Self { squares, nears, shrink, leads, inverses } = self;
        let mut gaps = [0.0; LANES];
        for lane in 0..LANES {
            gaps[lane] = gap_of(squares[lane], nears[lane], shrink, leads[lane], inverses[lane]);
        }
        gaps
    }
}

#[inline(always)]
fn gap_of(square: f32, near: f32, shrink: f32, lead: f32, inverse: f32) -> f32 {
    let least = (square.mul_add(shrink, -near) - lead) * inverse;
    // What is not a number says nothing.
    if least > 0.0 { least } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::cells::Cells;
    use crate::neighbours::conformance::customers;
    use crate::numerics::blocks::VACANT;

    fn apart(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
    }

    /// Of queries and all cells the sums of the bounds, of those by planes, and of the least distances.
    fn sums(dims: usize, scale: f32, offset: f32) -> [f64; 3] {
        let place = |rows: Vec<f32>| -> Vec<f32> { rows.into_iter().map(|x| x * scale + offset).collect() };
        let (points, queries) = (place(customers(3000, dims, 1)), place(customers(40, dims, 2)));
        let cells = Cells::build(&points, dims, Some(40), 3, 2).expect("points");
        let blocks = cells.centroids.blocks();
        let mut sums = [0.0; 3];
        for query in queries.chunks_exact(dims) {
            let (mut squares, mut gaps) = (vec![[0.0; LANES]; blocks], vec![[0.0; LANES]; blocks]);
            cells.centroids.distances_of([query], 0..blocks, [&mut squares]);
            let squares_of = |cell: &usize| squares.as_flattened()[*cell];
            let nearest =
                (0..cells.cells()).min_by(|a, b| squares_of(a).total_cmp(&squares_of(b))).expect("cells");
            for from in [nearest, cells.cells() / 2] {
                cells.bounds.gaps(&squares, from, &mut gaps);
                assert!(
                    gaps.as_flattened()[cells.cells()..]
                        .iter()
                        .all(|gap| *gap == f32::INFINITY || scale > 1e15)
                );
                for cell in 0..cells.cells() {
                    let slots = cells.firsts[cell] * LANES..cells.firsts[cell + 1] * LANES;
                    let positions = cells.positions[slots].iter().filter(|position| **position != VACANT);
                    let distances = positions.map(|at| apart(query, &points[*at as usize * dims..][..dims]));
                    let least = distances.fold(f64::INFINITY, f64::min);
                    let gap = f64::from(gaps.as_flattened()[cell]);
                    assert!(gap <= least, "{dims} dimensions, {scale}, {offset}: {gap} > {least}");
                    if from == nearest {
                        let middle = |cell: usize| &cells.middles[cell * dims..][..dims];
                        let (near, far) = (apart(query, middle(from)), apart(query, middle(cell)));
                        let plane = (far * far - near * near) / 2.0 / apart(middle(from), middle(cell));
                        sums[0] += gap;
                        sums[1] += if cell == from { 0.0 } else { plane };
                        sums[2] += least;
                    }
                }
            }
        }
        sums
    }

    #[test]
    fn no_point_is_nearer_and_planes_say_less() {
        for dims in [1, 2, 6, 17] {
            let [bounds, planes, least] = sums(dims, 1.0, 0.0);
            assert!(bounds > planes * 1.05 && bounds < least, "{dims}: {planes} {bounds} {least}");
        }
    }

    #[test]
    fn rounding_makes_no_bound_too_large() {
        for (scale, offset) in
            [(1.0, 1e5), (1e-3, 1e4), (1e-22, 0.0), (1e-38, 0.0), (1e17, 0.0), (1e19, 0.0), (1e30, 0.0)]
        {
            [1, 5, 40].into_iter().for_each(|dims| {
                sums(dims, scale, offset);
            });
        }
    }
}

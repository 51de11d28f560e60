//! Dense symmetric positive definite systems: A = L·Lᵀ, solutions and the inverse, for a few thousand
//! unknowns.
//!
//! Blocked and left-looking (Golub & Van Loan, *Matrix Computations*, 4th ed., 2013, sections 4.2.9 and
//! 4.2.6). The factor is kept in panels of 64 columns, and a panel in tiles of four rows, so that all work
//! of order n³ is one small kernel over contiguous arrays of four. Every entry is a sum over k in one fixed
//! order, whichever thread computes it and whichever other entries it computes: threads do not show in the
//! bits. Multiplication and addition are rounded apart, so neither do the vector instructions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

/// Rows of a tile and columns of a right-hand side that are worked on together.
const LANES: usize = 4;

/// Columns of a panel: 64 × 64 entries are 32 KiB, what a first-level cache holds.
const PANEL: usize = 64;

/// Columns of right-hand sides that a thread takes at once.
const STRIP: usize = 64;

/// Four entries of one column of the factor, or of one row of right-hand sides.
type Four = [f64; LANES];

/// Why a matrix has no factor here.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CholeskyError {
    #[error("a matrix of order {order} has {} entries, not {entries}", order.saturating_mul(*order))]
    Shape { entries: usize, order: usize },
    #[error(
        "the matrix is not positive definite: {value} is left of its diagonal entry {pivot} ({entry}), \
         where more than rounding has to be left"
    )]
    NotPositiveDefinite { pivot: usize, value: f64, entry: f64 },
}

/// The lower factor L of a symmetric positive definite matrix. Memory: 4·n² bytes, half of the matrix.
#[derive(Debug, Clone)]
pub struct Cholesky {
    order: usize,
    panels: Vec<Panel>,
}

/// The columns of L from `first` on, at most [`PANEL`] of them, from their diagonal down. `first` is a
/// multiple of [`PANEL`]. Rows and columns are padded to multiples of four as if the matrix went on as the
/// identity.
#[derive(Debug, Clone)]
struct Panel {
    first: usize,
    width: usize,
    /// Tile t holds the rows `first + 4t..`: for every column its four entries.
    tiles: Vec<Four>,
}

impl Cholesky {
    /// Factors the symmetric n×n matrix given row by row, of which only the lower triangle is read.
    ///
    /// Cost: n³/3 operations on `threads` threads; the matrix and half as much again while it runs.
    ///
    /// # Errors
    /// The wrong number of entries, or a pivot that is not positive and finite: not above n·ε times the
    /// diagonal entry that it is left of, where it is nothing but rounding. A NaN in the lower triangle
    /// shows as the pivot of its row.
    pub fn factor(matrix: Vec<f64>, n: usize, threads: usize) -> Result<Self, CholeskyError> {
        if n.checked_mul(n) != Some(matrix.len()) {
            return Err(CholeskyError::Shape { entries: matrix.len(), order: n });
        }
        let mut panels: Vec<Panel> = Vec::with_capacity(n.div_ceil(PANEL));
        for first in (0..n).step_by(PANEL) {
            let mut panel = Panel::load(&matrix, n, first);
            panel.subtract(&panels, threads);
            panel.factor_diagonal(&matrix, n)?;
            panel.solve_below(threads);
            panels.push(panel);
        }
        Ok(Self { order: n, panels })
    }

    /// Replaces the right-hand sides B (n×`columns`, row-major) by the solution X of A·X = B.
    ///
    /// Cost: 2·n²·`columns` operations on `threads` threads; 512·n bytes for each thread.
    ///
    /// # Panics
    /// When `rhs` has not n × `columns` entries.
    pub fn solve_many(&self, rhs: &mut [f64], columns: usize, threads: usize) {
        assert_eq!(rhs.len(), self.order * columns, "entries of {} × {columns} right-hand sides", self.order);
        let shared = Mutex::new(rhs);
        share((0..columns).step_by(STRIP), threads, |at| {
            let mut strip = Strip::new(self.order, STRIP.min(columns - at));
            for (row, values) in lock(&shared).chunks_exact(columns).enumerate() {
                strip.set_row(row, &values[at..at + strip.columns]);
            }
            self.forward(&mut strip, 0);
            self.backward(&mut strip, 0);
            for (row, values) in lock(&shared).chunks_exact_mut(columns).enumerate() {
                strip.get_row(row, &mut values[at..at + strip.columns]);
            }
        });
    }

    /// The inverse of A, n×n and symmetric to the last bit.
    ///
    /// Cost: 2/3·n³ operations on `threads` threads, as only the lower triangle is solved for; 8·n² bytes
    /// for the result while the factor is still there, 512·n bytes for each thread.
    pub fn inverse(self, threads: usize) -> Vec<f64> {
        let n = self.order;
        let mut inverse = vec![0.0; n * n];
        let bands = inverse.chunks_mut((PANEL * n).max(1)).enumerate();
        share(bands, threads, |(panel, band): (usize, &mut [f64])| {
            let first = panel * PANEL;
            let mut strip = Strip::new(n, band.len() / n);
            for at in 0..strip.columns {
                strip.set(first + at, at, 1.0);
            }
            self.forward(&mut strip, panel);
            self.backward(&mut strip, panel);
            for (at, row) in band.chunks_exact_mut(n).enumerate() {
                for (other, value) in row.iter_mut().enumerate().skip(first + at) {
                    *value = strip.get(other, at);
                }
            }
        });
        mirror(&mut inverse, n);
        inverse
    }

    /// L·Y = B in place, for a B whose rows above panel `from` are zero.
    fn forward(&self, strip: &mut Strip, from: usize) {
        for (at, panel) in self.panels.iter().enumerate().skip(from) {
            for earlier in &self.panels[from..at] {
                let tiles = earlier.tiles(panel.first, panel.width);
                for column in strip.fours() {
                    let (known, rows) = column.split_at_mut(panel.first);
                    let known = &known[earlier.first..][..earlier.width];
                    for (tile, rows) in tiles.chunks_exact(earlier.width).zip(rows.as_chunks_mut().0) {
                        minus(rows, &product(known, tile));
                    }
                }
            }
            for column in strip.fours() {
                solve_lower(panel.diagonal(), &mut column[panel.first..][..panel.width]);
            }
        }
    }

    /// Lᵀ·X = Y in place, for the rows of X from panel `to` on.
    fn backward(&self, strip: &mut Strip, to: usize) {
        for (at, panel) in self.panels.iter().enumerate().skip(to).rev() {
            for later in &self.panels[at + 1..] {
                let tiles = panel.tiles(later.first, later.width);
                for column in strip.fours() {
                    let (rows, known) = column.split_at_mut(later.first);
                    let (known, _) = known[..later.width].as_chunks();
                    for (four, rows) in
                        rows[panel.first..].as_chunks_mut().0.iter_mut().take(panel.width / LANES).enumerate()
                    {
                        minus(rows, &product_transposed(known, tiles, panel.width, four));
                    }
                }
            }
            for column in strip.fours() {
                solve_upper(panel.diagonal(), &mut column[panel.first..][..panel.width]);
            }
        }
    }
}

impl Panel {
    /// The entries of the matrix, before anything is done to them.
    fn load(matrix: &[f64], n: usize, first: usize) -> Self {
        let rows = (n - first).next_multiple_of(LANES);
        let width = PANEL.min(rows);
        let mut tiles = vec![[0.0; LANES]; rows / LANES * width];
        for row in 0..rows {
            let tile = &mut tiles[row / LANES * width..][..width];
            if first + row < n {
                let entries = &matrix[(first + row) * n + first..][..width.min(row + 1)];
                tile.iter_mut().zip(entries).for_each(|(four, &entry)| four[row % LANES] = entry);
            } else if row < width {
                tile[row][row % LANES] = 1.0;
            }
        }
        Self { first, width, tiles }
    }

    /// The tiles of `count` rows from row `row` of the matrix on.
    fn tiles(&self, row: usize, count: usize) -> &[Four] {
        &self.tiles[(row - self.first) / LANES * self.width..][..count / LANES * self.width]
    }

    /// The square on the diagonal.
    fn diagonal(&self) -> &[Four] {
        self.tiles(self.first, self.width)
    }

    /// Subtracts what the panels to the left have explained.
    fn subtract(&mut self, done: &[Self], threads: usize) {
        let (first, width) = (self.first, self.width);
        let bands = self.tiles.chunks_mut(PANEL / LANES * width).enumerate();
        share(bands, threads, |(band, own): (usize, &mut [Four])| {
            let rows = own.len() / width * LANES;
            for panel in done {
                let left = panel.tiles(first + band * PANEL, rows);
                let top = panel.tiles(first, width);
                for (four, top) in top.chunks_exact(panel.width).enumerate() {
                    for (own, left) in own.chunks_exact_mut(width).zip(left.chunks_exact(panel.width)) {
                        let (fours, _) = own.as_chunks_mut();
                        minus(&mut fours[four], &product(left, top));
                    }
                }
            }
        });
    }

    /// The factor of the square on the diagonal, in place.
    fn factor_diagonal(&mut self, matrix: &[f64], n: usize) -> Result<(), CholeskyError> {
        let (first, width) = (self.first, self.width);
        for at in 0..width {
            let (own, lane) = (at / LANES * width + at, at % LANES);
            let value = self.tiles[own][lane];
            let entry = matrix.get((first + at) * (n + 1)).copied().unwrap_or(1.0);
            let least = n as f64 * f64::EPSILON * entry;
            if !(value > least.max(0.0) && value.is_finite()) {
                return Err(CholeskyError::NotPositiveDefinite { pivot: first + at, value, entry });
            }
            let root = value.sqrt();
            for tile in at / LANES..width / LANES {
                self.tiles[tile * width + at].iter_mut().for_each(|entry| *entry /= root);
            }
            for column in at + 1..width {
                let factor = self.tiles[column / LANES * width + at][column % LANES];
                for tile in column / LANES..width / LANES {
                    let left = self.tiles[tile * width + at];
                    let right = &mut self.tiles[tile * width + column];
                    right.iter_mut().zip(left).for_each(|(entry, left)| *entry -= factor * left);
                }
            }
        }
        Ok(())
    }

    /// The rows below the square: each solves against it.
    fn solve_below(&mut self, threads: usize) {
        let width = self.width;
        let (diagonal, below) = self.tiles.split_at_mut(width / LANES * width);
        let diagonal = &*diagonal;
        share(below.chunks_mut(PANEL / LANES * width), threads, |band: &mut [Four]| {
            band.chunks_exact_mut(width).for_each(|tile| solve_lower(diagonal, tile));
        });
    }
}

/// Some columns of right-hand sides, four side by side: n rows of the first four, then of the next.
struct Strip {
    rows: usize,
    columns: usize,
    values: Vec<Four>,
}

impl Strip {
    fn new(order: usize, columns: usize) -> Self {
        let rows = order.next_multiple_of(LANES);
        Self { rows, columns, values: vec![[0.0; LANES]; rows * columns.div_ceil(LANES)] }
    }

    fn fours(&mut self) -> impl Iterator<Item = &mut [Four]> {
        self.values.chunks_exact_mut(self.rows)
    }

    fn get(&self, row: usize, column: usize) -> f64 {
        self.values[column / LANES * self.rows + row][column % LANES]
    }

    fn set(&mut self, row: usize, column: usize, value: f64) {
        self.values[column / LANES * self.rows + row][column % LANES] = value;
    }

    fn set_row(&mut self, row: usize, values: &[f64]) {
        values.iter().enumerate().for_each(|(column, &value)| self.set(row, column, value));
    }

    fn get_row(&self, row: usize, values: &mut [f64]) {
        values.iter_mut().enumerate().for_each(|(column, value)| *value = self.get(row, column));
    }
}

/// The kernel: `sum[j][i] = Σ_k right[k][j] · left[k][i]`, k ascending.
#[inline]
fn product(left: &[Four], right: &[Four]) -> [Four; LANES] {
    let mut sums = [[0.0; LANES]; LANES];
    for (left, right) in left.iter().zip(right) {
        for j in 0..LANES {
            for i in 0..LANES {
                sums[j][i] += right[j] * left[i];
            }
        }
    }
    sums
}

/// The same with the columns `4·four..` of the tiles as rows: `sum[j][i] = Σ_k tiles[k][j] · known[k][i]`.
#[inline]
fn product_transposed(known: &[[Four; LANES]], tiles: &[Four], width: usize, four: usize) -> [Four; LANES] {
    let mut sums = [[0.0; LANES]; LANES];
    for (known, tile) in known.iter().zip(tiles.chunks_exact(width)) {
        let tile = &tile[four * LANES..][..LANES];
        for k in 0..LANES {
            for j in 0..LANES {
                for i in 0..LANES {
                    sums[j][i] += tile[j][k] * known[k][i];
                }
            }
        }
    }
    sums
}

#[inline]
fn minus(rows: &mut [Four; LANES], sums: &[Four; LANES]) {
    for (row, sum) in rows.iter_mut().zip(sums) {
        row.iter_mut().zip(sum).for_each(|(value, sum)| *value -= sum);
    }
}

/// L·Y = B in place with the square L of a panel, four columns of B.
fn solve_lower(diagonal: &[Four], rows: &mut [Four]) {
    for (at, tile) in diagonal.chunks_exact(rows.len()).enumerate() {
        let (known, rest) = rows.split_at_mut(at * LANES);
        let Some(own) = rest.first_chunk_mut() else { break };
        minus(own, &product(known, tile));
        let corner = &tile[at * LANES..][..LANES];
        for i in 0..LANES {
            for k in 0..i {
                let known = own[k];
                own[i].iter_mut().zip(known).for_each(|(value, known)| *value -= corner[k][i] * known);
            }
            own[i].iter_mut().for_each(|value| *value /= corner[i][i]);
        }
    }
}

/// Lᵀ·X = Y in place with the square L of a panel, four columns of Y.
fn solve_upper(diagonal: &[Four], rows: &mut [Four]) {
    let width = rows.len();
    for at in (0..width / LANES).rev() {
        let (own, known) = rows[at * LANES..].split_at_mut(LANES);
        let Some(own) = own.first_chunk_mut() else { break };
        let tiles = &diagonal[(at + 1) * width..];
        minus(own, &product_transposed(known.as_chunks().0, tiles, width, at));
        let corner = &diagonal[at * width + at * LANES..][..LANES];
        for i in (0..LANES).rev() {
            for k in i + 1..LANES {
                let known = own[k];
                own[i].iter_mut().zip(known).for_each(|(value, known)| *value -= corner[i][k] * known);
            }
            own[i].iter_mut().for_each(|value| *value /= corner[i][i]);
        }
    }
}

/// Copies the upper triangle over the lower one, square by square for the sake of the cache.
fn mirror(matrix: &mut [f64], n: usize) {
    for top in (0..n).step_by(PANEL) {
        for left in (0..=top).step_by(PANEL) {
            for row in top..n.min(top + PANEL) {
                for column in left..row.min(left + PANEL) {
                    matrix[row * n + column] = matrix[column * n + row];
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands out jobs in order to `threads` threads.
fn share<J: Send>(jobs: impl ExactSizeIterator<Item = J> + Send, threads: usize, work: impl Fn(J) + Sync) {
    let helpers = threads.min(jobs.len()).saturating_sub(1);
    let jobs = Mutex::new(jobs);
    let next = || lock(&jobs).next();
    let run = || {
        while let Some(job) = next() {
            work(job);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(run);
        }
        run();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::generator;
    use proptest::prelude::*;
    use rand::Rng;

    /// B·Bᵀ + I/10 with a B of as many columns as rows: condition numbers of some thousands.
    fn positive(n: usize, key: u64) -> Vec<f64> {
        let mut random = generator(3, "cholesky test", key);
        let b: Vec<f64> = (0..n * n).map(|_| random.gen_range(-1.0..1.0)).collect();
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                let dot: f64 = b[i * n..][..n].iter().zip(&b[j * n..][..n]).map(|(x, y)| x * y).sum();
                matrix[i * n + j] = dot + if i == j { 0.1 } else { 0.0 };
            }
        }
        matrix
    }

    fn multiply(a: &[f64], b: &[f64], n: usize, columns: usize) -> Vec<f64> {
        let mut product = vec![0.0; n * columns];
        for i in 0..n {
            for k in 0..n {
                for j in 0..columns {
                    product[i * columns + j] += a[i * n + k] * b[k * columns + j];
                }
            }
        }
        product
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn a_system_by_hand() {
        // L = [2 0 0; 1 3 0; -1 2 1].
        let matrix = vec![4.0, 2.0, -2.0, 2.0, 10.0, 5.0, -2.0, 5.0, 6.0];
        let factor = Cholesky::factor(matrix, 3, 1).unwrap();
        let lower: Vec<f64> = (0..9).map(|at| factor.panels[0].tiles[at % 3][at / 3]).collect();
        assert_eq!(
            [lower[0], lower[3], lower[4], lower[6], lower[7], lower[8]],
            [2.0, 1.0, 3.0, -1.0, 2.0, 1.0]
        );
        // A·(1, -1, 2) and A·(0, 1, 0), side by side.
        let mut rhs = [-2.0, 2.0, 2.0, 10.0, 5.0, 5.0];
        factor.solve_many(&mut rhs, 2, 1);
        assert_eq!(rhs, [1.0, 0.0, -1.0, 1.0, 2.0, 0.0]);
        let inverse = factor.inverse(1);
        let expected = [35.0, -22.0, 30.0, -22.0, 20.0, -24.0, 30.0, -24.0, 36.0].map(|x| x / 36.0);
        assert!(inverse.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-15), "{inverse:?}");
    }

    #[test]
    fn the_inverse_of_a_random_matrix_is_one() {
        let n = 300;
        let matrix = positive(n, 1);
        let inverse = Cholesky::factor(matrix.clone(), n, 2).unwrap().inverse(2);
        let residual = multiply(&matrix, &inverse, n, n)
            .iter()
            .enumerate()
            .map(|(at, &value)| value - if at / n == at % n { 1.0 } else { 0.0 })
            .fold(0.0f64, |most, value| most.max(value.abs()));
        assert!(residual < 1e-9, "{residual}");
        assert!((0..n * n).all(|at| inverse[at].to_bits() == inverse[at % n * n + at / n].to_bits()));
    }

    #[test]
    fn threads_do_not_show_in_the_bits() {
        let (n, columns) = (203, 70);
        let run = |threads| {
            let factor = Cholesky::factor(positive(n, 2), n, threads).unwrap();
            let mut rhs: Vec<f64> = (0..n * columns).map(|at| (at as f64).sin()).collect();
            factor.solve_many(&mut rhs, columns, threads);
            let lower: Vec<f64> =
                factor.panels.iter().flat_map(|panel| panel.tiles.as_flattened().to_vec()).collect();
            (bits(&lower), bits(&rhs), bits(&factor.inverse(threads)))
        };
        let one = run(1);
        assert!(one == run(3));
        assert!(one == run(64));
    }

    #[test]
    fn only_the_lower_triangle_is_read() {
        let n = 70;
        let mut matrix = positive(n, 3);
        let expected = Cholesky::factor(matrix.clone(), n, 1).unwrap().inverse(1);
        for row in 0..n {
            matrix[row * n + row + 1..(row + 1) * n].fill(f64::NAN);
        }
        assert_eq!(bits(&Cholesky::factor(matrix, n, 1).unwrap().inverse(1)), bits(&expected));
    }

    #[test]
    fn a_bad_pivot_is_named() {
        let n = 130;
        let pivot = |matrix| match Cholesky::factor(matrix, n, 2) {
            Err(CholeskyError::NotPositiveDefinite { pivot, value, .. }) => (pivot, value),
            other => panic!("{other:?}"),
        };
        let mut negative = positive(n, 4);
        negative[100 * n + 100] = -1.0;
        let (at, value) = pivot(negative);
        assert!(at == 100 && value < 0.0, "{at} {value}");

        for bad in [f64::NAN, f64::INFINITY] {
            let mut matrix = positive(n, 4);
            matrix[90 * n + 17] = bad;
            assert_eq!(pivot(matrix).0, 90);
        }
        let mut matrix = positive(n, 4);
        matrix[5 * n + 5] = f64::INFINITY;
        assert_eq!(pivot(matrix), (5, f64::INFINITY));

        // Row and column 77 are those of 20: singular, and what is left of the pivot is rounding.
        let mut twice = positive(n, 4);
        for k in 0..n {
            twice[77 * n + k] = twice[20 * n + k];
        }
        for k in 0..n {
            twice[k * n + 77] = twice[k * n + 20];
        }
        assert_eq!(pivot(twice).0, 77);

        let error = Cholesky::factor(vec![1.0, 0.0, 0.0, -2.5], 2, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the matrix is not positive definite: -2.5 is left of its diagonal entry 1 (-2.5), \
             where more than rounding has to be left"
        );
    }

    #[test]
    fn sizes_that_do_not_fit_and_nothing_at_all() {
        let error = Cholesky::factor(vec![1.0; 5], 2, 1).unwrap_err();
        assert_eq!(error.to_string(), "a matrix of order 2 has 4 entries, not 5");
        let nothing = Cholesky::factor(Vec::new(), 0, 4).unwrap();
        nothing.solve_many(&mut [], 3, 2);
        assert!(nothing.inverse(2).is_empty());
        Cholesky::factor(vec![2.0], 1, 1).unwrap().solve_many(&mut [], 0, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn solutions_solve(n in 1usize..140, columns in 1usize..9, key in 0u64..1_000) {
            let matrix = positive(n, key);
            let mut random = generator(4, "cholesky test", key);
            let rhs: Vec<f64> = (0..n * columns).map(|_| random.gen_range(-1.0..1.0)).collect();
            let mut solution = rhs.clone();
            Cholesky::factor(matrix.clone(), n, 2).unwrap().solve_many(&mut solution, columns, 2);
            let scale = solution.iter().fold(1.0f64, |most, value| most.max(value.abs()));
            for (got, wanted) in multiply(&matrix, &solution, n, columns).iter().zip(&rhs) {
                prop_assert!((got - wanted).abs() < 1e-12 * scale * n as f64, "{} {}", got, wanted);
            }
        }
    }
}

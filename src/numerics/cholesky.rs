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
    #[error("{columns} right-hand sides of order {order} have {} entries, not {entries}", order * columns)]
    RightHandSides { order: usize, columns: usize, entries: usize },
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
    /// # Errors
    /// When `rhs` has not n × `columns` entries.
    pub fn solve_many(&self, rhs: &mut [f64], columns: usize, threads: usize) -> Result<(), CholeskyError> {
        if rhs.len() != self.order * columns {
            return Err(CholeskyError::RightHandSides { order: self.order, columns, entries: rhs.len() });
        }
        if columns == 0 {
            return Ok(());
        }
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
        Ok(())
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
mod tests;

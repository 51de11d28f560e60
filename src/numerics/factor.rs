//! The leading singular vectors of a large sparse matrix: customers × packages into a few numbers.
//!
//! Randomised subspace iteration after Halko, Martinsson & Tropp, *Finding structure with
//! randomness* (SIAM Review 53, 2011, algorithm 4.4), carried out on `AᵀA`: only package-sized
//! arrays are kept, so memory does not depend on the number of customers, and one pass over the
//! rows both multiplies by `A` and by its transpose. The result serves to embed what a customer
//! buys: two customers with similar mixes get nearby points even without one package in common.

use rand::Rng;
use rand_distr::StandardNormal;
use thiserror::Error;

use super::eigen::{EigenError, orient, symmetric_eigen};
use super::random::generator;

/// Directions below this share of the first singular value are noise: `AᵀA` squares the condition,
/// so nothing under the square root of the float's precision (1.5e-8) can be told from rounding.
const NOISE: f64 = 1e-7;

/// Why a matrix cannot be factored.
#[derive(Debug, Error, PartialEq)]
pub enum FactorError {
    #[error("a factorisation needs a rank of at least 1")]
    ZeroRank,
    #[error(
        "row offsets must start at 0, never fall and end at the {entries} entries; offset {position} does not"
    )]
    Offsets { position: usize, entries: usize },
    #[error("{columns} column numbers do not match {values} values")]
    Lengths { columns: usize, values: usize },
    #[error("entry {entry} is in column {column}, but the matrix has {width} columns")]
    Column { entry: usize, column: u32, width: usize },
    #[error("entry {entry} is {value}, not a finite number")]
    NonFinite { entry: usize, value: f32 },
    #[error("the core of the factorisation has no eigenvalues")]
    Core(#[from] EigenError),
}

/// A sparse matrix in compressed rows: row r holds entries `offsets[r]..offsets[r + 1]`.
/// Holding one proves that offsets, columns and values are consistent and finite.
#[derive(Debug, Clone, Copy)]
pub struct SparseRows<'a> {
    offsets: &'a [usize],
    columns: &'a [u32],
    values: &'a [f32],
    width: usize,
}

impl<'a> SparseRows<'a> {
    /// Checks a matrix of `offsets.len() - 1` rows and `width` columns. A column named twice in a
    /// row counts as the sum. Cost: one pass, no copy.
    pub fn new(
        offsets: &'a [usize],
        columns: &'a [u32],
        values: &'a [f32],
        width: usize,
    ) -> Result<Self, FactorError> {
        let entries = values.len();
        if columns.len() != entries {
            return Err(FactorError::Lengths { columns: columns.len(), values: entries });
        }
        if offsets.first() != Some(&0) {
            return Err(FactorError::Offsets { position: 0, entries });
        }
        if let Some(fall) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(FactorError::Offsets { position: fall + 1, entries });
        }
        if offsets.last() != Some(&entries) {
            return Err(FactorError::Offsets { position: offsets.len() - 1, entries });
        }
        if let Some(entry) = columns.iter().position(|&column| column as usize >= width) {
            return Err(FactorError::Column { entry, column: columns[entry], width });
        }
        if let Some(entry) = values.iter().position(|value| !value.is_finite()) {
            return Err(FactorError::NonFinite { entry, value: values[entry] });
        }
        Ok(Self { offsets, columns, values, width })
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.offsets.len() - 1, self.width)
    }

    fn rows(&self) -> impl Iterator<Item = (&'a [u32], &'a [f32])> {
        let Self { offsets, columns, values, .. } = *self;
        offsets.windows(2).map(move |pair| (&columns[pair[0]..pair[1]], &values[pair[0]..pair[1]]))
    }
}

/// How to factor. The defaults suit purchase matrices, whose singular values fall slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactorOptions {
    /// Directions to keep.
    pub rank: usize,
    /// Directions carried besides, so that the kept ones settle; 5 to 10 in the paper.
    pub oversampling: usize,
    /// Multiplications by `AᵀA` (each one is a power step of the paper).
    pub iterations: usize,
    pub seed: u64,
}

impl FactorOptions {
    pub fn new(rank: usize, seed: u64) -> Self {
        Self { rank, oversampling: 10, iterations: 8, seed }
    }
}

/// The leading right singular vectors, one short row of loadings for each package.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    rank: usize,
    /// packages × rank, row by row.
    loadings: Vec<f32>,
    singular_values: Vec<f64>,
}

impl Factors {
    /// Factors `matrix`, single-threaded, so the same bytes come out on any machine load.
    ///
    /// The rank is clipped to the smaller side of the matrix and to the directions that stand out
    /// of rounding (a matrix of zeros has rank 0), so read [`Factors::rank`] before sizing anything.
    /// Each vector is turned so that its largest loading is positive.
    ///
    /// Cost, with l = rank + oversampling: `4 · l` operations for each non-zero and iteration plus
    /// `4 · l²` for each package and iteration; `3 · 8 · l` bytes a package, whatever the rows. For
    /// 100,000 customers × 24,000 packages with a million purchases at rank 16: 0.4 to 0.8 s.
    pub fn fit(matrix: SparseRows<'_>, options: &FactorOptions) -> Result<Self, FactorError> {
        if options.rank == 0 {
            return Err(FactorError::ZeroRank);
        }
        let (rows, width) = matrix.shape();
        let carried = options.rank.saturating_add(options.oversampling).min(rows).min(width);
        if carried == 0 {
            return Ok(Self { rank: 0, loadings: Vec::new(), singular_values: Vec::new() });
        }

        let mut random = generator(options.seed, "factor start", 0);
        let mut basis = (0..width * carried).map(|_| random.sample(StandardNormal)).collect::<Vec<f64>>();
        orthonormalise(&mut basis, carried);
        let mut image = vec![0.0; width * carried];
        for _ in 0..options.iterations {
            multiply_by_gram(matrix, &basis, carried, &mut image);
            std::mem::swap(&mut basis, &mut image);
            orthonormalise(&mut basis, carried);
        }

        // Rayleigh-Ritz: within the subspace Q, the eigenvectors of Qᵀ(AᵀA)Q are the answer.
        multiply_by_gram(matrix, &basis, carried, &mut image);
        let core = symmetric_eigen(&core(&basis, &image, carried), carried)?;
        let sigma = core.values().iter().map(|value| value.max(0.0).sqrt()).collect::<Vec<_>>();
        let floor = NOISE * sigma[0];
        let rank = sigma.iter().take(options.rank).take_while(|&&value| value > floor).count();

        let mut loadings = vec![0.0_f32; width * rank];
        let mut vector = vec![0.0; width];
        for k in 0..rank {
            for (entry, q) in vector.iter_mut().zip(basis.chunks_exact(carried)) {
                *entry = dot(q, core.vector(k));
            }
            orient(&mut vector);
            for (row, value) in loadings.chunks_exact_mut(rank).zip(&vector) {
                row[k] = *value as f32;
            }
        }
        Ok(Self { rank, loadings, singular_values: sigma[..rank].to_vec() })
    }

    /// How many directions were kept; the length of every embedding.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The singular values, descending, one for each direction.
    pub fn singular_values(&self) -> &[f64] {
        &self.singular_values
    }

    /// All loadings, packages × rank, row by row.
    pub fn loadings(&self) -> &[f32] {
        &self.loadings
    }

    /// The point of a customer: `out = Σ weight_j · V_j` over the packages bought, summed in the
    /// order given. `out` must have [`Factors::rank`] places.
    ///
    /// A column beyond the fitted packages (one launched since the fit) adds nothing: it has no
    /// place in the fitted space. Cost: `2 · rank` operations for each package bought, no allocation.
    pub fn embed(&self, columns: &[u32], weights: &[f32], out: &mut [f32]) {
        debug_assert_eq!(columns.len(), weights.len());
        debug_assert_eq!(out.len(), self.rank);
        out.fill(0.0);
        for (&column, &weight) in columns.iter().zip(weights) {
            let start = (column as usize).saturating_mul(self.rank);
            let Some(row) = self.loadings.get(start..start.saturating_add(self.rank)) else { continue };
            out.iter_mut().zip(row).for_each(|(sum, loading)| *sum += weight * loading);
        }
    }
}

/// `image = AᵀA · basis`, row by row of A: gather the row's image, scatter it back.
fn multiply_by_gram(matrix: SparseRows<'_>, basis: &[f64], carried: usize, image: &mut [f64]) {
    image.fill(0.0);
    let mut point = vec![0.0_f64; carried];
    for (columns, values) in matrix.rows() {
        point.fill(0.0);
        for (&column, &value) in columns.iter().zip(values) {
            add_scaled(&mut point, f64::from(value), &basis[column as usize * carried..][..carried]);
        }
        for (&column, &value) in columns.iter().zip(values) {
            add_scaled(&mut image[column as usize * carried..][..carried], f64::from(value), &point);
        }
    }
}

/// Orthonormal columns by Gram-Schmidt, done twice for each column (Golub & Van Loan, 5.2.9:
/// twice is enough). A column that lies in the span of those before becomes zero.
fn orthonormalise(basis: &mut [f64], carried: usize) {
    let width = basis.len() / carried;
    // Columns are contiguous while they are worked on: the dot products are long.
    let mut columns = vec![0.0; basis.len()];
    for (row, values) in basis.chunks_exact(carried).enumerate() {
        values.iter().enumerate().for_each(|(column, value)| columns[column * width + row] = *value);
    }
    for column in 0..carried {
        let (done, rest) = columns.split_at_mut(column * width);
        let current = &mut rest[..width];
        let before = dot(current, current).sqrt();
        for _ in 0..2 {
            for earlier in done.chunks_exact(width) {
                let along = dot(earlier, current);
                add_scaled(current, -along, earlier);
            }
        }
        let after = dot(current, current).sqrt();
        let factor = if after > 1e-12 * before { 1.0 / after } else { 0.0 };
        for value in current {
            *value *= factor;
        }
    }
    for (row, values) in basis.chunks_exact_mut(carried).enumerate() {
        values.iter_mut().enumerate().for_each(|(column, value)| *value = columns[column * width + row]);
    }
}

/// `basisᵀ · image`, made exactly symmetric.
fn core(basis: &[f64], image: &[f64], carried: usize) -> Vec<f64> {
    let mut product = vec![0.0; carried * carried];
    for (q, z) in basis.chunks_exact(carried).zip(image.chunks_exact(carried)) {
        for (row, &value) in product.chunks_exact_mut(carried).zip(q) {
            add_scaled(row, value, z);
        }
    }
    for i in 0..carried {
        for j in 0..i {
            let mean = f64::midpoint(product[i * carried + j], product[j * carried + i]);
            product[i * carried + j] = mean;
            product[j * carried + i] = mean;
        }
    }
    product
}

fn add_scaled(sum: &mut [f64], factor: f64, terms: &[f64]) {
    sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += factor * term);
}

/// A dot product in eight running sums: fixed order, and wide registers can be used.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (heads, tails) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = heads.remainder().iter().zip(tails.remainder()).map(|(x, y)| x * y).sum::<f64>();
    for (x, y) in heads.zip(tails) {
        (0..8).for_each(|lane| sums[lane] += x[lane] * y[lane]);
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Owned compressed rows, to borrow from.
    struct Rows(Vec<usize>, Vec<u32>, Vec<f32>, usize);

    impl Rows {
        fn sparse(&self) -> SparseRows<'_> {
            SparseRows::new(&self.0, &self.1, &self.2, self.3).unwrap()
        }
    }

    /// Customers who buy from one of `groups` blocks of packages, plus a little noise.
    fn planted(rows: usize, width: usize, groups: usize, each: usize, noise: f64) -> Rows {
        let mut random = generator(3, "planted", 0);
        let mut matrix = Rows(vec![0], Vec::new(), Vec::new(), width);
        let block = width / groups;
        for row in 0..rows {
            for _ in 0..each {
                let stray = random.gen_bool(noise);
                let column = if stray {
                    random.gen_range(0..width)
                } else {
                    (row % groups) * block + random.gen_range(0..block)
                };
                matrix.1.push(column as u32);
                matrix.2.push(random.gen_range(0.5..1.5));
            }
            matrix.0.push(matrix.1.len());
        }
        matrix
    }

    #[test]
    fn singular_values_and_vectors_match_the_eigenvectors_of_the_gram_matrix() {
        let matrix = planted(300, 40, 4, 6, 0.3);
        let mut gram = vec![0.0; 40 * 40];
        for (columns, values) in matrix.sparse().rows() {
            for (i, x) in columns.iter().zip(values) {
                for (j, y) in columns.iter().zip(values) {
                    gram[*i as usize * 40 + *j as usize] += f64::from(*x) * f64::from(*y);
                }
            }
        }
        let exact = symmetric_eigen(&gram, 40).unwrap();
        let factors =
            Factors::fit(matrix.sparse(), &FactorOptions { iterations: 40, ..FactorOptions::new(5, 1) })
                .unwrap();
        assert_eq!(factors.rank(), 5);
        for k in 0..5 {
            let sigma = exact.values()[k].sqrt();
            assert!((factors.singular_values()[k] / sigma - 1.0).abs() < 1e-9, "value {k}");
            let overlap =
                (0..40).map(|j| f64::from(factors.loadings()[j * 5 + k]) * exact.vector(k)[j]).sum::<f64>();
            assert!((overlap - 1.0).abs() < 1e-5, "vector {k}: {overlap}");
        }
    }

    #[test]
    fn the_subspace_recovers_planted_tastes() {
        let (groups, width) = (6, 600);
        let matrix = planted(6_000, width, groups, 8, 0.05);
        let factors = Factors::fit(matrix.sparse(), &FactorOptions::new(groups, 9)).unwrap();
        // The indicator of each block of packages must lie in the span of the six vectors.
        for group in 0..groups {
            let length = (width as f32 / groups as f32).sqrt();
            let block = (0..100).map(|j| (group * 100 + j) as u32).collect::<Vec<_>>();
            let mut point = vec![0.0; groups];
            factors.embed(&block, &[1.0 / length; 100], &mut point);
            let inside = point.iter().map(|x| x * x).sum::<f32>();
            assert!(inside > 0.97, "block {group}: {inside}");
        }
        // A sixth direction is still a taste, a seventh would be noise.
        let more = Factors::fit(matrix.sparse(), &FactorOptions::new(groups + 1, 9)).unwrap();
        assert!(more.singular_values()[groups - 1] > 1.5 * more.singular_values()[groups]);
    }

    #[test]
    fn nearly_parallel_columns_still_give_a_basis_and_parallel_ones_a_zero() {
        // Columns (1, 0, 0), (1, 1e-6, 0) and their sum, row by row.
        let mut basis = vec![1.0, 1.0, 2.0, 0.0, 1e-6, 1e-6, 0.0, 0.0, 0.0];
        orthonormalise(&mut basis, 3);
        let expected = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        assert!(basis.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-12), "{basis:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let matrix = planted(500, 90, 3, 5, 0.2);
        let fit = |seed| Factors::fit(matrix.sparse(), &FactorOptions::new(4, seed)).unwrap();
        assert_eq!(fit(5), fit(5));
        assert_ne!(fit(5), fit(6));
    }

    #[test]
    fn the_rank_is_clipped_to_what_the_matrix_has() {
        let one = Rows(vec![0, 2, 4, 6], vec![0, 2, 0, 2, 0, 2], vec![1.0, 2.0, 2.0, 4.0, 3.0, 6.0], 5);
        let factors = Factors::fit(one.sparse(), &FactorOptions::new(4, 1)).unwrap();
        assert_eq!(factors.rank(), 1);
        assert!((factors.singular_values()[0] - 70.0_f64.sqrt()).abs() < 1e-9);
        let mut point = [0.0];
        factors.embed(&[0, 2, 77], &[1.0, 2.0, 5.0], &mut point);
        assert!((point[0] - 5.0_f32.sqrt()).abs() < 1e-6, "{point:?}");

        let zeros = Rows(vec![0, 1], vec![0], vec![0.0], 3);
        assert_eq!(Factors::fit(zeros.sparse(), &FactorOptions::new(2, 1)).unwrap().rank(), 0);
        let empty = Rows(vec![0], Vec::new(), Vec::new(), 3);
        assert_eq!(Factors::fit(empty.sparse(), &FactorOptions::new(2, 1)).unwrap().rank(), 0);
    }

    #[test]
    fn bad_matrices_are_refused_with_the_place() {
        let error =
            |offsets, columns, values| SparseRows::new(offsets, columns, values, 3).map(|_| ()).unwrap_err();
        assert_eq!(error(&[], &[], &[]), FactorError::Offsets { position: 0, entries: 0 });
        assert_eq!(error(&[0, 2, 1], &[0, 1], &[1.0, 1.0]), FactorError::Offsets { position: 2, entries: 2 });
        assert_eq!(error(&[0, 1], &[3], &[1.0]), FactorError::Column { entry: 0, column: 3, width: 3 });
        assert!(matches!(error(&[0, 1], &[0], &[f32::NAN]), FactorError::NonFinite { entry: 0, .. }));
        let fine = SparseRows::new(&[0, 1], &[0], &[1.0], 3).unwrap();
        assert_eq!(Factors::fit(fine, &FactorOptions::new(0, 1)), Err(FactorError::ZeroRank));
    }
}

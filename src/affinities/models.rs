//! Two linear models over packages, solved exactly.
//!
//! *Together* is EASE (Steck, *Embarrassingly shallow autoencoders for sparse data*, WWW 2019): with G
//! the Gram matrix of ln(1 + days) and P = (G + λI)⁻¹, B = −P / diag(P) with a zero diagonal; the score
//! of package j is Σ x_i B_ij. It says what goes with what a customer has.
//!
//! *Next* is ridge regression of what was bought in the window before the cut-off on what had been
//! bought before it: W = (XᵀX + λI)⁻¹ XᵀY. It says what comes after, a repeat among it.

use super::gram::{Gram, NO_MEMBER};
use crate::config::resolve::Affinities as Settings;
use crate::numerics::cholesky::{Cholesky, CholeskyError};

/// Members side by side in a row of the models.
pub const LANES: usize = 16;

/// What a package says of [`LANES`] members: by the first model and by the second.
pub type Says = [[f32; LANES]; 2];

/// The fitted models. Memory: 8 bytes a pair of members.
pub struct Affinities {
    /// Ranks of the packages that the models know, ascending.
    pub members: Vec<u32>,
    position: Vec<u32>,
    /// Row by row; the members of the last lanes that there are not say nothing.
    rows: Vec<Says>,
}

/// Solves both models. `threads` do not show in the result.
pub(super) fn solve(gram: Gram, settings: &Settings, threads: usize) -> Result<Affinities, CholeskyError> {
    let n = gram.members.len();
    let mut matrix = gram.days();
    add_ridge(&mut matrix, n, settings.together_ridge);
    let inverse = Cholesky::factor(matrix, n, threads)?.inverse(threads);
    let diagonal: Vec<f64> = (0..n).map(|at| inverse[at * n + at]).collect();
    let mut together = vec![0f32; n * n];
    for (at, (out, value)) in together.iter_mut().zip(&inverse).enumerate() {
        let (row, column) = (at / n, at % n);
        *out = if row == column { 0.0 } else { (-value / diagonal[column]) as f32 };
    }
    drop(inverse);
    let mut matrix = gram.before();
    add_ridge(&mut matrix, n, settings.next_ridge);
    let mut next = gram.next();
    Cholesky::factor(matrix, n, threads)?.solve_many(&mut next, n, threads)?;
    let mut rows = vec![Says::default(); n * n.div_ceil(LANES)];
    for (row, says) in rows.chunks_exact_mut(n.div_ceil(LANES).max(1)).enumerate() {
        for column in 0..n {
            let [by_together, by_next] = &mut says[column / LANES];
            by_together[column % LANES] = together[row * n + column];
            by_next[column % LANES] = next[row * n + column] as f32;
        }
    }
    Ok(Affinities { members: gram.members, position: gram.position, rows })
}

/// The ridge is a share of the mean of the diagonal, so that it means the same for any number of
/// customers, and never below one customer.
fn add_ridge(matrix: &mut [f64], n: usize, share: f64) {
    let mean = (0..n).map(|at| matrix[at * n + at]).sum::<f64>() / n as f64;
    let ridge = (share * mean).max(1.0);
    (0..n).for_each(|at| matrix[at * n + at] += ridge);
}

/// What a row says of a member: (together, next).
pub fn of_member(row: &[Says], member: usize) -> (f32, f32) {
    let [together, next] = &row[member / LANES];
    (together[member % LANES], next[member % LANES])
}

impl Affinities {
    /// No models, over `packages` packages.
    pub fn none(packages: usize) -> Self {
        Self { members: Vec::new(), position: vec![NO_MEMBER; packages], rows: Vec::new() }
    }

    /// Whether every package is a member.
    pub fn knows_all(&self) -> bool {
        self.members.len() == self.position.len()
    }

    /// What a bought package says of every member, before any `x`; nothing if it is no member itself.
    pub fn row(&self, package: u32) -> Option<&[Says]> {
        let blocks = self.members.len().div_ceil(LANES);
        self.member(package).map(|row| &self.rows[row * blocks..][..blocks])
    }

    /// Position of a package among the members.
    pub fn member(&self, package: u32) -> Option<usize> {
        match self.position.get(package as usize) {
            Some(row) if *row != NO_MEMBER => Some(*row as usize),
            _ => None,
        }
    }
}

#[cfg(test)]
impl Affinities {
    /// What one bought package says of another: (together, next), before any `x`.
    pub fn between(&self, bought: u32, offered: u32) -> (f32, f32) {
        match (self.row(bought), self.member(offered)) {
            (Some(row), Some(column)) => of_member(row, column),
            _ => (0.0, 0.0),
        }
    }

    /// Models that know all packages and say nothing.
    pub fn of_test(packages: usize) -> Self {
        let members: Vec<u32> = (0..packages as u32).collect();
        let rows = vec![Says::default(); packages * packages.div_ceil(LANES)];
        Self { position: members.clone(), members, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gram::Bought;
    use super::*;

    fn settings() -> Settings {
        Settings { packages: 10, together_ridge: 0.01, next_ridge: 0.01 }
    }

    /// Customers who buy 0 buy 1 as well; who had 2 goes on to 3.
    fn planted() -> Affinities {
        let mut gram = Gram::new((0..4).collect(), 4);
        let bought = |package, before, next| Bought { package, days: 1, before, next };
        for _ in 0..200 {
            gram.add(&[bought(0, true, false), bought(1, true, true)]);
            gram.add(&[bought(2, true, false), bought(3, false, true)]);
        }
        solve(gram, &settings(), 2).unwrap()
    }

    #[test]
    fn together_and_next_find_what_was_planted() {
        let models = planted();
        let (together, next) = models.between(0, 1);
        assert!(together > 0.9 && next > 0.4, "{together} {next}");
        assert!(models.between(2, 3).1 > 0.9, "{:?}", models.between(2, 3));
        assert_eq!(models.between(0, 0).0, 0.0, "nothing goes with itself");
        assert!(models.between(0, 3).0.abs() < 0.05);
        let [together, next] = models.row(0).unwrap()[0];
        assert_eq!((together[1], next[1]), models.between(0, 1));
        assert_eq!((&together[4..], &next[4..]), (&[0.0; 12][..], &[0.0; 12][..]), "nobody is there");
    }

    #[test]
    fn packages_outside_say_nothing() {
        let models = Affinities::none(3);
        assert!(models.row(1).is_none() && !models.knows_all());
        assert_eq!(models.between(0, 1), (0.0, 0.0));
    }
}

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

/// The fitted models. Memory: 8 bytes a pair of members.
pub struct Affinities {
    /// Ranks of the packages that the models know, ascending.
    pub members: Vec<u32>,
    position: Vec<u32>,
    together: Vec<f32>,
    next: Vec<f32>,
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
    Ok(Affinities {
        members: gram.members,
        position: gram.position,
        together,
        next: next.into_iter().map(|weight| weight as f32).collect(),
    })
}

/// The ridge is a share of the mean of the diagonal, so that it means the same for any number of
/// customers, and never below one customer.
fn add_ridge(matrix: &mut [f64], n: usize, share: f64) {
    let mean = (0..n).map(|at| matrix[at * n + at]).sum::<f64>() / n as f64;
    let ridge = (share * mean).max(1.0);
    (0..n).for_each(|at| matrix[at * n + at] += ridge);
}

impl Affinities {
    /// No models, over `packages` packages.
    pub fn none(packages: usize) -> Self {
        Self {
            members: Vec::new(),
            position: vec![NO_MEMBER; packages],
            together: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Adds what a bought package says of every member: `x` times its row of both models. The slices
    /// have one value a member.
    #[inline(always)]
    pub fn add(&self, package: u32, x: f32, together: &mut [f32], next: &mut [f32]) {
        let n = self.members.len();
        let Some(row) = self.member(package) else { return };
        for (sum, weight) in together.iter_mut().zip(&self.together[row * n..][..n]) {
            *sum += x * weight;
        }
        for (sum, weight) in next.iter_mut().zip(&self.next[row * n..][..n]) {
            *sum += x * weight;
        }
    }

    /// What one bought package says of another: (together, next), before any `x`.
    pub fn between(&self, bought: u32, offered: u32) -> (f32, f32) {
        let n = self.members.len();
        match (self.member(bought), self.member(offered)) {
            (Some(row), Some(column)) => (self.together[row * n + column], self.next[row * n + column]),
            _ => (0.0, 0.0),
        }
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
        let (mut together, mut next) = (vec![0.0; 4], vec![0.0; 4]);
        models.add(0, 2.0, &mut together, &mut next);
        assert_eq!(together[1], 2.0 * models.between(0, 1).0);
        assert_eq!(next[1], 2.0 * models.between(0, 1).1);
    }

    #[test]
    fn packages_outside_say_nothing() {
        let models = Affinities::none(3);
        models.add(1, 1.0, &mut [], &mut []);
        assert_eq!(models.between(0, 1), (0.0, 0.0));
    }
}

//! Minimum of a smooth function of a few variables inside a box, by damped Newton steps.
//!
//! The step is −V·|Λ|⁻¹·Vᵀ·g from the eigenvectors of the Hessian, with its eigenvalues made positive, so
//! that it goes downhill at saddles too (Nocedal & Wright, *Numerical Optimization*, 2nd ed., 2006,
//! section 3.4). It is cut to a largest length along each eigenvector, ends where it meets a side of the
//! box, and is halved until the function falls enough (Armijo). A variable that sits on a side and is
//! pushed outwards, by its slope or by the step, is left out of the step (an active-set method: Nocedal &
//! Wright, section 16.5), so that what is left goes downhill and stays inside.

use super::eigen::{SymmetricEigen, symmetric_eigen};
use thiserror::Error;

/// Halvings of one step before it is given up.
const HALVINGS: i32 = 50;

/// The share of the promised decrease that a step has to bring.
const ENOUGH: f64 = 1e-4;

/// Eigenvalues count as at least this share of the largest: a flat direction gives a long step, not an
/// infinite one.
const FLATTEST: f64 = 1e-12;

/// How near to a side, relative to 1 + |side|, counts as on it.
const SIDE: f64 = 1e-14;

/// How much the function may rise through rounding, relative to 1 + |value|.
const ROUNDING: f64 = 1e-14;

/// When no step helps, a promise below this, relative to 1 + |value|, is put down to rounding.
const NOTHING_LEFT: f64 = 1e-10;

/// The function at a place: value, gradient, symmetric Hessian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation<const N: usize> {
    pub value: f64,
    pub gradient: [f64; N],
    pub hessian: [[f64; N]; N],
}

/// The box and when to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options<const N: usize> {
    pub lower: [f64; N],
    pub upper: [f64; N],
    pub max_iterations: usize,
    /// The search ends where no free variable has a slope above this.
    pub tolerance: f64,
    /// No eigenvector of the Hessian is followed further than this in one step.
    pub max_step: f64,
}

/// Where the search ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Minimum<const N: usize> {
    pub at: [f64; N],
    pub evaluation: Evaluation<N>,
    /// Variables that are not held by a side of the box.
    pub free: [bool; N],
    /// The steepest slope among the free variables.
    pub gradient_norm: f64,
    pub iterations: usize,
    /// Whether the slope is within the tolerance, or so small that rounding hides any further gain.
    pub converged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum NewtonError {
    #[error("the function or its derivatives are not finite at the start, where the value is {value}")]
    Start { value: f64 },
}

impl<const N: usize> Evaluation<N> {
    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        let entries = self.gradient.iter().chain(self.hessian.iter().flatten());
        self.value.is_finite() && entries.into_iter().all(|entry| entry.is_finite())
    }
}

/// Goes downhill from `start`, which is put into the box first.
///
/// `evaluate` may return anything outside of its domain: a step to a place that is not finite is halved.
/// Close to the minimum the error squares with every step, and one step more is made than the tolerance
/// asks for. Cost: one evaluation a step, 10 to 20 steps are usual; N ≤ 6 or so, as each step solves an
/// N×N eigenproblem on the heap.
///
/// # Errors
/// When the function is not finite at the start.
pub fn minimise<const N: usize>(
    start: [f64; N],
    options: &Options<N>,
    mut evaluate: impl FnMut(&[f64; N]) -> Evaluation<N>,
) -> Result<Minimum<N>, NewtonError> {
    let mut at = options.inside(&start);
    let mut here = evaluate(&at);
    if !here.is_finite() {
        return Err(NewtonError::Start { value: here.value });
    }
    let mut iterations = 0;
    let mut converged = false;
    loop {
        let free = options.free(&at, &here.gradient);
        let gradient_norm = steepest(&here.gradient, &free);
        let minimum =
            |converged| Minimum { at, evaluation: here, free, gradient_norm, iterations, converged };
        if converged || iterations >= options.max_iterations {
            return Ok(minimum(converged || gradient_norm <= options.tolerance));
        }
        let step = options.step(&at, &here, free);
        converged = gradient_norm <= options.tolerance;
        if converged {
            // The last step is taken only if it is seen to help: its gain may be below rounding.
            let next = options.inside(&std::array::from_fn(|i| at[i] + step[i]));
            let there = evaluate(&next);
            let better = there.is_finite()
                && there.value <= here.value + ROUNDING * (1.0 + here.value.abs())
                && steepest(&there.gradient, &free) < gradient_norm;
            if !better {
                return Ok(minimum(true));
            }
            (at, here) = (next, there);
            continue;
        }
        let downhill = (0..HALVINGS).find_map(|halvings| {
            let share = 0.5f64.powi(halvings);
            let next = options.inside(&std::array::from_fn(|i| at[i] + share * step[i]));
            let promise: f64 = (0..N).map(|i| here.gradient[i] * (next[i] - at[i])).sum();
            let allowed = here.value + ENOUGH * promise + ROUNDING * (1.0 + here.value.abs());
            let there = evaluate(&next);
            (next != at && there.is_finite() && there.value <= allowed).then_some((next, there))
        });
        match downhill {
            Some(better) => (at, here) = better,
            None => {
                let promise: f64 = -(0..N).map(|i| here.gradient[i] * step[i]).sum::<f64>();
                return Ok(minimum(promise <= NOTHING_LEFT * (1.0 + here.value.abs())));
            }
        }
        iterations += 1;
    }
}

impl<const N: usize> Options<N> {
    /// The nearest place in the box; what is within rounding of a side is on it.
    fn inside(&self, at: &[f64; N]) -> [f64; N] {
        std::array::from_fn(|i| {
            let (lower, upper) = (self.lower[i], self.upper[i]);
            let near = |side: f64| SIDE * (1.0 + side.abs());
            if at[i] < lower + near(lower) {
                lower
            } else if at[i] > upper - near(upper) {
                upper
            } else {
                at[i]
            }
        })
    }

    fn free(&self, at: &[f64; N], gradient: &[f64; N]) -> [bool; N] {
        std::array::from_fn(|i| !self.leaves(i, at[i], -gradient[i]))
    }

    /// Whether a variable on a side of the box would leave it by this step, or stay there.
    fn leaves(&self, i: usize, at: f64, step: f64) -> bool {
        at <= self.lower[i] && step <= 0.0 || at >= self.upper[i] && step >= 0.0
    }

    /// A step downhill that ends inside the box.
    fn step(&self, at: &[f64; N], here: &Evaluation<N>, mut free: [bool; N]) -> [f64; N] {
        let mut step = newton_step(here, &free, self.max_step);
        for _ in 0..N {
            let stays: [bool; N] = std::array::from_fn(|i| free[i] && !self.leaves(i, at[i], step[i]));
            // A variable that would not move decides nothing.
            if (0..N).all(|i| stays[i] == free[i] || step[i] == 0.0) {
                break;
            }
            free = stays;
            step = newton_step(here, &free, self.max_step);
        }
        let share = (0..N).fold(1.0_f64, |share, i| {
            let room = if step[i] > 0.0 { self.upper[i] - at[i] } else { self.lower[i] - at[i] };
            if step[i] == 0.0 { share } else { share.min(room / step[i]) }
        });
        step.map(|step| share * step)
    }
}

fn steepest<const N: usize>(gradient: &[f64; N], free: &[bool; N]) -> f64 {
    gradient.iter().zip(free).filter(|(_, free)| **free).fold(0.0, |norm, (slope, _)| norm.max(slope.abs()))
}

/// The eigenvalues and eigenvectors of the Hessian among the free variables, whose numbers come with it.
/// `None` when no variable is free or the Hessian is not finite.
pub fn curvature<const N: usize>(
    hessian: &[[f64; N]; N],
    free: &[bool; N],
) -> Option<(Vec<usize>, SymmetricEigen)> {
    let places: Vec<usize> = (0..N).filter(|&i| free[i]).collect();
    let entries: Vec<f64> = places.iter().flat_map(|&i| places.iter().map(move |&j| hessian[i][j])).collect();
    if places.is_empty() {
        return None;
    }
    symmetric_eigen(&entries, places.len()).ok().map(|eigen| (places, eigen))
}

fn newton_step<const N: usize>(here: &Evaluation<N>, free: &[bool; N], max_step: f64) -> [f64; N] {
    let mut step = [0.0; N];
    let Some((places, eigen)) = curvature(&here.hessian, free) else { return step };
    let largest = eigen.values().iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let least = (largest * FLATTEST).max(f64::MIN_POSITIVE);
    for (at, value) in eigen.values().iter().enumerate() {
        let vector = eigen.vector(at);
        let slope: f64 = places.iter().zip(vector).map(|(&i, v)| here.gradient[i] * v).sum();
        // Cut for each direction alone: a long way along a flat one must not shorten the others.
        let length = (slope / value.abs().max(least)).max(-max_step).min(max_step);
        places.iter().zip(vector).for_each(|(&i, v)| step[i] -= length * v);
    }
    step
}

#[cfg(test)]
mod tests;

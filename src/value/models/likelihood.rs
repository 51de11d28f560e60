//! The log-likelihood of tuples under BG/NBD and MBG/NBD with its gradient and Hessian.
//!
//! With s = r + x, n the times the customer could have left, β = b + n − 1 and
//! D = ln(a/β) + s·ln((α+T)/(α+t_x)), a tuple adds
//!
//! ```text
//! ln (r)_x − x ln α + ln (b)_n − ln (a+b)_n − s ln(1 + T/α) + ln(1 + e^D)
//! ```
//!
//! where (y)_n is the rising factorial, and the last term is absent when n = 0. In this form nothing large
//! cancels when r and α, or a and b, grow together. w = 1/(1 + e^−D) is the
//! probability that the customer is lost, and everything is a sum of w, w(1 − w) and powers of 1/(α+T) and
//! 1/(α+t_x): so a pass sums fourteen numbers for each x, and derivatives are put together once a group.

use super::bg_nbd::Dropout;
use super::summary::Tuples;
use crate::numerics::newton::Evaluation;
use crate::numerics::special::{ln_1p, rising};

/// Tuples with the same x.
struct Group {
    x: u32,
    end: usize,
    customers: f64,
}

struct Row {
    t_x: f64,
    t: f64,
    customers: f64,
}

/// Tuples made ready: grouped by x, times divided by their mean T. 24 bytes a tuple.
pub(super) struct Likelihood {
    dropout: Dropout,
    groups: Vec<Group>,
    rows: Vec<Row>,
    customers: f64,
    repeats: f64,
    scale: f64,
}

impl Likelihood {
    /// `scale`, in the tuples' unit, becomes 1.
    pub fn new(tuples: &Tuples, dropout: Dropout, scale: f64) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut rows = Vec::with_capacity(tuples.rows().len());
        for row in tuples.rows() {
            let customers = row.customers as f64;
            rows.push(Row { t_x: row.t_x / scale, t: row.t / scale, customers });
            match groups.last_mut().filter(|group| group.x == row.x) {
                Some(group) => (group.end, group.customers) = (rows.len(), group.customers + customers),
                None => groups.push(Group { x: row.x, end: rows.len(), customers }),
            }
        }
        let sum = |value: &dyn Fn(&Group) -> f64| groups.iter().map(value).sum();
        let customers = sum(&|group| group.customers);
        let repeats = sum(&|group| group.customers * f64::from(group.x));
        Self { dropout, groups, rows, customers, repeats, scale }
    }

    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The log-likelihood of all customers in the tuples' unit, from the mean of its negative in scaled
    /// time: a density of purchase times changes with the unit.
    pub fn in_units(&self, mean_loss: f64) -> f64 {
        -mean_loss * self.customers - self.repeats * self.scale.ln()
    }

    /// Minus the mean log-likelihood of a customer in scaled time, with derivatives by ln r, ln α, ln a
    /// and ln b.
    ///
    /// Cost: two or three logarithms and one exponential a tuple; 6 ms for 100,000 tuples.
    pub fn mean_loss(&self, logs: &[f64; 4]) -> Evaluation<4> {
        let parameters = logs.map(f64::exp);
        let [r, alpha, a, b] = parameters;
        let (mut value, mut gradient, mut hessian) = (0.0, [0.0; 4], [[0.0; 4]; 4]);
        let mut start = 0;
        for group in &self.groups {
            let rows = &self.rows[start..group.end];
            start = group.end;
            let (weight, x) = (group.customers, f64::from(group.x));
            let shape = r + x;
            let leaving = self.dropout.survived(group.x);
            let sums = if leaving == 0 {
                Sums::alive(rows, alpha)
            } else {
                let beta = b + f64::from(leaving - 1);
                let sums = Sums::alive_or_lost(rows, alpha, shape, (a / beta).ln());
                gradient[2] += sums.w / a;
                gradient[3] -= sums.w / beta;
                hessian[0][2] += sums.v_log / a;
                hessian[0][3] -= sums.v_log / beta;
                hessian[1][2] += shape * sums.v_difference / a;
                hessian[1][3] -= shape * sums.v_difference / beta;
                hessian[2][2] += (sums.v - sums.w) / (a * a);
                hessian[2][3] -= sums.v / (a * beta);
                hessian[3][3] += (sums.v + sums.w) / (beta * beta);
                sums
            };
            let (bought, stayed, both) = (rising(r, group.x), rising(b, leaving), rising(a + b, leaving));
            value += weight * (bought.ln - x * logs[1] + stayed.ln - both.ln) - shape * sums.log + sums.lost;
            gradient[0] += weight * bought.first - sums.log + sums.w_log;
            gradient[1] += shape * (sums.drift + sums.w_difference) - weight * x / alpha;
            gradient[2] -= weight * both.first;
            gradient[3] += weight * (stayed.first - both.first);
            hessian[0][0] += weight * bought.second + sums.v_log_log;
            hessian[0][1] += sums.drift + sums.w_difference + shape * sums.v_log_difference;
            hessian[1][1] += weight * x / (alpha * alpha) - shape * (sums.drift_squares + sums.w_squares)
                + shape * shape * sums.v_difference_square;
            hessian[2][2] -= weight * both.second;
            hessian[2][3] -= weight * both.second;
            hessian[3][3] += weight * (stayed.second - both.second);
        }
        self.negative_mean(&parameters, value, &gradient, &hessian)
    }

    /// From sums over customers and derivatives by the parameters to minus the mean and derivatives by
    /// their logarithms. Only the upper triangle of the Hessian is read.
    fn negative_mean(
        &self,
        parameters: &[f64; 4],
        value: f64,
        gradient: &[f64; 4],
        hessian: &[[f64; 4]; 4],
    ) -> Evaluation<4> {
        let slopes: [f64; 4] = std::array::from_fn(|i| -gradient[i] * parameters[i] / self.customers);
        let entry = |row: usize, column: usize| {
            let (i, j) = (row.min(column), row.max(column));
            let curvature = -hessian[i][j] * parameters[i] * parameters[j] / self.customers;
            if i == j { curvature + slopes[i] } else { curvature }
        };
        Evaluation {
            value: -value / self.customers,
            gradient: slopes,
            hessian: std::array::from_fn(|i| std::array::from_fn(|j| entry(i, j))),
        }
    }
}

/// Sums over the rows of a group, each times its customers. With w the probability of being lost,
/// v = w(1 − w), Λ = ln((α+T)/(α+t_x)) and δ = 1/(α+T) − 1/(α+t_x):
#[derive(Default)]
struct Sums {
    /// ln(1 + T/α), 1/α − 1/(α+T), 1/α² − 1/(α+T)².
    log: f64,
    drift: f64,
    drift_squares: f64,
    /// ln(1 + e^D).
    lost: f64,
    /// w, wΛ, wδ, w(1/(α+T)² − 1/(α+t_x)²).
    w: f64,
    w_log: f64,
    w_difference: f64,
    w_squares: f64,
    /// v, vΛ, vδ, vΛ², vΛδ, vδ².
    v: f64,
    v_log: f64,
    v_difference: f64,
    v_log_log: f64,
    v_log_difference: f64,
    v_difference_square: f64,
}

/// What depends on T alone.
#[derive(Default)]
struct Watched {
    inverse: f64,
    log: f64,
    drift: f64,
    drift_squares: f64,
}

impl Watched {
    fn new(t: f64, alpha: f64) -> Self {
        let inverse = 1.0 / (alpha + t);
        let drift = t * inverse / alpha;
        Self { inverse, log: ln_1p(t / alpha), drift, drift_squares: drift * (1.0 / alpha + inverse) }
    }
}

impl Sums {
    fn alive(rows: &[Row], alpha: f64) -> Self {
        let mut sums = Self::default();
        for row in rows {
            sums.watch(row.customers, &Watched::new(row.t, alpha));
        }
        sums
    }

    fn watch(&mut self, customers: f64, watched: &Watched) {
        self.log += customers * watched.log;
        self.drift += customers * watched.drift;
        self.drift_squares += customers * watched.drift_squares;
    }

    fn alive_or_lost(rows: &[Row], alpha: f64, shape: f64, base: f64) -> Self {
        let mut sums = Self::default();
        // Rows are sorted by T: most share it with the row before.
        let mut t = f64::NAN;
        let mut watched = Watched::default();
        for row in rows {
            if row.t != t {
                t = row.t;
                watched = Watched::new(t, alpha);
            }
            let inverse = watched.inverse;
            let last = 1.0 / (alpha + row.t_x);
            let silence = ln_1p((t - row.t_x) * last);
            let odds = base + shape * silence;
            let small = (-odds.abs()).exp();
            let near = 1.0 / (1.0 + small);
            let far = small * near;
            let lost = if odds > 0.0 { near } else { far };
            let w = row.customers * lost;
            let v = row.customers * (near * far);
            let difference = inverse - last;
            sums.watch(row.customers, &watched);
            sums.lost += row.customers * (odds.max(0.0) + ln_1p(small));
            sums.w += w;
            sums.w_log += w * silence;
            sums.w_difference += w * difference;
            sums.w_squares += w * (difference * (inverse + last));
            sums.v += v;
            sums.v_log += v * silence;
            sums.v_difference += v * difference;
            sums.v_log_log += v * silence * silence;
            sums.v_log_difference += v * silence * difference;
            sums.v_difference_square += v * difference * difference;
        }
        sums
    }
}

#[cfg(test)]
mod tests;

//! The passes over the rows: where the columns lie, and the derivatives of the loss.

use super::{Logistic, LogisticError, Prior};

/// Rows whose sums are merged as one.
const CHUNK: usize = 4096;

/// Rows that are added to the second derivatives at once, to save loads and stores of the sums.
const ROWS: usize = 4;

/// The sums over rows at one set of coefficients; the penalty is added by the fit.
pub(super) struct Sums {
    pub(super) loss: f64,
    pub(super) objective: f64,
    pub(super) gradient: Vec<f64>,
    /// Second derivatives, (columns + 1)², lower triangle.
    pub(super) curvature: Vec<f64>,
}

pub(super) struct Data<'a> {
    pub(super) rows: &'a [f32],
    pub(super) labels: &'a [bool],
    pub(super) weights: &'a [f32],
    pub(super) columns: usize,
    pub(super) threads: usize,
}

impl Data<'_> {
    pub(super) fn check_shape(&self, prior: &Prior) -> Result<(), LogisticError> {
        let n = self.labels.len();
        let shape = |what, found, wanted| match found == wanted {
            true => Ok(()),
            false => Err(LogisticError::Shape { what, found, wanted }),
        };
        shape("weights", self.weights.len(), n)?;
        shape("values in the rows", self.rows.len(), n.saturating_mul(self.columns))?;
        shape("means in the prior", prior.mean.len(), self.columns + 1)?;
        if let Some(&value) = prior.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(LogisticError::Prior { what: "mean", value });
        }
        if !(prior.strength >= 0.0 && prior.strength.is_finite()) {
            return Err(LogisticError::Prior { what: "strength", value: prior.strength });
        }
        if n == 0 { Err(LogisticError::NoRows { rows: 0 }) } else { Ok(()) }
    }

    /// `work` on every chunk (its rows, labels, weights and the number of its first row), in order.
    fn chunks<T: Send>(&self, work: impl Fn(usize, &[f32], &[bool], &[f32]) -> T + Sync) -> Vec<T> {
        let n = self.labels.len();
        let chunk = |at: usize| {
            let (from, to) = (at * CHUNK, n.min((at + 1) * CHUNK));
            let rows = &self.rows[from * self.columns..to * self.columns];
            work(from, rows, &self.labels[from..to], &self.weights[from..to])
        };
        let chunks = n.div_ceil(CHUNK);
        let each = chunks.div_ceil(self.threads.max(1));
        let mut results: Vec<Option<T>> = (0..chunks).map(|_| None).collect();
        std::thread::scope(|scope| {
            let mut parts = results.chunks_mut(each).enumerate();
            let own = parts.next();
            let run = |(part, results): (usize, &mut [Option<T>])| {
                results.iter_mut().enumerate().for_each(|(at, out)| *out = Some(chunk(part * each + at)));
            };
            for part in parts {
                scope.spawn(move || run(part));
            }
            own.into_iter().for_each(run);
        });
        results.into_iter().flatten().collect()
    }

    /// Loss, gradient and curvature of the standardised coefficients `beta`, intercept first.
    pub(super) fn sums(&self, scale: &Scale, beta: &[f64]) -> Sums {
        let size = self.columns + 1;
        let empty = || Sums {
            loss: 0.0,
            objective: 0.0,
            gradient: vec![0.0; size],
            curvature: vec![0.0; size * size],
        };
        let parts = self.chunks(|_, rows, labels, weights| {
            let mut sums = empty();
            let mut block = vec![0.0; ROWS * size];
            let mut curvatures = [0.0; ROWS];
            for at in 0..labels.len() {
                let slot = at % ROWS;
                let z = &mut block[slot * size..][..size];
                scale.apply(&rows[at * self.columns..][..self.columns], z);
                let weight = f64::from(weights[at]);
                let log_odds = dot(z, beta);
                let odds = (-log_odds.abs()).exp();
                let (rare, common) = (odds / (1.0 + odds), 1.0 / (1.0 + odds));
                // The residual p − y, from the smaller of p and 1 − p where the model is right.
                let right = labels[at] == (log_odds >= 0.0);
                let residual = if right { rare } else { common };
                let residual = if labels[at] { -residual } else { residual };
                sums.loss += weight * (odds.ln_1p() + if right { 0.0 } else { log_odds.abs() });
                curvatures[slot] = weight * rare * common;
                sums.gradient.iter_mut().zip(z).for_each(|(sum, z)| *sum += weight * residual * *z);
                if slot == ROWS - 1 || at + 1 == labels.len() {
                    curvatures[slot + 1..].fill(0.0);
                    add_squares(&mut sums.curvature, &block, &curvatures, size);
                }
            }
            sums
        });
        parts.into_iter().fold(empty(), |mut total, part| {
            total.loss += part.loss;
            add(&mut total.gradient, &part.gradient);
            add(&mut total.curvature, &part.curvature);
            total
        })
    }
}

/// Adds Σ curvature · z·zᵀ over four rows z to the lower triangle.
fn add_squares(sums: &mut [f64], block: &[f64], curvatures: &[f64; ROWS], size: usize) {
    let rows: [&[f64]; ROWS] = std::array::from_fn(|row| &block[row * size..][..size]);
    for (i, sums) in sums.chunks_exact_mut(size).enumerate() {
        let factors: [f64; ROWS] = std::array::from_fn(|row| curvatures[row] * rows[row][i]);
        let [a, b, c, d] = rows.map(|row| &row[..=i]);
        for ((((sum, a), b), c), d) in sums[..=i].iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *sum += (factors[0] * a + factors[1] * b) + (factors[2] * c + factors[3] * d);
        }
    }
}

fn add(sums: &mut [f64], values: &[f64]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Where the columns lie and how far they spread, by weight.
pub(super) struct Scale {
    /// Σ weights, and that of the rows with a true label.
    pub(super) weight: f64,
    pub(super) positive: f64,
    pub(super) means: Vec<f64>,
    /// One over the standard deviation, zero for a constant column.
    pub(super) inverse_deviations: Vec<f64>,
}

/// What one pass finds in a chunk.
struct Moments {
    rows: usize,
    positive_rows: usize,
    weight: f64,
    positive: f64,
    sums: Vec<f64>,
    ranges: Vec<(f32, f32)>,
}

impl Scale {
    pub(super) fn of(data: &Data) -> Result<Self, LogisticError> {
        let total = Moments::of(data)?;
        if total.rows == 0 {
            return Err(LogisticError::NoRows { rows: data.labels.len() });
        }
        if total.positive_rows == 0 || total.positive_rows == total.rows {
            return Err(LogisticError::OneClass { rows: total.rows, label: total.positive_rows > 0 });
        }
        let means: Vec<f64> = total.sums.iter().map(|sum| sum / total.weight).collect();
        let parts = data.chunks(|_, rows, _, weights| {
            let mut squares = vec![0.0; data.columns];
            for (row, &weight) in rows.chunks_exact(data.columns.max(1)).zip(weights) {
                for ((square, &x), mean) in squares.iter_mut().zip(row).zip(&means) {
                    *square += f64::from(weight) * (f64::from(x) - mean).powi(2);
                }
            }
            squares
        });
        let mut squares = vec![0.0; data.columns];
        parts.iter().for_each(|part| add(&mut squares, part));
        let varies = total.ranges.iter().map(|(least, most)| least < most);
        let inverse = |(square, varies): (f64, bool)| {
            let deviation = (square / total.weight).sqrt();
            if varies && deviation > 0.0 { deviation.recip() } else { 0.0 }
        };
        let inverse_deviations = squares.into_iter().zip(varies).map(inverse).collect();
        Ok(Self { weight: total.weight, positive: total.positive, means, inverse_deviations })
    }

    /// A one for the intercept, and the standardised row.
    fn apply(&self, row: &[f32], out: &mut [f64]) {
        out[0] = 1.0;
        for (((z, &x), mean), inverse) in
            out[1..].iter_mut().zip(row).zip(&self.means).zip(&self.inverse_deviations)
        {
            *z = (f64::from(x) - mean) * inverse;
        }
    }

    /// Coefficients on the scale of the rows as those of standardised columns, intercept first.
    pub(super) fn standardised(&self, beta: &[f64]) -> Vec<f64> {
        let slopes = beta[1..].iter().zip(&self.inverse_deviations);
        std::iter::once(beta[0] + dot(&beta[1..], &self.means))
            .chain(slopes.map(|(slope, inverse)| if *inverse > 0.0 { slope / inverse } else { 0.0 }))
            .collect()
    }

    /// The way back. `covariance` is that of the standardised coefficients.
    pub(super) fn original(
        &self,
        beta: &[f64],
        prior: &[f64],
        covariance: Vec<f64>,
        log_loss: f64,
        iterations: usize,
    ) -> Logistic {
        let size = beta.len();
        let slope = |at: usize, inverse: f64| if inverse > 0.0 { beta[at] * inverse } else { prior[at] };
        let coefficients: Vec<f64> =
            (1..size).zip(&self.inverse_deviations).map(|(at, &inverse)| slope(at, inverse)).collect();
        // The intercept is β₀ − Σ βⱼ·meanⱼ/deviationⱼ: its variance is that of this combination.
        let combination: Vec<f64> = std::iter::once(1.0)
            .chain(self.means.iter().zip(&self.inverse_deviations).map(|(mean, inverse)| -mean * inverse))
            .collect();
        let variance: f64 =
            covariance.chunks_exact(size).zip(&combination).map(|(row, c)| c * dot(row, &combination)).sum();
        let error = |at: usize, inverse: f64| match inverse > 0.0 {
            true => covariance[at * (size + 1)].sqrt() * inverse,
            false => f64::INFINITY,
        };
        let standard_errors = std::iter::once(variance.max(0.0).sqrt())
            .chain((1..size).zip(&self.inverse_deviations).map(|(at, &inverse)| error(at, inverse)))
            .collect();
        let intercept = beta[0] - dot(&coefficients, &self.means);
        Logistic { intercept, coefficients, log_loss, iterations, standard_errors }
    }
}

impl Moments {
    /// The first pass, which also looks for values that are no numbers.
    fn of(data: &Data) -> Result<Self, LogisticError> {
        let empty = || Self {
            rows: 0,
            positive_rows: 0,
            weight: 0.0,
            positive: 0.0,
            sums: vec![0.0; data.columns],
            ranges: vec![(f32::INFINITY, f32::NEG_INFINITY); data.columns],
        };
        let parts = data.chunks(|first, rows, labels, weights| {
            let mut own = empty();
            for (at, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
                let row = &rows[at * data.columns..][..data.columns];
                if !(weight >= 0.0 && weight.is_finite()) {
                    return Err(LogisticError::Weight { row: first + at, value: weight });
                }
                if let Some(column) = row.iter().position(|x| !x.is_finite()) {
                    return Err(LogisticError::Value { row: first + at, column, value: row[column] });
                }
                if weight > 0.0 {
                    own.rows += 1;
                    own.positive_rows += usize::from(label);
                    own.weight += f64::from(weight);
                    own.positive += if label { f64::from(weight) } else { 0.0 };
                    for ((sum, range), &x) in own.sums.iter_mut().zip(&mut own.ranges).zip(row) {
                        *sum += f64::from(weight) * f64::from(x);
                        *range = (range.0.min(x), range.1.max(x));
                    }
                }
            }
            Ok(own)
        });
        let mut total = empty();
        for part in parts {
            let part = part?;
            total.rows += part.rows;
            total.positive_rows += part.positive_rows;
            total.weight += part.weight;
            total.positive += part.positive;
            add(&mut total.sums, &part.sums);
            let ranges = total.ranges.iter_mut().zip(&part.ranges);
            ranges.for_each(|(all, own)| *all = (all.0.min(own.0), all.1.max(own.1)));
        }
        Ok(total)
    }
}

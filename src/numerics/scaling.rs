//! Columns of very different kinds brought to one scale, robustly.
//!
//! Spend, counts and gaps between purchases have long right tails: a logarithm first, then the
//! median and the interquartile range (Huber, *Robust Statistics*, 1981), which a few enormous
//! customers cannot move, and a clip, so that they cannot move the clusters either.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use thiserror::Error;

/// The interquartile range of a normal distribution, in standard deviations. Dividing by it makes
/// one unit mean one standard deviation whether the range or the fall-back gave the scale.
const NORMAL_IQR: f64 = 1.348_979_500_392_163_6;

/// What a column measures, which decides how it is bent before it is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Money or a difference of money: `sign(x) · ln(1 + |x|)`.
    Amount,
    /// A level on a bounded scale (a price tier): as it is.
    Level,
    /// A share from 0 to 1: as it is, by mean and standard deviation. Most customers have nearly all
    /// or none of a share, so its quartiles say little of how customers differ.
    Share,
    /// How many: `ln(1 + x)`. A negative count is impossible and counts as missing.
    Count,
    /// How long, in any unit: `ln(1 + x)`. A negative duration counts as missing.
    Duration,
}

impl ColumnKind {
    /// The bent value; NaN when it is missing or impossible.
    fn bend(self, value: f64) -> f64 {
        match self {
            Self::Amount => ln_1p(value.abs()).copysign(value),
            Self::Level | Self::Share => value,
            Self::Count | Self::Duration if value < 0.0 => f64::NAN,
            Self::Count | Self::Duration => ln_1p(value),
        }
    }
}

/// ln(1 + x) of small whole numbers: counts and days are little else.
static OF_FEW: LazyLock<[f64; 512]> = LazyLock::new(|| std::array::from_fn(|x| (x as f64).ln_1p()));

fn ln_1p(value: f64) -> f64 {
    let whole = value as usize;
    match OF_FEW.get(whole) {
        // A number that is not one becomes 0, and is none.
        Some(known) if whole as f64 == value => *known,
        _ => value.ln_1p(),
    }
}

/// Why a scaling cannot be fitted, read or applied.
#[derive(Debug, Error, PartialEq)]
pub enum ScalingError {
    #[error("{columns} columns were given for {kinds} kinds")]
    Kinds { columns: usize, kinds: usize },
    #[error("column {column} has no finite value to fit")]
    NothingToFit { column: usize },
    #[error("the clip must be a positive number of standard deviations, not {clip}")]
    Clip { clip: f64 },
    #[error("column {column} of the stored scaling has centre {centre} and scale {scale}")]
    Stored { column: usize, centre: f64, scale: f64 },
    #[error("a row of {values} values and {places} places does not fit a scaling of {columns} columns")]
    Row { values: usize, places: usize, columns: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnScaling {
    kind: ColumnKind,
    centre: f64,
    scale: f64,
}

/// A fitted scaling, one line for each column. Reading a stored one checks it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredScaling")]
pub struct Scaling {
    clip: f64,
    columns: Vec<ColumnScaling>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredScaling {
    clip: f64,
    columns: Vec<ColumnScaling>,
}

impl TryFrom<StoredScaling> for Scaling {
    type Error = ScalingError;

    fn try_from(StoredScaling { clip, columns }: StoredScaling) -> Result<Self, ScalingError> {
        let clip = checked_clip(clip)?;
        for (column, &ColumnScaling { centre, scale, .. }) in columns.iter().enumerate() {
            // Written so that NaN fails.
            if !(centre.is_finite() && scale.is_finite() && scale > 0.0) {
                return Err(ScalingError::Stored { column, centre, scale });
            }
        }
        Ok(Self { clip, columns })
    }
}

impl Scaling {
    /// Where scaled values end, in standard deviations, unless told otherwise.
    pub const DEFAULT_CLIP: f64 = 4.0;

    /// Fits one column of the sample for each kind, clipped at [`Scaling::DEFAULT_CLIP`].
    ///
    /// The scale is the interquartile range over 1.349; where that is 0 (most values equal) the
    /// standard deviation; where that is 0 too, 1, so that a constant column becomes zeros. Values
    /// that are not finite are left out of the fit.
    ///
    /// Cost: one sort of each column, and one column of floats at a time. The order of the sample
    /// does not matter to the result.
    ///
    /// # Errors
    /// Columns and kinds of different number, or a column without any finite value.
    pub fn fit<C: AsRef<[f64]>>(columns: &[C], kinds: &[ColumnKind]) -> Result<Self, ScalingError> {
        Self::fit_clipped(columns, kinds, Self::DEFAULT_CLIP)
    }

    /// As [`Scaling::fit`], clipped at ±`clip`, which must be positive and finite.
    pub fn fit_clipped<C: AsRef<[f64]>>(
        columns: &[C],
        kinds: &[ColumnKind],
        clip: f64,
    ) -> Result<Self, ScalingError> {
        let clip = checked_clip(clip)?;
        if columns.len() != kinds.len() {
            return Err(ScalingError::Kinds { columns: columns.len(), kinds: kinds.len() });
        }
        let fit = |(column, (values, &kind)): (usize, (&C, &ColumnKind))| {
            let bent = values.as_ref().iter().map(|&value| kind.bend(value)).filter(|bent| bent.is_finite());
            let mut sorted = bent.collect::<Vec<_>>();
            sorted.sort_unstable_by(f64::total_cmp);
            let fitted = match kind {
                ColumnKind::Share => moments(&sorted),
                _ => centre_and_scale(&sorted),
            };
            let (centre, scale) = fitted.ok_or(ScalingError::NothingToFit { column })?;
            Ok(ColumnScaling { kind, centre, scale })
        };
        let columns = columns.iter().zip(kinds).enumerate().map(fit).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { clip, columns })
    }

    /// How many columns a row must have.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Scales one row into `out`, both of [`Scaling::columns`] values.
    ///
    /// A missing value (NaN) becomes 0, which is the centre: it pulls the customer neither way. An
    /// infinite one (an unlimited volume) lands on the clip. No allocation.
    pub fn apply(&self, row: &[f64], out: &mut [f32]) -> Result<(), ScalingError> {
        let columns = self.columns();
        if row.len() != columns || out.len() != columns {
            return Err(ScalingError::Row { values: row.len(), places: out.len(), columns });
        }
        for ((place, &value), column) in out.iter_mut().zip(row).zip(&self.columns) {
            let scaled = (column.kind.bend(value) - column.centre) / column.scale;
            *place = if scaled.is_nan() { 0.0 } else { scaled.clamp(-self.clip, self.clip) as f32 };
        }
        Ok(())
    }
}

fn checked_clip(clip: f64) -> Result<f64, ScalingError> {
    if clip.is_finite() && clip > 0.0 { Ok(clip) } else { Err(ScalingError::Clip { clip }) }
}

/// Median and scale of sorted finite values; none for no values.
fn centre_and_scale(sorted: &[f64]) -> Option<(f64, f64)> {
    let centre = quantile(sorted, 0.5)?;
    let range = (quantile(sorted, 0.75)? - quantile(sorted, 0.25)?) / NORMAL_IQR;
    // Smaller than this against the centre is rounding, not spread.
    let floor = 1e-9 * centre.abs().max(1e-3);
    if range > floor && range.is_finite() {
        return Some((centre, range));
    }
    Some((centre, moments(sorted)?.1))
}

/// Mean and standard deviation of sorted finite values, 1 instead of a deviation that is only rounding;
/// none for no values.
fn moments(sorted: &[f64]) -> Option<(f64, f64)> {
    sorted.first()?;
    let count = sorted.len() as f64;
    let mean = sorted.iter().map(|value| value / count).sum::<f64>();
    let variance = sorted.iter().map(|value| (value - mean).powi(2) / count).sum::<f64>();
    let deviation = variance.sqrt();
    let floor = 1e-9 * mean.abs().max(1e-3);
    Some((mean, if deviation > floor && deviation.is_finite() { deviation } else { 1.0 }))
}

/// The quantile by linear interpolation between order statistics (Hyndman & Fan, 1996, type 7).
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let place = q * sorted.len().checked_sub(1)? as f64;
    let low = *sorted.get(place as usize)?;
    let high = *sorted.get(place.ceil() as usize)?;
    let fraction = place.fract();
    Some(low * (1.0 - fraction) + high * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::generator;
    use rand::Rng;
    use rand_distr::StandardNormal;

    fn scaled(scaling: &Scaling, row: &[f64]) -> Vec<f32> {
        let mut out = vec![9.0; row.len()];
        scaling.apply(row, &mut out).unwrap();
        out
    }

    #[test]
    fn each_kind_is_bent_its_own_way() {
        let e = std::f64::consts::E;
        assert!((ColumnKind::Amount.bend(1.0 - e) + 1.0).abs() < 1e-15);
        assert!((ColumnKind::Amount.bend(e - 1.0) - 1.0).abs() < 1e-15);
        assert_eq!(ColumnKind::Level.bend(-0.25), -0.25);
        assert!((ColumnKind::Count.bend(e - 1.0) - 1.0).abs() < 1e-15);
        assert!(ColumnKind::Duration.bend(-0.5).is_nan() && ColumnKind::Count.bend(-3.0).is_nan());
    }

    #[test]
    fn five_values_worked_by_hand() {
        // Median 3, quartiles 2 and 4: one unit is 2 / 1.349.
        let scaling = Scaling::fit(&[[5.0, 1.0, 3.0, 2.0, 4.0]], &[ColumnKind::Level]).unwrap();
        let unit = NORMAL_IQR / 2.0;
        assert_eq!(scaled(&scaling, &[3.0]), [0.0]);
        assert_eq!(scaled(&scaling, &[5.0]), [(2.0 * unit) as f32]);
        assert_eq!(scaled(&scaling, &[1e9]), [4.0]);
        assert_eq!(scaled(&scaling, &[f64::NEG_INFINITY]), [-4.0]);
        assert_eq!(scaled(&scaling, &[f64::NAN]), [0.0]);
    }

    #[test]
    fn a_normal_column_gets_unit_deviation_whatever_a_few_giants_do() {
        let mut random = generator(4, "scaling test", 0);
        let mut column =
            (0..20_000).map(|_| 7.0 + 3.0 * random.sample::<f64, _>(StandardNormal)).collect::<Vec<_>>();
        column.extend([1e12; 20]);
        let scaling = Scaling::fit(&[column], &[ColumnKind::Level]).unwrap();
        assert!((scaled(&scaling, &[10.0])[0] - 1.0).abs() < 0.05);
    }

    #[test]
    fn a_column_without_quartiles_falls_back_to_deviation_then_to_one() {
        let mut mostly_zero = vec![0.0; 90];
        mostly_zero.extend([1.0; 10]);
        let scaling = Scaling::fit(&[mostly_zero, vec![5.0; 100]], &[ColumnKind::Level; 2]).unwrap();
        // Standard deviation of a 10 % indicator: 0.3.
        assert_eq!(scaled(&scaling, &[0.6, 6.0]), [2.0, 1.0]);
        assert_eq!(scaled(&scaling, &[0.0, 5.0]), [0.0, 0.0]);
    }

    #[test]
    fn a_share_is_scaled_by_its_moments() {
        let scaling = Scaling::fit(&[[0.0, 0.0, 0.0, 1.0]], &[ColumnKind::Share]).unwrap();
        // Mean 0.25, variance 3/16.
        let deviation = 0.1875_f64.sqrt();
        assert_eq!(scaled(&scaling, &[1.0]), [(0.75 / deviation) as f32]);
        assert_eq!(scaled(&scaling, &[0.25]), [0.0]);
    }

    #[test]
    fn order_and_missing_values_of_the_sample_do_not_matter() {
        let kinds = [ColumnKind::Amount];
        let forward = Scaling::fit(&[[1.0, -50.0, 1e6, 3.0]], &kinds).unwrap();
        let backward =
            Scaling::fit(&[[f64::NAN, 3.0, 1e6, -50.0, 1.0, f64::INFINITY].as_slice()], &kinds).unwrap();
        assert_eq!(forward, backward);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let none: [[f64; 1]; 1] = [[f64::NAN]];
        assert_eq!(Scaling::fit(&none, &[ColumnKind::Level]), Err(ScalingError::NothingToFit { column: 0 }));
        assert_eq!(Scaling::fit(&none, &[]), Err(ScalingError::Kinds { columns: 1, kinds: 0 }));
        assert!(matches!(
            Scaling::fit_clipped(&[[1.0]], &[ColumnKind::Level], f64::NAN),
            Err(ScalingError::Clip { .. })
        ));
        let scaling = Scaling::fit(&[[1.0]], &[ColumnKind::Level]).unwrap();
        assert!(scaling.apply(&[1.0, 2.0], &mut [0.0]).is_err());
        let stored = ColumnScaling { kind: ColumnKind::Level, centre: 0.0, scale: f64::NAN };
        assert!(Scaling::try_from(StoredScaling { clip: 4.0, columns: vec![stored] }).is_err());
    }
}

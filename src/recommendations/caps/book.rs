//! The limits, by constraint and by package.

use super::{Candidate, CapError, Constraint, Reason};

/// Constraints, arranged so that a package finds what an offer of it uses.
pub(super) struct Book {
    /// Infinite where there is no limit.
    pub maxima: Vec<f64>,
    pub minima: Vec<f64>,
    /// The largest weight of each constraint, one if there is none.
    pub scales: Vec<f64>,
    /// What the offers of package p use: entries `starts[p]..starts[p + 1]`, by constraint.
    starts: Vec<usize>,
    uses: Vec<(u32, f64)>,
}

impl Book {
    pub fn new<E: std::error::Error>(constraints: &[Constraint]) -> Result<Self, CapError<E>> {
        let mut entries: Vec<(u32, u32, f64)> = Vec::new();
        let (mut maxima, mut minima, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for (at, constraint) in constraints.iter().enumerate() {
            let name = || constraint.name.clone();
            for &(package, value) in &constraint.weights {
                if !(value >= 0.0 && value.is_finite()) {
                    return Err(CapError::Weight { constraint: name(), package, value });
                }
                if value > 0.0 {
                    entries.push((package, at as u32, value));
                }
            }
            for (bound, value) in [("max", constraint.max), ("min", constraint.min)] {
                if let Some(value) = value.filter(|value| !(*value >= 0.0 && value.is_finite())) {
                    return Err(CapError::Bound { constraint: name(), bound, value });
                }
            }
            // A min of zero asks for nothing.
            let min = constraint.min.filter(|min| *min > 0.0).unwrap_or(f64::NEG_INFINITY);
            let max = constraint.max.unwrap_or(f64::INFINITY);
            if min > max {
                let reason = Reason::AboveMax;
                return Err(CapError::CannotMeet { constraint: name(), wanted: min, reached: max, reason });
            }
            let largest = constraint.weights.iter().fold(0.0f64, |most, (_, weight)| most.max(*weight));
            maxima.push(max);
            minima.push(min);
            scales.push(if largest > 0.0 { largest } else { 1.0 });
        }
        entries.sort_by_key(|(package, at, _)| (*package, *at));
        // A package that is listed twice uses the sum.
        entries.dedup_by(|next, first| {
            let same = (next.0, next.1) == (first.0, first.1);
            first.2 += if same { next.2 } else { 0.0 };
            same
        });
        let packages = entries.last().map_or(0, |(package, ..)| *package as usize + 1);
        let starts =
            (0..=packages).map(|package| entries.partition_point(|entry| (entry.0 as usize) < package));
        let starts = starts.collect();
        let uses = entries.into_iter().map(|(_, at, weight)| (at, weight)).collect();
        Ok(Self { maxima, minima, scales, starts, uses })
    }

    /// One more than the largest number of a package that uses anything.
    pub fn packages(&self) -> usize {
        self.starts.len() - 1
    }

    /// (constraint, weight) of a package, by constraint.
    pub fn uses(&self, package: u32) -> &[(u32, f64)] {
        let package = package as usize;
        match self.starts.get(package..package + 2) {
            Some([from, to]) => &self.uses[*from..*to],
            _ => &[],
        }
    }

    /// What a package uses of one constraint.
    pub fn weight(&self, package: u32, constraint: usize) -> f64 {
        self.uses(package)
            .iter()
            .find(|(at, _)| *at as usize == constraint)
            .map_or(0.0, |(_, weight)| *weight)
    }

    /// Adds a customer's offers to counts by package.
    pub fn count(&self, counts: &mut [u64], candidates: &[Candidate], chosen: &[usize]) {
        for &at in chosen {
            if let Some(count) = counts.get_mut(candidates[at].package as usize) {
                *count += 1;
            }
        }
    }

    /// Totals by constraint from counts by package: one sum in the order of packages, so that the same
    /// counts always give the same bits.
    pub fn totals(&self, counts: &[u64]) -> Vec<f64> {
        let mut totals = vec![0.0; self.maxima.len()];
        for (package, &count) in counts.iter().enumerate() {
            for &(at, weight) in self.uses(package as u32) {
                totals[at as usize] += weight * count as f64;
            }
        }
        totals
    }

    /// The constraints that the totals do not meet: first those over their max, then those under their min.
    pub fn violated(&self, totals: &[f64]) -> Vec<usize> {
        let over = (0..totals.len()).filter(|&at| totals[at] > self.maxima[at]);
        over.chain((0..totals.len()).filter(|&at| totals[at] < self.minima[at])).collect()
    }

    /// How totals change when an offer of `given` becomes one of `taken` (none: an empty place).
    pub fn change(&self, given: u32, taken: Option<u32>) -> impl Iterator<Item = (usize, f64)> {
        let gains = taken.map_or(&[][..], |package| self.uses(package)).iter();
        let lost = self.uses(given).iter();
        let gains = gains.map(move |&(at, weight)| (at as usize, weight - self.weight(given, at as usize)));
        let kept = move |at: u32| taken.is_some_and(|package| self.weight(package, at as usize) > 0.0);
        gains.chain(lost.filter(move |(at, _)| !kept(*at)).map(|&(at, weight)| (at as usize, -weight)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        let constraint = |weights: &[(u32, f64)], max, min| Constraint {
            name: String::new(),
            weights: weights.to_vec(),
            max,
            min,
        };
        let constraints = [
            constraint(&[(4, 2.0), (1, 1.0), (4, 0.5), (2, 0.0)], Some(3.0), Some(0.0)),
            constraint(&[(4, 1.0), (0, 1.0)], None, Some(2.0)),
        ];
        Book::new::<std::fmt::Error>(&constraints).unwrap()
    }

    #[test]
    fn packages_find_their_weights_and_duplicates_add_up() {
        let book = book();
        assert_eq!(book.packages(), 5);
        assert_eq!(book.uses(4), [(0, 2.5), (1, 1.0)]);
        assert_eq!(book.uses(1), [(0, 1.0)]);
        assert!(book.uses(2).is_empty() && book.uses(99).is_empty());
        assert_eq!((book.weight(4, 1), book.weight(1, 1)), (1.0, 0.0));
        assert_eq!(book.totals(&[1, 2, 9, 9, 2]), [7.0, 3.0]);
        assert_eq!(book.minima, [f64::NEG_INFINITY, 2.0], "a min of zero asks for nothing");
        assert_eq!(book.violated(&[3.0, 1.0]), [1]);
        assert_eq!(book.violated(&[3.5, 1.0]), [0, 1]);
    }

    #[test]
    fn a_change_is_what_is_gained_less_what_is_lost() {
        let book = book();
        let change = |given, taken| {
            let mut change: Vec<_> = book.change(given, taken).collect();
            change.sort_by_key(|(at, _)| *at);
            change
        };
        assert_eq!(change(4, Some(1)), [(0, -1.5), (1, -1.0)]);
        assert_eq!(change(1, Some(0)), [(0, -1.0), (1, 1.0)]);
        assert_eq!(change(3, Some(4)), [(0, 2.5), (1, 1.0)]);
        assert_eq!(change(4, None), [(0, -2.5), (1, -1.0)]);
    }
}

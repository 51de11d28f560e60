//! Scores from 1 to 5 by cut points of value.
//!
//! The usual quintiles rank the customers and cut the ranking into five equal parts. Where many have the
//! same value, which most frequencies are, the order of the rows then decides who gets the better score.
//! Here the cut points are values: equal values have equal scores, whatever the order of the rows. The
//! price is groups of unequal size, so their sizes are published.

use crate::numerics::histogram::Histogram;

/// Scores from the worst to the best.
pub const SCORES: usize = 5;

/// A score from 1, the worst, to 5, the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(u8);

impl Score {
    /// A score from 1 to 5; None for any other number.
    pub fn new(score: u8) -> Option<Self> {
        (1..=SCORES as u8).contains(&score).then_some(Self(score))
    }

    pub fn get(self) -> u8 {
        self.0
    }

    /// From 0.
    pub fn index(self) -> usize {
        usize::from(self.0 - 1)
    }

    /// All five, the worst first.
    pub fn all() -> [Self; SCORES] {
        [1, 2, 3, 4, 5].map(Self)
    }
}

/// Which end of the values is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    /// Days since the last purchase.
    Fewer,
}

/// The cut points of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    better: Better,
    points: [i64; SCORES - 1],
    /// Customers by score.
    sizes: [u64; SCORES],
}

/// Which values have a score, and how many customers have such a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreBin {
    pub score: Score,
    /// Values above this; None: from the smallest.
    pub above: Option<i64>,
    /// Values not above this; None: up to the largest.
    pub up_to: Option<i64>,
    /// 0 where the cut points coincide: the score cannot be reached.
    pub customers: u64,
}

impl Cuts {
    /// Cut points at the quantiles .2, .4, .6 and .8; None without values.
    pub fn new(values: &Histogram, better: Better) -> Option<Self> {
        let point = |fifths: u8| values.quantile(f64::from(fifths) / SCORES as f64);
        let points = [point(1)?, point(2)?, point(3)?, point(4)?];
        let mut sizes = [values.count(); SCORES];
        let mut below = 0;
        for (size, point) in sizes.iter_mut().zip(points.map(Some).into_iter().chain([None])) {
            let up_to = point.map_or(values.count(), |point| values.count_up_to(point));
            *size = up_to - below;
            below = up_to;
        }
        if better == Better::Fewer {
            sizes.reverse();
        }
        Some(Self { better, points, sizes })
    }

    /// The score of a value: 1 and one more for each cut point that it is above, the other way round
    /// where fewer is better.
    pub fn score(&self, value: i64) -> Score {
        let above = self.points.iter().filter(|point| value > **point).count() as u8;
        match self.better {
            Better::More => Score(1 + above),
            Better::Fewer => Score(SCORES as u8 - above),
        }
    }

    /// The cut points in ascending order.
    pub fn points(&self) -> [i64; SCORES - 1] {
        self.points
    }

    /// The scores with their values and customers, the worst first.
    pub fn bins(&self) -> [ScoreBin; SCORES] {
        Score::all().map(|score| {
            let place = match self.better {
                Better::More => score.index(),
                Better::Fewer => SCORES - 1 - score.index(),
            };
            ScoreBin {
                score,
                above: place.checked_sub(1).and_then(|before| self.points.get(before).copied()),
                up_to: self.points.get(place).copied(),
                customers: self.sizes[score.index()],
            }
        })
    }

    /// The scores that nobody has because cut points coincide, the worst first.
    pub fn unreachable(&self) -> Vec<Score> {
        Score::all().into_iter().filter(|score| self.sizes[score.index()] == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[i64], better: Better) -> Cuts {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.add(*value, 1));
        Cuts::new(&histogram, better).expect("values")
    }

    fn scores(cuts: &Cuts, values: &[i64]) -> Vec<u8> {
        values.iter().map(|value| cuts.score(*value).get()).collect()
    }

    #[test]
    fn ten_different_values_give_two_of_each() {
        let values: Vec<i64> = (1..=10).collect();
        let cuts = of(&values, Better::More);
        assert_eq!(cuts.points(), [2, 4, 6, 8]);
        assert_eq!(scores(&cuts, &values), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(cuts.bins().map(|bin| bin.customers), [2; 5]);
        let reversed = of(&values, Better::Fewer);
        assert_eq!(scores(&reversed, &values), [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]);
        let best = reversed.bins()[4];
        assert_eq!((best.score.get(), best.above, best.up_to), (5, None, Some(2)));
        let worst = reversed.bins()[0];
        assert_eq!((worst.above, worst.up_to), (Some(8), None));
    }

    #[test]
    fn ties_leave_scores_out_and_say_which() {
        // Seven of ten bought once: cut points 1 1 1 2.
        let values = [1, 1, 1, 1, 1, 1, 1, 2, 3, 9];
        let cuts = of(&values, Better::More);
        assert_eq!(cuts.points(), [1, 1, 1, 2]);
        assert_eq!(scores(&cuts, &values), [1, 1, 1, 1, 1, 1, 1, 4, 5, 5]);
        assert_eq!(cuts.bins().map(|bin| bin.customers), [7, 0, 0, 1, 2]);
        assert_eq!(cuts.unreachable().iter().map(|score| score.get()).collect::<Vec<_>>(), [2, 3]);
        let same = of(&[5, 5, 5], Better::Fewer);
        assert_eq!(same.bins().map(|bin| bin.customers), [0, 0, 0, 0, 3]);
        assert_eq!(same.score(5).get(), 5);
    }

    #[test]
    fn nobody_has_no_cut_points_and_scores_are_one_to_five() {
        assert_eq!(Cuts::new(&Histogram::new(), Better::More), None);
        assert_eq!([0, 6].map(Score::new), [None, None]);
        assert_eq!(Score::all().map(Score::index), [0, 1, 2, 3, 4]);
        assert_eq!(Score::new(5), Some(Score(5)));
    }

    proptest! {
        #[test]
        fn sizes_are_those_of_the_scores_and_order_does_not_matter(
            values in prop::collection::vec(prop_oneof![0_i64..6, -50_i64..50, 0_i64..10_000_000], 1..120),
            turn in 0_usize..120,
        ) {
            for better in [Better::More, Better::Fewer] {
                let cuts = of(&values, better);
                let mut sizes = [0; SCORES];
                values.iter().for_each(|value| sizes[cuts.score(*value).index()] += 1);
                prop_assert_eq!(cuts.bins().map(|bin| bin.customers), sizes);
                let mut other = values.clone();
                other.rotate_left(turn % values.len());
                other.reverse();
                prop_assert_eq!(of(&other, better), cuts, "the order of the rows shows");
                // A value that is not worse never has the worse score.
                for pair in values.windows(2) {
                    let [a, b] = [pair[0], pair[1]].map(|value| cuts.score(value));
                    let in_order = match better {
                        Better::More => pair[0].cmp(&pair[1]),
                        Better::Fewer => pair[1].cmp(&pair[0]),
                    };
                    prop_assert!(in_order.is_le() && a <= b || in_order.is_ge() && a >= b);
                }
            }
        }
    }
}

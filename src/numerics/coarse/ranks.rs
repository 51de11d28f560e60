//! Points of one group ranked by their bytes: which can be the nearest of a query, which are within limits of their own.
//!
//! What bytes say of a distance is within an error that is known, so that few points are left to be measured.

use super::{Asked, Coarse, CoarseDesk};
#[cfg(target_arch = "x86_64")]
use crate::numerics::avx512::ranks as avx512;
use crate::numerics::blocks::{Blocks, LANES};

/// Of every point what its square may be: at most `near + lead + reach / inverse` for a `near` and a `reach` of the query.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    pub leads: &'a [[f32; LANES]],
    pub inverses: &'a [[f32; LANES]],
}

impl Within<'_> {
    /// More than a few roundings of what is added may come to.
    pub(in super::super) const SLOP: f32 = 16.0 * f32::EPSILON;
    /// What an inverse stands for at the least: reciprocals below can become zero.
    pub(in super::super) const LEAST: f32 = 1e-36;
}

/// What is added to the limits of a query: (lead + reach × width) × slope + base.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Ranked {
    pub(in super::super) reach: f32,
    pub(in super::super) slope: f32,
    pub(in super::super) base: f32,
}

impl Coarse {
    /// All points as one group, about their mean. None where it would be no gain.
    pub fn of_one_group(points: &Blocks) -> Option<Self> {
        let (dims, slots) = (points.dims(), points.slots());
        let (mut mean, mut row) = (vec![0.0f64; dims], vec![0.0f32; dims]);
        for slot in 0..slots {
            points.copy_point(slot, &mut row);
            mean.iter_mut().zip(&row).for_each(|(mean, x)| *mean += f64::from(*x) / slots as f64);
        }
        let mean: Vec<f32> = mean.into_iter().map(|mean| mean as f32).collect();
        Self::build(points, &[0, points.blocks()], &Blocks::from_rows(&mean, dims))
    }

    /// Of each query the slots among which the nearest of all points is, with all that are as near; the points are one group.
    ///
    /// # Panics
    /// When a query has not `dims` values, or `Q` is more than 4.
    pub fn nearest<'a, const Q: usize>(
        &self,
        queries: [&[f32]; Q],
        desk: &'a mut CoarseDesk,
    ) -> [&'a [u32]; Q] {
        self.prepare(queries, desk);
        let mut values = desk.values.iter_mut().map(Vec::as_mut_slice);
        let values: [&mut [[f32; LANES]]; Q] =
            std::array::from_fn(|_| values.next().expect("four at the most"));
        let asked: [&Asked; Q] = std::array::from_fn(|q| &desk.asked[q]);
        let least = match self.vnni {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            Some(_) => unsafe { avx512::values(self, asked, values) },
            _ => self.values(asked, values),
        };
        let mut counts = [0; Q];
        for q in 0..Q {
            let limit = self.limit_of_nearest(&desk.asked[q], least[q]);
            let (values, hits) = (&desk.values[q][..], &mut desk.hits[q][..]);
            counts[q] = match self.vnni {
                // SAFETY: this value exists only where the instructions do.
                #[cfg(target_arch = "x86_64")]
                Some(_) => unsafe { avx512::not_above(values, limit, hits) },
                _ => keep(values.as_flattened(), hits, |_, value| value > limit),
            };
        }
        std::array::from_fn(|q| &desk.hits[q][..counts[q]])
    }

    /// Of each query the slots of points whose squares may be within `limits`; the points are one group.
    ///
    /// # Panics
    /// When a query has not `dims` values, or `Q` is more than 4.
    pub fn within<'a, const Q: usize>(
        &self,
        queries: [&[f32]; Q],
        limits: Within,
        nears: [f32; Q],
        reaches: [f32; Q],
        desk: &'a mut CoarseDesk,
    ) -> [&'a [u32]; Q] {
        self.prepare(queries, desk);
        let asked: [&Asked; Q] = std::array::from_fn(|q| &desk.asked[q]);
        let ranked = std::array::from_fn(|q| self.ranked(asked[q], nears[q], reaches[q]));
        let mut hits = desk.hits.iter_mut().map(Vec::as_mut_slice);
        let hits: [&mut [u32]; Q] = std::array::from_fn(|_| hits.next().expect("four at the most"));
        let counts = match self.vnni {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            Some(_) => unsafe { avx512::within(self, asked, &limits, ranked, hits) },
            _ => self.plain_within(asked, &limits, ranked, hits),
        };
        std::array::from_fn(|q| &desk.hits[q][..counts[q]])
    }

    fn prepare<const Q: usize>(&self, queries: [&[f32]; Q], desk: &mut CoarseDesk) {
        assert!(queries.iter().all(|query| query.len() == self.dims));
        self.ask(0, queries, [0.0; Q], &mut desk.asked);
        let blocks = self.blocks();
        for (values, hits) in desk.values.iter_mut().zip(&mut desk.hits) {
            values.resize(blocks, [0.0; LANES]);
            hits.resize(hits.len().max((blocks + 1) * LANES), 0);
        }
    }

    /// What the value of a nearest point can be at the most, given the least of the values.
    fn limit_of_nearest(&self, asked: &Asked, least: f32) -> f32 {
        let all = 2.0 * (self.groups[0].reach.powi(2) + asked.square);
        let farthest = (least + asked.square + self.sums() * all).max(0.0).sqrt() * self.rounding();
        // The distance of the point with the least value, as a chain may give it, is no more.
        let nearest = (farthest + asked.error + self.groups[0].error) * self.rounding();
        self.limit(&self.groups[0], asked, nearest * nearest * self.rounding())
    }

    /// If a square s is at most a limit T, then |t b − s a|² is at most T + 2 E √T + E² for errors of E, and
    /// 2 √T ≤ T / c + c for every c.
    fn ranked(&self, asked: &Asked, near: f32, reach: f32) -> Ranked {
        let error = asked.error + self.groups[0].error;
        let middle = (near.sqrt() + reach).max(error);
        let slope = self.rounding() * self.rounding() * (1.0 + error / middle) * (1.0 + self.sums());
        let all = 2.0 * (self.groups[0].reach.powi(2) + asked.square);
        let more = (error * middle + error * error) * (1.0 + self.sums()) - asked.square + self.sums() * all;
        let near = near * (1.0 + Within::SLOP) + self.dims as f32 * f32::MIN_POSITIVE;
        let base = near * slope + more;
        // What rounding may have taken from the sum.
        let base = base + (near * slope + more.abs()) * Within::SLOP;
        Ranked { reach: reach * (1.0 + Within::SLOP), slope, base }
    }

    /// Whole blocks of points.
    pub(in super::super) fn blocks(&self) -> usize {
        self.squares.len()
    }

    fn values<const Q: usize>(&self, asked: [&Asked; Q], out: [&mut [[f32; LANES]]; Q]) -> [f32; Q] {
        let mut out = out.into_iter();
        asked.map(|asked| {
            let mut least = f32::INFINITY;
            for (block, values) in out.next().into_iter().flatten().enumerate() {
                *values = self.plain_values(asked, block);
                least = values.iter().fold(least, |least, value| least.min(*value));
            }
            least
        })
    }

    fn plain_within<const Q: usize>(
        &self,
        asked: [&Asked; Q],
        limits: &Within,
        ranked: [Ranked; Q],
        hits: [&mut [u32]; Q],
    ) -> [usize; Q] {
        let mut counts = [0; Q];
        for (q, hits) in hits.into_iter().enumerate() {
            let values: Vec<f32> =
                (0..self.blocks()).flat_map(|block| self.plain_values(asked[q], block)).collect();
            let (leads, inverses) = (limits.leads.as_flattened(), limits.inverses.as_flattened());
            counts[q] = keep(&values, hits, |slot, value| {
                let lead = leads[slot] + leads[slot].abs() * Within::SLOP;
                let width = (1.0 / inverses[slot]).max(Within::LEAST) * (1.0 + Within::SLOP);
                value > (lead + ranked[q].reach * width) * ranked[q].slope + ranked[q].base
            });
        }
        counts
    }
}

/// The places of values that are not beyond something to the front of `hits`; returns how many.
fn keep(values: &[f32], hits: &mut [u32], is_beyond: impl Fn(usize, f32) -> bool) -> usize {
    let near = values.iter().enumerate().filter(|(slot, value)| !is_beyond(*slot, **value));
    near.zip(hits).map(|((slot, _), hit)| *hit = slot as u32).count()
}

#[cfg(test)]
mod tests {
    use super::super::super::simd::Vnni;
    use super::*;
    use crate::numerics::random::generator;
    use rand::Rng;

    /// Points and queries, and the squared distances of each query from all points.
    fn asked(dims: usize, spread: f32, offset: f32) -> (Blocks, Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let mut random = generator(7, "ranks test", dims as u64);
        let mut row = |spread: f32| -> Vec<f32> {
            (0..dims).map(|_| offset + spread * random.gen_range(-1.0..1.0)).collect()
        };
        let rows: Vec<f32> = (0..203).flat_map(|_| row(spread)).collect();
        let mut queries: Vec<Vec<f32>> = (0..30).map(|_| row(spread * 1.5)).collect();
        queries.push(rows[..dims].to_vec());
        queries.push(vec![offset + 50.0 * spread; dims]);
        let points = Blocks::from_rows(&rows, dims);
        let distances = queries.iter().map(|query| {
            let mut out = vec![0.0; points.blocks() * LANES];
            points.distances(query, 0..points.blocks(), &mut out);
            out
        });
        let distances = distances.collect();
        (points, queries, distances)
    }

    /// With the instructions, where there are any, and without.
    fn both(points: &Blocks) -> impl Iterator<Item = Coarse> + use<'_> {
        let mean = Blocks::from_rows(&vec![0.5; points.dims()], points.dims());
        let bounds = [0, points.blocks()];
        [Vnni::detect(), None].into_iter().map(move |vnni| Coarse::of(vnni, points, &bounds, &mean))
    }

    const PLACES: [(f32, f32); 7] =
        [(1.0, 0.0), (1.0, 1e4), (1e-3, 1e3), (1e-22, 0.0), (1e-38, 0.0), (1e15, 0.0), (1e30, 0.0)];

    #[test]
    fn the_nearest_is_left_and_few_others() {
        for (dims, (spread, offset)) in [8, 16, 37].into_iter().flat_map(|d| PLACES.map(|place| (d, place))) {
            let (points, queries, distances) = asked(dims, spread, offset);
            let (mut desk, mut left) = (CoarseDesk::default(), 0);
            for coarse in both(&points) {
                for (four, distances) in queries.chunks(4).zip(distances.chunks(4)) {
                    let rows: [&[f32]; 4] = std::array::from_fn(|q| &four[q][..]);
                    for (hits, distances) in coarse.nearest(rows, &mut desk).into_iter().zip(distances) {
                        let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
                        let nearest = (0..203u32).filter(|slot| distances[*slot as usize] == least);
                        nearest.for_each(|slot| assert!(hits.contains(&slot), "{dims} {spread} {offset}"));
                        left += hits.len();
                    }
                }
            }
            assert!((spread, offset) != (1.0, 0.0) || left < 64 * 5, "{dims}: {left}");
        }
    }

    #[test]
    fn what_is_within_is_left_and_few_others() {
        for (dims, (spread, offset)) in [8, 16, 37].into_iter().flat_map(|d| PLACES.map(|place| (d, place))) {
            let (points, queries, distances) = asked(dims, spread, offset);
            let mut random = generator(8, "ranks test", dims as u64);
            let square = spread * spread * dims as f32;
            let mut lanes = |from: f32, to: f32| -> Vec<[f32; LANES]> {
                let mut lane = || std::array::from_fn(|_| random.gen_range(from..to));
                (0..points.blocks()).map(|_| lane()).collect()
            };
            let leads = lanes(-2.0, 0.5).into_iter().map(|lane| lane.map(|x| x * square)).collect::<Vec<_>>();
            let mut inverses = lanes(0.2, 0.5);
            inverses.as_flattened_mut().iter_mut().for_each(|x| *x /= spread * (dims as f32).sqrt());
            inverses[2][5] = 0.0;
            let limits = Within { leads: &leads, inverses: &inverses };
            let (mut desk, mut left, mut wanted) = (CoarseDesk::default(), 0, 0);
            for coarse in both(&points) {
                for (four, distances) in queries.chunks(4).zip(distances.chunks(4)) {
                    let rows: [&[f32]; 4] = std::array::from_fn(|q| &four[q][..]);
                    let nears = std::array::from_fn(|q| square * 0.2 * q as f32);
                    let reaches = std::array::from_fn(|q| square.sqrt() * [0.0, 0.01, 0.1, 0.3][q]);
                    let hits = coarse.within(rows, limits, nears, reaches, &mut desk);
                    for q in 0..4 {
                        for slot in 0..203 {
                            let (lead, inverse) = (leads.as_flattened()[slot], inverses.as_flattened()[slot]);
                            let most = f64::from(nears[q])
                                + f64::from(lead)
                                + f64::from(reaches[q]) / f64::from(inverse);
                            if f64::from(distances[q][slot]) <= most {
                                wanted += 1;
                                assert!(hits[q].contains(&(slot as u32)), "{dims} {spread} {offset}");
                            }
                        }
                        left += hits[q].len();
                    }
                }
            }
            let some = wanted > 100 && left < wanted * 3 / 2 + 200;
            assert!((spread, offset) != (1.0, 0.0) || some, "{dims}: {left} for {wanted}");
        }
    }
}

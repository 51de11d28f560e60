use super::super::blocks::VACANT;
use super::*;
use crate::numerics::random::generator;
use rand::Rng;

/// Points of some groups, cell by cell, and their centres.
struct Groups {
    points: Blocks,
    firsts: Vec<usize>,
    centres: Blocks,
    rows: Vec<f32>,
}

/// Three groups, of 200, 1 and 90 points about their centres, as far as `spread` in every dimension.
fn groups(dims: usize, spread: f32, offset: f32) -> Groups {
    let mut random = generator(7, "coarse test", dims as u64);
    let centres: Vec<f32> =
        (0..3 * dims).map(|at| offset + spread * ((at / dims) as f32 - random.gen_range(0.0..1.0))).collect();
    let (mut rows, mut slots, mut firsts) = (Vec::new(), Vec::new(), vec![0]);
    for (group, count) in [200, 1, 90].into_iter().enumerate() {
        for _ in 0..count {
            slots.push((rows.len() / dims) as u32);
            rows.extend((0..dims).map(|d| centres[group * dims + d] + spread * random.gen_range(-1.0..1.0)));
        }
        slots.resize(slots.len().next_multiple_of(LANES), VACANT);
        firsts.push(slots.len() / LANES);
    }
    let points = Blocks::from_slots(&rows, dims, &slots);
    Groups { points, firsts, centres: Blocks::from_rows(&centres, dims), rows }
}

/// With the instructions, where there are any, and without.
fn both(groups: &Groups) -> impl Iterator<Item = Coarse> {
    let Groups { points, firsts, centres, .. } = groups;
    [Vnni::detect(), None].into_iter().map(|vnni| Coarse::of(vnni, points, firsts, centres))
}

/// Leaves out of every group, for queries of the given scale, no point within the threshold; returns the share of points
/// that are left.
fn compare(groups: &Groups, dims: usize, scale: f32, nearest: usize) -> f64 {
    let mut random = generator(7, "coarse queries", dims as u64);
    let (mut left, mut all) = (0, 0);
    for round in 0..20 {
        let point = &groups.rows[round * 14 * dims..][..dims];
        let mut query = || -> Vec<f32> {
            point.iter().map(|value| value + scale * random.gen_range(-1.0..1.0f32)).collect()
        };
        let queries = [query(), query(), query(), query()];
        let queries: [&[f32]; 4] = std::array::from_fn(|q| &queries[q][..]);
        let distances = queries.map(|query| {
            let mut out = vec![0.0; groups.points.blocks() * LANES];
            groups.points.distances(query, 0..groups.points.blocks(), &mut out);
            out
        });
        let thresholds = std::array::from_fn(|q| {
            let mut sorted = distances[q].clone();
            sorted.sort_by(f32::total_cmp);
            sorted[nearest]
        });
        for coarse in both(groups) {
            let mut desk = CoarseDesk::default();
            for (group, firsts) in groups.firsts.windows(2).enumerate() {
                let blocks = firsts[0]..firsts[1];
                let mut centre = vec![0.0; dims];
                groups.centres.copy_point(group, &mut centre);
                let check = |apart: [f32; 4]| {
                    for (apart, query) in apart.into_iter().zip(queries) {
                        let squares =
                            query.iter().zip(&centre).map(|(q, c)| (f64::from(*q) - f64::from(*c)).powi(2));
                        let is_less = f64::from(apart) <= squares.sum::<f64>().sqrt();
                        assert!(is_less || !apart.is_finite(), "{dims} dimensions, {scale}");
                    }
                    blocks.clone()
                };
                let near = coarse.near(group, queries, thresholds, check, &mut desk);
                let slots = blocks.start * LANES..blocks.end * LANES;
                for q in 0..4 {
                    assert!(
                        near[q].is_sorted() && near[q].iter().all(|slot| slots.contains(&(*slot as usize)))
                    );
                    let missed = |slot: &usize| !near[q].contains(&(*slot as u32));
                    let within = |slot: &usize| distances[q][*slot] <= thresholds[q];
                    let lost = slots
                        .clone()
                        .filter(|slot| *slot < groups.points.slots())
                        .filter(missed)
                        .find(within);
                    let vacant = |slot: usize| distances[q][slot] == f32::INFINITY;
                    assert!(lost.is_none_or(vacant), "{dims} dimensions, group {group}: {lost:?}");
                    left += near[q].len();
                    all += slots.len();
                }
            }
        }
    }
    left as f64 / all as f64
}

#[test]
fn what_is_left_out_is_beyond_and_most_is() {
    for dims in [1, 8, 16, 19, 32, 70] {
        let groups = groups(dims, 1.0, 0.0);
        let share = compare(&groups, dims, 0.05, 2);
        assert!(dims < 8 || share < 0.05, "{dims} dimensions: {share} of the points were left");
    }
}

#[test]
fn rounding_leaves_nothing_out() {
    // Far from the origin, where floats are as coarse as the integers; tiny; and so large that squares overflow.
    let scales = [(1.0, 1e6), (1e-3, 1e4), (1e-22, 0.0), (1e-38, 0.0), (1e17, 0.0), (1e30, 0.0)];
    for ((spread, offset), dims) in scales.into_iter().flat_map(|scale| [17, 300].map(|dims| (scale, dims))) {
        let groups = groups(dims, spread, offset);
        compare(&groups, dims, spread / 10.0, 3);
        compare(&groups, dims, 0.0, 0);
    }
}

#[test]
fn groups_of_equal_points_and_far_queries_are_scanned() {
    let mut equal = groups(16, 0.0, 3.0);
    compare(&equal, 16, 0.0, 5);
    compare(&equal, 16, 2.0, 5);
    equal = groups(16, 1.0, 0.0);
    compare(&equal, 16, 1e20, 5);
}

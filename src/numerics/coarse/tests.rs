use super::super::blocks::VACANT;
use super::super::blocks::tests::Found;
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

/// Scans every group for queries of the given scale and finds exactly what a scan of all blocks finds; returns the
/// share of blocks that were measured.
fn compare(groups: &Groups, dims: usize, scale: f32, nearest: usize) -> f64 {
    let mut random = generator(7, "coarse queries", dims as u64);
    let (mut measured, mut all) = (0, 0);
    for round in 0..20 {
        let point = &groups.rows[round * 14 * dims..][..dims];
        let mut query = || -> Vec<f32> {
            point.iter().map(|value| value + scale * random.gen_range(-1.0..1.0f32)).collect()
        };
        let queries = [query(), query(), query(), query()];
        let queries: [&[f32]; 4] = std::array::from_fn(|q| &queries[q][..]);
        let thresholds = queries.map(|query| {
            let mut out = vec![0.0; groups.points.blocks() * LANES];
            groups.points.distances(query, 0..groups.points.blocks(), &mut out);
            out.sort_by(f32::total_cmp);
            out[nearest]
        });
        for coarse in both(groups) {
            let mut desk = CoarseDesk::default();
            for (group, firsts) in groups.firsts.windows(2).enumerate() {
                let blocks = firsts[0]..firsts[1];
                let mut expected = Found::new(groups.points.blocks(), thresholds);
                groups.points.scan(queries, blocks.clone(), thresholds, &mut expected);
                let mut found = Found::new(groups.points.blocks(), thresholds);
                let stretch = Stretch { group, blocks: blocks.clone() };
                coarse.scan(&groups.points, stretch, queries, thresholds, &mut desk, &mut found);
                for q in 0..4 {
                    assert_eq!(found.of(q), expected.of(q), "{dims} dimensions, group {group}");
                }
                let asked = [&desk.asked[0]; 1];
                let mut hits = vec![0; blocks.len()];
                measured += coarse.hits(asked, blocks.clone(), [&mut hits])[0];
                all += blocks.len();
            }
        }
    }
    measured as f64 / all as f64
}

#[test]
fn what_is_left_out_is_beyond_and_most_is() {
    for dims in [1, 8, 16, 19, 32, 70] {
        let groups = groups(dims, 1.0, 0.0);
        let share = compare(&groups, dims, 0.05, 2);
        assert!(dims < 8 || share < 0.2, "{dims} dimensions: {share} of the blocks were measured");
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

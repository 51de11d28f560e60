use super::super::simd::{InstructionSet, dispatch};
use super::*;
use crate::numerics::random::generator;
use rand::Rng;

fn rows(n: usize, dims: usize, key: u64) -> Vec<f32> {
    let mut random = generator(7, "blocks test", key);
    (0..n * dims).map(|_| random.gen_range(-3.0..3.0f32)).collect()
}

/// Keeps everything that a scan finds, by query, and lowers each threshold to `bar` after the first find.
pub(in super::super) struct Found<const Q: usize> {
    names: Vec<[u32; LANES]>,
    distances: [Vec<f32>; Q],
    kept: [Vec<u32>; Q],
    counts: [usize; Q],
    bars: [f32; Q],
}

impl<const Q: usize> Found<Q> {
    pub fn new(blocks: usize, bars: [f32; Q]) -> Self {
        let names =
            (0..blocks).map(|block| std::array::from_fn(|lane| (block * LANES + lane) as u32)).collect();
        let room = (blocks + 1) * LANES;
        let (distances, kept) =
            (std::array::from_fn(|_| vec![0.0; room]), std::array::from_fn(|_| vec![0; room]));
        Self { names, distances, kept, counts: [0; Q], bars }
    }

    /// Slots and distances that a query was given.
    pub fn of(&self, q: usize) -> Vec<(u32, f32)> {
        let kept = self.kept[q].iter().copied().zip(self.distances[q].iter().copied());
        kept.take(self.counts[q]).collect()
    }
}

impl<const Q: usize> Collect for &mut Found<Q> {
    fn room(&mut self, q: usize, block: usize) -> Room<'_> {
        Room::at(self.counts[q], &self.names[block], &mut self.distances[q], &mut self.kept[q])
    }

    fn took(&mut self, q: usize, count: usize) -> f32 {
        self.counts[q] += count;
        self.bars[q]
    }
}

/// The chain written once more, without blocks.
fn plain(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| (x - y).mul_add(x - y, sum))
}

#[test]
fn points_that_lie_anywhere_become_blocks() {
    for dims in [1, 4, 7, 32] {
        let points = rows(90, dims, 3);
        let all = Rows::of(&Blocks::from_rows(&points, dims));
        let slots: Vec<[u32; LANES]> =
            (0..3).map(|block| std::array::from_fn(|lane| (block * 31 + lane as u32 * 57) % 90)).collect();
        let expected = Blocks::from_slots(&points, dims, slots.as_flattened());
        // Filled twice: the second time with less.
        let mut blocks = Blocks::default();
        for (set, some) in InstructionSet::available().flat_map(|set| [(set, 3), (set, 1)]) {
            blocks.take_with(set, &all, &slots[..some]);
            assert_eq!((blocks.blocks(), blocks.dims()), (some, dims));
            for slot in 0..some * LANES {
                let (mut found, mut wanted) = (vec![0.0; dims], vec![0.0; dims]);
                blocks.copy_point(slot, &mut found);
                expected.copy_point(slot, &mut wanted);
                assert_eq!(found, wanted, "{set:?}, {dims} dimensions, slot {slot}");
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_plain_chain() {
    for (n, dims) in [(1, 1), (16, 3), (37, 16), (100, 41)] {
        let (points, queries) = (rows(n, dims, 1), rows(4, dims, 2));
        let blocks = Blocks::from_rows(&points, dims);
        let query: [&[f32]; 4] = std::array::from_fn(|q| &queries[q * dims..][..dims]);
        let expected = |q: usize, i: usize| plain(&points[i * dims..][..dims], query[q]).to_bits();
        for set in InstructionSet::available() {
            let all = 0..blocks.blocks();
            let mut out = vec![[0.0; LANES]; 4 * all.len()];
            let mut outs = out.chunks_mut(all.len());
            let outs = std::array::from_fn(|_| outs.next().expect("four"));
            blocks.distances_with(set, query, all.clone(), outs);
            for (q, out) in out.as_flattened().chunks(all.len() * LANES).enumerate() {
                assert!((0..n).all(|i| out[i].to_bits() == expected(q, i)), "{set:?} n={n} dims={dims}");
                assert!(out[n..].iter().all(|d| *d == f32::INFINITY), "padding is infinitely far");
            }
            let mut found = Found::new(blocks.blocks(), [f32::INFINITY; 4]);
            blocks.scan_with(set, query, all, [f32::INFINITY; 4], &mut found);
            for q in 0..4 {
                assert_eq!(found.of(q).len(), blocks.blocks() * LANES);
                for (slot, distance) in found.of(q).into_iter().filter(|(slot, _)| (*slot as usize) < n) {
                    assert_eq!(distance.to_bits(), expected(q, slot as usize), "{set:?}");
                }
            }
            let lane = (n - 1) % LANES;
            let last = blocks.block((n - 1) / LANES);
            let alone = dispatch(set, One { lanes: last, query: query[1], lane });
            assert_eq!(alone.to_bits(), expected(1, n - 1));
        }
    }
}

#[test]
fn nearest_agrees_with_brute_force_for_every_number_of_centres_and_instruction_set() {
    let dims = 5;
    let points = rows(53, dims, 3);
    let blocks = Blocks::from_rows(&points, dims);
    for k in [1, 2, 7, 8, 9, 16, 17, 31, 40] {
        let centres = rows(k, dims, 4);
        let expected: Vec<(u32, u32)> = points
            .chunks_exact(dims)
            .map(|point| {
                let all = centres.chunks_exact(dims).map(|centre| plain(point, centre));
                let best = all.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).expect("centres");
                (best.0 as u32, best.1.to_bits())
            })
            .collect();
        let check = |labels: &[u32], distances: &[f32], how: &str| {
            let got: Vec<_> = labels.iter().copied().zip(distances.iter().map(|d| d.to_bits())).collect();
            assert_eq!(got, expected, "k = {k}, {how}");
        };
        let (mut labels, mut distances) = (vec![9; 53], vec![0.0; 53]);
        for set in InstructionSet::available() {
            let (labels, distances) = (&mut labels[..], &mut distances[..]);
            dispatch(set, Nearest { lanes: &blocks.lanes, dims, centres: &centres, labels, distances });
            check(labels, distances, &format!("{set:?}"));
        }
        nearest(&centres, dims, &points, &mut labels, &mut distances);
        check(&labels, &distances, "from rows");
    }
}

#[test]
fn a_tie_goes_to_the_lower_centre_and_a_scan_finds_only_what_is_near() {
    let (mut labels, mut distances) = ([9; 2], [0.0; 2]);
    nearest(&[1.0, -1.0, 1.0], 1, &[0.0, 2.0], &mut labels, &mut distances);
    assert_eq!((labels, distances), ([0, 0], [1.0, 1.0]));

    let points: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let blocks = Blocks::from_rows(&points, 1);
    for set in InstructionSet::available() {
        let mut found = Found::new(4, [4.0, 1.0]);
        blocks.scan_with(set, [&[40.0], &[0.25]], 0..4, [9.0, 9.0], &mut found);
        let near = |slots: std::ops::RangeInclusive<u32>, of: f32| -> Vec<(u32, f32)> {
            slots.map(|slot| (slot, (slot as f32 - of).powi(2))).collect()
        };
        assert_eq!(found.of(0), near(37..=43, 40.0), "{set:?}");
        assert_eq!(found.of(1), near(0..=3, 0.25), "the bar falls after the block: {set:?}");
    }
    let mut found = Found::new(4, [1.0]);
    blocks.scan([&[15.5]], 0..4, [9.0], &mut found);
    assert_eq!(
        found.of(0),
        [(13, 6.25), (14, 2.25), (15, 0.25), (16, 0.25)],
        "a lower bar from the second block on"
    );
}

#[test]
fn roots_are_those_of_the_plain_chain() {
    let points = rows(37, 6, 5);
    let blocks = Blocks::from_rows(&points, 6);
    for n in [1, 4, 7] {
        let queries = rows(n, 6, 6);
        let mut out = vec![[0.0; LANES]; n];
        blocks.roots(2, &queries, &mut out);
        for (query, out) in queries.chunks_exact(6).zip(&out) {
            let expected = |slot: usize| plain(&points[slot * 6..][..6], query).sqrt().to_bits();
            assert!((32..37).all(|slot| out[slot - 32].to_bits() == expected(slot)));
            assert!(out[5..].iter().all(|distance| *distance == f32::INFINITY));
        }
    }
}

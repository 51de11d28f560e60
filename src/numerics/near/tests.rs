use super::*;
use crate::numerics::random::generator;
use rand::Rng;

/// Distances with ties, zeros and infinities among them.
fn distances(blocks: usize, key: u64) -> Vec<[f32; LANES]> {
    let mut random = generator(5, "near test", key);
    let mut draw = || match random.gen_range(0..10) {
        0 => f32::INFINITY,
        1 => 0.0,
        2 => 7.0,
        _ => random.gen_range(0.0..10.0f32).powi(3),
    };
    (0..blocks).map(|_| std::array::from_fn(|_| draw())).collect()
}

#[test]
fn a_bound_admits_enough_and_not_many_more_on_every_instruction_set() {
    for blocks in [0, 1, 3, 40] {
        let mut values = distances(blocks, blocks as u64);
        // A clean set too: no two values are equal.
        for spread in [false, true] {
            if spread {
                values
                    .as_flattened_mut()
                    .iter_mut()
                    .zip(1..)
                    .for_each(|(value, i)| *value = (i * 37 % 1009) as f32);
            }
            let finite = values.as_flattened().iter().filter(|value| value.is_finite()).count();
            for k in [1, 2, 5, 20, 50, 400, finite, finite + 1] {
                for set in InstructionSet::available() {
                    let bound = bound_with(set, &values, k);
                    let within = values.as_flattened().iter().filter(|value| **value <= bound.value).count();
                    let case = format!("{set:?}: {within} of {finite} for k = {k}");
                    assert_eq!(bound.within, within, "{case}");
                    assert!(within >= k || bound.value == f32::INFINITY, "{case}");
                    assert!(k <= finite || bound.value == f32::INFINITY, "{case}");
                    assert!(!spread || k > finite || within <= most(k) + LANES, "{case}");
                }
            }
        }
    }
    let overflow = [[f32::MAX; LANES]; 2];
    assert_eq!(bound(&overflow, 3), Bound { value: f32::INFINITY, within: 32 }, "no mean");
    assert_eq!(bound(&[[0.0; LANES]], 3), Bound { value: 0.0, within: 16 });
}

#[test]
fn what_is_kept_is_what_is_within_in_its_order_on_every_instruction_set() {
    let values = distances(9, 3);
    let names: Vec<[u32; LANES]> =
        (0..9).map(|block| std::array::from_fn(|lane| block * 100 + lane as u32)).collect();
    for bar in [-1.0, 0.0, 7.0, 300.0, f32::INFINITY] {
        let all = values.as_flattened().iter().zip(names.as_flattened());
        let expected: Vec<(f32, u32)> =
            all.filter(|(value, _)| **value <= bar).map(|(v, n)| (*v, *n)).collect();
        for set in InstructionSet::available() {
            let (mut kept, mut kept_names) = (vec![0.0; 10 * LANES], vec![0; 10 * LANES]);
            let count = keep_with(set, &values, &names, bar, &mut kept, &mut kept_names);
            let got: Vec<(f32, u32)> = kept.into_iter().zip(kept_names).take(count).collect();
            assert_eq!(got, expected, "{set:?}, bar {bar}");
        }
    }
}

#[test]
fn keys_order_by_value_and_name_on_every_instruction_set() {
    let mut random = generator(9, "keys test", 0);
    for length in (0..40).chain([200]) {
        let values: Vec<f32> = (0..length).map(|_| random.gen_range(0.0..9.0f32)).collect();
        let names: Vec<u32> = (0..length as u32)
            .map(|i| if i % 5 == 3 { u32::MAX } else { i.wrapping_mul(1 << 27) | i })
            .collect();
        let without = [u32::MAX, names.get(7).copied().unwrap_or(0)];
        let mut expected: Vec<(f32, u32)> = values
            .iter()
            .copied()
            .zip(names.iter().copied())
            .filter(|pair| !without.contains(&pair.1))
            .collect();
        expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for set in InstructionSet::available() {
            let (mut keys, mut sorted) = (vec![0; length], vec![0; length]);
            let count = put_keys_with(set, &values, &names, without, &mut keys);
            sort_with(set, &keys, &mut sorted);
            let found: Vec<(f32, u32)> =
                sorted[..count].iter().map(|key| (f32::from_bits((key >> 32) as u32), *key as u32)).collect();
            assert_eq!(found, expected, "{set:?}, {length}");
        }
    }
}

#[test]
fn integers_are_sorted_at_every_length_on_every_instruction_set() {
    let mut random = generator(6, "sort test", 0);
    for length in (0..40).chain([COUNTED - 1, COUNTED, COUNTED + 1]) {
        let values: Vec<u64> =
            (0..length as u64).map(|i| random.gen_range(0..u64::MAX >> 16) << 16 | i).collect();
        let mut expected = values.clone();
        expected.sort_unstable();
        for set in InstructionSet::available() {
            let mut sorted = vec![0; length];
            sort_with(set, &values, &mut sorted);
            assert_eq!(sorted, expected, "{set:?}, {length}");
        }
    }
}

#[test]
fn the_kth_is_exact_on_every_instruction_set() {
    for blocks in [1, 2, 5, 40] {
        let values = distances(blocks, 20 + blocks as u64);
        let mut sorted = values.as_flattened().to_vec();
        sorted.sort_by(f32::total_cmp);
        for (k, set) in (1..=sorted.len()).flat_map(|k| InstructionSet::available().map(move |set| (k, set)))
        {
            for bar in [sorted[k - 1], sorted[k - 1] * 1.5, f32::INFINITY] {
                assert_eq!(kth_with(set, &values, k, bar), sorted[k - 1], "{set:?}, {k} of {blocks} blocks");
            }
            if sorted[k - 1] > 0.0 {
                let less = sorted[k - 1].next_down();
                assert_eq!(kth_with(set, &values, k, less), f32::INFINITY, "{set:?}, {k} of {blocks} blocks");
            }
        }
    }
}

#[test]
fn what_is_retained_is_what_is_within_in_its_order_on_every_instruction_set() {
    let mut random = generator(3, "retain test", 1);
    for (blocks, bar) in [(0, 1.0), (1, 0.5), (3, 0.0), (7, 0.4), (7, 2.0), (5, f32::INFINITY)] {
        let mut values: Vec<[f32; LANES]> =
            (0..blocks).map(|_| std::array::from_fn(|_| random.gen_range(0.0..1.0f32))).collect();
        values.iter_mut().for_each(|lanes| lanes[3] = f32::INFINITY);
        let names: Vec<[u32; LANES]> =
            (0..blocks).map(|block| std::array::from_fn(|lane| block * 16 + lane as u32)).collect();
        let all = values.as_flattened().iter().zip(names.as_flattened());
        let expected: Vec<(f32, u32)> =
            all.filter(|(value, _)| **value <= bar).map(|(value, name)| (*value, *name)).collect();
        for set in InstructionSet::available() {
            let (mut values, mut names) = (values.clone(), names.clone());
            let count = retain_with(set, &mut values, &mut names, bar);
            let left = values.as_flattened().iter().copied().zip(names.as_flattened().iter().copied());
            assert_eq!(left.take(count).collect::<Vec<_>>(), expected, "{set:?}, {blocks} blocks, {bar}");
        }
    }
}

use super::*;
use crate::numerics::agreement::adjusted_rand_index;
use crate::numerics::random::generator;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// `groups` clusters of `each` rows around well separated centres; row `i` belongs to `i % groups`.
fn planted(groups: usize, each: usize, dims: usize, spread: f32) -> (Vec<f32>, Vec<u32>) {
    let mut random = generator(11, "k-means test", groups as u64);
    let centres: Vec<f32> = (0..groups * dims).map(|_| random.gen_range(-10.0..10.0f32)).collect();
    let labels: Vec<u32> = (0..groups * each).map(|row| (row % groups) as u32).collect();
    let mut rows = Vec::new();
    for &label in &labels {
        for d in 0..dims {
            let noise: f32 = StandardNormal.sample(&mut random);
            rows.push(centres[label as usize * dims + d] + spread * noise);
        }
    }
    (rows, labels)
}

#[test]
fn planted_clusters_are_found_by_both_algorithms_within_one_percent() {
    let (rows, truth) = planted(12, 500, 8, 0.6);
    let lloyd = fit(&rows, 8, &Options::new(12, 3)).expect("fits");
    let mut labels = vec![0; truth.len()];
    lloyd.assign(&rows, &mut labels, &mut vec![0.0; truth.len()]);
    assert!(adjusted_rand_index(&labels, &truth).expect("comparable") > 0.99);
    assert!(lloyd.converged && lloyd.counts.iter().sum::<u64>() == 6000, "{lloyd:?}");

    // Overlapping clusters, where the iterations matter.
    let (rows, _) = planted(30, 200, 8, 6.0);
    let lloyd = fit(&rows, 8, &Options::new(20, 3)).expect("fits");
    let options = Options { algorithm: Algorithm::Linfa, ..Options::new(20, 3) };
    let linfa = fit(&rows, 8, &options).expect("fits");
    assert!(lloyd.iterations > 3 && linfa.iterations > 3, "{} {}", lloyd.iterations, linfa.iterations);
    assert!((lloyd.inertia / linfa.inertia - 1.0).abs() < 0.01, "{} {}", lloyd.inertia, linfa.inertia);
}

#[test]
fn inertia_and_counts_are_those_of_the_returned_centroids() {
    let (rows, _) = planted(5, 300, 3, 3.0);
    let model = fit(&rows, 3, &Options { max_iterations: 2, ..Options::new(7, 1) }).expect("fits");
    let (mut counts, mut inertia) = (vec![0u64; 7], 0.0f64);
    for row in rows.chunks_exact(3) {
        let square = |c: &[f32]| -> f64 {
            row.iter().zip(c).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let all = model.centroids.chunks_exact(3).map(square);
        let (best, distance) = all.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).expect("centroids");
        counts[best] += 1;
        inertia += distance;
    }
    assert_eq!(model.counts, counts);
    assert!((model.inertia / inertia - 1.0).abs() < 1e-6, "{} {inertia}", model.inertia);
    assert!(!model.converged && model.iterations == 2);
}

#[test]
fn threads_do_not_change_a_bit_and_seeds_do() {
    // Clusters of very different width, so that another order of additions shows in the inertia.
    let (mut rows, labels) = planted(9, 2000, 6, 0.0);
    let mut random = generator(12, "k-means test", 0);
    for (row, label) in rows.chunks_exact_mut(6).zip(labels) {
        let width = 4.0 * 0.1f32.powi(label as i32 % 5);
        row.iter_mut().for_each(|x| *x += width * random.gen_range(-1.0..1.0f32));
    }
    let fit_on = |threads, seed| {
        let options = Options { threads, starts: 2, max_iterations: 8, ..Options::new(13, seed) };
        fit(&rows, 6, &options).expect("fits")
    };
    let one = fit_on(1, 5);
    for threads in [2, 3, 7, 64] {
        let many = fit_on(threads, 5);
        assert_eq!(one, many, "{threads} threads");
        assert_eq!(one.inertia.to_bits(), many.inertia.to_bits());
    }
    assert_ne!(one.centroids, fit_on(1, 6).centroids);
}

#[test]
fn more_starts_never_give_a_worse_inertia() {
    let (rows, _) = planted(20, 100, 4, 1.5);
    let inertia = |starts| {
        let start = Start::Rows;
        fit(&rows, 4, &Options { starts, start, ..Options::new(20, 8) }).expect("fits").inertia
    };
    assert!(inertia(6) < inertia(1), "several starts must find something better here");
}

#[test]
fn an_empty_cluster_is_given_the_farthest_row() {
    // The third centroid is nobody's; the row at 9 is farthest from its centroid.
    let rows = [0.0, 0.2, 0.4, 5.0, 5.2, 9.0];
    let given = Start::Given(vec![0.0, 5.0, 1000.0]);
    let model = fit(&rows, 1, &Options { start: given, ..Options::new(3, 0) }).expect("fits");
    assert_eq!(model.counts, [3, 2, 1]);
    assert_eq!(model.centroids[2], 9.0);
}

#[test]
fn fewer_distinct_rows_than_clusters_give_empty_clusters_and_no_inertia() {
    let rows = [1.0, 1.0, 1.0, 2.0, 2.0];
    let model = fit(&rows, 1, &Options::new(4, 1)).expect("fits");
    assert_eq!(model.inertia, 0.0);
    assert_eq!(model.counts.iter().sum::<u64>(), 5);
}

#[test]
fn plus_plus_starts_better_than_random_rows() {
    let (rows, _) = planted(40, 100, 4, 0.2);
    let after_one = |start| {
        let options = Options { start, max_iterations: 1, ..Options::new(40, 2) };
        fit(&rows, 4, &options).expect("fits").inertia
    };
    assert!(after_one(Start::PlusPlus) < 0.2 * after_one(Start::Rows));
}

#[test]
fn what_cannot_be_clustered_says_why() {
    let error = |rows: &[f32], dims, options: Options| fit(rows, dims, &options).unwrap_err().to_string();
    let options = Options::new(2, 0);
    assert_eq!(error(&[1.0, 2.0], 1, Options::new(0, 0)), "the number of clusters is 0");
    assert_eq!(error(&[1.0, 2.0], 1, Options::new(3, 0)), "3 clusters were asked of 2 rows");
    assert_eq!(error(&[1.0, 2.0], 0, options.clone()), "the rows have no columns");
    assert_eq!(error(&[1.0; 3], 2, options.clone()), "3 values do not fill rows of 2 columns");
    let bad = [0.0, 1.0, 2.0, f32::NAN];
    assert_eq!(error(&bad, 2, options.clone()), "row 1, column 1 is NaN, not a finite number");
    let infinite = [0.0, 1.0, f32::INFINITY, 3.0];
    assert_eq!(error(&infinite, 2, options.clone()), "row 1, column 0 is inf, not a finite number");
    let none = Options { starts: 0, ..options.clone() };
    assert_eq!(error(&[1.0, 2.0], 1, none), "`starts` is 0, it must be at least 1");
    let nan = Options { tolerance: f64::NAN, ..options.clone() };
    assert!(error(&[1.0, 2.0], 1, nan).starts_with("`tolerance` is NaN"));
    let short = Options { start: Start::Given(vec![1.0]), ..options };
    assert_eq!(error(&[1.0, 2.0], 1, short), "the start has 1 values where k × dims is 2");
}

#[test]
fn sums_and_starts_have_the_same_bits_with_any_instructions() {
    use crate::numerics::simd::InstructionSet;
    let (n, k) = (700, 9);
    for dims in [1, 5, 8, 16, 27, 40] {
        let mut random = generator(13, "k-means test", dims as u64);
        let rows: Vec<f32> = (0..n * dims).map(|_| random.gen_range(-3.0..3.0f32)).collect();
        let labels: Vec<u32> = (0..n).map(|_| random.gen_range(0..k)).collect();
        let mut expected = vec![0.0f64; k as usize * dims];
        for (row, &label) in rows.chunks_exact(dims).zip(&labels) {
            let sums = &mut expected[label as usize * dims..][..dims];
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        for set in InstructionSet::available() {
            assert_eq!(add::sums(set, &rows, dims, &labels, k as usize), expected, "{set:?} {dims}");
        }
        start::tests::every_instruction_set_agrees(&rows, dims);
    }
}

#[test]
fn a_known_first_start_and_rows_made_ready_give_the_same_fit() {
    let (rows, _) = planted(9, 200, 5, 3.0);
    let data = Prepared::new(&rows, 5).expect("rows");
    for (starts, threads) in [(1, 1), (3, 1), (3, 2), (4, 9)] {
        let options = Options { starts, threads, ..Options::new(8, 4) };
        let whole = fit(&rows, 5, &Options { threads: 1, ..options.clone() }).expect("fits");
        let (first, labels) = data.first(&options).expect("fits");
        let mut expected = vec![0; labels.len()];
        first.assign(&rows, &mut expected, &mut vec![0.0; labels.len()]);
        assert_eq!(labels, expected);
        assert_eq!(data.fit_on(first, &options).expect("fits"), whole, "{starts} {threads}");
        assert_eq!(data.fit(&options).expect("fits"), whole, "{starts} {threads}");
    }
}

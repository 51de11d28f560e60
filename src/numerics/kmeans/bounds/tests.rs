use super::*;
use crate::numerics::blocks::nearest;
use crate::numerics::random::generator;
use rand::Rng;

/// Rows and centroids on a grid (so that distances are often equal) or not, `scale` wide.
fn some(n: usize, dims: usize, scale: f32, grid: bool, key: u64) -> Vec<f32> {
    let mut random = generator(3, "bounds test", key);
    let value = |_| {
        let value = random.gen_range(-3.0..3.0f32);
        scale * if grid { value.round() } else { value }
    };
    (0..n * dims).map(value).collect()
}

/// Centroids wander less and less, as in a fit, and one leaps.
#[test]
fn labels_are_those_of_all_distances_with_any_instructions() {
    for (n, dims, k) in
        [(500, 3, 1), (777, 5, 7), (1000, 27, 40), (300, 17, 16), (400, 2, 130), (640, 4, 300)]
    {
        for (scale, grid) in
            [(1.0, false), (1.0, true), (1e-22, false), (1e-16, true), (3e18, false), (1e19, false)]
        {
            let rows = some(n, dims, scale, grid, 1);
            let data = Prepared::new(&rows, dims).expect("rows");
            for set in InstructionSet::available() {
                let mut centroids = some(k, dims, scale, grid, 2);
                let mut bounds = Bounds::new(&data, &centroids);
                let mut labels = vec![0; n];
                for turn in 0..12 {
                    let (now, arrays) = bounds.turn(&centroids);
                    now.place_with(set, &rows, &mut labels, arrays);
                    let (mut expected, mut distances) = (vec![0; n], vec![0.0; n]);
                    nearest(&centroids, dims, &rows, &mut expected, &mut distances);
                    assert_eq!(labels, expected, "{set:?} dims {dims} k {k} scale {scale} turn {turn}");
                    let shift = some(k, dims, scale * 0.5f32.powi(turn), grid && turn < 3, 3 + turn as u64);
                    centroids.iter_mut().zip(shift).for_each(|(c, shift)| *c += 0.1 * shift);
                    let leap = turn as usize % k * dims;
                    centroids[leap] = if turn == 7 { scale * 2.0 } else { centroids[leap] };
                }
            }
        }
    }
}

#[test]
fn most_rows_are_left_alone_when_centroids_rest() {
    let rows = some(2000, 8, 1.0, false, 1);
    let data = Prepared::new(&rows, 8).expect("rows");
    let centroids = some(50, 8, 1.0, false, 2);
    let mut bounds = Bounds::new(&data, &centroids);
    let mut labels = vec![0; 2000];
    let (turn, arrays) = bounds.turn(&centroids);
    turn.place(&rows, &mut labels, arrays);
    let before = labels.clone();
    let (turn, arrays) = bounds.turn(&centroids);
    let moves = turn.moves.as_ref().expect("a second turn");
    let mut open = vec![0; 2000 + LANES];
    let doubt = Doubt { turn: &turn, moves, rows: &rows, labels: &labels, bounds: arrays, open: &mut open };
    assert!(doubt.run() < 5, "only where two are as near");
    turn.place(&rows, &mut labels, arrays);
    assert_eq!(labels, before);
}

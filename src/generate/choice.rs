//! A weighted choice among a few thousand things in constant time.

/// Picks an index in proportion to fixed weights (Vose's alias method): building costs O(n), a pick
/// costs one multiplication, one comparison and at most one more read. 8 bytes per thing.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// Below this fraction of its cell (in 2⁻³²) an index stands for itself.
    cut: Vec<u32>,
    /// What the index stands for otherwise.
    other: Vec<u32>,
}

impl Choice {
    /// `weights` are finite, not negative and not all zero; they need not sum to one.
    pub(super) fn new(weights: &[f64]) -> Self {
        let n = weights.len();
        debug_assert!(n > 0 && n <= u32::MAX as usize);
        let total: f64 = weights.iter().sum();
        debug_assert!(total.is_finite() && total > 0.0);
        let mut height: Vec<f64> = weights.iter().map(|weight| weight / total * n as f64).collect();
        let mut cut = vec![u32::MAX; n];
        let mut other: Vec<u32> = (0..n as u32).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| height[i] < 1.0);
        while let (Some(small), Some(&large)) = (low.pop(), high.last()) {
            cut[small] = (height[small] * 2f64.powi(32)) as u32;
            other[small] = large as u32;
            height[large] -= 1.0 - height[small];
            if height[large] < 1.0 {
                high.pop();
                low.push(large);
            }
        }
        // What is left differs from one only by rounding: it stands for itself, as initialised.
        Self { cut, other }
    }

    /// The choice that 32 random bits make. With n things a probability is exact to n / 2³².
    pub(super) fn pick(&self, bits: u32) -> usize {
        let wide = u64::from(bits) * self.cut.len() as u64;
        let index = (wide >> 32) as usize;
        if (wide as u32) < self.cut[index] { index } else { self.other[index] as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_follow_the_weights_over_all_bits() {
        let weights = [0.5, 0.0, 3.0, 0.25, 1.25];
        let choice = Choice::new(&weights);
        let picks = 1 << 16;
        let mut seen = [0u32; 5];
        for i in 0..picks {
            seen[choice.pick(i << 16)] += 1;
        }
        assert_eq!(seen[1], 0);
        for (count, weight) in seen.iter().zip(weights) {
            assert!((f64::from(*count) / f64::from(picks) - weight / 5.0).abs() < 1e-3, "{seen:?}");
        }
    }

    #[test]
    fn a_single_thing_is_always_picked() {
        let choice = Choice::new(&[0.3]);
        assert!([0, 1, u32::MAX].iter().all(|&bits| choice.pick(bits) == 0));
    }
}

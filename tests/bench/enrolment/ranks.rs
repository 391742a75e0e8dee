//! The rank test of Wilcoxon, Mann and Whitney, two-sided, by the normal approximation with a correction for ties.

/// What the ranks of two samples say.
pub(crate) struct Found {
    /// How probable ranks that differ so much are if both samples are of one kind.
    pub(crate) p: f64,
    /// How often a value of the first sample is larger than one of the second; a half if they are of one kind.
    pub(crate) later: f64,
}

/// Compares two samples.
#[expect(clippy::cast_precision_loss, reason = "there are far fewer values than 2^52")]
pub(crate) fn compare(one: &[f64], other: &[f64]) -> Found {
    let mut all: Vec<(f64, bool)> =
        one.iter().map(|value| (*value, true)).chain(other.iter().map(|value| (*value, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut begin) = (0.0, 0.0, 0);
    while begin < all.len() {
        let same = all[begin..].iter().take_while(|value| value.0 <= all[begin].0).count();
        let rank = begin as f64 + f64::midpoint(same as f64, 1.0);
        rank_sum += rank * all[begin..begin + same].iter().filter(|value| value.1).count() as f64;
        ties += (same as f64).powi(3) - same as f64;
        begin += same;
    }
    let (n, m, whole) = (one.len() as f64, other.len() as f64, all.len() as f64);
    let larger = rank_sum - n * (n + 1.0) / 2.0;
    let variance = n * m / 12.0 * (whole + 1.0 - ties / (whole * (whole - 1.0)));
    let z = (larger - n * m / 2.0).abs() / variance.sqrt();
    Found { p: erfc(z / std::f64::consts::SQRT_2), later: larger / (n * m) }
}

/// The complementary error function for numbers from 0 on (Abramowitz and Stegun 7.1.26; off by less than 0.0000002).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let coefficients = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    coefficients.iter().fold(0.0, |sum, each| (sum + each) * t) * (-x * x).exp()
}

//! Normal random numbers of [`MarginValue::Drawn`](crate::MarginValue::Drawn), as defined in `golden/README.md`.
//!
//! Row `i` uses block `i` of a Philox4x32-10 stream: counter `(i, step low, step high, purpose)`, key `seed`. The four
//! words `a, b, c, d` of the block give two uniform numbers and one normal number,
//!
//! ```text
//! u1 = (floor(a / 2^5) 2^26 + floor(b / 2^6)) / 2^53,   u2 from c and d,
//! z  = sqrt(-2 ln(1 - u1)) cos(2 pi u2)
//! ```
//!
//! Sources: Salmon, Moraes, Dror, Shaw 2011 (generator); Box and Muller 1958 (normal numbers).

use std::f64::consts::TAU;

/// Purpose number of margins in the counter of a stream.
pub const MARGINS: u32 = 4;

/// Returns one block of a stream: ten rounds over one counter.
fn block(seed: u64, purpose: u32, step: u64, index: u32) -> [u32; 4] {
    let mut counter = [index, step as u32, (step >> 32) as u32, purpose];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let first = 0xD251_1F53 * u64::from(counter[0]);
        let second = 0xCD9E_8D57 * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Returns the two uniform numbers of a row, in `[0, 1)`.
pub fn uniforms(seed: u64, step: u64, row: usize) -> [f64; 2] {
    let words = block(seed, MARGINS, step, row as u32);
    let uniform = |high: u32, low: u32| (f64::from(high >> 5) * 2f64.powi(26) + f64::from(low >> 6)) / 2f64.powi(53);
    [uniform(words[0], words[1]), uniform(words[2], words[3])]
}

/// Returns the normal number of a row, with mean 0 and standard deviation 1.
pub fn normal(seed: u64, step: u64, row: usize) -> f64 {
    let [u1, u2] = uniforms(seed, step, row);
    (-2.0 * (-u1).ln_1p()).sqrt() * (TAU * u2).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answer published with Random123 (`kat_vectors`, philox4x32, 10 rounds).
    #[test]
    fn a_block_agrees_with_the_published_answer() {
        let found = block(0x299f_31d0_a409_3822, 0x0370_7344, 0x1319_8a2e_85a3_08d3, 0x243f_6a88);
        assert_eq!(found, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn draws_have_the_moments_of_the_normal_distribution() {
        let count = 100_000;
        let draws: Vec<f64> = (0..count).map(|row| normal(7, 3, row)).collect();
        let moment = |k: i32| draws.iter().map(|z| z.powi(k)).sum::<f64>() / count as f64;
        // Five standard errors: sqrt(1/n), sqrt(2/n), sqrt(15/n), sqrt(96/n).
        let error = (count as f64).sqrt().recip() * 5.0;
        assert!(moment(1).abs() < error && moment(3).abs() < 15f64.sqrt() * error);
        assert!((moment(2) - 1.0).abs() < 2f64.sqrt() * error);
        assert!((moment(4) - 3.0).abs() < 96f64.sqrt() * error);
    }
}

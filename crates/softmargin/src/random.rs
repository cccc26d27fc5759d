//! The random number generator of all crates: Philox4x32-10, a counter-based generator.
//!
//! A counter-based generator is a pure function: word `k` of a stream is a bijective function of `(k, step, purpose)`
//! under the key `seed`. So streams of different purposes or steps never overlap, and the draws of one sample do not
//! depend on the number of threads that drew the others.
//!
//! Method: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Ten rounds pass
//! the BigCrush battery. The tests below check the published answers.
//!
//! Integers and uniform values are bitwise identical on every machine.

/// The purpose of a stream of draws. Two purposes never share a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; the step is the index of the parameter.
    Weights = 1,
    /// The order of the samples; the step is the epoch.
    Order = 2,
    /// Augmentation of training images; the step is the index of the sample drawn since the start.
    Augmentation = 3,
    /// Margins drawn for each row; the step is the training step.
    Margins = 4,
    /// The sampled classes of a step, in addition to those of its batch; the step is the training step.
    Classes = 5,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Applies ten Philox rounds to one 128-bit counter.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// A stream of random draws, determined by `(seed, purpose, step)`.
///
/// A stream holds 2^34 words of 32 bits and then repeats.
#[derive(Debug, Clone)]
pub struct Generator {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Generator {
    /// Returns the stream of `(seed, purpose, step)`, at its start.
    pub fn new(seed: u64, purpose: Purpose, step: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, step as u32, (step >> 32) as u32, purpose as u32],
            words: [0; 4],
            used: 4,
        }
    }

    /// Returns the next 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Returns a uniform value in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        let (high, low) = (u64::from(self.bits() >> 5), u64::from(self.bits() >> 6));
        ((high << 26) | low) as f64 / (1u64 << 53) as f64
    }

    /// Returns a uniform value in `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Returns a normal value of mean 0 and standard deviation 1, from two uniform values `a` and `b`:
    /// `sqrt(-2 ln(1 - a)) cos(2 pi b)` (Box and Muller 1958). Its last bits depend on the logarithm and cosine of the
    /// platform.
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform(), self.uniform());
        (-2.0 * (-a).ln_1p()).sqrt() * (2.0 * std::f64::consts::PI * b).cos()
    }

    /// Returns an integer below `bound`, every one equally likely (Lemire's method, with rejection).
    ///
    /// A `bound` of 0 gives 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut product = u64::from(self.bits()) * u64::from(bound);
        if (product as u32) < bound {
            let rejected = bound.wrapping_neg() % bound;
            while (product as u32) < rejected {
                product = u64::from(self.bits()) * u64::from(bound);
            }
        }
        (product >> 32) as u32
    }

    /// Shuffles in place, every order equally likely (Fisher-Yates). It takes up to 2^32 - 1 items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u32 + 1) as usize);
        }
    }

    /// Returns the integers below `length` in random order.
    pub fn permutation(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..length).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers published with Random123 (`kat_vectors`, philox4x32, 10 rounds).
    #[test]
    fn published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, step| {
            let mut stream = Generator::new(seed, purpose, step);
            [stream.bits(), stream.bits(), stream.bits(), stream.bits(), stream.bits()]
        };
        let first = draw(7, Purpose::Order, 3);
        assert_eq!(first, draw(7, Purpose::Order, 3));
        for other in [
            draw(8, Purpose::Order, 3),
            draw(7 | 1 << 40, Purpose::Order, 3),
            draw(7, Purpose::Weights, 3),
            draw(7, Purpose::Margins, 3),
            draw(7, Purpose::Order, 4),
            draw(7, Purpose::Order, 3 | 1 << 40),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn uniform_values_have_the_moments_of_their_law() {
        let mut stream = Generator::new(1, Purpose::Augmentation, 0);
        let count = 200_000;
        let values: Vec<f64> = (0..count).map(|_| stream.uniform()).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = values.iter().sum::<f64>() / f64::from(count);
        let square = values.iter().map(|v| v * v).sum::<f64>() / f64::from(count);
        // Five standard errors: sqrt(1/12/n) and sqrt(4/45/n).
        assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0 / f64::from(count)).sqrt());
        assert!((square - 1.0 / 3.0).abs() < 5.0 * (4.0 / 45.0 / f64::from(count)).sqrt());
    }

    #[test]
    fn normal_values_have_the_moments_of_their_law() {
        let mut stream = Generator::new(2, Purpose::Margins, 9);
        let count = 200_000;
        let values: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
        let moment = |power: i32| values.iter().map(|v| v.powi(power)).sum::<f64>() / f64::from(count);
        // Five standard errors: the variances of z, z^2, z^3 and z^4 are 1, 2, 15 and 96.
        for (power, mean, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let allowed = 5.0 * (variance / f64::from(count)).sqrt();
            assert!((moment(power) - mean).abs() < allowed, "moment {power}: {}", moment(power));
        }
    }

    #[test]
    fn below_is_even_and_bounded() {
        let mut stream = Generator::new(3, Purpose::Order, 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        // Chi-squared with 5 degrees of freedom; 25.7 is its 1e-4 tail.
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 25.7, "{counts:?}");
        assert_eq!((stream.below(0), stream.below(1)), (0, 0));
    }

    #[test]
    fn permutations_hold_every_item_once_and_every_order() {
        let mut order = Generator::new(4, Purpose::Order, 1).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
        let mut seen = std::collections::HashMap::new();
        for step in 0..6000 {
            *seen.entry(Generator::new(4, Purpose::Order, step).permutation(3)).or_insert(0u32) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|c| c.abs_diff(1000) < 150), "{seen:?}");
        assert!(Generator::new(4, Purpose::Order, 1).permutation(0).is_empty());
    }
}

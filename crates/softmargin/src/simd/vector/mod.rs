//! Vectors of sixteen f32 values: the operations of matrix products.
//!
//! The compiler vectorizes loops over lines well, but not the blocks of a product, whose sums must stay in registers.
//! So these few operations are written for each instruction set (`x86.rs`), and in plain code for all others.
//!
//! A *word* is one f32, or two bf16 values: an even one in the low half, its odd neighbor in the high half. bf16 is the
//! upper half of an f32, so that a shift converts it to f32.

mod bf16;
mod operations;
mod portable;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

#[cfg(test)]
pub(crate) use bf16::to_bf16;
pub(crate) use bf16::{from_bf16, pair};
pub use operations::{LINE, Line, Vector};
pub(super) use portable::Portable;

/// Prefetches values that will be read soon. This is a hint, without effect on results.
#[inline(always)]
pub(crate) fn prefetch(numbers: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(numbers);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a skipped instruction set is named")]
mod tests {
    use super::bf16::{even, odd};
    use super::*;
    use crate::InstructionSet;
    use crate::simd::{Instructions, Work, run_on};

    /// Every operation on some lines; all instruction sets must have the same results.
    struct Operations<'a>(&'a [Line; 3]);

    impl Work for Operations<'_> {
        type Output = [Line; 5];

        #[inline(always)]
        fn run<I: Instructions>(self) -> [Line; 5] {
            let [a, b, c] = self.0.each_ref().map(I::Vector::load);
            let results = [
                I::Vector::multiply_add(a, b, c),
                I::Vector::multiply_add_pairs(a, b, c),
                a.add(b),
                I::Vector::splat(self.0[1].0[3]),
                I::Vector::zero(),
            ];
            let mut lines = [Line::default(); 5];
            for (line, result) in lines.iter_mut().zip(results) {
                result.store(line);
            }
            lines
        }
    }

    #[test]
    fn every_instruction_set_has_the_same_operations() {
        // Integers up to 63 are exact in bf16, and their products and sums in f32.
        let number = |k: usize| ((k * 37 + 11) % 127) as f32 - 63.0;
        let plain = [0, 100, 200].map(|from| Line(std::array::from_fn(|l| number(from + l))));
        let paired =
            [300, 400].map(|from| Line(std::array::from_fn(|l| pair(number(from + l), number(from + l + 50)))));
        for set in InstructionSet::ALL {
            if !set.is_available() {
                println!("skipped: this machine has no {set:?}");
                continue;
            }
            let [fused, _, sum, splat, zero] = run_on(set, Operations(&plain));
            let [_, pairs, ..] = run_on(set, Operations(&[paired[0], paired[1], plain[2]]));
            for l in 0..LINE {
                let [a, b, c] = plain.map(|line| line.0[l]);
                assert_eq!(
                    (fused.0[l], sum.0[l], splat.0[l], zero.0[l]),
                    (a * b + c, a + b, plain[1].0[3], 0.0),
                    "{set:?}"
                );
                let product = number(300 + l) * number(400 + l) + number(350 + l) * number(450 + l);
                assert_eq!(pairs.0[l], c + product, "{set:?}");
            }
        }
    }

    #[test]
    fn bf16_is_the_nearest_with_ties_to_even() {
        for (value, bits) in [
            (1.0, 0x3f80),
            (-2.0, 0xc000),
            (0.0, 0),
            (f32::INFINITY, 0x7f80),
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            (1.0 + 1.1 / 256.0, 0x3f81),
            (f32::MAX, 0x7f80),
        ] {
            assert_eq!(to_bf16(value), bits, "{value}");
        }
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan() && from_bf16(to_bf16(f32::from_bits(0x7f80_0001))).is_nan());
        let word = pair(1.5, -3.0);
        assert_eq!((even(word), odd(word), from_bf16(0xc000)), (1.5, -3.0, -2.0));
    }
}

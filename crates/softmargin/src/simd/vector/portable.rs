//! The vector operations in plain code, for every processor.

use super::bf16::{even, odd};
use super::operations::{LINE, Line, Vector};

/// A vector as an array.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Portable([f32; LINE]);

impl Portable {
    #[inline(always)]
    fn map(self, other: Self, one: impl Fn(f32, f32) -> f32) -> Self {
        let mut all = self.0;
        for (value, other) in all.iter_mut().zip(other.0) {
            *value = one(*value, other);
        }
        Self(all)
    }
}

impl Vector for Portable {
    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; LINE])
    }

    #[inline(always)]
    fn splat(word: f32) -> Self {
        Self([word; LINE])
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        Self(line.0)
    }

    #[inline(always)]
    fn store(self, line: &mut Line) {
        line.0 = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.map(other, |a, b| a + b)
    }

    #[inline(always)]
    fn multiply_add(a: Self, b: Self, sum: Self) -> Self {
        sum.add(a.map(b, |a, b| a * b))
    }

    #[inline(always)]
    fn multiply_add_pairs(a: Self, b: Self, sum: Self) -> Self {
        // Products of bf16 are exact in f32.
        sum.add(a.map(b, |a, b| odd(a) * odd(b))).add(a.map(b, |a, b| even(a) * even(b)))
    }
}

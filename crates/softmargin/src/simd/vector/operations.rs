//! The operations of a vector, and the line that it is loaded from.

/// The number of words in a line.
pub const LINE: usize = 16;

/// Sixteen contiguous words: one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Line(pub [f32; LINE]);

/// Sixteen words in registers.
pub trait Vector: Copy {
    /// Returns a vector of zeros.
    fn zero() -> Self;
    /// Returns a vector of sixteen equal words.
    fn splat(word: f32) -> Self;
    /// Loads a line.
    fn load(line: &Line) -> Self;
    /// Stores into a line.
    fn store(self, line: &mut Line);
    /// Computes `self + other`.
    fn add(self, other: Self) -> Self;
    /// Computes `sum + a b`. It rounds once if [`Instructions::FUSED`](crate::simd::Instructions::FUSED).
    fn multiply_add(a: Self, b: Self, sum: Self) -> Self;
    /// Computes `sum + a_even b_even + a_odd b_odd` for words of two bf16 values. Subnormal values may count as 0.
    fn multiply_add_pairs(a: Self, b: Self, sum: Self) -> Self;
}

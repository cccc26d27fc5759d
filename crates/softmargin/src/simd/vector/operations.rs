//! The operations of a vector, and the line that it is loaded from.

/// Numbers of a line.
pub const LINE: usize = 16;

/// Sixteen words side by side: one line of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Line(pub [f32; LINE]);

/// Sixteen numbers in registers.
pub trait Vector: Copy {
    /// Zeros.
    fn zero() -> Self;
    /// One word sixteen times.
    fn splat(word: f32) -> Self;
    /// The words of a line.
    fn load(line: &Line) -> Self;
    /// Into a line.
    fn store(self, line: &mut Line);
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `sum + a b`
    fn multiply_add(a: Self, b: Self, sum: Self) -> Self;
    /// `sum + a_even b_even + a_odd b_odd` of words of two bf16 numbers; denormal numbers may count as 0.
    fn multiply_add_pairs(a: Self, b: Self, sum: Self) -> Self;
}

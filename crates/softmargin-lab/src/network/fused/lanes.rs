//! Vectors of values in the loops of a layer. These loops are [`Work`](softmargin::simd::Work): compiled for each
//! instruction set and selected at run time.

use softmargin::InstructionSet;
use softmargin::simd::Instructions;

/// The number of values in a vector of the widest instruction set.
pub(super) const LANES: usize = 16;

/// One vector of values.
pub(super) type Lane = [f32; LANES];

/// Computes `x y + z`.
#[inline(always)]
pub(super) fn multiply_add<I: Instructions>(x: f32, y: f32, z: f32) -> f32 {
    if I::FUSED { x.mul_add(y, z) } else { x * y + z }
}

/// Returns the number of vectors of channels whose sums fit into the registers together.
pub(super) fn widest(set: InstructionSet) -> usize {
    if set >= InstructionSet::Avx512 { 4 } else { 1 }
}

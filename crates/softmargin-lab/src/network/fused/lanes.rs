//! Vectors of values, as the loops of a layer see them. A layer's loops are [`Work`](softmargin::simd::Work): compiled for
//! each instruction set and chosen at run time.

use softmargin::InstructionSet;
use softmargin::simd::Instructions;

/// Values that are computed together: a vector of the widest instruction set.
pub(super) const LANES: usize = 16;

/// One vector of values.
pub(super) type Lane = [f32; LANES];

/// `x y + z`
#[inline(always)]
pub(super) fn multiply_add<I: Instructions>(x: f32, y: f32, z: f32) -> f32 {
    if I::FUSED { x.mul_add(y, z) } else { x * y + z }
}

/// Vectors of channels whose sums fit into the registers beside each other.
pub(super) fn widest(set: InstructionSet) -> usize {
    if set >= InstructionSet::Avx512 { 4 } else { 1 }
}

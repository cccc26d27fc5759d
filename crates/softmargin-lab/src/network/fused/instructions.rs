//! The loops of a layer, compiled for each instruction set and chosen at run time.
//!
//! A piece of work is plain code that a compiler vectorises. `inline(always)` all the way down makes it part of a
//! function that is compiled for an instruction set. This is the only place here that knows of processors.

use softmargin::InstructionSet;

/// Values that are computed together: a vector of the widest instruction set.
pub(super) const LANES: usize = 16;

/// One vector of values.
pub(super) type Lane = [f32; LANES];

/// What a loop may ask of the instruction set that it is compiled for.
pub(super) trait Instructions {
    /// Whether a product and a sum are one instruction, rounded once.
    const FUSED: bool;
}

/// Without a fused multiply-add, which would be a slow function call.
pub(super) struct Separate;
/// With it.
pub(super) struct Fused;

impl Instructions for Separate {
    const FUSED: bool = false;
}

impl Instructions for Fused {
    const FUSED: bool = true;
}

/// Something to compute. `run` and all that it calls must be `inline(always)`.
pub(super) trait Work {
    type Output;
    fn run<I: Instructions>(self) -> Self::Output;
}

/// `x y + z`
#[inline(always)]
pub(super) fn multiply_add<I: Instructions>(x: f32, y: f32, z: f32) -> f32 {
    if I::FUSED { x.mul_add(y, z) } else { x * y + z }
}

/// Vectors of channels whose sums fit into the registers beside each other.
pub(super) fn widest(set: InstructionSet) -> usize {
    if set >= InstructionSet::Avx512 { 4 } else { 1 }
}

/// Computes with the instructions of `set`, or portable ones where this machine does not have it.
#[allow(unsafe_code, reason = "calling a function compiled for instructions that not every processor has")]
pub(super) fn run_on<W: Work>(set: InstructionSet, work: W) -> W::Output {
    match set {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `is_available` has found the features that the function is compiled for.
        InstructionSet::Avx512 if set.is_available() => unsafe { avx512(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        InstructionSet::Avx2 if set.is_available() => unsafe { avx2(work) },
        _ => work.run::<Separate>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<W: Work>(work: W) -> W::Output {
    work.run::<Fused>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<W: Work>(work: W) -> W::Output {
    work.run::<Fused>()
}

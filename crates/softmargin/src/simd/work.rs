//! Work: code of any module or crate that is compiled for each instruction set.
//!
//! Work is plain code that the compiler vectorizes. If it and all functions it calls are `inline(always)`, it becomes
//! part of a function that is compiled for an instruction set.

use super::instruction_set::InstructionSet;
use super::vector::{self, Vector};

/// The properties of the instruction set that a piece of work is compiled for.
pub trait Instructions {
    /// True if fused multiply-add, which rounds once, is an instruction.
    const FUSED: bool;
    /// Sixteen f32 values in registers.
    type Vector: Vector;
    /// The number of vectors of sums that fit into the registers in addition to their factors.
    const SUMS: usize;
}

/// The baseline, without fused multiply-add, which would be a slow function call.
struct Portable;

impl Instructions for Portable {
    const FUSED: bool = false;
    type Vector = vector::Portable;
    const SUMS: usize = 2;
}

#[cfg(target_arch = "x86_64")]
struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Instructions for Avx2 {
    const FUSED: bool = true;
    type Vector = vector::x86::Avx2;
    const SUMS: usize = 6;
}

#[cfg(target_arch = "x86_64")]
struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Instructions for Avx512 {
    const FUSED: bool = true;
    type Vector = vector::x86::Avx512;
    const SUMS: usize = 24;
}

#[cfg(target_arch = "x86_64")]
struct Avx512Bf16;

#[cfg(target_arch = "x86_64")]
impl Instructions for Avx512Bf16 {
    const FUSED: bool = true;
    type Vector = vector::x86::Avx512Bf16;
    const SUMS: usize = 24;
}

/// A computation for [`run_on`]. `run` and all functions that it calls must be `inline(always)`.
///
/// ```
/// use softmargin::InstructionSet;
/// use softmargin::simd::{Instructions, Work, run_on};
///
/// struct Sum<'a>(&'a [f32]);
///
/// impl Work for Sum<'_> {
///     type Output = f32;
///
///     #[inline(always)]
///     fn run<I: Instructions>(self) -> f32 {
///         self.0.iter().sum()
///     }
/// }
///
/// assert_eq!(run_on(InstructionSet::best(), Sum(&[1.0, 2.0])), 3.0);
/// ```
pub trait Work {
    /// The result of the computation.
    type Output;
    /// Runs the computation.
    fn run<I: Instructions>(self) -> Self::Output;
}

/// Runs work with the instructions of `set`, or with portable ones if this machine does not support it.
#[allow(unsafe_code, reason = "calling a function compiled for instructions that not every processor has")]
pub fn run_on<W: Work>(set: InstructionSet, work: W) -> W::Output {
    match set {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `is_available` has found the features that the function is compiled for.
        InstructionSet::Avx512Bf16 if set.is_available() => unsafe { avx512_bf16(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        InstructionSet::Avx512 if set.is_available() => unsafe { avx512(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        InstructionSet::Avx2 if set.is_available() => unsafe { avx2(work) },
        _ => work.run::<Portable>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
fn avx512_bf16<W: Work>(work: W) -> W::Output {
    work.run::<Avx512Bf16>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<W: Work>(work: W) -> W::Output {
    work.run::<Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<W: Work>(work: W) -> W::Output {
    work.run::<Avx2>()
}

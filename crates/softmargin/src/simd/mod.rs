//! The few loops over the classes of a row, each once for every instruction set.
//!
//! `sweep.rs` holds the loops, in plain code that a compiler vectorizes; this file compiles them anew for each
//! instruction set and chooses among them at run time, once a batch. `work.rs` does so for loops that stand elsewhere, and
//! `vector/` has the operations of matrix products. This is the only place that knows of processors.

mod sweep;
#[cfg(test)]
mod tests;
mod vector;
mod work;

use crate::number::Real;
use std::sync::OnceLock;
pub(crate) use sweep::{Affine, Scan, TILE};
pub use sweep::{ExpSums, GateSums, NegativeTransform};
pub(crate) use sweep::{curricular, hinge, misclassified, present, soft_hinge};
#[cfg(test)]
pub(crate) use vector::to_bf16;
pub use vector::{LINE, Line, Vector};
pub(crate) use vector::{from_bf16, pair, prefetch};
pub use work::{Instructions, Work, run_on};

/// An instruction set that the sweeps are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum InstructionSet {
    /// What every processor of the architecture has.
    Portable,
    /// x86-64 with AVX2 and fused multiply-add.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// The same with the dot product of bf16.
    Avx512Bf16,
}

impl InstructionSet {
    /// All of them, in rising order, whether this machine has them or not.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The highest one that this machine has.
    pub fn best() -> Self {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| {
            let available = |set: &Self| set.is_available();
            Self::ALL.into_iter().rev().find(available).unwrap_or(Self::Portable)
        })
    }
}

/// A sweep that bends each score with a gate.
pub(crate) type GateSweep<F> = fn(&[F], Affine<F>, &mut [F]) -> GateSums;

/// A sweep that modifies scores, and writes them and their slopes.
pub(crate) type TransformSweep<F> = fn(&[F], NegativeTransform<F>, &mut [F], &mut [F]);

/// The sweeps, compiled for one instruction set. See `sweep.rs` for what each does.
#[derive(Clone, Copy)]
pub(crate) struct Sweeps<F> {
    pub(crate) scan: fn(&[F]) -> Scan<F>,
    pub(crate) exp: fn(&[F], F, F, &mut [F]) -> ExpSums,
    pub(crate) multiply: fn(&mut [F], F),
    pub(crate) multiply_each: fn(&mut [F], &[F]),
    pub(crate) transform: TransformSweep<F>,
    pub(crate) sum_finite: fn(&[F], F) -> (f64, usize),
    pub(crate) relu: GateSweep<F>,
    pub(crate) softplus: GateSweep<F>,
    pub(crate) identity: GateSweep<F>,
}

/// Compiles every sweep with the given target features and collects them.
macro_rules! instance {
    ($name:ident, $fma:literal $(, $features:literal)?) => {
        #[allow(unsafe_code, reason = "calling a function compiled for instructions that not every processor has")]
        mod $name {
            use super::*;
            instance!(@wrap $fma, $($features,)? scan(z: &[F]) -> Scan<F>);
            instance!(@wrap $fma, $($features,)? exp(z: &[F], reference: F, scale: F, out: &mut [F]) -> ExpSums);
            instance!(@wrap $fma, $($features,)? multiply(out: &mut [F], factor: F) -> ());
            instance!(@wrap $fma, $($features,)? multiply_each(out: &mut [F], factors: &[F]) -> ());
            instance!(@wrap $fma, $($features,)?
                transform(z: &[F], transform: NegativeTransform<F>, out: &mut [F], slopes: &mut [F]) -> ());
            instance!(@wrap $fma, $($features,)? sum_finite(z: &[F], reference: F) -> (f64, usize));
            instance!(@wrap $fma, $($features,)?
                relu(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums);
            instance!(@wrap $fma, $($features,)?
                softplus(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums);
            instance!(@wrap $fma, $($features,)?
                identity(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums);
            pub(super) fn sweeps<F: Real>() -> Sweeps<F> {
                Sweeps { scan, exp, multiply, multiply_each, transform, sum_finite, relu, softplus, identity }
            }
        }
    };
    (@wrap $fma:literal, $features:literal, $sweep:ident($($arg:ident: $ty:ty),*) -> $out:ty) => {
        fn $sweep<F: Real>($($arg: $ty),*) -> $out {
            #[target_feature(enable = $features)]
            fn compiled<F: Real>($($arg: $ty),*) -> $out {
                sweep::$sweep::<F, $fma>($($arg),*)
            }
            // SAFETY: `Sweeps::of` hands this function out only where `is_available` has found the features.
            unsafe { compiled($($arg),*) }
        }
    };
    (@wrap $fma:literal, $sweep:ident($($arg:ident: $ty:ty),*) -> $out:ty) => {
        fn $sweep<F: Real>($($arg: $ty),*) -> $out {
            sweep::$sweep::<F, $fma>($($arg),*)
        }
    };
}

instance!(portable, false);
#[cfg(target_arch = "x86_64")]
instance!(avx2, true, "avx2,fma");
#[cfg(target_arch = "x86_64")]
instance!(avx512, true, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

impl<F: Real> Sweeps<F> {
    /// The sweeps of an instruction set; the portable ones where this machine does not have it.
    pub(crate) fn of(set: InstructionSet) -> Self {
        if !set.is_available() {
            return portable::sweeps();
        }
        match set {
            InstructionSet::Portable => portable::sweeps(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => avx2::sweeps(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 | InstructionSet::Avx512Bf16 => avx512::sweeps(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => portable::sweeps(),
        }
    }
}

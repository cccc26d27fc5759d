//! The sweeps of `sweep.rs`, compiled for each instruction set, and the selection at run time.

use super::instruction_set::InstructionSet;
use super::sweep::{self, Affine, ExpSums, GateSums, NegativeTransform, Scan};
use crate::number::Real;

/// A sweep that applies a gate to each score.
pub(crate) type GateSweep<F> = fn(&[F], Affine<F>, &mut [F]) -> GateSums;

/// A sweep that writes transformed scores and their derivatives.
pub(crate) type TransformSweep<F> = fn(&[F], NegativeTransform<F>, &mut [F], &mut [F]);

/// The sweeps of `sweep.rs`, compiled for one instruction set.
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
            // SAFETY: `Sweeps::of` returns this function only if `is_available` has found the features.
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
    /// Returns the sweeps of an instruction set, or the portable ones if this machine does not support it.
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

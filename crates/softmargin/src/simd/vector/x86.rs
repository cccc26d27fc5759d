//! Sixteen f32 values in two registers of AVX2, or in one of AVX-512.
//!
//! Every method is `inline(always)`: it becomes part of a function that is compiled for its instructions (`work.rs`).
//! It is called from nowhere else, since only that file implements `Instructions` with these types.

#![allow(unsafe_code, reason = "instructions that not every processor has")]

use super::operations::{LINE, Line, Vector};
use std::arch::x86_64::*;

/// Prefetches the cache lines of some values.
#[inline(always)]
pub(in crate::simd) fn prefetch(numbers: &[f32]) {
    for line in numbers.chunks(LINE) {
        // SAFETY: every x86-64 has the instruction; it reads nothing, and any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }
}

/// Two registers.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Avx2(__m256, __m256);

impl Avx2 {
    #[inline(always)]
    fn map(self, one: impl Fn(__m256) -> __m256) -> Self {
        Self(one(self.0), one(self.1))
    }

    /// Returns the even and the odd values of the words, as f32.
    #[inline(always)]
    fn halves(self) -> [Self; 2] {
        // SAFETY: only reached on a processor with AVX2; see the head of this file.
        let even = self.map(|word| unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(word))) });
        // SAFETY: as above.
        let odd = self.map(|word| unsafe {
            _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(word), _mm256_set1_epi32(-0x1_0000)))
        });
        [even, odd]
    }
}

impl Vector for Avx2 {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: only reached on a processor with AVX2; see the head of this file.
        unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    fn splat(word: f32) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_set1_ps(word), _mm256_set1_ps(word)) }
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        // SAFETY: as above; a line is sixteen floats, of which each load reads eight.
        unsafe { Self(_mm256_loadu_ps(line.0.as_ptr()), _mm256_loadu_ps(line.0[8..].as_ptr())) }
    }

    #[inline(always)]
    fn store(self, line: &mut Line) {
        // SAFETY: as above; each store writes eight of the sixteen floats of the line, which is borrowed for it.
        unsafe {
            _mm256_storeu_ps(line.0.as_mut_ptr(), self.0);
            _mm256_storeu_ps(line.0[8..].as_mut_ptr(), self.1);
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: only reached on a processor with AVX2; see the head of this file.
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn multiply_add(a: Self, b: Self, sum: Self) -> Self {
        // SAFETY: as above, and with FMA.
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, sum.0), _mm256_fmadd_ps(a.1, b.1, sum.1)) }
    }

    #[inline(always)]
    fn multiply_add_pairs(a: Self, b: Self, sum: Self) -> Self {
        let ([a_even, a_odd], [b_even, b_odd]) = (a.halves(), b.halves());
        Self::multiply_add(a_even, b_even, Self::multiply_add(a_odd, b_odd, sum))
    }
}

/// One register.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Avx512(__m512);

impl Vector for Avx512 {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: only reached on a processor with AVX-512; see the head of this file.
        unsafe { Self(_mm512_setzero_ps()) }
    }

    #[inline(always)]
    fn splat(word: f32) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_set1_ps(word)) }
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        // SAFETY: as above; a line is the sixteen floats that are read.
        unsafe { Self(_mm512_loadu_ps(line.0.as_ptr())) }
    }

    #[inline(always)]
    fn store(self, line: &mut Line) {
        // SAFETY: as above; a line is the sixteen floats that are written, and is borrowed for it.
        unsafe { _mm512_storeu_ps(line.0.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: only reached on a processor with AVX-512; see the head of this file.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn multiply_add(a: Self, b: Self, sum: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_fmadd_ps(a.0, b.0, sum.0)) }
    }

    #[inline(always)]
    fn multiply_add_pairs(a: Self, b: Self, sum: Self) -> Self {
        let [[a_even, a_odd], [b_even, b_odd]] = [a, b].map(|words| {
            // SAFETY: as above.
            unsafe {
                let bits = _mm512_castps_si512(words.0);
                let odd = _mm512_and_si512(bits, _mm512_set1_epi32(-0x1_0000));
                [_mm512_slli_epi32::<16>(bits), odd].map(|half| Self(_mm512_castsi512_ps(half)))
            }
        });
        Self::multiply_add(a_even, b_even, Self::multiply_add(a_odd, b_odd, sum))
    }
}

/// One register, with the dot product of bf16.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Avx512Bf16(Avx512);

impl Vector for Avx512Bf16 {
    #[inline(always)]
    fn zero() -> Self {
        Self(Avx512::zero())
    }

    #[inline(always)]
    fn splat(word: f32) -> Self {
        Self(Avx512::splat(word))
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        Self(Avx512::load(line))
    }

    #[inline(always)]
    fn store(self, line: &mut Line) {
        self.0.store(line);
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0))
    }

    #[inline(always)]
    fn multiply_add(a: Self, b: Self, sum: Self) -> Self {
        Self(Avx512::multiply_add(a.0, b.0, sum.0))
    }

    #[inline(always)]
    fn multiply_add_pairs(a: Self, b: Self, sum: Self) -> Self {
        // SAFETY: only reached on a processor with AVX-512 BF16; see the head of this file. The types of the transmute
        // have the same size, and any bits are valid.
        unsafe {
            let [a, b] = [a, b].map(|words| std::mem::transmute::<__m512, __m512bh>(words.0.0));
            Self(Avx512(_mm512_dpbf16_ps(sum.0.0, a, b)))
        }
    }
}

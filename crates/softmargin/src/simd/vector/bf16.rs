//! bf16 values, and words of two of them.

/// Returns the even value of a word, as f32.
#[inline(always)]
pub(super) fn even(word: f32) -> f32 {
    f32::from_bits(word.to_bits() << 16)
}

/// Returns the odd value of a word, as f32.
#[inline(always)]
pub(super) fn odd(word: f32) -> f32 {
    f32::from_bits(word.to_bits() & 0xffff_0000)
}

/// Returns two values as a word, each rounded to the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(u32::from(to_bf16(odd)) << 16 | u32::from(to_bf16(even)))
}

/// Rounds to the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let kept = if value.is_nan() { bits >> 16 | 0x40 } else { rounded };
    (kept & 0xffff) as u16
}

/// Converts a bf16 to f32, exactly.
#[inline(always)]
pub(crate) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

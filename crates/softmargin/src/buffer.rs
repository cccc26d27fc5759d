//! Memory of arrays: large ones for gradients, and rows as slices.
//!
//! A fresh gradient of hundreds of megabytes is filled once; with pages of 4 KiB the faults cost more than the filling.
//! Where the system lets a program ask for huge pages, such an array asks.

use crate::number::Real;
use ndarray::{Array2, ArrayView1};
use std::borrow::Cow;

/// Below this size pages cost nothing that one could measure.
const LARGE: usize = 4 << 20;

/// A row as a slice, copied only where its elements do not lie side by side.
pub(crate) fn contiguous<F: Real>(row: ArrayView1<'_, F>) -> Cow<'_, [F]> {
    match row.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(row.to_vec()),
    }
}

/// An array of zeros.
pub(crate) fn zeros<F: Real>(rows: usize, columns: usize) -> Array2<F> {
    let mut array = Array2::zeros((rows, columns));
    if let Some(memory) = array.as_slice_mut() {
        ask_for_huge_pages(memory);
    }
    array
}

/// Asks for huge pages where memory is large; it must be fresh for that to have an effect.
pub(crate) fn ask_for_huge_pages<F>(memory: &mut [F]) {
    if size_of_val(memory) >= LARGE {
        advise(memory);
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the system call has no safe wrapper")]
fn advise<F>(memory: &mut [F]) {
    const HUGE: usize = 2 << 20;
    let range = memory.as_mut_ptr_range();
    let start = range.start.addr().next_multiple_of(HUGE);
    let end = range.end.addr() / HUGE * HUGE;
    if start >= end {
        return;
    }
    let pointer = range.start.with_addr(start).cast();
    // SAFETY: `start..end` lies inside `memory`, which is borrowed for the call; the advice changes no content, and a
    // refusal leaves everything as it was, so its result need not be looked at.
    unsafe { libc::madvise(pointer, end - start, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise<F>(_memory: &mut [F]) {}

//! Memory of arrays: zeroed arrays for gradients, and rows as slices.
//!
//! A fresh gradient of hundreds of megabytes is filled once. With pages of 4 KiB the page faults cost more than filling
//! it, so large arrays request huge pages where the system supports them.

use crate::number::Real;
use ndarray::{Array2, ArrayView1};
use std::borrow::Cow;

/// The size in bytes from which arrays request huge pages. Below it, page faults have no measurable cost.
const LARGE: usize = 4 << 20;

/// Returns a row as a slice. Copies it only if its elements are not contiguous.
pub(crate) fn contiguous<F: Real>(row: ArrayView1<'_, F>) -> Cow<'_, [F]> {
    match row.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(row.to_vec()),
    }
}

/// Returns an array of zeros, in huge pages if it is large.
pub(crate) fn zeros<F: Real>(rows: usize, columns: usize) -> Array2<F> {
    let mut array = Array2::zeros((rows, columns));
    if let Some(memory) = array.as_slice_mut() {
        ask_for_huge_pages(memory);
    }
    array
}

/// Requests huge pages for large memory. It has an effect only on memory that has not been touched yet.
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
    // SAFETY: `start..end` lies inside `memory`, which is borrowed for the call. The advice changes no content, and the
    // call has no effect if it fails, so its result can be ignored.
    unsafe { libc::madvise(pointer, end - start, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise<F>(_memory: &mut [F]) {}

//! Buffers that are reused from step to step.
//!
//! The values that forward stores for backward have the same size in every step. Fresh pages from the system would cost
//! more than a convolution, so freed buffers are stored here, up to a limit; the least recently used are dropped first.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most buffers that are stored: some for each layer of a deep plan, for full batches and for a shorter one.
const KEPT_AT_MOST: usize = 128;
/// The most values in all buffers together: 1 GiB.
const NUMBERS_AT_MOST: usize = 1 << 28;

static FREE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// A buffer with arbitrary content: write before reading.
#[derive(Debug)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    pub(super) fn new(length: usize) -> Self {
        let mut free = free();
        let kept = free.iter().position(|buffer| buffer.len() == length).map(|at| free.remove(at));
        drop(free);
        Self(kept.unwrap_or_else(|| vec![0.0; length]))
    }
}

/// Locks the list of free buffers. A panic in another thread leaves the list intact.
fn free() -> MutexGuard<'static, Vec<Vec<f32>>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = free();
        free.push(std::mem::take(&mut self.0));
        while free.len() > KEPT_AT_MOST || free.iter().map(Vec::len).sum::<usize>() > NUMBERS_AT_MOST {
            free.remove(0);
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

//! Buffers of lines that are reused from call to call, since fresh memory costs a page fault for every 4 KiB.

use crate::buffer::ask_for_huge_pages;
use crate::simd::Line;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The number of lines (4 MiB) from which a buffer is released before a larger one is allocated.
const LARGE: usize = 1 << 16;

/// The pool of buffers that are not in use. Clones start empty.
#[derive(Default)]
pub(super) struct Memory {
    free: Mutex<Vec<Vec<Line>>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: usize = free.iter().map(Vec::len).sum();
        write!(f, "Memory({} buffers, {} bytes)", free.len(), lines * size_of::<Line>())
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Memory {
    /// Returns a buffer of `lines` lines with unspecified content.
    pub(super) fn take(&self, lines: usize) -> Buffer<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().enumerate().filter(|(_, buffer)| buffer.len() >= lines);
        // The smallest that is large enough, unless it is more than twice as large: such a buffer is kept for larger
        // uses.
        let best = fits.min_by_key(|(_, buffer)| buffer.len()).filter(|(_, buffer)| buffer.len() <= 2 * lines.max(64));
        let index = best.map(|(index, _)| index);
        let kept = index.map(|index| free.swap_remove(index));
        if kept.is_none() && lines >= LARGE {
            // Large free buffers stem from batches of another size, which may not come again.
            free.retain(|buffer| buffer.len() < LARGE);
        }
        drop(free);
        let all = kept.unwrap_or_else(|| {
            // Huge pages must be requested before the memory is first written.
            let mut fresh = Vec::with_capacity(lines);
            ask_for_huge_pages(fresh.spare_capacity_mut());
            fresh.resize(lines, Line::default());
            fresh
        });
        Buffer { all, lines, memory: self }
    }

    /// Returns a buffer of zeros.
    pub(super) fn take_zeros(&self, lines: usize) -> Buffer<'_> {
        let mut buffer = self.take(lines);
        buffer.fill(Line::default());
        buffer
    }

    /// Frees all buffers that are not in use.
    pub(super) fn release(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A buffer that returns to its pool when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    all: Vec<Line>,
    lines: usize,
    memory: &'a Memory,
}

impl std::ops::Deref for Buffer<'_> {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.all[..self.lines]
    }
}

impl std::ops::DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [Line] {
        &mut self.all[..self.lines]
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let all = std::mem::take(&mut self.all);
        self.memory.free.lock().unwrap_or_else(PoisonError::into_inner).push(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_clones_have_none() {
        let memory = Memory::default();
        {
            let mut first = memory.take(100);
            first[3].0[0] = 1.0;
        }
        assert_eq!(memory.take(90).len(), 90);
        assert_eq!(memory.free.lock().unwrap().len(), 1);
        assert!(memory.take_zeros(100).iter().all(|line| *line == Line::default()));
        assert!(memory.clone().free.lock().unwrap().is_empty());
        memory.release();
        assert!(memory.free.lock().unwrap().is_empty());
    }
}

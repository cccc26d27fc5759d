//! Buffers of lines that are kept from call to call: fresh ones would cost a page fault for every 4 KiB.

use crate::buffer::ask_for_huge_pages;
use crate::simd::Line;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Lines from which on a buffer is worth giving back before a larger one is taken: 4 MiB.
const LARGE: usize = 1 << 16;

/// The buffers that are not in use. Clones start without any.
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
    /// A buffer of so many lines, of any content.
    pub(super) fn take(&self, lines: usize) -> Buffer<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().enumerate().filter(|(_, buffer)| buffer.len() >= lines);
        // The smallest that is large enough; one of many times the size is kept for what needs it.
        let best = fits.min_by_key(|(_, buffer)| buffer.len()).filter(|(_, buffer)| buffer.len() <= 2 * lines.max(64));
        let index = best.map(|(index, _)| index);
        let kept = index.map(|index| free.swap_remove(index));
        if kept.is_none() && lines >= LARGE {
            // Batches of another size have left buffers that nobody may want again.
            free.retain(|buffer| buffer.len() < LARGE);
        }
        drop(free);
        let all = kept.unwrap_or_else(|| {
            // Asked before anything is written: a page is as large as it was when it was first touched.
            let mut fresh = Vec::with_capacity(lines);
            ask_for_huge_pages(fresh.spare_capacity_mut());
            fresh.resize(lines, Line::default());
            fresh
        });
        Buffer { all, lines, memory: self }
    }

    /// A buffer of zeros.
    pub(super) fn take_zeros(&self, lines: usize) -> Buffer<'_> {
        let mut buffer = self.take(lines);
        buffer.fill(Line::default());
        buffer
    }

    /// Gives all buffers back to the system.
    pub(super) fn release(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Lines that go back when they are no longer needed.
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

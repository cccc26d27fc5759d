//! How the N x C scores are cut: blocks of rows, shards of prototypes, and tiles of these.
//!
//! A tile of prototypes is what one thread has in its second-level cache. A shard is a run of tiles that one thread
//! goes through, summing up what they give to the embeddings. All of it follows from N, C, K and D alone, never from
//! the machine or the number of threads: so the same sums are formed in the same order everywhere.

use super::panels::panels_of;
use crate::simd::{LINE, Line};
use std::ops::Range;

/// Numbers of a tile of prototypes: 256 KiB.
const TILE_NUMBERS: usize = 1 << 16;
/// The prototypes of a tile are a multiple of what a block of a product has, 6 or 12 of them.
const TILE_STEP: usize = 12;
const LEAST_TILE: usize = 4 * TILE_STEP;
const MOST_TILE: usize = 21 * TILE_STEP;

/// Rows whose slopes against a tile are worked on together.
const BLOCK: usize = 1024;

/// Tiles that make a shard of its own worth its sum.
const LEAST_SHARD: usize = 4;
const MOST_SHARDS: usize = 64;
/// Bytes that the sums of all shards may take, unless a few shards take more.
const SHARD_BYTES: usize = 32 << 20;
const FEW_SHARDS: usize = 8;

/// Rows that are many, and numbers of all prototypes that are few: then rows are gone through in chunks.
pub(super) const MANY_ROWS: usize = 4 * CHUNK;
pub(super) const FEW_NUMBERS: usize = 1 << 18;
/// Rows of a chunk.
const CHUNK: usize = 256;

/// A run of tiles.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    /// The positions of its prototypes.
    pub(super) positions: Range<usize>,
    pub(super) tile: usize,
}

impl Shard {
    pub(super) fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Self { positions, tile } = self.clone();
        let end = positions.end;
        positions.step_by(tile).map(move |first| first..end.min(first + tile))
    }
}

/// Blocks of rows, each a multiple of sixteen but the last; smaller ones where rows are gone through in chunks.
pub(super) fn blocks(rows: usize, by_rows: bool) -> Vec<Range<usize>> {
    let count = rows.div_ceil(if by_rows { CHUNK } else { BLOCK }).max(1);
    let size = rows.div_ceil(count).next_multiple_of(LINE).max(1);
    (0..rows).step_by(size).map(|first| first..rows.min(first + size)).collect()
}

/// Shards of so many positions, each of whole classes; one where rows are gone through in chunks. `tile` is the size of
/// a tile, if a test wants another.
pub(super) fn shards(
    positions: usize,
    sub_centers: usize,
    rows: usize,
    width: usize,
    tile: Option<usize>,
    by_rows: bool,
) -> Vec<Shard> {
    let of_width = (TILE_NUMBERS / width.max(1)).clamp(LEAST_TILE, MOST_TILE) / TILE_STEP * TILE_STEP;
    let tile = whole_classes(tile.unwrap_or(of_width), sub_centers);
    let tiles = positions.div_ceil(tile);
    let sum = panels_of(width) * rows.next_multiple_of(LINE) * size_of::<Line>();
    let afforded = (SHARD_BYTES / sum.max(1)).max(FEW_SHARDS);
    let count = if by_rows { 1 } else { (tiles / LEAST_SHARD).clamp(1, MOST_SHARDS).min(afforded) };
    let classes = positions / sub_centers;
    let first = |shard: usize| classes * shard / count * sub_centers;
    let of = |shard: usize| {
        let positions = first(shard)..first(shard + 1);
        // Tiles of one size, rather than a small one at the end.
        let tiles = positions.len().div_ceil(tile).max(1);
        let even = positions.len().div_ceil(tiles).next_multiple_of(TILE_STEP.min(tile));
        Shard { positions, tile: whole_classes(even, sub_centers) }
    };
    (0..count).map(of).filter(|shard| !shard.positions.is_empty()).collect()
}

/// The size of a tile that no class lies across.
fn whole_classes(tile: usize, sub_centers: usize) -> usize {
    (tile / sub_centers).max(1) * sub_centers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_every_prototype_has_its_place() {
        for rows in [0, 1, 15, 16, 1024, 1025, 5000] {
            let blocks = blocks(rows, false);
            assert_eq!(blocks.iter().cloned().flatten().collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
            assert!(
                blocks
                    .iter()
                    .rev()
                    .skip(1)
                    .all(|block| block.len().is_multiple_of(LINE) && block.len() <= BLOCK + LINE)
            );
        }
        for (classes, sub_centers) in [(0, 1), (1, 1), (1, 64), (10, 3), (1000, 1), (1000, 7), (100_000, 1)] {
            for (rows, width) in [(1, 1), (256, 512), (5000, 4096)] {
                for tile in [None, Some(1), Some(50)] {
                    let shards = shards(classes * sub_centers, sub_centers, rows, width, tile, false);
                    let mut next = 0;
                    for tile in shards.iter().flat_map(Shard::tiles) {
                        assert_eq!(tile.start, next);
                        assert!(!tile.is_empty() && tile.len().is_multiple_of(sub_centers));
                        next = tile.end;
                    }
                    assert_eq!(next, classes * sub_centers);
                    assert!(shards.len() <= MOST_SHARDS);
                }
            }
        }
    }
}

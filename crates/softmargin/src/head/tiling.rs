//! The division of the N x C scores into blocks of rows, and shards and tiles of prototypes.
//!
//! A tile of prototypes fits into the second-level cache of a thread. A shard is a run of tiles that one thread sweeps
//! over, with its own sum of the gradient with respect to the embeddings. The division depends only on N, C, K and D,
//! not on the machine or the number of threads, so that sums always run in the same order.

use super::panels::panels_of;
use crate::simd::{LINE, Line};
use std::ops::Range;

/// The number of f32 values of a tile of prototypes: 256 KiB.
const TILE_VALUES: usize = 1 << 16;
/// The step of the number of prototypes of a tile: a multiple of the 6 or 12 rows of a block of a product.
const TILE_STEP: usize = 12;
const LEAST_TILE: usize = 4 * TILE_STEP;
const MOST_TILE: usize = 21 * TILE_STEP;

/// The number of rows of a block, whose slopes against a tile are computed together.
const BLOCK: usize = 1024;

/// The least number of tiles for which a shard is worth its own sum.
const LEAST_SHARD: usize = 4;
const MOST_SHARDS: usize = 64;
/// The memory in bytes of the sums of all shards. Up to `FEW_SHARDS` shards may take more.
const SHARD_BYTES: usize = 32 << 20;
const FEW_SHARDS: usize = 8;

/// The number of rows from which, with at most [`FEW_VALUES`] values of prototypes, rows are computed in chunks.
pub(super) const MANY_ROWS: usize = 4 * CHUNK;
pub(super) const FEW_VALUES: usize = 1 << 18;
/// The number of rows of a chunk.
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

/// Returns blocks of rows, each a multiple of sixteen except the last; smaller ones if rows are computed in chunks.
pub(super) fn blocks(rows: usize, by_rows: bool) -> Vec<Range<usize>> {
    let count = rows.div_ceil(if by_rows { CHUNK } else { BLOCK }).max(1);
    let size = rows.div_ceil(count).next_multiple_of(LINE).max(1);
    (0..rows).step_by(size).map(|first| first..rows.min(first + size)).collect()
}

/// Returns shards of `positions` positions, each of whole classes; a single one if rows are computed in chunks. `tile`
/// is the tile size that a test has set.
pub(super) fn shards(
    positions: usize,
    sub_centers: usize,
    rows: usize,
    width: usize,
    tile: Option<usize>,
    by_rows: bool,
) -> Vec<Shard> {
    let of_width = (TILE_VALUES / width.max(1)).clamp(LEAST_TILE, MOST_TILE) / TILE_STEP * TILE_STEP;
    let tile = whole_classes(tile.unwrap_or(of_width), sub_centers);
    let tiles = positions.div_ceil(tile);
    let sum = panels_of(width) * rows.next_multiple_of(LINE) * size_of::<Line>();
    let afforded = (SHARD_BYTES / sum.max(1)).max(FEW_SHARDS);
    let count = if by_rows { 1 } else { (tiles / LEAST_SHARD).clamp(1, MOST_SHARDS).min(afforded) };
    let classes = positions / sub_centers;
    let first = |shard: usize| classes * shard / count * sub_centers;
    let of = |shard: usize| {
        let positions = first(shard)..first(shard + 1);
        // Tiles of nearly equal size, without a small one at the end.
        let tiles = positions.len().div_ceil(tile).max(1);
        let even = positions.len().div_ceil(tiles).next_multiple_of(TILE_STEP.min(tile));
        Shard { positions, tile: whole_classes(even, sub_centers) }
    };
    (0..count).map(of).filter(|shard| !shard.positions.is_empty()).collect()
}

/// Returns a tile size that is a multiple of the prototypes of a class, so that no tile splits a class.
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

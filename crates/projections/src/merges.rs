//! Which runs of an index are merged, and how: in steps, one with each addition, since a large merge at once would hold
//! up all else for seconds. Until it is done, its runs are there and what comes of them is not; where it has come to stands in
//! the file, so that it goes on after a restart. This module must never know what an id is of.

use redb::{ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::{
    merge::{Merge, Source},
    runs::{ALL_LEVELS, Chunks, Heads, Index, Merges, Sizes, Written},
    store::{StoreError, pack, unpack},
};

/// Runs of one level that are merged into one of the next: more of them make more to look through, fewer
/// make each entry be written more often. A run has as many entries as this to the power of its level, or more.
pub(crate) const FANOUT: usize = 8;
/// Entries that are merged with each addition, at least, those that several runs have counted once: a megabyte and some
/// milliseconds' worth. The logs' fsyncs wait for the same disk: with sixteen times as many, p99 at 100 payments a
/// second was 13.9 ms in a bank of ten million accounts, and 6.5 in a small one …
pub(crate) const STEP: usize = 1 << 14;
/// … and for each one that is added so many: where a thousand are added at once, every entry comes into a larger run four or five
/// times until it is in one of millions, and where more are, less often. So merges keep up.
const STEP_FOR_ONE: usize = 5;
/// Chunks of runs that were merged which are taken away with each addition: 128 MiB. Those of a large one are as many rows.
const SWEPT: usize = 4_096;

/// A merge under way, or one that is done and has left its runs' chunks.
#[derive(Debug, Serialize, Deserialize)]
struct Merging {
    /// What is merged, the newest first.
    runs: Vec<u64>,
    /// Those of them that have more.
    rest: Vec<Source>,
    written: Written,
}

impl Merging {
    fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<const N: usize> Index<N> {
    /// Merges what is due, as far as that goes beside an addition of so many entries.
    pub(crate) fn merge(self, tx: &WriteTransaction, added: usize) -> Result<(), StoreError> {
        let most = self.step.max(added.saturating_mul(STEP_FOR_ONE));
        let mut merged = 0;
        while merged < most
            && let Some((id, merging)) = self.next_merge(tx)?
        {
            merged += self.go_on(tx, id, merging, most - merged)?;
        }
        self.sweep(tx)
    }

    /// The newest merge that is not done, where none can be begun of what is newer: small ones do not wait for large ones.
    fn next_merge(self, tx: &WriteTransaction) -> Result<Option<(u64, Merging)>, StoreError> {
        let under_way = self.merges(tx)?.into_iter().rfind(|(_, merging)| !merging.is_done());
        let after = under_way.as_ref().map_or(0, |(id, _)| *id);
        let mut newest = Vec::new();
        for row in tx.open_table(Sizes::new(self.sizes))?.range(after..)?.rev() {
            let (id, entries) = row?;
            newest.push((id.value(), entries.value()));
        }
        let Some(due) = (0..self.most_level).find_map(|level| due(&newest, level)) else { return Ok(under_way) };
        let rest = due.iter().map(|(id, entries)| Source::of::<N>(*id, *entries)).collect();
        let merging = Merging { runs: due.iter().map(|(id, _)| *id).collect(), rest, written: Written::default() };
        Ok(Some((self.next_id(tx)?, merging)))
    }

    /// Goes on with a merge; says how many entries it moved. Once it is done, what comes of it takes the place of its runs.
    fn go_on(self, tx: &WriteTransaction, id: u64, mut merging: Merging, most: usize) -> Result<usize, StoreError> {
        let (mut merge, before) = (Merge::of(merging.rest), merging.written.entries);
        self.write(tx, id, &mut merging.written, most, |chunks| {
            merge.next(|id, number| Ok(chunks.get((id, number))?.map(|chunk| chunk.value().to_vec())))
        })?;
        merging.rest = merge.rest();
        if merging.is_done() {
            let (mut sizes, mut heads) = (tx.open_table(Sizes::new(self.sizes))?, tx.open_table(Heads::new(self.heads))?);
            for run in &merging.runs {
                sizes.remove(run)?;
                heads.retain_in((*run, 0)..=(*run, u32::MAX), |_, _| false)?;
            }
            sizes.insert(id, merging.written.entries)?;
        }
        tx.open_table(Merges::new(self.merges))?.insert(id, pack(&merging)?.as_slice())?;
        Ok(usize::try_from(merging.written.entries - before).unwrap_or(usize::MAX).max(1))
    }

    /// Takes away chunks of runs that were merged, the oldest merge's first.
    fn sweep(self, tx: &WriteTransaction) -> Result<(), StoreError> {
        let mut left = SWEPT;
        for (id, merging) in self.merges(tx)?.into_iter().filter(|(_, merging)| merging.is_done()) {
            let mut chunks = tx.open_table(Chunks::new(self.chunks))?;
            for run in merging.runs {
                let places = chunks.range((run, 0)..=(run, u32::MAX))?.take(left).map(|row| Ok(row?.0.value()));
                for place in places.collect::<Result<Vec<_>, StoreError>>()? {
                    chunks.remove(place)?;
                    left -= 1;
                }
            }
            if left == 0 {
                break;
            }
            tx.open_table(Merges::new(self.merges))?.remove(id)?;
        }
        Ok(())
    }

    /// All that are under way, or have left something, the oldest first: a handful.
    fn merges(self, tx: &WriteTransaction) -> Result<Vec<(u64, Merging)>, StoreError> {
        let merges = tx.open_table(Merges::new(self.merges))?;
        let each = merges.iter()?.map(|row| {
            let (id, merging) = row?;
            Ok((id.value(), unpack(merging.value())?))
        });
        each.collect()
    }
}

/// The newest runs up to a level, where there are enough of that level. They lie together in time, so that what is newer than
/// one of them is newer than all.
fn due(newest_first: &[(u64, u64)], level: u8) -> Option<&[(u64, u64)]> {
    let count = newest_first.iter().take_while(|(_, entries)| level_of(*entries) <= level).count();
    let (newest, _) = newest_first.split_at(count);
    (newest.iter().filter(|(_, entries)| level_of(*entries) == level).count() >= FANOUT).then_some(newest)
}

/// The level of a run of so many entries.
fn level_of(entries: u64) -> u8 {
    u8::try_from(entries.max(1).ilog(FANOUT as u64)).unwrap_or(ALL_LEVELS)
}

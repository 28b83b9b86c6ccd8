//! Tells of most keys that are not in a set that they are not, by one look at 32 bytes. It is stored beside the
//! set, so its layout never changes: that of a library might, and then a repeat would be paid twice.
//! This module must never say of a key in the set that it is not.

/// One odd number for each word of a block, and the layout: the split block Bloom filter of the Apache
/// Parquet specification (BloomFilter.md).
const SALTS: [u32; 8] = [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Keys of a block: 256 bits for 13 keys let pass about one in 2,200 that are not there, those for 20 one in 250. With 20 and
/// ten million accounts, files that were read in vain took a twentieth of the processor time.
const BLOCK_KEYS: usize = 13;

/// Many blocks are a multiple of this.
const FOLDABLE: usize = 16;

const WORD_BYTES: usize = 4;
const BLOCK_BYTES: usize = SALTS.len() * WORD_BYTES;

type Block = [u32; 8];

/// What of a key is the same in every filter.
pub(crate) struct Probe {
    /// Of 32 bits.
    hash: u64,
    /// Its bit in each word of a block.
    bits: Block,
}

impl Probe {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
    pub(crate) fn for_key(key: &[u8; 16]) -> Self {
        let hash = spread(u128::from_be_bytes(*key));
        Self { hash: hash >> 32, bits: SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27)) }
    }
}

/// Over a set that does not change any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Block>);

impl Filter {
    /// Over at most as many keys, none of which is noted yet.
    pub(crate) fn for_keys(most: usize) -> Self {
        let blocks = most.div_ceil(BLOCK_KEYS).max(1);
        // Such numbers of blocks can be halved a few times.
        Self(vec![[0; 8]; if blocks < FOLDABLE { blocks } else { blocks.next_multiple_of(FOLDABLE) }])
    }

    /// The same with as few blocks as do for the keys that were noted.
    pub(crate) fn folded_for(mut self, keys: usize) -> Self {
        while self.0.len().is_multiple_of(2) && self.0.len() / 2 * BLOCK_KEYS >= keys.max(1) {
            // A key's block in half as many is the one of the pair that it lies in now.
            let pairs = self.0.as_chunks::<2>().0.iter();
            self = Self(pairs.map(|[even, odd]| std::array::from_fn(|word| even[word] | odd[word])).collect());
        }
        self
    }

    pub(crate) fn note(&mut self, key: &[u8; 16]) {
        let probe = Probe::for_key(key);
        let block = self.place(&probe);
        for (word, bit) in self.0[block].iter_mut().zip(probe.bits) {
            *word |= bit;
        }
    }

    pub(crate) fn may_have(&self, probe: &Probe) -> bool {
        // Without a branch for each word: whether it has a bit is as good as random.
        let missing = self.0[self.place(probe)].iter().zip(probe.bits).fold(0, |missing, (word, bit)| missing | (bit & !word));
        missing == 0
    }

    /// The block of a key.
    const fn place(&self, probe: &Probe) -> usize {
        ((probe.hash * self.0.len() as u64) >> 32) as usize
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// None for what is not a filter's bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        let block = |bytes: &[u8; BLOCK_BYTES]| {
            let mut words = bytes.as_chunks::<WORD_BYTES>().0.iter().map(|word| u32::from_le_bytes(*word));
            std::array::from_fn(|_| words.next().unwrap_or_default())
        };
        (rest.is_empty() && !blocks.is_empty()).then(|| Self(blocks.iter().map(block).collect()))
    }
}

/// Ids are random in some of their bits only (UUID versions 5 and 7); this makes 64 bits that all are. The steps
/// and constants are those of SplitMix64 (Steele, Lea, Flood 2014).
#[expect(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
const fn spread(key: u128) -> u64 {
    let mut hash = ((key >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key as u64;
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use domain::PaymentId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_key_is_found_and_few_others_are_with_ids_of_each_kind() {
        let keyed = |number: u32| *Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).as_bytes();
        let timed = |_| PaymentId::from_uuid(Uuid::now_v7()).bytes();
        for id in [&keyed as &dyn Fn(u32) -> [u8; 16], &timed] {
            let ids: Vec<_> = (0..20_000).map(id).collect();
            let (noted, others) = ids.split_at(10_000);
            let mut filter = Filter::for_keys(noted.len());
            noted.iter().for_each(|id| filter.note(id));
            let filter = Filter::from_bytes(&filter.to_bytes()).expect("its own bytes");
            assert!(noted.iter().all(|id| filter.may_have(&Probe::for_key(id))));
            let wrong = others.iter().filter(|id| filter.may_have(&Probe::for_key(id))).count();
            assert!(wrong < 20, "{wrong} of 10,000");
        }
        assert_eq!(Filter::from_bytes(&[0; 31]), None);
        assert_eq!(Filter::from_bytes(&[]), None);
    }

    #[test]
    fn a_filter_over_fewer_keys_than_were_thought_is_folded() {
        let ids: Vec<_> = (0..20_000_u32).map(|number| *Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).as_bytes()).collect();
        let (noted, others) = ids.split_at(10_000);
        let mut filter = Filter::for_keys(80_000);
        noted.iter().for_each(|id| filter.note(id));
        let filter = filter.folded_for(noted.len());
        assert!(filter.0.len() < 11_000 / BLOCK_KEYS, "{} blocks", filter.0.len());
        assert!(noted.iter().all(|id| filter.may_have(&Probe::for_key(id))));
        let wrong = others.iter().filter(|id| filter.may_have(&Probe::for_key(id))).count();
        assert!(wrong < 20, "{wrong} of 10,000");
    }

    #[test]
    fn what_was_stored_once_is_found_for_ever() {
        let mut filter = Filter::for_keys(1);
        filter.note(&std::array::from_fn(|index| u8::try_from(index).expect("small")));
        let stored = filter.to_bytes();
        assert_eq!(
            stored.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "0008000000080000001000000002000000000800000000200000000400000100"
        );
        let many = Filter::for_keys(5 * BLOCK_KEYS);
        let blocks: Vec<usize> = (0..12).map(|byte| many.place(&Probe::for_key(&[byte; 16]))).collect();
        assert_eq!(blocks, [0, 3, 1, 3, 3, 0, 2, 2, 4, 0, 2, 1]);
    }
}

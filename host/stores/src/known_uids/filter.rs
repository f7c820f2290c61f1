//! A blocked Bloom filter: half a cache line per key, two bits in each of its four words. Most absent keys are told by the
//! first word alone; a wrong "maybe" costs one read of a page.

const WORDS: usize = 4;
const BLOCK_BITS: u64 = 256;
const BITS_PER_KEY: u64 = 12;

#[repr(align(32))]
#[derive(Clone, Copy, Default)]
struct Block([u64; WORDS]);

pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// For so many keys; more only make it less sharp.
    pub fn with_capacity(keys: u64) -> Filter {
        let blocks = (keys * BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        Filter { blocks: vec![Block::default(); blocks as usize] }
    }

    pub fn insert(&mut self, key: u128) {
        let at = self.block_of(key);
        for (i, word) in self.blocks[at].0.iter_mut().enumerate() {
            *word |= mask(key, i);
        }
    }

    /// False: certainly not in it.
    #[inline]
    pub fn may_hold(&self, key: u128) -> bool {
        let block = &self.blocks[self.block_of(key)].0;
        (0..WORDS).all(|i| !block[i] & mask(key, i) == 0)
    }

    pub fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// Uids are hashes already. The second quarter from below chooses the block; the top orders the files.
    fn block_of(&self, key: u128) -> usize {
        (((key as u64 >> 32) * self.blocks.len() as u64) >> 32) as usize
    }
}

/// Two bits of word `i`, from the lowest and the third quarter of the key.
#[inline]
fn mask(key: u128, i: usize) -> u64 {
    let bits = (u64::from(key as u32) | ((key >> 64) as u64) << 32) >> (12 * i);
    1 << (bits & 63) | 1 << (bits >> 6 & 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port_suite::uid_of;

    fn key(n: u64) -> u128 {
        u128::from_be_bytes(uid_of(n).0)
    }

    #[test]
    fn what_is_in_it_is_found_and_little_else() {
        let mut filter = Filter::with_capacity(100_000);
        (0..100_000).for_each(|n| filter.insert(key(n)));
        assert!((0..100_000).all(|n| filter.may_hold(key(n))));
        let wrong = (100_000..200_000).filter(|n| filter.may_hold(key(*n))).count();
        assert!(wrong < 1_000, "{wrong} of 100,000 wrongly held");
    }
}

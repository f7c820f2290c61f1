//! A split-block Bloom filter: one cache line half per key, eight bits in it. A wrong "maybe" costs one read of a page.

const LANES: usize = 8;
const BLOCK_BITS: u64 = 256;
const BITS_PER_KEY: u64 = 12;
const SALTS: [u32; LANES] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

#[repr(align(32))]
#[derive(Clone, Copy, Default)]
struct Block([u32; LANES]);

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
        let (at, mask) = self.place(key);
        for (lane, bit) in self.blocks[at].0.iter_mut().zip(mask) {
            *lane |= bit;
        }
    }

    /// False: certainly not in it.
    pub fn may_hold(&self, key: u128) -> bool {
        let (at, mask) = self.place(key);
        let missing = self.blocks[at].0.iter().zip(mask).fold(0, |missing, (lane, bit)| missing | (!lane & bit));
        missing == 0
    }

    pub fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// Uids are hashes already: their low half chooses block and bits, their high half orders the files.
    fn place(&self, key: u128) -> (usize, [u32; LANES]) {
        let block = ((key as u64 >> 32) * self.blocks.len() as u64) >> 32;
        (block as usize, SALTS.map(|salt| 1 << ((key as u32).wrapping_mul(salt) >> 27)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> u128 {
        let mix = |n: u64| (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        u128::from(mix(n)) << 64 | u128::from(mix(mix(n)))
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

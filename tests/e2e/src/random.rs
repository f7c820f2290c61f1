//! Seeded random numbers, so that a failing run can be had again.

/// SplitMix64. The seed is `ALERTMILL_SEED` or the clock, and is printed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// For the test of this name.
    pub fn of(test: &str) -> Random {
        let given = std::env::var("ALERTMILL_SEED").ok().map(|text| text.parse().expect("ALERTMILL_SEED is a number"));
        let seed = given.unwrap_or_else(|| crate::now_s() ^ (u64::from(std::process::id()) << 32));
        println!("{test}: ALERTMILL_SEED={seed}");
        Random(seed)
    }

    /// Another stream of the same seed.
    pub fn split(&mut self) -> Random {
        Random(self.next())
    }

    /// From 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

//! What a run is made of, beside its seed: faults, load and a planted bug. This is what shrinking makes smaller.

use crate::plant::Plant;
use crate::senders::SENDERS;

/// What one run draws its faults from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Percent of port calls that fail, done or not done.
    pub fault_percent: u64,
    pub latency_max_ms: u64,
    /// Crash when this many port calls were made in all, if ever.
    pub crash_at_call: Option<u64>,
    /// Percent of port calls that crash.
    pub crash_percent: u64,
}

impl Weather {
    /// Faults of a seed; some seeds have no crash, some no error, so that rare combinations come up.
    pub fn of_seed(seed: u64) -> Weather {
        Weather {
            fault_percent: [0, 5, 20][(seed % 3) as usize],
            latency_max_ms: [1, 20, 400][(seed / 3 % 3) as usize],
            crash_at_call: None,
            crash_percent: [0, 1, 3][(seed / 9 % 3) as usize],
        }
    }
}

/// Who sends, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bit n: sender n takes part.
    pub senders: u8,
    /// Events of each.
    pub events: u64,
}

impl Load {
    /// All senders.
    pub const FULL: Load = Load { senders: (1 << SENDERS) - 1, events: 60 };

    /// Whether sender `n` takes part.
    pub fn has(&self, n: u64) -> bool {
        self.senders >> n & 1 == 1
    }
}

/// All of a run but its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub weather: Weather,
    pub load: Load,
    pub plant: Option<Plant>,
}

impl Setup {
    /// What CI runs for a seed.
    pub fn of_seed(seed: u64, plant: Option<Plant>) -> Setup {
        Setup { weather: Weather::of_seed(seed), load: Load::FULL, plant }
    }
}

//! What a run is made of, beside its seed: faults, load, bounds and a planted bug. This is what shrinking makes smaller.

use crate::faults::Kinds;
use crate::plant::Plant;
use crate::rng::Rng;
use crate::senders::SENDERS;
use crate::weather::Weather;

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

    /// The load of a seed.
    pub fn of_seed(seed: u64) -> Load {
        let mut rng = Rng::new(seed ^ 0x10ad_10ad);
        let most = if rng.chance(20) { rng.next() as u8 | 1 } else { u8::MAX };
        Load { senders: Load::FULL.senders & most, events: rng.pick(&[8, 15, 25, 40, 60]) }
    }

    /// Whether sender `n` takes part.
    pub fn has(&self, n: u64) -> bool {
        self.senders >> n & 1 == 1
    }
}

/// How much may wait, and how the journal is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes that are journaled and not folded.
    pub in_flight_bytes: usize,
    /// Bytes of durable records in memory for the reader.
    pub live_bytes: usize,
    /// Records of a segment.
    pub segment_records: u64,
    /// Segments on disk.
    pub segments: usize,
}

impl Bounds {
    /// The bounds of a seed.
    pub fn of_seed(seed: u64) -> Bounds {
        let mut rng = Rng::new(seed ^ 0xb0b0_b0b0);
        Bounds {
            in_flight_bytes: rng.pick(&[2_000, 6_000, 20_000, 1 << 20]),
            live_bytes: rng.pick(&[0, 4_000, 20_000, 1 << 20]),
            segment_records: rng.pick(&[2, 8, 30, 100]),
            segments: rng.pick(&[8, 30, 1_000]),
        }
    }
}

/// All of a run but its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The seed that weather and bounds were drawn from.
    pub weather_of: u64,
    pub weather: Weather,
    pub load: Load,
    pub bounds: Bounds,
    /// Kinds of faults that may happen at all.
    pub kinds: Kinds,
    /// Faults behind the first so many do not happen.
    pub faults_max: u64,
    pub plant: Option<Plant>,
}

impl Setup {
    /// With the weather and the bounds of another seed.
    pub fn in_weather_of(self, seed: u64) -> Setup {
        Setup { weather_of: seed, weather: Weather::of_seed(seed), bounds: Bounds::of_seed(seed), ..self }
    }

    /// What CI runs for a seed.
    pub fn of_seed(seed: u64, plant: Option<Plant>) -> Setup {
        let (weather, load, bounds) = (Weather::of_seed(seed), Load::of_seed(seed), Bounds::of_seed(seed));
        Setup { weather_of: seed, weather, load, bounds, kinds: Kinds::ALL, faults_max: u64::MAX, plant }
    }
}

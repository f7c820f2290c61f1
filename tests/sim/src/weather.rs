//! What a run draws its faults from: rates of each kind, how long calls take, when it crashes, who is away for long. Drawn
//! from the seed, in wide ranges, so that some seeds are calm and some are wild.

use crate::faults::FaultKind;
use crate::rng::Rng;

/// When the process goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crashes {
    /// Now and then, on average after so many steps; a step is an await that came back. Never if 0.
    Every(u64),
    /// Once, at this port call, counted from 1.
    AtCall(u64),
    /// Once, behind this step, counted from 1.
    AtStep(u64),
    /// At this call, and again at that one of the life behind it.
    Pair(u64, u64),
}

/// A part of the world that can be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Journal,
    Reader,
    /// Between the halves; never away.
    Pipe,
    Rules,
    Store,
    Checkpoint,
    /// What waits for services; never away, it is the store's.
    Outbox,
    Elasticsearch,
    Redis,
}

impl Part {
    /// Whether shipping alone waits for it.
    pub fn is_of_shipping(self) -> bool {
        matches!(self, Part::Outbox | Part::Elasticsearch | Part::Redis)
    }
}

/// One part is away from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    pub part: Part,
    /// Milliseconds after the begin of the run.
    pub from_ms: i64,
    pub to_ms: i64,
    /// It does not even refuse.
    pub hangs: bool,
}

/// What one run draws its faults from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Per 1,000 of the moments at which each kind can happen.
    pub rates: [u16; FaultKind::ALL.len()],
    /// Milliseconds that a port call takes at most, unless it stalls.
    pub latency_max_ms: u64,
    pub crashes: Crashes,
    /// Percent of the crashes that are losses of power.
    pub power_loss_percent: u64,
    /// Milliseconds between a commit and the sync of the state.
    pub checkpoint_after_ms: u64,
    pub away: Option<Away>,
    /// One fault and no other: this kind, when it can happen for the so-manieth time, counted from 1.
    pub once: Option<(FaultKind, u64)>,
}

impl Weather {
    /// No fault at all.
    pub const CALM: Weather = Weather {
        rates: [0; FaultKind::ALL.len()],
        latency_max_ms: 20,
        crashes: Crashes::Every(0),
        power_loss_percent: 50,
        checkpoint_after_ms: 50,
        away: None,
        once: None,
    };

    /// The weather of a seed.
    pub fn of_seed(seed: u64) -> Weather {
        let mut rng = Rng::new(seed ^ 0x3ea7_4e5e_ed00_11d5);
        let mut weather = Weather { latency_max_ms: rng.pick(&[1, 5, 20, 100, 400]), ..Weather::CALM };
        let temper = rng.below(10);
        if temper == 0 {
            return weather;
        }
        let alone = FaultKind::ALL[rng.below(FaultKind::ALL.len() as u64) as usize];
        for kind in FaultKind::ALL {
            let mild = [0, 0, 1, 3, 10, 30][rng.below(6) as usize];
            let wild = 20 + rng.below(120) as u16;
            weather.rates[kind as usize] = match temper {
                1 if kind == alone => 100 + rng.below(300) as u16,
                1 => 0,
                2 | 3 => wild,
                _ => mild,
            };
        }
        // They can happen at every call, at every group: a little of it goes a long way.
        weather.rates[FaultKind::Stall as usize] /= 20;
        weather.rates[FaultKind::ClockJump as usize] /= 4;
        weather.rates[FaultKind::AppendHalf as usize] /= 4;
        // Few rows can be slow, and only several of them strike a rule out.
        let slow = &mut weather.rates[FaultKind::RuleSlow as usize];
        *slow = (*slow * 25).min(900);
        weather.crashes = Crashes::Every(rng.pick(&[0, 20_000, 5_000, 2_000, 600, 200]));
        weather.power_loss_percent = rng.pick(&[0, 30, 70, 100]);
        weather.checkpoint_after_ms = rng.pick(&[5, 50, 50, 2_000, 30_000]);
        weather.away = rng.chance(35).then(|| Away::draw(&mut rng));
        weather
    }

    /// Of 1,000 moments, so many see this fault.
    pub fn rate(&self, kind: FaultKind) -> u64 {
        u64::from(self.rates[kind as usize])
    }
}

impl Away {
    fn draw(rng: &mut Rng) -> Away {
        let part = rng.pick(&[
            Part::Journal,
            Part::Reader,
            Part::Rules,
            Part::Store,
            Part::Store,
            Part::Checkpoint,
            Part::Elasticsearch,
            Part::Elasticsearch,
            Part::Redis,
        ]);
        let hangs = rng.chance(50);
        let from_ms = rng.below(120_000) as i64;
        // Who hangs costs nothing while it does.
        let ms = if hangs { 10_000 << rng.below(11) } else { 10_000 << rng.below(6) };
        Away { part, from_ms, to_ms: from_ms + ms, hangs }
    }
}

//! The clocks of a life: true time, the wall clock that somebody may set, and the journal's clock, which is led back to the
//! wall clock in small steps, as `host/stores/src/journal/clock.rs` does it.

/// The clocks; all in milliseconds.
pub struct Clocks {
    /// True time.
    pub now_ms: i64,
    /// How far the wall clock is from it.
    pub skew_ms: i64,
    told_ms: i64,
    /// How far it was behind the wall clock then.
    behind_ms: i64,
    read_at_ms: i64,
}

impl Clocks {
    pub fn new(now_ms: i64) -> Clocks {
        Clocks { now_ms, skew_ms: 0, told_ms: now_ms, behind_ms: 0, read_at_ms: now_ms }
    }

    /// What the wall clock shows.
    pub fn wall_ms(&self) -> i64 {
        self.now_ms + self.skew_ms
    }

    /// A journal is opened whose last record has this time.
    pub fn start_journal(&mut self, floor_ms: i64) {
        (self.told_ms, self.read_at_ms) = (self.wall_ms().max(floor_ms), self.now_ms);
        self.behind_ms = self.wall_ms() - self.told_ms;
    }

    /// What the journal's clock shows.
    pub fn journal_ms(&self) -> i64 {
        let passed = self.now_ms - self.read_at_ms;
        let told = self.told_ms + passed;
        let drift_ms = passed / 1_000;
        let seen = (self.wall_ms() - told).clamp(self.behind_ms.min(0) - drift_ms, self.behind_ms.max(0) + drift_ms);
        told + seen.clamp(-passed / 2, passed)
    }

    /// Reads the journal's clock.
    pub fn read_journal(&mut self) -> i64 {
        (self.told_ms, self.read_at_ms) = (self.journal_ms(), self.now_ms);
        self.behind_ms = self.wall_ms() - self.told_ms;
        self.told_ms
    }

    /// Milliseconds until the journal's clock may show `at_ms`, at the soonest; 0 if it does.
    pub fn until_journal(&self, at_ms: i64) -> i64 {
        // It runs at double speed at most; asked again then, it is near.
        (at_ms - self.journal_ms() + 1).max(0) / 2
    }
}

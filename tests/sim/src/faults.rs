//! The kinds of faults, each with its name on the command line and in the quota.

/// Names each kind once.
macro_rules! kinds {
    ($($kind:ident $name:literal $says:literal)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $(#[doc = $says] $kind,)*
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: [FaultKind; [$($name),*].len()] = [$(FaultKind::$kind),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(FaultKind::$kind => $name,)* }
            }

            /// What happens.
            pub const fn says(self) -> &'static str {
                match self { $(FaultKind::$kind => $says,)* }
            }
        }
    };
}

kinds! {
    AppendBefore "append-before" "An append is refused, nothing is written."
    AppendHalf "append-half" "A group's sync fails and so does the new segment: a front of it is on disk, the journal has stopped, all are told so."
    AppendAfter "append-after" "An append is durable and its answer is lost."
    SyncFailed "sync-failed" "A group's sync fails; it goes into a new segment."
    JournalFull "journal-full" "All segments are in use: a consequence of a state that does not come on."
    ReadBefore "read-before" "The journal cannot be read."
    ReadPart "read-part" "A read gives a part of what is there."
    ReadFromDisk "read-from-disk" "A live record has no room in memory: it is read from its file and parsed again."
    RulesBefore "rules-before" "A generation cannot be opened."
    RuleSlow "rule-slow" "A rule runs into its time limit on a row that it judges well at another time."
    KnownBefore "known-before" "The known uids cannot be read."
    CommitBefore "commit-before" "A commit is refused, nothing is written."
    CommitHalf "commit-half" "The documents of a commit are written, its rows are not."
    CommitAfter "commit-after" "A commit is in and its answer is lost."
    CheckpointBefore "checkpoint-before" "The state cannot be synced."
    ReleaseBefore "release-before" "Journal segments cannot be removed."
    ReleaseHalf "release-half" "Some of the segments are removed, then no more."
    IntakeFull "intake-full" "A request is refused because too much waits: a consequence."
    Stall "stall" "A call takes minutes."
    Away "away" "A part answers nothing, or refuses everything, for a long time."
    Stop "stop" "The process is asked to stop: it takes no more, folds what it has, and ends."
    Kill "kill" "The process is killed; what it wrote is in the cache of the kernel."
    PowerLoss "power-loss" "The machine loses its power, and what was not synced with it."
    TornWrite "torn-write" "An unsynced write is there up to the middle of a record."
    LostCommits "lost-commits" "Power loss takes commits back that were not synced."
    CrashInStart "crash-in-start" "It goes down again before it is up."
    ClockJump "clock-jump" "The wall clock is set while the process runs."
    ClockJumpAtStart "clock-jump-at-start" "The wall clock is set while the process is down."
    OutboxBefore "outbox-before" "What waits for services cannot be read or freed."
    OutboxAfter "outbox-after" "It was freed, and the answer is lost."
    BulkBefore "bulk-before" "Elasticsearch refuses a bulk call, nothing is done."
    BulkLost "bulk-lost" "The answer to a bulk call is lost: none, some or all of it is done, some of it later."
    BulkBusy "bulk-busy" "Elasticsearch puts items of a bulk call off."
    BulkRefused "bulk-refused" "Elasticsearch refuses an item for good."
    Stranger "stranger" "Another program has written a document of a higher version in the place of an alert."
    ReadBackBefore "read-back-before" "Documents cannot be read back."
    CacheBefore "cache-before" "Redis refuses a call, nothing is done."
    CacheLost "cache-lost" "The answer of Redis is lost: it was done, was not, or will be."
    CacheWiped "cache-wiped" "Redis forgets everything."
    CacheFailover "cache-failover" "A replica of Redis that had not heard the last writes takes over."
    LostAnswer "lost-answer" "The sender is not told that its items are safe."
    Duplicate "duplicate" "A request is delivered once more, later."
    Retry "retry" "A sender repeats a request: a consequence."
}

impl FaultKind {
    /// Reads the name of the command line.
    pub fn parse(name: &str) -> Option<FaultKind> {
        FaultKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which kinds may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u64);

impl Kinds {
    /// Every kind.
    pub const ALL: Kinds = Kinds((1 << FaultKind::ALL.len()) - 1);
    /// No kind.
    pub const NONE: Kinds = Kinds(0);

    /// With one more.
    pub const fn with(self, kind: FaultKind) -> Kinds {
        Kinds(self.0 | 1 << kind as u64)
    }

    /// With one less.
    pub const fn without(self, kind: FaultKind) -> Kinds {
        Kinds(self.0 & !(1 << kind as u64))
    }

    /// Whether it may happen.
    pub const fn has(self, kind: FaultKind) -> bool {
        self.0 >> kind as u64 & 1 == 1
    }

    /// Those that may happen.
    pub fn list(self) -> impl Iterator<Item = FaultKind> {
        FaultKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

/// How often each kind happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected([u64; FaultKind::ALL.len()]);

impl Default for Injected {
    fn default() -> Injected {
        Injected([0; FaultKind::ALL.len()])
    }
}

impl Injected {
    /// It happened.
    pub fn count(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }

    /// How often.
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// Adds those of another run.
    pub fn add_all(&mut self, other: &Injected) {
        self.0.iter_mut().zip(other.0).for_each(|(n, more)| *n += more);
    }
}

//! Bugs that can be planted in the fake ports, to show that the checks find them. Core itself is never changed.

use crate::failure::Promise;

/// Names each bug and the promise that it breaks, once.
macro_rules! plants {
    ($($plant:ident $name:literal $breaks:ident $says:literal)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plant {
            $(#[doc = $says] $plant,)*
        }

        impl Plant {
            /// All of them.
            pub const ALL: [Plant; [$($name),*].len()] = [$(Plant::$plant),*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Plant::$plant => $name,)* }
            }

            /// The promise that it breaks, and by which it must be found.
            pub const fn breaks(self) -> Promise {
                match self { $(Plant::$plant => Promise::$breaks,)* }
            }

            /// What is wrong.
            pub const fn says(self) -> &'static str {
                match self { $(Plant::$plant => $says,)* }
            }
        }
    };
}

plants! {
    EarlyAcknowledge "early-acknowledge" I1 "The journal answers when the record is written, before it is durable."
    UnlinkBeforeSync "unlink-before-sync" I1 "Segments are removed behind the state's position, synced or not."
    SkippedSave "skipped-save" I1 "The store saves all of a commit but its events and dead letters."
    LostRecordOnReplay "lost-record-on-replay" I1 "The journal's reader takes a record for nothing after a restart."
    TrustedTail "trusted-tail" I1 "A start takes what it finds at the journal's end for durable, and does not write it again."
    DoubleCount "double-count" I2 "After a crash the store has the last commit's rows and the position before it."
    DroppedUidMemory "dropped-uid-memory" I2 "The uids that the store knows are gone after a restart."
    KeyLostOnReplay "key-lost-on-replay" I2 "A payload that is read again after a restart has lost its Idempotency-Key."
    RejectedRemembered "rejected-remembered" I2 "The uid of an event that a rule rejects is known as soon as its dead letter is stored."
    UidsForgottenEarly "uids-forgotten-early" I2 "Uids are forgotten behind the last commit, synced or not."
    ForgottenAlert "forgotten-alert" I3 "The store does not give back one of the open alerts."
    UnorderedShards "unordered-shards" I4 "The fold gets a later record for an earlier one now and then."
    StaleEsVersion "stale-es-version" I5 "A document that Elasticsearch finds too old is written all the same, under a version read anew."
    ShipBeforeSync "ship-before-sync" I5 "Alerts are handed to services before the state that holds them is synced."
    ConfirmsNewer "confirms-newer" I5 "What a service has frees the alert, whatever changed since."
    SnapshotTrusted "snapshot-trusted" I5 "Redis is taken to hold what was written to it."
    LedgerNotRestored "ledger-not-restored" I6 "The counters begin at nothing after a restart."
    LettersNotRemoved "letters-not-removed" I6 "The store keeps dead letters that were tried again."
    RedrivenNotCounted "redriven-not-counted" I6 "The store does not save how many dead letters were tried again."
    HalfGeneration "half-generation" I7 "After a restart the newest rules in the journal judge the first batches that are read again."
    AlertRulesOfNow "alert-rules-of-now" I7 "New alerts go through the newest rules in the journal, whatever was in force at the event that opened them."
    NumberTwice "number-twice" I7 "A generation's number is given again when the answer was lost."
    LostTimer "lost-timer" I8 "The time of the next time-out is forgotten after a commit now and then."
    ClockSkipped "clock-skipped" I8 "Nobody writes clock records."
    StartGraceLost "start-grace-lost" I8 "The store does not give back when the process last started."
    VerdictAfterHandOver "verdict-after-hand-over" I8 "A batch is handed over while the verdicts that it rests on are on their way."
    VerdictNotRead "verdict-not-read" I8 "A start does not look for verdicts in the journal."
    VerdictNotRestored "verdict-not-restored" I8 "The store does not give back the verdicts that hold to the end of the generation."
    RejectedNotCounted "rejected-not-counted" I6 "Events that a rule rejects are taken out on their way to the fold."
    ReserveMissing "reserve-missing" I9 "A full journal takes no verdicts either."
    UnboundedIntake "unbounded-intake" I9 "Requests are taken however much waits."
}

impl Plant {
    /// Reads the name of the command line.
    pub fn parse(name: &str) -> Option<Plant> {
        Plant::ALL.into_iter().find(|plant| plant.name() == name)
    }
}

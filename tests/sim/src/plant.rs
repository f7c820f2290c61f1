//! Bugs that can be planted in the fake ports, to show that the checks find them. Core itself is never changed.

use crate::failure::Promise;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The journal answers before the record is durable.
    EarlyAcknowledge,
    /// The uids that the store knows are gone after a restart.
    DroppedUidMemory,
    /// After a crash the store has the last commit's rows and the position before it.
    CommitWithoutPosition,
    /// The store does not give back one of the open alerts.
    ForgottenAlert,
    /// The journal's reader now and then gives a later record for an earlier one.
    ReorderedBatches,
    /// The journal's reader takes a record for nothing after a restart.
    LostRecordOnReplay,
    /// After a restart the newest rules in the journal judge all that is read again.
    GenerationMixed,
    /// The counters begin at nothing after a restart.
    LedgerNotRestored,
    /// The store does not give back when the process last started.
    StartGraceLost,
    /// Nobody writes clock records.
    ClockSkipped,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 10] = [
        Plant::EarlyAcknowledge,
        Plant::DroppedUidMemory,
        Plant::CommitWithoutPosition,
        Plant::ForgottenAlert,
        Plant::ReorderedBatches,
        Plant::LostRecordOnReplay,
        Plant::GenerationMixed,
        Plant::LedgerNotRestored,
        Plant::StartGraceLost,
        Plant::ClockSkipped,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Plant::EarlyAcknowledge => "early-acknowledge",
            Plant::DroppedUidMemory => "dropped-uid-memory",
            Plant::CommitWithoutPosition => "commit-without-position",
            Plant::ForgottenAlert => "forgotten-alert",
            Plant::ReorderedBatches => "reordered-batches",
            Plant::LostRecordOnReplay => "lost-record-on-replay",
            Plant::GenerationMixed => "generation-mixed",
            Plant::LedgerNotRestored => "ledger-not-restored",
            Plant::StartGraceLost => "start-grace-lost",
            Plant::ClockSkipped => "clock-skipped",
        }
    }

    /// The promise that it breaks, and by which it must be found.
    pub const fn breaks(self) -> Promise {
        match self {
            Plant::EarlyAcknowledge | Plant::LostRecordOnReplay => Promise::I1,
            Plant::DroppedUidMemory | Plant::CommitWithoutPosition => Promise::I2,
            Plant::ForgottenAlert => Promise::I3,
            Plant::ReorderedBatches => Promise::I4,
            Plant::LedgerNotRestored => Promise::I6,
            Plant::GenerationMixed => Promise::I7,
            Plant::StartGraceLost | Plant::ClockSkipped => Promise::I8,
        }
    }

    /// Reads the name of the command line.
    pub fn parse(name: &str) -> Option<Plant> {
        Plant::ALL.into_iter().find(|plant| plant.name() == name)
    }
}

//! What the pipeline asks of the outside world. Each port makes one promise, written with it; the simulator and the real
//! stores implement the same traits, and one test suite holds both to the promises.

use crate::audit::AuditEntry;
use crate::command::Decided;
use crate::event::{Fingerprint, Status, Uid};
use crate::item::Item;
pub use crate::letter::{DeadLetter, Redriven};
use crate::record::{Journaled, RecordBody, RuleSet};
use crate::value::Text;
use crate::verdict::{Halted, Policy, Verdict};
use crate::version_change::VersionChange;
use std::future::Future;

/// A record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its ordinal.
    pub ordinal: u64,
    /// Its time, milliseconds since 1970.
    pub received_at_ms: i64,
}

/// A port that did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Nothing was changed; it may work later, as a rule soon: something is full that empties by itself.
    #[error("{0}")]
    Unavailable(String),
    /// Nothing was changed; what is stored for later has reached its bound, and has room again when some of it is done with.
    #[error("{0}")]
    Full(String),
    /// Nothing was changed; the disk refuses, and works again when somebody has seen to it.
    #[error("{0}")]
    DiskRefused(String),
    /// Nothing was changed, and this one never fits; smaller ones do.
    #[error("{0}")]
    TooLarge(String),
    /// Whether it was done is not known; the caller asks or repeats, both are safe.
    #[error("{0}")]
    Unclear(String),
    /// It will never work again in this process.
    #[error("{0}")]
    Fatal(String),
}

impl PortError {
    /// Whether it is certain that nothing was done.
    pub fn changed_nothing(&self) -> bool {
        matches!(self, PortError::TooLarge(_)) || self.may_pass()
    }

    /// Whether nothing was done, and the very same call may work later.
    pub fn may_pass(&self) -> bool {
        matches!(self, PortError::Unavailable(_) | PortError::Full(_) | PortError::DiskRefused(_))
    }
}

/// Promise: errors name no files, since the doors hand them to senders. When `append` answers `Ok`, the record survives
/// kill -9 and power loss, is replayed after every restart until a commit has passed it, and is handed to the prepare half
/// exactly once in this process, in the order of ordinals. The time it gets never goes back, and the record before it has the
/// ordinal before it.
pub trait Journal: Send + Sync {
    /// Appends one record. `parsed` goes along in memory, so that prepare need not parse again.
    fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> impl Future<Output = Result<Appended, PortError>> + Send;
}

/// Promise: durable records in the order of ordinals without a gap, starting after the position that the store has
/// committed. Never an empty answer.
pub trait Records: Send {
    /// Waits for the next records; takes what is there, at most `rows_max` items unless the first record alone has more.
    fn next_records(&mut self, rows_max: usize) -> impl Future<Output = Result<Vec<Journaled>, PortError>> + Send;
}

/// What is done about a row at which a rule halted the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The rule is asked again.
    Retry,
    /// The rule is not asked about it, and the policy is applied; nor about any row behind it in this generation when
    /// `to_the_end` says so.
    As {
        /// Any but `stop`.
        policy: Policy,
        /// Not for this row only.
        to_the_end: bool,
    },
}

/// Promise: `decide` comes back with an operator's word; where the failure [may pass](Halted::may_pass) it says `Retry` by
/// itself after a while, which grows as long as it is the same row.
pub trait Halts: Send {
    /// Waits until something is done about the row.
    fn decide(&mut self, halted: &Halted) -> impl Future<Output = Resume> + Send;
}

/// Promise: for a uid that a commit stored, its `known_until_s`, the latest if it was stored more than once; `None` for one
/// that no commit stored. Only what the time of the state, as a power loss may leave it, has passed may be forgotten; until
/// when it answers beyond that is the store's affair, since the caller compares with its records' times.
pub trait KnownUids: Send {
    /// Until which second each uid is known, in order.
    fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError>;
}

/// Promise: all of a commit or nothing. A commit that moves `from` to `to` applies only when the store's position is
/// `from`; when it is already `to` the same commit was applied before, and `Ok` is the answer. After `Ok` the state seen
/// by readers is that commit's; after a kill it is that commit's; after power loss it may be an earlier commit's, and the
/// journal still holds all records since.
pub trait LocalStore: Send {
    /// Begins what of a commit only the disk has to do, when that is worth it: then `true`, and the caller may fold on before
    /// it calls `commit` with the same one. Nothing of it is seen before that, and a store that is dropped forgets it.
    fn begin(&mut self, _commit: &Commit) -> bool {
        false
    }

    /// Applies a commit.
    fn commit(&mut self, commit: &Commit) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Bytes that a store may need beside each event's document, and once for a file: places in files have 32 bits, so that
/// documents and these together stay below 4 GiB in every commit that reaches a store.
pub const EVENT_OVERHEAD_BYTES: u64 = 64;

/// Everything that one fold batch changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// Position before: the last ordinal that the commit before this one covered.
    pub from: u64,
    /// Position after.
    pub to: u64,
    /// Time of the record at `to`, milliseconds.
    pub received_at_ms: i64,
    /// Time of the last start at or before `to`, milliseconds; 0 before the first one.
    pub started_at_ms: i64,
    /// Documents of stored events, in fold order.
    pub events: Vec<StoredEvent>,
    /// One buffer for their documents.
    pub event_heap: Vec<u8>,
    /// Alerts that changed, whole, one entry each.
    pub alerts: Vec<AlertWrite>,
    /// Which events each alert absorbed, in order.
    pub alert_events: Vec<AlertEvents>,
    /// Log documents. Those of CONVERGE are derived from the event lists when they are read, unless each is to be written.
    pub logs: Vec<LogWrite>,
    /// Dead letters that are none any more, or new ones: the stored ones of these places (record, place in it) go, before those
    /// of this commit come. One that is not there is nothing amiss.
    pub letters_done: Vec<(u64, u32)>,
    /// Events that could not be understood or judged.
    pub dead_letters: Vec<DeadLetter>,
    /// Counters that changed, absolute values.
    pub ledger: Vec<LedgerValue>,
    /// The generations that began in this batch, in their order; the last one is in force after it.
    pub rule_sets: Vec<RuleSet>,
    /// The verdicts without an end of the generation in force after it, when they changed.
    pub open_verdicts: Option<Vec<Verdict>>,
    /// Versions of rules that came or went, in their order.
    pub rule_versions: Vec<VersionWrite>,
    /// Who changed the rules, in the order of the journal.
    pub audit: Vec<AuditEntry>,
    /// When the next time-out of an alert may be due, milliseconds.
    pub next_due_ms: Option<i64>,
    /// How many alerts are open after it.
    pub open_alerts: u64,
    /// What became of operators' commands, for those who wait for it; stores have no use for it.
    pub commands: Vec<Decided>,
    /// What became of dead letters that were tried again, for those who wait for it; stores have no use for it.
    pub redriven: Vec<Redriven>,
}

impl Commit {
    /// Rough bytes held: documents, and what is kept beside them.
    pub fn size_bytes(&self) -> usize {
        let alert = |alert: &AlertWrite| size_of::<AlertWrite>() + alert.document.len() + alert.state.len();
        let list = |list: &AlertEvents| size_of::<AlertEvents>() + list.events.len() * size_of::<(u32, EventRole)>();
        let log = |log: &LogWrite| size_of::<LogWrite>() + log.document.len();
        self.event_heap.len()
            + self.events.len() * size_of::<StoredEvent>()
            + self.alerts.iter().map(alert).sum::<usize>()
            + self.alert_events.iter().map(list).sum::<usize>()
            + self.logs.iter().map(log).sum::<usize>()
            + self.dead_letters.iter().map(DeadLetter::size_bytes).sum::<usize>()
            + self.rule_sets.iter().map(RuleSet::size_bytes).sum::<usize>()
            + self.rule_versions.iter().map(|write| write.change.size_bytes()).sum::<usize>()
            + self.audit.iter().map(AuditEntry::size_bytes).sum::<usize>()
    }
}

/// A version of a rule came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionWrite {
    /// Its record.
    pub ordinal: u64,
    /// Time of its record, milliseconds.
    pub received_at_ms: i64,
    /// Which, and what became of it.
    pub change: VersionChange,
}

/// One event document.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// `_id` of the document.
    pub uid: Uid,
    /// The last second at which a retry of this uid is recognised; always the end of an hour, at most 49 hours after receipt.
    pub known_until_s: i64,
    /// Seconds that choose the day index (docs/semantics.md, Expiry).
    pub index_time_s: i64,
    /// Where its JSON lies in `event_heap`.
    pub document: std::ops::Range<u32>,
}

/// One alert, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertWrite {
    /// `seq_id`; identity in the local store.
    pub seq: u64,
    /// `id` of the document.
    pub id: Text,
    /// Tenant.
    pub tenant: Text,
    /// Stored status.
    pub status: Status,
    /// 1 to 3.
    pub severity: u8,
    /// Name, for search.
    pub alert_name: Text,
    /// What it is about.
    pub fingerprint: Fingerprint,
    /// Seconds.
    pub create_time: i64,
    /// Seconds.
    pub begin_time: i64,
    /// Seconds.
    pub latest_time: i64,
    /// Seconds; only ended alerts have one.
    pub end_time: Option<i64>,
    /// Distinct events that opened, updated, converged into or ended it.
    pub event_count: u64,
    /// Rises with every change, wherever commits begin and end; external version of the document.
    pub revision: u64,
    /// Generation of its last folded event.
    pub rule_generation: u64,
    /// The document (docs/semantics.md, Documents), JSON.
    pub document: Vec<u8>,
    /// What the fold needs to go on with it, beside the document; opaque to stores.
    pub state: Vec<u8>,
}

/// What an event did to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventRole {
    /// Opened it.
    Opened = 1,
    /// Moved it forward.
    Updated = 2,
    /// Counted, but older than what the alert knew.
    Late = 3,
    /// Recovered or closed it.
    Ended = 4,
    /// Stored only, milder than the alert: noted in the list, not counted.
    Milder = 5,
    /// Asked for a recovery that is held back for a while.
    RecoveryDelayed = 6,
}

/// The events of one alert in one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertEvents {
    /// The alert.
    pub seq: u64,
    /// Index into `Commit::events`, and role.
    pub events: Vec<(u32, EventRole)>,
}

/// One log document (docs/semantics.md, Logs).
#[derive(Clone, Debug, PartialEq)]
pub struct LogWrite {
    /// The alert.
    pub seq: u64,
    /// Operation, such as `CREATE`.
    pub op_type: &'static str,
    /// Seconds.
    pub create_time: i64,
    /// JSON.
    pub document: Vec<u8>,
}

/// One counter of the ledger, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerValue {
    /// `source` or `rule`.
    pub scope: &'static str,
    /// Name of the source or rule.
    pub name: Text,
    /// Which counter.
    pub counter: Text,
    /// Its value since the journal began.
    pub value: u64,
}

/// What a store gives back at start; `Fold::restore` goes on from it.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The last committed position; 0 for a new store.
    pub position: u64,
    /// Its time.
    pub received_at_ms: i64,
    /// Time of the last start that the position covers, milliseconds; 0 if there was none.
    pub started_at_ms: i64,
    /// Open alerts, and those that ended within the last
    /// [`REMEMBER_END_S`](crate::pipeline::fold::REMEMBER_END_S) before `received_at_ms`.
    pub alerts: Vec<RestoredAlert>,
    /// All counters.
    pub ledger: Vec<(Text, Text, Text, u64)>,
    /// The generation in force at the position.
    pub rule_set: RuleSet,
    /// Its verdicts without an end.
    pub open_verdicts: Vec<Verdict>,
}

/// One alert at start.
#[derive(Clone, Debug)]
pub struct RestoredAlert {
    /// `seq_id`.
    pub seq: u64,
    /// The document.
    pub document: Vec<u8>,
    /// What `AlertWrite::state` held.
    pub state: Vec<u8>,
    /// Revision.
    pub revision: u64,
}

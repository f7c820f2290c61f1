//! The numbers, as they are read at the moment of asking.

use super::HistogramSnapshot;
use crate::serve::StorageReport;
use crate::tables::TableRow;
use alertmill_core::ports::LedgerValue;
use alertmill_core::value::Text;
use alertmill_engine::{LoadStats, RuleStatsSnapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Gives the present value of something.
pub type Handle<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Makes a handle of a function.
pub fn handle<T>(read: impl Fn() -> T + Send + Sync + 'static) -> Handle<T> {
    Arc::new(read)
}

/// Everything that `/metrics` reads. Functions must be quick and must not wait.
#[derive(Clone)]
pub struct Sources {
    /// What each source's door counted since the process started.
    pub doors: Handle<Vec<DoorSnapshot>>,
    /// The ledger as it is committed, absolute since the journal began.
    pub ledger: Handle<Vec<LedgerValue>>,
    /// The listener.
    pub listener: Handle<ListenerSnapshot>,
    /// The journal.
    pub journal: Handle<JournalSnapshot>,
    /// Both halves of the pipeline.
    pub pipeline: Handle<PipelineSnapshot>,
    /// The rule engine.
    pub engine: Handle<EngineSnapshot>,
    /// Look-up tables.
    pub tables: Handle<Vec<TableRow>>,
    /// What data takes on disk.
    pub storage: Handle<StorageReport>,
    /// What the fold holds.
    pub alerts: Handle<AlertsSnapshot>,
    /// What operators commanded since the process started.
    pub commands: Handle<Vec<CommandsSnapshot>>,
}

impl Default for Sources {
    /// Nothing but zeros.
    fn default() -> Self {
        fn zero<T: Default + 'static>() -> Handle<T> {
            handle(T::default)
        }
        Sources {
            doors: zero(),
            ledger: zero(),
            listener: zero(),
            journal: zero(),
            pipeline: zero(),
            engine: zero(),
            tables: zero(),
            storage: zero(),
            alerts: zero(),
            commands: zero(),
        }
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources")
    }
}

/// One source's door since the process started.
#[derive(Clone, Debug, Default)]
pub struct DoorSnapshot {
    /// Name of the source.
    pub source: String,
    /// Name of the door.
    pub door: String,
    /// Requests answered, by HTTP status.
    pub requests: Vec<(u16, u64)>,
    /// Items received.
    pub received: u64,
    /// Items refused, by code.
    pub refused: Vec<(String, u64)>,
    /// Items journaled.
    pub journaled: u64,
    /// Repeats within a request.
    pub duplicates: u64,
}

/// The journal since the process started.
#[derive(Clone, Debug, Default)]
pub struct JournalSnapshot {
    /// Calls of fdatasync.
    pub fdatasyncs: u64,
    /// Groups of records that one of them made durable.
    pub groups: u64,
    /// Records.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Records of a group.
    pub group_sizes: HistogramSnapshot,
    /// Appends refused because too many bytes waited for the disk.
    pub refused: u64,
    /// Writes and syncs that failed; each ended its file.
    pub failed_syncs: u64,
    /// Bytes that wait to be written, or in memory to be read.
    pub queue_bytes: u64,
    /// Bytes of all segment files.
    pub segment_bytes: u64,
    /// How many they may have.
    pub segment_bytes_max: u64,
    /// The disk or the journal's bound refuses, or the journal has stopped: nothing is accepted now.
    pub failed: bool,
}

/// The listener since the process started.
#[derive(Clone, Debug, Default)]
pub struct ListenerSnapshot {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections closed at once because of a cap.
    pub refused: u64,
    /// Requests that the strict check refused.
    pub strict_refusals: u64,
    /// Connections that ended with an error.
    pub errors: u64,
}

/// The pipeline since the process started.
#[derive(Clone, Debug, Default)]
pub struct PipelineSnapshot {
    /// Items that entered.
    pub items: u64,
    /// How often an item's bytes were parsed, doors included.
    pub item_parses: u64,
    /// Journaled items whose fold is not committed yet.
    pub in_flight: u64,
    /// Bytes of requests that are journaled, or on their way to it, and not folded.
    pub in_flight_bytes: u64,
    /// How many there may be; beyond, senders get 429.
    pub in_flight_bytes_max: u64,
    /// Bytes of requests that are not answered yet; as many may be.
    pub unanswered_bytes: u64,
    /// Rows of prepare batches.
    pub prepare_rows: HistogramSnapshot,
    /// Rows of fold batches.
    pub fold_rows: HistogramSnapshot,
    /// Milliseconds from received to folded and committed.
    pub lag_ms: HistogramSnapshot,
    /// Verdicts that were journaled, by kind of the failure.
    pub verdicts: BTreeMap<Text, u64>,
    /// Rules at whose rows the pipeline waits for an operator now.
    pub halted_by: Vec<Text>,
}

/// The rule engine since the process started.
#[derive(Clone, Debug, Default)]
pub struct EngineSnapshot {
    /// The generation in force.
    pub generation: u64,
    /// Rows of a call.
    pub batch_rows: HistogramSnapshot,
    /// Rules, each version apart.
    pub rules: Vec<RuleStatsSnapshot>,
    /// What loading modules cost, and what was refused.
    pub load: LoadStats,
}

/// Alerts that commands of one action named, by what became of them.
#[derive(Clone, Debug)]
pub struct CommandsSnapshot {
    /// Name of the action.
    pub action: &'static str,
    /// Name of the outcome.
    pub outcome: &'static str,
    /// How many alerts.
    pub alerts: u64,
}

/// What the fold holds now.
#[derive(Clone, Debug, Default)]
pub struct AlertsSnapshot {
    /// Open alerts.
    pub open: u64,
    /// Uids that are known.
    pub known_uids: u64,
    /// Reports of a damaged state that lost something, not removed yet.
    pub losses: u64,
}

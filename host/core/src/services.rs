//! What shipping asks of the outside: the outboxes, which lie in the local state, and the services that get what is in them,
//! Elasticsearch (documents) and Redis (snapshots). The local state is the authority; whatever a service answers, it is
//! brought to what the state says and never merged.

use crate::pipeline::expiry::day_utc;
use crate::ports::PortError;
use crate::value::{Text, Value};
use std::future::Future;

/// Who gets something. Each has its own queue and its own place in it, so that one that is away holds up nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Service {
    /// Elasticsearch: alerts, events and logs.
    Documents = 1,
    /// Redis: open alerts.
    Snapshots = 2,
}

/// An alert that a service does not have at its newest revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingAlert {
    /// The commit with which it began to wait; the queue is in the order of (`since`, `seq`).
    pub since: u64,
    /// `seq_id`.
    pub seq: u64,
    /// `id`, and `_id` of the document.
    pub id: Text,
    /// Tenant.
    pub tenant: Text,
    /// Seconds; its day chooses the index, for life.
    pub create_time: i64,
    /// Whether it is open.
    pub is_open: bool,
    /// Revision of the document.
    pub revision: u64,
    /// The whole document, JSON.
    pub document: Vec<u8>,
}

/// A place in the queue of alerts: behind the alert named. The default is before all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueuePlace {
    /// `WaitingAlert::since`.
    pub since: u64,
    /// `WaitingAlert::seq`.
    pub seq: u64,
}

/// Waiting alerts, all as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertPage {
    /// Ordinal of the last record that the moment covers; synced.
    pub position: u64,
    /// What is added to a revision to make the version of a document; synced.
    pub version_base: u64,
    /// In the order of the queue. Empty: nothing waits behind the place asked for.
    pub alerts: Vec<WaitingAlert>,
}

/// What became of a page of alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettledAlerts {
    /// `AlertPage::position` of the page.
    pub position: u64,
    /// (`seq`, revision) that the service has, or has refused.
    pub done: Vec<(u64, u64)>,
    /// Those among them that it refused.
    pub refused: Vec<Refusal>,
}

/// A document that a service will never take.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What it is.
    pub family: Family,
    /// Its `_id`.
    pub id: Text,
    /// Whose it is.
    pub tenant: Text,
    /// The service's words.
    pub reason: String,
    /// The document.
    pub document: Vec<u8>,
}

/// Code of the dead letter that a refused document becomes.
pub const DOCUMENT_REFUSED: &str = "document-refused";

/// Promise: what is handed out is one moment of the state, and power loss cannot take the state back behind it any more. An
/// alert waits from the commit that changed it until its newest revision was confirmed; it waits once however often it changes,
/// and a change never moves it back in the queue. Confirming is safe to repeat, and may be forgotten by power loss: the alert
/// then waits again.
pub trait AlertOutbox: Send {
    /// Alerts that wait for `Service::Documents` behind a place, about `bytes_max` of documents and at least one.
    fn waiting_alerts(&mut self, behind: QueuePlace, bytes_max: usize) -> impl Future<Output = Result<AlertPage, PortError>> + Send;

    /// Frees alerts at these revisions, and stores the refusals as dead letters. What changed since waits on, behind all that
    /// waited at the page's moment.
    fn settle_alerts(&mut self, settled: &SettledAlerts) -> impl Future<Output = Result<(), PortError>> + Send;

    /// The version base is at least `base` from now on, also after power loss. With `open_wait` all open alerts wait again: a
    /// service that holds a revision which this state never had may hold more of them. Only alerts that are open here can differ
    /// there, since an ended one never changes.
    fn raise_version_base(&mut self, base: u64, open_wait: bool) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Documents that are written once and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Event documents.
    Events,
    /// Log documents.
    Logs,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDocument {
    /// `_id`: the uid of an event, [`log_id`](crate::pipeline::ship::log_id) of a log. The same however often it is handed out.
    pub id: Text,
    /// Tenant; empty when only the document says it.
    pub tenant: Text,
    /// Seconds that choose the index.
    pub index_time_s: i64,
    /// JSON.
    pub document: Vec<u8>,
}

/// Where a stream goes on; opaque to all but the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPlace(pub u64, pub u64);

/// The next documents of a stream, in the order in which they were stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPage {
    /// Ordinal of the last record that the moment covers; synced.
    pub position: u64,
    /// Empty: nothing waits.
    pub documents: Vec<StreamDocument>,
    /// Where the stream goes on behind them.
    pub end: StreamPlace,
}

/// Promise: as [`AlertOutbox`]: what is handed out is synced, and comes again, in the same order, until it was settled. What
/// retention removed before it was handed out is counted.
pub trait StreamOutbox: Send {
    /// The next documents, about `bytes_max` of them and at least one.
    fn next_documents(&mut self, stream: Stream, bytes_max: usize) -> impl Future<Output = Result<StreamPage, PortError>> + Send;

    /// All up to `end` is with the service or refused; the stream goes on there.
    fn settle_documents(&mut self, stream: Stream, end: StreamPlace, refused: &[Refusal]) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// What Redis holds beside the snapshots: which batch it took last. It changes with each batch, so a cache that lost anything
/// does not hold the one that we last left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// A random number of one life of the process.
    pub life: u64,
    /// Rises with each batch that is made in that life, tried or not.
    pub batch: u64,
}

/// What the local state says of the cache's marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Markers {
    /// Left by the last batch that was confirmed.
    pub settled: Option<Marker>,
    /// Of the batch that may have been sent since.
    pub in_flight: Option<Marker>,
}

/// Promise: as [`AlertOutbox`] for the alerts that wait for `Service::Snapshots`, in the order in which they began to wait. The
/// end of an alert is so handed out before the opening of the next one of its fingerprint, or with it. What is written here
/// survives kill -9; after power loss it may be what it was before, together with the queue.
pub trait SnapshotOutbox: Send {
    /// What the state says of the cache.
    fn markers(&mut self) -> impl Future<Output = Result<Markers, PortError>> + Send;

    /// All open alerts wait anew, and no other; `next` is in flight, and nothing is settled.
    fn rebuild(&mut self, next: Marker) -> impl Future<Output = Result<(), PortError>> + Send;

    /// `next` is in flight.
    fn announce(&mut self, next: Marker) -> impl Future<Output = Result<(), PortError>> + Send;

    /// The first alerts of the queue, about `bytes_max` of documents and at least one.
    fn waiting_snapshots(&mut self, bytes_max: usize) -> impl Future<Output = Result<AlertPage, PortError>> + Send;

    /// Frees these (`seq`, revision), read at `position`; `marker` is settled.
    fn settle_snapshots(&mut self, position: u64, done: &[(u64, u64)], marker: Marker) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Families of day indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `bkfta_alert`
    Alert,
    /// `bkfta_event`
    Event,
    /// `bkfta_log_alert`
    Log,
}

impl Family {
    /// The name that indices of the family begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Alert => "bkfta_alert",
            Family::Event => "bkfta_event",
            Family::Log => "bkfta_log_alert",
        }
    }

    /// The index of a second: family and UTC day. A sender may set a prefix before it.
    pub fn index(self, second: i64) -> Text {
        Text::from(format!("{}_{}", self.name(), day_utc(second)))
    }
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentPlace {
    /// See [`Family::index`].
    pub index: Text,
    /// `_id`.
    pub id: Text,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// Whole, if what is there has a lower version (`index` with `version_type=external`).
    Index {
        /// External version.
        version: u64,
    },
    /// Only if nothing is there (`create`).
    Create,
}

/// One item of a bulk call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkItem<'a> {
    /// Where.
    pub place: DocumentPlace,
    /// How.
    pub op: WriteOp,
    /// JSON.
    pub document: &'a [u8],
}

/// What became of one item of a bulk call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// It is there as we sent it.
    Stored,
    /// Something is there with this id, and `create` left it alone.
    AlreadyThere,
    /// Something is or was there with this version or a higher one.
    VersionConflict,
    /// Never to be taken, such as a field that does not fit its mapping; the service's words.
    Refused(String),
    /// Not now: busy, a shard that is not there, an index that is blocked.
    Later,
}

impl ItemOutcome {
    /// What `status` and `error.type` of an item of Elasticsearch's bulk answer mean. What is not known to be final is tried
    /// again: a document that waits is seen in the drift, one that is given up is lost to the service.
    pub fn of_bulk_item(op: WriteOp, status: u16, error_type: &str, reason: &str) -> ItemOutcome {
        match (status, op) {
            (200..=299, _) => ItemOutcome::Stored,
            (409, WriteOp::Create) => ItemOutcome::AlreadyThere,
            (409, WriteOp::Index { .. }) => ItemOutcome::VersionConflict,
            // A block, a closed index or an alias that points at two is undone by an operator, not by another document.
            (400, _) if matches!(error_type, "index_closed_exception" | "cluster_block_exception" | "no_write_index_exception") => ItemOutcome::Later,
            (400, _) if error_type == "illegal_argument_exception" && reason.contains("write index") => ItemOutcome::Later,
            (400 | 413, _) => ItemOutcome::Refused(format!("{error_type}: {reason}")),
            _ => ItemOutcome::Later,
        }
    }
}

/// A document that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDocument {
    /// Its version.
    pub version: u64,
    /// Its source.
    pub document: Vec<u8>,
}

impl FoundDocument {
    /// Whether it is this document; a service may write JSON in another form.
    pub fn is(&self, ours: &[u8]) -> bool {
        let value = |text: &[u8]| Value::from_json(text).ok();
        self.document == ours || value(&self.document).is_some_and(|found| Some(found) == value(ours))
    }

    /// Whether it is another revision of this alert, and not what another program has put there.
    pub fn is_revision_of(&self, id: &str) -> bool {
        let found = Value::from_json(&self.document).unwrap_or_default();
        let revision = found.get("revision").and_then(Value::as_int);
        revision.is_some() && found.get("id").and_then(Value::as_text) == Some(id)
    }
}

/// Elasticsearch. Promise: an answer has one outcome for each item, in order, and they are true. An error other than
/// [`PortError::Unclear`] means that nothing was done; after that one some of the items may have been, and may still be done
/// later. [`PortError::TooLarge`]: fewer items in one call help.
pub trait Documents: Send {
    /// One bulk call.
    fn bulk(&mut self, items: &[BulkItem<'_>]) -> impl Future<Output = Result<Vec<ItemOutcome>, PortError>> + Send;

    /// What is there now, one answer for each place; not from a copy that may lag behind.
    fn read_back(&mut self, places: &[DocumentPlace]) -> impl Future<Output = Result<Vec<Option<FoundDocument>>, PortError>> + Send;
}

/// One change of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotWrite {
    /// Sets a key to a whole document.
    Set {
        /// The key.
        key: Text,
        /// JSON.
        document: Vec<u8>,
    },
    /// Removes a key, if it is there.
    Remove {
        /// The key.
        key: Text,
    },
}

/// Changes that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotBatch {
    /// The marker that the cache must hold.
    pub expected: Marker,
    /// The one that it holds afterwards.
    pub next: Marker,
    /// In this order.
    pub writes: Vec<SnapshotWrite>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All of it is done.
    Done,
    /// Nothing was done, since the cache held this marker instead.
    Otherwise(Option<Marker>),
}

/// Redis. Promise: a batch is applied whole or not at all, and only while the cache holds the marker that it expects: one that
/// was delayed on its way comes to nothing once another was applied. After [`PortError::Unclear`] it may have been, or still be.
pub trait Snapshots: Send {
    /// The marker that the cache holds now.
    fn marker(&mut self) -> impl Future<Output = Result<Option<Marker>, PortError>> + Send;

    /// Applies a batch.
    fn apply(&mut self, batch: &SnapshotBatch) -> impl Future<Output = Result<Applied, PortError>> + Send;

    /// Removes the marker, then all keys of ours, then leaves `next` as the marker. Safe to repeat.
    fn clear(&mut self, next: Marker) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Waiting for something to ship. Promise: `rest` ends when the state is at another position than `position`, at which nothing
/// waited, and after [`REST_MAX_MS`] at the latest.
pub trait Rest: Send {
    /// Waits.
    fn rest(&mut self, position: u64) -> impl Future<Output = ()> + Send;
}

/// How long an idle loop rests at most, milliseconds: a cache that lost something while nothing happened is noticed after it.
pub const REST_MAX_MS: u64 = 5_000;

/// What a loop tells the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShipNews {
    /// So many items are with the service, as we sent them.
    Stored(u64),
    /// So many were there before.
    AlreadyThere(u64),
    /// So many were found under a version of ours or a higher one, and read back.
    Conflicts(u64),
    /// So many were refused.
    Refused(u64),
    /// So many were put off by the service.
    Later(u64),
    /// An answer was lost.
    Unclear,
    /// Versions rise above what a service held.
    BaseRaised(u64),
    /// The cache had lost something and is built anew.
    Rebuilt,
}

/// Hears what shipping does; for counters.
pub trait ShipWatcher: Send {
    /// Something happened.
    fn heard(&mut self, news: ShipNews);
}

/// How far one queue is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// How much waits.
    pub waiting: u64,
    /// When the oldest of it began to wait, at the latest, milliseconds; none when nothing waits.
    pub since_ms: Option<i64>,
    /// Documents that the service refused, since the state began.
    pub refused: u64,
    /// Documents that retention removed before they were shipped, or that were damaged, since the state began.
    pub lost: u64,
}

/// How far services are behind the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Alerts that wait for Elasticsearch.
    pub alerts: Behind,
    /// Events.
    pub events: Behind,
    /// Logs.
    pub logs: Behind,
    /// Alerts that wait for Redis.
    pub snapshots: Behind,
}

impl Drift {
    /// Documents that wait, of all queues.
    pub fn waiting(&self) -> u64 {
        [self.alerts, self.events, self.logs, self.snapshots].iter().map(|behind| behind.waiting).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_items_mean_what_elasticsearch_says() {
        let index = WriteOp::Index { version: 1 };
        for (op, status, kind, reason, expected) in [
            (index, 201, "", "", ItemOutcome::Stored),
            (index, 200, "", "", ItemOutcome::Stored),
            (index, 409, "version_conflict_engine_exception", "", ItemOutcome::VersionConflict),
            (WriteOp::Create, 409, "version_conflict_engine_exception", "", ItemOutcome::AlreadyThere),
            (index, 400, "document_parsing_exception", "no date", ItemOutcome::Refused("document_parsing_exception: no date".into())),
            (WriteOp::Create, 413, "too_large", "x", ItemOutcome::Refused("too_large: x".into())),
            (index, 400, "index_closed_exception", "", ItemOutcome::Later),
            (index, 400, "illegal_argument_exception", "no write index is defined for alias [a]", ItemOutcome::Later),
            (index, 403, "cluster_block_exception", "", ItemOutcome::Later),
            (index, 404, "index_not_found_exception", "", ItemOutcome::Later),
            (index, 429, "es_rejected_execution_exception", "", ItemOutcome::Later),
            (index, 503, "unavailable_shards_exception", "", ItemOutcome::Later),
            (index, 500, "anything", "", ItemOutcome::Later),
        ] {
            assert_eq!(ItemOutcome::of_bulk_item(op, status, kind, reason), expected, "{status} {kind}");
        }
    }

    #[test]
    fn a_document_is_itself_in_any_spelling() {
        let found = FoundDocument { version: 1, document: b"{ \"a\" : 1, \"b\": [2] }".to_vec() };
        assert!(found.is(b"{\"a\":1,\"b\":[2]}") && found.is(&found.document));
        assert!(!found.is(b"{\"a\":1,\"b\":[3]}") && !found.is(b"no json"));
        assert!(!FoundDocument { version: 1, document: b"no json".to_vec() }.is(b"also none"));
    }

    #[test]
    fn indices_are_family_and_day() {
        assert_eq!(Family::Alert.index(951_782_400), "bkfta_alert_20000229");
        assert_eq!(Family::Log.index(0), "bkfta_log_alert_19700101");
        assert_eq!(Family::Event.index(86_400), "bkfta_event_19700102");
    }
}

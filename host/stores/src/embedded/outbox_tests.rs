//! What waits for services, over kills, loss of power, older copies and retention; shipped by core's own loops.

use super::*;
use crate::port_suite::{block_on, uid_of};
use alertmill_core::event::Fingerprint;
use alertmill_core::pipeline::conductor::Patience;
use alertmill_core::pipeline::ship::{Surroundings, ship_alerts, ship_snapshots, ship_stream};
use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, EventRole, LogWrite, StoredEvent};
use alertmill_core::services::*;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

const T: i64 = 1_790_000_000;

fn document(seq: u64, revision: u64, salt: &str) -> Vec<u8> {
    format!("{{\"id\":\"{T}{seq}\",\"dedupe_md5\":\"{seq}\",\"bk_tenant_id\":\"system\",\"revision\":{revision},\"salt\":\"{salt}\"}}").into_bytes()
}

fn alert(seq: u64, revision: u64, end_time: Option<i64>, salt: &str) -> AlertWrite {
    AlertWrite {
        seq,
        id: format!("{T}{seq}").into(),
        tenant: "system".into(),
        status: if end_time.is_some() { Status::Closed } else { Status::Abnormal },
        severity: 1,
        alert_name: "disk full".into(),
        fingerprint: Fingerprint([seq as u8; 16]),
        create_time: T,
        begin_time: T,
        latest_time: T,
        end_time,
        event_count: revision,
        revision,
        rule_generation: 0,
        document: document(seq, revision, salt),
        state: vec![1],
    }
}

/// A commit of one event and one log, after which these alerts are as given.
fn commit(to: u64, alerts: Vec<AlertWrite>) -> Commit {
    let event = format!("{{\"id\":\"{}\"}}", uid_of(to).to_hex()).into_bytes();
    let seq = alerts[0].seq;
    Commit {
        from: to - 1,
        to,
        received_at_ms: (T + to as i64) * 1_000,
        events: vec![StoredEvent { uid: uid_of(to), known_until_s: T + 86_400, index_time_s: T, document: 0..event.len() as u32 }],
        event_heap: event,
        alert_events: vec![AlertEvents { seq, events: vec![(0, EventRole::Updated)] }],
        logs: vec![LogWrite { seq, op_type: "CREATE", create_time: T, document: format!("{{\"log\":{to}}}").into_bytes() }],
        alerts,
        ..Commit::default()
    }
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions { snapshots: true, ..EmbeddedOptions::default() }
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open_with(dir, options()).unwrap().0
}

/// Elasticsearch and Redis, which outlive the store.
#[derive(Clone, Default)]
struct Services(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    documents: BTreeMap<DocumentPlace, (u64, Vec<u8>)>,
    cache: BTreeMap<Text, Vec<u8>>,
    marker: Option<Marker>,
    refuses: bool,
    already_there: usize,
}

impl Documents for Services {
    async fn bulk(&mut self, items: &[BulkItem<'_>]) -> Result<Vec<ItemOutcome>, PortError> {
        let mut held = self.0.lock().unwrap();
        let one = |item: &BulkItem<'_>| {
            let there = held.documents.get(&item.place).map(|there| there.0);
            let version = match (item.op, there) {
                _ if held.refuses => return ItemOutcome::Refused("no such field".to_owned()),
                (WriteOp::Create, Some(_)) => {
                    held.already_there += 1;
                    return ItemOutcome::AlreadyThere;
                }
                (WriteOp::Create, None) => 1,
                (WriteOp::Index { version }, Some(there)) if there >= version => return ItemOutcome::VersionConflict,
                (WriteOp::Index { version }, _) => version,
            };
            held.documents.insert(item.place.clone(), (version, item.document.to_vec()));
            ItemOutcome::Stored
        };
        Ok(items.iter().map(one).collect())
    }

    async fn read_back(&mut self, places: &[DocumentPlace]) -> Result<Vec<Option<FoundDocument>>, PortError> {
        let held = self.0.lock().unwrap();
        let found = |(version, document): &(u64, Vec<u8>)| FoundDocument { version: *version, document: document.clone() };
        Ok(places.iter().map(|place| held.documents.get(place).map(found)).collect())
    }
}

impl Snapshots for Services {
    async fn marker(&mut self) -> Result<Option<Marker>, PortError> {
        Ok(self.0.lock().unwrap().marker)
    }

    async fn apply(&mut self, batch: &SnapshotBatch) -> Result<Applied, PortError> {
        let mut held = self.0.lock().unwrap();
        if held.marker != Some(batch.expected) {
            return Ok(Applied::Otherwise(held.marker));
        }
        for write in &batch.writes {
            match write {
                SnapshotWrite::Set { key, document } => drop(held.cache.insert(key.clone(), document.clone())),
                SnapshotWrite::Remove { key } => drop(held.cache.remove(key)),
            }
        }
        held.marker = Some(batch.next);
        Ok(Applied::Done)
    }

    async fn clear(&mut self, next: Marker) -> Result<(), PortError> {
        let mut held = self.0.lock().unwrap();
        held.cache.clear();
        held.marker = Some(next);
        Ok(())
    }
}

struct Quiet;

impl Rest for Quiet {
    async fn rest(&mut self, _: u64) {
        std::future::pending().await
    }
}

impl Patience for Quiet {
    async fn pause(&mut self, _: u32, error: &PortError) {
        assert!(matches!(error, PortError::Unavailable(_)), "{error}");
    }
}

impl ShipWatcher for Quiet {
    fn heard(&mut self, _: ShipNews) {}
}

/// Ships until all four loops rest.
fn ship(store: &EmbeddedStore, services: &Services) {
    let rests = |polled: Poll<PortError>| assert!(polled.is_pending(), "{polled:?}");
    let mut context = Context::from_waker(Waker::noop());
    let around = || Surroundings { rest: Quiet, patience: Quiet, watcher: Quiet, page_bytes: 150 };
    rests(pin!(ship_alerts(&mut store.outbox().unwrap(), &mut services.clone(), &mut around())).poll(&mut context));
    for stream in [Stream::Events, Stream::Logs] {
        rests(pin!(ship_stream(stream, &mut store.outbox().unwrap(), &mut services.clone(), &mut around())).poll(&mut context));
    }
    static LIFE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1 << 63);
    let life = LIFE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    rests(pin!(ship_snapshots(life, &mut store.outbox().unwrap(), &mut services.clone(), &mut around())).poll(&mut context));
}

/// Documents of a family, by id.
fn documents(services: &Services, family: Family) -> BTreeMap<String, (u64, Vec<u8>)> {
    let held = services.0.lock().unwrap();
    let of_family = held.documents.iter().filter(|(place, _)| place.index == family.index(T));
    of_family.map(|(place, there)| (place.id.to_string(), there.clone())).collect()
}

fn assert_even(store: &EmbeddedStore) {
    let drift = store.reader().drift().unwrap();
    assert_eq!(drift.waiting(), 0, "{drift:?}");
}

#[test]
fn everything_is_shipped_once_and_what_changed_since_waits_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, services) = (open(dir.path()), Services::default());
    store.commit_blocking(&commit(1, vec![alert(1, 1, None, ""), alert(2, 1, None, "")])).unwrap();
    store.commit_blocking(&commit(2, vec![alert(1, 2, None, "")])).unwrap();
    let drift = store.reader().drift().unwrap();
    let waits = |behind: Behind| (behind.waiting, behind.since_ms);
    let first_ms = Some((T + 1) * 1_000);
    assert_eq!((waits(drift.alerts), waits(drift.snapshots)), ((2, first_ms), (2, first_ms)));
    assert_eq!((drift.events.waiting, waits(drift.logs)), (2, (2, Some(T * 1_000))));
    let mut outbox = store.outbox().unwrap();
    let page = block_on(outbox.waiting_alerts(QueuePlace::default(), 1 << 20)).unwrap();
    assert_eq!(page.position, 2);
    assert!(store.checkpointer().synced_position().ordinal() >= 2, "what is handed out is synced");
    let one = block_on(outbox.waiting_alerts(QueuePlace::default(), 1)).unwrap();
    assert_eq!((one.alerts.len(), &one.alerts[0]), (1, &page.alerts[0]));
    let behind = QueuePlace { since: one.alerts[0].since, seq: one.alerts[0].seq };
    assert_eq!(block_on(outbox.waiting_alerts(behind, 1)).unwrap().alerts[..], page.alerts[1..]);
    // It changed while it was on its way.
    store.commit_blocking(&commit(3, vec![alert(1, 3, None, "")])).unwrap();
    block_on(outbox.settle_alerts(&SettledAlerts { position: 2, done: vec![(1, 2)], refused: Vec::new() })).unwrap();
    let left = block_on(outbox.waiting_alerts(QueuePlace::default(), 1 << 20)).unwrap().alerts;
    assert_eq!(left.iter().map(|alert| (alert.seq, alert.revision, alert.since)).collect::<Vec<_>>(), [(2, 1, 1), (1, 3, 2)]);
    ship(&store, &services);
    assert_even(&store);
    let alerts = documents(&services, Family::Alert);
    assert_eq!(alerts.values().cloned().collect::<Vec<_>>(), [(3, document(1, 3, "")), (1, document(2, 1, ""))]);
    assert_eq!((documents(&services, Family::Event).len(), documents(&services, Family::Log).len()), (3, 3));
    assert_eq!(services.0.lock().unwrap().cache.len(), 4);
    store.commit_blocking(&commit(4, vec![alert(2, 2, Some(T + 9), "")])).unwrap();
    ship(&store, &services);
    assert_even(&store);
    let held = services.0.lock().unwrap();
    assert_eq!((held.cache.len(), held.already_there), (2, 0), "an ended alert leaves the cache; nothing was sent twice");
}

#[test]
fn a_kill_between_shipping_and_confirming_ships_again_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, services) = (open(dir.path()), Services::default());
    store.commit_blocking(&commit(1, vec![alert(1, 1, None, "")])).unwrap();
    store.checkpoint().unwrap();
    let killed = tempfile::tempdir().unwrap();
    alertmill_proof::processes::copy(dir.path(), killed.path());
    ship(&store, &services);
    assert_even(&store);
    drop(store);
    // What was confirmed is not there any more, as after a loss of power.
    let store = open(killed.path());
    assert_eq!(store.reader().drift().unwrap().waiting(), 4);
    ship(&store, &services);
    assert_even(&store);
    let (alerts, held) = (documents(&services, Family::Alert), services.0.lock().unwrap());
    assert_eq!(alerts.values().cloned().collect::<Vec<_>>(), [(1, document(1, 1, ""))]);
    assert_eq!((held.documents.len(), held.cache.len(), held.already_there), (3, 2, 2));
}

#[test]
fn an_older_copy_of_the_folder_wins_and_no_version_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, services) = (open(dir.path()), Services::default());
    store.commit_blocking(&commit(1, vec![alert(1, 1, None, ""), alert(2, 1, None, "")])).unwrap();
    ship(&store, &services);
    store.checkpoint().unwrap();
    let copy = tempfile::tempdir().unwrap();
    alertmill_proof::processes::copy(dir.path(), copy.path());
    for to in 2..=9 {
        store.commit_blocking(&commit(to, vec![alert(1, to, None, "lost"), alert(2, to, None, "lost")])).unwrap();
        ship(&store, &services);
    }
    drop(store);
    let mut store = open(copy.path());
    // Alert 2 does not change any more.
    store.commit_blocking(&commit(2, vec![alert(1, 2, None, "kept")])).unwrap();
    let before = documents(&services, Family::Alert);
    ship(&store, &services);
    assert_even(&store);
    let after = documents(&services, Family::Alert);
    let documents: Vec<_> = after.values().map(|there| there.1.clone()).collect();
    assert_eq!(documents, [document(1, 2, "kept"), document(2, 1, "")], "the state is the authority, also over what does not change");
    assert!(after.iter().all(|(id, there)| there.0 > before[id].0), "{after:?}");
    let cache = services.0.lock().unwrap().cache.clone();
    assert_eq!(cache.len(), 4);
    assert!(cache.values().all(|held| *held == document(1, 2, "kept") || *held == document(2, 1, "")));
    // The base is durable: the next life goes on above it.
    drop(store);
    let mut store = open(copy.path());
    store.commit_blocking(&commit(3, vec![alert(1, 3, None, "kept")])).unwrap();
    let page = block_on(store.outbox().unwrap().waiting_alerts(QueuePlace::default(), 1)).unwrap();
    assert_eq!(page.version_base, 1 << 32);
}

#[test]
fn refused_documents_are_dead_letters_and_the_queue_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, services) = (open(dir.path()), Services::default());
    store.commit_blocking(&commit(1, vec![alert(1, 1, None, "")])).unwrap();
    services.0.lock().unwrap().refuses = true;
    ship(&store, &services);
    assert_even(&store);
    let drift = store.reader().drift().unwrap();
    assert_eq!((drift.alerts.refused, drift.events.refused, drift.logs.refused), (1, 1, 1));
    let letters = store.reader().dead_letters(Some(REFUSED_SOURCE), Some(DOCUMENT_REFUSED), 0, 9).unwrap();
    assert_eq!(letters.len(), 3);
    assert!(letters[0].detail.starts_with(&format!("bkfta_alert {T}1: no such field")), "{letters:?}");
    services.0.lock().unwrap().refuses = false;
    store.commit_blocking(&commit(2, vec![alert(1, 2, None, "")])).unwrap();
    ship(&store, &services);
    assert_eq!(documents(&services, Family::Alert).len(), 1, "its next revision is tried");
}

#[test]
fn a_service_that_is_new_gets_everything_and_one_that_is_gone_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let off = EmbeddedOptions { outbox: false, ..EmbeddedOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), off.clone()).unwrap();
    for to in 1..=3 {
        store.commit_blocking(&commit(to, vec![alert(to, 1, (to == 2).then_some(T), "")])).unwrap();
    }
    assert_even(&store);
    drop(store);
    let (store, services) = (open(dir.path()), Services::default());
    ship(&store, &services);
    assert_even(&store);
    let held = [Family::Alert, Family::Event, Family::Log].map(|family| documents(&services, family).len());
    assert_eq!((held, services.0.lock().unwrap().cache.len()), ([3, 3, 3], 4));
    drop(store);
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), off).unwrap();
    store.commit_blocking(&commit(4, vec![alert(1, 2, None, "")])).unwrap();
    assert_even(&store);
}

#[test]
fn what_retention_removes_unshipped_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Every commit begins a new event file, and every event a new table of uids.
    let uids = UidOptions { table_uids_max: 1, ..UidOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), EmbeddedOptions { event_segment_bytes: 1, uids, ..options() }).unwrap();
    let services = Services::default();
    for to in 1..=9 {
        store.commit_blocking(&commit(to, vec![alert(1, to, None, "")])).unwrap();
        store.checkpoint().unwrap();
        if to == 2 {
            ship(&store, &services);
        }
    }
    store.uids.lock().settle();
    let files = store.retire_events(0, 0).unwrap();
    let gone = files.by_size + files.by_age;
    assert!(gone > 4, "{files:?}");
    let drift = store.reader().drift().unwrap();
    assert_eq!((drift.events.lost, drift.events.waiting), (gone - 2, 9 - gone), "two of them were shipped");
    ship(&store, &services);
    assert_even(&store);
    assert_eq!(documents(&services, Family::Event).len() as u64, 2 + 9 - gone);
}

#[test]
fn a_damaged_event_is_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, services) = (open(dir.path()), Services::default());
    for to in 1..=3 {
        store.commit_blocking(&commit(to, vec![alert(1, to, None, "")])).unwrap();
    }
    let path = dir.path().join("events/0000000001.events");
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.windows(16).position(|window| window == uid_of(2).0).unwrap();
    bytes[second] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    ship(&store, &services);
    let ids: Vec<String> = documents(&services, Family::Event).into_keys().collect();
    let mut expected = [1, 3].map(|to| uid_of(to).to_hex().to_string());
    expected.sort();
    assert_eq!(ids, expected);
    let events = store.reader().drift().unwrap().events;
    assert_eq!((events.waiting, events.lost), (0, 1));
}

/// A store whose commits of one event each begin a file every third time, with nine of them.
fn nine_events(dir: &Path) -> EmbeddedStore {
    let one = 40 + format!("{{\"id\":\"{}\"}}", uid_of(1).to_hex()).len() as u32;
    let uids = UidOptions { table_uids_max: 1, ..UidOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir, EmbeddedOptions { event_segment_bytes: 16 + 3 * one, uids, ..options() }).unwrap();
    for to in 1..=9 {
        store.commit_blocking(&commit(to, vec![alert(1, to, None, "")])).unwrap();
        store.checkpoint().unwrap();
    }
    store.uids.lock().settle();
    assert_eq!(store.events.end().segment, 3);
    store
}

fn shipped_events(services: &Services) -> Vec<u64> {
    let shipped = documents(services, Family::Event);
    (1..=9).filter(|n| shipped.contains_key(&uid_of(*n).to_hex().to_string())).collect()
}

#[test]
fn a_length_of_zero_in_an_older_file_costs_its_row_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, services) = (nine_events(dir.path()), Services::default());
    let path = dir.path().join("events/0000000001.events");
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.windows(16).position(|window| window == uid_of(2).0).unwrap() - 8;
    bytes[second..second + 4].fill(0);
    std::fs::write(&path, bytes).unwrap();
    ship(&store, &services);
    assert_eq!(shipped_events(&services), [1, 3, 4, 5, 6, 7, 8, 9]);
    let events = store.reader().drift().unwrap().events;
    assert_eq!((events.waiting, events.lost), (0, 1));
}

#[test]
fn damage_at_the_very_end_of_the_events_does_not_wait_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (store, services) = (nine_events(dir.path()), Services::default());
    let path = dir.path().join("events/0000000003.events");
    let mut bytes = std::fs::read(&path).unwrap();
    // Alone on its page of what is shipped.
    let last = bytes.windows(16).position(|window| window == uid_of(9).0).unwrap() - 8;
    bytes[last..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    ship(&store, &services);
    ship(&store, &services);
    assert_eq!(shipped_events(&services), [1, 2, 3, 4, 5, 6, 7, 8]);
    let events = store.reader().drift().unwrap().events;
    assert_eq!((events.waiting, events.lost), (0, 1));
}

#[test]
fn an_event_file_that_nobody_can_read_does_not_stop_retention() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, services) = (nine_events(dir.path()), Services::default());
    let lost = |store: &EmbeddedStore| store.reader().drift().unwrap().events.lost;
    let path = dir.path().join("events/0000000001.events");
    std::fs::remove_file(&path).unwrap();
    // What is no file cannot be read, nor removed as one.
    std::fs::create_dir(&path).unwrap();
    for _ in 0..2 {
        store.retire_events(0, 0).unwrap_err();
        assert_eq!(lost(&store), 3, "what the second file has, once");
    }
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink(dir.path(), &path).unwrap();
    assert_eq!(store.retire_events(0, 0).unwrap().by_size, 2, "one that can be removed");
    assert_eq!(lost(&store), 3);
    ship(&store, &services);
    assert_eq!(shipped_events(&services), [7, 8, 9]);
    assert_even(&store);
    assert_eq!(lost(&store), 6, "those that could not be read are missing at the end");
}

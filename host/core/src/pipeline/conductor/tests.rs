//! The loops: what is begun, saved and opened again, and what comes back when a port fails.

use super::*;
use crate::identity::{Algorithm, UidKey};
use crate::pipeline::fold::FoldConfig;
use crate::ports::{AlertWrite, Restored};
use crate::record::{Door, Items, Record};
use crate::row::AlertRow;
use crate::rules::{NoRules, RuleSetUnavailable, RuleTally};
use crate::value::Value;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Notes what is asked of it, and begins every commit.
#[derive(Default)]
struct Store {
    uids: HashMap<Uid, i64>,
    asked: Vec<String>,
    begins: bool,
    /// What alert rules wrote into each alert, by its place in the journal.
    stamps: Vec<String>,
}

impl LocalStore for Store {
    fn begin(&mut self, commit: &Commit) -> bool {
        if self.begins {
            self.asked.push(format!("begin {}", commit.to));
        }
        self.begins
    }
    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        self.asked.push(format!("commit {} with {} events", commit.to, commit.events.len()));
        self.uids.extend(commit.events.iter().map(|event| (event.uid, event.known_until_s)));
        let stamp = |alert: &AlertWrite| {
            let document = Value::from_json(&alert.document).unwrap();
            document.path(&["extra_info", "stamp"]).map_or("none".to_owned(), Value::to_json)
        };
        self.stamps.extend(commit.alerts.iter().map(stamp));
        Ok(())
    }
}

impl KnownUids for Store {
    fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError> {
        self.asked.push("known".to_owned());
        Ok(uids.iter().map(|uid| self.uids.get(uid).copied()).collect())
    }
}

/// Rules that come to no verdicts need nobody but the patient.
fn judging<P>(patience: P) -> Judging<'static, Nothing, Nothing, P> {
    Judging { journal: &Nothing, known: &[], halts: Nothing, patience }
}

impl Journal for Nothing {
    async fn append(&self, body: RecordBody, _: Option<Vec<crate::item::Item>>) -> Result<crate::ports::Appended, PortError> {
        panic!("{body:?}");
    }
}

impl Halts for Nothing {
    async fn decide(&mut self, halted: &Halted) -> Resume {
        panic!("{halted}");
    }
}

struct Batches(VecDeque<Prepared>);

impl Incoming for Batches {
    async fn next_prepared(&mut self, _: usize) -> Option<Prepared> {
        self.0.pop_front()
    }
    fn ready_prepared(&mut self, _: usize) -> Option<Prepared> {
        self.0.pop_front()
    }
}

struct Nothing;

impl Committed for Nothing {
    fn committed(&mut self, _: &Commit) {}
}

impl Patience for Nothing {
    async fn pause(&mut self, _: u32, error: &PortError) {
        panic!("{error}");
    }
}

fn batch(ordinal: u64) -> Prepared {
    let items = Items::of_texts(Door::Events, &[r#"{"event_id":"e","alert_name":"a","severity":2,"status":"ABNORMAL","time":1790000000}"#]);
    let record = Record { ordinal, received_at_ms: 1_790_000_000_000, body: RecordBody::Items(items) };
    let config = UnderstandConfig { uid_key: UidKey([0; 16]), algorithm: Algorithm::Keyed };
    prepare(&mut [Journaled { record, parsed: None }], 1, &mut NoRules, &config).unwrap()
}

fn fold(ordinals: [u64; 3], begins: bool) -> (Result<(), PortError>, Vec<String>) {
    let mut fold = Fold::restore(&Restored::default(), FoldConfig::default()).unwrap();
    let (mut store, mut batches) = (Store { begins, ..Store::default() }, Batches(ordinals.map(batch).into()));
    let half =
        pin!(fold_half(&mut fold, &NoRules, &mut store, &mut batches, &mut Nothing, &mut judging(Nothing))).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(ended) = half else { panic!("nothing waits here") };
    (ended, store.asked)
}

#[test]
fn a_batch_is_folded_while_the_commit_before_it_is_begun_and_knows_what_is_in_it() {
    let one_by_one = ["known", "commit 1 with 1 events", "known", "commit 2 with 0 events", "known", "commit 3 with 0 events"];
    assert_eq!(fold([1, 2, 3], false), (Ok(()), one_by_one.map(str::to_owned).to_vec()));
    let ahead = [
        ["known", "begin 1"].as_slice(),
        &["known", "commit 1 with 1 events", "begin 2"],
        &["known", "commit 2 with 0 events", "begin 3"],
        &["commit 3 with 0 events"],
    ];
    assert_eq!(fold([1, 2, 3], true), (Ok(()), ahead.concat().into_iter().map(str::to_owned).collect()));
}

#[test]
fn what_is_begun_is_saved_before_the_end() {
    let (ended, asked) = fold([1, 2, 4], true);
    assert!(matches!(ended, Err(PortError::Fatal(_))));
    assert_eq!(asked, ["known", "begin 1", "known", "commit 1 with 1 events", "begin 2", "known", "commit 2 with 0 events"]);
}

/// Alert rules that stamp their generation; each is refused so often before it is opened.
struct StampAlerts {
    refusals: Mutex<u32>,
    opened: Mutex<Vec<Generation>>,
    none_in: Generation,
    open: Arc<AtomicUsize>,
}

struct Stamp(Generation, Arc<AtomicUsize>);

impl AlertChain for Stamp {
    fn enrich_alerts(&mut self, rows: &mut [AlertRow], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        rows.iter_mut().for_each(|row| assert!(row.alert.extra_info.set("stamp", Value::Int(self.0 as i64))));
        Ok(())
    }
}

impl Drop for Stamp {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Relaxed);
    }
}

impl RuleSets for StampAlerts {
    fn open(&self, generation: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        panic!("the fold has no use for the other rules of {generation}");
    }
    fn open_alerts(&self, generation: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(RuleSetUnavailable { generation, why: "not now".to_owned() });
        }
        self.opened.lock().unwrap().push(generation);
        if generation == self.none_in {
            return Ok(None);
        }
        let open = 1 + self.open.fetch_add(1, Relaxed);
        assert!(open <= 3, "{open} generations are held open");
        Ok(Some(Box::new(Stamp(generation, self.open.clone()))))
    }
}

/// Notes what it is told.
struct Notes(Vec<String>);

impl Patience for Notes {
    async fn pause(&mut self, tries: u32, error: &PortError) {
        self.0.push(format!("{tries} {error}"));
    }
}

/// One event of its own thing, judged by a generation.
fn batch_of(ordinal: u64, generation: Generation) -> Prepared {
    let item = format!(r#"{{"event_id":"e{ordinal}","alert_name":"a{ordinal}","severity":2,"status":"ABNORMAL","time":1790000000}}"#);
    let record = Record { ordinal, received_at_ms: 1_790_000_000_000, body: RecordBody::Items(Items::of_texts(Door::Events, &[&item])) };
    let config = UnderstandConfig { uid_key: UidKey([0; 16]), algorithm: Algorithm::Keyed };
    prepare(&mut [Journaled { record, parsed: None }], generation, &mut NoRules, &config).unwrap()
}

fn stamps(refusals: u32, batches: Vec<Prepared>, begins: bool) -> (StampAlerts, Store, Notes) {
    let rules = StampAlerts { refusals: Mutex::new(refusals), opened: Mutex::default(), none_in: 3, open: Arc::default() };
    let mut fold = Fold::restore(&Restored::default(), FoldConfig::default()).unwrap();
    let (mut store, mut batches, mut notes) = (Store { begins, ..Store::default() }, Batches(batches.into()), judging(Notes(Vec::new())));
    let half = pin!(fold_half(&mut fold, &rules, &mut store, &mut batches, &mut Nothing, &mut notes)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(half, Poll::Ready(Ok(()))));
    (rules, store, notes.patience)
}

#[test]
fn each_generation_of_alert_rules_is_opened_once_and_let_go_behind_it() {
    // The second batch has three generations.
    let mut several = batch_of(2, 1);
    [batch_of(3, 2), batch_of(4, 3)].into_iter().for_each(|next| several.append(next));
    let (rules, store, _) = stamps(0, vec![batch_of(1, 1), several, batch_of(5, 3), batch_of(6, 4), batch_of(7, 9), batch_of(8, 9)], false);
    assert_eq!(*rules.opened.lock().unwrap(), [1, 2, 3, 4, 9]);
    assert_eq!(rules.open.load(Relaxed), 0, "the loop is over");
    let wanted = [Some(1), Some(1), Some(2), None, None, Some(4), Some(9), Some(9)].map(|stamp| stamp.map_or("none".to_owned(), |n: u64| n.to_string()));
    assert_eq!(store.stamps, wanted, "an alert goes through the rules in force at the event that opened it");
}

#[test]
fn a_generation_whose_alert_rules_cannot_be_opened_is_waited_for_and_never_passed_by() {
    let (rules, store, notes) = stamps(3, vec![batch_of(1, 1), batch_of(2, 2)], true);
    assert_eq!((rules.opened.lock().unwrap().as_slice(), store.stamps), ([1, 2].as_slice(), vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(notes.0.len(), 3);
    assert!(notes.0[2].starts_with("3 ") && notes.0[2].contains("generation 1 cannot be opened: not now"), "{:?}", notes.0);
}

#[test]
fn what_is_begun_does_not_wait_for_alert_rules() {
    // The first generation is open when the second is refused.
    struct Second(StampAlerts);
    impl RuleSets for Second {
        fn open(&self, generation: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
            self.0.open(generation)
        }
        fn open_alerts(&self, generation: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable> {
            if generation == 1 { Ok(None) } else { self.0.open_alerts(generation) }
        }
    }
    let rules = Second(StampAlerts { refusals: Mutex::new(1), opened: Mutex::default(), none_in: 3, open: Arc::default() });
    let mut fold = Fold::restore(&Restored::default(), FoldConfig::default()).unwrap();
    let (mut store, mut batches) = (Store { begins: true, ..Store::default() }, Batches(vec![batch_of(1, 1), batch_of(2, 2)].into()));
    let mut notes = judging(Notes(Vec::new()));
    let half = pin!(fold_half(&mut fold, &rules, &mut store, &mut batches, &mut Nothing, &mut notes)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(half, Poll::Ready(Ok(()))));
    let asked = ["known", "begin 1", "known", "commit 1 with 1 events", "known", "begin 2", "commit 2 with 1 events"];
    assert_eq!((store.asked, notes.patience.0.len()), (asked.map(str::to_owned).to_vec(), 1));
}

#[test]
fn places_count_what_a_store_writes_beside_the_documents() {
    let full = u32::MAX as usize;
    assert!(have_places(0, 0) && have_places(1 << 30, FOLD_ROWS_MAX));
    assert!(!have_places(full, 1));
    assert!(!have_places(full - 40 * FOLD_ROWS_MAX, FOLD_ROWS_MAX), "the heads of the rows alone would run over");
    assert!(have_places(full - 64 * (FOLD_ROWS_MAX + 1), FOLD_ROWS_MAX));
}

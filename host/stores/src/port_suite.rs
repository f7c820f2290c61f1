//! The promises of `alertmill_core::ports` as functions over any implementation, so that the simulator's fakes and the
//! real stores are held to the same ones. Each panics with the promise that was broken. Feature `test-suite`.

use alertmill_core::event::{Fingerprint, Status, Uid};
use alertmill_core::ports::{AlertEvents, AlertWrite, Appended, Commit, EventRole, Journal, KnownUids, LedgerValue, LocalStore};
use alertmill_core::ports::{PortError, Records, Restored, StoredEvent};
use alertmill_core::record::{Arrival, ArrivalBy, Door, DoorCounts, ItemSpan, Items, Journaled, RawPayload, RecordBody, Redrive, RedrivenLetter};
use alertmill_core::verdict::{Hook, Place, Policy, Verdict, Verdicts};
use alertmill_core::version_change::VersionChange;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A record of `items` small items, told apart by `n`.
pub fn record_body(n: u64, items: usize) -> RecordBody {
    let mut heap = Vec::new();
    let spans = (0..items)
        .map(|i| {
            let start = heap.len() as u32;
            heap.extend_from_slice(format!("{{\"record\":{n},\"item\":{i}}}").as_bytes());
            ItemSpan { bytes: start..heap.len() as u32, request_index: i as u32 }
        })
        .collect();
    RecordBody::Items(Items {
        tenant: "system".into(),
        source: "suite".into(),
        door: Door::Events,
        idempotency_key: None,
        counts: DoorCounts { received: items as u64, ..DoorCounts::default() },
        heap: heap.into(),
        spans,
    })
}

/// A raw payload, told apart by `n`.
pub fn payload_body(n: u64) -> RecordBody {
    RecordBody::Payload(RawPayload {
        tenant: "system".into(),
        source: "suite".into(),
        idempotency_key: Some(format!("key-{n}").into()),
        counts: DoorCounts { received: 1, ..DoorCounts::default() },
        content_type: "text/csv".into(),
        headers: vec![("x-event".into(), "push".into())],
        body: format!("{n},\u{0},\n").into_bytes().into(),
    })
}

/// Verdicts, told apart by `n`: one that ends, and one that does not.
pub fn verdicts_body(n: u64) -> RecordBody {
    let at = Place { ordinal: n, index: 7 };
    let verdict = |hook, until| Verdict {
        rule: "owner".into(),
        version: "1.2.0@sha256:00".into(),
        hook,
        kind: "deadline".into(),
        message: format!("still running at its time limit in record {n}").into(),
        policy: Policy::DeadLetter,
        from: at,
        until,
    };
    RecordBody::Verdicts(Verdicts { generation: n, verdicts: vec![verdict(Hook::EnrichEvent, Some(at)), verdict(Hook::EnrichAlert, None)] })
}

/// A version of a rule, told apart by `n`.
pub fn version_body(n: u64) -> RecordBody {
    RecordBody::RuleVersion(VersionChange { name: "suite".into(), digest: format!("{n:064x}").into(), ..VersionChange::default() })
}

/// Dead letters that are tried again, told apart by `n`.
pub fn redrive_body(n: u64) -> RecordBody {
    let letter = |index| RedrivenLetter {
        ordinal: n,
        index,
        received_at_ms: n as i64,
        source: "suite".into(),
        arrival: Arrival { idempotency_key: Some("key".into()), ..Arrival::by(ArrivalBy::Events) },
        item: format!("{{\"item\":{n}}}").into_bytes().into(),
    };
    RecordBody::Redrive(Redrive { tenant: "system".into(), operator: "suite".into(), comment: "".into(), letters: (0..3).map(letter).collect() })
}

fn read_until<R: Records>(records: &mut R, last: u64, rows_max: usize) -> Vec<Journaled> {
    let mut all: Vec<Journaled> = Vec::new();
    while all.last().is_none_or(|journaled| journaled.record.ordinal < last) {
        let some = block_on(records.next_records(rows_max)).expect("durable records are handed out");
        assert!(!some.is_empty(), "never an empty answer");
        let total: usize = some.iter().map(|journaled| journaled.record.body.items()).sum();
        assert!(total <= rows_max || some.len() == 1, "{total} items in {} records for rows_max {rows_max}", some.len());
        all.extend(some);
    }
    all
}

/// `Journal` and `Records`: ordinals without a gap, times that never go back, every record handed out once and in order,
/// and again after a restart until a commit has passed it. `open` opens the same journal again, as after a kill, for a
/// state at the given position; what it gave before has been dropped.
pub fn journal_keeps_its_promises<J: Journal, R: Records>(mut open: impl FnMut(u64) -> (J, R)) {
    let (journal, mut records) = open(0);
    let body = |n| match n % 8 {
        3 | 7 => payload_body(n),
        2 | 6 => verdicts_body(n),
        4 => version_body(n),
        5 => redrive_body(n),
        _ => record_body(n, n as usize % 5 + 1),
    };
    let bodies: Vec<RecordBody> = (1..=20).map(body).collect();
    let appended: Vec<Appended> = bodies.iter().map(|body| block_on(journal.append(body.clone(), None)).expect("append")).collect();
    for (i, one) in appended.iter().enumerate() {
        assert_eq!(one.ordinal, i as u64 + 1, "the record before it has the ordinal before it");
    }
    assert!(appended.windows(2).all(|pair| pair[0].received_at_ms <= pair[1].received_at_ms), "time never goes back");
    let same = |read: &[Journaled], from: usize| {
        for (i, journaled) in read.iter().enumerate() {
            let (record, told) = (&journaled.record, appended[from + i]);
            assert_eq!((record.ordinal, record.received_at_ms), (told.ordinal, told.received_at_ms), "as it was answered");
            assert_eq!(record.body, bodies[from + i], "the record survives");
        }
    };
    same(&read_until(&mut records, 20, 7), 0);
    let later = block_on(journal.append(RecordBody::Clock, None)).expect("append");
    assert_eq!(read_until(&mut records, 21, 1)[0].record.body, RecordBody::Clock);
    drop((journal, records));
    let (journal, mut records) = open(12);
    same(&read_until(&mut records, 21, 100)[..8], 12);
    let next = block_on(journal.append(RecordBody::Clock, None)).expect("append");
    assert_eq!(next.ordinal, 22, "ordinals go on after a restart");
    assert!(next.received_at_ms >= later.received_at_ms, "time goes on after a restart");
    assert_eq!(read_until(&mut records, 22, 1).len(), 1, "handed out exactly once");
}

/// A uid that no other number has, spread like real ones.
pub fn uid_of(n: u64) -> Uid {
    let mix = |n: u64| (n ^ (n >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(27).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Uid((u128::from(mix(n + 1)) << 64 | u128::from(mix(mix(n + 1)))).to_be_bytes())
}

/// Until when an event of this time is known: 24 h, to the end of the hour.
pub fn until_s(received_at_ms: i64) -> i64 {
    (received_at_ms / 1_000 + 86_400 + 3_599) / 3_600 * 3_600
}

/// A commit of one event, `uid_of(to)`, that the open alert 16384 absorbs at revision `to`.
pub fn commit_of(from: u64, to: u64, received_at_ms: i64) -> Commit {
    let document = format!("{{\"id\":\"{}\"}}", uid_of(to).to_hex()).into_bytes();
    let second = received_at_ms / 1_000;
    Commit {
        from,
        to,
        received_at_ms,
        events: vec![StoredEvent { uid: uid_of(to), known_until_s: until_s(received_at_ms), index_time_s: second, document: 0..document.len() as u32 }],
        event_heap: document,
        alerts: vec![AlertWrite {
            seq: 16_384,
            id: format!("{second:010}16384").into(),
            tenant: "system".into(),
            status: Status::Abnormal,
            severity: 1,
            alert_name: "suite".into(),
            fingerprint: Fingerprint([7; 16]),
            create_time: second,
            begin_time: second,
            latest_time: second,
            end_time: None,
            event_count: to,
            revision: to,
            rule_generation: 0,
            document: format!("{{\"event_count\":{to}}}").into_bytes(),
            state: to.to_le_bytes().to_vec(),
        }],
        alert_events: vec![AlertEvents { seq: 16_384, events: vec![(0, EventRole::Updated)] }],
        ledger: vec![LedgerValue { scope: "source", name: "suite".into(), counter: "folded".into(), value: to }],
        ..Commit::default()
    }
}

/// `LocalStore` and `KnownUids`: all of a commit or nothing, once, and what was committed is there after a kill. `open`
/// opens the same store again, as after a kill; what it gave before has been dropped.
pub fn store_keeps_its_promises<S: LocalStore + KnownUids>(mut open: impl FnMut() -> (S, Restored)) {
    const T: i64 = 1_790_000_000_000;
    let (mut store, restored) = open();
    assert_eq!((restored.position, restored.alerts.len()), (0, 0), "a new store");
    assert_eq!(store.known_until_s(&[uid_of(1)]), Ok(vec![None]), "no commit stored it");
    block_on(store.commit(&commit_of(0, 1, T))).expect("commit");
    block_on(store.commit(&commit_of(0, 1, T))).expect("the same commit again is applied already");
    block_on(store.commit(&commit_of(1, 3, T + 5_000))).expect("commit");
    for (from, to) in [(0, 1), (0, 9), (2, 4), (7, 8)] {
        let refused = block_on(store.commit(&commit_of(from, to, T)));
        assert!(refused.is_err(), "a commit from {from} to {to} does not fit a state at 3");
    }
    let known = Ok(vec![Some(until_s(T)), None, Some(until_s(T + 5_000)), None]);
    let asked = [uid_of(1), uid_of(2), uid_of(3), uid_of(9)];
    assert_eq!(store.known_until_s(&asked), known, "to the second");
    drop(store);
    let (mut store, restored) = open();
    assert_eq!((restored.position, restored.received_at_ms), (3, T + 5_000), "the last commit is there after a kill");
    let alert = &restored.alerts[0];
    assert_eq!((alert.seq, alert.revision, &alert.document[..]), (16_384, 3, &b"{\"event_count\":3}"[..]));
    assert_eq!(alert.state, 3u64.to_le_bytes(), "what the fold goes on with");
    assert_eq!(restored.ledger, [("source".into(), "suite".into(), "folded".into(), 3)]);
    assert_eq!(store.known_until_s(&asked), known, "to the second, after a kill too");
    block_on(store.commit(&commit_of(3, 4, T + 6_000))).expect("it goes on");
    // At its last second a uid is known; behind it, it may be forgotten, and is stored again.
    let last_ms = until_s(T) * 1_000;
    block_on(store.commit(&commit_of(4, 5, last_ms))).expect("commit");
    assert_eq!(store.known_until_s(&asked), known, "its last second is not over");
    let again = Commit { to: 6, ..commit_of(5, 1, last_ms + 1_000) };
    block_on(store.commit(&again)).expect("commit");
    let answers = |store: &mut S, when: &str| {
        let known = store.known_until_s(&asked).expect("answers");
        assert_eq!((known[0], known[1], known[3]), (Some(until_s(last_ms + 1_000)), None, None), "{when}: stored again, the later end");
        assert!([None, Some(until_s(T + 5_000))].contains(&known[2]), "{when}: forgotten or not, never another end");
        assert_eq!(store.known_until_s(&[uid_of(5)]), Ok(vec![Some(until_s(last_ms))]), "{when}");
    };
    answers(&mut store, "a day later");
    drop(store);
    answers(&mut open().0, "after another kill");
}

/// A full queue refuses at once, and what it refused got no ordinal. The journal is new, and its queue short.
pub fn refused_appends_leave_no_trace<J: Journal>(journal: &J) {
    let mut accepted = 0;
    let mut waiting = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let mut append = Box::pin(journal.append(record_body(accepted, 1_000), None));
        match append.as_mut().poll(&mut context) {
            Poll::Ready(Err(PortError::Unavailable(_))) => break,
            Poll::Ready(Err(error)) => panic!("append: {error}"),
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => waiting.push(append),
        }
        accepted += 1;
    }
    for append in waiting {
        block_on(append).expect("append");
    }
    let next = block_on(journal.append(RecordBody::Clock, None)).expect("append");
    assert_eq!(next.ordinal, accepted + 1, "only what was accepted has ordinals");
}

//! A data folder with a past: events of the last hours, received by the very code that the server runs, under a clock that is
//! led through those hours.

use crate::event;
use alertmill_core::identity::Algorithm;
use alertmill_core::pipeline::fold::{Fold, FoldConfig};
use alertmill_core::pipeline::prepare::prepare;
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::{Journal, KnownUids, LocalStore};
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, RecordBody};
use alertmill_core::rules::NoRules;
use alertmill_stores::folder::{DataFolder, FolderOptions};
use alertmill_stores::journal::Clock;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// Items of a record, as of a sender that posts so many at once.
const RECORD: u64 = 5_000;

/// Events with these numbers (see [`numbered`]), received evenly from `from_s` to `to_s` at the door of
/// `POST /api/v1/events`.
pub fn write(dir: &Path, count: u64, from_s: u64, to_s: u64) {
    let now_ms = Arc::new(AtomicI64::new(from_s as i64 * 1_000));
    let mut options = FolderOptions::default();
    let clock = now_ms.clone();
    options.journal.clock = Clock::Custom(Box::new(move || clock.load(SeqCst)));
    options.embedded.outbox = false;
    let mut folder = DataFolder::open(dir, options).expect("the data folder opens");
    let mut fold = Fold::restore(&folder.restored, FoldConfig::default()).expect("an empty state");
    let understand = UnderstandConfig { uid_key: folder.journal.uid_key(), algorithm: Algorithm::Keyed };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    for first in (0..count).step_by(RECORD as usize) {
        let numbers = first..count.min(first + RECORD);
        now_ms.store(time_of(numbers.end, count, from_s, to_s) as i64 * 1_000, SeqCst);
        let items = numbers.map(|n| numbered(n, time_of(n, count, from_s, to_s)));
        runtime.block_on(folder.journal.append(body(items), None)).expect("durable");
        let mut records = folder.records.next_blocking(usize::MAX).expect("what was appended");
        let prepared = prepare(&mut records, 0, &mut NoRules, &understand).unwrap();
        let uids: Vec<_> = prepared.rows.iter().map(|row| row.event.uid).collect();
        let known_until_s = folder.store.known_until_s(&uids).expect("answers");
        let commit = fold.apply(prepared, known_until_s);
        assert_eq!(commit.dead_letters, [], "every event is understood");
        runtime.block_on(folder.store.commit(&commit)).expect("committed");
        let synced = folder.store.checkpointer().synced_position();
        folder.journal.release(synced).expect("released");
    }
    folder.store.checkpoint().expect("synced");
}

/// When event `n` of `count` happens.
pub fn time_of(n: u64, count: u64, from_s: u64, to_s: u64) -> u64 {
    from_s + (to_s - from_s) * n / count
}

/// Event number `n`: its own id, on one of 2,000 hosts.
pub fn numbered(n: u64, time_s: u64) -> serde_json::Value {
    event(&format!("n{n}"), "Numbered", &format!("h{}", n % 2_000), time_s, "ABNORMAL")
}

fn body(items: impl Iterator<Item = serde_json::Value>) -> RecordBody {
    let (mut heap, mut spans) = (Vec::new(), Vec::new());
    for (request_index, item) in (0..).zip(items) {
        let start = heap.len() as u32;
        serde_json::to_writer(&mut heap, &item).expect("json");
        spans.push(ItemSpan { bytes: start..heap.len() as u32, request_index });
    }
    let counts = DoorCounts { received: spans.len() as u64, ..DoorCounts::default() };
    RecordBody::Items(Items { tenant: "system".into(), source: "events".into(), door: Door::Events, idempotency_key: None, counts, heap: heap.into(), spans })
}

//! Figures of the stores on this machine: `cargo run --release -p alertmill-stores --example measure -- journal|commits|deep_20m_uids [dir]`.
//! They print what ARCHITECTURE.md quotes; nothing else depends on them.

use alertmill_core::event::{Fingerprint, Status};
use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, EventRole, Journal, KnownUids, StoredEvent};
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, RecordBody};
use alertmill_stores::event_segments::{EventPlace, EventReader, EventSegments};
use alertmill_stores::journal::{JournalDir, JournalOptions};
use alertmill_stores::known_uids::{UidIndex, UidOptions};
use alertmill_stores::port_suite::{block_on, uid_of};
use alertmill_stores::{EmbeddedStore, embedded::AlertFilter};
use std::path::Path;
use std::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let parent = args.next().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let dir = tempfile::tempdir_in(parent).expect("a folder to measure in");
    match what.as_str() {
        "journal" => [(1, 1), (16, 1), (128, 1), (16, 100), (128, 100)].into_iter().for_each(|(senders, items)| journal(dir.path(), senders, items)),
        "commits" => commits(dir.path()),
        "deep_20m_uids" => deep_uids(dir.path()),
        _ => eprintln!("say journal, commits or deep_20m_uids"),
    }
}

/// A figure of this process from `/proc/self/status`, in MiB.
fn memory_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// CPU seconds of this process so far.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn items(count: usize, bytes: usize) -> RecordBody {
    let heap = vec![b'x'; count * bytes];
    let span = |i| ItemSpan { bytes: (i * bytes) as u32..((i + 1) * bytes) as u32, request_index: i as u32 };
    let counts = DoorCounts { received: count as u64, ..DoorCounts::default() };
    let spans = (0..count).map(span).collect();
    RecordBody::Items(Items { tenant: "system".into(), source: "m".into(), door: Door::Events, idempotency_key: None, counts, heap: heap.into(), spans })
}

fn journal(dir: &Path, senders: usize, per_record: usize) {
    let dir = dir.join(format!("journal-{senders}-{per_record}"));
    let (journal, mut reader, _) = JournalDir::open(&dir, JournalOptions::default()).expect("open");
    let records = (400_000 / per_record).min(senders * 3_000) / senders * senders;
    let (began, cpu) = (Instant::now(), cpu_s());
    std::thread::scope(|scope| {
        for _ in 0..senders {
            let journal = journal.clone();
            scope.spawn(move || {
                for _ in 0..records / senders {
                    block_on(journal.append(items(per_record, 1_000), None)).expect("append");
                }
            });
        }
        scope.spawn(|| {
            while reader.next_ordinal() <= records as u64 {
                reader.next_blocking(10_000).expect("read");
            }
        });
    });
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    let counts = journal.counts();
    let events = (records * per_record) as f64;
    println!(
        "{senders:4} senders x {per_record:4} items of 1 kB: {:8.0} items/s, {:6.0} MB/s, {:5.1} us CPU an item, {:5} fdatasyncs of {:5.2} ms, {:6.1} records each; watermark {:4.1} us a group, {:3} fdatasyncs, {:4.2}% of the time",
        events / wall,
        events / wall / 1e3,
        cpu * 1e6 / events,
        counts.fdatasyncs,
        counts.sync_nanos as f64 / counts.groups as f64 / 1e6,
        counts.records as f64 / counts.groups as f64,
        counts.watermark_nanos as f64 / counts.groups as f64 / 1e3,
        counts.watermark_syncs,
        counts.watermark_nanos as f64 / 1e7 / wall,
    );
}

/// A fold batch: `events` events of 700 bytes over `alerts` alerts of 1,500 bytes.
fn batch(from: u64, events: usize, alerts: u64, open: u64) -> Commit {
    const T: i64 = 1_790_000_000;
    let to = from + 1;
    let first = from * alerts % open;
    let heap = vec![b'e'; 700];
    let event = |i: usize| StoredEvent { uid: uid_of(from * events as u64 + i as u64), known_until_s: T + 86_400, index_time_s: T, document: 0..700 };
    let alert = |i: u64| AlertWrite {
        seq: (first + i) % open + 1,
        id: format!("{T}{}", (first + i) % open + 1).into(),
        tenant: "system".into(),
        status: Status::Abnormal,
        severity: (i % 3 + 1) as u8,
        alert_name: "disk usage high".into(),
        fingerprint: Fingerprint([1; 16]),
        create_time: T,
        begin_time: T,
        latest_time: T + from as i64,
        end_time: None,
        event_count: from,
        revision: from * alerts / open + 1,
        rule_generation: 1,
        document: format!("{{\"id\":\"{}\"}}", "d".repeat(1_489)).into_bytes(),
        state: vec![b's'; 100],
    };
    let per_alert = events as u64 / alerts;
    let list = |i: u64| AlertEvents {
        seq: (first + i) % open + 1,
        events: (i * per_alert..(i + 1) * per_alert).map(|event| (event as u32, EventRole::Updated)).collect(),
    };
    Commit {
        from,
        to,
        received_at_ms: T * 1_000,
        events: (0..events).map(event).collect(),
        event_heap: heap,
        alerts: (0..alerts).map(alert).collect(),
        alert_events: (0..alerts).map(list).collect(),
        ..Commit::default()
    }
}

fn commits(dir: &Path) {
    let (mut segments, _) = EventSegments::open(&dir.join("alone"), EventPlace::default(), 128 << 20).expect("open");
    let commit = batch(0, 256, 8, 1_000);
    let began = Instant::now();
    for _ in 0..500 {
        segments.append(&commit.events, &commit.event_heap, 0).expect("append");
    }
    println!("event file alone, 256 events of 700 bytes and one fdatasync: {:.2} ms", began.elapsed().as_secs_f64() * 2.0);
    for (events, alerts, open) in [(256, 8, 1_000), (1_024, 32, 1_000), (1_024, 1_024, 100_000), (4_096, 64, 10_000)] {
        let dir = dir.join(format!("{events}-{alerts}"));
        let (mut store, _) = EmbeddedStore::open(&dir).expect("open");
        let mut from = 0;
        let (began, cpu) = (Instant::now(), cpu_s());
        let (mut making, mut slowest) = (0.0, 0f64);
        while began.elapsed().as_secs_f64() < 8.0 {
            let made = Instant::now();
            let commit = batch(from, events, alerts, open);
            making += made.elapsed().as_secs_f64();
            let one = Instant::now();
            let uids: Vec<_> = commit.events.iter().map(|event| event.uid).collect();
            store.known_until_s(&uids).expect("known");
            store.commit_blocking(&commit).expect("commit");
            slowest = slowest.max(one.elapsed().as_secs_f64());
            from += 1;
        }
        let n = from as f64 * events as f64;
        let (wall, cpu) = (began.elapsed().as_secs_f64() - making, cpu_s() - cpu - making);
        let (syncs, moves) = store.checkpointer().counts();
        println!(
            "{events:5} events, {alerts:5} alerts a commit, {open:6} open: {:8.0} events/s, {:5.2} us CPU an event, commit {:6.2} ms, slowest {:4.0} ms; {syncs} syncs, {moves} moves, log {} MiB",
            n / wall,
            cpu * 1e6 / n,
            wall * 1e3 / from as f64,
            slowest * 1e3,
            dir.join("state.sqlite-wal").metadata().map_or(0, |file| file.len() >> 20),
        );
        let reader = store.reader();
        let asked = Instant::now();
        let filter = AlertFilter { status: vec![Status::Abnormal], ..AlertFilter::default() };
        let rows = (0..100).map(|_| reader.list_alerts(&filter, 20, None, false).expect("list").len()).sum::<usize>();
        println!("      list of {} rows: {:.0} us", rows / 100, asked.elapsed().as_secs_f64() * 1e4);
        drop(store);
        let reopened = Instant::now();
        let (store, restored) = EmbeddedStore::open(&dir).expect("open");
        println!("      open again: {:.2} s, {} alerts, {:?}", reopened.elapsed().as_secs_f64(), restored.alerts.len(), store.report());
    }
}

/// 20 million uids over 24 h, then a million more, then retries from the oldest hour, then a restart.
fn deep_uids(dir: &Path) {
    const T: i64 = 1_790_000_000;
    const PER_COMMIT: u64 = 1_000;
    const DEEP: u64 = 20_000_000;
    let (mut events, _) = EventSegments::open(&dir.join("events"), EventPlace::default(), 128 << 20).expect("open");
    let reader = EventReader::new(&dir.join("events"));
    let open = |committed, now_s| UidIndex::open(&dir.join("uids"), UidOptions::default(), &reader, committed, now_s).expect("open");
    let (mut index, _) = open(EventPlace::default(), T);
    let now_at = |n: u64| T + (n * 86_400 / DEEP) as i64;
    let (mut asked_s, mut noted_s, mut slowest, mut cpu, mut wall) = (0.0, 0.0, 0f64, cpu_s(), Instant::now());
    let (mut events_s, mut reads) = (0.0, 0);
    for commit in 0..(DEEP + 1_000_000) / PER_COMMIT {
        let first = commit * PER_COMMIT;
        let stored: Vec<StoredEvent> =
            (first..first + PER_COMMIT).map(|n| StoredEvent { uid: uid_of(n), known_until_s: now_at(n) + 86_400, index_time_s: T, document: 0..2 }).collect();
        let uids: Vec<_> = stored.iter().map(|event| event.uid).collect();
        let asked = Instant::now();
        assert!(!index.known_until_s(&uids).expect("known").iter().any(Option::is_some), "a fresh uid is not known");
        let answered = Instant::now();
        events.append(&stored, b"{}", T).expect("append");
        let appended = Instant::now();
        index.advance(now_at(first));
        stored.iter().for_each(|event| index.insert(event.uid, event.known_until_s));
        index.committed(events.end(), events.end(), now_at(first));
        let one = (answered - asked).as_secs_f64() + appended.elapsed().as_secs_f64();
        (asked_s, noted_s) = (asked_s + (answered - asked).as_secs_f64(), noted_s + appended.elapsed().as_secs_f64());
        events_s += (appended - answered).as_secs_f64();
        slowest = slowest.max(one);
        if (first + PER_COMMIT).is_multiple_of(1_000_000) {
            let counts = index.counts();
            println!(
                "{:3} M: ask {:5.2} us, note {:5.2} us an event, slowest commit of 1000 {:5.1} ms, all threads {:5.2} us CPU (event file included), {:5.2} s wall; {} files in {} hours, {} page reads, filters {} MiB, RSS {} MiB",
                (first + PER_COMMIT) / 1_000_000,
                asked_s,
                noted_s,
                slowest * 1e3,
                cpu_s() - cpu,
                wall.elapsed().as_secs_f64() - events_s,
                counts.files,
                counts.hours,
                counts.page_reads - reads,
                counts.filter_bytes >> 20,
                memory_mib("VmRSS"),
            );
            (asked_s, noted_s, slowest, events_s, reads, cpu, wall) = (0.0, 0.0, 0.0, 0.0, counts.page_reads, cpu_s(), Instant::now());
        }
    }
    let now_s = now_at(DEEP + 1_000_000);
    // Those of the first hour are past by now; the oldest that must be known were received 24 h ago.
    let oldest = (1..DEEP).find(|n| now_at(*n) + 86_400 > now_s).unwrap_or_default();
    let retries: Vec<_> = (oldest..oldest + 100_000).map(uid_of).collect();
    let asked = Instant::now();
    let known = retries.chunks(1_000).flat_map(|uids| index.known_until_s(uids).expect("known")).flatten().count();
    println!("retries of the oldest hour: {known} of 100000 known, {:.2} us each", asked.elapsed().as_secs_f64() * 10.0);
    index.settle();
    println!("before the restart: {:?}, RSS {} MiB, peak {} MiB", index.counts(), memory_mib("VmRSS"), memory_mib("VmHWM"));
    drop(index);
    let began = Instant::now();
    let (mut index, report) = open(events.end(), now_s);
    println!("restart: {:.2} s, {report:?}, RSS {} MiB", began.elapsed().as_secs_f64(), memory_mib("VmRSS"));
    let known = retries.chunks(1_000).flat_map(|uids| index.known_until_s(uids).expect("known")).flatten().count();
    println!("retries after the restart: {known} of 100000 known");
}

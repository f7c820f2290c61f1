//! A data folder in which bits were turned, files cut, zeroed, swapped or lost: it opens by itself, and shows what was stored or
//! says what is lost; never anything else.

use alertmill_core::event::{Fingerprint, Status, Uid};
use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, DeadLetter, EventRole, Journal, KnownUids, LedgerValue, LogWrite, StoredEvent};
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, RecordBody, RuleEntry, RuleSet};
use alertmill_proof::Tier;
use alertmill_stores::SyncedPosition;
use alertmill_stores::embedded::{AlertFilter, EmbeddedOptions, FenceReport};
use alertmill_stores::event_segments::EventRead;
use alertmill_stores::folder::{DataFolder, FolderOptions, OpenFolder};
use alertmill_stores::journal::{Clock, JournalOptions};
use alertmill_stores::known_uids::UidOptions;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

const T: i64 = 1_790_000_000;
const COMMITS: u64 = 12;

fn options(clock: &Arc<AtomicI64>) -> FolderOptions {
    let clock = clock.clone();
    FolderOptions {
        journal: JournalOptions { segment_bytes: 4 << 10, clock: Clock::Custom(Box::new(move || clock.load(SeqCst))), ..JournalOptions::default() },
        embedded: EmbeddedOptions {
            event_segment_bytes: 2 << 10,
            outbox: false,
            uids: UidOptions { table_uids_max: 8, ..UidOptions::default() },
            ..EmbeddedOptions::default()
        },
    }
}

/// Commit `n` covers record `n`: two events, an alert of its own, and every third ended again three commits later.
fn commit(n: u64, module: &str) -> Commit {
    let mut one = Commit { from: n - 1, to: n, received_at_ms: (T + n as i64) * 1_000, ..Commit::default() };
    for i in 0..2 {
        let document = format!("{{\"id\":\"e{n}-{i}\",\"create_time\":{}}}", T + n as i64);
        let start = one.event_heap.len() as u32;
        one.event_heap.extend_from_slice(document.as_bytes());
        one.events.push(StoredEvent { uid: uid(n, i), known_until_s: T + n as i64 + 86_400, index_time_s: T, document: start..one.event_heap.len() as u32 });
    }
    let alert = |seq: u64, status: Status, revision: u64| AlertWrite {
        seq,
        id: format!("{T}{seq}").into(),
        tenant: "system".into(),
        status,
        severity: 2,
        alert_name: "disk full".into(),
        fingerprint: Fingerprint([seq as u8; 16]),
        create_time: T + seq as i64,
        begin_time: T + seq as i64,
        latest_time: T + n as i64,
        end_time: (status != Status::Abnormal).then_some(T + n as i64),
        event_count: revision,
        revision,
        rule_generation: 1,
        document: format!("{{\"id\":\"{T}{seq}\",\"revision\":{revision},\"fill\":\"{}\"}}", "x".repeat(200)).into_bytes(),
        state: vec![seq as u8; 20],
    };
    one.alerts.push(alert(n, Status::Abnormal, 1));
    one.alert_events.push(AlertEvents { seq: n, events: vec![(0, EventRole::Opened), (1, EventRole::Updated)] });
    one.logs.push(LogWrite { seq: n, op_type: "CREATE", create_time: T + n as i64, document: format!("{{\"log\":{n}}}").into_bytes() });
    if n > 3 && n.is_multiple_of(3) {
        one.alerts.push(alert(n - 3, Status::Closed, 2));
        one.logs.push(LogWrite { seq: n - 3, op_type: "CLOSE", create_time: T + n as i64, document: b"{\"log\":\"close\"}".to_vec() });
    }
    one.ledger.push(LedgerValue { scope: "source", name: "events".into(), counter: "journaled".into(), value: n });
    if n.is_multiple_of(4) {
        let (tenant, source, code) = ("system".into(), "events".into(), "clean-error".into());
        one.dead_letters.push(DeadLetter {
            ordinal: n,
            index: 0,
            received_at_ms: one.received_at_ms,
            tenant,
            source,
            code,
            detail: "no time".into(),
            item: b"{}".to_vec(),
        });
    }
    if n == 1 {
        let rule = RuleEntry { name: "r".into(), version: "1".into(), digest: module.into(), config: "{}".into(), options: "{}".into() };
        one.rule_set = Some(RuleSet { generation: 1, rules: vec![rule], tables: Vec::new() });
    }
    one
}

fn uid(n: u64, i: u64) -> Uid {
    Uid([n as u8, i as u8, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, n as u8, i as u8])
}

fn body() -> RecordBody {
    let item = br#"{"alert_name":"disk full"}"#;
    RecordBody::Items(Items {
        tenant: "system".into(),
        source: "events".into(),
        door: Door::Events,
        idempotency_key: None,
        counts: DoorCounts { received: 1, ..DoorCounts::default() },
        heap: item.to_vec().into(),
        spans: vec![ItemSpan { bytes: 0..item.len() as u32, request_index: 0 }],
    })
}

/// A folder with [`COMMITS`] records and commits; `released`: the journal has only the last ones, else all of them.
fn make(dir: &Path, released: bool) {
    let clock = Arc::new(AtomicI64::new(0));
    let mut folder = DataFolder::open(dir, options(&clock)).unwrap();
    let module = folder.modules.put(b"a module").unwrap();
    for n in 1..=COMMITS {
        clock.store((T + n as i64) * 1_000, SeqCst);
        assert_eq!(futures_block(folder.journal.append(body(), None)), n);
        folder.records.next_blocking(1).unwrap();
        folder.store.commit_blocking(&commit(n, &module)).unwrap();
        folder.store.checkpoint().unwrap();
        if released && n == COMMITS / 2 {
            // The next start begins a new segment.
            drop(folder);
            folder = DataFolder::open(dir, options(&clock)).unwrap();
        }
    }
    if released {
        assert!(folder.journal.release(SyncedPosition::vouched(COMMITS)).unwrap() > 0);
    }
}

fn futures_block(future: impl Future<Output = Result<alertmill_core::ports::Appended, alertmill_core::ports::PortError>>) -> u64 {
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(appended) = future.as_mut().poll(&mut context) {
            return appended.unwrap().ordinal;
        }
        std::thread::yield_now();
    }
}

/// Everything that the folder answers, and which uids it knows, at one position.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Seen {
    alerts: BTreeMap<u64, (String, String)>,
    events: BTreeMap<u64, Vec<String>>,
    logs: BTreeMap<u64, usize>,
    letters: usize,
    ledger: Vec<String>,
    known: Vec<bool>,
    generation: u64,
}

enum Answers {
    All(Seen),
    /// A read that was refused as damaged.
    Refused(String),
}

fn look(folder: &mut OpenFolder) -> Answers {
    let reader = folder.store.reader();
    let mut seen = Seen::default();
    let mut read = || -> Result<(), alertmill_stores::StoreError> {
        for row in reader.list_alerts(&AlertFilter::default(), 1_000, None, true)? {
            let one = reader.alert(row.seq)?.map(|one| String::from_utf8_lossy(&one.document).into_owned()).unwrap_or_default();
            let listed = String::from_utf8_lossy(&row.document.clone().unwrap_or_default()).into_owned();
            assert_eq!(listed, one, "list and alert differ");
            let events = reader.alert_events(row.seq, None, 100)?.into_iter().map(|event| match event.row {
                EventRead::Found(row) => String::from_utf8_lossy(&row.document).into_owned(),
                other => format!("{other:?}"),
            });
            seen.events.insert(row.seq, events.collect());
            seen.logs.insert(row.seq, reader.alert_logs(row.seq, None, 100)?.len());
            seen.alerts.insert(row.seq, (format!("{:?} {} {}", row.status, row.revision, row.event_count), listed));
        }
        seen.letters = reader.dead_letters(None, None, 0, 100)?.len();
        seen.generation = reader.rule_sets(1)?.first().map_or(0, |set| set.generation);
        seen.ledger = reader.ledger()?.into_iter().map(|line| format!("{line:?}")).collect();
        Ok(())
    };
    if let Err(error) = read() {
        return Answers::Refused(error.to_string());
    }
    let uids: Vec<Uid> = (1..=COMMITS + 1).flat_map(|n| [uid(n, 0), uid(n, 1)]).collect();
    match folder.store.known_until_s(&uids) {
        Ok(known) => seen.known = known.iter().map(Option::is_some).collect(),
        Err(error) => return Answers::Refused(error.to_string()),
    }
    Answers::All(seen)
}

/// Applies what the journal still has behind the position, as the fold does, and looks.
fn replay_and_look(folder: &mut OpenFolder, module: &str) -> Answers {
    for n in folder.store.position() + 1..=COMMITS {
        folder.store.commit_blocking(&commit(n, module)).unwrap_or_else(|error| panic!("commit {n}: {error}"));
    }
    look(folder)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A whole folder and what it shows.
struct World {
    whole: tempfile::TempDir,
    scratch: tempfile::TempDir,
    expected: Seen,
    module: String,
    counts: Counts,
    failures: Vec<String>,
}

#[derive(Default)]
struct Counts {
    damages: u64,
    without_effect: u64,
    healed: u64,
    refused: u64,
    reported: u64,
    wrong: u64,
}

impl World {
    fn new(released: bool) -> World {
        let whole = tempfile::tempdir().unwrap();
        make(whole.path(), released);
        let clock = Arc::new(AtomicI64::new((T + 100) * 1_000));
        // In memory where there is such a place: thousands of folders are synced here.
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let copied = scratch.path().join("whole");
        copy(whole.path(), &copied);
        let mut folder = DataFolder::open(&copied, options(&clock)).unwrap();
        assert_eq!((folder.restored.position, folder.fenced.len()), (COMMITS, 0));
        let module = folder.modules.list().unwrap().remove(0);
        let Answers::All(expected) = look(&mut folder) else { panic!("a whole folder") };
        assert_eq!(expected.alerts.len(), COMMITS as usize);
        World { whole, scratch, expected, module, counts: Counts::default(), failures: Vec::new() }
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.whole.path().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.is_file());
        files.sort();
        files.into_iter().map(|path| path.strip_prefix(self.whole.path()).unwrap().to_path_buf()).collect()
    }

    /// Opens a copy that `spoil` has damaged, and judges what it shows.
    fn spoiled(&mut self, what: &str, spoil: impl FnOnce(&Path)) {
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.spoil(what, spoil)));
        if let Err(why) = judged {
            let words = why.downcast_ref::<String>().cloned().or_else(|| why.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            self.failures.push(words.unwrap_or_default());
            let _ = std::fs::remove_dir_all(self.scratch.path().join("spoiled"));
        }
    }

    fn spoil(&mut self, what: &str, spoil: impl FnOnce(&Path)) {
        let dir = self.scratch.path().join("spoiled");
        copy(self.whole.path(), &dir);
        spoil(&dir);
        let clock = Arc::new(AtomicI64::new((T + 100) * 1_000));
        let mut folder = DataFolder::open(&dir, options(&clock)).unwrap_or_else(|error| panic!("{what}: it does not open: {error}"));
        self.counts.damages += 1;
        let fenced: Option<FenceReport> = folder.fenced.first().cloned();
        let journal_says = !folder.journal_report.gaps.is_empty() || folder.journal_report.behind_state || folder.journal_report.identity_replaced;
        let store = folder.store_report.clone();
        let uids_said = store.damaged_event_files > 0 || store.uids_forgotten || store.event_rows_missing;
        match replay_and_look(&mut folder, &self.module) {
            Answers::Refused(why) => {
                assert!(why.contains("damaged") || why.contains("checksum"), "{what}: {why}");
                self.counts.refused += 1;
            }
            Answers::All(seen) if seen == self.expected => {
                *(if fenced.is_some() { &mut self.counts.healed } else { &mut self.counts.without_effect }) += 1;
            }
            Answers::All(seen) => {
                self.judge(what, &seen, fenced.as_ref(), journal_says, uids_said);
                self.counts.reported += 1;
            }
        }
        drop(folder);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Everything that is shown is right, and everything that is not shown is in a report.
    fn judge(&mut self, what: &str, seen: &Seen, fenced: Option<&FenceReport>, journal_says: bool, uids_said: bool) {
        let expected = &self.expected;
        let lost = |seq: &u64| {
            fenced.is_some_and(|report| {
                report.rebuilt == "anew"
                    || report.lost_open_alerts.contains(seq)
                    || report.lost_alerts.contains(seq)
                    || report.lost_parts_of.contains(seq)
                    || journal_says
                    || report.lost_rows.iter().any(|row| {
                        row.starts_with("alerts: rows")
                            || row.starts_with("logs: rows")
                            || row.starts_with("alert_events: rows")
                            || row.starts_with("pages are damaged")
                    })
            })
        };
        for (seq, alert) in &expected.alerts {
            match seen.alerts.get(seq) {
                Some(found) => assert_eq!(found, alert, "{what}: alert {seq} is wrong; {fenced:?}"),
                None => assert!(lost(seq), "{what}: alert {seq} is silently gone; {fenced:?}"),
            }
        }
        assert!(seen.alerts.keys().all(|seq| expected.alerts.contains_key(seq)), "{what}: alerts that never were");
        for (seq, events) in seen.events.iter() {
            let are_right = expected.events[seq].iter().zip(events).all(|(expected, found)| found == expected || found == "Damaged" || found == "Gone");
            assert!(events.len() == expected.events[seq].len() && are_right || lost(seq), "{what}: events of alert {seq}: {events:?}");
        }
        for (seq, logs) in &seen.logs {
            // One that is derived from an event that cannot be read is left out.
            let can_differ = lost(seq) || seen.events[seq].iter().any(|event| event == "Damaged" || event == "Gone");
            assert!(*logs == expected.logs[seq] || can_differ, "{what}: logs of alert {seq}");
        }
        let said = |table: &str| {
            fenced.is_some_and(|report| {
                report.rebuilt == "anew" || report.lost_rows.iter().any(|row| row.starts_with(table) || row.starts_with("pages are damaged"))
            })
        };
        assert!(seen.letters == expected.letters || said("dead_letters"), "{what}: dead letters");
        assert!(seen.ledger == expected.ledger || said("ledger"), "{what}: the ledger");
        assert!(seen.generation == expected.generation || said("rule_sets"), "{what}: the generation");
        if seen.known != expected.known {
            assert!(uids_said || journal_says || said("anew") || fenced.is_some_and(|report| report.rebuilt == "anew"), "{what}: known uids");
            let invented = seen.known.iter().zip(&expected.known).any(|(found, expected)| *found && !expected);
            assert!(!invented, "{what}: a uid that never was is known");
        }
    }

    fn flip(&mut self, file: &Path, bit: usize) {
        self.spoiled(&format!("bit {bit} of {}", file.display()), |dir| {
            let path = dir.join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path, bytes).unwrap();
        });
    }

    fn bits(&self, file: &Path) -> usize {
        std::fs::metadata(self.whole.path().join(file)).unwrap().len() as usize * 8
    }
}

/// How close together damages lie.
#[derive(Clone, Copy)]
struct Spread {
    /// Every so-manieth bit of the state's head; no multiple of eight divides it, so that each bit of a byte is hit somewhere.
    head_step: usize,
    /// Bits of the state's other pages, and of each other file.
    state_bits: usize,
    file_bits: usize,
    /// Each kind of damage to every so-manieth page; each page gets one at least.
    page_step: usize,
}

const CI: Spread = Spread { head_step: 7, state_bits: 150, file_bits: 12, page_step: 3 };
const WHOLE: Spread = Spread { head_step: 1, state_bits: 900, file_bits: 60, page_step: 1 };

#[test]
fn damage_is_fenced_healed_or_said_and_never_shown() {
    corrupt(CI, Tier::Ci);
}

#[test]
#[ignore = "by hand: every bit of the head, every kind of damage to every page"]
fn all_damage_is_fenced_healed_or_said_and_never_shown() {
    corrupt(WHOLE, Tier::Hand);
}

fn corrupt(spread: Spread, tier: Tier) {
    // One with the whole journal, one with its end.
    let worlds = std::thread::scope(|scope| [false, true].map(|released| scope.spawn(move || corrupt_one(released, spread))).map(|one| one.join().unwrap()));
    let mut sums = Counts::default();
    let mut flips = 0;
    for (counts, flipped) in worlds {
        sums.damages += counts.damages;
        sums.without_effect += counts.without_effect;
        sums.healed += counts.healed;
        sums.refused += counts.refused;
        sums.reported += counts.reported;
        sums.wrong += counts.wrong;
        flips += flipped;
    }
    assert!(sums.healed > 0 && sums.reported > 0 && sums.without_effect > 0, "a spread so thin that whole kinds of outcome are missing");
    alertmill_proof::record(
        "embedded-corruption",
        tier,
        &[
            ("damages", &sums.damages),
            ("bits_flipped", &flips),
            ("without_effect", &sums.without_effect),
            ("healed", &sums.healed),
            ("loss_reported", &sums.reported),
            ("reads_refused", &sums.refused),
            ("silently_wrong", &sums.wrong),
            ("panics", &0),
        ],
    );
}

/// The damages, and how many of them were turned bits.
fn corrupt_one(released: bool, spread: Spread) -> (Counts, u64) {
    let mut flips = 0;
    let mut world = World::new(released);
    let state = PathBuf::from("state.sqlite");
    let bits = world.bits(&state);
    for bit in (0..800).step_by(spread.head_step).chain((800..bits).step_by(bits / spread.state_bits | 1)) {
        world.flip(&state, bit);
        flips += 1;
    }
    let mut others = world.files("events");
    others.extend(world.files("uids"));
    others.extend(world.files("modules"));
    for file in others {
        let bits = world.bits(&file);
        let used = if file.starts_with("events") { bits.min(8 * 2_048) } else { bits };
        for bit in (0..used).step_by(used / spread.file_bits | 1) {
            world.flip(&file, bit);
            flips += 1;
        }
    }
    let pages = bits / 8 / 4096;
    for page in 0..pages {
        let is_due = |kind: usize| (page + kind).is_multiple_of(spread.page_step);
        for (kind, name, fill) in [(0, "zeroed", 0), (1, "filled", 0xa5)] {
            if is_due(kind) {
                world.spoiled(&format!("page {page} {name}"), |dir| {
                    let mut bytes = std::fs::read(dir.join("state.sqlite")).unwrap();
                    bytes[page * 4096..(page + 1) * 4096].fill(fill);
                    std::fs::write(dir.join("state.sqlite"), bytes).unwrap();
                });
            }
        }
        if is_due(2) {
            world.spoiled(&format!("page {page} in the place of the next"), |dir| {
                let mut bytes = std::fs::read(dir.join("state.sqlite")).unwrap();
                let next = (page + 1) % pages;
                bytes.copy_within(page * 4096..(page + 1) * 4096, next * 4096);
                std::fs::write(dir.join("state.sqlite"), bytes).unwrap();
            });
        }
        if is_due(3) {
            world.spoiled(&format!("cut before page {page}"), |dir| {
                let bytes = std::fs::read(dir.join("state.sqlite")).unwrap();
                std::fs::write(dir.join("state.sqlite"), &bytes[..page * 4096]).unwrap();
            });
        }
    }
    world.spoiled("no state", |dir| std::fs::remove_file(dir.join("state.sqlite")).unwrap());
    for folder in ["events", "uids"] {
        let files = world.files(folder);
        for (i, file) in files.iter().enumerate() {
            let next = files[(i + 1) % files.len()].clone();
            world.spoiled(&format!("{} in the place of {}", file.display(), next.display()), |dir| {
                assert!(std::fs::copy(dir.join(file), dir.join(&next)).is_ok())
            });
            world.spoiled(&format!("{} is gone", file.display()), |dir| std::fs::remove_file(dir.join(file)).unwrap());
            world.spoiled(&format!("{} is empty", file.display()), |dir| std::fs::write(dir.join(file), b"").unwrap());
        }
    }
    assert!(world.failures.is_empty(), "{} of {}:\n{}", world.failures.len(), world.counts.damages, world.failures.join("\n"));
    let Counts { damages, without_effect, healed, refused, reported, .. } = world.counts;
    println!("corruption (journal released: {released}): {damages} damages");
    println!("  {without_effect} without effect, {healed} healed, {reported} reported, {refused} refused");
    (world.counts, flips)
}

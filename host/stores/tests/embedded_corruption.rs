//! A data folder in which bits were turned, files cut, zeroed, swapped or lost: it opens by itself, and shows what was stored or
//! says what is lost; never anything else.

use alertmill_core::event::{Fingerprint, Status, Uid};
use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, DeadLetter, EventRole, Journal, KnownUids, LedgerValue, LogWrite, StoredEvent};
use alertmill_core::record::{Arrival, ArrivalBy, Door, DoorCounts, ItemSpan, Items, RecordBody, RuleEntry, RuleSet};
use alertmill_proof::Tier;
use alertmill_proof::processes::copy;
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
const PAGE_BYTES: usize = 4096;

/// What is damaged, and how it is opened.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// The journal has only the last records, else all of them.
    released: bool,
    /// As a kill leaves it: the last commits are in SQLite's log only.
    killed: bool,
    /// What the start looks at of a state that is larger.
    check_bytes_max: u64,
}

fn options(clock: &Arc<AtomicI64>, check_bytes_max: u64) -> FolderOptions {
    let clock = clock.clone();
    FolderOptions {
        journal: JournalOptions { segment_bytes: 4 << 10, clock: Clock::Custom(Box::new(move || clock.load(SeqCst))), ..JournalOptions::default() },
        embedded: EmbeddedOptions {
            event_segment_bytes: 2 << 10,
            outbox: false,
            uids: UidOptions { table_uids_max: 8, ..UidOptions::default() },
            check_bytes_max,
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
            arrival: Some(Arrival::by(ArrivalBy::Events)),
        });
    }
    if n == 1 {
        let rule =
            RuleEntry { name: "r".into(), version: "1".into(), digest: module.into(), config: "{}".into(), options: "{}".into(), ..RuleEntry::default() };
        one.rule_sets = vec![RuleSet { generation: 1, rules: vec![rule], tables: Vec::new(), ..RuleSet::default() }];
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

/// A folder with [`COMMITS`] records and commits. Gives the state as it was, closed, at half of them.
fn make(dir: &Path, kind: Kind) -> Vec<u8> {
    let work = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(0));
    let open = || DataFolder::open(work.path(), options(&clock, u64::MAX)).unwrap();
    let (mut folder, mut older) = (open(), Vec::new());
    let module = folder.modules.put(b"a module").unwrap();
    for n in 1..=COMMITS {
        clock.store((T + n as i64) * 1_000, SeqCst);
        assert_eq!(futures_block(folder.journal.append(body(), None)), n);
        folder.records.next_blocking(1).unwrap();
        folder.store.commit_blocking(&commit(n, &module)).unwrap();
        folder.store.checkpoint().unwrap();
        if n == COMMITS / 2 {
            // The next start begins a new segment.
            drop(folder);
            older = std::fs::read(work.path().join("state.sqlite")).unwrap();
            folder = open();
        }
    }
    if kind.released {
        assert!(folder.journal.release(SyncedPosition::vouched(COMMITS)).unwrap() > 0);
    }
    if kind.killed {
        copy(work.path(), dir);
        std::fs::remove_file(dir.join("state.sqlite-shm")).unwrap();
    } else {
        drop(folder);
        copy(work.path(), dir);
    }
    older
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

/// Applies what the journal still has behind the position, as the fold does, and looks. What is wrong with the way there is added
/// to `wrong`.
fn replay_and_look(folder: &mut OpenFolder, module: &str, wrong: &mut Vec<String>) -> Answers {
    let last = folder.journal_report.last_ordinal;
    while folder.store.position() < last {
        for journaled in folder.records.next_blocking(1).unwrap() {
            let n = journaled.record.ordinal;
            // In the place of a record that is lost stands one that only says the time.
            if !matches!(journaled.record.body, RecordBody::Items(_)) {
                continue;
            }
            match folder.store.known_until_s(&[uid(n, 0), uid(n, 1)]) {
                Ok(known) if known.iter().any(Option::is_some) => wrong.push(format!("uids: events of record {n} are taken for retries of themselves")),
                Ok(_) => {}
                Err(error) => return Answers::Refused(error.to_string()),
            }
            let from = folder.store.position();
            if let Err(error) = folder.store.commit_blocking(&Commit { from, ..commit(n, module) }) {
                return Answers::Refused(error.to_string());
            }
        }
        if folder.records.next_ordinal() > last {
            break;
        }
    }
    look(folder)
}

/// What the starts of a damaged folder have said.
#[derive(Default)]
struct Said {
    fenced: Vec<FenceReport>,
    /// Records that are missing from the journal.
    missing: Vec<(u64, u64)>,
    /// Event or uid files are damaged or gone.
    uids: bool,
}

impl Said {
    fn take(&mut self, folder: &OpenFolder) {
        self.fenced.extend(folder.fenced.iter().cloned());
        self.missing.extend(folder.journal_report.gaps.iter().map(|gap| (gap.first, gap.last)));
        let store = &folder.store_report;
        self.uids |= store.damaged_event_files > 0 || store.uids_forgotten || store.event_rows_missing;
    }

    fn is_anew(&self) -> bool {
        self.fenced.iter().any(|report| report.rebuilt == "anew")
    }

    /// That rows of a table are lost which nobody can name.
    fn table(&self, table: &str) -> bool {
        self.fenced.iter().any(|report| report.lost_rows.iter().any(|row| row.split_once(':').is_some_and(|(name, _)| name == table)))
    }

    fn row(&self, words: &str) -> bool {
        self.fenced.iter().any(|report| report.lost_rows.iter().any(|row| row.starts_with(words)))
    }

    /// That a record is lost from which this alert was made, in this state or the journal.
    fn record_of(&self, seq: u64) -> bool {
        let is_before = self.fenced.iter().any(|report| report.rebuilt == "anew" && seq <= report.position);
        is_before || self.missing.iter().any(|(first, last)| (first..=last).contains(&&seq) || (first..=last).contains(&&(seq + 3)))
    }

    fn alert(&self, seq: u64) -> bool {
        let named = self.fenced.iter().any(|report| report.lost_open_alerts.contains(&seq) || report.lost_alerts.contains(&seq));
        named || self.table("alerts") || self.record_of(seq)
    }

    /// That a row of an alert in this table is lost.
    fn part(&self, seq: u64, table: &str) -> bool {
        self.fenced.iter().any(|report| report.lost_parts_of.contains(&seq)) || self.table(table) || self.record_of(seq)
    }
}

/// A whole folder and what it shows.
struct World {
    kind: Kind,
    whole: tempfile::TempDir,
    /// Its state at half of the commits.
    older: Vec<u8>,
    scratch: tempfile::TempDir,
    expected: Seen,
    module: String,
    counts: Counts,
    failures: Vec<String>,
}

#[derive(Default)]
struct Counts {
    damages: u64,
    bits_flipped: u64,
    without_effect: u64,
    healed: u64,
    /// A read was refused before the next start healed it or said what is lost.
    refused: u64,
    reported: u64,
    /// What is read differs from what was written, and no report says so of its table.
    silently_wrong: u64,
    /// So, by a whole page that does not belong where it is, in a table whose rows nothing counts.
    whole_page_unseen: u64,
    /// So, by a row whose key was hit, in such a table of a state that is too large to be looked at: it is found under its old key no more.
    row_unseen: u64,
    panics: u64,
}

/// Tables of which nothing says that rows are gone or older when one of their pages is whole and of an earlier commit. Of a state
/// that is too large to be looked at: all that the fold does not go on from, also when the page is another one's.
const UNCOUNTED: [&str; 2] = ["alert_events", "ledger"];
const UNCOUNTED_IN_LARGE: [&str; 4] = ["alert_events", "ledger", "logs", "dead_letters"];
/// Begin the words for such a damage.
const OLDER_PAGE: &str = "an older page";
const OTHER_PAGE: &str = "another page";
const ONE_BIT: &str = "bit ";

impl World {
    fn new(kind: Kind) -> World {
        let whole = tempfile::tempdir().unwrap();
        let older = make(whole.path(), kind);
        let clock = Arc::new(AtomicI64::new((T + 100) * 1_000));
        // In memory where there is such a place: thousands of folders are synced here.
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let copied = scratch.path().join("whole");
        copy(whole.path(), &copied);
        let mut folder = DataFolder::open(&copied, options(&clock, kind.check_bytes_max)).unwrap();
        assert_eq!((folder.restored.position, folder.fenced.len()), (COMMITS, 0));
        let module = folder.modules.list().unwrap().remove(0);
        let Answers::All(expected) = look(&mut folder) else { panic!("a whole folder") };
        assert_eq!(expected.alerts.len(), COMMITS as usize);
        World { kind, whole, older, scratch, expected, module, counts: Counts::default(), failures: Vec::new() }
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
            self.failures.push(format!("{what}: {}", words.unwrap_or_default()));
            self.counts.panics += 1;
            let _ = std::fs::remove_dir_all(self.scratch.path().join("spoiled"));
        }
    }

    fn spoil(&mut self, what: &str, spoil: impl FnOnce(&Path)) {
        let dir = self.scratch.path().join("spoiled");
        copy(self.whole.path(), &dir);
        spoil(&dir);
        self.counts.damages += 1;
        let clock = Arc::new(AtomicI64::new((T + 100) * 1_000));
        let (mut said, mut wrong) = (Said::default(), Vec::new());
        // A read that is refused makes the next start look at everything; that one refuses nothing.
        for start in 1..=2 {
            let mut folder = DataFolder::open(&dir, options(&clock, self.kind.check_bytes_max)).unwrap_or_else(|error| panic!("it does not open: {error}"));
            said.take(&folder);
            match replay_and_look(&mut folder, &self.module, &mut wrong) {
                Answers::Refused(why) => {
                    assert!(start == 1 && (why.contains("damaged") || why.contains("checksum")), "start {start}: {why}");
                    self.counts.refused += 1;
                }
                Answers::All(seen) => {
                    self.judge(&seen, &said, &mut wrong);
                    match (seen == self.expected, said.fenced.is_empty()) {
                        (true, true) => self.counts.without_effect += 1,
                        (true, false) => self.counts.healed += 1,
                        (false, _) => self.counts.reported += u64::from(wrong.is_empty()),
                    }
                    break;
                }
            }
        }
        let is_large = self.kind.check_bytes_max == 0;
        let uncounted = if is_large { &UNCOUNTED_IN_LARGE[..] } else { &UNCOUNTED };
        let is_whole_page = what.starts_with(OLDER_PAGE) || (is_large && what.starts_with(OTHER_PAGE));
        let is_uncounted = |wrong: &String| wrong.split_once(':').is_some_and(|(table, _)| uncounted.contains(&table));
        if !wrong.is_empty() && is_whole_page && wrong.iter().all(is_uncounted) {
            self.counts.whole_page_unseen += 1;
        } else if !wrong.is_empty() && is_large && what.starts_with(ONE_BIT) && wrong.iter().all(is_uncounted) {
            self.counts.row_unseen += 1;
        } else if !wrong.is_empty() {
            self.counts.silently_wrong += 1;
            self.failures.push(format!("{what}: {}; {:?}", wrong.join("; "), said.fenced));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Adds to `wrong` what is shown and was never written, and what is not shown and in no report of its table.
    fn judge(&self, seen: &Seen, said: &Said, wrong: &mut Vec<String>) {
        let expected = &self.expected;
        let mut look = |is_right: bool, what: &str| {
            if !is_right {
                wrong.push(what.to_owned());
            }
        };
        for (seq, alert) in &expected.alerts {
            match seen.alerts.get(seq) {
                Some(found) => look(found == alert || said.row("alerts: rows are gone or older"), &format!("alerts: {seq} is {found:?}")),
                None => look(said.alert(*seq), &format!("alerts: {seq} is gone")),
            }
        }
        look(seen.alerts.keys().all(|seq| expected.alerts.contains_key(seq)), "alerts: some that never were");
        let is_said_itself = |event: &String| event == "Damaged" || event == "Gone";
        for (seq, events) in seen.events.iter() {
            let are_right = expected.events[seq].iter().zip(events).all(|(expected, found)| found == expected || is_said_itself(found));
            let are_all = events.len() == expected.events[seq].len();
            look((are_right && are_all) || said.part(*seq, "alert_events"), &format!("alert_events: of alert {seq}: {events:?}"));
        }
        for (seq, logs) in &seen.logs {
            // One that is derived from an event that cannot be read, or that is lost, is left out.
            let can_differ = said.part(*seq, "logs") || seen.events[seq] != expected.events[seq];
            look(*logs == expected.logs[seq] || can_differ, &format!("logs: of alert {seq}: {logs}"));
        }
        look(seen.letters == expected.letters || said.table("dead_letters"), "dead_letters: their number");
        look(seen.ledger == expected.ledger || said.table("ledger"), "ledger: its counters");
        look(seen.generation == expected.generation || said.table("rule_sets"), "rule_sets: the generation");
        look(seen.known == expected.known || said.uids || said.is_anew(), "uids: not those that were known");
        let invented = seen.known.iter().zip(&expected.known).any(|(found, expected)| *found && !expected);
        look(!invented, "uids: one that never was is known");
    }

    fn flip(&mut self, file: &Path, bit: usize) {
        self.counts.bits_flipped += 1;
        self.change(&format!("bit {bit} of {}", file.display()), file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }

    fn change(&mut self, what: &str, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.spoiled(what, |dir| {
            let path = dir.join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
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
    /// Bits of the state's other pages and of its log, and of each other file.
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
    let kind = Kind { released: true, killed: false, check_bytes_max: u64::MAX };
    // The whole journal; only its end; a log beside the state; a state that is too large to be looked at.
    let kinds = [Kind { released: false, ..kind }, kind, Kind { killed: true, ..kind }, Kind { check_bytes_max: 0, ..kind }];
    let worlds = std::thread::scope(|scope| kinds.map(|kind| scope.spawn(move || corrupt_one(kind, spread))).map(|one| one.join().unwrap()));
    let sum = |count: fn(&Counts) -> u64| worlds.iter().map(|(counts, _)| count(counts)).sum::<u64>();
    let (healed, reported, refused, without_effect) = (sum(|c| c.healed), sum(|c| c.reported), sum(|c| c.refused), sum(|c| c.without_effect));
    let (silently_wrong, panics) = (sum(|c| c.silently_wrong), sum(|c| c.panics));
    let failures: Vec<String> = worlds.iter().flat_map(|(_, failures)| failures.clone()).collect();
    assert!(failures.is_empty(), "{silently_wrong} silently wrong, {panics} panics:\n{}", failures.join("\n"));
    assert!(healed > 0 && reported > 0 && refused > 0 && without_effect > 0, "a spread so thin that whole kinds of outcome are missing");
    alertmill_proof::record(
        "embedded-corruption",
        tier,
        &[
            ("damages", &sum(|c| c.damages)),
            ("bits_flipped", &sum(|c| c.bits_flipped)),
            ("without_effect", &without_effect),
            ("healed", &healed),
            ("loss_reported", &reported),
            ("reads_refused", &refused),
            ("silently_wrong", &silently_wrong),
            ("whole_pages_unseen", &sum(|c| c.whole_page_unseen)),
            ("rows_unseen_in_a_large_state", &sum(|c| c.row_unseen)),
            ("panics", &panics),
        ],
    );
}

/// What came of the damages, and what was wrong.
fn corrupt_one(kind: Kind, spread: Spread) -> (Counts, Vec<String>) {
    let mut world = World::new(kind);
    let (state, log) = (PathBuf::from("state.sqlite"), PathBuf::from("state.sqlite-wal"));
    let bits = world.bits(&state);
    for bit in (0..800).step_by(spread.head_step).chain((800..bits).step_by((bits / spread.state_bits) | 1)) {
        world.flip(&state, bit);
    }
    if kind.killed {
        damage_log(&mut world, &log, spread);
    } else {
        damage_other_files(&mut world, spread);
    }
    damage_pages(&mut world, &state, spread);
    world.spoiled("no state", |dir| std::fs::remove_file(dir.join(&state)).unwrap());
    let Counts { damages, without_effect, healed, refused, reported, silently_wrong, .. } = world.counts;
    println!("corruption of {kind:?}: {damages} damages");
    println!("  {without_effect} without effect, {healed} healed, {reported} reported, {refused} refused at first, {silently_wrong} silently wrong");
    (world.counts, world.failures)
}

fn damage_pages(world: &mut World, state: &Path, spread: Spread) {
    let (pages, older) = (world.bits(state) / 8 / PAGE_BYTES, world.older.clone());
    for page in 0..pages {
        let here = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
        let is_due = |kind: usize| (page + kind).is_multiple_of(spread.page_step);
        for (kind, name, fill) in [(0, "zeroed", 0), (1, "filled", 0xa5)] {
            if is_due(kind) {
                world.change(&format!("page {page} {name}"), state, |bytes| bytes[here.clone()].fill(fill));
            }
        }
        if is_due(2) {
            let next = (page + 1) % pages;
            world.change(&format!("{OTHER_PAGE}, {page}, in the place of the next"), state, |bytes| bytes.copy_within(here.clone(), next * PAGE_BYTES));
        }
        if is_due(3) {
            world.change(&format!("cut before page {page}"), state, |bytes| bytes.truncate(page * PAGE_BYTES));
        }
        // A write that the disk said it did, and did not.
        if let Some(old) = older.get(here.clone()) {
            world.change(&format!("{OLDER_PAGE} {page}"), state, |bytes| bytes[here.clone()].copy_from_slice(old));
        }
    }
}

fn damage_log(world: &mut World, log: &Path, spread: Spread) {
    let bits = world.bits(log);
    for bit in (0..bits).step_by((bits / spread.state_bits) | 1) {
        world.flip(log, bit);
    }
    let frame_bytes = 24 + PAGE_BYTES;
    let frames = (bits / 8 - 32) / frame_bytes;
    assert!(frames > 20, "a log that holds something");
    for frame in 0..frames {
        let here = 32 + frame * frame_bytes..32 + (frame + 1) * frame_bytes;
        let is_due = |kind: usize| (frame + kind).is_multiple_of(2 * spread.page_step);
        if is_due(0) {
            world.change(&format!("frame {frame} zeroed"), log, |bytes| bytes[here.clone()].fill(0));
        }
        if is_due(1) {
            world.change(&format!("log cut at frame {frame}"), log, |bytes| bytes.truncate(here.start));
        }
        if is_due(2) {
            world.change(&format!("log cut in frame {frame}"), log, |bytes| bytes.truncate(here.start + 100));
        }
        if is_due(3) {
            let next = 32 + (frame + 1) % frames * frame_bytes;
            world.change(&format!("frame {frame} in the place of the next"), log, |bytes| bytes.copy_within(here.clone(), next));
        }
    }
    world.spoiled("no log", |dir| std::fs::remove_file(dir.join(log)).unwrap());
}

fn damage_other_files(world: &mut World, spread: Spread) {
    let files = ["events", "uids", "modules"].map(|folder| world.files(folder));
    for file in files.iter().flatten() {
        let bits = world.bits(file);
        let used = if file.starts_with("events") { bits.min(8 * 2_048) } else { bits };
        for bit in (0..used).step_by((used / spread.file_bits) | 1) {
            world.flip(file, bit);
        }
    }
    for files in &files[..2] {
        for (i, file) in files.iter().enumerate() {
            let next = files[(i + 1) % files.len()].clone();
            world.spoiled(&format!("{} in the place of {}", file.display(), next.display()), |dir| {
                assert!(std::fs::copy(dir.join(file), dir.join(&next)).is_ok())
            });
            world.spoiled(&format!("{} is gone", file.display()), |dir| std::fs::remove_file(dir.join(file)).unwrap());
            world.spoiled(&format!("{} is empty", file.display()), |dir| std::fs::write(dir.join(file), b"").unwrap());
        }
    }
}

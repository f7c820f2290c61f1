//! The state is killed at every call that changes a file, copied while it works, and its log cut at any length: it opens by
//! itself, at one of the states that it had, with every event that this state names and every uid that it counted.

use alertmill_core::event::{Fingerprint, Status, Uid};
use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, EventRole, KnownUids, LogWrite, StoredEvent};
use alertmill_proof::Tier;
use alertmill_proof::processes::{copy, counts, strace};
use alertmill_stores::EmbeddedStore;
use alertmill_stores::embedded::{AlertFilter, EmbeddedOptions};
use alertmill_stores::event_segments::EventRead;
use alertmill_stores::known_uids::UidOptions;
use alertmill_stores::modules::ModuleFiles;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const T: i64 = 1_790_000_000;
/// The script's folder, in the process that is killed.
const SCRIPT_DIR: &str = "ALERTMILL_TEST_CRASH_DIR";
const COMMITS: u64 = 10;

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        event_segment_bytes: 400,
        outbox: false,
        wal_bytes: 16 << 10,
        uids: UidOptions { table_uids_max: 4, ..UidOptions::default() },
        ..EmbeddedOptions::default()
    }
}

/// Two events for an alert that goes on, and one that ends with the commit; days lie between the commits' ends.
fn commit(n: u64) -> Commit {
    let now_s = T + n as i64 * 60;
    let mut one = Commit { from: n - 1, to: n, received_at_ms: now_s * 1_000, ..Commit::default() };
    for i in 0..2u8 {
        let document = format!("{{\"id\":\"e{n}-{i}\"}}");
        let start = one.event_heap.len() as u32;
        one.event_heap.extend_from_slice(document.as_bytes());
        let document = start..one.event_heap.len() as u32;
        one.events.push(StoredEvent { uid: uid(n, i), known_until_s: now_s + 86_400, index_time_s: now_s, document });
    }
    let alert = |seq: u64, revision: u64, ended: Option<i64>| AlertWrite {
        seq,
        id: format!("{T}{seq}").into(),
        tenant: "system".into(),
        status: if ended.is_some() { Status::Closed } else { Status::Abnormal },
        severity: 2,
        alert_name: "disk full".into(),
        fingerprint: Fingerprint([seq as u8; 16]),
        create_time: T,
        begin_time: T,
        latest_time: now_s,
        end_time: ended,
        event_count: revision,
        revision,
        rule_generation: 1,
        document: format!("{{\"seq\":{seq},\"revision\":{revision}}}").into_bytes(),
        state: vec![1; 30],
    };
    // Ended long ago, so that retention may take it.
    one.alerts = vec![alert(1, n, None), alert(100 + n, 1, Some(now_s - 400_000))];
    one.alert_events.push(AlertEvents { seq: 1, events: vec![(0, EventRole::Updated), (1, EventRole::Updated)] });
    one.logs.push(LogWrite { seq: 100 + n, op_type: "CLOSE", create_time: now_s, document: b"{}".to_vec() });
    one
}

fn uid(n: u64, i: u8) -> Uid {
    Uid([n as u8 * 3 + i; 16])
}

/// What the script does, one after the other: each is done whole or not at all, but for the files that a retirement removes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Commit(u64),
    Checkpoint,
    RetireAlert,
    RetireEvents,
    Module(u64),
}

fn script() -> Vec<Step> {
    let mut steps = Vec::new();
    for n in 1..=COMMITS {
        steps.push(Step::Commit(n));
        steps.push(Step::Checkpoint);
        if n % 3 == 0 {
            steps.push(Step::RetireAlert);
            steps.push(Step::Module(n));
        }
        if n % 4 == 0 {
            steps.push(Step::RetireEvents);
        }
    }
    steps
}

fn run(store: &mut EmbeddedStore, modules: &ModuleFiles, step: Step) {
    match step {
        Step::Commit(n) => store.commit_blocking(&commit(n)).unwrap(),
        Step::Checkpoint => assert_eq!(store.checkpoint().unwrap().ordinal(), store.position()),
        Step::RetireAlert => assert_eq!(store.retire_alerts(i64::MAX, 1).unwrap(), 1),
        // All but one, as far as uids allow it.
        Step::RetireEvents => assert_eq!(store.retire_events(0, 0).unwrap().by_age, 0),
        Step::Module(n) => assert_eq!(modules.put(format!("module {n}").as_bytes()).unwrap().len(), 64),
    }
}

/// What readers see: position, alerts with revision and document, lists of events as far as their files are there, logs.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Seen {
    position: u64,
    alerts: BTreeMap<u64, String>,
    logs: usize,
    /// Events of alert 1, newest first.
    events: Vec<String>,
}

fn look(store: &EmbeddedStore) -> Seen {
    let reader = store.reader();
    let mut seen = Seen { position: store.position(), ..Seen::default() };
    for row in reader.list_alerts(&AlertFilter::default(), 100, None, true).unwrap() {
        seen.logs += reader.alert_logs(row.seq, None, 100).unwrap().iter().filter(|log| log.op_type != "CONVERGE").count();
        seen.alerts.insert(row.seq, String::from_utf8(row.document.unwrap()).unwrap());
    }
    for event in reader.alert_events(1, None, 100).unwrap() {
        match event.row {
            EventRead::Found(row) => seen.events.push(String::from_utf8(row.document).unwrap()),
            EventRead::Gone => {}
            EventRead::Damaged => panic!("a committed event is damaged"),
        }
    }
    seen
}

/// The states that the script goes through, the first one before its first step.
fn golden() -> Vec<Seen> {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), options()).unwrap();
    let modules = ModuleFiles::open(&dir.path().join("modules")).unwrap();
    let mut states = vec![look(&store)];
    for step in script() {
        run(&mut store, &modules, step);
        states.push(look(&store));
    }
    states
}

/// Opens what a crash left and compares it with the states that are allowed: those since the last step that was done.
fn judge(what: &str, dir: &Path, golden: &[Seen], done: std::ops::RangeInclusive<usize>) -> u64 {
    let (mut store, restored) = EmbeddedStore::open_with(dir, options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let seen = look(&store);
    assert_eq!(seen.position, restored.position, "{what}");
    let report = store.report();
    assert!(!report.event_rows_missing && !report.uids_forgotten && report.damaged_event_files == 0, "{what}: {report:?}");
    let is_like = |state: &Seen| {
        // How many event files retention removed is a question of when uids came into their files; those that are there are a
        // beginning of the list, newest first, which no removal cuts shorter than the file that is written.
        let (fewer, more) = if state.events.len() < seen.events.len() { (&state.events, &seen.events) } else { (&seen.events, &state.events) };
        let is_same = Seen { events: Vec::new(), ..state.clone() } == Seen { events: Vec::new(), ..seen.clone() };
        is_same && more.starts_with(fewer) && (seen.position == 0 || !seen.events.is_empty())
    };
    let allowed = &golden[*done.start()..=(*done.end()).min(golden.len() - 1)];
    assert!(allowed.iter().any(is_like), "{what}: {seen:?} is none of {allowed:?}");
    let uids: Vec<Uid> = (1..=COMMITS).flat_map(|n| [uid(n, 0), uid(n, 1)]).collect();
    let known = store.known_until_s(&uids).unwrap();
    for (i, known) in known.iter().enumerate() {
        assert_eq!(known.is_some(), (i as u64) < seen.position * 2, "{what}: uid {i} at position {}", seen.position);
    }
    let modules = ModuleFiles::open(&dir.join("modules")).unwrap();
    for digest in modules.list().unwrap() {
        assert!(modules.get(&digest).unwrap().is_some(), "{what}: a half module");
    }
    // It goes on from there.
    for n in seen.position + 1..=COMMITS {
        store.commit_blocking(&commit(n)).unwrap();
    }
    seen.position
}

/// The script, in a process of its own that notes each step that is done.
#[test]
#[ignore = "run by the other tests, in processes that they kill"]
fn script_that_is_killed() {
    let dir = PathBuf::from(std::env::var_os(SCRIPT_DIR).expect("run by the other tests"));
    let (mut store, _) = EmbeddedStore::open_with(&dir.join("data"), options()).unwrap();
    let modules = ModuleFiles::open(&dir.join("data/modules")).unwrap();
    let mut done = std::fs::File::create(dir.join("done")).unwrap();
    for step in script() {
        run(&mut store, &modules, step);
        std::io::Write::write_all(&mut done, b"x").unwrap();
    }
}

const CALLS: [&str; 10] = ["openat", "write", "pwrite64", "fdatasync", "fsync", "rename", "unlink", "mkdir", "ftruncate", "fallocate"];

/// Runs the script under strace with these options, in `dir`.
fn traced(dir: &Path, strace_options: &[&str]) -> bool {
    let mut command = Command::new(strace());
    command.args(strace_options).arg(std::env::current_exe().unwrap()).args([
        "--exact",
        "script_that_is_killed",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(SCRIPT_DIR, dir).output().expect("strace runs").status.success()
}

fn scratch() -> tempfile::TempDir {
    // A killed process leaves the page cache as it is: nothing of this is about what a disk keeps.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

#[test]
fn killed_at_any_call_it_is_a_state_that_it_had() {
    killed(6, Tier::Ci);
}

#[test]
#[ignore = "long: killed at each of its calls"]
fn killed_at_every_call_it_is_a_state_that_it_had() {
    killed(u64::MAX, Tier::Hand);
}

/// Kills at up to `most_of_a_kind` calls of each kind, spread evenly.
fn killed(most_of_a_kind: u64, tier: Tier) {
    let golden = golden();
    let dir = scratch();
    let log = dir.path().join("calls");
    let trace = format!("trace={}", CALLS.join(","));
    assert!(traced(dir.path(), &["-ff", "-qq", "-o", log.to_str().unwrap(), "-e", &trace]));
    let most = counts(&CALLS, dir.path());
    let (mut kills, mut positions) = (0u64, BTreeMap::new());
    for (call, count) in &most {
        let step = (count / most_of_a_kind).max(1);
        for n in (1..=*count).step_by(step as usize) {
            let dir = scratch();
            if traced(dir.path(), &["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=SIGKILL:when={n}")]) {
                continue;
            }
            kills += 1;
            let done = dir.path().join("done").metadata().map_or(0, |done| done.len() as usize);
            // The next step may be done too, and only its note be what was killed.
            let position = judge(&format!("{call} {n}"), &dir.path().join("data"), &golden, done..=done + 1);
            *positions.entry(position).or_insert(0u64) += 1;
        }
    }
    assert!(positions.len() > COMMITS as usize / 2, "kills fall everywhere: {positions:?}");
    let calls: u64 = most.values().sum();
    alertmill_proof::record("embedded-crashes", tier, &[("calls", &calls), ("kills", &kills), ("lost", &0), ("doubled", &0), ("half_states", &0)]);
}

/// A folder copied while a store works in it, with a log that holds everything.
fn hot(dir: &Path) -> Vec<Seen> {
    let work = scratch();
    let (mut store, _) = EmbeddedStore::open_with(work.path(), EmbeddedOptions { wal_bytes: 64 << 20, ..options() }).unwrap();
    let mut states = vec![look(&store)];
    for n in 1..=COMMITS {
        store.commit_blocking(&commit(n)).unwrap();
        states.push(look(&store));
    }
    copy(work.path(), dir);
    states
}

#[test]
fn a_hot_log_cut_anywhere_is_an_earlier_commit() {
    let source = scratch();
    let states = hot(source.path());
    let log = std::fs::read(source.path().join("state.sqlite-wal")).unwrap();
    let frame = 24 + 4096;
    // Each boundary of a frame and both sides of it, and a grid between.
    let boundaries = (0..).map(|i| 32 + i * frame).take_while(|at| *at <= log.len()).flat_map(|at| [at.saturating_sub(1), at, (at + 1).min(log.len())]);
    let mut cuts: Vec<usize> = boundaries.chain((0..log.len()).step_by(5_003)).chain([0, 16, 31]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut seen = BTreeMap::new();
    let mut opened = 0;
    let mut check = |what: &str, change: &dyn Fn(&Path)| {
        let dir = scratch();
        copy(source.path(), dir.path());
        change(dir.path());
        let position = judge(what, dir.path(), &states, 0..=states.len() - 1);
        *seen.entry(position).or_insert(0u64) += 1;
        opened += 1;
        position
    };
    for cut in &cuts {
        check(&format!("log cut at {cut}"), &|dir| std::fs::write(dir.join("state.sqlite-wal"), &log[..*cut]).unwrap());
    }
    for at in (32..log.len()).step_by(frame * 3 + 17) {
        check(&format!("log torn at {at}"), &|dir| {
            let mut torn = log.clone();
            let end = (at + 512).min(log.len());
            torn[at..end].fill(0);
            std::fs::write(dir.join("state.sqlite-wal"), torn).unwrap();
        });
    }
    let index = |dir: &Path| dir.join("state.sqlite-shm");
    assert_eq!(check("log without its index", &|dir| std::fs::remove_file(index(dir)).unwrap()), COMMITS);
    assert_eq!(check("an index of something else", &|dir| std::fs::write(index(dir), [7; 32_768]).unwrap()), COMMITS);
    assert_eq!(check("all of it", &|_| {}), COMMITS);
    assert!(seen.len() == COMMITS as usize + 1, "every commit is the last one of some cut: {seen:?}");
    println!("embedded-crashes: {opened} logs cut or torn opened at {} positions", seen.len());
}

/// Between the event file and the commit, and between the commit and the uids.
#[test]
fn between_files_it_is_one_side_or_the_other() {
    let source = scratch();
    let states = hot(source.path());
    let before = scratch();
    let work = scratch();
    let (mut store, _) = EmbeddedStore::open_with(work.path(), EmbeddedOptions { wal_bytes: 64 << 20, ..options() }).unwrap();
    for n in 1..COMMITS {
        store.commit_blocking(&commit(n)).unwrap();
    }
    copy(work.path(), before.path());
    store.commit_blocking(&commit(COMMITS)).unwrap();
    let after = scratch();
    copy(work.path(), after.path());
    for (what, newer, expected) in [
        ("events synced, nothing committed", &["events"][..], COMMITS - 1),
        ("events and uids, nothing committed", &["events", "uids"], COMMITS - 1),
        ("events and commit, no uids", &["events", "state.sqlite", "state.sqlite-wal"], COMMITS),
    ] {
        let dir = scratch();
        copy(before.path(), dir.path());
        for part in newer {
            let (from, to) = (after.path().join(part), dir.path().join(part));
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(from, to).unwrap();
            }
        }
        // The index is of the other commit.
        let _ = std::fs::remove_file(dir.path().join("state.sqlite-shm"));
        assert_eq!(judge(what, dir.path(), &states, 0..=states.len() - 1), expected, "{what}");
    }
}

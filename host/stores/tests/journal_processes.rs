//! A real process with a journal under strace: killed at each system call that changes a file, its syncs failing one after the
//! other, its recovery killed too. The process is the example `journal_script`; it prints what was acknowledged.
//!
//! strace counts the calls of each thread on its own, so the thread that opens and releases is driven apart from the one that
//! writes, and from the one that makes files ahead and seals those behind; these are attached to once they are there.

use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use alertmill_proof::Tier;
use alertmill_proof::processes::{copy, strace};
use alertmill_stores::embedded::SyncedPosition;
use alertmill_stores::journal::{Gap, JournalDir, JournalOptions};
use alertmill_stores::port_suite::{block_on, record_body};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Records of a script, of twenty items each: 2,000 events.
const RECORDS: u64 = 100;
const ITEMS: usize = 20;
/// Calls that change a file, a folder or what is said on stdout, and openat, which makes files.
const CALLS: [&str; 11] = ["openat", "write", "pwrite64", "fdatasync", "fsync", "rename", "unlink", "mkdir", "ftruncate", "fallocate", "linkat"];

fn script() -> PathBuf {
    let deps = std::env::current_exe().expect("this test");
    let path = deps.ancestors().nth(2).expect("the profile's folder").join("examples/journal_script");
    assert!(path.exists(), "{} is not there; `cargo test -p alertmill-stores` builds it", path.display());
    path
}

/// In memory where there is such a folder: a kill keeps what the kernel has, so nothing here needs a disk.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).expect("a folder") } else { tempfile::tempdir().expect("a folder") }
}

/// What a script said until it ended.
#[derive(Debug, Default)]
struct Said {
    acked: Vec<u64>,
    /// The last position that was synced before segments were released behind it.
    position: u64,
    refused: Vec<String>,
    /// It came to its end.
    unharmed: bool,
}

impl Said {
    fn read(out: impl Read) -> Said {
        let mut said = Said::default();
        for line in BufReader::new(out).lines() {
            let line = line.expect("a line");
            match line.split_once(' ') {
                Some(("acked", n)) => said.acked.push(n.parse().expect("an ordinal")),
                Some(("position", n)) => said.position = n.parse().expect("an ordinal"),
                Some(("refused", why)) => said.refused.push(why.to_owned()),
                // The last thing that `script` and `open` say.
                None if line == "end" => said.unharmed = true,
                Some(("found", _)) => said.unharmed = true,
                _ => assert!(line == "opened" || line.starts_with("not removed"), "{line}"),
            }
        }
        said
    }
}

/// Runs the script under strace, which sees its first thread: the one that opens and releases. Gives what strace saw, too.
fn first_thread(dir: &Path, args: &[&str], injection: &str) -> (Said, String) {
    let call = injection.split(':').next().unwrap_or_default();
    let log = dir.with_extension("strace");
    let mut command = Command::new(strace());
    command.args(["-qq", "-s", "0", "-o", &log.display().to_string(), "-e", &format!("trace={call}"), "-e", &format!("inject={injection}")]);
    let mut child = command.arg(script()).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("strace runs");
    let said = Said::read(child.stdout.take().expect("stdout"));
    child.wait().expect("ends");
    let seen = fs::read_to_string(&log).expect("what strace saw");
    fs::remove_file(log).expect("its file");
    (said, seen)
}

/// The thread that writes.
const WRITER: &str = "journal";
/// The thread that makes the next file and seals the last one.
const ASIDE: &str = "journal-files";

/// Runs the script and attaches strace to a thread of it before the first append. Gives what strace saw, too.
fn one_thread(thread: &str, dir: &Path, records: u64, injection: &str, trace: &str) -> (Said, String) {
    let log = dir.with_extension("strace");
    let (records, shown) = (records.to_string(), dir.display().to_string());
    let mut command = Command::new(script());
    let mut child = command.args(["script", &shown, &records, "wait"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the script runs");
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    let mut opened = String::new();
    out.read_line(&mut opened).expect("a line");
    assert_eq!(opened, "opened\n");
    let mut tracer =
        attach(&child, thread, &["-y", "-s", "0", "-o", &log.display().to_string(), "-e", &format!("trace={trace}"), "-e", &format!("inject={injection}")]);
    child.stdin.take().expect("stdin").write_all(b"\n").expect("it waits");
    let said = Said::read(out);
    child.wait().expect("ends");
    tracer.wait().expect("strace ends with it");
    let seen = fs::read_to_string(&log).expect("what strace saw");
    fs::remove_file(log).expect("its file");
    (said, seen)
}

fn attach(child: &Child, thread: &str, args: &[&str]) -> Child {
    let tasks = PathBuf::from(format!("/proc/{}/task", child.id()));
    let is_it = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread);
    let deadline = Instant::now() + Duration::from_secs(60);
    // A thread gives itself its name.
    let thread = loop {
        let mut threads = fs::read_dir(&tasks).expect("threads").map(|task| task.expect("a thread").path());
        if let Some(thread) = threads.find(is_it) {
            break thread;
        }
        assert!(Instant::now() < deadline, "no thread of that name");
        std::thread::yield_now();
    };
    let thread = thread.file_name().expect("its number").to_str().expect("its number").to_owned();
    let mut tracer = Command::new(strace()).args(args).args(["-p", &thread]).stderr(Stdio::piped()).spawn().expect("strace runs");
    let mut words = BufReader::new(tracer.stderr.take().expect("stderr"));
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        assert!(words.read_line(&mut line).expect("a line") > 0, "strace could not attach; it needs to be root, or kernel.yama.ptrace_scope = 0");
    }
    // Read on, so that strace never waits for us.
    std::thread::spawn(move || words.read_to_string(&mut String::new()));
    tracer
}

/// Opens a journal for a state at `position` and reads what is behind it: all of it is there, once, in order, as it was sent.
/// Gives the last ordinal.
#[track_caller]
fn all_there(dir: &Path, said: &Said, what: &str) -> u64 {
    let options = JournalOptions { segment_bytes: 16 << 10, position: said.position, ..JournalOptions::default() };
    let (_journal, mut reader, report) = JournalDir::open(dir, options).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.gaps.is_empty() && report.fenced.is_empty() && !report.behind_state && !report.identity_replaced, "{what}: {report:?}");
    assert!(said.acked.iter().copied().eq(1..=said.acked.len() as u64), "{what}: acknowledged twice or out of order: {:?}", said.acked);
    let last_acked = said.acked.len() as u64;
    assert!(report.last_ordinal >= last_acked, "{what}: lost: {last_acked} was acknowledged, and {} is the last", report.last_ordinal);
    let mut next = said.position + 1;
    assert_eq!(reader.next_ordinal(), next, "{what}");
    while next <= report.last_ordinal {
        for journaled in reader.next_blocking(usize::MAX).unwrap_or_else(|error| panic!("{what}: {error}")) {
            assert_eq!((journaled.record.ordinal, &journaled.record.body), (next, &record_body(next, ITEMS)), "{what}");
            next += 1;
        }
    }
    report.last_ordinal
}

/// Runs `work` for 1, 2, 3, ... on two threads until one says that there was nothing to do any more. Gives how many did.
fn until_unharmed(work: impl Fn(u64) -> bool + Sync) -> u64 {
    let end = Mutex::new(u64::MAX);
    let work = |first: u64| {
        let mut n = first;
        while n < *end.lock().expect("no panic") {
            if work(n) {
                n += 2;
            } else {
                let mut end = end.lock().expect("no panic");
                *end = n.min(*end);
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(2));
        work(1);
        other.join().expect("no panic");
    });
    end.into_inner().expect("no panic") - 1
}

#[test]
fn killed_at_each_system_call_nothing_acknowledged_is_lost() {
    let began = Instant::now();
    let mut kills = BTreeMap::new();
    for call in CALLS {
        let opening = until_unharmed(|n| {
            let (dir, what) = (scratch(), format!("first thread, {call} {n}"));
            let folder = dir.path().join("journal");
            let args = ["script", &folder.display().to_string(), &RECORDS.to_string()];
            let (said, _) = first_thread(&folder, &args, &format!("{call}:signal=SIGKILL:when={n}"));
            all_there(&folder, &said, &what);
            !said.unharmed
        });
        let [writing, aside] = [WRITER, ASIDE].map(|thread| {
            until_unharmed(|n| {
                let (dir, what) = (scratch(), format!("{thread}, {call} {n}"));
                let folder = dir.path().join("journal");
                let (said, _) = one_thread(thread, &folder, RECORDS, &format!("{call}:signal=SIGKILL:when={n}"), call);
                all_there(&folder, &said, &what);
                !said.unharmed
            })
        });
        println!("{call}: {opening} of the first thread, {writing} of the writer, {aside} beside it");
        kills.insert(call, opening + writing + aside);
    }
    // Every kind of call was there, and the folder's first start as well.
    for call in CALLS.iter().filter(|call| **call != "linkat") {
        assert!(kills[call] > 0, "no {call} was ever reached");
    }
    let total: u64 = kills.values().sum();
    assert!(total > 300, "{kills:?}");
    let recovery = recovery_is_killed();
    alertmill_proof::record(
        "journal-syscalls",
        Tier::Ci,
        &[
            ("events_of_the_script", &(RECORDS as usize * ITEMS)),
            ("kills", &total),
            ("kills_of_recovery", &recovery.0),
            ("recoveries_killed_three_times", &recovery.1),
            ("lost", &0),
            ("doubled", &0),
            ("took_ms", &began.elapsed().as_millis()),
        ],
    );
}

/// A folder that gives a start much to do: a damaged file in the middle, one under another's name, a torn tail, a last group
/// that may not be synced, a half-made file.
fn damaged(dir: &Path) {
    let work = scratch();
    let options = || JournalOptions { segment_bytes: 4096, ..JournalOptions::default() };
    let (journal, reader, _) = JournalDir::open(work.path(), options()).expect("opens");
    for n in 1..=30 {
        block_on(journal.append(record_body(n, ITEMS), None)).expect("append");
    }
    copy(work.path(), dir);
    drop((journal, reader));
    let files = segments(dir);
    let mut bytes = fs::read(&files[2]).expect("a segment");
    bytes[64 + 32 + 700] ^= 4;
    fs::write(&files[2], bytes).expect("a segment");
    let name = files[4].file_name().expect("a name").to_str().expect("a name").to_owned();
    fs::rename(&files[4], dir.join(format!("{}f{}", &name[..21], &name[22..]))).expect("renamed");
    let last = &files[files.len() - 1];
    let mut bytes = fs::read(last).expect("a segment");
    let end = bytes.len();
    bytes[end - 400..end - 300].fill(7);
    fs::write(last, bytes).expect("a segment");
    fs::write(dir.join("half.unfinished"), b"half").expect("a file");
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    files.sort();
    files
}

/// Everything that a start finds: what is missing, and the rest.
fn found(dir: &Path, what: &str) -> (Vec<Gap>, Vec<(u64, RecordBody)>) {
    let (_journal, mut reader, report) =
        JournalDir::open(dir, JournalOptions { segment_bytes: 4096, ..JournalOptions::default() }).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut records = Vec::new();
    while reader.next_ordinal() <= report.last_ordinal {
        let some = reader.next_blocking(usize::MAX).unwrap_or_else(|error| panic!("{what}: {error}"));
        records.extend(some.into_iter().map(|journaled| (journaled.record.ordinal, journaled.record.body)));
    }
    (report.gaps, records)
}

fn recovery_is_killed() -> (u64, u64) {
    let template = scratch();
    damaged(template.path());
    let reference = scratch();
    copy(template.path(), reference.path());
    let expected = found(reference.path(), "unharmed");
    assert!(expected.0.len() == 1 && expected.0[0].first == expected.0[0].last && expected.1.len() == 30, "{:?}", expected.0);
    let start = |dir: &Path, call: &str, n: u64| first_thread(dir, &["open", &dir.display().to_string(), "0"], &format!("{call}:signal=SIGKILL:when={n}")).0;
    let kills: Vec<(&str, u64)> = CALLS
        .into_iter()
        .map(|call| {
            let kills = until_unharmed(|n| {
                let dir = scratch();
                copy(template.path(), dir.path());
                let killed = !start(dir.path(), call, n).unharmed;
                assert_eq!(found(dir.path(), call), expected, "recovery killed at {call} {n}");
                killed
            });
            (call, kills)
        })
        .collect();
    println!("recovery: {kills:?}");
    let reached: Vec<(&str, u64)> = kills.iter().copied().filter(|(_, kills)| *kills > 0).collect();
    let total = kills.iter().map(|(_, kills)| kills).sum();
    let nested = 40u64;
    for seed in 0..nested {
        let dir = scratch();
        copy(template.path(), dir.path());
        for depth in 0..3 {
            let (call, most) = reached[(seed * 3 + depth) as usize % reached.len()];
            start(dir.path(), call, 1 + (seed * 7 + depth * 5) % most);
        }
        assert_eq!(found(dir.path(), "three kills"), expected, "seed {seed}");
    }
    (total, nested)
}

/// What strace saw of one file: what was written to it and not synced, until a sync failed.
#[derive(Default)]
struct Traced {
    unsynced: Vec<(u64, u64)>,
    failed: bool,
}

/// Reads lines such as `pwrite64(5</dir/x.journal>, ""..., 720, 64) = 720`. A file whose sync failed is never touched again.
fn traced(seen: &str, what: &str) -> BTreeMap<PathBuf, Traced> {
    let mut files: BTreeMap<PathBuf, Traced> = BTreeMap::new();
    for line in seen.lines() {
        let (Some((call, rest)), Some((arguments, answer))) = (line.split_once('('), line.rsplit_once(" = ")) else { continue };
        let Some(path) = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| PathBuf::from(path)) else { continue };
        // A folder is synced anew for each name, and a watermark that failed is a new file under the same one.
        if path.is_dir() || path.ends_with("watermark") {
            continue;
        }
        let file = files.entry(path).or_default();
        assert!(!file.failed, "{what}: used after its sync had failed: {line}");
        match call {
            "pwrite64" => {
                let numbers = arguments.trim_end().trim_end_matches(')').rsplit(", ").take(2).map(|number| number.parse().expect("a number"));
                let numbers: Vec<u64> = numbers.collect();
                file.unsynced.push((numbers[0], numbers[1]));
            }
            _ if answer.starts_with('0') => file.unsynced.clear(),
            _ => file.failed = true,
        }
    }
    files
}

/// The kernel may have thrown away what a failed sync should have written: it is zeros now.
fn lose_unsynced(files: &BTreeMap<PathBuf, Traced>) -> u64 {
    let mut lost = 0;
    for (path, traced) in files.iter().filter(|(_, traced)| traced.failed) {
        // What could not be created was removed again.
        let Ok(mut bytes) = fs::read(path) else { continue };
        for (at, length) in &traced.unsynced {
            let end = ((at + length) as usize).min(bytes.len());
            bytes[(*at as usize).min(end)..end].fill(0);
            lost += u64::from(path.extension().is_some_and(|extension| extension == "journal"));
        }
        fs::write(path, bytes).expect("the file");
    }
    lost
}

#[test]
fn each_of_two_hundred_syncs_fails_once_and_for_ever() {
    const SYNCS: u64 = 200;
    const TRACE: &str = "pwrite64,fdatasync,fsync";
    let began = Instant::now();
    let (failures, losses, unharmed) = (Mutex::new(0), Mutex::new(0), Mutex::new(0));
    let mut tried = BTreeMap::new();
    for (when, once) in [("", true), ("+", false)] {
        for call in ["fsync", "fdatasync"] {
            let done: u64 = *tried.get(when).unwrap_or(&0);
            let count = until_unharmed(|n| {
                if done + n > SYNCS {
                    return false;
                }
                let (dir, what) = (scratch(), format!("{call} {n}{when}"));
                let folder = dir.path().join("journal");
                // As many as it takes to get there, and some more.
                let records = if call == "fsync" { 280 } else { n * 3 / 2 + 30 };
                let (said, seen) = one_thread(WRITER, &folder, records, &format!("{call}:error=EIO:when={n}{when}"), TRACE);
                assert!(said.unharmed, "{what}: it goes on: {said:?}");
                let files = traced(&seen, &what);
                let failed = files.values().filter(|file| file.failed).count();
                if failed == 0 {
                    return false;
                }
                *failures.lock().expect("no panic") += failed;
                *losses.lock().expect("no panic") += lose_unsynced(&files);
                if once {
                    // One failure refuses at most one group, whose segment could not be made; the sender comes again.
                    assert!(said.refused.len() <= 4 && (said.acked.len() + said.refused.len()) as u64 == records, "{what}: {said:?}");
                    *unharmed.lock().expect("no panic") += u64::from(said.refused.is_empty());
                }
                contents_there(&folder, &said, &what);
                true
            });
            *tried.entry(when).or_default() += count;
        }
    }
    assert_eq!((tried[""], tried["+"]), (SYNCS, SYNCS), "the script syncs so often");
    // The thread that opens and releases: it refuses to open, or says what it could not remove, and a later start finds all.
    let opening: u64 = ["", "+"]
        .map(|when| {
            until_unharmed(|n| {
                let (dir, what) = (scratch(), format!("first thread, fsync {n}{when}"));
                let folder = dir.path().join("journal");
                let args = ["script", &folder.display().to_string(), "100"];
                let (said, seen) = first_thread(&folder, &args, &format!("fsync:error=EIO:when={n}{when}"));
                all_there(&folder, &said, &what);
                seen.contains("INJECTED")
            })
        })
        .iter()
        .sum();
    assert!(opening > 10, "{opening}");
    // What is made ahead can be made when it is wanted, and a file that is not sealed holds as much: nobody is refused.
    let mut beside = 0;
    for (call, when) in [("fsync", ""), ("fsync", "+"), ("fdatasync", ""), ("fdatasync", "+")] {
        beside += until_unharmed(|n| {
            let (dir, what) = (scratch(), format!("{ASIDE}, {call} {n}{when}"));
            let folder = dir.path().join("journal");
            let (said, seen) = one_thread(ASIDE, &folder, 100, &format!("{call}:error=EIO:when={n}{when}"), TRACE);
            assert!(said.unharmed && said.refused.is_empty(), "{what}: {said:?}");
            lose_unsynced(&traced(&seen, &what));
            all_there(&folder, &said, &what);
            seen.contains("INJECTED")
        });
    }
    assert!(beside > 10, "{beside}");
    alertmill_proof::record(
        "journal-fsyncs",
        Tier::Ci,
        &[
            ("failed_once", &tried[""]),
            ("failed_for_ever", &tried["+"]),
            ("failed_while_opening_or_releasing", &opening),
            ("failed_while_making_ahead_or_sealing", &beside),
            ("syncs_that_failed", &*failures.lock().expect("no panic")),
            ("unsynced_groups_thrown_away", &*losses.lock().expect("no panic")),
            ("single_failures_that_refused_nobody", &*unharmed.lock().expect("no panic")),
            ("acknowledged_after_a_failed_sync_and_lost", &0),
            ("files_used_after_a_failed_sync", &0),
            ("took_ms", &began.elapsed().as_millis()),
        ],
    );
}

#[test]
fn each_call_is_refused_once_and_the_journal_goes_on() {
    let began = Instant::now();
    let mut refusals = 0;
    for (call, error) in [
        ("openat", "EMFILE"),
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EINTR"),
        ("fdatasync", "EINTR"),
        ("fsync", "EDQUOT"),
        ("rename", "EIO"),
        ("unlink", "EIO"),
        ("ftruncate", "EIO"),
        ("fallocate", "ENOSPC"),
    ] {
        refusals += until_unharmed(|n| {
            let (dir, what) = (scratch(), format!("writer, {call} {n}: {error}"));
            let folder = dir.path().join("journal");
            let (said, seen) = one_thread(WRITER, &folder, RECORDS, &format!("{call}:error={error}:when={n}"), call);
            assert!(said.unharmed && said.refused.len() <= 4, "{what}: it goes on: {said:?}");
            assert!(error != "EINTR" || said.refused.is_empty(), "{what}: an interruption is no failure: {said:?}");
            contents_there(&folder, &said, &what);
            seen.contains("INJECTED")
        });
    }
    for (call, error) in [("openat", "EMFILE"), ("fallocate", "ENOSPC"), ("pwrite64", "ENOSPC"), ("ftruncate", "EIO"), ("unlink", "EIO")] {
        refusals += until_unharmed(|n| {
            let (dir, what) = (scratch(), format!("{ASIDE}, {call} {n}: {error}"));
            let folder = dir.path().join("journal");
            let (said, seen) = one_thread(ASIDE, &folder, RECORDS, &format!("{call}:error={error}:when={n}"), call);
            assert!(said.unharmed && said.refused.is_empty(), "{what}: it is made when it is wanted: {said:?}");
            all_there(&folder, &said, &what);
            seen.contains("INJECTED")
        });
    }
    // What opens and releases: a start may be refused with words, and what cannot be removed is removed another time.
    for (call, error) in [("openat", "EMFILE"), ("mkdir", "ENOSPC"), ("rename", "EIO"), ("unlink", "EIO"), ("fallocate", "ENOSPC"), ("pwrite64", "ENOSPC")] {
        refusals += until_unharmed(|n| {
            let (dir, what) = (scratch(), format!("first thread, {call} {n}: {error}"));
            let folder = dir.path().join("journal");
            let (said, seen) =
                first_thread(&folder, &["script", &folder.display().to_string(), &RECORDS.to_string()], &format!("{call}:error={error}:when={n}"));
            all_there(&folder, &said, &what);
            seen.contains("INJECTED")
        });
    }
    alertmill_proof::record(
        "journal-refused-calls",
        Tier::Ci,
        &[("refusals", &refusals), ("lost", &0), ("doubled", &0), ("took_ms", &began.elapsed().as_millis())],
    );
}

/// As [`all_there`], when some appends were refused: ordinals are then behind the script's own numbers.
#[track_caller]
fn contents_there(dir: &Path, said: &Said, what: &str) {
    let options = JournalOptions { segment_bytes: 16 << 10, position: said.position, ..JournalOptions::default() };
    let (_journal, mut reader, report) = JournalDir::open(dir, options).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.gaps.is_empty() && report.fenced.is_empty(), "{what}: {report:?}");
    assert!(said.acked.iter().copied().eq(1..=said.acked.len() as u64), "{what}: {:?}", said.acked);
    assert!(report.last_ordinal >= said.acked.len() as u64, "{what}: lost: {} of {}", report.last_ordinal, said.acked.len());
    let (mut next, mut number) = (said.position + 1, 0);
    while next <= report.last_ordinal {
        for journaled in reader.next_blocking(usize::MAX).unwrap_or_else(|error| panic!("{what}: {error}")) {
            assert_eq!(journaled.record.ordinal, next, "{what}");
            let own = (number + 1..=400).find(|n| record_body(*n, ITEMS) == journaled.record.body);
            number = own.unwrap_or_else(|| panic!("{what}: record {next} was sent before, or never"));
            next += 1;
        }
    }
}

#[test]
fn a_second_process_is_refused_and_changes_nothing() {
    let dir = scratch();
    let (journal, mut reader, _) = JournalDir::open(dir.path(), JournalOptions::default()).expect("opens");
    block_on(journal.append(record_body(1, ITEMS), None)).expect("append");
    let listed = || segments(dir.path());
    let before = listed();
    let second = Command::new(script()).args(["open", &dir.path().display().to_string(), "0"]).output().expect("runs");
    assert_eq!(second.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another process"), "{second:?}");
    assert_eq!(listed(), before);
    block_on(journal.append(record_body(2, ITEMS), None)).expect("append");
    // A sender has its answer a moment before the reader has the record.
    let mut read = 0;
    while reader.next_ordinal() <= 2 {
        read += reader.next_blocking(usize::MAX).expect("reads").len();
    }
    assert_eq!(read, 2);
    assert_eq!(journal.release(SyncedPosition::vouched(2)).expect("released"), 0);
}

#[test]
fn journals_of_earlier_versions_are_read_to_the_letter() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut read = 0;
    for entry in fs::read_dir(fixtures).expect("fixtures") {
        let fixture = entry.expect("a fixture").path();
        let expected = fs::read_to_string(fixture.join("records.txt")).unwrap_or_else(|error| panic!("{}: {error}", fixture.display()));
        let dir = scratch();
        copy(&fixture, dir.path());
        // A second start reads the same from what the first one made of it.
        for _ in 0..2 {
            let output = Command::new(script()).args(["read", &dir.path().display().to_string()]).output().expect("runs");
            assert!(output.status.success(), "{output:?}");
            let found = String::from_utf8(output.stdout).expect("text");
            assert!(found == expected, "{}:\n{found}", fixture.display());
        }
        read += 1;
    }
    assert!(read > 0, "no fixtures");
}

/// A process that is never killed, as the measure of what the script does.
#[test]
fn the_script_comes_to_its_end() {
    let dir = scratch();
    let folder = dir.path().join("journal");
    let began = Instant::now();
    let output = Command::new(script()).args(["script", &folder.display().to_string(), &RECORDS.to_string()]).output().expect("runs");
    let said = Said::read(&output.stdout[..]);
    assert!(said.unharmed && said.acked.len() as u64 == RECORDS && said.position > 0 && said.refused.is_empty(), "{said:?}");
    assert_eq!(all_there(&folder, &said, "unharmed"), RECORDS);
    assert!(segments(&folder).len() > 1 && began.elapsed() < Duration::from_secs(60));
}

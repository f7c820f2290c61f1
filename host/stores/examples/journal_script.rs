//! A journal in a process of its own, for the tests that kill it or let its system calls fail, and the maker of their fixtures.
//!
//! - `script DIR RECORDS [wait]` opens the journal in DIR, appends records and prints each ordinal as soon as it is
//!   acknowledged, removes segments in between, closes and prints `end`. With `wait` it appends when a line comes in;
//! - `open DIR POSITION` opens it for a state at that position, prints what was found, and ends;
//! - `read DIR` prints all records as in the list of a fixture;
//! - `fixture DIR` writes a journal with every record kind and every kind of file, and beside it what must be read of it:
//!   `cargo run --release -p alertmill-stores --example journal_script -- fixture host/stores/tests/fixtures/journal-vN`.
//!
//! Ends with 3 when the journal has stopped for good.

use alertmill_core::command::{Action, AlertRef, Command};
use alertmill_core::letter::{Arrival, ArrivalBy, Redrive, RedrivenLetter};
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::{Door, DoorCounts, Items, RawPayload, RecordBody};
use alertmill_core::rule_set::{Change, ChangeAction, Origin, Quarantine, Released, RuleEntry, RuleSet, RuleVersion};
use alertmill_core::verdict::{Hook, Place, Policy, Verdict, Verdicts};
use alertmill_core::version_change::{VersionAction, VersionChange, VersionSignature};
use alertmill_stores::embedded::SyncedPosition;
use alertmill_stores::journal::{Clock, JournalDir, JournalOptions, JournalReader};
use alertmill_stores::port_suite::{block_on, record_body};
use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// Items of each record.
const ITEMS: usize = 20;
/// Segments hold some ten records, so that a script changes them often.
const SEGMENT_BYTES: u64 = 16 << 10;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["script", dir, records] => script(Path::new(dir), number(records), false),
        ["script", dir, records, "wait"] => script(Path::new(dir), number(records), true),
        ["open", dir, position] => open(Path::new(dir), number(position)),
        ["read", dir] => read(Path::new(dir)),
        ["fixture", dir] => fixture(Path::new(dir)),
        _ => {
            eprintln!("say script DIR RECORDS [wait], open DIR POSITION, read DIR or fixture DIR");
            ExitCode::from(2)
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn options(position: u64) -> JournalOptions {
    JournalOptions { segment_bytes: SEGMENT_BYTES, position, ..JournalOptions::default() }
}

/// One line, at once: what stands there was said before anything that follows.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).expect("stdout");
    out.flush().expect("stdout");
}

fn script(dir: &Path, records: u64, wait: bool) -> ExitCode {
    let (journal, reader, report) = match JournalDir::open(dir, options(0)) {
        Ok(open) => open,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(4);
        }
    };
    say("opened");
    if wait {
        std::io::stdin().read_line(&mut String::new()).expect("stdin");
    }
    let first = report.last_ordinal + 1;
    let mut n = first;
    while n < first + records {
        // Mostly one by one, now and then several in one group.
        let together = if n % 10 == 0 { 4.min(first + records - n) } else { 1 };
        let waiting: Vec<_> = (n..n + together).map(|n| journal.append(record_body(n, ITEMS), None)).collect();
        for append in waiting {
            if let Err(error) = answered(append) {
                say(&format!("refused {error}"));
                if matches!(error, PortError::Fatal(_)) {
                    return ExitCode::from(3);
                }
            }
        }
        n += together;
        if n % 20 < together {
            // Everything but the last few is folded, and the state that says so is synced.
            let position = journal.counts().last_ordinal.saturating_sub(5);
            say(&format!("position {position}"));
            if let Err(error) = journal.release(SyncedPosition::vouched(position)) {
                say(&format!("not removed: {error}"));
            }
        }
    }
    drop(reader);
    journal.close();
    say("end");
    ExitCode::SUCCESS
}

fn answered(append: impl Future<Output = Result<Appended, PortError>>) -> Result<(), PortError> {
    let appended = block_on(append)?;
    say(&format!("acked {}", appended.ordinal));
    Ok(())
}

fn open(dir: &Path, position: u64) -> ExitCode {
    match JournalDir::open(dir, options(position)) {
        Ok((journal, _reader, report)) => {
            journal.close();
            say(&format!("found {report:?}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(4)
        }
    }
}

/// All records, a line each, in words that no change of a type here changes.
fn lines(reader: &mut JournalReader, last: u64) -> String {
    let mut text = String::new();
    while reader.next_ordinal() <= last {
        for journaled in reader.next_blocking(usize::MAX).expect("reads") {
            let record = journaled.record;
            writeln!(text, "{} {} {}", record.ordinal, record.received_at_ms, shown(&record.body)).expect("text");
        }
    }
    text
}

fn shown(body: &RecordBody) -> String {
    match body {
        RecordBody::Items(items) => {
            let Items { tenant, source, counts, .. } = items;
            let DoorCounts { received, refused, duplicates } = counts;
            let key = items.idempotency_key.as_deref().unwrap_or("-");
            let mut text = format!("items {tenant} {source} {} {key} {received} {refused} {duplicates}", items.door.name());
            for (i, span) in items.spans.iter().enumerate() {
                write!(text, " {}:{}", span.request_index, String::from_utf8_lossy(items.bytes(i))).expect("text");
            }
            text
        }
        RecordBody::RuleVersion(change) => {
            let VersionChange { action, name, version, digest, size_bytes, operator, address, comment, source, signature, info } = change;
            let mut text = format!("rule-version {} {name} {version} {digest} {size_bytes} {operator} {address} {comment} {source} {info}", action.as_str());
            if let Some(VersionSignature { signer, key_id, digest }) = signature {
                write!(text, " signed {signer} {key_id} {digest}").expect("text");
            }
            text
        }
        RecordBody::Redrive(Redrive { tenant, operator, comment, letters }) => {
            let mut text = format!("redrive {tenant} {operator} {comment}");
            for RedrivenLetter { ordinal, index, received_at_ms, source, arrival, item } in letters {
                let Arrival { by, idempotency_key, request_index, content_type, headers, redriven } = arrival;
                let (by, key, item) = (*by as u8, idempotency_key.as_deref().unwrap_or("-"), String::from_utf8_lossy(item));
                write!(text, " letter {ordinal} {index} {received_at_ms} {source} {by} {key} {request_index} {content_type} {redriven} {item}").expect("text");
                headers.iter().for_each(|(name, value)| write!(text, " {name}={value}").expect("text"));
            }
            text
        }
        RecordBody::Verdicts(Verdicts { generation, verdicts }) => {
            let mut text = format!("verdicts {generation}");
            for Verdict { rule, version, hook, kind, message, policy, from, until } in verdicts {
                let (hook, policy) = (hook.name(), policy.as_str());
                write!(text, " verdict {rule} {version} {hook} {kind} {message} {policy} {}.{}", from.ordinal, from.index).expect("text");
                if let Some(until) = until {
                    write!(text, " until {}.{}", until.ordinal, until.index).expect("text");
                }
            }
            text
        }
        RecordBody::RuleSet(set) => {
            let rules: String = set.rules.iter().map(shown_rule).collect();
            let tables: String = set.tables.iter().map(|(name, digest)| format!(" table {name} {digest}")).collect();
            let Change { action, object, from, to, operator, address, comment } = &set.change;
            let change = match action {
                ChangeAction::Unknown => String::new(),
                action => format!(" change {} {object} {from} {to} {operator} {address} {comment}", action.as_str()),
            };
            format!("rule-set {}{change}{rules}{tables}", set.generation)
        }
        RecordBody::Clock => "clock".to_owned(),
        RecordBody::Start { version } => format!("start {version}"),
        RecordBody::Command(Command { tenant, action, alerts, operator, comment, idempotency_key }) => {
            let ids: String = alerts.iter().map(|alert| format!(" {}", alert.id())).collect();
            format!("command {tenant} {} {operator} {comment} {}{ids}", action.name(), idempotency_key.as_deref().unwrap_or("-"))
        }
        RecordBody::Payload(RawPayload { tenant, source, idempotency_key, counts, content_type, headers, body }) => {
            let DoorCounts { received, refused, duplicates } = counts;
            let headers: String = headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let (key, body) = (idempotency_key.as_deref().unwrap_or("-"), String::from_utf8_lossy(body));
            format!("payload {tenant} {source} {key} {received} {refused} {duplicates} {content_type}{headers} {body}")
        }
    }
}

/// What the first fixtures have not is shown only where it is.
fn shown_rule(rule: &RuleEntry) -> String {
    let RuleEntry { name, version, digest, config, options, order, origin, pinned, disabled, offered, previous, quarantine, released, highest } = rule;
    let mut text = format!(" rule {name} {version} {digest} {config} {options}");
    if !order.is_empty() {
        write!(text, " order {order} from {origin:?} pinned {pinned} disabled {disabled} offered {offered}").expect("text");
    }
    if let Some(RuleVersion { version, digest, config, options }) = previous {
        write!(text, " before {version} {digest} {config} {options}").expect("text");
    }
    if let Some(Quarantine { kind, message, times, since_ms, retry_at_ms }) = quarantine {
        write!(text, " quarantine {kind} {message} {times} {since_ms} {retry_at_ms:?}").expect("text");
    }
    if let Some(Released { times, at_ms, pause_ms }) = released {
        write!(text, " released {times} {at_ms} {pause_ms}").expect("text");
    }
    if !highest.is_empty() {
        write!(text, " highest {highest}").expect("text");
    }
    text
}

fn read(dir: &Path) -> ExitCode {
    let (_journal, mut reader, report) = match JournalDir::open(dir, options(0)) {
        Ok(open) => open,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(4);
        }
    };
    print!("# Missing: {:?}\n{}", report.gaps, lines(&mut reader, report.last_ordinal));
    ExitCode::SUCCESS
}

/// Times in a fixture go up by a second a record.
const BEGINS_MS: i64 = 1_790_000_000_000;

/// A record of each kind that is rare, and says all that it can.
fn rare(n: u64) -> RecordBody {
    let headers = || vec![("x-event".into(), "push".into())];
    let running = || RuleVersion { version: "1.1.0".into(), digest: "ef".repeat(32).into(), config: "{}".into(), options: "{}".into() };
    match n {
        30 => RecordBody::RuleSet(RuleSet {
            generation: 2,
            change: Change {
                action: ChangeAction::Activate,
                object: "owner".into(),
                from: "ab".repeat(32).into(),
                to: "cd".repeat(32).into(),
                operator: "wang".into(),
                address: "127.0.0.1".into(),
                comment: "as-asked".into(),
            },
            rules: vec![RuleEntry {
                name: "owner".into(),
                version: "1.2.0".into(),
                digest: "cd".repeat(32).into(),
                config: "{}".into(),
                options: "{}".into(),
                order: "10".into(),
                origin: Origin::Upload,
                pinned: true,
                disabled: true,
                offered: "0f".repeat(32).into(),
                previous: Some(running()),
                quarantine: Some(Quarantine {
                    kind: "deadline".into(),
                    message: "still-running".into(),
                    times: 2,
                    since_ms: BEGINS_MS,
                    retry_at_ms: Some(BEGINS_MS + 60_000),
                }),
                released: None,
                highest: String::new().into(),
            }],
            tables: vec![("owners".into(), "cd".repeat(32).into())],
        }),
        31 => RecordBody::Verdicts(Verdicts {
            generation: 2,
            verdicts: [None, Some(Place { ordinal: 29, index: 4 })]
                .map(|until| Verdict {
                    rule: "owner".into(),
                    version: "1.2.0@sha256:cd".into(),
                    hook: Hook::EnrichEvent,
                    kind: "deadline".into(),
                    message: "still-running".into(),
                    policy: Policy::DeadLetter,
                    from: Place { ordinal: 29, index: 1 },
                    until,
                })
                .to_vec(),
        }),
        32 => RecordBody::RuleVersion(VersionChange {
            action: VersionAction::Uploaded,
            name: "owner".into(),
            version: "1.3.0".into(),
            digest: "01".repeat(32).into(),
            size_bytes: 4_096,
            operator: "wang".into(),
            address: "127.0.0.1".into(),
            comment: "next".into(),
            source: "upload".into(),
            signature: Some(VersionSignature { signer: "platform".into(), key_id: "k1".into(), digest: "02".repeat(32).into() }),
            info: "{}".into(),
        }),
        33 => RecordBody::Redrive(Redrive {
            tenant: "system".into(),
            operator: "wang".into(),
            comment: "mended".into(),
            letters: vec![RedrivenLetter {
                ordinal: 29,
                index: 3,
                received_at_ms: BEGINS_MS + 28_000,
                source: "grafana".into(),
                arrival: Arrival {
                    idempotency_key: Some("k".into()),
                    request_index: 2,
                    content_type: "text/csv".into(),
                    headers: headers(),
                    redriven: 3,
                    ..Arrival::by(ArrivalBy::Payload)
                },
                item: b"a,b".to_vec().into(),
            }],
        }),
        34 => RecordBody::Command(Command {
            tenant: "system".into(),
            action: Action::Close,
            alerts: vec![AlertRef { create_time: BEGINS_MS / 1_000, seq: 4 << 14 }],
            operator: "wang".into(),
            comment: "INC-881".into(),
            idempotency_key: Some("k2".into()),
        }),
        _ => RecordBody::Payload(RawPayload {
            tenant: "system".into(),
            source: "grafana".into(),
            idempotency_key: Some("k3".into()),
            counts: DoorCounts { received: 2, refused: 1, duplicates: 0 },
            content_type: "text/csv".into(),
            headers: headers(),
            body: b"a,b".to_vec().into(),
        }),
    }
}

fn fixture(dir: &Path) -> ExitCode {
    let work = tempfile::tempdir().expect("a scratch folder");
    let now = Arc::new(AtomicI64::new(BEGINS_MS));
    let open = || {
        let clock = now.clone();
        let clock = Clock::Custom(Box::new(move || clock.fetch_add(1_000, SeqCst)));
        JournalDir::open(work.path(), JournalOptions { segment_bytes: 2_048, clock, ..JournalOptions::default() }).expect("opens")
    };
    let (journal, reader, _) = open();
    let rules = RuleSet {
        generation: 1,
        rules: vec![RuleEntry {
            name: "owner".into(),
            version: "1.0.0".into(),
            digest: "ab".repeat(32).into(),
            config: "{}".into(),
            options: "{}".into(),
            ..RuleEntry::default()
        }],
        tables: vec![("owners".into(), "cd".repeat(32).into())],
        ..RuleSet::default()
    };
    let started = || RecordBody::Start { version: "1.0.0".into() };
    let append = |journal: &alertmill_stores::JournalHandle, body| block_on(journal.append(body, None)).expect("append").ordinal;
    append(&journal, started());
    append(&journal, RecordBody::RuleSet(rules));
    for n in 3..=40 {
        let body = match record_body(n, n as usize % 5 + 1) {
            _ if (30..=35).contains(&n) => rare(n),
            _ if n % 7 == 0 => RecordBody::Clock,
            RecordBody::Items(items) if n % 3 == 0 => {
                let counts = DoorCounts { received: n, refused: 2, duplicates: 1 };
                RecordBody::Items(Items { door: Door::Alertmanager, idempotency_key: Some(format!("key-{n}").into()), counts, ..items })
            }
            body => body,
        };
        append(&journal, body);
    }
    drop((journal, reader));
    // A bit of the second file flips, and the next start sets that file aside.
    let mut files: Vec<_> = std::fs::read_dir(work.path()).expect("the journal").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    files.sort();
    let mut bytes = std::fs::read(&files[1]).expect("a segment");
    bytes[64 + 32 + 8] ^= 1;
    std::fs::write(&files[1], bytes).expect("a segment");
    let (journal, mut reader, report) = open();
    append(&journal, started());
    for n in 42..=50 {
        append(&journal, record_body(n, 2));
    }
    // As a kill would leave it: the last segment is not sealed.
    alertmill_proof::processes::copy(work.path(), dir);
    std::fs::remove_file(dir.join("lock")).expect("the lock of this process");
    let text = format!("# Missing: {:?}\n{}", report.gaps, lines(&mut reader, 50));
    std::fs::write(dir.join("records.txt"), text).expect("the list");
    ExitCode::SUCCESS
}

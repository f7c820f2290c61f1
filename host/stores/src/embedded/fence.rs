//! What a start makes of a damaged state: it is set aside under `quarantine/` with a report, what is whole of it goes on, and
//! what is lost is named. Never needs a human, and does the same again after a kill at any point of its own work.
//!
//! The best of these that can be had:
//! 1. the database alone, or with its log, is whole at some commit, and the journal has the records since: nothing is lost;
//! 2. the journal still has every record, with the modules that they name: a new state, and the replay makes all of it again;
//! 3. every row that is whole is taken over at the state's position; alerts that had rows and have none now are named;
//! 4. not even the position can be read: a new state at the oldest record of the journal. Uids of the events before it stay
//!    known; alerts that were opened before it are lost.

use super::check::{self, ALERTS};
use super::outbox;
use super::position::{self, OpenAlerts, PositionRow};
use super::{PAGE_BYTES, SCHEMA, SCHEMA_VERSION, open_as_it_is, sqlite_error, status_number};
use crate::durable::{self, StoreError};
use crate::event_segments::{self, EventPlace};
use crate::folder::DataFolder;
use crate::modules::{self, ModuleFiles};
use crate::{journal, quarantine};
use alertmill_core::event::Status;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What was found and done; it is written beside the damaged files too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceReport {
    /// The damaged files, in the data folder's `quarantine`.
    pub set_aside: Vec<String>,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What is wrong: file, page or row.
    pub findings: Vec<String>,
    /// How the state was made again: `replay`, `copy`, `rows` or `anew`.
    pub rebuilt: String,
    /// The last record that the new state covers; the journal goes on behind it.
    pub position: u64,
    /// Alerts taken over.
    pub alerts: u64,
    /// Open alerts that the damaged state had; the ones of them that are lost are not named where they cannot be known.
    pub open_alerts_before: Option<u64>,
    /// Open alerts taken over.
    pub open_alerts: u64,
    /// `seq_id` of open alerts that are lost. The next event of each opens another one.
    pub lost_open_alerts: Vec<u64>,
    /// `seq_id` of other alerts that are lost.
    pub lost_alerts: Vec<u64>,
    /// Alerts with a log or a list of events that is lost, by `seq_id`.
    pub lost_parts_of: Vec<u64>,
    /// Rows of other tables that are lost, and what cannot be counted.
    pub lost_rows: Vec<String>,
}

impl FenceReport {
    /// Whether something is gone that neither the state nor the journal had any more.
    pub fn has_losses(&self) -> bool {
        !(self.lost_open_alerts.is_empty() && self.lost_alerts.is_empty() && self.lost_parts_of.is_empty() && self.lost_rows.is_empty())
    }

    /// The reports in a data folder's quarantine, oldest first, with their files: who has read one removes it.
    pub fn all(data_dir: &Path) -> Result<Vec<(PathBuf, FenceReport)>, StoreError> {
        let folder = data_dir.join(quarantine::FOLDER);
        let mut found = Vec::new();
        for name in durable::names_with_suffix(&folder, REPORT_SUFFIX)? {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
            match serde_json::from_slice::<FenceReport>(&bytes) {
                Ok(report) => found.push((path, report)),
                Err(error) => tracing::warn!("{}: {error}; it is no report of a state", path.display()),
            }
        }
        found.sort_by_key(|(_, report)| report.at_ms);
        Ok(found)
    }
}

/// Bytes of the head of SQLite's first page.
const HEAD_BYTES: usize = 100;
const REPORT_SUFFIX: &str = "-state.json";

/// While it is there, the state is being made again from what is in the quarantine.
const MARK: &str = "state.fencing";
const WORK: &str = "state.salvage";
const STATE: &str = "state.sqlite";
const FILES: [&str; 2] = [STATE, "state.sqlite-wal"];

/// What the mark says.
#[derive(Serialize, Deserialize)]
struct Mark {
    prefix: String,
    at_ms: i64,
    findings: Vec<String>,
}

/// Goes on with what a start began that was killed.
pub(crate) fn resume(dir: &Path) -> Result<Option<FenceReport>, StoreError> {
    let path = dir.join(MARK);
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => {
            let bytes = read.map_err(StoreError::io("read", &path))?;
            let mark: Mark = serde_json::from_slice(&bytes).map_err(|error| StoreError::io("read", &path)(error.into()))?;
            finish(dir, &mark).map(Some)
        }
    }
}

/// Sets the state of `dir` aside, for what was found, and makes it again.
pub(crate) fn fence(dir: &Path, findings: Vec<String>) -> Result<FenceReport, StoreError> {
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let folder = dir.join(quarantine::FOLDER);
    durable::make_dir(&folder)?;
    let mark = Mark { prefix: format!("{at_ms}-"), at_ms, findings };
    for name in FILES {
        set_aside(&dir.join(name), &folder.join(format!("{}{name}", mark.prefix)))?;
    }
    durable::sync_dir(&folder)?;
    durable::write_atomically(&dir.join(MARK), &serde_json::to_vec(&mark).unwrap_or_default())?;
    finish(dir, &mark)
}

/// Gives a file a second name, or, where there are no links, copies what can be read of it. One that is not there is none.
pub(super) fn set_aside(from: &Path, aside: &Path) -> Result<(), StoreError> {
    match std::fs::hard_link(from, aside) {
        Err(error) if durable::has_no_links(&error) => {
            copy_what_is_readable(from, aside)?;
            File::open(aside).and_then(|file| file.sync_all()).map_err(StoreError::io("set aside", from))
        }
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => Err(StoreError::io("set aside", from)(error)),
        _ => Ok(()),
    }
}

/// Whether a state must have been here although none is: then beginning with an empty one would throw events away.
pub(crate) fn is_missing(dir: &Path) -> Result<Option<String>, StoreError> {
    let bytes = |name: &str| dir.join(name).metadata().map_or(0, |found| found.len());
    if bytes(STATE) > 0 {
        return Ok(None);
    }
    let events = event_segments::files(&dir.join("events"))?.len();
    let journal = dir.join(DataFolder::JOURNAL);
    let oldest = journal::copy::oldest(&journal)?.map(|oldest| oldest.0);
    let gone = gone_before(&journal)?.max(journal::copy::acknowledged(&journal)?.unwrap_or(0));
    let is_there = |what: &str| format!("{STATE} is {}, but {what}", if dir.join(STATE).exists() { "empty" } else { "not there" });
    Ok(match (events, oldest) {
        (1.., _) => Some(is_there(&format!("there are {events} event files"))),
        (_, Some(oldest @ 2..)) => Some(is_there(&format!("the journal begins with record {oldest}"))),
        (_, None) if gone > 0 => Some(is_there(&format!("the journal, of which nothing can be read, has had {gone} records"))),
        // What its log alone holds is of no use.
        _ if bytes("state.sqlite-wal") > 0 => Some(is_there("there is a log of it")),
        _ => None,
    })
}

fn finish(dir: &Path, mark: &Mark) -> Result<FenceReport, StoreError> {
    let work = dir.join(WORK);
    if work.exists() {
        std::fs::remove_dir_all(&work).map_err(StoreError::io("remove", &work))?;
    }
    durable::make_dir(&work)?;
    let mut report = FenceReport { at_ms: mark.at_ms, findings: mark.findings.clone(), ..FenceReport::default() };
    let folder = dir.join(quarantine::FOLDER);
    for name in FILES {
        let (aside, copy) = (folder.join(format!("{}{name}", mark.prefix)), work.join(name));
        if aside.exists() {
            copy_what_is_readable(&aside, &copy)?;
            report.set_aside.push(format!("{}/{}{name}", quarantine::FOLDER, mark.prefix));
        }
    }
    let rebuilt = work.join("rebuilt.sqlite");
    rebuild(dir, &work, &rebuilt, &mut report)?;
    File::open(&rebuilt).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", &rebuilt))?;
    // The log of the damaged state must not be taken for the new one's.
    durable::remove_files(dir, &["-wal", "-shm"].map(|end| dir.join(format!("{STATE}{end}"))))?;
    std::fs::rename(&rebuilt, dir.join(STATE)).map_err(StoreError::io("name", &dir.join(STATE)))?;
    durable::sync_dir(dir)?;
    let text = serde_json::to_vec_pretty(&report).unwrap_or_default();
    durable::write_atomically(&folder.join(format!("{}{REPORT_SUFFIX}", mark.at_ms)), &text)?;
    std::fs::remove_dir_all(&work).map_err(StoreError::io("remove", &work))?;
    durable::remove_files(dir, &[dir.join(MARK), super::suspect_path(&dir.join(STATE))])?;
    Ok(report)
}

fn rebuild(dir: &Path, work: &Path, rebuilt: &Path, report: &mut FenceReport) -> Result<(), StoreError> {
    let journal = dir.join(DataFolder::JOURNAL);
    let oldest = journal::copy::oldest(&journal)?;
    // One that has no record yet begins with the next.
    let begins = match oldest {
        Some((ordinal, _)) => ordinal,
        None => gone_before(&journal)? + 1,
    };
    // The journal goes on behind a state at `position` when it has all records from there to where another try is.
    let follows = |position: u64, furthest: u64| -> Result<bool, StoreError> {
        Ok(begins <= position + 1 && journal::copy::read(&journal, position, Some(furthest), |_, _| Ok(()))?.is_none())
    };
    let salvaged = open_salvage(work, &follows)?;
    if let Some(Candidate { row: Some(row), .. }) = &salvaged {
        report.open_alerts_before = Some(row.open_alerts);
    }
    let is_whole = salvaged.as_ref().is_some_and(|found| found.row.is_some() && found.findings.is_empty() && found.is_followed);
    // Nothing that a state still has is given up for a journal that ends before it.
    let at_least = salvaged.as_ref().and_then(|found| found.row).map_or(0, |row| row.ordinal);
    if !is_whole
        && oldest.is_some_and(|(ordinal, _)| ordinal == 1)
        && let Some(last) = replayable(dir)?.filter(|last| *last >= at_least)
    {
        report.rebuilt = "replay".to_owned();
        if let Some(acknowledged) = journal::copy::acknowledged(&journal)?.filter(|acknowledged| *acknowledged > last) {
            report.lost_rows.push(format!("records {} to {acknowledged} are in neither the state nor the journal", last + 1));
        }
        return create(rebuilt, &PositionRow::default(), report, |_, _| Ok(OpenAlerts::default()));
    }
    if let Some(Candidate { connection, row: Some(row), findings, is_followed }) = salvaged {
        report.rebuilt = if findings.is_empty() { "copy" } else { "rows" }.to_owned();
        report.findings.extend(findings.iter().filter(|finding| !report.findings.contains(finding)).cloned().collect::<Vec<_>>());
        if !is_followed && begins > row.ordinal + 1 {
            note(&mut report.lost_rows, format!("records {} to {} are in neither the state nor the journal", row.ordinal + 1, begins - 1));
        }
        return create(rebuilt, &row, report, |new, report| take_rows(&connection, &row, &findings, new, report));
    }
    report.rebuilt = "anew".to_owned();
    let mut row = PositionRow::default();
    if let Some((ordinal, received_at_ms)) = oldest {
        (row.ordinal, row.received_at_ms) = (ordinal - 1, received_at_ms);
        row.end = events_before(dir, received_at_ms.div_euclid(1_000))?;
        let from = received_at_ms.div_euclid(1_000);
        report.lost_rows.push(format!("all alerts opened before record {ordinal}; retries of events received in second {from} before it may count again"));
    } else {
        // No record is left that could be replayed: all events stay known. Where the journal goes on it still says, by the names
        // of its files or by its watermark: records before that are not missing from it.
        row.ordinal = begins - 1;
        row.received_at_ms = report.at_ms;
        row.end = events_before(dir, i64::MAX)?;
        report.lost_rows.push("all alerts: neither the state nor the journal has a record of them".to_owned());
    }
    report.lost_rows.push("dead_letters: all of those records".to_owned());
    report.lost_rows.push("ledger: what was counted in those records".to_owned());
    report.lost_rows.push("rule_versions, audit: versions that were uploaded and who changed the rules in those records".to_owned());
    report.lost_rows.push("rule_sets: records up to the next change of the rules are judged without any".to_owned());
    create(rebuilt, &row, report, |_, _| Ok(OpenAlerts::default()))
}

/// The last record before those that a journal without any readable one has, or had.
fn gone_before(journal: &Path) -> Result<u64, StoreError> {
    match journal::copy::first_named(journal)? {
        Some(first) => Ok(first.saturating_sub(1)),
        None => Ok(journal::copy::acknowledged(journal)?.unwrap_or(0)),
    }
}

/// The last record of a journal that has all from the first on, if the modules folder has all that they name.
fn replayable(dir: &Path) -> Result<Option<u64>, StoreError> {
    let (mut named, mut last) = (modules::Named::default(), 0);
    let missing = journal::copy::read(&dir.join("journal"), 0, None, |head, payload| {
        last = head.ordinal;
        named.by(payload);
        Ok(())
    })?;
    let modules = ModuleFiles::open(&dir.join(DataFolder::MODULES))?;
    Ok((missing.is_none() && named.run.iter().all(|digest| matches!(modules.get(digest), Ok(Some(_))))).then_some(last))
}

/// Where the rows of events received before that second end. Rows are in the order in which they were received.
fn events_before(dir: &Path, second: i64) -> Result<EventPlace, StoreError> {
    let events = dir.join("events");
    let reader = event_segments::EventReader::new(&events);
    let mut end = EventPlace::default();
    for (number, name) in event_segments::files(&events)? {
        let mut at = EventPlace { segment: number, offset: event_segments::HEADER_BYTES };
        let mut ends = Vec::new();
        event_segments::whole_rows(&events.join(&name), number, |row_end| ends.push(row_end))?;
        if !ends.is_empty() && end == EventPlace::default() {
            end = at;
        }
        for row_end in ends {
            if let event_segments::EventRead::Found(row) = reader.read(at)? {
                let received = serde_json::from_slice::<Received>(&row.document).map_or(i64::MIN, |row| row.create_time);
                if received >= second {
                    return Ok(end);
                }
            }
            at = row_end;
            end = row_end;
        }
    }
    Ok(end)
}

#[derive(Deserialize)]
struct Received {
    create_time: i64,
}

/// A damaged state that can be read, as far as it can.
pub(super) struct Candidate {
    pub connection: Connection,
    pub row: Option<PositionRow>,
    findings: Vec<String>,
    /// The journal has the records behind its position, as far as any other try has them.
    is_followed: bool,
}

/// Whether the journal has every record behind a position up to another one, and goes on there.
type Follows<'a> = &'a dyn Fn(u64, u64) -> Result<bool, StoreError>;

/// The best of: database and log; the database alone; both again with the head that every state has. Only the last two need
/// another copy of the database.
pub(super) fn open_salvage(work: &Path, follows: Follows<'_>) -> Result<Option<Candidate>, StoreError> {
    let (state, log) = (work.join(STATE), work.join(format!("{STATE}-wal")));
    if !state.exists() {
        return Ok(None);
    }
    let best = better_of([open_as_it_is(&state), open_alone(&state)], follows)?;
    let bytes = state.metadata().map_err(StoreError::io("look at", &state))?.len();
    // A file that has not even a head is none with another one.
    if bytes < HEAD_BYTES as u64 || best.as_ref().is_some_and(|best: &Candidate| best.row.is_some()) {
        return Ok(best);
    }
    let with_head = work.join("head.sqlite");
    std::fs::copy(&state, &with_head).map_err(StoreError::io("copy", &state))?;
    if log.exists() {
        std::fs::rename(&log, work.join("head.sqlite-wal")).map_err(StoreError::io("rename", &log))?;
    }
    write_head(&with_head).map_err(StoreError::io("write the head of", &with_head))?;
    let headed = better_of([open_as_it_is(&with_head), open_alone(&with_head)], follows)?;
    // Without a row of its own it is no better than what there was.
    Ok(match headed {
        Some(headed) if headed.row.is_some() || best.is_none() => Some(headed),
        _ => best,
    })
}

/// The better one of two tries: a whole one before a damaged one, then the one that is further.
fn better_of(opened: [rusqlite::Result<Connection>; 2], follows: Follows<'_>) -> Result<Option<Candidate>, StoreError> {
    let tries: Vec<(Connection, Option<PositionRow>)> =
        opened.into_iter().flatten().map(|connection| (position::salvage(&connection), connection)).map(|(row, connection)| (connection, row)).collect();
    let furthest = tries.iter().filter_map(|(_, row)| row.map(|row| row.ordinal)).max().unwrap_or(0);
    let mut best: Option<Candidate> = None;
    for (connection, row) in tries {
        let is_followed = row.map_or(Ok(false), |row| follows(row.ordinal, furthest))?;
        let candidate = Candidate { row, findings: check::check(&connection), is_followed, connection };
        let is_whole = |c: &Candidate| c.findings.is_empty() && c.is_followed;
        let rank = |c: &Candidate| (c.row.is_some(), is_whole(c), c.row.map_or(0, |row| row.ordinal), std::cmp::Reverse(c.findings.len()));
        if best.as_ref().is_none_or(|best| rank(&candidate) > rank(best)) {
            best = Some(candidate);
        }
    }
    Ok(best)
}

/// Copies a file; blocks that the disk cannot read are zeros in the copy.
fn copy_what_is_readable(from: &Path, to: &Path) -> Result<(), StoreError> {
    match std::fs::copy(from, to) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            let file = File::open(from).map_err(StoreError::io("open", from))?;
            let length = file.metadata().map_err(StoreError::io("look at", from))?.len();
            copy_blocks(length, to, |block, at| file.read_exact_at(block, at)).map_err(StoreError::io("write", to))
        }
        copied => copied.map(drop).map_err(StoreError::io("copy", from)),
    }
}

pub(super) fn copy_blocks(length: u64, to: &Path, mut read_at: impl FnMut(&mut [u8], u64) -> std::io::Result<()>) -> std::io::Result<()> {
    let copy = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut block = [0; PAGE_BYTES as usize];
    for at in (0..length).step_by(block.len()) {
        let block = &mut block[..(length - at).min(PAGE_BYTES) as usize];
        if read_at(block, at).is_err() {
            block.fill(0);
        }
        copy.write_all_at(block, at)?;
    }
    Ok(())
}

/// Whether the first 100 bytes of a state are what they are in all of them; SQLite itself takes some that are not for a
/// database that may only be read.
pub(super) fn has_damaged_head(path: &Path) -> bool {
    let mut head = [0; HEAD_BYTES];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut head, 0));
    // An empty file is a new state.
    if read.is_err() {
        return path.metadata().is_ok_and(|found| found.len() > 0);
    }
    let is_version = |byte: u8| byte == 1 || byte == 2;
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let is_whole = &head[..16] == b"SQLite format 3\0"
        && head[16..18] == (PAGE_BYTES as u16).to_be_bytes()
        && is_version(head[18])
        && is_version(head[19])
        && head[20..24] == [0, 64, 32, 32]
        && head[52..56] == [0; 4]
        // Schema format and encoding; a process that was killed before it made the tables left neither.
        && [(4, 1), (0, 0)].contains(&(number(44), number(56)));
    !is_whole
}

/// Writes what the first 100 bytes of every state are, but for its counters.
fn write_head(path: &Path) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, 0)?;
    head[..16].copy_from_slice(b"SQLite format 3\0");
    head[16..18].copy_from_slice(&(PAGE_BYTES as u16).to_be_bytes());
    head[18..24].copy_from_slice(&[2, 2, 0, 64, 32, 32]);
    // Its size is then that of the file.
    head[28..32].fill(0);
    head[44..48].copy_from_slice(&4u32.to_be_bytes());
    head[48..56].fill(0);
    head[56..60].copy_from_slice(&1u32.to_be_bytes());
    head[60..64].copy_from_slice(&SCHEMA_VERSION.to_be_bytes());
    head[64..92].fill(0);
    file.write_all_at(&head, 0)
}

/// Makes the new state with what `fill` puts into it.
pub(super) fn create(
    path: &Path,
    row: &PositionRow,
    report: &mut FenceReport,
    fill: impl FnOnce(&Connection, &mut FenceReport) -> rusqlite::Result<OpenAlerts>,
) -> Result<(), StoreError> {
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(StoreError::io("create", path))?;
    let connection = Connection::open(path).map_err(sqlite_error("create", path))?;
    let write = || -> rusqlite::Result<()> {
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(SCHEMA)?;
        let open = fill(&transaction, report)?;
        let (open_alerts, open_sum) = open.counted();
        (report.position, report.open_alerts) = (row.ordinal, open_alerts);
        position::write(&transaction, &PositionRow { open_alerts, open_sum, ..*row })?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()
    };
    write().map_err(sqlite_error("write", path))
}

/// Takes over every row that is whole, and names what is not. `findings` are those of `old` itself: what it was chosen before
/// may be damaged in other places. Of one without any, what services have is taken over as well.
pub(super) fn take_rows(old: &Connection, row: &PositionRow, findings: &[String], new: &Connection, report: &mut FenceReport) -> rusqlite::Result<OpenAlerts> {
    let mut open = OpenAlerts::default();
    let (mut taken, mut named) = (BTreeSet::new(), BTreeMap::new());
    let mut lost_parts = BTreeSet::new();
    for table in check::TABLES.iter().filter(|table| table.is_taken) {
        let (columns, order, check, table) = (table.columns(), table.backwards, table.check, table.name);
        let names: Vec<&str> = columns.split(',').map(str::trim).collect();
        let kept: Vec<usize> = (0..names.len()).filter(|i| !names[*i].contains('(')).collect();
        let list = kept.iter().map(|i| names[*i]).collect::<Vec<_>>().join(", ");
        let marks = (1..=kept.len()).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ");
        let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({marks})"))?;
        // From both ends: a page that cannot be read stops the one walk before it and the other behind it.
        let (mut ends, mut refused) = (Vec::new(), None::<rusqlite::Error>);
        for direction in ["", " DESC"] {
            let order = if direction.is_empty() { order.replace(" DESC", "") } else { format!("{order} DESC") };
            let walk = (|| -> rusqlite::Result<()> {
                let mut rows = old.prepare(&format!("SELECT {columns} FROM {table} NOT INDEXED ORDER BY {order}"))?;
                let mut rows = rows.query([])?;
                while let Some(row) = rows.next()? {
                    if matches!(table, "logs" | "alert_events") {
                        named.entry(row.get::<_, u64>(0).unwrap_or(0)).or_insert(None);
                    }
                    if let Err(why) = check(row) {
                        match (table, row.get::<_, u64>(0)) {
                            ("logs" | "alert_events", Ok(seq)) => {
                                lost_parts.insert(seq);
                            }
                            (ALERTS, Ok(seq)) => {
                                named.entry(seq).or_insert(None);
                            }
                            _ => note(&mut report.lost_rows, format!("{table}: {why}")),
                        }
                        continue;
                    }
                    let values = kept.iter().map(|i| row.get::<_, rusqlite::types::Value>(*i)).collect::<Result<Vec<_>, _>>()?;
                    // An error of the new state is none of the old one's.
                    if let Err(error) = insert.execute(rusqlite::params_from_iter(values)) {
                        refused = Some(error);
                        break;
                    }
                    if table == ALERTS && taken.insert(row.get::<_, u64>(0)?) {
                        open.add_row(row)?;
                    }
                }
                Ok(())
            })();
            ends.extend(walk.err());
            if let Some(error) = refused {
                return Err(error);
            }
        }
        if let Some(error) = ends.first() {
            note(&mut report.lost_rows, format!("{table}: rows on pages that cannot be read: {error}"));
        }
    }
    // The index says of each alert whether it was open, without its row.
    let by_index = (|| -> rusqlite::Result<()> {
        let mut all = old.prepare("SELECT seq, status FROM alerts INDEXED BY alerts_by_status WHERE tenant >= ''")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            named.insert(row.get(0)?, Some(row.get::<_, u8>(1)?));
        }
        Ok(())
    })();
    if let Err(error) = by_index {
        note(&mut report.lost_rows, format!("alerts_by_status: {error}"));
    }
    for (seq, status) in named.into_iter().filter(|(seq, _)| !taken.contains(seq)) {
        let lost = if status == Some(status_number(Status::Abnormal)) { &mut report.lost_open_alerts } else { &mut report.lost_alerts };
        lost.push(seq);
    }
    let damaged_tables = tables_with_damaged_pages(old, findings);
    for table in &damaged_tables {
        note(&mut report.lost_rows, format!("{table}: pages are damaged: rows may be gone that nothing else names"));
    }
    // The sums of open alerts that are lost would be missing; behind a damaged page others may be older as well.
    if (report.lost_open_alerts.is_empty() || damaged_tables.contains(ALERTS))
        && let Some(older) = open.differs_from(row)
    {
        note(&mut report.lost_rows, older);
    }
    report.alerts = taken.len() as u64;
    report.lost_parts_of = lost_parts.into_iter().collect();
    copy_tables(&[("event_files", 2)], old, new, report)?;
    match old.query_row("SELECT count(*) FROM shipping", [], |row| row.get::<_, u64>(0)) {
        Ok(0) => {}
        _ if findings.is_empty() => {
            copy_tables(&[("shipping", 4), ("outbox", 5)], old, new, report)?;
            position::write(new, row)?;
            outbox::wait_again(new)?;
        }
        _ => note(&mut report.lost_rows, "shipping: its counts begin anew, and every alert waits for its services again".to_owned()),
    }
    count_letters(old, new, report)?;
    Ok(open)
}

/// The tables that may have lost rows without a trace, as the findings of SQLite's own check say; all where they do not tell.
/// Damage of nothing but an index costs no row.
fn tables_with_damaged_pages(old: &Connection, findings: &[String]) -> BTreeSet<&'static str> {
    let all = || check::TABLES.iter().filter(|table| table.is_taken).map(|table| table.name);
    let schema = (|| -> rusqlite::Result<Vec<(String, String, String, i64)>> {
        let mut rows = old.prepare("SELECT type, name, tbl_name, rootpage FROM sqlite_master WHERE rootpage > 0")?;
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
    })();
    // What is not in the damaged schema by its name any more.
    let is_made = |name: &str| ["TABLE", "INDEX"].iter().any(|kind| SCHEMA.contains(&format!("CREATE {kind} {name} ")));
    let lines: Vec<&str> = findings.iter().flat_map(|finding| finding.split("; ")).filter(|line| !line.contains("wrong checksum")).collect();
    let (Ok(schema), true) = (schema, lines.len() < check::FINDINGS_MAX) else { return all().collect() };
    let mut found = BTreeSet::new();
    for line in lines {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        let owner = match first {
            // The head of a list of findings.
            "***" => continue,
            // Of two positions that differ the later one is taken; that costs no row.
            "position" => continue,
            "Tree" if !line.contains("2nd reference") => {
                let root = words.next().and_then(|root| root.trim_end_matches(':').parse::<i64>().ok());
                match schema.iter().find(|one| Some(one.3) == root) {
                    Some(one) if one.0 == "index" => continue,
                    other => other.map(|one| one.1.as_str()),
                }
            }
            _ if line.contains(" index ") => {
                let index = line.rsplit(' ').next().unwrap_or_default();
                schema.iter().find(|one| one.0 == "index" && one.1 == index).map(|one| one.2.as_str())
            }
            _ => first.strip_suffix(':'),
        };
        match all().find(|name| Some(*name) == owner) {
            Some(table) => drop(found.insert(table)),
            // Of a table that is made anew, or has checksums of its own elsewhere.
            None if owner.is_some_and(|owner| is_made(owner) || schema.iter().any(|one| one.1 == owner)) => {}
            None => return all().collect(),
        }
    }
    found
}

/// Takes all rows of tables, which have so many columns, as they are.
fn copy_tables(tables: &[(&str, usize)], old: &Connection, new: &Connection, report: &mut FenceReport) -> rusqlite::Result<()> {
    for (table, columns) in tables.iter().copied() {
        let marks = (1..=columns).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ");
        let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES ({marks})"))?;
        let mut refused = None::<rusqlite::Error>;
        let walk = (|| -> rusqlite::Result<()> {
            let mut rows = old.prepare(&format!("SELECT * FROM {table}"))?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let values = (0..columns).map(|i| row.get::<_, rusqlite::types::Value>(i)).collect::<Result<Vec<_>, _>>()?;
                match insert.execute(rusqlite::params_from_iter(values)) {
                    // A value of another type than the column's: the row is damaged.
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => return Err(error),
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                    Ok(_) => {}
                }
            }
            Ok(())
        })();
        if let Some(error) = refused {
            return Err(error);
        }
        if let Err(error) = walk {
            note(&mut report.lost_rows, format!("{table}: {error}"));
        }
    }
    Ok(())
}

/// Counts the dead letters that were taken over, and what the old counts say beyond them.
fn count_letters(old: &Connection, new: &Connection, report: &mut FenceReport) -> rusqlite::Result<()> {
    new.execute_batch(
        "INSERT INTO dead_letter_counts (source, kept, dropped, bytes)
         SELECT source, count(*), 0, sum(length(item)) FROM dead_letters GROUP BY source",
    )?;
    let counts = (|| -> rusqlite::Result<Vec<(String, i64, i64, u64)>> {
        let mut all = old.prepare("SELECT source, kept, bytes, dropped FROM dead_letter_counts")?;
        all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
    })();
    let counts = counts.unwrap_or_else(|error| {
        note(&mut report.lost_rows, format!("how many dead letters went for newer ones: {error}"));
        Vec::new()
    });
    let (taken, taken_bytes): (i64, i64) =
        new.query_row("SELECT coalesce(sum(kept), 0), coalesce(sum(bytes), 0) FROM dead_letter_counts", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let kept = counts.iter().fold(0i64, |sum, count| sum.saturating_add(count.1));
    // One of the two alone is a count that was damaged.
    if kept > taken && counts.iter().fold(0i64, |sum, count| sum.saturating_add(count.2)) > taken_bytes {
        note(&mut report.lost_rows, format!("dead_letters: {}", kept - taken));
    }
    let mut set =
        new.prepare("INSERT INTO dead_letter_counts (source, kept, dropped, bytes) VALUES (?1, 0, ?2, 0) ON CONFLICT (source) DO UPDATE SET dropped = ?2")?;
    counts.into_iter().try_for_each(|(source, _, _, dropped)| set.execute(rusqlite::params![source, dropped]).map(drop))
}

fn note(rows: &mut Vec<String>, row: String) {
    if rows.len() < 1_000 && !rows.contains(&row) {
        rows.push(row);
    }
}

/// The position that the database alone says, without its log; `None` when that cannot be read.
pub(super) fn position_without_log(path: &Path) -> Option<u64> {
    position::salvage(&open_alone(path).ok()?).map(|row| row.ordinal)
}

/// Opens the database without its log, only for reading.
fn open_alone(path: &Path) -> rusqlite::Result<Connection> {
    let uri = format!("file:{}?immutable=1", path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23"));
    Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

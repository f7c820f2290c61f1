//! The thread that writes uid files, so that a commit never waits for them: it sorts a full table into one file for each
//! hour, merges files of like size, drops hours that are past, and only then names all that in the manifest.

use super::run::Run;
use super::{DAY_S, Table};
use crate::durable::{self, StoreError};
use crate::event_segments::EventPlace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The uid files at one moment.
#[derive(Clone, Default)]
pub(super) struct Files {
    /// Files by the second at which their hour ends.
    pub hours: BTreeMap<i64, Vec<Arc<Run>>>,
    /// All event rows before this place are in them.
    pub mark: EventPlace,
    /// None from behind this place are in them. It is behind the mark while uids of a file that was lost are read again.
    pub reach: EventPlace,
}

/// A full table, with the uids of all event rows in `from..end`.
#[derive(Clone)]
pub(super) struct Full {
    pub table: Arc<Table>,
    pub from: EventPlace,
    pub end: EventPlace,
}

/// Hours that end before `synced_s` are dropped, and a table, if there is one, becomes files.
pub(super) struct Job {
    pub full: Option<Full>,
    pub synced_s: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub segment: u32,
    pub offset: u32,
    /// As `segment` and `offset`, of the reach, where it is behind them.
    #[serde(default)]
    pub reach: (u32, u32),
    /// Hours that end before this second were dropped.
    #[serde(default)]
    pub synced_s: i64,
    /// Name, end of its hour in seconds, CRC of its keys.
    pub files: Vec<(String, i64, u32)>,
}

impl Manifest {
    /// One line with the CRC of the rest, and the rest.
    fn to_bytes(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        [format!("{:08x}\n", crc32c::crc32c(&text)).as_bytes(), &text].concat()
    }

    /// `None` when it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Manifest> {
        let (crc, text) = bytes.split_first_chunk::<9>()?;
        let said = format!("{:08x}\n", crc32c::crc32c(text));
        if said.as_bytes() == crc { serde_json::from_slice(text).ok() } else { None }
    }
}

struct State {
    files: Arc<Files>,
    failed: Option<String>,
    /// Jobs given minus jobs done or failed.
    open_jobs: usize,
}

pub(super) struct Worker {
    state: Arc<(Mutex<State>, Condvar)>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Opens the files that the manifest names, if it is whole and not ahead of the state. Afterwards it names no others: a
    /// backup takes what it names.
    pub fn open(dir: &Path, committed: EventPlace, now_s: i64) -> Result<Worker, StoreError> {
        durable::make_dir(dir)?;
        let Opened { files, synced_s, is_as_named } = open_files(dir, committed, now_s)?;
        if !is_as_named && let Err(error) = write_manifest(dir, &files, synced_s) {
            tracing::warn!("{error}; a backup finds no uid files until the next ones are written");
        }
        let named: Vec<&PathBuf> = files.hours.values().flatten().map(|run| &run.path).collect();
        let strangers = durable::names_with_suffix(dir, SUFFIX)?.into_iter().map(|name| dir.join(name));
        durable::remove_files(dir, &strangers.filter(|path| !named.contains(&path)).collect::<Vec<_>>())?;
        let next_number = named.iter().filter_map(|path| number_of(path)).max().unwrap_or(0) + 1;
        let state = State { files: Arc::new(files), failed: None, open_jobs: 0 };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let (jobs, waiting) = channel();
        let writer = Writer { dir: dir.to_path_buf(), next_number, state: state.clone() };
        let thread = std::thread::Builder::new().name("known-uids".into()).spawn(move || writer.run(&waiting));
        let thread = thread.map_err(StoreError::io("start the writer of", dir))?;
        Ok(Worker { state, jobs: Some(jobs), thread: Some(thread) })
    }

    pub fn give(&self, job: Job) {
        lock(&self.state).open_jobs += 1;
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    pub fn files(&self) -> Arc<Files> {
        lock(&self.state).files.clone()
    }

    /// Why the last job could not be done, if so.
    pub fn failure(&self) -> Option<String> {
        lock(&self.state).failed.clone()
    }

    pub fn is_idle(&self) -> bool {
        lock(&self.state).open_jobs == 0
    }

    /// Waits until all jobs given are done or have failed.
    pub fn wait(&self) {
        let state = lock(&self.state);
        drop(self.state.1.wait_while(state, |state| state.open_jobs > 0));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

const SUFFIX: &str = ".uids";
pub(crate) const MANIFEST: &str = "manifest";

fn number_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What a start found.
#[derive(Default)]
struct Opened {
    files: Files,
    /// As [`Manifest::synced_s`].
    synced_s: i64,
    /// Whether the manifest says just that.
    is_as_named: bool,
}

fn open_files(dir: &Path, committed: EventPlace, now_s: i64) -> Result<Opened, StoreError> {
    let path = dir.join(MANIFEST);
    let found = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Opened { is_as_named: true, ..Opened::default() }),
        found => found.ok().and_then(|bytes| Manifest::from_bytes(&bytes)),
    };
    let Some(manifest) = found else {
        tracing::warn!("{} is damaged; uids are read again from the event files", path.display());
        return Ok(Opened::default());
    };
    let mark = EventPlace { segment: manifest.segment, offset: manifest.offset };
    let reach = mark.max(EventPlace { segment: manifest.reach.0, offset: manifest.reach.1 });
    let mut files = Files { mark, reach, ..Files::default() };
    // Its uids are of records that will be replayed.
    if files.reach > committed {
        tracing::warn!("{} is ahead of the state; uids are read again from the event files", path.display());
        return Ok(Opened::default());
    }
    // Hours end with hours: those that were over at the sync and are not over now are gone.
    if super::end_of_hour(now_s) < manifest.synced_s {
        tracing::warn!("{} has dropped uids that the state still needs; they are read again from the event files", path.display());
        files.mark = EventPlace::default();
    }
    let mut is_as_named = true;
    let mut synced_s = manifest.synced_s;
    for (name, end_s, crc) in manifest.files {
        if end_s < now_s {
            (synced_s, is_as_named) = (synced_s.max(now_s), false);
            continue;
        }
        let Some(run) = Run::open(&dir.join(&name), end_s, crc)? else {
            tracing::warn!("{} is damaged or missing; uids are read again from the event files", dir.join(name).display());
            // The other files may hold uids whose event files are gone.
            files.mark = EventPlace::default();
            is_as_named = false;
            continue;
        };
        files.hours.entry(end_s).or_default().push(Arc::new(run));
    }
    Ok(Opened { files, synced_s, is_as_named })
}

/// Says which files there are. All that it names are on disk.
fn write_manifest(dir: &Path, files: &Files, synced_s: i64) -> Result<(), StoreError> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let named = files.hours.iter().flat_map(|(end_s, runs)| runs.iter().map(move |run| (name(&run.path), *end_s, run.crc)));
    let (mark, reach) = (files.mark, files.reach);
    let manifest = Manifest { segment: mark.segment, offset: mark.offset, reach: (reach.segment, reach.offset), synced_s, files: named.collect() };
    durable::write_atomically(&dir.join(MANIFEST), &manifest.to_bytes())
}

struct Writer {
    dir: PathBuf,
    next_number: u64,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let before = lock(&self.state).files.clone();
            // The mark says that everything before it is in files. It must not jump over a table that could not be written:
            // those behind it wait until it is given again.
            let is_next = job.full.as_ref().is_none_or(|full| full.from <= before.mark);
            let done = is_next.then(|| self.do_job(&job, &before));
            let mut state = lock(&self.state);
            state.open_jobs -= 1;
            match done {
                Some(Ok(files)) => (state.files, state.failed) = (Arc::new(files), None),
                Some(Err(error)) => {
                    tracing::error!("{error}; known uids stay in memory until it works");
                    state.failed = Some(error.to_string());
                }
                None => {}
            }
            drop(state);
            self.state.1.notify_all();
        }
    }

    fn do_job(&mut self, job: &Job, before: &Files) -> Result<Files, StoreError> {
        let mut files = before.clone();
        files.hours.retain(|end_s, _| *end_s >= job.synced_s);
        let mut by_hour: BTreeMap<i64, Vec<u128>> = BTreeMap::new();
        if let Some(full) = &job.full {
            if full.end <= before.mark {
                return Ok(files);
            }
            files.mark = full.end;
            files.reach = files.reach.max(full.end);
            for (key, end_s) in full.table.iter().filter(|(_, end_s)| **end_s >= job.synced_s) {
                by_hour.entry(*end_s).or_default().push(*key);
            }
        }
        for (end_s, mut keys) in by_hour {
            keys.sort_unstable();
            let run = Run::write(&self.next_path(), end_s, &keys)?;
            let runs = files.hours.entry(end_s).or_default();
            runs.push(Arc::new(run));
            // Each file stays more than twice as large as the next: a key is written again at most once per doubling of
            // its hour, and an hour has few files.
            self.merge_while(end_s, runs, |large, small| large <= 2 * small)?;
        }
        // A uid noted from now on lasts 24 h more, so these hours get no further ones: one file, one filter each.
        for (end_s, runs) in files.hours.range_mut(..job.synced_s + DAY_S) {
            self.merge_while(*end_s, runs, |_, _| true)?;
        }
        self.name(&files, before, job.synced_s)?;
        Ok(files)
    }

    /// Merges the last two files of an hour as long as their numbers of keys ask for it.
    fn merge_while(&mut self, end_s: i64, runs: &mut Vec<Arc<Run>>, wanted: impl Fn(u64, u64) -> bool) -> Result<(), StoreError> {
        while let [.., large, small] = runs.as_slice() {
            if !wanted(large.count, small.count) {
                break;
            }
            let merged = Run::merge(&self.next_path(), end_s, large, small)?;
            runs.truncate(runs.len() - 2);
            runs.push(Arc::new(merged));
        }
        Ok(())
    }

    /// Files first, then the manifest that names them, then the files that it names no more are removed.
    fn name(&self, files: &Files, before: &Files, synced_s: i64) -> Result<(), StoreError> {
        durable::sync_dir(&self.dir)?;
        let paths = |files: &Files| files.hours.values().flatten().map(|run| run.path.clone()).collect::<Vec<_>>();
        write_manifest(&self.dir, files, synced_s)?;
        let kept = paths(files);
        let mut gone: Vec<PathBuf> = paths(before).into_iter().filter(|path| !kept.contains(path)).collect();
        // Files that were written and merged within this job were never named.
        let strangers = durable::names_with_suffix(&self.dir, SUFFIX)?.into_iter().map(|name| self.dir.join(name));
        gone.extend(strangers.filter(|path| !kept.contains(path)));
        gone.sort();
        gone.dedup();
        // The manifest holds: what could not be removed is a stranger to the next job, and to the next start.
        if let Err(error) = durable::remove_files(&self.dir, &gone) {
            tracing::warn!("{error}; a uid file that is not needed any more stays for now");
        }
        Ok(())
    }

    fn next_path(&mut self) -> PathBuf {
        self.next_number += 1;
        self.dir.join(format!("{:010}{SUFFIX}", self.next_number))
    }
}

//! `POST /api/v1/backups`: a backup of the data folder, taken while the server runs, as a tar archive. Answered once it is
//! taken and checked; one at a time. Whoever fetches it too slowly loses it: as long as it is there it holds space.

use super::query::Query;
use crate::http::{Problem, ProblemCode};
use alertmill_stores::backup::{BackupError, Snapshot};
use alertmill_stores::{JournalHandle, StoreError};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use hyper::body::Frame;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type Take = dyn Fn() -> Result<Snapshot, BackupError> + Send + Sync;

/// How backups are taken.
#[derive(Clone)]
pub struct Backups {
    take: Arc<Take>,
    one: Arc<Semaphore>,
}

impl Backups {
    /// Of the folder with this journal.
    pub fn new(data_dir: PathBuf, journal: JournalHandle) -> Backups {
        Backups::taken_by(move || Snapshot::take(&data_dir, || Some(journal.counts().last_ordinal)))
    }

    fn taken_by(take: impl Fn() -> Result<Snapshot, BackupError> + Send + Sync + 'static) -> Backups {
        Backups { take: Arc::new(take), one: Arc::new(Semaphore::new(1)) }
    }
}

/// The route.
pub fn router(backups: Backups) -> Router {
    Router::new().route("/api/v1/backups", post(take)).with_state(backups)
}

async fn take(State(backups): State<Backups>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let busy = || ProblemCode::Unavailable.problem("another backup is being taken; try again when it is done");
    let permit = backups.one.clone().try_acquire_owned().map_err(|_| busy())?;
    // It is taken to its end although the asker may be gone, and is the one until then.
    let taken = tokio::task::spawn_blocking(move || (backups.take)().map(|snapshot| (snapshot, permit))).await;
    let (snapshot, permit) = match taken {
        Ok(taken) => taken.map_err(problem)?,
        Err(_) => return Err(ProblemCode::Internal.problem("the backup ended early; the log says why")),
    };
    tracing::info!(position = snapshot.manifest.position, files = snapshot.manifest.files.len(), "a backup is taken");
    let (sender, chunks) = channel(4);
    let outgoing = Outgoing { sender, runtime: Handle::current(), slack: SLACK };
    let is_whole = Arc::new(AtomicBool::new(false));
    let mut response = Response::new(Body::new(Chunks { chunks, is_whole: is_whole.clone() }));
    tokio::task::spawn_blocking(move || send(&snapshot, outgoing, &is_whole, permit));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn problem(error: BackupError) -> Problem {
    tracing::error!(%error, "a backup could not be taken");
    match error {
        BackupError::Damaged(_) | BackupError::Refused(_) => ProblemCode::Damaged.problem(error.to_string()),
        BackupError::Moved | BackupError::NoRoom { .. } | BackupError::Store(StoreError::Io { .. }) => ProblemCode::Unavailable.problem(error.to_string()),
        BackupError::Store(ref refused) if refused.is_full() => ProblemCode::Unavailable.problem(error.to_string()),
        BackupError::Store(_) => ProblemCode::Internal.problem(error.to_string()),
    }
}

/// Bytes handed over at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes that are fetched in a second at least,
const FETCHED_PER_S: f64 = 256.0 * 1024.0;
/// but for pauses of so long in all. What is fetched faster earns them anew.
const SLACK: Duration = Duration::from_secs(60);

/// Sends it and removes it. The archive's end is the last that comes, so one that breaks off is not taken for whole.
fn send(snapshot: &Snapshot, outgoing: Outgoing, is_whole: &AtomicBool, _one: OwnedSemaphorePermit) {
    let mut out = io::BufWriter::with_capacity(CHUNK_BYTES, outgoing);
    match snapshot.write_tar(&mut out).and_then(|()| out.flush()) {
        Ok(()) => is_whole.store(true, Release),
        Err(error) => {
            tracing::warn!(%error, "a backup was not sent whole");
            // What it still holds is not for the one who fetches too slowly.
            drop(out.into_parts());
        }
    }
}

struct Outgoing {
    sender: Sender<Bytes>,
    runtime: Handle,
    /// How long the next bytes may wait.
    slack: Duration,
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES)];
        let began = Instant::now();
        let sent = self.runtime.block_on(tokio::time::timeout(self.slack, self.sender.send(Bytes::copy_from_slice(bytes))));
        match sent {
            Ok(Ok(())) => {
                self.slack = slack_after(self.slack, began.elapsed(), bytes.len());
                Ok(bytes.len())
            }
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it is fetched too slowly, and as long as it is there it holds space")),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is left of the pauses after so many bytes waited so long.
fn slack_after(slack: Duration, waited: Duration, bytes: usize) -> Duration {
    (slack + Duration::from_secs_f64(bytes as f64 / FETCHED_PER_S)).saturating_sub(waited).min(SLACK)
}

struct Chunks {
    chunks: Receiver<Bytes>,
    is_whole: Arc<AtomicBool>,
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.chunks.poll_recv(context).map(|chunk| match chunk {
            Some(chunk) => Some(Ok(Frame::data(chunk))),
            None if self.is_whole.load(Acquire) => None,
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_backup_whose_asker_is_gone_is_the_one_until_it_is_taken() {
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (wait, begun) = (Mutex::new(wait), Mutex::new(Some(begun)));
        let backups = Backups::taken_by(move || {
            if let Some(begun) = begun.lock().unwrap().take() {
                begun.send(()).unwrap();
            }
            let _ = wait.lock().unwrap().recv();
            Err(BackupError::Moved)
        });
        let one = backups.one.clone();
        let uri = || Uri::from_static("/api/v1/backups");
        let asked = tokio::spawn(take(State(backups.clone()), uri()));
        has_begun.await.unwrap();
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        let second = tokio::time::timeout(Duration::from_secs(60), take(State(backups), uri())).await.expect("an answer at once").unwrap_err();
        assert!(second.detail.contains("another backup"), "{}", second.detail);
        drop(go_on);
        drop(tokio::time::timeout(Duration::from_secs(60), one.acquire()).await.expect("it has ended").unwrap());
    }

    #[tokio::test]
    async fn a_backup_that_nobody_fetches_ends() {
        let (sender, chunks) = channel(4);
        let mut outgoing = Outgoing { sender, runtime: Handle::current(), slack: Duration::from_millis(20) };
        let ended = tokio::task::spawn_blocking(move || {
            loop {
                if let Err(error) = outgoing.write(&[]) {
                    return error;
                }
            }
        });
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it does not wait for ever").unwrap();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut, "{ended}");
        drop(chunks);
    }

    #[test]
    fn half_the_least_rate_uses_up_the_pauses_and_the_whole_does_not() {
        let after = |chunks: u32, each: Duration| (0..chunks).fold(SLACK, |slack, _| slack_after(slack, each, CHUNK_BYTES));
        assert_eq!(after(1_000, Duration::from_secs(1)), SLACK);
        assert!(after(59, Duration::from_secs(2)) > Duration::ZERO);
        assert_eq!(after(61, Duration::from_secs(2)), Duration::ZERO);
        // What was fetched fast buys no more than that.
        assert_eq!(slack_after(after(1_000, Duration::ZERO), SLACK, 0), Duration::ZERO);
    }
}

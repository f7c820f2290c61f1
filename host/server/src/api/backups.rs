//! `POST /api/v1/backups`: a backup of the data folder, taken while the server runs, as a tar archive. Answered once it is
//! taken and checked; one at a time.

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
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What backups are taken of.
#[derive(Clone)]
pub struct Backups {
    data_dir: PathBuf,
    journal: JournalHandle,
    one: Arc<Semaphore>,
}

impl Backups {
    /// Of the folder with this journal.
    pub fn new(data_dir: PathBuf, journal: JournalHandle) -> Backups {
        Backups { data_dir, journal, one: Arc::new(Semaphore::new(1)) }
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
    let taken = tokio::task::spawn_blocking(move || Snapshot::take(&backups.data_dir, || Some(backups.journal.counts().last_ordinal))).await;
    let snapshot = match taken {
        Ok(taken) => taken.map_err(problem)?,
        Err(_) => return Err(ProblemCode::Internal.problem("the backup ended early; the log says why")),
    };
    tracing::info!(position = snapshot.manifest.position, files = snapshot.manifest.files.len(), "a backup is taken");
    let (sender, chunks) = channel(4);
    tokio::task::spawn_blocking(move || send(&snapshot, sender, permit));
    let mut response = Response::new(Body::new(Chunks(chunks)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn problem(error: BackupError) -> Problem {
    tracing::error!(%error, "a backup could not be taken");
    match error {
        BackupError::Damaged(_) | BackupError::Refused(_) => ProblemCode::Damaged.problem(error.to_string()),
        BackupError::Moved | BackupError::Store(StoreError::Io { .. }) => ProblemCode::Unavailable.problem(error.to_string()),
        BackupError::Store(_) => ProblemCode::Internal.problem(error.to_string()),
    }
}

/// Bytes handed over at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Sends it and removes it. The archive's end is the last that comes, so one that breaks off is not taken for whole.
fn send(snapshot: &Snapshot, sender: Sender<io::Result<Bytes>>, _one: OwnedSemaphorePermit) {
    let mut out = io::BufWriter::with_capacity(CHUNK_BYTES, Outgoing(sender.clone()));
    if let Err(error) = snapshot.write_tar(&mut out).and_then(|()| out.flush()) {
        tracing::warn!(%error, "a backup was not sent whole");
        let _ = sender.blocking_send(Err(error));
    }
}

struct Outgoing(Sender<io::Result<Bytes>>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Chunks(Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

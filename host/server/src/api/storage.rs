//! `GET /api/v1/pipeline/storage`: what each kind of data takes, its bounds, what went because of them, and what is damaged.

use super::answer::json;
use super::query::Query;
use crate::http::{Problem, ProblemCode};
use crate::serve::Storage;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Within this an answer is given again, so that whoever asks often does not keep the disk busy.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The route.
pub fn router(storage: Arc<Storage>) -> Router {
    Router::new().route("/api/v1/pipeline/storage", get(read)).with_state(Measured { storage, one: Arc::new(Semaphore::new(1)) })
}

#[derive(Clone)]
struct Measured {
    storage: Arc<Storage>,
    /// One look at a time; the others wait without a thread.
    one: Arc<Semaphore>,
}

async fn read(State(measured): State<Measured>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let failed = || ProblemCode::Internal.problem("the data folder could not be measured; the log says why");
    let permit = measured.one.acquire_owned().await.map_err(|_| failed())?;
    let looked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        measured.storage.full(FRESH_FOR)
    });
    match looked.await {
        Ok(Ok(report)) => Ok(json(StatusCode::OK, &*report)),
        Ok(Err(error)) => Err(ProblemCode::Unavailable.problem(format!("the data folder cannot be measured: {error}"))),
        Err(_) => Err(failed()),
    }
}

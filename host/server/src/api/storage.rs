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

/// The route.
pub fn router(storage: Arc<Storage>) -> Router {
    Router::new().route("/api/v1/pipeline/storage", get(read)).with_state(storage)
}

async fn read(State(storage): State<Arc<Storage>>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    match tokio::task::spawn_blocking(move || storage.look()).await {
        Ok(Ok(report)) => Ok(json(StatusCode::OK, &report)),
        Ok(Err(error)) => Err(ProblemCode::Unavailable.problem(format!("the data folder cannot be measured: {error}"))),
        Err(_) => Err(ProblemCode::Internal.problem("the data folder could not be measured; the log says why")),
    }
}

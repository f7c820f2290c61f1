//! `/api/v1/tables`: the look-up tables, one row of one, and reading a source now.

use super::answer::json;
use super::query::{Query, bad_parameter};
use crate::http::{Problem, ProblemCode};
use crate::tables::{NotRefreshed, TableRow, Tables};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json as value};
use std::time::Duration;

/// A refresh that was asked for is waited for.
const REFRESH_WITHIN: Duration = Duration::from_secs(30);

/// The routes.
pub fn router(tables: Tables) -> Router {
    Router::new()
        .route("/api/v1/tables", get(list))
        .route("/api/v1/tables/{name}", get(one).post(command))
        .route("/api/v1/tables/{name}/rows", get(rows))
        .with_state(tables)
}

async fn list(State(tables): State<Tables>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    Ok(json(StatusCode::OK, &value!({ "items": tables.rows(), "next_cursor": null })))
}

async fn one(State(tables): State<Tables>, Path(name): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    Ok(json(StatusCode::OK, &row(&tables, &name)?))
}

fn row(tables: &Tables, name: &str) -> Result<TableRow, Problem> {
    tables.rows().into_iter().find(|row| row.name == name).ok_or_else(|| unknown(name))
}

/// `?key=`: the row that rules would find.
async fn rows(State(tables): State<Tables>, Path(name): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["key"])?;
    let key = query.one("key")?.ok_or_else(|| bad_parameter("key", "`key` is missing; name the key whose row is wanted"))?;
    row(&tables, &name)?;
    let in_force = tables.cells(&name, key);
    let nothing = || ProblemCode::NotFound.problem(format!("nothing of table `{name}` is in force yet; `/api/v1/tables/{name}` says why"));
    let missing = || ProblemCode::NotFound.problem(format!("table `{name}` has no row of this key"));
    let cells = in_force.ok_or_else(nothing)?.ok_or_else(missing)?;
    let cells: Map<String, Value> = cells.into_iter().map(|(column, cell)| (column, Value::String(cell))).collect();
    Ok(json(StatusCode::OK, &cells))
}

/// `POST /api/v1/tables/{name}:refresh`
async fn command(State(tables): State<Tables>, Path(segment): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let Some(name) = segment.strip_suffix(":refresh") else {
        return Err(
            ProblemCode::NotFound.problem(format!("nothing can be posted to {:?}; a table is read anew by POST of its name and `:refresh`", uri.path()))
        );
    };
    match tables.refresh(name, REFRESH_WITHIN).await {
        Ok(refreshed) => {
            let digest = format!("sha256:{}", refreshed.digest);
            Ok(json(StatusCode::OK, &value!({ "name": name, "changed": refreshed.changed, "digest": digest, "generation": refreshed.generation })))
        }
        Err(NotRefreshed::Unknown) => Err(unknown(name)),
        Err(NotRefreshed::TooSlow) => {
            let detail =
                format!("table `{name}`: no content is in force after {} s; it goes on, and the table shows what comes of it", REFRESH_WITHIN.as_secs());
            Err(ProblemCode::TableFetch.problem(detail))
        }
        Err(NotRefreshed::Problem(problem)) => {
            let of = [ProblemCode::TableInvalid, ProblemCode::TableTooLarge, ProblemCode::TableHeldBack];
            let code = of.into_iter().find(|code| code.as_str() == problem.code);
            let code = code.unwrap_or(if problem.code == crate::rules_folder::NOT_KEPT { ProblemCode::Unavailable } else { ProblemCode::TableFetch });
            Err(code.problem(problem.message))
        }
    }
}

fn unknown(name: &str) -> Problem {
    ProblemCode::NotFound.problem(format!("there is no table {name:?}; tables are sections [tables.NAME] of the configuration"))
}

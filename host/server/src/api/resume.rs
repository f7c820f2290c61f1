//! `POST /api/v1/rules/{name}:resume`: what is done with the row at which a rule halted the pipeline. `GET /api/v1/pipeline/halted`:
//! the rows that wait for it.
//!
//! The body is `{"as": "retry|pass-through|previous-version|dead-letter", "to_the_end": false}`. With `to_the_end` the rule is not
//! asked any more in its generation, and the same is done with every row that it is for; without, the next row that it cannot judge
//! halts again. The answer is 200 `{items: [..]}` with the rows that go on, or 409 `not-halted`.

use super::answer::json;
use super::commands::json_only;
use super::query::Query;
use crate::http::{BodyLimits, Budget, Problem, ProblemCode, read_body};
use crate::serve::{HaltedRow, HaltedRows};
use alertmill_core::ports::Resume;
use alertmill_core::verdict::{Halted, Policy};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const BODY_MAX: usize = 4 << 10;

/// What the routes answer from.
#[derive(Clone)]
pub struct Resuming {
    /// The rows that wait.
    pub rows: HaltedRows,
    /// Bounds the bytes of bodies, with those of the doors.
    pub budget: Budget,
}

/// The routes but `:resume`, which is with the other things that are done to a rule.
pub fn router(resuming: Resuming) -> Router {
    Router::new().route("/api/v1/pipeline/halted", get(halted)).with_state(resuming)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    r#as: String,
    #[serde(default)]
    to_the_end: bool,
}

#[derive(Serialize)]
struct Rows {
    items: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    rule: String,
    version: String,
    hook: &'static str,
    /// Its record, and its place in it.
    ordinal: u64,
    index: u32,
    kind: String,
    message: String,
    /// The rule is asked again by itself.
    may_pass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    halted_at: Option<i64>,
}

impl Row {
    fn of(halted: Halted, halted_at: Option<i64>) -> Row {
        let Halted { rule, version, hook, at, kind, message, may_pass } = halted;
        Row {
            rule: rule.to_string(),
            version: version.to_string(),
            hook: hook.name(),
            ordinal: at.ordinal,
            index: at.index,
            kind: kind.to_string(),
            message: message.to_string(),
            may_pass,
            halted_at,
        }
    }
}

async fn halted(State(resuming): State<Resuming>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let items = resuming.rows.all().into_iter().map(|HaltedRow { halted, since_ms }| Row::of(halted, Some(since_ms))).collect();
    Ok(json(StatusCode::OK, &Rows { items }))
}

/// `POST /api/v1/rules/{name}:resume`
pub(super) async fn resume(resuming: &Resuming, rule: &str, request: Request<Body>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    Query::read(&head.uri, &[]).map_err(Problem::closing)?;
    json_only(&head.headers)?;
    let limits = BodyLimits { sent_max: BODY_MAX, decoded_max: BODY_MAX, total: Duration::from_secs(10), ..BodyLimits::default() };
    let resume = asked(&read_body(&head.headers, body, &limits, &resuming.budget).await?.bytes)?;
    let resumed = resuming.rows.resume(rule, resume);
    if resumed.is_empty() {
        return Err(ProblemCode::NotHalted.problem(format!("rule {rule} has halted nothing; GET /api/v1/pipeline/halted shows what waits")));
    }
    Ok(json(StatusCode::OK, &Rows { items: resumed.into_iter().map(|halted| Row::of(halted, None)).collect() }))
}

/// Reads a body; whatever is wrong with it, nothing is done.
fn asked(bytes: &[u8]) -> Result<Resume, Problem> {
    let Asked { r#as, to_the_end } = serde_json::from_slice(bytes).map_err(|e| {
        let words: String = e.to_string().chars().take(200).collect();
        ProblemCode::Command.problem(format!("the body is no command: {words}; send {{\"as\": \"retry|pass-through|previous-version|dead-letter\"}}"))
    })?;
    if r#as == "retry" && !to_the_end {
        return Ok(Resume::Retry);
    }
    match Policy::ALL.into_iter().find(|policy| policy.as_str() == r#as) {
        Some(policy) if policy != Policy::Stop => Ok(Resume::As { policy, to_the_end }),
        _ => {
            let why = "`as` is one of retry, pass-through, previous-version and dead-letter; retry goes without `to_the_end`";
            Err(ProblemCode::Command.problem(why).at("/as"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_one_of_few_things() {
        let read = |body: &str| asked(body.as_bytes()).map_err(|problem| problem.code);
        assert_eq!(read(r#"{"as":"retry"}"#), Ok(Resume::Retry));
        assert_eq!(read(r#"{"as":"dead-letter"}"#), Ok(Resume::As { policy: Policy::DeadLetter, to_the_end: false }));
        assert_eq!(read(r#"{"as":"pass-through","to_the_end":true}"#), Ok(Resume::As { policy: Policy::PassThrough, to_the_end: true }));
        for wrong in ["", "[]", "{}", r#"{"as":"stop"}"#, r#"{"as":"drop"}"#, r#"{"as":"retry","to_the_end":true}"#, r#"{"as":"retry","more":1}"#] {
            assert_eq!(read(wrong), Err("bad-command"), "{wrong}");
        }
        // Whichever way a body is wrong, it is told everything that may be said.
        for wrong in ["{}", r#"{"as":"stop"}"#] {
            let detail = asked(wrong.as_bytes()).expect_err(wrong).detail;
            for policy in Policy::ALL.into_iter().filter(|policy| *policy != Policy::Stop) {
                assert!(detail.contains(policy.as_str()), "{wrong}: {detail}");
            }
        }
    }
}

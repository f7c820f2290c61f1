//! `POST /api/v1/alerts:ack`, `:unack`, `:close`: what operators do to alerts, one route for each [`Action`].
//!
//! The body is `{"ids": [..], "comment": "..", "operator": ".."}`; only `ids` must be there. The command becomes a journal
//! record, the fold decides it, and the answer says for each id what the fold decided: 200
//! `{ok, failed, items: [{id, status, alert, problem}]}`, with status `done`, `unchanged` (it was so already), `ended` or
//! `not-found`. When the fold does not come to it for a while, the answer is 202 and the items are `pending`: the command is
//! on disk and will be decided. Under an `Idempotency-Key` a repeated request is answered and not done again.

use super::answer::json;
use super::query::Query;
use super::{AlertReads, Api};
use crate::doors::events::{content_kind, idempotency_key};
use crate::doors::refused_by_journal;
use crate::http::{BodyLimits, Problem, ProblemCode, ReadBody, read_body};
use crate::telemetry::CommandsSnapshot;
use alertmill_core::command::{
    ALERTS_PER_COMMAND_MAX, ANONYMOUS, Action, AlertNow, AlertRef, Command, Decision, TextRefused, Verdict, check_comment, check_operator,
};
use alertmill_core::decode::ContentKind;
use alertmill_core::event::Status;
use alertmill_core::letter::{LetterFate, Redrive};
use alertmill_core::ports::PortError;
use alertmill_core::value::Text;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Bytes of a body: a thousand ids and the longest texts, with every character escaped, are below it.
const BODY_MAX: usize = 128 << 10;

/// What comes of handing over a command: the decisions in the order of its alerts, or none when it is durable and not
/// decided yet.
pub type Handed = Pin<Box<dyn Future<Output = Result<Option<Vec<Decision>>, PortError>> + Send>>;

/// As [`Handed`], for dead letters that are tried again: what became of each.
pub type Redriving = Pin<Box<dyn Future<Output = Result<Option<Vec<LetterFate>>, PortError>> + Send>>;

/// Takes commands. Promise: once it is handed over, a command is seen through, also when nobody waits for it any more.
pub trait Commands: Send + Sync + 'static {
    /// Makes the command durable and waits, within bounds, for what becomes of it.
    fn hand_over(&self, command: Command) -> Handed;

    /// The same for dead letters that are tried again.
    fn redrive(&self, redrive: Redrive) -> Redriving;
}

macro_rules! outcomes {
    ($($variant:ident $name:literal)*) => {
        /// What became of one id.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Outcome { $($variant),* }

        impl Outcome {
            const ALL: &'static [Outcome] = &[$(Outcome::$variant),*];

            const fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name),* }
            }
        }
    };
}

outcomes! {
    Done "done"
    Repeated "repeated"
    Unchanged "unchanged"
    Ended "ended"
    NotFound "not-found"
    NotOpen "not-open"
    Pending "pending"
}

/// How many ids met which fate, since the process started.
#[derive(Debug, Default)]
pub struct CommandCounters([[AtomicU64; Outcome::ALL.len()]; Action::ALL.len()]);

impl CommandCounters {
    fn count(&self, action: Action, outcome: Outcome) {
        let row = Action::ALL.iter().position(|a| *a == action).unwrap_or_default();
        self.0[row][outcome as usize].fetch_add(1, Relaxed);
    }

    /// All of them, zeros too.
    pub fn snapshot(&self) -> Vec<CommandsSnapshot> {
        let of_action = |(action, row): (&Action, &[AtomicU64; Outcome::ALL.len()])| {
            let of_outcome =
                |outcome: &Outcome| CommandsSnapshot { action: action.name(), outcome: outcome.name(), alerts: row[*outcome as usize].load(Relaxed) };
            Outcome::ALL.iter().map(of_outcome).collect::<Vec<_>>()
        };
        Action::ALL.iter().zip(&self.0).flat_map(of_action).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    ids: Vec<String>,
    comment: Option<String>,
    operator: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    ok: usize,
    failed: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pending: usize,
    items: Vec<Item>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[derive(Serialize)]
struct Item {
    id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<AlertState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ItemProblem>,
}

#[derive(Serialize)]
struct ItemProblem {
    code: &'static str,
    detail: String,
}

/// The alert right after the command; for one that has ended, as it is stored.
#[derive(Serialize)]
struct AlertState {
    status: &'static str,
    is_ack: bool,
    ack_operator: Option<String>,
    end_time: Option<i64>,
    revision: u64,
}

impl From<AlertNow> for AlertState {
    fn from(now: AlertNow) -> AlertState {
        let ack_operator = now.ack_operator.map(|operator| operator.to_string());
        AlertState { status: now.status.as_str(), is_ack: ack_operator.is_some(), ack_operator, end_time: now.end_time, revision: now.revision }
    }
}

/// One of the routes.
pub async fn command(api: Api, action: Action, request: Request<Body>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    Query::read(&head.uri, &[]).map_err(Problem::closing)?;
    json_only(&head.headers)?;
    let idempotency_key = idempotency_key(&head.headers)?;
    let limits = BodyLimits { sent_max: BODY_MAX, decoded_max: BODY_MAX, total: Duration::from_secs(10), ..BodyLimits::default() };
    let Asked { ids, comment, operator } = {
        // The body goes before the wait for the fold: commands on a slow disk must not keep the doors from the budget.
        let ReadBody { bytes, lease: _lease, .. } = read_body(&head.headers, body, &limits, &api.budget).await?;
        asked(&bytes)?
    };
    // There are no tokens yet, so everyone is of one tenant.
    let tenant = Text::new_static("system");
    let ids = distinct(ids);
    let alerts: Vec<AlertRef> = ids.iter().filter_map(|(_, alert)| *alert).collect();
    let command = Command {
        tenant: tenant.clone(),
        action,
        alerts,
        operator: operator.as_deref().map_or(Text::new_static(ANONYMOUS), |operator| Text::new(operator.trim())),
        comment: comment.as_deref().map(Text::new).unwrap_or_default(),
        idempotency_key,
    };
    let operator = command.operator.clone();
    let decisions = match command.alerts.is_empty() {
        true => Some(Vec::new()),
        false => api.commands.hand_over(command).await.map_err(refused_by_journal)?,
    };
    let answer = answer(&api, action, &tenant, ids, decisions).await;
    tracing::info!(action = action.name(), %operator, ok = answer.ok, failed = answer.failed, pending = answer.pending, "an operator's command");
    Ok(json(if answer.pending > 0 { StatusCode::ACCEPTED } else { StatusCode::OK }, &answer))
}

/// A type that a page of another site may send without asking is refused.
pub(super) fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.contains_key(header::CONTENT_TYPE).then(|| content_kind(headers)) {
        Some(Ok(ContentKind::Json)) => Ok(()),
        _ => Err(ProblemCode::ContentType.problem("send Content-Type: application/json, in UTF-8").closing()),
    }
}

/// Reads a body; whatever is wrong with it, nothing is done.
fn asked(bytes: &[u8]) -> Result<Asked, Problem> {
    let refuse = |pointer: &str, why: String| ProblemCode::Command.problem(why).at(pointer);
    let unreadable = |why: &str| {
        // Of what was sent the words repeat no more than this.
        let words: String = why.chars().take(200).collect();
        ProblemCode::Command.problem(format!("the body is no command: {words}; send {{\"ids\": [\"..\"], \"comment\": \"..\", \"operator\": \"..\"}}"))
    };
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(unreadable("it is no JSON object"));
    }
    let asked: Asked = serde_json::from_slice(bytes).map_err(|e| unreadable(&e.to_string()))?;
    match asked.ids.len() {
        0 => return Err(refuse("/ids", "`ids` is empty; name at least one alert".to_owned())),
        n if n > ALERTS_PER_COMMAND_MAX => {
            return Err(refuse("/ids", format!("`ids` has {n} entries, at most {ALERTS_PER_COMMAND_MAX} are taken; send several commands")));
        }
        _ => {}
    }
    let check = |name: &str, text: &Option<String>, check: fn(&str) -> Result<(), TextRefused>| match text.as_deref().map(check) {
        Some(Err(why)) => Err(refuse(&format!("/{name}"), format!("`{name}` {why}"))),
        _ => Ok(()),
    };
    check("comment", &asked.comment, check_comment)?;
    check("operator", &asked.operator, check_operator)?;
    Ok(asked)
}

/// Every id once, in the order in which they came, with the alert that it can name.
fn distinct(ids: Vec<String>) -> Vec<(String, Option<AlertRef>)> {
    let mut seen = HashSet::new();
    ids.into_iter().filter(|id| seen.insert(id.clone())).map(|id| (id.clone(), AlertRef::parse(&id))).collect()
}

async fn answer(api: &Api, action: Action, tenant: &Text, ids: Vec<(String, Option<AlertRef>)>, decisions: Option<Vec<Decision>>) -> Answer {
    let is_pending = decisions.is_none();
    let mut decisions = decisions.unwrap_or_default().into_iter();
    // What the fold knows nothing of is in the store, or nowhere: the command's record is committed.
    let mut of_store = HashSet::new();
    let decided: Vec<_> = ids
        .into_iter()
        .map(|(id, named)| {
            let decision = named.and_then(|_| decisions.next());
            if let (Some(named), Some(Decision { alert: None, .. })) = (named, &decision) {
                of_store.insert(named);
            }
            (id, named, decision)
        })
        .collect();
    let stored = stored(api, tenant, of_store).await;
    let mut answer = Answer { ok: 0, failed: 0, pending: 0, items: Vec::with_capacity(decided.len()) };
    for (id, named, decision) in decided {
        let (outcome, alert) = match (named, decision) {
            (None, _) => (Outcome::NotFound, None),
            (Some(_), None) if is_pending => (Outcome::Pending, None),
            (Some(named), decision) => {
                let known = stored.as_ref().map(|stored| stored.get(&named).cloned());
                settle(decision, known)
            }
        };
        api.counters.count(action, outcome);
        match outcome {
            Outcome::Done | Outcome::Repeated | Outcome::Unchanged => answer.ok += 1,
            Outcome::Ended | Outcome::NotFound | Outcome::NotOpen => answer.failed += 1,
            Outcome::Pending => answer.pending += 1,
        }
        let problem = problem(outcome, &id);
        // A repeated request gets the answer that the first one got.
        let status = if outcome == Outcome::Repeated { Outcome::Done } else { outcome }.name();
        answer.items.push(Item { id, status, alert: alert.map(AlertState::from), problem });
    }
    answer
}

/// `known` is what the store has: nothing when it cannot be read, `Some(None)` when it has no such alert.
fn settle(decision: Option<Decision>, known: Option<Option<AlertNow>>) -> (Outcome, Option<AlertNow>) {
    match decision {
        Some(Decision { verdict: Verdict::Done, alert }) => (Outcome::Done, alert),
        Some(Decision { verdict: Verdict::Unchanged, alert }) => (Outcome::Unchanged, alert),
        Some(Decision { verdict: Verdict::Repeated, alert }) => (Outcome::Repeated, alert.or(known.flatten())),
        Some(Decision { verdict: Verdict::NotOpen, .. }) | None => match known {
            None => (Outcome::NotOpen, None),
            Some(None) => (Outcome::NotFound, None),
            Some(alert) => (Outcome::Ended, alert),
        },
    }
}

fn problem(outcome: Outcome, id: &str) -> Option<ItemProblem> {
    let short: String = id.chars().take(64).collect();
    let detail = match outcome {
        Outcome::Done | Outcome::Repeated | Outcome::Unchanged => return None,
        Outcome::Ended => format!("alert {short} has ended, and an alert that has ended never changes"),
        Outcome::NotFound => format!("there is no alert {short:?}; it may have been removed after its retention"),
        Outcome::NotOpen => format!("no open alert is {short}; whether it has ended cannot be read now"),
        Outcome::Pending => format!("the command is on disk and not decided yet; GET /api/v1/alerts/{short} will show it"),
    };
    Some(ItemProblem { code: outcome.name(), detail })
}

/// Those of the alerts that the store has and the tenant may see; nothing when it cannot be read.
async fn stored(api: &Api, tenant: &Text, wanted: HashSet<AlertRef>) -> Option<HashMap<AlertRef, AlertNow>> {
    if wanted.is_empty() {
        return Some(HashMap::new());
    }
    let tenant = tenant.clone();
    let read = api.read(move |reads: &dyn AlertReads| {
        let mut found = HashMap::new();
        for named in wanted {
            if let Some(now) = reads.alert(named.seq)?.and_then(|document| of_document(&document, named, &tenant)) {
                found.insert(named, now);
            }
        }
        Ok(found)
    });
    read.await.ok()
}

fn of_document(document: &[u8], named: AlertRef, tenant: &str) -> Option<AlertNow> {
    #[derive(Deserialize)]
    struct Stored {
        id: String,
        bk_tenant_id: String,
        status: String,
        ack_operator: Option<String>,
        end_time: Option<i64>,
        revision: u64,
    }
    let stored: Stored = serde_json::from_slice(document).ok()?;
    let status = Status::parse(&stored.status)?;
    (named.id() == stored.id.as_str() && stored.bk_tenant_id == tenant).then_some(AlertNow {
        status,
        ack_operator: stored.ack_operator.map(Text::from),
        end_time: stored.end_time,
        revision: stored.revision,
    })
}

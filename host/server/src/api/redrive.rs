//! `POST /api/v1/dead-letters:redrive`: dead letters are tried again, by the rules that are in force now.
//!
//! The body is `{"ids": [..]}`, or `{"source": "..", "code": "..", "limit": N}` for the oldest ones of a source or code or both;
//! with `"operator"`, `"comment"` and `"dry_run"` where wanted. A letter that is tried again has the identity of its first time, so
//! it counts once however often this is asked: what was done is `not-found` then. The answer is 200 `{ok, failed, items}`; an item is
//! `{id, status, events, letters, problem}`, with status `folded`, `refreshed`, `stored-only`, `no-events`, `duplicate`, or, failed,
//! `dead-again` (with the ids of the new letters), `not-found`, `not-redrivable`. When the fold does not come to it for a while, the
//! answer is 202, the items handed over are `pending`, and those behind them `not-tried`. Under an `Idempotency-Key` a repeated request
//! whose answer had none of these is answered the same and not done again, as long as the process remembers it: "the oldest ones"
//! would be other ones by then.

use super::answer::json_bytes;
use super::commands::json_only;
use super::query::Query;
use super::repeats::RepeatKey;
use super::time::now_ms;
use super::{AlertReads, Api, DeadLetterRow};
use crate::doors::events::idempotency_key;
use crate::doors::refused_by_journal;
use crate::http::{BodyLimits, Problem, ProblemCode, ReadBody, read_body};
use alertmill_core::command::{ANONYMOUS, TextRefused, check_comment, check_operator};
use alertmill_core::ledger::{Outcome, StoredOnly};
use alertmill_core::letter::{ArrivalBy, LetterFate, Redrive, RedrivenLetter};
use alertmill_core::value::Text;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Bytes of a body: a thousand ids and the longest texts, with every character escaped, are below it.
const BODY_MAX: usize = 64 << 10;
/// Letters of one request at most.
pub const LETTERS_MAX: usize = 1_000;
/// Bytes of the items of one record, unless one alone has more.
const RECORD_BYTES: u64 = 256 << 10;
/// Longer answers are not kept for repeats; a thousand letters with a sentence each are below it.
const KEPT_BYTES_MAX: usize = 512 << 10;
/// New letters that an item names at most.
const NEW_LETTERS_MAX: usize = 16;
/// From this age on an event is stored only.
const EXPIRED_MS: i64 = 86_400_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    ids: Option<Vec<String>>,
    source: Option<String>,
    code: Option<String>,
    limit: Option<usize>,
    operator: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Default, Serialize)]
struct Answer {
    ok: usize,
    failed: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pending: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    items: Vec<Item>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[derive(Serialize)]
struct Item {
    id: String,
    status: &'static str,
    /// Why it is stored only.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Where the events of a payload went, and how many each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    events: BTreeMap<&'static str, u64>,
    /// Ids of what of it is a dead letter again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    letters: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ItemProblem>,
}

#[derive(Serialize)]
struct ItemProblem {
    code: String,
    detail: String,
}

impl Item {
    fn plain(id: String, status: &'static str) -> Item {
        Item { id, status, reason: None, events: BTreeMap::new(), letters: Vec::new(), problem: None }
    }

    fn problem(id: String, status: &'static str, detail: String) -> Item {
        Item { problem: Some(ItemProblem { code: status.to_owned(), detail }), ..Item::plain(id, status) }
    }
}

impl Answer {
    fn add(&mut self, item: Item) {
        match item.status {
            "pending" => self.pending += 1,
            "dead-again" | "not-found" | "not-redrivable" | "not-tried" => self.failed += 1,
            _ => self.ok += 1,
        }
        self.items.push(item);
    }
}

/// The route.
pub async fn redrive(State(api): State<Api>, request: Request<Body>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    Query::read(&head.uri, &[]).map_err(Problem::closing)?;
    json_only(&head.headers)?;
    let key = idempotency_key(&head.headers)?;
    let limits = BodyLimits { sent_max: BODY_MAX, decoded_max: BODY_MAX, total: Duration::from_secs(10), ..BodyLimits::default() };
    let (asked, key) = {
        let ReadBody { bytes, lease: _lease, .. } = read_body(&head.headers, body, &limits, &api.budget).await?;
        (asked(&bytes)?, key.map(|key| RepeatKey::new(&key, &bytes)))
    };
    let work = tried(api.clone(), asked);
    let done = match key {
        None => work.await.or_else(|unkept| unkept),
        Some(key) => api.redriven.once(key, work).await,
    };
    done.map(|answered| json_bytes(answered.status, answered.body.to_vec()))
}

/// An answer, written.
#[derive(Clone)]
pub(super) struct Answered {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// Whether a repeat would find nothing left to do.
    fn is_final(&self) -> bool {
        !self.dry_run && self.items.iter().all(|item| !matches!(item.status, "pending" | "not-tried"))
    }

    fn written(&self) -> Result<Answered, Problem> {
        let status = if self.pending > 0 { StatusCode::ACCEPTED } else { StatusCode::OK };
        let body = serde_json::to_vec(self).map_err(|error| ProblemCode::Internal.problem(format!("the answer has no JSON form: {error}")))?;
        Ok(Answered { status, body: body.into() })
    }
}

/// Does it. `Err` is an answer after which a repeat may do more.
async fn tried(api: Api, asked: Asked) -> Result<Answered, Result<Answered, Problem>> {
    let answer = try_letters(&api, asked).await.map_err(Err)?;
    let written = answer.written().map_err(Err)?;
    if answer.is_final() && written.body.len() <= KEPT_BYTES_MAX { Ok(written) } else { Err(Ok(written)) }
}

async fn try_letters(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let mut answer = Answer { dry_run: asked.dry_run, ..Answer::default() };
    let letters = wanted(api, &asked, &mut answer).await?;
    if asked.dry_run {
        let now_ms = now_ms();
        let would = |letter: &DeadLetterRow| if now_ms - letter.received_at_ms > EXPIRED_MS { "would-expire" } else { "would-redrive" };
        letters.iter().for_each(|letter| answer.add(Item::plain(letter.id.to_string(), would(letter))));
        return Ok(answer);
    }
    let redrive = Redrive {
        // There are no tokens yet, so everyone is of one tenant.
        tenant: Text::new_static("system"),
        operator: asked.operator.as_deref().map_or(Text::new_static(ANONYMOUS), |operator| Text::new(operator.trim())),
        comment: asked.comment.as_deref().map(Text::new).unwrap_or_default(),
        letters: Vec::new(),
    };
    for record in records(&letters) {
        if answer.pending > 0 {
            let not_tried =
                |letter: &DeadLetterRow| Item::problem(letter.id.to_string(), "not-tried", "the pipeline is behind; send it again later".to_owned());
            record.iter().for_each(|letter| answer.add(not_tried(letter)));
            continue;
        }
        hand_over(api, &redrive, record, &mut answer).await?;
    }
    tracing::info!(operator = %redrive.operator, ok = answer.ok, failed = answer.failed, pending = answer.pending, "dead letters were tried again");
    Ok(answer)
}

/// Reads a body; whatever is wrong with it, nothing is done.
fn asked(bytes: &[u8]) -> Result<Asked, Problem> {
    let refuse = |pointer: &str, why: String| ProblemCode::Command.problem(why).at(pointer);
    let unreadable = |why: &str| {
        let words: String = why.chars().take(200).collect();
        ProblemCode::Command
            .problem(format!("the body is no redrive: {words}; send {{\"ids\": [\"..\"]}} or {{\"source\": \"..\", \"code\": \"..\", \"limit\": 100}}"))
    };
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(unreadable("it is no JSON object"));
    }
    let asked: Asked = serde_json::from_slice(bytes).map_err(|e| unreadable(&e.to_string()))?;
    match (&asked.ids, asked.source.is_some() || asked.code.is_some()) {
        (Some(_), true) => return Err(refuse("/ids", "name letters by `ids`, or by `source` and `code`, not by both".to_owned())),
        (None, false) => return Err(refuse("/ids", "name letters by `ids`, or by `source` or `code`".to_owned())),
        (Some(ids), false) if ids.is_empty() => return Err(refuse("/ids", "`ids` is empty; name at least one letter".to_owned())),
        (Some(ids), false) if ids.len() > LETTERS_MAX => {
            return Err(refuse("/ids", format!("`ids` has {} entries, at most {LETTERS_MAX} are taken; send several requests", ids.len())));
        }
        (Some(_), false) if asked.limit.is_some() => return Err(refuse("/limit", "`limit` goes with `source` or `code`".to_owned())),
        _ => {}
    }
    if asked.limit.is_some_and(|limit| !(1..=LETTERS_MAX).contains(&limit)) {
        return Err(refuse("/limit", format!("`limit` is 1 to {LETTERS_MAX}")));
    }
    let check = |name: &str, text: &Option<String>, check: fn(&str) -> Result<(), TextRefused>| match text.as_deref().map(check) {
        Some(Err(why)) => Err(refuse(&format!("/{name}"), format!("`{name}` {why}"))),
        _ => Ok(()),
    };
    check("comment", &asked.comment, check_comment)?;
    check("operator", &asked.operator, check_operator)?;
    Ok(asked)
}

/// The letters that can be tried again, without their items; what else was named goes into the answer.
async fn wanted(api: &Api, asked: &Asked, answer: &mut Answer) -> Result<Vec<DeadLetterRow>, Problem> {
    let (source, code, limit) = (asked.source.clone(), asked.code.clone(), asked.limit.unwrap_or(100));
    let found: Vec<(String, Option<DeadLetterRow>)> = match &asked.ids {
        Some(ids) => {
            let mut seen = HashSet::new();
            let ids: Vec<String> = ids.iter().filter(|id| seen.insert((*id).clone())).cloned().collect();
            let read = move |reads: &dyn AlertReads| {
                let without_item = |row: DeadLetterRow| DeadLetterRow { item: None, ..row };
                let one = |id: String| {
                    let row = id.parse().ok().map(|number| reads.dead_letter(number)).transpose()?.flatten();
                    Ok((id, row.map(without_item)))
                };
                ids.into_iter().map(one).collect()
            };
            api.read(read).await?
        }
        None => {
            let page = api.read(move |reads| reads.dead_letters(source.as_deref(), code.as_deref(), None, limit)).await?;
            page.items.into_iter().map(|row| (row.id.to_string(), Some(row))).collect()
        }
    };
    let mut letters = Vec::new();
    for (id, row) in found {
        match row {
            None => {
                let short: String = id.chars().take(64).collect();
                answer.add(Item::problem(id, "not-found", format!("there is no dead letter {short:?}; it was tried again already, or retention removed it")));
            }
            Some(row) if row.arrival.is_none() => {
                answer.add(Item::problem(id, "not-redrivable", "it did not come by a door of this server, so it cannot be understood again".to_owned()));
            }
            Some(row) => letters.push(row),
        }
    }
    Ok(letters)
}

/// Cuts letters into those of one record each: a few items together, a payload alone.
fn records(letters: &[DeadLetterRow]) -> impl Iterator<Item = &[DeadLetterRow]> {
    let is_payload = |letter: &DeadLetterRow| letter.arrival.as_ref().is_some_and(|arrival| arrival.by == ArrivalBy::Payload);
    let mut bytes = 0;
    letters.chunk_by(move |before, next| {
        bytes = if bytes == 0 { before.bytes + next.bytes } else { bytes + next.bytes };
        let is_one = !is_payload(before) && !is_payload(next) && bytes <= RECORD_BYTES;
        if !is_one {
            bytes = 0;
        }
        is_one
    })
}

/// Has the letters of one record tried again, and answers for each.
async fn hand_over(api: &Api, redrive: &Redrive, letters: &[DeadLetterRow], answer: &mut Answer) -> Result<(), Problem> {
    let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
    let rows = api.read(move |reads| ids.into_iter().map(|id| Ok((id, reads.dead_letter(id)?))).collect::<Result<Vec<_>, _>>()).await?;
    let (mut handed, mut ids) = (Vec::new(), Vec::new());
    for (id, row) in rows {
        // It may have gone since it was looked for.
        let Some((row, arrival)) = row.and_then(|mut row| row.arrival.take().map(|arrival| (row, arrival))) else {
            answer.add(Item::problem(id.to_string(), "not-found", format!("dead letter {id} is gone: it was tried again already, or retention removed it")));
            continue;
        };
        ids.push(id);
        let DeadLetterRow { ordinal, index, received_at_ms, source, item, .. } = row;
        handed.push(RedrivenLetter { ordinal, index, received_at_ms, source: source.into(), arrival, item: item.unwrap_or_default().into() });
    }
    if handed.is_empty() {
        return Ok(());
    }
    let fates = match api.commands.redrive(Redrive { letters: handed, ..redrive.clone() }).await {
        Ok(fates) => fates,
        // What was answered for others before is worth more than one problem for all.
        Err(error) if !answer.items.is_empty() => {
            let detail = error.to_string();
            ids.into_iter().for_each(|id| answer.add(Item::problem(id.to_string(), "not-tried", format!("{detail}; send it again"))));
            return Ok(());
        }
        Err(error) => return Err(refused_by_journal(error)),
    };
    let Some(fates) = fates else {
        let detail = |id: u64| format!("it is on disk and not decided yet; once it is, there is no dead letter {id} any more");
        ids.into_iter().for_each(|id| answer.add(Item::problem(id.to_string(), "pending", detail(id))));
        return Ok(());
    };
    let places: Vec<(u64, u32)> = fates.iter().flat_map(|fate| fate.dead.iter().take(NEW_LETTERS_MAX).map(|index| (fate.ordinal, *index))).collect();
    let read = move |reads: &dyn AlertReads| {
        let of_place = |(place, id): ((u64, u32), Option<u64>)| -> Result<_, super::ReadError> {
            let row = id.map(|id| reads.dead_letter(id)).transpose()?.flatten();
            Ok((place, row.map(|row| DeadLetterRow { item: None, ..row })))
        };
        let new = reads.dead_letters_of(&places)?;
        places.into_iter().zip(new).map(of_place).collect::<Result<BTreeMap<_, _>, _>>()
    };
    // The letters are done whether they can be read now or not.
    let new = if fates.iter().all(|fate| fate.dead.is_empty()) { BTreeMap::new() } else { api.read(read).await.unwrap_or_default() };
    for (id, fate) in ids.into_iter().zip(fates) {
        answer.add(item(id.to_string(), fate, &new));
    }
    Ok(())
}

fn item(id: String, fate: LetterFate, new: &BTreeMap<(u64, u32), Option<DeadLetterRow>>) -> Item {
    let (status, reason) = status(&fate);
    let again: Vec<&DeadLetterRow> = fate.dead.iter().filter_map(|index| new.get(&(fate.ordinal, *index))?.as_ref()).collect();
    let problem = (status == "dead-again").then(|| match again.first() {
        Some(letter) => ItemProblem { code: letter.code.clone(), detail: letter.detail.clone() },
        None => ItemProblem { code: status.to_owned(), detail: "it is a dead letter again".to_owned() },
    });
    let is_one = fate.outcomes.iter().map(|(_, n)| n).sum::<u64>() <= 1;
    let events = if is_one { BTreeMap::new() } else { fate.outcomes.iter().map(|(outcome, n)| (outcome.counter(), *n)).collect() };
    Item { id, status, reason, events, letters: again.iter().map(|letter| letter.id.to_string()).collect(), problem }
}

/// One word for a letter: what went wrong, or the best that came of it.
fn status(fate: &LetterFate) -> (&'static str, Option<&'static str>) {
    let rank = |outcome: &Outcome| match outcome {
        Outcome::DeadLetter => 0,
        Outcome::Folded => 1,
        Outcome::Refreshed => 2,
        Outcome::StoredOnly(_) => 3,
        Outcome::NoEvents => 4,
        Outcome::Duplicate => 5,
    };
    match fate.outcomes.iter().map(|(outcome, _)| outcome).min_by_key(|outcome| rank(outcome)) {
        Some(Outcome::DeadLetter) => ("dead-again", None),
        Some(Outcome::Folded) => ("folded", None),
        Some(Outcome::Refreshed) => ("refreshed", None),
        Some(Outcome::StoredOnly(reason)) => ("stored-only", Some(why(*reason))),
        Some(Outcome::Duplicate) => ("duplicate", None),
        Some(Outcome::NoEvents) | None => ("no-events", None),
    }
}

fn why(reason: StoredOnly) -> &'static str {
    let counter = Outcome::StoredOnly(reason).counter();
    counter.split_once('.').map_or(counter, |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::letter::Arrival;

    fn letter(id: u64, by: ArrivalBy, bytes: u64) -> DeadLetterRow {
        let (source, code, tenant, detail) = ("s".into(), "clean-error".into(), "system".into(), "why".into());
        DeadLetterRow { id, ordinal: id, index: 0, received_at_ms: 0, tenant, source, code, detail, bytes, arrival: Some(Arrival::by(by)), item: None }
    }

    #[test]
    fn payloads_are_alone_and_items_bounded_in_their_records() {
        let (item, payload) = (ArrivalBy::Events, ArrivalBy::Payload);
        let k = 1_024;
        let letters: Vec<DeadLetterRow> =
            [(item, 100 * k), (item, 100 * k), (item, 100 * k), (payload, 1), (payload, 1), (item, 900 * k), (item, 1), (item, 0), (item, 0)]
                .into_iter()
                .zip(1..)
                .map(|((by, bytes), id)| letter(id, by, bytes))
                .collect();
        let cut: Vec<Vec<u64>> = records(&letters).map(|record| record.iter().map(|letter| letter.id).collect()).collect();
        assert_eq!(cut, [vec![1, 2], vec![3], vec![4], vec![5], vec![6], vec![7, 8, 9]]);
    }

    #[test]
    fn a_letter_that_became_many_things_says_the_worst_of_them() {
        let fate = |outcomes: &[(Outcome, u64)]| LetterFate { ordinal: 1, index: 0, outcomes: outcomes.to_vec(), dead: Vec::new() };
        let stored = Outcome::StoredOnly(StoredOnly::Expired);
        assert_eq!(status(&fate(&[(Outcome::Duplicate, 2), (stored, 1)])), ("stored-only", Some("expired")));
        assert_eq!(status(&fate(&[(Outcome::Folded, 9), (Outcome::DeadLetter, 1)])), ("dead-again", None));
        assert_eq!((status(&fate(&[(Outcome::Duplicate, 1)])), status(&fate(&[]))), (("duplicate", None), ("no-events", None)));
    }
}

//! Seeded simulator: senders, clock and operator around the production pipeline (decode, both halves, timers, rule-set
//! switches) on fake ports, in one thread and virtual time. A crash drops every future where it waits.

#![allow(missing_docs)] // Inside of a test program; each file says what it is for.

mod check;
mod ports;
mod rng;
mod world;

pub use world::{Plant, Weather};

use alertmill_core::decode::{ContentKind, ITEMS_PER_REQUEST_MAX, decode_request};
use alertmill_core::pipeline::conductor::{fold_half, prepare_half};
use alertmill_core::pipeline::fold::{Fold, FoldConfig};
use alertmill_core::ports::{Journal, Restored, RestoredAlert};
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, RecordBody, RuleSet};
use ports::{Channel, FakeJournal, FakePatience, FakeRecords, FakeRules, FakeStore, Receiver, Sender, Watcher};
use rng::Rng;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use world::World;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Hash of every port call and its moment; two runs of one seed have the same.
    pub trace: u64,
    pub calls: u64,
    pub crashes: u64,
    pub faults: u64,
    pub checks: u64,
    pub acknowledged: u64,
}

const EVENTS: u64 = 40;
const SENDERS: u64 = 3;
const FAULTS_END_MS: i64 = 1_700_000_000_000 + 600_000;
const GIVE_UP_MS: i64 = FAULTS_END_MS + 40_000_000;

/// Runs one seed to the end, or says which promise broke.
pub fn simulate(seed: u64, weather: Weather, plant: Option<Plant>) -> Result<Outcome, String> {
    let world = World::new(seed, weather, plant);
    let mut sent = vec![0u64; SENDERS as usize];
    loop {
        let done = live(&world, seed, &mut sent)?;
        if done {
            let state = world.state();
            check::finally(&state).map_err(|why| format!("seed {seed}: {why}"))?;
            return Ok(Outcome {
                trace: state.trace,
                calls: state.calls,
                crashes: state.crashes,
                faults: state.faults,
                checks: state.checks,
                acknowledged: state.acknowledged.len() as u64,
            });
        }
        world.restart();
    }
}

type Task<'t> = Pin<Box<dyn Future<Output = ()> + Send + 't>>;

/// One life of the process; `true` when all was sent, acknowledged and folded, `false` when it crashed.
fn live(world: &World, seed: u64, sent: &mut [u64]) -> Result<bool, String> {
    let restored = restored(world);
    let in_force = restored.rule_set.clone();
    let mut fold = Fold::restore(&restored, FoldConfig::default()).map_err(|e| e.to_string())?;
    world.state().next_due_ms = fold.next_due_ms();
    let (channel, journal) = (Channel::default(), FakeJournal(world));
    let (mut records, mut out, mut incoming) = (FakeRecords::new(world), Sender(world, &channel), Receiver(world, &channel));
    let (mut store, mut watcher) = (FakeStore(world), Watcher(world));
    let (mut patience_a, mut patience_b) = (FakePatience(world), FakePatience(world));
    let config = check::understand_config();
    let mut tasks: Vec<Task<'_>> = vec![
        Box::pin(async {
            prepare_half(&mut records, &FakeRules, &in_force, &config, &mut out, &mut patience_a).await;
        }),
        Box::pin(async {
            fold_half(&mut fold, &mut store, &mut incoming, &mut watcher, &mut patience_b).await.expect("the store never fails for good");
        }),
        Box::pin(clock(world, &journal)),
        Box::pin(operator(world, &journal)),
    ];
    let planted = world.state().plant.is_some();
    let senders_from = tasks.len();
    for (i, sent) in sent.iter_mut().enumerate() {
        tasks.push(Box::pin(sender(world, &journal, seed, i as u64, sent)));
    }
    let senders = senders_from..tasks.len();
    if planted {
        tasks.push(Box::pin(ports::late_sync(world)));
    }
    run(world, seed, &mut tasks, senders)
}

/// Polls everything that may go on; when nothing can, time jumps to the next moment that somebody waits for.
fn run(world: &World, seed: u64, tasks: &mut [Task<'_>], senders: std::ops::Range<usize>) -> Result<bool, String> {
    let mut context = Context::from_waker(Waker::noop());
    let mut finished = vec![false; tasks.len()];
    loop {
        for (task, finished) in tasks.iter_mut().zip(&mut finished) {
            if !*finished {
                *finished = task.as_mut().poll(&mut context).is_ready();
            }
            if world.state().crashed {
                return Ok(false);
            }
        }
        let mut state = world.state();
        state.checks += 1;
        check::always(&state).map_err(|why| format!("seed {seed} at {} ms: {why}", state.now_ms))?;
        let all_sent = finished[senders.clone()].iter().all(|finished| *finished);
        let all_folded = state.disk.journal_unsynced.is_empty() && state.disk.journal.last().is_none_or(|last| last.ordinal == state.disk.tables.position);
        if all_sent && all_folded {
            return Ok(true);
        }
        if std::mem::take(&mut state.progress) {
            continue;
        }
        if state.now_ms > FAULTS_END_MS {
            state.weather.fault_percent = 0;
            state.weather.crash_percent = 0;
        }
        if state.next_wake_ms == i64::MAX || state.now_ms > GIVE_UP_MS {
            return Err(format!("seed {seed}: nothing moves at {} ms, {} of {} acknowledged", state.now_ms, state.acknowledged.len(), EVENTS * SENDERS));
        }
        state.now_ms = state.now_ms.max(state.next_wake_ms);
        state.next_wake_ms = i64::MAX;
    }
}

fn restored(world: &World) -> Restored {
    let state = world.state();
    let tables = &state.disk.tables;
    Restored {
        position: tables.position,
        received_at_ms: tables.received_at_ms,
        started_at_ms: tables.started_at_ms,
        alerts: tables.alerts.values().map(|a| RestoredAlert { seq: a.seq, document: a.document.clone(), state: a.state.clone(), revision: a.revision }).collect(),
        ledger: tables.ledger.iter().map(|((s, n, c), v)| (s.as_str().into(), n.as_str().into(), c.as_str().into(), *v)).collect(),
        rule_set: tables.rule_set.clone(),
    }
}

/// A client that sends its events in order and repeats each until it is told that it is safe.
async fn sender(world: &World, journal: &FakeJournal<'_>, seed: u64, sender: u64, sent: &mut u64) {
    while *sent < EVENTS {
        // What is sent depends on the seed and its number only, so that a retry after a crash is the same event.
        let mut rng = Rng::new(seed ^ (sender << 32) ^ *sent);
        let n = (1 + rng.below(4)).min(EVENTS - *sent);
        let body: Vec<String> = (*sent..*sent + n).map(|k| event(&mut Rng::new(seed ^ (sender << 32) ^ (k << 8) ^ 1), sender, k)).collect();
        let ids: Vec<String> = (*sent..*sent + n).map(|k| event_id(sender, k)).collect();
        while !post(journal, &format!("[{}]", body.join(","))).await {
            world.wait(50).await;
        }
        world.state().acknowledged.extend(ids);
        *sent += n;
        world.wait(rng.below(3_000)).await;
    }
}

fn event_id(sender: u64, k: u64) -> String {
    format!("s{sender}-{k}")
}

fn event(rng: &mut Rng, sender: u64, k: u64) -> String {
    let host = rng.below(4);
    let status = match rng.below(6) {
        0 => "RECOVERED",
        1 => "CLOSED",
        _ => "ABNORMAL",
    };
    let time = 1_700_000_000 + k as i64 * 3 - rng.below(20) as i64;
    format!(
        r#"{{"event_id":"{}","alert_name":"disk full","severity":{},"status":"{status}","time":{time},"bk_biz_id":2,"tags":[{{"key":"host","value":"web{host}"}}],"dedupe_keys":["tags.host"]}}"#,
        event_id(sender, k),
        1 + rng.below(3)
    )
}

/// What a door does with a request: decode, append, and only then say yes.
async fn post(journal: &FakeJournal<'_>, body: &str) -> bool {
    let Ok(decoded) = decode_request(Door::Events, body.as_bytes(), ContentKind::Json, "system", ITEMS_PER_REQUEST_MAX) else { return false };
    let spans = decoded.good.iter().map(|good| ItemSpan { bytes: good.bytes.start as u32..good.bytes.end as u32, request_index: good.index }).collect();
    let items = Items {
        tenant: "system".into(),
        source: "sim".into(),
        door: Door::Events,
        idempotency_key: None,
        counts: DoorCounts { received: u64::from(decoded.received), refused: decoded.refused.len() as u64, duplicates: decoded.duplicates.len() as u64 },
        heap: body.as_bytes().into(),
        spans,
    };
    let parsed = decoded.good.into_iter().map(|good| good.item).collect();
    journal.append(RecordBody::Items(items), Some(parsed)).await.is_ok()
}

/// Writes a clock record when a time-out is due and nothing else came by.
async fn clock(world: &World, journal: &FakeJournal<'_>) {
    loop {
        let due = world.until(|state| state.next_due_ms).await;
        world
            .until(|state| {
                if state.now_ms >= due || state.next_due_ms.is_some_and(|next| next != due) {
                    return Some(());
                }
                state.next_wake_ms = state.next_wake_ms.min(due);
                None
            })
            .await;
        let late = {
            let state = world.state();
            state.now_ms >= due && state.disk.tables.received_at_ms < due
        };
        if late {
            let _ = journal.append(RecordBody::Clock, None).await;
        }
        world.wait(1_000).await;
    }
}

/// Switches the rule set now and then.
async fn operator(world: &World, journal: &FakeJournal<'_>) {
    loop {
        let generation = world.state().disk.tables.rule_set.generation;
        if generation >= 4 {
            return;
        }
        let set = RuleSet { generation: generation + 1, ..RuleSet::default() };
        let _ = journal.append(RecordBody::RuleSet(set), None).await;
        world.wait(8_000).await;
    }
}

//! One life of the process: core's two halves on the fake ports, with start, clock, operator and senders around them.

use crate::check;
use crate::failure::{Failure, Promise};
use crate::plant::Plant;
use crate::ports::{Channel, FakeJournal, FakePatience, FakeRecords, FakeRules, FakeStore, Receiver, Sender, Watcher, late_sync};
use crate::senders;
use crate::setup::Setup;
use crate::tasks::{clock, operator, start};
use crate::world::{BEGIN_MS, FAULTS_END_MS, State, World};
use alertmill_core::pipeline::conductor::{fold_half, prepare_half};
use alertmill_core::pipeline::fold::Fold;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

/// By then everything must have come to rest.
const GIVE_UP_MS: i64 = BEGIN_MS + 72 * 3_600_000;
/// A time-out fires within it, with a process that is up.
const OVERDUE_MS: i64 = 60_000;

type Task<'t> = Pin<Box<dyn Future<Output = ()> + Send + 't>>;

/// Lives until all is sent, acknowledged, folded and timed out (`true`), or until a crash (`false`).
pub fn live(world: &World, seed: u64, setup: &Setup, sent: &mut [u64]) -> Result<bool, Failure> {
    let mut restored = world.state().disk.tables.restored();
    let in_force = restored.rule_set.clone();
    if world.has(Plant::StartGraceLost) {
        restored.started_at_ms = 0;
    }
    if world.has(Plant::ForgottenAlert) {
        let open = world.state().disk.tables.closes_at_s.keys().next().copied();
        restored.alerts.retain(|alert| Some(alert.seq) != open);
    }
    let mut fold = Fold::restore(&restored, check::fold_config(seed)).map_err(|e| Failure::other(e.to_string()))?;
    world.state().next_due_ms = fold.next_due_ms();
    let (channel, journal, rules) = (Channel::default(), FakeJournal(world), FakeRules::new(world));
    let (mut records, mut out, mut incoming) = (FakeRecords::new(world), Sender(world, &channel), Receiver(world, &channel));
    let (mut store, mut watcher) = (FakeStore(world), Watcher(world));
    let (mut patience_a, mut patience_b) = (FakePatience(world), FakePatience(world));
    let config = check::understand_config();
    let mut tasks: Vec<Task<'_>> = vec![
        Box::pin(async {
            let error = prepare_half(&mut records, &rules, &in_force, &config, &mut out, &mut patience_a).await;
            world.state().broken.get_or_insert(Failure::other(format!("prepare ended: {error}")));
        }),
        Box::pin(async {
            let ended = fold_half(&mut fold, &mut store, &mut incoming, &mut watcher, &mut patience_b).await;
            world.state().broken.get_or_insert(Failure::other(format!("the fold ended: {ended:?}")));
        }),
    ];
    if !world.has(Plant::ClockSkipped) {
        tasks.push(Box::pin(clock(world, &journal)));
    }
    if world.has(Plant::EarlyAcknowledge) {
        tasks.push(Box::pin(late_sync(world)));
    }
    let ending = tasks.len();
    tasks.push(Box::pin(start(world, &journal)));
    tasks.push(Box::pin(operator(world, &journal)));
    for (n, sent) in (0..).zip(sent.iter_mut()).filter(|(n, _)| setup.load.has(*n)) {
        let journal = &journal;
        tasks.push(Box::pin(async move {
            world.until(|state| state.started.then_some(())).await;
            senders::run(world, journal, seed, n, setup.load, sent).await;
        }));
    }
    run(world, &mut tasks, ending)
}

/// Polls everything that may go on; when nothing can, time jumps to the next moment that somebody waits for. The tasks
/// from `ending` on come to an end by themselves.
fn run(world: &World, tasks: &mut [Task<'_>], ending: usize) -> Result<bool, Failure> {
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
        let mut guard = world.state();
        let state = &mut *guard;
        if let Some(failure) = state.broken.take() {
            return Err(failure);
        }
        if std::mem::take(&mut state.unchecked) {
            state.checks += 1;
            check::always(state)?;
        }
        let all_ended = finished[ending..].iter().all(|finished| *finished);
        if all_ended && state.all_folded() && state.disk.tables.closes_at_s.is_empty() && state.next_due_ms.is_none() {
            return Ok(true);
        }
        if std::mem::take(&mut state.progress) {
            continue;
        }
        jump(state)?;
    }
}

fn jump(state: &mut State) -> Result<(), Failure> {
    if state.now_ms > FAULTS_END_MS {
        state.weather.fault_percent = 0;
        state.weather.crash_percent = 0;
    }
    // The observer waits too: with no clock in the process, time goes by all the same.
    if let Some((what, at_ms)) = overdue(state) {
        if state.now_ms >= at_ms {
            return Err(Failure::broken(Promise::I8, format!("{what} is due for over {} s and did not fire", OVERDUE_MS / 1000)));
        }
        state.next_wake_ms = state.next_wake_ms.min(at_ms);
    }
    if state.next_wake_ms == i64::MAX || state.now_ms > GIVE_UP_MS {
        let tables = &state.disk.tables;
        let last = state.disk.journal.last().map_or(0, |record| record.ordinal);
        return Err(Failure::other(format!("nothing moves: {} records, {} folded, {} alerts open", last, tables.position, tables.closes_at_s.len())));
    }
    state.now_ms = state.now_ms.max(state.next_wake_ms);
    state.next_wake_ms = i64::MAX;
    Ok(())
}

/// What should have fired first, and the moment from which that is a fault: the time-out of an open alert as its document
/// says, or whatever the fold itself waits for.
fn overdue(state: &State) -> Option<(String, i64)> {
    let late = |at_ms: i64| state.at_wall(at_ms).max(state.up_since_ms) + OVERDUE_MS;
    let alerts = state.disk.tables.closes_at_s.iter().map(|(seq, at_s)| (Some(*seq), late(at_s * 1000)));
    let waits = state.next_due_ms.map(|at_ms| (None, late(at_ms)));
    let (seq, at_ms) = alerts.chain(waits).min_by_key(|(_, at_ms)| *at_ms)?;
    Some((seq.map_or("a time-out".to_owned(), |seq| format!("the time-out of alert {seq}")), at_ms))
}

//! One life of the process: core's two halves on the fake ports, with start, clock, operator and senders around them.

use crate::check;
use crate::commands::{OPERATORS, operate};
use crate::disk::verdicts_of;
use crate::failure::{Failure, Promise};
use crate::plant::Plant;
use crate::ports::{
    Channel, FakeElasticsearch, FakeHalts, FakeJournal, FakeOutbox, FakePatience, FakeRecords, FakeRedis, FakeRest, FakeRules, FakeStore, News, Receiver,
    Sender, Watcher, forgetting, writer,
};
use crate::redrives::{publish, redrive};
use crate::restart::{draw_crash, goes_down_here};
use crate::senders;
use crate::services::{deliver_late, next_late_ms};
use crate::tasks::{boot, checkpoint, clock, operator, release, start, stop, supervisor};
use crate::world::{BEGIN_MS, FAULTS_END_MS, State, World};
use alertmill_core::pipeline::conductor::{Judging, fold_half, prepare_half};
use alertmill_core::pipeline::fold::Fold;
use alertmill_core::pipeline::ship::{Surroundings, ship_alerts, ship_snapshots, ship_stream};
use alertmill_core::ports::{PortError, Restored};
use alertmill_core::services::Stream;
use alertmill_core::verdict::Verdicts;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

/// By then everything must have come to rest.
const GIVE_UP_MS: i64 = BEGIN_MS + 96 * 3_600_000;
/// A time-out fires within it, with a process that is up.
const OVERDUE_MS: i64 = 60_000;

type Task<'t> = Pin<Box<dyn Future<Output = ()> + Send + 't>>;

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is sent, acknowledged, folded and timed out.
    AtRest,
    Crashed,
}

/// Lives until all has come to rest, or until a crash.
pub fn live(world: &World, seed: u64, sent: &mut [u64]) -> Result<End, Failure> {
    draw_crash(&mut world.state());
    if run(world, &mut [Box::pin(boot(world))], 0, |_| true)? == End::Crashed {
        return Ok(End::Crashed);
    }
    let mut restored = world.state().disk.tables.restored();
    let in_force = restored.rule_set.clone();
    world.state().life.generation = in_force.generation;
    if world.has(Plant::StartGraceLost) {
        restored.started_at_ms = 0;
    }
    if world.has(Plant::ForgottenAlert) {
        let open = world.state().disk.tables.closes_at_s.keys().next().copied();
        restored.alerts.retain(|alert| Some(alert.seq) != open);
    }
    let mut fold = Fold::restore(&restored, check::fold_config(seed)).map_err(|e| Failure::other(e.to_string()))?;
    world.state().life.next_due_ms = fold.next_due_ms();
    let (channel, journal, rules) = (Channel::default(), FakeJournal(world), FakeRules::new(world));
    let (mut records, mut out, mut incoming) = (FakeRecords::new(world), Sender(world, &channel), Receiver(world, &channel));
    let (mut store, mut watcher) = (FakeStore(world), Watcher(world));
    let known = known_verdicts(&mut world.state(), &restored);
    let judging = || Judging { journal: &journal, known: &known, halts: FakeHalts(world), patience: FakePatience(world) };
    let (mut prepares, mut folds) = (judging(), judging());
    let config = check::understand_config();
    let mut tasks: Vec<Task<'_>> = vec![
        Box::pin(async {
            let error = prepare_half(&mut records, &rules, &in_force, &config, &mut out, &mut prepares).await;
            half_ended(world, format!("prepare ended: {error}"));
        }),
        Box::pin(async {
            let ended = fold_half(&mut fold, &rules, &mut store, &mut incoming, &mut watcher, &mut folds).await;
            half_ended(world, format!("the fold ended: {ended:?}"));
        }),
        Box::pin(writer(world)),
        Box::pin(checkpoint(world)),
        Box::pin(release(world)),
        Box::pin(supervisor(world)),
        Box::pin(stop(world)),
    ];
    if world.state().services.are_on {
        tasks.push(Box::pin(forgetting(world)));
        tasks.extend(shipping(world, seed));
    }
    if !world.has(Plant::ClockSkipped) {
        tasks.push(Box::pin(clock(world, &journal)));
    }
    let ending = tasks.len();
    tasks.push(Box::pin(start(world, &journal)));
    tasks.push(Box::pin(operator(world, &journal)));
    for n in 0..OPERATORS {
        tasks.push(Box::pin(operate(world, &journal, seed, n)));
    }
    tasks.push(Box::pin(redrive(world, &journal, seed)));
    tasks.push(Box::pin(publish(world, &journal, seed)));
    let load = world.state().setup.load;
    for (n, sent) in (0..).zip(sent.iter_mut()).filter(|(n, _)| load.has(*n)) {
        let journal = &journal;
        tasks.push(Box::pin(async move {
            world.until(|state| state.life.started.then_some(())).await;
            senders::run(world, journal, seed, n, load, sent).await;
        }));
    }
    run(world, &mut tasks, ending, |state| {
        let is_folded = state.all_folded() && state.disk.tables.closes_at_s.is_empty() && state.life.next_due_ms.is_none();
        if !is_folded {
            return false;
        }
        // Nothing goes wrong from here on: services have half a minute.
        let now_ms = state.now_ms();
        state.calm = true;
        state.services.quiet_since_ms.get_or_insert(now_ms);
        check::is_even(state)
    })
}

/// What earlier lives came to: from the state what has no end, from the journal what lies behind its position.
fn known_verdicts(state: &mut State, restored: &Restored) -> Vec<Verdicts> {
    let mut known = Vec::new();
    if state.setup.plant != Some(Plant::VerdictNotRestored) {
        known.push(Verdicts { generation: restored.rule_set.generation, verdicts: restored.open_verdicts.clone() });
    }
    if state.setup.plant != Some(Plant::VerdictNotRead) {
        known.extend(verdicts_of(state.disk.journal.records.iter().skip(restored.position as usize)));
    }
    known
}

/// A half ends when its verdicts are not taken because the journal has stopped, or is closed; else something is wrong.
fn half_ended(world: &World, why: String) {
    let mut state = world.state();
    if !state.life.journal_stopped && state.life.stops_by_ms.is_none() {
        state.broken.get_or_insert(Failure::other(why));
    }
}

/// The four loops of shipping.
fn shipping<'w>(world: &'w World, seed: u64) -> Vec<Task<'w>> {
    let page_bytes = [60_000, 400_000, 5 << 20][seed as usize % 3];
    let around =
        move |looks_at_cache| Surroundings { rest: FakeRest { world, looks_at_cache }, patience: FakePatience(world), watcher: News(world), page_bytes };
    let ended = |what: &'static str, error: PortError| {
        world.state().broken.get_or_insert(Failure::other(format!("{what} ended: {error}")));
    };
    let life = world.state().rng.next();
    let mut tasks: Vec<Task<'w>> = vec![
        Box::pin(async move { ended("shipping of alerts", ship_alerts(&mut FakeOutbox(world), &mut FakeElasticsearch(world), &mut around(false)).await) }),
        Box::pin(async move { ended("shipping of snapshots", ship_snapshots(life, &mut FakeOutbox(world), &mut FakeRedis(world), &mut around(true)).await) }),
    ];
    for stream in [Stream::Events, Stream::Logs] {
        tasks.push(Box::pin(async move {
            ended("shipping of a stream", ship_stream(stream, &mut FakeOutbox(world), &mut FakeElasticsearch(world), &mut around(false)).await);
        }));
    }
    tasks
}

/// Polls everything that may go on; when nothing can, time jumps to the next moment that somebody waits for. The tasks
/// from `ending` on come to an end by themselves; the run is over when they have and the world is at rest.
fn run(world: &World, tasks: &mut [Task<'_>], ending: usize, at_rest: impl Fn(&mut State) -> bool) -> Result<End, Failure> {
    let mut context = Context::from_waker(Waker::noop());
    let mut finished = vec![false; tasks.len()];
    loop {
        for (task, finished) in tasks.iter_mut().zip(&mut finished) {
            if *finished {
                continue;
            }
            *finished = task.as_mut().poll(&mut context).is_ready();
            let mut state = world.state();
            if std::mem::take(&mut state.stepped) {
                state.steps += 1;
                state.life.steps += 1;
                let goes_down = goes_down_here(&mut state);
                state.crashed |= goes_down;
            }
            if let Some(failure) = state.broken.take() {
                return Err(failure);
            }
            if state.crashed {
                return Ok(End::Crashed);
            }
        }
        let mut guard = world.state();
        let state = &mut *guard;
        deliver_late(state)?;
        if finished[ending..].iter().all(|finished| *finished) && at_rest(state) {
            return Ok(End::AtRest);
        }
        if std::mem::take(&mut state.progress) {
            continue;
        }
        jump(state)?;
    }
}

fn jump(state: &mut State) -> Result<(), Failure> {
    state.calm |= state.now_ms() > FAULTS_END_MS;
    // The observer waits too: with no clock in the process, time goes by all the same.
    if let Some((what, at_ms)) = next_due(state) {
        let allowed_ms = at_ms + OVERDUE_MS;
        let up_ms = state.life.up_since_ms.max(state.troubled_until_ms) + OVERDUE_MS;
        let left_ms = state.clocks.until_journal(allowed_ms).max(up_ms - state.now_ms());
        if left_ms <= 0 {
            let (late_ms, behind_ms) = (state.clocks.journal_ms() - at_ms, state.clocks.journal_ms() - state.clocks.wall_ms());
            let why = format!("{what} is due for {late_ms} ms by the journal's clock, which is {behind_ms} ms ahead of the wall clock");
            let (folded, last) = (state.disk.tables.position, state.disk.journal.records.len());
            return Err(Failure::broken(Promise::I8, format!("{why}; {folded} of {last} records are folded")));
        }
        let look_ms = state.now_ms() + left_ms;
        state.wake_at(look_ms);
    }
    if let Some(due_ms) = check::due_ms(state) {
        if state.now_ms() >= due_ms {
            return Err(check::late(state));
        }
        state.wake_at(due_ms);
    }
    if let Some(late_ms) = next_late_ms(state) {
        state.wake_at(late_ms);
    }
    if (state.next_wake_ms == i64::MAX || state.now_ms() > GIVE_UP_MS) && state.life.verdict_waits {
        let why = "a verdict waits for room in the journal, which only the halves that wait for it can make";
        return Err(Failure::broken(Promise::I9, why));
    }
    if state.next_wake_ms == i64::MAX || state.now_ms() > GIVE_UP_MS {
        let (tables, last) = (&state.disk.tables, state.disk.journal.records.len());
        return Err(Failure::other(format!("nothing moves: {} records, {} folded, {} alerts open", last, tables.position, tables.closes_at_s.len())));
    }
    state.clocks.now_ms = state.now_ms().max(state.next_wake_ms);
    state.next_wake_ms = i64::MAX;
    Ok(())
}

/// What fires next, and when, by the journal's clock: the time-out of an open alert as its document says, or whatever the
/// fold itself waits for.
fn next_due(state: &State) -> Option<(String, i64)> {
    let alert = state.disk.tables.closes_at_s.iter().map(|(seq, at_s)| (*at_s * 1000, Some(*seq))).min();
    let waits = state.life.next_due_ms.map(|at_ms| (at_ms, None));
    let (at_ms, seq) = alert.into_iter().chain(waits).min()?;
    Some((seq.map_or("a time-out".to_owned(), |seq| format!("the time-out of alert {seq}")), at_ms))
}

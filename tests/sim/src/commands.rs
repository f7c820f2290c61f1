//! Operators who acknowledge and close alerts: each repeats a command under its key until it is answered, also over crashes
//! of the server, since they are people elsewhere. What they were told is done must be in the logs, and once.

use crate::failure::{Failure, Promise};
use crate::faults::FaultKind;
use crate::intake::Room;
use crate::ports::FakeJournal;
use crate::rng::Rng;
use crate::world::{BEGIN_MS, State, World};
use alertmill_core::command::{Action, AlertRef, Command, Decision, Verdict};
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use alertmill_core::value::Text;
use std::collections::BTreeMap;

/// They work on the same alerts.
pub const OPERATORS: usize = 2;
/// How long the server lets an operator wait for the fold, as `host/server/src/serve/commands.rs`.
const DECIDED_WITHIN_MS: i64 = 10_000;

/// What operators remember.
#[derive(Default)]
pub struct Operators {
    /// How many commands of each are answered.
    answered: [u64; OPERATORS],
    /// What each is about to have done.
    at_hand: [Option<Command>; OPERATORS],
    /// Alert and comment of all that they were told is done.
    pub told: Vec<(u64, Text)>,
}

/// Operator `n`, until all of its commands are answered.
pub async fn operate(world: &World, journal: &FakeJournal<'_>, seed: u64, n: usize) {
    world.until(|state| state.life.started.then_some(())).await;
    loop {
        let (command, pause_ms) = {
            let mut state = world.state();
            if state.operators.answered[n] >= state.setup.load.events / 5 {
                return;
            }
            let mut rng = Rng::new(seed ^ (0x0b0e_0000 + n as u64) ^ (state.operators.answered[n] << 32));
            let command = state.operators.at_hand[n].take().unwrap_or_else(|| command(&state, &mut rng, n));
            state.operators.at_hand[n] = Some(command.clone());
            // Never 0: it may be refused without any time going by, again and again.
            (command, 1 + rng.below(6_000))
        };
        world.wait(pause_ms).await;
        let Some(decisions) = hand_over(world, journal, &command).await else { continue };
        if world.draws(FaultKind::LostAnswer) {
            continue;
        }
        let mut state = world.state();
        let done = command.alerts.iter().zip(decisions).filter(|(_, decision)| matches!(decision.verdict, Verdict::Done | Verdict::Repeated));
        state.operators.told.extend(done.map(|(alert, _)| (alert.seq, command.comment.clone())));
        state.operators.answered[n] += 1;
        state.operators.at_hand[n] = None;
    }
}

/// Something to some of the newest alerts, open or not, or to one that never was.
fn command(state: &State, rng: &mut Rng, n: usize) -> Command {
    let newest: Vec<AlertRef> = state.disk.tables.alerts.values().rev().take(6).filter_map(|alert| AlertRef::parse(&alert.id)).collect();
    let mut alerts: Vec<AlertRef> = (0..1 + rng.below(3)).filter(|_| !newest.is_empty()).map(|_| rng.pick(&newest)).collect();
    if alerts.is_empty() || rng.chance(10) {
        alerts.push(AlertRef { create_time: BEGIN_MS / 1000, seq: rng.below(1 << 20) });
    }
    let mark = format!("operator{n}-{}", state.operators.answered[n]);
    Command {
        tenant: "system".into(),
        action: rng.pick(&[Action::Acknowledge, Action::Acknowledge, Action::Unacknowledge, Action::Close]),
        alerts,
        operator: format!("operator{n}").into(),
        comment: mark.as_str().into(),
        idempotency_key: Some(mark.into()),
    }
}

/// What the server does with a command. None when it is to be repeated.
async fn hand_over(world: &World, journal: &FakeJournal<'_>, command: &Command) -> Option<Vec<Decision>> {
    let mut room = Room::take(world, command.size_bytes()).ok()?;
    let appended = journal.append(RecordBody::Command(command.clone()), None).await.ok()?;
    room.appended(appended.ordinal, 0);
    drop(room);
    let until_ms = world.state().now_ms() + DECIDED_WITHIN_MS;
    world
        .until(|state| {
            if let Some(decisions) = state.life.decided.remove(&appended.ordinal) {
                return Some(Some(decisions));
            }
            state.wake_at(until_ms);
            (state.now_ms() >= until_ms).then_some(None)
        })
        .await
}

/// I1: what an operator was told is done is in the alert's log. I2: no command is there twice.
pub fn check(state: &mut State) -> Result<(), Failure> {
    let State { disk, checked, operators, .. } = state;
    let mut done: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for log in &disk.tables.logs {
        let text = std::str::from_utf8(&log.document).unwrap_or_default();
        if let Some((_, rest)) = text.split_once(r#""description":"operator"#) {
            let mark = rest.split('"').next().unwrap_or_default();
            *done.entry((log.seq, mark)).or_insert(0) += 1;
        }
    }
    checked.add(Promise::I1, operators.told.len() as u64);
    for (seq, comment) in &operators.told {
        if !done.contains_key(&(*seq, comment.trim_start_matches("operator"))) {
            return Err(Failure::broken(Promise::I1, format!("{comment} was told that alert {seq} heard it, and its log says nothing")));
        }
    }
    checked.count(Promise::I2);
    match done.iter().find(|(_, n)| **n > 1) {
        Some(((seq, mark), n)) => Err(Failure::broken(Promise::I2, format!("the command operator{mark} was done {n} times to alert {seq}"))),
        None => Ok(()),
    }
}

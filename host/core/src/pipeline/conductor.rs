//! The loops: records -> prepared batches -> commits. They wait only at ports, so that production runs them on threads
//! and the simulator polls the very same futures, crashing them wherever they wait.

use super::fold::Fold;
use super::prepare::{Prepared, cut_at_generations, prepare};
use super::understand::UnderstandConfig;
use crate::event::Uid;
use crate::ports::{Commit, KnownUids, LocalStore, PortError, Records};
use crate::record::{RecordBody, RuleSet};
use crate::rules::{RuleChain, RuleSets};
use std::future::Future;

/// Promise: batches come out in the order in which they went in; `hand_over` waits while the fold is behind.
pub trait HandOver: Send {
    /// Gives a batch to the fold; `false` when the fold is gone.
    fn hand_over(&mut self, prepared: Prepared) -> impl Future<Output = bool> + Send;
}

/// The fold's end of [`HandOver`].
pub trait Incoming: Send {
    /// Waits for the next batch, and takes along what is already there, at most `rows_max` rows and alerts of
    /// commands ([`Prepared::changes`]) unless the first batch alone has more; `None` when the prepare half is gone.
    fn next_prepared(&mut self, rows_max: usize) -> impl Future<Output = Option<Prepared>> + Send;
}

/// Waiting between tries, and word of what happened. Promise: `pause` ends.
pub trait Patience: Send {
    /// Waits a while before try number `tries` of something that failed with `error`.
    fn pause(&mut self, tries: u32, error: &PortError) -> impl Future<Output = ()> + Send;
}

/// What the fold half tells the world after each commit.
pub trait Committed: Send {
    /// The commit is in the store.
    fn committed(&mut self, commit: &Commit, fold: &Fold);
}

/// Rows that the rules see in one go, at most, unless one record alone has more.
pub const PREPARE_ROWS_MAX: usize = 1024;
/// Rows of one commit, at most, unless one batch alone has more. [`Incoming`] gives fewer where commits are quick.
pub const FOLD_ROWS_MAX: usize = 65_536;

/// Runs the prepare half until a port is gone for good. `in_force` is the generation at the store's position.
pub async fn prepare_half(
    records: &mut impl Records,
    rule_sets: &impl RuleSets,
    in_force: &RuleSet,
    config: &UnderstandConfig,
    out: &mut impl HandOver,
    patience: &mut impl Patience,
) -> PortError {
    let mut generation = in_force.generation;
    let mut chain = open_chain(rule_sets, generation, patience).await;
    loop {
        let next = match records.next_records(PREPARE_ROWS_MAX).await {
            Ok(next) => next,
            Err(error @ PortError::Fatal(_)) => return error,
            Err(error) => {
                patience.pause(1, &error).await;
                continue;
            }
        };
        for piece in cut_at_generations(next) {
            let begins = piece.last().and_then(|journaled| match &journaled.record.body {
                RecordBody::RuleSet(set) => Some(set.clone()),
                _ => None,
            });
            let prepared = prepare(piece, generation, chain.as_mut(), config);
            if !out.hand_over(prepared).await {
                return PortError::Fatal("the fold half has stopped".to_owned());
            }
            if let Some(set) = begins {
                generation = set.generation;
                rule_sets.begins(&set);
                chain = open_chain(rule_sets, generation, patience).await;
            }
        }
    }
}

/// Opens a generation, however long it takes: going on with other rules would break the promise of one generation.
async fn open_chain(rule_sets: &impl RuleSets, generation: u64, patience: &mut impl Patience) -> Box<dyn RuleChain> {
    let mut tries = 0;
    loop {
        match rule_sets.open(generation) {
            Ok(chain) => return chain,
            Err(error) => {
                tries += 1;
                patience.pause(tries, &PortError::Unavailable(error.to_string())).await;
            }
        }
    }
}

/// Runs the fold half until the prepare half is gone or the store fails for good.
pub async fn fold_half<S: LocalStore + KnownUids>(
    fold: &mut Fold,
    store: &mut S,
    incoming: &mut impl Incoming,
    watcher: &mut impl Committed,
    patience: &mut impl Patience,
) -> Result<(), PortError> {
    while let Some(prepared) = incoming.next_prepared(FOLD_ROWS_MAX).await {
        let uids: Vec<Uid> = prepared.rows.iter().map(|row| row.event.uid).collect();
        let mut tries = 0;
        let known = loop {
            match store.known_until_s(&uids) {
                Ok(known) => break known,
                Err(error @ PortError::Fatal(_)) => return Err(error),
                Err(error) => {
                    tries += 1;
                    patience.pause(tries, &error).await;
                }
            }
        };
        fold.check(&prepared, &known)?;
        let commit = fold.apply(prepared, known);
        check_places(&commit)?;
        tries = 0;
        // The same commit until it is in: the port says that repeating it is safe, and the fold is already behind it.
        while let Err(error) = store.commit(&commit).await {
            if matches!(error, PortError::Fatal(_)) {
                return Err(error);
            }
            tries += 1;
            patience.pause(tries, &error).await;
        }
        watcher.committed(&commit, fold);
    }
    Ok(())
}

/// Documents have their places in 32 bits. No queue lets a batch come near it; a commit beyond would name wrong bytes.
fn check_places(commit: &Commit) -> Result<(), PortError> {
    match u32::try_from(commit.event_heap.len()) {
        Ok(_) => Ok(()),
        Err(_) => Err(PortError::Fatal(format!(
            "records {} to {} make {} bytes of event documents in one commit, at most 4 GiB; rules that write less, or smaller requests, help",
            commit.from + 1,
            commit.to,
            commit.event_heap.len()
        ))),
    }
}

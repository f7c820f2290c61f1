//! The loops: records -> prepared batches -> commits. They wait only at ports, so that production runs them on threads
//! and the simulator polls the very same futures, crashing them wherever they wait.

use super::fold::{AlertBatch, Fold, Step, generations};
use super::prepare::{Prepared, cut_at_generations, prepare};
use super::understand::UnderstandConfig;
use crate::event::Uid;
use crate::ports::{Commit, EVENT_OVERHEAD_BYTES, Halts, Journal, KnownUids, LocalStore, PortError, Records, Resume};
use crate::record::{Journaled, RecordBody, RuleSet};
use crate::rules::{AlertChain, Generation, RuleChain, RuleSets};
use crate::verdict::{Halted, Verdict, Verdicts};
use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::future::Future;

/// Promise: batches come out in the order in which they went in; `hand_over` waits while the fold is behind.
pub trait HandOver: Send {
    /// Gives a batch to the fold; `false` when the fold is gone.
    fn hand_over(&mut self, prepared: Prepared) -> impl Future<Output = bool> + Send;
}

/// The fold's end of [`HandOver`].
pub trait Incoming: Send {
    /// Waits for the next batch, and takes along what is already there while it [has room](Prepared::has_room_for): at most
    /// `changes_max` [changes](Prepared::changes) and [`COMMIT_BYTES_MAX`], unless the first batch alone has more; `None` when
    /// the prepare half is gone.
    fn next_prepared(&mut self, changes_max: usize) -> impl Future<Output = Option<Prepared>> + Send;

    /// As [`next_prepared`](Incoming::next_prepared), but `None` also when there is no batch now.
    fn ready_prepared(&mut self, changes_max: usize) -> Option<Prepared>;
}

/// Waiting between tries, and word of what happened. Promise: `pause` ends.
pub trait Patience: Send {
    /// Waits a while before try number `tries` of something that failed with `error`.
    fn pause(&mut self, tries: u32, error: &PortError) -> impl Future<Output = ()> + Send;
}

/// What the fold half tells the world after each commit.
pub trait Committed: Send {
    /// The commit is in the store.
    fn committed(&mut self, commit: &Commit);
}

/// Rows that the rules see in one go, at most, unless one record alone has more.
pub const PREPARE_ROWS_MAX: usize = 1024;
/// Rows of one commit, at most, unless one batch alone has more. [`Incoming`] gives fewer where commits are quick.
pub const FOLD_ROWS_MAX: usize = 65_536;
/// Bytes of the batches of one commit, at most, unless one batch alone has more.
pub const COMMIT_BYTES_MAX: usize = 64 << 20;

/// What a half needs beside its way: to wait, and to come to verdicts.
pub struct Judging<'j, J, H, P> {
    /// Takes verdicts. Not through the bound of what is in flight: only the halves can make room there.
    pub journal: &'j J,
    /// Verdicts that earlier processes came to, of records that are still to come.
    pub known: &'j [Verdicts],
    /// Whoever says what is done when a rule halts the pipeline.
    pub halts: H,
    /// Waiting between tries.
    pub patience: P,
}

impl<J: Journal, H: Halts, P: Patience> Judging<'_, J, H, P> {
    /// What is known of a generation.
    fn known(&self, generation: Generation) -> impl Iterator<Item = &[Verdict]> {
        self.known.iter().filter(move |known| known.generation == generation).map(|known| known.verdicts.as_slice())
    }

    /// Comes back when the verdicts are durable: nothing that rests on them may be handed on before.
    async fn journal(&mut self, generation: Generation, verdicts: Vec<Verdict>) -> Result<(), PortError> {
        for part in verdicts.chunks(VERDICTS_MAX) {
            let body = RecordBody::Verdicts(Verdicts { generation, verdicts: part.to_vec() });
            let mut tries = 0;
            // Whatever is not clear is written again: the same verdict twice says nothing else.
            while let Err(error) = self.journal.append(body.clone(), None).await {
                if matches!(error, PortError::Fatal(_)) {
                    return Err(error);
                }
                tries += 1;
                self.patience.pause(tries, &error).await;
            }
        }
        Ok(())
    }

    /// What is to be known before the rows are judged again: the verdicts that the rules had come to, and what was decided.
    async fn decide(&mut self, generation: Generation, halted: Halted, mut verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, PortError> {
        if let Resume::As { policy, to_the_end } = self.halts.decide(&halted).await {
            let Halted { rule, version, hook, at, kind, message, .. } = halted;
            verdicts.push(Verdict { rule, version, hook, kind, message, policy, from: at, until: (!to_the_end).then_some(at) });
        }
        self.journal(generation, verdicts.clone()).await?;
        Ok(verdicts)
    }
}

/// Verdicts of one record at most; their messages are bounded.
const VERDICTS_MAX: usize = 256;

/// Runs the prepare half until a port is gone for good. `in_force` is the generation at the store's position.
pub async fn prepare_half(
    records: &mut impl Records,
    rule_sets: &impl RuleSets,
    in_force: &RuleSet,
    config: &UnderstandConfig,
    out: &mut impl HandOver,
    judging: &mut Judging<'_, impl Journal, impl Halts, impl Patience>,
) -> PortError {
    let mut generation = in_force.generation;
    let mut chain = open_chain(rule_sets, generation, judging).await;
    loop {
        let next = match records.next_records(PREPARE_ROWS_MAX).await {
            Ok(next) => next,
            Err(error @ PortError::Fatal(_)) => return error,
            Err(error) => {
                judging.patience.pause(1, &error).await;
                continue;
            }
        };
        for mut piece in cut_at_generations(next) {
            let begins = piece.last().and_then(|journaled| match &journaled.record.body {
                RecordBody::RuleSet(set) => Some(set.clone()),
                _ => None,
            });
            let mut left = piece.as_mut_slice();
            while !left.is_empty() {
                let prepared = match judge(left, generation, chain.as_mut(), config, judging).await {
                    Ok(prepared) => prepared,
                    Err(error) => return error,
                };
                left = &mut left[prepared.records.len()..];
                if !out.hand_over(prepared).await {
                    return PortError::Fatal("the fold half has stopped".to_owned());
                }
            }
            if let Some(set) = begins {
                generation = set.generation;
                rule_sets.begins(&set);
                chain = open_chain(rule_sets, generation, judging).await;
            }
        }
    }
}

/// Prepares records from the first on, however long it takes: nothing goes past a row at which a rule halted before something
/// is done about it.
async fn judge(
    piece: &mut [Journaled],
    generation: Generation,
    chain: &mut dyn RuleChain,
    config: &UnderstandConfig,
    judging: &mut Judging<'_, impl Journal, impl Halts, impl Patience>,
) -> Result<Prepared, PortError> {
    loop {
        match prepare(piece, generation, chain, config) {
            Ok(prepared) => {
                judging.journal(generation, chain.take_verdicts()).await?;
                return Ok(prepared);
            }
            Err(halted) => {
                let verdicts = judging.decide(generation, halted, chain.take_verdicts()).await?;
                chain.know(&verdicts);
            }
        }
    }
}

/// Opens a generation, however long it takes: going on with other rules would break the promise of one generation.
async fn open_chain(
    rule_sets: &impl RuleSets,
    generation: Generation,
    judging: &mut Judging<'_, impl Journal, impl Halts, impl Patience>,
) -> Box<dyn RuleChain> {
    let mut tries = 0;
    loop {
        match rule_sets.open(generation) {
            Ok(mut chain) => {
                judging.known(generation).for_each(|known| chain.know(known));
                return chain;
            }
            Err(error) => {
                tries += 1;
                judging.patience.pause(tries, &PortError::Unavailable(error.to_string())).await;
            }
        }
    }
}

/// Runs the fold half until the prepare half is gone or the store fails for good. While the disk works on a commit, the batch
/// behind it is folded; commits are saved one after the other nevertheless.
pub async fn fold_half<S: LocalStore + KnownUids>(
    fold: &mut Fold,
    rule_sets: &impl RuleSets,
    store: &mut S,
    incoming: &mut impl Incoming,
    watcher: &mut impl Committed,
    judging: &mut Judging<'_, impl Journal, impl Halts, impl Patience>,
) -> Result<(), PortError> {
    let mut alert_rules = AlertRules::default();
    let mut begun: Option<Commit> = None;
    loop {
        let next = match begun {
            None => incoming.next_prepared(FOLD_ROWS_MAX).await,
            Some(_) => incoming.ready_prepared(FOLD_ROWS_MAX),
        };
        let Some(prepared) = next else {
            match begun.take() {
                Some(commit) => save(&commit, store, watcher, &mut judging.patience).await?,
                None => return Ok(()),
            }
            continue;
        };
        let uids: Vec<Uid> = prepared.rows.iter().map(|row| row.event.uid).collect();
        let generations = generations(&prepared);
        let mut tries = 0;
        let (mut known_until_s, enriched) = loop {
            let known = store.known_until_s(&uids);
            match known.and_then(|known| Ok((known, alert_rules.open(&generations, rule_sets, judging)?))) {
                Ok(ready) => break ready,
                Err(error) => {
                    // What is begun does not wait for it, nor end with it.
                    if let Some(commit) = begun.take() {
                        save(&commit, store, watcher, &mut judging.patience).await?;
                    }
                    if matches!(error, PortError::Fatal(_)) {
                        return Err(error);
                    }
                    tries += 1;
                    judging.patience.pause(tries, &error).await;
                }
            }
        };
        if let Some(commit) = &begun {
            also_known(&mut known_until_s, &uids, commit);
        }
        if let Err(error) = fold.check(&prepared, &known_until_s) {
            if let Some(before) = begun.take() {
                save(&before, store, watcher, &mut judging.patience).await?;
            }
            return Err(error);
        }
        let mut folding = fold.begin(prepared, known_until_s, enriched, COMMIT_BYTES_MAX);
        loop {
            let (commit, is_last) = match folding.run() {
                Step::Enrich(mut new) => {
                    loop {
                        let (halted, verdicts) = alert_rules.enrich(&mut new);
                        // What is begun waits for no operator, and for no record.
                        if let Some(before) = begun.take_if(|_| halted.is_some() || !verdicts.is_empty()) {
                            save(&before, store, watcher, &mut judging.patience).await?;
                        }
                        let Some(halted) = halted else {
                            judging.journal(new.generation, verdicts).await?;
                            break;
                        };
                        let verdicts = judging.decide(new.generation, halted, verdicts).await?;
                        alert_rules.know(new.generation, &verdicts);
                    }
                    folding.enriched(new);
                    continue;
                }
                Step::Part(commit) => (commit, false),
                Step::Done(commit) => (commit, true),
            };
            if let Some(before) = begun.take() {
                save(&before, store, watcher, &mut judging.patience).await?;
            }
            check_places(&commit)?;
            // Two commits in memory are what it costs; a large one is not doubled.
            if commit.size_bytes() <= COMMIT_BYTES_MAX && store.begin(&commit) {
                begun = Some(commit);
            } else {
                save(&commit, store, watcher, &mut judging.patience).await?;
            }
            if is_last {
                break;
            }
        }
    }
}

/// The rules over alerts that the fold has open.
#[derive(Default)]
struct AlertRules(BTreeMap<Generation, Option<Box<dyn AlertChain>>>);

impl AlertRules {
    /// Opens what is not open of these, forgets what is before them, and gives those that have any rules. Going on with other
    /// rules, or none, would break the promise of one generation: what cannot be opened is asked for again.
    fn open(
        &mut self,
        generations: &[Generation],
        rule_sets: &impl RuleSets,
        judging: &Judging<'_, impl Journal, impl Halts, impl Patience>,
    ) -> Result<Vec<Generation>, PortError> {
        let mut enriched = Vec::new();
        for generation in generations {
            let rules = match self.0.entry(*generation) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(entry) => {
                    let mut rules = rule_sets.open_alerts(*generation).map_err(|error| PortError::Unavailable(error.to_string()))?;
                    rules.iter_mut().for_each(|rules| judging.known(*generation).for_each(|known| rules.know(known)));
                    entry.insert(rules)
                }
            };
            enriched.extend(rules.is_some().then_some(*generation));
        }
        // Those of the batch before are in no record that comes.
        if let Some(first) = generations.first() {
            self.0 = self.0.split_off(first);
        }
        Ok(enriched)
    }

    fn of(&mut self, generation: Generation) -> Option<&mut Box<dyn AlertChain>> {
        self.0.get_mut(&generation)?.as_mut()
    }

    /// Asks the rules of its generation about a batch: the row at which one halted, and then the batch is as it was; and the
    /// verdicts that they came to.
    fn enrich(&mut self, new: &mut AlertBatch) -> (Option<Halted>, Vec<Verdict>) {
        let Some(rules) = self.of(new.generation) else { return (None, Vec::new()) };
        let opened = rules.may_halt().then(|| new.rows.clone());
        let halted = rules.enrich_alerts(&mut new.rows, &mut new.tallies).err();
        if let (Some(opened), true) = (opened, halted.is_some()) {
            new.rows = opened;
            new.tallies.clear();
        }
        (halted, rules.take_verdicts())
    }

    fn know(&mut self, generation: Generation, verdicts: &[Verdict]) {
        self.of(generation).into_iter().for_each(|rules| rules.know(verdicts));
    }
}

/// The same commit until it is in: the port says that repeating it is safe, and the fold is already behind it.
async fn save(commit: &Commit, store: &mut impl LocalStore, watcher: &mut impl Committed, patience: &mut impl Patience) -> Result<(), PortError> {
    let mut tries = 0;
    while let Err(error) = store.commit(commit).await {
        if matches!(error, PortError::Fatal(_)) {
            return Err(error);
        }
        tries += 1;
        patience.pause(tries, &error).await;
    }
    watcher.committed(commit);
    Ok(())
}

/// The store does not know yet what is in a commit that is only begun; nothing is folded that would not be behind it.
fn also_known(known_until_s: &mut [Option<i64>], uids: &[Uid], begun: &Commit) {
    // An event that is in it twice is known as long as the later one.
    let mut stored: HashMap<Uid, i64> = HashMap::new();
    for event in &begun.events {
        let until_s = stored.entry(event.uid).or_insert(event.known_until_s);
        *until_s = event.known_until_s.max(*until_s);
    }
    for (until_s, uid) in known_until_s.iter_mut().zip(uids) {
        *until_s = (*until_s).max(stored.get(uid).copied());
    }
}

/// Documents have their places in 32 bits. [`COMMIT_BYTES_MAX`] keeps commits far from it, but for a single batch that is
/// larger; a commit beyond would name wrong bytes.
fn check_places(commit: &Commit) -> Result<(), PortError> {
    if have_places(commit.event_heap.len(), commit.events.len()) {
        return Ok(());
    }
    Err(PortError::Fatal(format!(
        "records {} to {} make {} bytes of event documents in one commit, at most 4 GiB; rules that write less, or smaller requests, help",
        commit.from + 1,
        commit.to,
        commit.event_heap.len()
    )))
}

/// Whether a store has places for `events` documents of `heap_bytes` in all.
fn have_places(heap_bytes: usize, events: usize) -> bool {
    heap_bytes as u64 + (events as u64 + 1) * EVENT_OVERHEAD_BYTES <= u64::from(u32::MAX)
}

#[cfg(test)]
mod verdict_tests;

#[cfg(test)]
mod tests;

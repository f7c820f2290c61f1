//! A life of the fold in memory: records go through the real prepare half, commits into tables that can be compared.

use super::{Fold, FoldConfig, Step, generations};
use crate::alert::LifecycleConfig;
use crate::command::{Action, AlertRef, Command, Decided, Verdict};
use crate::event::Uid;
use crate::identity::{Algorithm, UidKey};
use crate::payload::{Normalized, Payload};
use crate::pipeline::conductor::COMMIT_BYTES_MAX;
use crate::pipeline::prepare::{Prepared, cut_at_generations, prepare};
use crate::pipeline::understand::UnderstandConfig;
use crate::ports::{AlertWrite, Commit, DeadLetter, EventRole, Restored, RestoredAlert};
use crate::record::{Door, Items, Journaled, Record, RecordBody, RuleSet};
use crate::row::{AlertRow, Row};
use crate::rules::{Generation, RuleChain, RuleTally};
use crate::value::Text;
use crate::verdict::{self, Halted};
use std::collections::BTreeMap;

/// The second at which the tests begin, 2023-11-14T22:13:20Z.
pub const T: i64 = 1_700_000_000;

/// What a store would hold. `uids` holds until when each is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    pub position: u64,
    pub received_at_ms: i64,
    pub started_at_ms: i64,
    pub next_due_ms: Option<i64>,
    pub alerts: BTreeMap<u64, AlertWrite>,
    pub events: Vec<(Uid, Vec<u8>)>,
    pub uids: BTreeMap<Uid, i64>,
    pub lists: BTreeMap<u64, Vec<(Uid, EventRole)>>,
    pub logs: Vec<(u64, &'static str, Vec<u8>)>,
    pub ledger: BTreeMap<(Text, Text, Text), u64>,
    pub dead_letters: Vec<DeadLetter>,
    pub rule_set: RuleSet,
    pub open_verdicts: Vec<verdict::Verdict>,
}

impl Tables {
    fn apply(&mut self, commit: Commit) {
        assert_eq!(self.position, commit.from);
        for list in &commit.alert_events {
            let events = list.events.iter().map(|(at, role)| (commit.events[*at as usize].uid, *role));
            self.lists.entry(list.seq).or_default().extend(events);
        }
        for event in &commit.events {
            let document = &commit.event_heap[event.document.start as usize..event.document.end as usize];
            self.events.push((event.uid, document.to_vec()));
            self.uids.insert(event.uid, event.known_until_s);
        }
        self.alerts.extend(commit.alerts.into_iter().map(|alert| (alert.seq, alert)));
        self.logs.extend(commit.logs.into_iter().map(|log| (log.seq, log.op_type, log.document)));
        self.ledger.extend(commit.ledger.into_iter().map(|line| ((Text::new_static(line.scope), line.name, line.counter), line.value)));
        self.dead_letters.extend(commit.dead_letters);
        commit.rule_sets.into_iter().for_each(|set| self.rule_set = set);
        commit.open_verdicts.into_iter().for_each(|open| self.open_verdicts = open);
        self.position = commit.to;
        self.received_at_ms = commit.received_at_ms;
        self.started_at_ms = commit.started_at_ms;
        self.next_due_ms = commit.next_due_ms;
    }

    /// Nothing that readers or a later life can see differs. When somebody should look at the time again may: an entry that
    /// came up too early is put forward then, and not before.
    pub fn check_same(&self, other: &Tables, what: &str) {
        let texts = |tables: &Tables| -> Vec<String> {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let alerts = tables.alerts.values().flat_map(|alert| [text(&alert.document), text(&alert.state)]);
            alerts.chain(tables.logs.iter().map(|(_, _, log)| text(log))).chain(tables.events.iter().map(|(_, event)| text(event))).collect()
        };
        for (ours, theirs) in texts(self).iter().zip(&texts(other)) {
            assert_eq!(ours, theirs, "{what}");
        }
        assert_eq!((&self.ledger, &self.dead_letters), (&other.ledger, &other.dead_letters), "{what}");
        let with_due = |tables: &Tables| Tables { next_due_ms: None, ..tables.clone() };
        assert!(with_due(self) == with_due(other), "{what}: tables differ");
    }

    fn restored(&self) -> Restored {
        let alert = |a: &AlertWrite| RestoredAlert { seq: a.seq, document: a.document.clone(), state: a.state.clone(), revision: a.revision };
        Restored {
            position: self.position,
            received_at_ms: self.received_at_ms,
            started_at_ms: self.started_at_ms,
            alerts: self.alerts.values().map(alert).collect(),
            ledger: self.ledger.iter().map(|((scope, name, counter), value)| (scope.clone(), name.clone(), counter.clone(), *value)).collect(),
            rule_set: self.rule_set.clone(),
            open_verdicts: self.open_verdicts.clone(),
        }
    }
}

/// Rules of a test: plain functions in the place of modules.
#[derive(Clone, Copy)]
pub struct Rules {
    pub enrich: fn(&mut Row),
    pub dedupe: fn(&mut Row),
    /// With the generation that is asked.
    pub alert: Option<fn(Generation, &mut AlertRow)>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { enrich: |_| {}, dedupe: |_| {}, alert: None }
    }
}

impl RuleChain for Rules {
    fn normalize(&mut self, payloads: &[Payload], _: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        Ok(payloads.iter().map(|_| Normalized::Unclaimed).collect())
    }

    fn enrich_events(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        rows.iter_mut().for_each(self.enrich);
        Ok(())
    }
    fn dedupe(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        rows.iter_mut().for_each(self.dedupe);
        Ok(())
    }
}

/// One process after another over one set of tables.
pub struct Life {
    pub tables: Tables,
    pub rules: Rules,
    pub config: FoldConfig,
    pub journal: Vec<Record>,
    /// The store forgets uids as soon as it may, and not never.
    pub forgets: bool,
    /// What became of all commands.
    pub decided: Vec<Decided>,
    /// Of which generation alert rules were asked, and about how many alerts at once.
    pub asked: Vec<(Generation, usize)>,
    /// Bytes at which what alert rules wrote ends a commit.
    pub bytes_max: usize,
    pub commits: usize,
    pub generation: Generation,
    pub fold: Fold,
}

impl Life {
    pub fn new() -> Life {
        Life::with(FoldConfig::default())
    }

    pub fn with(config: FoldConfig) -> Life {
        let fold = Fold::restore(&Restored::default(), config).unwrap();
        Life {
            tables: Tables::default(),
            rules: Rules::default(),
            config,
            journal: Vec::new(),
            forgets: false,
            decided: Vec::new(),
            asked: Vec::new(),
            bytes_max: COMMIT_BYTES_MAX,
            commits: 0,
            generation: 1,
            fold,
        }
    }

    /// As a new process finds it.
    pub fn restart(&mut self) {
        self.fold = Fold::restore(&self.tables.restored(), self.config).unwrap();
    }

    /// Events of our own door, received at a second.
    pub fn events(&mut self, at_s: i64, items: &[&str]) {
        self.record(at_s, RecordBody::Items(Items::of_texts(Door::Events, items)));
    }

    /// Alerts of an Alertmanager's sender.
    pub fn alertmanager(&mut self, at_s: i64, items: &[&str]) {
        self.record(at_s, RecordBody::Items(Items::of_texts(Door::Alertmanager, items)));
    }

    pub fn clock(&mut self, at_s: i64) {
        self.record(at_s, RecordBody::Clock);
    }

    pub fn start(&mut self, at_s: i64) {
        self.record(at_s, RecordBody::Start { version: "test".into() });
    }

    /// A command of wang's, with the key if it is not empty; gives what became of it.
    pub fn command(&mut self, at_s: i64, action: Action, alerts: &[AlertRef], key: &str) -> Vec<Verdict> {
        let idempotency_key = (!key.is_empty()).then(|| key.into());
        let command = Command { tenant: "system".into(), action, alerts: alerts.to_vec(), operator: "wang".into(), comment: "because".into(), idempotency_key };
        self.record(at_s, RecordBody::Command(command));
        self.decided.last().unwrap().decisions.iter().map(|decision| decision.verdict).collect()
    }

    /// As commands name an alert, by its place.
    pub fn named(&self, n: usize) -> AlertRef {
        AlertRef::parse(&self.alert(n).id).unwrap()
    }

    /// A field of an alert's document, as JSON.
    pub fn field(&self, n: usize, name: &str) -> String {
        let document = crate::value::Value::from_json(&self.alert(n).document).unwrap();
        document.get(name).unwrap_or_else(|| panic!("no {name}")).to_json()
    }

    pub fn record(&mut self, at_s: i64, body: RecordBody) {
        let record = Record { ordinal: self.journal.len() as u64 + 1, received_at_ms: at_s * 1000, body };
        self.journal.push(record.clone());
        self.fold(vec![record]);
    }

    /// Folds records as one batch.
    pub fn fold(&mut self, records: Vec<Record>) {
        let config = UnderstandConfig { uid_key: UidKey([7; 16]), algorithm: Algorithm::Keyed };
        let journaled = records.into_iter().map(|record| Journaled { record, parsed: None }).collect();
        let mut prepared = Prepared::default();
        for mut piece in cut_at_generations(journaled) {
            let begins = match piece.last().map(|journaled| &journaled.record.body) {
                Some(RecordBody::RuleSet(set)) => set.generation,
                _ => self.generation,
            };
            prepared.append(prepare(&mut piece, self.generation, &mut self.rules, &config).unwrap());
            self.generation = begins;
        }
        let forgotten_s = if self.forgets { self.tables.received_at_ms.div_euclid(1000) } else { i64::MIN };
        let known = |row: &Row| self.tables.uids.get(&row.event.uid).copied().filter(|until_s| *until_s >= forgotten_s);
        let known_until_s = prepared.rows.iter().map(known).collect();
        let enriched = self.rules.alert.map_or(Vec::new(), |_| generations(&prepared));
        let mut folding = self.fold.begin(prepared, known_until_s, enriched, self.bytes_max);
        loop {
            let (mut commit, is_last) = match folding.run() {
                Step::Enrich(mut new) => {
                    assert!(new.rows.is_sorted_by_key(|row| row.alert.seq), "in the order in which they were opened");
                    self.asked.push((new.generation, new.rows.len()));
                    let rule = self.rules.alert.unwrap();
                    new.rows.iter_mut().for_each(|row| rule(new.generation, row));
                    new.tallies.push(RuleTally { rule: "alerts".into(), rows: new.rows.len() as u64, ..RuleTally::default() });
                    folding.enriched(new);
                    continue;
                }
                Step::Part(commit) => (commit, false),
                Step::Done(commit) => (commit, true),
            };
            self.decided.append(&mut commit.commands);
            self.tables.apply(commit);
            self.commits += 1;
            if is_last {
                break;
            }
        }
    }

    /// A counter of the one source.
    pub fn count(&self, counter: &str) -> u64 {
        self.tables.ledger.get(&("source".into(), "test".into(), counter.into())).copied().unwrap_or(0)
    }

    /// Statuses of all alerts, oldest first.
    pub fn statuses(&self) -> Vec<&'static str> {
        self.tables.alerts.values().map(|alert| alert.status.as_str()).collect()
    }

    /// One alert, by its place.
    pub fn alert(&self, n: usize) -> &AlertWrite {
        self.tables.alerts.values().nth(n).unwrap()
    }

    /// What the logs of all alerts say, in order.
    pub fn logs(&self) -> Vec<&'static str> {
        self.tables.logs.iter().map(|(_, op_type, _)| *op_type).collect()
    }

    /// I2: every counted event is in one list, once, and the alerts' counts are those of their lists.
    pub fn check_counted_once(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for (seq, alert) in &self.tables.alerts {
            let counted: Vec<&Uid> = self.tables.lists[seq].iter().filter(|(_, role)| *role != EventRole::Milder).map(|(uid, _)| uid).collect();
            assert_eq!(counted.len() as u64, alert.event_count, "alert {seq}");
            assert!(counted.into_iter().all(|uid| seen.insert(*uid)), "alert {seq} counts an event again");
        }
    }
}

/// An Alertmanager item. Seconds from [`T`] on; no end when there is none.
pub fn firing(labels: &str, starts: i64, ends: Option<i64>) -> String {
    let ends = ends.map_or(String::new(), |ends| format!(r#","endsAt":"{}""#, rfc3339(ends)));
    format!(r#"{{"labels":{{"alertname":"Down"{labels}}},"startsAt":"{}"{ends}}}"#, rfc3339(starts))
}

/// Days of November 2023 suffice here.
fn rfc3339(at_s: i64) -> String {
    let of_month = at_s - 1_698_796_800;
    let (day, s) = (1 + of_month / 86_400, of_month % 86_400);
    assert!((1..=30).contains(&day), "{at_s}");
    format!("2023-11-{day:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

/// No grace after a start, for tests of other things.
pub fn without_grace() -> FoldConfig {
    FoldConfig { lifecycle: LifecycleConfig { lasting_grace_ms: 0, ..LifecycleConfig::default() }, ..FoldConfig::default() }
}

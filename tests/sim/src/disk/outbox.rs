//! What waits for services: one row an alert and service, two cursors, the version base, the cache's markers. It lies in the
//! store, so what was not synced of it goes with the power.

use super::tables::Tables;
use alertmill_core::ports::{AlertWrite, Commit};
use alertmill_core::services::{Markers, QueuePlace, Refusal, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The outbox at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outbox {
    pub version_base: u64,
    /// When it began to wait, and at which revision it is.
    pub queue: BTreeMap<(Service, u64), (u64, u64)>,
    pub events: usize,
    pub logs: usize,
    pub markers: Markers,
    /// Documents that Elasticsearch refused; alerts with the revision.
    pub refused: Vec<(Option<(u64, u64)>, Refusal)>,
}

impl Outbox {
    /// What a commit changed waits.
    pub fn note(&mut self, commit: &Commit) {
        for alert in &commit.alerts {
            for service in [Service::Documents, Service::Snapshots] {
                let row = self.queue.entry((service, alert.seq)).or_insert((commit.to, 0));
                row.1 = alert.revision;
            }
        }
    }

    /// Waiting alerts behind a place, in the order of the queue.
    pub fn waiting<'t>(&self, service: Service, behind: QueuePlace, tables: &'t Tables) -> Vec<(u64, &'t Arc<AlertWrite>)> {
        let rows = self.queue.iter().filter(|((of, _), _)| *of == service).map(|((_, seq), (since, _))| QueuePlace { since: *since, seq: *seq });
        let mut rows: Vec<QueuePlace> = rows.filter(|place| *place > behind).collect();
        rows.sort_unstable();
        rows.into_iter().filter_map(|place| Some((place.since, tables.alerts.get(&place.seq)?))).collect()
    }

    /// Frees alerts; what changed since waits on behind the others.
    pub fn settle(&mut self, service: Service, position: u64, done: &[(u64, u64)], forgets_newer: bool) {
        for (seq, revision) in done {
            match self.queue.get_mut(&(service, *seq)) {
                Some(row) if row.1 > *revision && !forgets_newer => row.0 = position,
                _ => drop(self.queue.remove(&(service, *seq))),
            }
        }
    }

    /// All open alerts wait.
    pub fn open_alerts_wait(&mut self, service: Service, tables: &Tables) {
        for seq in tables.open.values() {
            self.queue.entry((service, *seq)).or_insert((tables.position, tables.alerts[seq].revision));
        }
    }

    /// How many documents wait, of all kinds.
    pub fn drift(&self, tables: &Tables) -> usize {
        self.queue.len() + (tables.events.len() - self.events) + (tables.logs.len() - self.logs)
    }
}

/// Every alert document that the state ever held, with the position of its commit.
#[derive(Default)]
pub struct History(BTreeMap<(u64, u64), (u64, Arc<AlertWrite>)>);

impl History {
    pub fn note(&mut self, commit: &Commit) {
        for alert in &commit.alerts {
            self.0.entry((alert.seq, alert.revision)).or_insert_with(|| (commit.to, Arc::new(alert.clone())));
        }
    }

    /// The state fell back.
    pub fn fell_back(&mut self, position: u64) {
        self.0.retain(|_, (at, _)| *at <= position);
    }

    /// The revision whose document this is, if the state held it at `position` or before.
    pub fn revision_of(&self, id: &str, document: &[u8], position: u64) -> Option<(u64, u64)> {
        let is_it = |alert: &AlertWrite| alert.id == id && alert.document == document;
        self.0.iter().find(|(_, (at, alert))| *at <= position && is_it(alert)).map(|(key, _)| *key)
    }
}

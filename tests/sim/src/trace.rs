//! One number for all that the ports were asked and answered, in order: two runs of a seed must come to the same.

use alertmill_core::ports::{Commit, PortError};

/// A running hash, word by word; no more than telling two runs apart is asked of it.
#[derive(Clone, Copy)]
pub struct Trace(u64);

impl Trace {
    pub fn new() -> Trace {
        Trace(0xcbf2_9ce4_8422_2325)
    }

    pub fn value(&self) -> u64 {
        self.0
    }

    pub fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.word(u64::from(*byte)));
    }

    pub fn answer<T>(&mut self, answer: &Result<T, PortError>) {
        match answer {
            Ok(_) => self.word(1),
            Err(error) => self.bytes(error.to_string().as_bytes()),
        }
    }

    /// Every byte of a commit.
    pub fn commit(&mut self, commit: &Commit) {
        for n in [commit.from, commit.to, commit.received_at_ms as u64, commit.started_at_ms as u64, commit.next_due_ms.unwrap_or(-1) as u64] {
            self.word(n);
        }
        for event in &commit.events {
            self.bytes(&event.uid.0);
            self.word(event.known_until_s as u64);
            self.word(event.index_time_s as u64);
            self.word(u64::from(event.document.end));
        }
        self.bytes(&commit.event_heap);
        for alert in &commit.alerts {
            self.word(alert.seq);
            self.word(alert.revision);
            self.bytes(&alert.document);
            self.bytes(&alert.state);
        }
        for (at, role) in commit.alert_events.iter().flat_map(|list| &list.events) {
            self.word(u64::from(*at) << 8 | *role as u64);
        }
        commit.logs.iter().for_each(|log| self.bytes(&log.document));
        for letter in &commit.dead_letters {
            self.word(letter.ordinal << 16 | u64::from(letter.index));
            self.bytes(&letter.item);
        }
        for value in &commit.ledger {
            self.bytes(value.counter.as_bytes());
            self.word(value.value);
        }
        commit.letters_done.iter().for_each(|(ordinal, index)| self.word(ordinal << 16 | u64::from(*index)));
        commit.rule_sets.iter().for_each(|set| self.word(set.generation));
        commit.rule_versions.iter().for_each(|version| self.word(version.ordinal));
        commit.audit.iter().for_each(|entry| self.bytes(&entry.hash(&[0; 32])));
    }
}

//! Commands of operators: decided here, in journal order, so that whoever sent one is told what became of it.

use super::batch::{Batch, write_log};
use super::{Fold, Slot};
use crate::command::{AlertRef, Command, Decided, Decision, Verdict};
use crate::value::Text;

impl Fold {
    /// Does one record's command. Only open alerts change.
    pub(super) fn command(&mut self, ordinal: u64, command: &Command, batch: &mut Batch) {
        let request = command.request_id();
        let decisions = command.alerts.iter().map(|alert| self.decide(*alert, command, request.as_ref(), batch)).collect();
        batch.commit.commands.push(Decided { ordinal, decisions });
    }

    fn decide(&mut self, named: AlertRef, command: &Command, request: Option<&Text>, batch: &mut Batch) -> Decision {
        let not_open = Decision { verdict: Verdict::NotOpen, alert: None };
        let now_s = self.now_s();
        let Some(fingerprint) = self.by_seq.get(&named.seq).copied() else { return not_open };
        let alert = match self.slot_mut(&fingerprint) {
            Some(Slot::Open { alert, .. }) => alert,
            // The request rests on the tenant; the id names the second too.
            Some(Slot::Ended(ended)) if ended.create_time == named.create_time && request.is_some_and(|request| ended.requests.contains(request)) => {
                return Decision { verdict: Verdict::Repeated, alert: None };
            }
            _ => return not_open,
        };
        if alert.create_time != named.create_time || alert.tenant != command.tenant {
            return not_open;
        }
        if request.is_some_and(|request| alert.requests.contains(request)) {
            return Decision { verdict: Verdict::Repeated, alert: Some(alert.now()) };
        }
        let Some(log) = alert.command(command, now_s) else {
            return Decision { verdict: Verdict::Unchanged, alert: Some(alert.now()) };
        };
        let decision = Decision { verdict: Verdict::Done, alert: Some(alert.now()) };
        let (is_open, written_bytes) = (alert.is_open(), alert.written_bytes);
        write_log(named.seq, log, batch);
        if is_open {
            batch.touch(named.seq, fingerprint, written_bytes);
        } else {
            self.retire(fingerprint, batch);
        }
        decision
    }
}

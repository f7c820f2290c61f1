//! What a change of rules would do to the keys of open alerts. What senders sent is not kept, so the question is put to the
//! latest event of each alert as it is stored: behind the enrich rules of its time. The rules in force are asked first: where
//! even they do not come to the alert's own fingerprint, the stored event says nothing about other rules.

use super::dedupe::dedupe;
use super::enrich_events::enrich_events;
use crate::event::{Event, Fingerprint};
use crate::identity::Algorithm;
use crate::row::Row;
use crate::rules::RuleChain;
use crate::value::Text;
use crate::verdict::Place;

/// Open alerts by what a change would do to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Their latest event would get the same fingerprint.
    pub kept: u64,
    /// It would get another one, or be dropped: no such event reaches the alert any more.
    pub orphaned: u64,
    /// The stored event does not say it.
    pub unknown: u64,
}

/// Asks both chains about the latest events of alerts, given with the alerts' fingerprints.
pub fn rekeyed(alerts: &[(Event, Fingerprint)], now: &mut dyn RuleChain, then: &mut dyn RuleChain, algorithm: Algorithm) -> Rekeyed {
    let (keys_now, keys_then) = (keys(alerts, now, algorithm), keys(alerts, then, algorithm));
    let mut rekeyed = Rekeyed::default();
    for ((_, of_alert), (now, then)) in alerts.iter().zip(keys_now.into_iter().zip(keys_then)) {
        match (now, then) {
            (Key::Of(now), Key::Of(then)) if now == *of_alert && then == now => rekeyed.kept += 1,
            (Key::Of(now), Key::Of(_) | Key::Nowhere) if now == *of_alert => rekeyed.orphaned += 1,
            _ => rekeyed.unknown += 1,
        }
    }
    rekeyed
}

/// Where an event goes.
enum Key {
    /// To the alert of this fingerprint.
    Of(Fingerprint),
    /// To none: a rule dropped it.
    Nowhere,
    /// A rule could not judge it.
    Unknown,
}

fn keys(alerts: &[(Event, Fingerprint)], chain: &mut dyn RuleChain, algorithm: Algorithm) -> Vec<Key> {
    let (mut rows, mut tally) = ((0..).zip(alerts).map(|(index, (event, _))| row(index, event)).collect::<Vec<_>>(), Vec::new());
    let judged = enrich_events(&mut rows, chain, &mut tally).and_then(|()| dedupe(&mut rows, chain, algorithm, &mut tally));
    let key = |row: Row| match &row.dropped {
        _ if judged.is_err() || !row.failures.is_empty() => Key::Unknown,
        Some(_) => Key::Nowhere,
        None => Key::Of(row.fingerprint),
    };
    rows.into_iter().map(key).collect()
}

/// A stored event as if it came now. From which source is not stored with it.
fn row(index: u32, event: &Event) -> Row {
    // What the last keys came to is no field that decides about the next ones.
    let event = Event { dedupe_md5: None, ..event.clone() };
    let received_at_ms = event.create_time.saturating_mul(1_000);
    Row::new(event, Text::default(), received_at_ms, Place { ordinal: 0, index }, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::fingerprint_of_keys;
    use crate::payload::{Normalized, Payload};
    use crate::row::{DedupeAnswer, DedupeRule, Dropped};
    use crate::rules::{NoRules, RuleTally};
    use crate::verdict::Halted;

    /// Keys events of one name by a text of its own, drops those of another.
    struct Rules {
        keys: &'static str,
        drops: &'static str,
    }

    impl RuleChain for Rules {
        fn normalize(&mut self, _: &[Payload], _: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
            Ok(Vec::new())
        }
        fn enrich_events(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
            let dropped = |row: &&mut Row| row.event.alert_name.as_text() == Some(self.drops);
            rows.iter_mut().filter(dropped).for_each(|row| row.dropped = Some(Dropped { rule: "r".into(), reason: "test".into() }));
            Ok(())
        }
        fn dedupe(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
            let keyed = |row: &&mut Row| row.event.alert_name.as_text() == Some(self.keys);
            rows.iter_mut().filter(keyed).for_each(|row| (row.dedupe, row.dedupe_rule) = (DedupeAnswer::Key("k".into()), Some(DedupeRule::new("r", "1", 9))));
            Ok(())
        }
    }

    #[test]
    fn an_alert_is_orphaned_when_its_latest_event_would_go_elsewhere() {
        let alert = |name: &str| {
            let event = Event { alert_name: name.into(), dedupe_keys: vec!["alert_name".into()], dedupe_md5: Some("stored".into()), ..Event::default() };
            let fingerprint = fingerprint_of_keys(&event);
            (event, fingerprint)
        };
        let mut alerts = vec![alert("a"), alert("b"), alert("c")];
        let ask = |alerts: &[_], mut now: Rules, mut then: Rules| rekeyed(alerts, &mut now, &mut then, Algorithm::Keyed);
        let none = || Rules { keys: "", drops: "" };
        assert_eq!(ask(&alerts, none(), none()), Rekeyed { kept: 3, ..Rekeyed::default() });
        assert_eq!(ask(&alerts, none(), Rules { keys: "a", drops: "c" }), Rekeyed { kept: 1, orphaned: 2, unknown: 0 });
        // What the rules in force do not explain is not said of the new ones.
        assert_eq!(ask(&alerts, Rules { keys: "a", drops: "" }, none()), Rekeyed { kept: 2, orphaned: 0, unknown: 1 });
        alerts[1].1 = Fingerprint([7; 16]);
        assert_eq!(ask(&alerts, none(), Rules { keys: "a", drops: "" }), Rekeyed { kept: 1, orphaned: 1, unknown: 1 });
        assert_eq!(rekeyed(&[], &mut NoRules, &mut NoRules, Algorithm::Keyed), Rekeyed::default());
    }
}

//! What a row is keyed by when a rule's key counts for nothing: the same as if the rule had not answered.

use super::*;
use crate::fields::tests::row;
use crate::row::DedupeRule;
use crate::value::Value;

#[test]
fn a_rules_key_leaves_no_trace_when_it_counts_for_nothing() {
    let sent = ["0123456789abcdef0123456789abcdef", "00000000000000000000000000000000", "not hex"];
    for (strategy, tenant) in [(Value::Null, "system"), (Value::Int(7), "system"), (Value::Null, "other")] {
        for md5 in [None].into_iter().chain(sent.map(Some)) {
            for algorithm in [Algorithm::Keyed, Algorithm::BkMonitor] {
                let mut plain = row(r#"{"event_id":"e","alert_name":"disk full","severity":2,"status":"abnormal","time":1700000000}"#);
                (plain.event.strategy_id, plain.event.tenant, plain.event.dedupe_md5) = (strategy.clone(), tenant.into(), md5.map(Text::new));
                for answer in [DedupeAnswer::Key("k".into()), DedupeAnswer::Unique] {
                    let mut keyed = Row { dedupe: answer, dedupe_rule: Some(DedupeRule::new("r", "1.0.0", 1)), ..plain.clone() };
                    key(&mut keyed, algorithm);
                    let mut expected = plain.clone();
                    key(&mut expected, algorithm);
                    assert_ne!(keyed.fingerprint, expected.fingerprint);
                    assert_eq!(default_key(&keyed, algorithm).0, expected.fingerprint);
                    key_by_default(&mut keyed, algorithm);
                    assert_eq!((keyed.fingerprint, &keyed.event), (expected.fingerprint, &expected.event), "{algorithm:?}, {md5:?}");
                    assert_eq!((keyed.dedupe, keyed.dedupe_rule), (DedupeAnswer::Default, None));
                }
            }
        }
    }
}

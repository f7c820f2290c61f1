//! Payloads as they cross, and events as they come back: each to its payload, in the rule's order.

use crate::contracts::{self, PayloadRef, RowError};
use crate::failure::CallFailure;
use crate::patch::in_range;
use alertmill_core::payload::{NewEvent, Normalized, Payload};
use alertmill_core::value::Text;
use std::sync::Arc;

/// What of a payload crosses, bytes.
pub(crate) fn bytes_of(payload: &Payload) -> usize {
    let headers = payload.headers.iter().map(|(name, value)| name.len() + value.len());
    payload.body.len() + payload.source.len() + payload.content_type.len() + headers.sum::<usize>()
}

pub(crate) fn headers_of(payload: &Payload) -> Vec<(&str, &str)> {
    payload.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A payload, lent to a call.
pub(crate) fn lend<'a>(payload: &'a Payload, headers: &'a [(&'a str, &'a str)]) -> PayloadRef<'a> {
    PayloadRef {
        source: &payload.source,
        content_type: &payload.content_type,
        headers,
        received_at_ms: u64::try_from(payload.received_at_ms).unwrap_or(0),
        body: &payload.body,
    }
}

/// One answer for each payload. A payload with an error gives no events, whatever was made of it.
pub(crate) fn by_payload(answer: contracts::Normalized, payloads: usize) -> Result<Vec<Result<Normalized, CallFailure>>, CallFailure> {
    let contracts::Normalized { events, errors } = answer;
    in_range(events.iter().map(|event| event.row), payloads as u32, "an event")?;
    in_range(errors.iter().map(|error| error.row), payloads as u32, "an error")?;
    let mut of_payload: Vec<Vec<NewEvent>> = vec![Vec::new(); payloads];
    for event in events {
        of_payload[event.row as usize].push(taken(event));
    }
    let mut answers: Vec<Result<Normalized, CallFailure>> = of_payload.into_iter().map(|events| Ok(Normalized::Events(events))).collect();
    for RowError { row, message } in errors {
        let answer = &mut answers[row as usize];
        // The first of several errors stays.
        if answer.is_ok() {
            *answer = Err(CallFailure::by_rule(&message));
        }
    }
    Ok(answers)
}

/// What the events hold, roughly, bytes.
pub(crate) fn bytes_made(answers: &[Result<Normalized, CallFailure>]) -> usize {
    let events = answers.iter().filter_map(|answer| if let Ok(Normalized::Events(events)) = answer { Some(events) } else { None });
    events.flatten().map(NewEvent::size_bytes).sum()
}

fn taken(event: contracts::NewEvent) -> NewEvent {
    let texts = |texts: Vec<Arc<str>>| texts.into_iter().map(Text::from).collect();
    NewEvent {
        event_id: event.event_id.map(Text::from),
        plugin_id: event.plugin_id.map(Text::from),
        alert_name: Text::from(event.alert_name),
        description: Text::from(event.description),
        status: event.status.map(Text::from),
        time: event.time,
        anomaly_time: event.anomaly_time,
        severity: event.severity,
        category: event.category.map(Text::from),
        target_type: event.target_type.map(Text::from),
        target: event.target.map(Text::from),
        bk_biz_id: event.bk_biz_id,
        metric: texts(event.metric),
        tags: event.tags.into_iter().map(|tag| (Text::from(tag.key), Text::from(tag.value))).collect(),
        dedupe_keys: texts(event.dedupe_keys),
        extra: event.extra.map(Text::from),
        more: event.more.into_iter().map(|(name, value)| (Text::from(name), Text::from(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    fn event(row: u32, name: &str) -> contracts::NewEvent {
        contracts::NewEvent {
            row,
            event_id: None,
            plugin_id: None,
            alert_name: name.into(),
            description: "".into(),
            status: None,
            time: None,
            anomaly_time: None,
            severity: None,
            category: None,
            target_type: None,
            target: None,
            bk_biz_id: None,
            metric: Vec::new(),
            tags: Vec::new(),
            dedupe_keys: Vec::new(),
            extra: None,
            more: Vec::new(),
        }
    }

    #[test]
    fn events_go_to_their_payload_in_the_rules_order() {
        let events = [(2, "a"), (0, "b"), (2, "c"), (1, "lost"), (0, "d")].map(|(row, name)| event(row, name)).to_vec();
        let errors = [(1, "first"), (1, "second"), (3, "")].map(|(row, message)| RowError { row, message: message.to_owned() }).into();
        let answers = by_payload(contracts::Normalized { events, errors }, 5).unwrap();
        let told: Vec<String> = answers
            .into_iter()
            .map(|answer| match answer {
                Ok(Normalized::Events(events)) => events.iter().map(|event| event.alert_name.as_str()).collect::<Vec<_>>().join(","),
                Ok(other) => panic!("{other:?}"),
                Err(failure) => format!("{}: {}", failure.kind.as_str(), failure.message),
            })
            .collect();
        assert_eq!(told, ["b,d", "row-error: first", "a,c", "row-error: the rule gave no reason", ""]);
    }

    #[test]
    fn a_payload_that_is_not_there_makes_the_whole_answer_bad() {
        for (events, errors) in [(vec![event(1, "x")], vec![]), (vec![], vec![RowError { row: u32::MAX, message: String::new() }])] {
            let failure = by_payload(contracts::Normalized { events, errors }, 1).unwrap_err();
            assert_eq!(failure.kind, FailureKind::RowIndex, "{failure:?}");
        }
    }
}

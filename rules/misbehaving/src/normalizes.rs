//! Makes events of payloads as the first word of the body says.
//!
//! `none`: no event. `three`: three of them. `error`: it says that it cannot. `bad`: a good event, one without a name and one of a severity
//! that there is not. `many`: 20,000. `trap`: a panic. `loop`: no end. Anything else is one event of that name, with what it was told of
//! the payload.

use alertmill_rule::prelude::*;

struct Normalizes;

impl Normalize for Normalizes {
    const WHEN: &'static [When] = &[When::NotEquals("content_type", "text/plain"), When::NoneOf("headers.x-skip", &["yes"])];

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Normalizes)
    }

    fn normalize(&self, payload: &Payload, events: &mut Vec<NewEvent>) -> Result<(), String> {
        let text = payload.text()?;
        let word = text.split(' ').next().unwrap_or(text);
        match word {
            "none" => {}
            "three" => events.extend((1..=3).map(|n| NewEvent::named(format!("{text} {n}")))),
            "error" => {
                events.push(NewEvent::named("left over"));
                return Err(format!("cannot read: {text}"));
            }
            "bad" => events.extend([NewEvent::named("good"), NewEvent::default(), NewEvent { severity: Some(9), ..NewEvent::named("severe") }]),
            "many" => events.extend((0..20_000).map(|n| NewEvent::named(n.to_string()))),
            "trap" => panic!("poison payload"),
            "loop" => loop {
                std::hint::black_box(word);
            },
            _ => events.push(NewEvent {
                time: Some(payload.received_at_ms / 1_000),
                anomaly_time: Some(1),
                severity: Some(2),
                ..NewEvent::named(text)
                    .tag("source", payload.source.as_str())
                    .tag("type", payload.content_type.as_str())
                    .tag("team", payload.header("x-team").unwrap_or("none"))
                    .field("assignee", "alice")
            }),
        }
        Ok(())
    }
}

export!(name: "normalizes", version: "0.1.0", normalize: Normalizes);

//! R2 of the benches: a dedupe key of the alert's name and two tags. What it does is in `bench-logic`.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        alert_name: Text = "alert_name",
        host: Text = "tags.host",
        service: Text = "tags.service",
    }
}

struct R2;

impl Dedupe for R2 {
    type Row<'a> = Event<'a>;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(R2)
    }

    fn key(&self, event: &Event, key: &mut String) -> Result<Answer, String> {
        let parts = bench_logic::r2_parts(event.alert_name.unwrap_or(""), event.host, event.service);
        parts.into_iter().for_each(|part| key.push_str(part));
        Ok(Answer::Key)
    }
}

export!(dedupe: R2);

//! R1 of the benches: enrich by a host table. What it does is in `bench-logic`.

use alertmill_rule::prelude::*;
use bench_logic::{COLUMNS, TABLE, r1_severity};

reads! {
    struct Event {
        ip: Text = "ip",
        severity: Integer = "severity",
        service: Text = "tags.service",
    }
}
writes! {
    struct Change {
        severity: Integer = "severity",
        module: Text = "tags.bk_module",
        set: Text = "tags.bk_set",
        idc: Text = "tags.idc",
        owner: Text = "tags.owner",
    }
}

struct R1;

impl Lookup for R1 {
    type Row<'a> = Event<'a>;
    type Change = Change;
    const TABLE: &'static str = TABLE;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(R1)
    }

    fn columns(&self) -> Vec<&str> {
        COLUMNS.to_vec()
    }

    fn key<'a>(&'a self, event: &Event<'a>) -> Option<Cow<'a, str>> {
        event.ip.map(Cow::Borrowed)
    }

    fn enrich(&self, event: &Event, found: Option<Found>, change: &mut Change) -> Result<(), String> {
        let Some(host) = found else { return Ok(()) };
        change.module.set(host.get(0));
        change.set.set(host.get(1));
        change.idc.set(host.get(2));
        change.owner.set(host.get(3));
        if let Some(severity) = r1_severity(event.severity.unwrap_or(0), event.service, host.get(4)) {
            change.severity.set(severity);
        }
        Ok(())
    }
}

export!(lookup: R1);

//! Adds owner, team, service and tier from a table of hosts, such as an export of a CMDB.
//!
//! The host is taken from the first of the configured places that the event has, without port, cloud id or brackets. Tags that
//! the event brought along stay, unless `overwrite` is set: who sends a tag usually knows better than the table.

mod config;

use alertmill_rule::prelude::*;
use config::{Config, Place};

reads! {
    struct Event {
        host: Text = "tags.host",
        instance: Text = "tags.instance",
        tagged_ip: Text = "tags.ip",
        ip: Text = "ip",
        target: Text = "target",
        owner: Text = "tags.owner",
        team: Text = "tags.team",
        service: Text = "tags.service",
        tier: Text = "tags.tier",
    }
}
writes! {
    struct Change {
        owner: Text = "tags.owner",
        team: Text = "tags.team",
        service: Text = "tags.service",
        tier: Text = "tags.tier",
    }
}

struct OwnerFromTable {
    config: Config,
}

impl Lookup for OwnerFromTable {
    type Row<'a> = Event<'a>;
    type Change = Change;
    const TABLE: &'static str = "hosts";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: &str) -> Result<Self, String> {
        Ok(OwnerFromTable { config: Config::parse(config)? })
    }

    fn columns(&self) -> Vec<&str> {
        self.config.columns().into_iter().filter(|column| !column.is_empty()).collect()
    }

    fn key<'a>(&'a self, event: &Event<'a>) -> Option<Cow<'a, str>> {
        let host = self.config.places.iter().find_map(|place| {
            let value = match place {
                Place::Host => event.host,
                Place::Instance => event.instance,
                Place::Ip => event.tagged_ip.or(event.ip),
                Place::Target => event.target,
            };
            value.map(bare_host).filter(|host| !host.is_empty())
        })?;
        Some(self.config.key_of(host))
    }

    fn enrich(&self, event: &Event, found: Option<Found>, change: &mut Change) -> Result<(), String> {
        let Some(host) = found else { return Ok(()) };
        let tags = [(&mut change.owner, event.owner), (&mut change.team, event.team), (&mut change.service, event.service), (&mut change.tier, event.tier)];
        // Only columns with a name were asked for, so the answer has no place for the others.
        let wanted = tags.into_iter().zip(self.config.columns()).filter(|(_, column)| !column.is_empty());
        for (place, ((field, present), _)) in wanted.enumerate() {
            self.set(field, present, host.get(place));
        }
        Ok(())
    }
}

impl OwnerFromTable {
    fn set(&self, field: &mut alertmill_rule::patch::Text, present: Option<&str>, value: &str) {
        let is_free = present.is_none_or(str::is_empty);
        if !value.is_empty() && (is_free || self.config.overwrite) && present != Some(value) {
            field.set(value);
        }
    }
}

/// The host of `host:port`, `[ipv6]:port`, `ip|cloud` or a plain name. A bare IPv6 address has several colons and is kept.
fn bare_host(value: &str) -> &str {
    let value = value.split('|').next().unwrap_or(value).trim();
    if let Some(rest) = value.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match value.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => value,
    }
}

export!(lookup: OwnerFromTable);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        cases::lookup::<OwnerFromTable>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
    }

    #[test]
    fn host_without_its_trimmings() {
        assert_eq!(bare_host("web-1:9100"), "web-1");
        assert_eq!(bare_host("10.0.0.1|0"), "10.0.0.1");
        assert_eq!(bare_host("[2001:db8::1]:9100"), "2001:db8::1");
        assert_eq!(bare_host("2001:db8::1"), "2001:db8::1");
        assert_eq!(bare_host(" web-1 "), "web-1");
    }
}

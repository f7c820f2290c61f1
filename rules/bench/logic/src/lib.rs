//! What the bench rules R1 and R2 do, free of any boundary: the module and the native baseline run the same lines.
//!
//! R1 enriches: three fields read, a host looked up in a table of 10,000 rows, four tags added, severity maybe changed.
//! R2 dedupes: a key of the alert's name and two tags. [`samples`] makes the events and the table.

pub mod samples;

/// Name of R1's table.
pub const TABLE: &str = "hosts";
/// Its columns, in the order in which R1 asks for them: four tag values, then the host's tier.
pub const COLUMNS: [&str; 5] = ["module", "set", "idc", "owner", "tier"];
/// The tags that R1 writes, in the order of [`COLUMNS`].
pub const TAGS: [&str; 4] = ["bk_module", "bk_set", "idc", "owner"];

/// R1: the new severity of an event on a host of this tier, if it changes. Core services on top hosts are one worse.
#[inline]
pub fn r1_severity(severity: i64, service: Option<&str>, tier: &str) -> Option<i64> {
    let is_core = service.is_some_and(|service| service.starts_with("core-"));
    (tier == "0" && severity > 1 && is_core).then_some(severity - 1)
}

/// R2: the parts of the dedupe key, in order. The module writes them to the SDK's string, native code to one of its own.
#[inline]
pub fn r2_parts<'a>(alert_name: &'a str, host: Option<&'a str>, service: Option<&'a str>) -> [&'a str; 5] {
    [alert_name, "|", host.unwrap_or(""), "|", service.unwrap_or("")]
}

/// R2 natively: the dedupe key.
#[inline]
pub fn r2_key(alert_name: &str, host: Option<&str>, service: Option<&str>) -> String {
    let parts = r2_parts(alert_name, host, service);
    let mut key = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.into_iter().for_each(|part| key.push_str(part));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_changes_only_for_core_services_on_top_hosts() {
        assert_eq!(r1_severity(2, Some("core-pay"), "0"), Some(1));
        assert_eq!(r1_severity(1, Some("core-pay"), "0"), None);
        assert_eq!(r1_severity(2, Some("edge-pay"), "0"), None);
        assert_eq!(r1_severity(2, None, "0"), None);
        assert_eq!(r1_severity(2, Some("core-pay"), "1"), None);
    }

    #[test]
    fn key_keeps_its_parts_apart() {
        assert_eq!(r2_key("CPU", Some("h"), None), "CPU|h|");
    }
}

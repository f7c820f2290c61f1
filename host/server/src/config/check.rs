//! What the types of the keys cannot say.

use super::load::{NOT_BUILT_REMEDY, Places};
use super::model::{Config, Source, Table};
use super::problem::{Place, Problem};
use super::types::{ByteSize, Decoder, Secret};
use crate::outgoing::parse_url;
use axum::http::HeaderName;
use std::net::SocketAddr;
use std::path::Path;

pub(super) fn check(config: &mut Config, places: &Places, problems: &mut Vec<Problem>) {
    let mut checking = Checking { places, problems };
    checking.server(config);
    checking.bounds(config);
    checking.doors_and_tables(config);
    config.sources.iter().for_each(|(name, source)| checking.source(name, source));
    checking.publishers(config);
    checking.log(config);
    checking.services(config);
}

struct Checking<'a> {
    places: &'a Places,
    problems: &'a mut Vec<Problem>,
}

impl Checking<'_> {
    fn place(&self, key: &str) -> Place {
        let above = key.rsplit_once('.').map_or(key, |(above, _)| above);
        self.places.get(key).or_else(|| self.places.get(above)).cloned().unwrap_or(Place::Default)
    }

    fn wrong(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let problem = Problem { place: self.place(key), key: key.to_owned(), what: what.into(), remedy: remedy.into() };
        self.problems.push(problem);
    }

    fn server(&mut self, config: &Config) {
        match config.server.listen.parse::<SocketAddr>() {
            Err(_) => self.wrong(
                "server.listen",
                format!("{:?} is no address and port", config.server.listen),
                "write an IP address and a port, such as \"127.0.0.1:9280\" or \"[::1]:9280\"",
            ),
            Ok(address) if !address.ip().is_loopback() && !config.server.insecure_open => self.wrong(
                "server.listen",
                format!("{address} can be reached from other machines, and this version has neither TLS nor tokens"),
                "listen on 127.0.0.1 behind a proxy that has them, or set server.insecure_open = true",
            ),
            Ok(_) => {}
        }
        for host in &config.server.allowed_hosts {
            if host != "*" && (host.is_empty() || host.contains(['/', ' ', '*', '@'])) {
                self.wrong("server.allowed_hosts", format!("{host:?} is no host name"), "write names or addresses, such as \"alerts.example.com\"");
            }
        }
    }

    fn at_least(&mut self, key: &str, value: u64, least: u64) {
        if value < least {
            self.wrong(key, format!("{value} is too small"), format!("write at least {least}"));
        }
    }

    fn size(&mut self, key: &str, value: ByteSize, least: ByteSize, most: ByteSize) {
        if value < least || value > most {
            self.wrong(key, format!("{value} is out of bounds"), format!("write between {least} and {most}"));
        }
    }

    fn bounds(&mut self, config: &Config) {
        let limits = &config.limits;
        let most = ByteSize::mib(2_047);
        self.size("data.journal_segment", config.data.journal_segment, ByteSize::mib(1), most);
        self.journal(config);
        self.size("limits.body", limits.body, ByteSize::kib(1), most);
        self.size("limits.body_decoded", limits.body_decoded, limits.body, most);
        self.size("limits.queue", limits.queue, ByteSize::mib(1), ByteSize::mib(1 << 20));
        self.size("limits.tables_size", limits.tables_size, ByteSize::mib(1), ByteSize::mib(1 << 20));
        for (key, value) in [
            ("limits.items", u64::from(limits.items)),
            ("limits.connections", u64::from(limits.connections)),
            ("limits.connections_per_address", u64::from(limits.connections_per_address)),
            ("limits.header_timeout_s", limits.header_timeout_s),
            ("limits.keep_alive_s", limits.keep_alive_s),
            ("limits.body_timeout_s", limits.body_timeout_s),
            ("alerts.third_party_close_after_s", config.alerts.third_party_close_after_s),
            ("retention.alerts_days", u64::from(config.retention.alerts_days)),
            ("retention.events_days", u64::from(config.retention.events_days)),
            ("retention.dead_letters_days", u64::from(config.retention.dead_letters_days)),
            ("retention.quarantine_days", u64::from(config.retention.quarantine_days)),
            ("rules.compile_cpu_s", u64::from(config.rules.compile_cpu_s)),
            ("retention.rule_versions", u64::from(config.retention.rule_versions)),
            ("retention.table_versions", u64::from(config.retention.table_versions)),
            ("retention.audit_days", u64::from(config.retention.audit_days)),
        ] {
            self.at_least(key, value, 1);
        }
        // After a loss of power the journal is replayed under the generations of that time.
        self.at_least("retention.rule_generations", config.retention.rule_generations.into(), 8);
        // What the compiler itself takes, before it sees a module.
        self.size("rules.compile_memory", config.rules.compile_memory, ByteSize::mib(128), ByteSize(u64::MAX));
        self.size("retention.state_size", config.retention.state_size, ByteSize::mib(1), ByteSize(u64::MAX));
        // The silence before a head has the one time-out, the head itself the other, and hyper's clock runs through both.
        if limits.keep_alive_s < limits.header_timeout_s {
            self.wrong(
                "limits.keep_alive_s",
                format!("{} is less than limits.header_timeout_s = {}, and would cut heads off earlier", limits.keep_alive_s, limits.header_timeout_s),
                format!("write at least {}, or lower limits.header_timeout_s", limits.header_timeout_s),
            );
        }
        if config.data.dir.as_os_str().is_empty() {
            self.wrong("data.dir", "no folder is named", "write a path, such as \"data\"");
        }
        for (key, value) in [("pipeline.workers", config.pipeline.workers), ("rules.compile_processes", config.rules.compile_processes)] {
            if value > 256 {
                self.wrong(key, format!("{value} is too large"), "write at most 256");
            }
        }
    }

    /// What is kept, the segment that is written and the one that is begun when that is full must fit, or the journal would
    /// refuse everything for ever. The begun one may be as large as the largest request, which would be refused for ever.
    fn journal(&mut self, config: &Config) {
        let (data, body) = (&config.data, config.limits.body_decoded);
        let begun = data.journal_segment.max(body);
        let least = ByteSize(data.journal_keep.0.saturating_add(data.journal_segment.0).saturating_add(begun.0));
        if data.journal_max < least {
            let (begun, lower) = match begun > data.journal_segment {
                true => (format!("one of data.journal_segment = {} and limits.body_decoded = {body}", data.journal_segment), "lower limits.body_decoded"),
                false => (format!("two of data.journal_segment = {}", data.journal_segment), "make segments smaller"),
            };
            self.wrong(
                "data.journal_max",
                format!("{} has no room for data.journal_keep = {} and {begun}", data.journal_max, data.journal_keep),
                format!("write at least {least}, or keep less, or {lower}"),
            );
        }
    }

    fn doors_and_tables(&mut self, config: &Config) {
        for (key, source) in [("doors.events.source", &config.doors.events.source), ("doors.alertmanager.source", &config.doors.alertmanager.source)] {
            if !is_name(source) || source.bytes().any(|b| b.is_ascii_uppercase()) {
                self.wrong(key, format!("{source:?} is no name of a source"), "write 1 to 64 of a-z, 0-9, `.`, `_` and `-`");
            }
        }
        config.tables.iter().for_each(|(name, table)| self.table(name, table));
    }

    /// Whether the source can be read is not asked here: a start goes on with the content that was in force.
    fn table(&mut self, name: &str, table: &Table) {
        let section = format!("tables.{name}");
        // A point would be read as the section inside.
        if !is_name(name) || name.contains('.') {
            self.wrong(&section, format!("{name:?} is no name of a table"), NAME_REMEDY);
        }
        let key = |key: &str| format!("{section}.{key}");
        let is_file = !table.file.as_os_str().is_empty();
        match (is_file, table.url.is_empty()) {
            (false, true) => self.wrong(&key("file"), "the table has no source", "write `file = \"path\"` or `url = \"https://..\"`"),
            (true, false) => self.wrong(&key("url"), "`file` is given too", "keep one of the two"),
            (true, true) => {
                for (name, is_set) in [
                    ("header_file", !table.header_file.as_os_str().is_empty()),
                    ("ca_file", !table.ca_file.as_os_str().is_empty()),
                    ("allow_http", table.allow_http),
                ] {
                    if is_set {
                        self.wrong(&key(name), "it is for tables with `url` only", "remove it");
                    }
                }
            }
            (false, false) => {
                if let Err(why) = parse_url(&table.url) {
                    // Without the URL itself: nobody knows which part of it is a secret.
                    self.wrong(&key("url"), why.to_string(), "secrets go into a file that `header_file` names");
                }
                if (1..REFRESH_S_MIN).contains(&table.refresh_s) {
                    self.wrong(&key("refresh_s"), format!("{} is too small", table.refresh_s), format!("write at least {REFRESH_S_MIN}, or 0"));
                }
            }
        }
        if table.key.is_empty() {
            self.wrong(&key("key"), "no column is named", "write the column to look up by");
        }
        self.at_least(&key("rows_max"), table.rows_max.into(), 1);
        self.size(&key("size_max"), table.size_max, ByteSize::kib(1), ByteSize::mib(2_047));
    }

    fn source(&mut self, name: &str, source: &Source) {
        let section = format!("sources.{name}");
        if !is_name(name) || name.bytes().any(|b| b == b'.' || b.is_ascii_uppercase()) {
            self.wrong(&section, format!("{name:?} is no name of a source"), "write 1 to 64 of a-z, 0-9, `_` and `-`");
        }
        let (types, headers) = (format!("{section}.content_types"), format!("{section}.headers"));
        if source.content_types.is_empty() {
            self.wrong(&types, "no content type is taken", "write at least one, such as \"application/json\"");
        }
        for kind in &source.content_types {
            if !is_content_type(kind) {
                self.wrong(&types, format!("{kind:?} is no content type"), "write type and subtype in lower case without parameters, such as \"text/csv\"");
            } else if source.decoder == Decoder::Events && !matches!(kind.as_str(), "application/json" | "application/x-ndjson") {
                self.wrong(&types, format!("the decoder of events does not read {kind}"), "write \"application/json\" or \"application/x-ndjson\"");
            }
        }
        if source.decoder == Decoder::Events && !source.headers.is_empty() {
            self.wrong(&headers, "only rules see headers", "remove the key, or write `decoder = \"rules\"`");
        }
        if source.headers.len() > HEADERS_MAX {
            self.wrong(&headers, format!("{} headers are named", source.headers.len()), format!("write at most {HEADERS_MAX}"));
        }
        for (i, header) in source.headers.iter().enumerate() {
            let name = header.to_ascii_lowercase();
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.wrong(&headers, format!("{header:?} is no name of a header"), "write names such as \"x-event\"");
            } else if SECRET_HEADERS.contains(&name.as_str()) {
                self.wrong(&headers, format!("{header} holds a secret, which would be kept with every body"), "leave it out");
            } else if source.headers[..i].iter().any(|before| before.eq_ignore_ascii_case(&name)) {
                self.wrong(&headers, format!("{header} is named twice"), "keep one of them");
            }
        }
    }

    fn publishers(&mut self, config: &mut Config) {
        for (name, publisher) in &mut config.rules.publishers {
            let section = format!("rules.publishers.{name}");
            if !is_name(name) || name.contains('.') {
                self.wrong(&section, format!("{name:?} is no name of a publisher"), NAME_REMEDY);
            }
            if let Err((key, why)) = publisher.settle() {
                let remedy = "give one of `key = \"ed25519:BASE64\"` and `key_file = \"FILE.pub\"`; `alertmill rule keygen` makes both";
                self.wrong(&format!("{section}.{key}"), why, remedy);
            }
            if publisher.rules.is_empty() || publisher.rules.iter().any(String::is_empty) {
                self.wrong(&format!("{section}.rules"), "it may sign nothing", "name rules, or write [\"*\"], or remove the publisher");
            }
        }
    }

    fn log(&mut self, config: &Config) {
        if let Err(why) = crate::telemetry::log::parse_level(&config.log.level) {
            self.wrong("log.level", format!("{:?} is no level: {why}", config.log.level), "write error, warn, info, debug or a list of target=level");
        }
    }

    fn services(&mut self, config: &mut Config) {
        self.secret("redis.url", &mut config.redis.url, &config.redis.url_file);
        self.secret("mysql.url", &mut config.mysql.url, &config.mysql.url_file);
        let not_built = [
            ("elasticsearch.nodes", !config.elasticsearch.nodes.is_empty(), "Elasticsearch"),
            ("redis.url", !config.redis.url.0.is_empty(), "Redis"),
            ("mysql.url", !config.mysql.url.0.is_empty(), "MySQL"),
        ];
        for (key, is_set, service) in not_built {
            if is_set {
                self.wrong(key, format!("{service} is not built in this version"), NOT_BUILT_REMEDY);
            }
        }
    }

    fn secret(&mut self, key: &str, value: &mut Secret, file: &Path) {
        if file.as_os_str().is_empty() {
            return;
        }
        let file_key = format!("{key}_file");
        if !value.0.is_empty() {
            self.wrong(&file_key, format!("`{key}` is given too"), "keep one of the two");
        } else {
            match read_secret(file) {
                Ok(secret) => *value = secret,
                Err(why) => self.wrong(&file_key, why, "give a readable file that holds nothing but the secret"),
            }
        }
    }
}

/// Headers of one source that rules may see.
const HEADERS_MAX: usize = 32;
const SECRET_HEADERS: [&str; 5] = ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

/// `type/subtype` in lower case.
fn is_content_type(text: &str) -> bool {
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9') || b"!#$&-^_.+".contains(&b));
    text.len() <= 127 && text.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// Seconds between two fetches of a table at least.
const REFRESH_S_MIN: u64 = 5;

const NAME_REMEDY: &str = "write 1 to 64 letters, digits, `_` or `-`";

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn read_secret(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(format!("{} is empty", file.display())) } else { Ok(Secret(text.to_owned())) }
}

//! The keys. The doc comments here are the reference that users read (`docs/config.md`).

use super::keys::{Section, SectionDoc, section};
use super::types::{ByteSize, Decoder, FingerprintAlgorithm, LogFormat, Secret, TableFormat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Config {
    pub server: Server,
    pub data: Data,
    pub retention: Retention,
    pub limits: Limits,
    pub pipeline: Pipeline,
    pub rules: Rules,
    pub tables: BTreeMap<String, Table>,
    pub alerts: Alerts,
    pub doors: Doors,
    pub sources: BTreeMap<String, Source>,
    pub log: Log,
    pub elasticsearch: Elasticsearch,
    pub redis: Redis,
    pub mysql: Mysql,
}

/// The sections of `[doors.*]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Doors {
    pub alertmanager: AlertmanagerDoor,
    pub events: EventsDoor,
}

impl Config {
    /// All sections, in the order of the reference.
    pub fn sections() -> Vec<SectionDoc> {
        vec![
            Server::describe("server"),
            Data::describe("data"),
            Retention::describe("retention"),
            Limits::describe("limits"),
            Pipeline::describe("pipeline"),
            Rules::describe("rules"),
            Publisher::describe("rules.publishers.NAME"),
            Table::describe("tables.NAME"),
            Alerts::describe("alerts"),
            EventsDoor::describe("doors.events"),
            AlertmanagerDoor::describe("doors.alertmanager"),
            Source::describe("sources.NAME"),
            Log::describe("log"),
            Elasticsearch::describe("elasticsearch"),
            Redis::describe("redis"),
            Mysql::describe("mysql"),
        ]
    }
}

section! {
    /// The one listener.
    Server {
        /// Address and port to listen on. Port 0 takes a free one and says which.
        listen: String = "127.0.0.1:9280".into(),
        /// Host names that requests may name, beside `localhost` and the listener's own address. Requests for any other
        /// `Host` are refused, so that a web page cannot reach this server by pointing a name of its own at it. `*` allows any.
        allowed_hosts: Vec<String> = Vec::new(),
        /// Listen on an address other than loopback although everyone who reaches it may then do everything: this version
        /// has neither TLS nor tokens. Put a proxy that has them in front.
        insecure_open: bool = false,
        /// Seconds that running requests, and folding what is journaled, get when the process is asked to stop. What is not
        /// folded then waits in the journal for the next start. Asked a second time, the process ends at once.
        stop_grace_s: u64 = 10,
    }
}

section! {
    /// Where data lies.
    Data {
        /// Folder of journal, event segments, state and rule modules; made when it is not there. One process at a time.
        /// Relative paths are relative to the working directory, here and elsewhere.
        dir: PathBuf = "data".into(),
        /// Size of one journal segment file.
        journal_segment: ByteSize = ByteSize::mib(64),
        /// Bytes of journal that are kept although the state no longer needs them.
        journal_keep: ByteSize = ByteSize::mib(0),
        /// Days that such journal is kept at most, by the time of its records; 0 sets no bound.
        journal_keep_days: u32 = 0,
        /// Bytes of all segment files; when they are reached because the state cannot follow, senders get 429. At least
        /// `journal_keep`, one `journal_segment`, and the larger of another one and `limits.body_decoded`.
        journal_max: ByteSize = ByteSize::mib(8 << 10),
    }
}

section! {
    /// How long things are kept. Open alerts are always kept.
    Retention {
        /// Days after its end that an alert and its logs are kept.
        alerts_days: u32 = 30,
        /// Bytes of the state that are in use: alerts with logs and lists of events, dead letters. Beyond, ended alerts go, those
        /// that ended first before others, but none within a day of its end. Their space is used again; the file does not shrink.
        state_size: ByteSize = ByteSize::mib(8 << 10),
        /// Days that event documents are kept, by the time when they were received.
        events_days: u32 = 7,
        /// Bytes of event documents; the oldest go first.
        events_size: ByteSize = ByteSize::mib(16 << 10),
        /// Dead letters kept for each source; the oldest go first and are counted.
        dead_letters_per_source: u32 = 10_000,
        /// Bytes of the items of dead letters kept for each source; the oldest go first and are counted, the newest stays.
        dead_letters_size: ByteSize = ByteSize::mib(64),
        /// Days that dead letters are kept.
        dead_letters_days: u32 = 30,
        /// Generations of rules whose modules are kept; four times as many of those that began within seven days. What neither they
        /// nor the journal name is removed once an hour.
        rule_generations: u32 = 64,
        /// Versions of each look-up table that are kept; older ones go once an hour, but none that a replay of the journal may need.
        table_versions: u32 = 8,
        /// Versions of each rule that can be activated; older ones go once an hour, but not what runs, what ran before it, and what
        /// the rules folder offers.
        rule_versions: u32 = 32,
        /// Days that it is remembered who changed the rules; the newest entry stays.
        audit_days: u32 = 400,
        /// Bytes of damaged files that were set aside, in `quarantine` and `journal/quarantine`; the oldest go first.
        quarantine_size: ByteSize = ByteSize::mib(1 << 10),
        /// Days that damaged files are kept after they were set aside.
        quarantine_days: u32 = 30,
    }
}

section! {
    /// Bounds of what a sender may send and of what waits in memory. What is beyond is refused with the limit's name.
    Limits {
        /// A request's body as it is sent.
        body: ByteSize = ByteSize::mib(16),
        /// A request's body after decompression.
        body_decoded: ByteSize = ByteSize::mib(64),
        /// Items of one request.
        items: u32 = 100_000,
        /// Bytes of items, with their bodies, that wait to be made durable and to be folded; beyond, senders get 429 with
        /// Retry-After. One request whose items need more than this in memory is let in on top; a body larger than this is refused.
        queue: ByteSize = ByteSize::mib(64),
        /// Seconds for a request's headers.
        header_timeout_s: u64 = 10,
        /// Seconds that a connection may be silent between two requests. At least `header_timeout_s`.
        keep_alive_s: u64 = 75,
        /// Seconds for a request's whole body.
        body_timeout_s: u64 = 60,
        /// All look-up tables in memory, with the largest one counted twice: it is there twice while one content takes the place of
        /// another. A change that needs more is refused, and the last good content goes on.
        tables_size: ByteSize = ByteSize::mib(256),
        /// Connections at the same time.
        connections: u32 = 10_000,
        /// Connections of one address at the same time; loopback is exempt.
        connections_per_address: u32 = 100,
    }
}

section! {
    /// The way from journal to alerts.
    Pipeline {
        /// Threads that answer requests and decode items; rules and fold have a thread each beside them. 0 takes one for each
        /// core.
        workers: u32 = 0,
    }
}

section! {
    /// User rules. Limits, grants and the failure policy of a rule are in the TOML file beside it.
    Rules {
        /// Folder of rule modules: `NN-name.wasm`, with an optional `NN-name.toml`. It may be missing.
        dir: PathBuf = "rules.d".into(),
        /// Milliseconds between two looks at that folder; a change is taken once two looks saw the same file, or it is two
        /// seconds old. 0 looks only at start.
        poll_ms: u64 = 1_000,
        /// Processes that compile modules at the same time, each for one module, within the two limits below. 0 compiles in the
        /// server's own process, without limits: for places that forbid to start processes.
        compile_processes: u32 = 1,
        /// Address space of such a process; a module that takes more to compile is refused. Write less than the machine or container
        /// has to spare.
        compile_memory: ByteSize = ByteSize::mib(2 << 10),
        /// Seconds of processor time of such a process; a module that takes more to compile is refused. In all it may
        /// take ten times as long and a minute.
        compile_cpu_s: u32 = 60,
        /// Bytes of compiled code that are kept, so that a start compiles nothing again; what was not used for longest goes first.
        /// 0 keeps none.
        compiled_size: ByteSize = ByteSize::mib(512),
    } with {
        /// Who may sign rule modules, by name.
        publishers: BTreeMap<String, Publisher>,
    }
}

section! {
    /// One who may sign rule modules; NAME is a name of your choice. As soon as there is one, a new version of a rule is taken only
    /// with a signature beside it, `NN-name.wasm.sig`, made by `alertmill rule sign`. What runs already goes on. It protects against
    /// a wrong or exchanged file, not against those who may change this file.
    Publisher {
        /// The public key: `ed25519:` and 32 bytes as base64, as `alertmill rule keygen` prints it.
        key: String = String::new(),
        /// PEM file of the public key, instead of `key`. It is read at start.
        key_file: PathBuf = PathBuf::new(),
        /// Names of rules that it may sign; `*` stands for any run of characters.
        rules: Vec<String> = vec!["*".into()],
        /// Whether what it signed no longer counts. What runs already goes on.
        revoked: bool = false,
    }
}

section! {
    /// A look-up table that rules with the grant `tables` may read, from a file or a URL. NAME is its name. See [tables](tables.md).
    Table {
        /// The file. Either this or `url`.
        file: PathBuf = PathBuf::new(),
        /// Where it is fetched from: `https://`, or `http://` of this machine. Redirects are not followed.
        url: String = String::new(),
        /// What the content must be: `auto` takes whatever it looks like, CSV with a header line, a JSON array of objects, or one
        /// object a line.
        format: TableFormat = TableFormat::Auto,
        /// The column or member that is looked up; `key` when it is not given.
        key: String = "key".into(),
        /// Seconds between two fetches of `url`, give or take a tenth; at least 5. 0 fetches once at start and when it is asked for. A
        /// file is looked at every `rules.poll_ms`.
        refresh_s: u64 = 60,
        /// Seconds after which a table that its source did not confirm is shown as stale; it goes on all the same. 0 is never.
        stale_after_s: u64 = 3_600,
        /// File with one line `Name: value`, such as `Authorization: Bearer ..`, that is sent with each fetch. It is read each time.
        header_file: PathBuf = PathBuf::new(),
        /// PEM file of certificate authorities that are trusted beside the system's.
        ca_file: PathBuf = PathBuf::new(),
        /// Fetch `http://` from other machines too.
        allow_http: bool = false,
        /// Rows. Content that has more is refused, and the last good one goes on.
        rows_max: u32 = 1_000_000,
        /// Size of the content, and of the table in memory. What is larger is refused in the same way.
        size_max: ByteSize = ByteSize::mib(64),
    }
}

section! {
    /// The life of alerts.
    Alerts {
        /// Seconds without a new event after which an alert of a third-party source is closed.
        third_party_close_after_s: u64 = 3_600,
        /// How fingerprints and uids are made. `bk-monitor` gives upstream's `dedupe_md5`. Do not change it while alerts
        /// are open: their events would no longer find them.
        fingerprint: FingerprintAlgorithm = FingerprintAlgorithm::Keyed,
    }
}

section! {
    /// `POST /api/v1/events`.
    EventsDoor {
        /// Whether it is there.
        enabled: bool = true,
        /// Name of its source, in documents and numbers; `plugin_id` of events that name none.
        source: String = "events".into(),
    }
}

section! {
    /// The Alertmanager API at `/am`, for Prometheus and vmalert.
    AlertmanagerDoor {
        /// Whether it is there.
        enabled: bool = true,
        /// Name of its source, in documents and numbers.
        source: String = "alertmanager".into(),
    }
}

section! {
    /// A source at `POST /api/v1/sources/NAME`, for bodies that are no events yet, such as webhooks of other programs. NAME is its
    /// name, in documents and numbers: 1 to 64 of a-z, 0-9, `_` and `-`. A body is at most 8 MiB, and one item until the rules
    /// have seen it.
    Source {
        /// Who makes events of a body: `rules`, the first normalize rule that is for it, once the sender is answered; `events`, the
        /// decoder of `POST /api/v1/events`, whose bodies and answers are the same here.
        decoder: Decoder = Decoder::Rules,
        /// Content types that are taken, without parameters. With `decoder = "events"`: `application/json` and
        /// `application/x-ndjson`.
        content_types: Vec<String> = vec!["application/json".into()],
        /// Headers of the request that rules see. They are kept with the body, so none that hold secrets: `authorization`,
        /// `cookie`, `proxy-authorization`, `set-cookie` and `x-api-key` are refused.
        headers: Vec<String> = Vec::new(),
    }
}

section! {
    /// The process's log, on stderr.
    Log {
        /// How it is written.
        format: LogFormat = LogFormat::Text,
        /// `error`, `warn`, `info`, `debug`, or a list of `target=level` such as `info,alertmill_engine=debug`.
        level: String = "info".into(),
    }
}

section! {
    /// Not built in this version: alerts are in the embedded store. A node here is refused rather than ignored.
    Elasticsearch {
        /// Addresses of nodes.
        nodes: Vec<String> = Vec::new(),
    }
}

section! {
    /// Not built in this version. A URL here is refused rather than ignored.
    Redis {
        /// Address, with its password.
        url: Secret = Secret::default(),
        /// File that holds the address.
        url_file: PathBuf = PathBuf::new(),
    }
}

section! {
    /// Not built in this version: rules, tables and audit are in the data folder. A URL here is refused rather than ignored.
    Mysql {
        /// Address, with its password.
        url: Secret = Secret::default(),
        /// File that holds the address.
        url_file: PathBuf = PathBuf::new(),
    }
}

use super::types::{ByteSize, Decoder, FingerprintAlgorithm};
use super::{Config, Place, Problem, from_text, reference};
use std::path::{Path, PathBuf};

const FILE: &str = "alertmill.toml";

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    from_text(text, Path::new(FILE), environment).map_err(|problems| problems.0)
}

fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load(text, environment).expect_err("a mistake").iter().map(Problem::to_string).collect()
}

#[test]
fn nothing_gives_the_defaults() {
    let config = load("", &[("PATH", "/bin"), ("ALERTMILL_SERVER", "http://example")]).expect("defaults");
    assert_eq!(config, Config::default());
    assert_eq!(config.server.listen, "127.0.0.1:9280");
    assert_eq!(config.alerts.third_party_close_after_s, 3_600);
}

#[test]
fn every_mistake_has_file_line_key_and_remedy() {
    let text = "[server]\nlistn = \"127.0.0.1:1\"\n\n[limits]\nitems = \"many\"\nbody = \"5 MB\"\n[alert]\nfingerprint = \"keyed\"\n";
    assert_eq!(
        problems(text, &[]),
        [
            "alertmill.toml:7: alert: unknown section; did you mean `[alerts]`?",
            "alertmill.toml:6: limits.body: \"5 MB\" is no size; write a number and B, KiB, MiB or GiB, such as \"64 MiB\"; the default is \"16 MiB\"",
            "alertmill.toml:5: limits.items: expected whole number, found text \"many\"; the default is 100000",
            "alertmill.toml:2: server.listn: unknown key; did you mean `listen`?",
        ]
    );
}

#[test]
fn keys_outside_their_section_are_named() {
    assert_eq!(problems("\nlisten = \"127.0.0.1:1\"\n", &[]), ["alertmill.toml:2: listen: this key belongs to a section; write it below `[server]`"]);
    assert_eq!(problems("server = 5\n", &[]), ["alertmill.toml:1: server: a section is expected here; write `[server]`, and its keys below it"]);
    let unknown = problems("[doors.kafka]\n", &[]);
    assert!(unknown[0].starts_with("alertmill.toml:1: doors.kafka: unknown section; "), "{unknown:?}");
}

#[test]
fn text_that_is_not_toml_has_its_line() {
    let found = problems("[server]\nlisten = \n", &[]);
    assert!(found[0].starts_with("alertmill.toml:2: this is not TOML: "), "{found:?}");
    let twice = problems("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", &[]);
    assert!(twice[0].starts_with("alertmill.toml:3: this is not TOML: duplicate key"), "{twice:?}");
}

#[test]
fn environment_overrides_the_file_with_toml_types() {
    let config = load(
        "[server]\nlisten = \"127.0.0.1:1\"\n[pipeline]\nworkers = 1\n",
        &[
            ("ALERTMILL__SERVER__LISTEN", "127.0.0.1:9300"),
            ("ALERTMILL__SERVER__ALLOWED_HOSTS", "[\"a.example\", \"b.example\"]"),
            ("ALERTMILL__PIPELINE__WORKERS", "3"),
            ("ALERTMILL__DOORS__EVENTS__ENABLED", "false"),
            ("ALERTMILL__LIMITS__BODY", "32 MiB"),
            ("ALERTMILL__ALERTS__FINGERPRINT", "bk-monitor"),
            ("ALERTMILL__DATA__DIR", "123"),
            ("ALERTMILL__LOG__LEVEL", "\"warn\""),
        ],
    )
    .expect("good");
    assert_eq!(config.server.listen, "127.0.0.1:9300");
    assert_eq!(config.server.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.pipeline.workers, 3);
    assert!(!config.doors.events.enabled);
    assert_eq!(config.limits.body, ByteSize::mib(32));
    assert_eq!(config.alerts.fingerprint, FingerprintAlgorithm::BkMonitor);
    assert_eq!(config.data.dir, PathBuf::from("123"));
    assert_eq!(config.log.level, "warn");
    let commas = load("", &[("ALERTMILL__SERVER__ALLOWED_HOSTS", "a.example, 10.0.0.1")]).expect("good");
    assert_eq!(commas.server.allowed_hosts, ["a.example", "10.0.0.1"]);
}

#[test]
fn mistakes_of_the_environment_name_the_variable() {
    assert_eq!(
        problems("", &[("ALERTMILL__SERVER__LISTN", "x"), ("ALERTMILL__PIPELINE__WORKERS", "many")]),
        [
            "environment ALERTMILL__PIPELINE__WORKERS: pipeline.workers: expected whole number, found text \"many\"; the default is 0",
            "environment ALERTMILL__SERVER__LISTN: server.listn: unknown key; did you mean `listen`?",
        ]
    );
    let bad = load("", &[("ALERTMILL__SERVER__LISTEN", "nowhere")]).expect_err("bad");
    assert_eq!(bad[0].place, Place::Environment("ALERTMILL__SERVER__LISTEN".into()));
}

#[test]
fn a_foreign_address_is_refused_unless_asked_for() {
    let found = problems("[server]\nlisten = \"0.0.0.0:9280\"\n", &[]);
    assert!(found[0].contains("neither TLS nor tokens") && found[0].contains("server.insecure_open = true"), "{found:?}");
    assert!(load("[server]\nlisten = \"0.0.0.0:9280\"\ninsecure_open = true\n", &[]).is_ok());
    assert!(load("[server]\nlisten = \"[::1]:0\"\n", &[]).is_ok());
}

#[test]
fn services_that_are_not_built_are_refused_with_words() {
    let text = "[elasticsearch]\nnodes = [\"http://localhost:9200\"]\n[redis]\nurl = \"redis://localhost\"\n";
    assert_eq!(
        problems(text, &[]),
        [
            "alertmill.toml:2: elasticsearch.nodes: Elasticsearch is not built in this version; remove the key; events, alerts and rules are kept in the data folder",
            "alertmill.toml:4: redis.url: Redis is not built in this version; remove the key; events, alerts and rules are kept in the data folder",
        ]
    );
    assert!(load("[elasticsearch]\nnodes = []\n[mysql]\n", &[]).is_ok());
    let found = problems("[elasticsearch]\nurl = \"http://localhost:9200\"\n[redis]\nhost = \"x\"\n", &[]);
    assert!(found[0].starts_with("alertmill.toml:2: elasticsearch.url: Elasticsearch is not built in this version"), "{found:?}");
    assert!(found[1].starts_with("alertmill.toml:4: redis.host: Redis is not built in this version"), "{found:?}");
}

#[test]
fn secrets_come_from_files_and_never_show() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("url");
    std::fs::write(&file, "mysql://root:hunter2@localhost\n").expect("write");
    let path = file.display();
    let found = problems(&format!("[mysql]\nurl_file = \"{path}\"\n"), &[]);
    assert!(found.len() == 1 && found[0].contains("mysql.url: MySQL is not built"), "{found:?}");
    let both = problems(&format!("[redis]\nurl = \"x\"\nurl_file = \"{path}\"\n"), &[]);
    assert!(both[0].contains("redis.url_file: `redis.url` is given too"), "{both:?}");
    let missing = problems("[redis]\nurl_file = \"/nonexistent/secret\"\n", &[]);
    assert!(missing[0].starts_with("alertmill.toml:2: redis.url_file: /nonexistent/secret cannot be read"), "{missing:?}");
    assert!([found, both, missing].iter().flatten().all(|text| !text.contains("hunter2")));
}

#[test]
fn a_journal_has_room_to_go_on() {
    let found = problems("[data]\njournal_segment = \"64 MiB\"\njournal_keep = \"1 GiB\"\njournal_max = \"1 GiB\"\n", &[]);
    assert_eq!(
        found,
        ["alertmill.toml:4: data.journal_max: 1 GiB has no room for data.journal_keep = 1 GiB and two of data.journal_segment = 64 MiB; write at least \
            1152 MiB, or keep less, or make segments smaller"]
    );
    assert!(load("[data]\njournal_keep = \"1 GiB\"\njournal_max = \"1152 MiB\"\n", &[]).is_ok());
    assert!(load("[data]\njournal_segment = \"5 GiB\"\n", &[]).is_err());

    // A request that fits nowhere would be refused for ever.
    let small = |max: &str| format!("[data]\njournal_segment = \"1 MiB\"\njournal_max = \"{max}\"\n");
    assert_eq!(
        problems(&small("64 MiB"), &[]),
        ["alertmill.toml:3: data.journal_max: 64 MiB has no room for data.journal_keep = 0 B and one of data.journal_segment = 1 MiB and \
            limits.body_decoded = 64 MiB; write at least 65 MiB, or keep less, or lower limits.body_decoded"]
    );
    assert!(load(&small("65 MiB"), &[]).is_ok());
}

#[test]
fn a_head_has_its_time_also_behind_a_silence() {
    assert_eq!(
        problems("[limits]\nheader_timeout_s = 20\nkeep_alive_s = 15\n", &[]),
        ["alertmill.toml:3: limits.keep_alive_s: 15 is less than limits.header_timeout_s = 20, and would cut heads off earlier; write at least 20, or lower \
            limits.header_timeout_s"]
    );
    assert!(load("[limits]\nheader_timeout_s = 15\nkeep_alive_s = 15\n", &[]).is_ok());
}

#[test]
fn names_with_a_point_are_refused_plainly() {
    let found = problems("\n[tables.\"a.b\"]\nfile = \"owners.csv\"\n", &[]);
    assert_eq!(found, ["alertmill.toml:2: tables.a.b: \"a.b\" has a `.`, which names cannot hold; write letters, digits, `_` or `-`"]);
}

#[test]
fn sources_are_named_sections() {
    let text = "[sources.grafana]\ncontent_types = [\"application/json\", \"text/csv\"]\nheaders = [\"X-Event\"]\n[sources.feed]\ndecoder = \"events\"\n";
    let config = load(text, &[]).expect("good");
    let grafana = &config.sources["grafana"];
    assert_eq!((grafana.decoder, grafana.content_types.len(), grafana.headers.as_slice()), (Decoder::Rules, 2, &["X-Event".to_owned()][..]));
    assert_eq!((config.sources["feed"].decoder, config.sources["feed"].content_types.as_slice()), (Decoder::Events, &["application/json".to_owned()][..]));
    let by_environment = load("", &[("ALERTMILL__SOURCES__FEED__CONTENT_TYPES", "text/plain,text/csv")]).expect("good");
    assert_eq!(by_environment.sources["feed"].content_types, ["text/plain", "text/csv"]);
}

#[test]
fn what_a_source_may_not_be_is_said_with_its_line() {
    for (text, line, said) in [
        ("[sources.Web]\n", 1, "sources.Web: \"Web\" is no name of a source; write 1 to 64 of a-z, 0-9, `_` and `-`"),
        ("[sources.w]\ndecoder = \"rule\"\n", 2, "sources.w.decoder: expected `\"rules\"` or `\"events\"`"),
        ("[sources.w]\ncontent_types = []\n", 2, "sources.w.content_types: no content type is taken"),
        ("[sources.w]\ncontent_types = [\"json\"]\n", 2, "\"json\" is no content type"),
        ("[sources.w]\ncontent_types = [\"text/csv; charset=utf-8\"]\n", 2, "is no content type; write type and subtype in lower case without parameters"),
        ("[sources.w]\ncontent_types = [\"Text/CSV\"]\n", 2, "is no content type"),
        ("[sources.w]\ndecoder = \"events\"\ncontent_types = [\"text/csv\"]\n", 3, "the decoder of events does not read text/csv"),
        ("[sources.w]\ndecoder = \"events\"\nheaders = [\"x-a\"]\n", 3, "only rules see headers"),
        ("[sources.w]\nheaders = [\"x a\"]\n", 2, "\"x a\" is no name of a header"),
        ("[sources.w]\nheaders = [\"x-a\", \"X-A\"]\n", 2, "X-A is named twice"),
        ("[sources.w]\nheader = [\"x-a\"]\n", 2, "unknown key; did you mean `headers`?"),
    ] {
        let found = problems(text, &[]);
        assert!(found.len() == 1 && found[0].starts_with(&format!("alertmill.toml:{line}: ")) && found[0].contains(said), "{text}: {found:?}");
    }
    for secret in ["authorization", "Cookie", "PROXY-AUTHORIZATION", "set-cookie", "X-Api-Key"] {
        let found = problems(&format!("[sources.w]\nheaders = [\"{secret}\"]\n"), &[]);
        let said = format!("alertmill.toml:2: sources.w.headers: {secret} holds a secret, which would be kept with every body; leave it out");
        assert_eq!(found, [said]);
    }
}

#[test]
fn tables_are_named_sections() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("owners.csv");
    std::fs::write(&file, "key,owner\n").expect("write");
    let config = load(&format!("[tables.owners]\nfile = \"{}\"\nkey = \"host\"\n", file.display()), &[]).expect("good");
    assert_eq!((config.tables["owners"].file.clone(), config.tables["owners"].key.as_str()), (file.clone(), "host"));
    let by_environment = load("", &[("ALERTMILL__TABLES__OWNERS__FILE", &file.display().to_string())]).expect("good");
    assert_eq!(by_environment.tables["owners"].file, file);
    assert_eq!(
        problems("\n[tables.owners]\n", &[]),
        ["alertmill.toml:2: tables.owners.file: the table has no source; write `file = \"path\"` or `url = \"https://..\"`"]
    );
    let found = problems("[tables.owners]\nfile = \"x\"\nformt = \"csv\"\n", &[]);
    assert_eq!(
        found,
        ["alertmill.toml:3: tables.owners.formt: unknown key; did you mean `format`?"],
        "whether the file is there is no matter of the configuration"
    );
    load("[tables.owners]\nurl = \"https://cmdb.example.com/hosts\"\nrefresh_s = 0\nheader_file = \"/run/secrets/cmdb\"\n", &[]).expect("good");
    for (keys, says) in [
        ("file = \"x\"\nurl = \"https://a/b\"", "owners.url: `file` is given too; keep one of the two"),
        ("file = \"x\"\nallow_http = true", "owners.allow_http: it is for tables with `url` only"),
        ("file = \"x\"\nheader_file = \"y\"", "owners.header_file: it is for tables with `url` only"),
        ("url = \"https://a/b\"\nrefresh_s = 4", "owners.refresh_s: 4 is too small; write at least 5, or 0"),
        ("url = \"file:///etc/passwd\"", "owners.url: "),
        ("url = \"https://user:hunter2@a/b\"", "owners.url: "),
        ("file = \"x\"\nkey = \"\"", "owners.key: no column is named"),
        ("file = \"x\"\nrows_max = 0", "owners.rows_max: 0 is too small"),
        ("file = \"x\"\nsize_max = 1", "owners.size_max: 1 B is out of bounds"),
    ] {
        let found = problems(&format!("[tables.owners]\n{keys}\n"), &[]);
        assert!(found.len() == 1 && found[0].contains(says) && !found[0].contains("hunter2"), "{keys} -> {found:?}");
    }
}

#[test]
fn publishers_have_one_key_of_the_right_kind() {
    let dir = tempfile::tempdir().expect("dir");
    let (key, secret) = crate::signature::SecretKey::generate().expect("a key");
    let (file, wrong) = (dir.path().join("team.pub"), dir.path().join("team.pem"));
    std::fs::write(&file, key.public().pem()).expect("write");
    std::fs::write(&wrong, secret).expect("write");
    let text = format!(
        "[rules.publishers.platform]\nkey = \"{}\"\nrules = [\"owner*\"]\n[rules.publishers.team]\nkey_file = \"{}\"\nrevoked = true\n",
        key.public(),
        file.display()
    );
    let rules = load(&text, &[]).expect("good").rules;
    assert_eq!((&rules.publishers["team"].key, rules.publishers["team"].revoked), (&key.public().to_string(), true));
    assert_eq!((&rules.publishers["platform"].rules[..], &rules.publishers["team"].rules[..]), (&["owner*".to_owned()][..], &["*".to_owned()][..]));
    assert!(rules.signers().expect("keys").are_configured());
    assert!(!load("[rules]\n", &[]).expect("good").rules.signers().expect("none").are_configured());
    for (text, said) in [
        ("[rules.publishers.p]\n".to_owned(), ":1: rules.publishers.p.key: there is no key; give one of"),
        ("[rules.publishers.p]\nkey = \"x\"\n".to_owned(), ":2: rules.publishers.p.key: it is neither ed25519:BASE64 nor a PEM public key"),
        (format!("[rules.publishers.p]\nkey = \"x\"\nkey_file = \"{}\"\n", file.display()), ":3: rules.publishers.p.key_file: `key` is given too"),
        (format!("[rules.publishers.p]\nkey_file = \"{}\"\n", wrong.display()), ":2: rules.publishers.p.key_file: it is a secret key"),
        ("[rules.publishers.p]\nkey_file = \"nowhere\"\n".to_owned(), ":2: rules.publishers.p.key_file: nowhere cannot be read"),
        (format!("[rules.publishers.p]\nkey = \"{}\"\nrules = []\n", key.public()), ":3: rules.publishers.p.rules: it may sign nothing"),
        (format!("[rules.publishers.p]\nkeys = \"{}\"\n", key.public()), ":2: rules.publishers.p.keys: unknown key; did you mean `key`?"),
    ] {
        let found = problems(&text, &[]);
        assert!(found[0].contains(said), "{text}: {found:?}");
    }
}

#[test]
fn bounds_and_levels_are_checked() {
    for (text, word) in [
        ("[limits]\nbody = 10\n", "limits.body: 10 B is out of bounds; write between 1 KiB"),
        ("[limits]\nbody = \"32 MiB\"\nbody_decoded = \"16 MiB\"\n", "limits.body_decoded"),
        ("[alerts]\nthird_party_close_after_s = 0\n", "alerts.third_party_close_after_s: 0 is too small"),
        ("[log]\nlevel = \"loud\"\n", "log.level: \"loud\" is no level"),
        ("[doors.events]\nsource = \"a b\"\n", "doors.events.source: \"a b\" is no name"),
        ("[doors.alertmanager]\nsource = \"AM\"\n", "doors.alertmanager.source: \"AM\" is no name of a source; write 1 to 64 of a-z"),
        ("[server]\nallowed_hosts = [\"http://x/\"]\n", "server.allowed_hosts"),
        ("[data]\ndir = \"\"\n", "data.dir"),
        ("[retention]\nalerts_days = -1\n", "retention.alerts_days"),
        ("[rules]\ncompile_memory = \"1 MiB\"\n", "rules.compile_memory: 1 MiB is out of bounds; write between 128 MiB"),
        ("[rules]\ncompile_cpu_s = 0\n", "rules.compile_cpu_s: 0 is too small"),
        ("[rules]\ncompile_processes = 300\n", "rules.compile_processes: 300 is too large; write at most 256"),
    ] {
        let found = problems(text, &[]);
        assert!(found.len() == 1 && found[0].contains(word), "{text} -> {found:?}");
    }
}

#[test]
fn every_key_is_documented_and_its_default_reads_back() {
    for section in Config::sections() {
        assert!(!section.doc.is_empty(), "{}", section.path);
        for key in &section.keys {
            assert!(!key.doc.is_empty() && !key.default.is_empty(), "{}.{}", section.path, key.name);
        }
    }
    let file = reference::default_file();
    let (named, rest): (Vec<&str>, Vec<&str>) = file.split("\n\n").partition(|part| part.contains("NAME"));
    assert_eq!(named.len(), 3);
    assert_eq!(load(&rest.join("\n\n"), &[]).expect("the defaults are good"), Config::default());
}

#[test]
fn the_reference_has_exactly_the_keys_of_the_structs() {
    let mut config = Config::default();
    config.tables.insert("NAME".into(), super::Table::default());
    config.sources.insert("NAME".into(), super::Source::default());
    config.rules.publishers.insert("NAME".into(), super::Publisher::default());
    let mut keys = Vec::new();
    leaves("", &toml::Value::try_from(&config).expect("toml"), &mut keys);
    let mut documented: Vec<String> =
        Config::sections().iter().flat_map(|s| s.keys.iter().map(|k| format!("{}.{}", s.path, k.name)).collect::<Vec<_>>()).collect();
    keys.sort();
    documented.sort();
    assert_eq!(keys, documented);
}

fn leaves(path: &str, value: &toml::Value, out: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                leaves(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value, out);
            }
        }
        _ => out.push(path.to_owned()),
    }
}

/// `UPDATE=1` writes the page.
#[test]
fn config_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(&path, reference::markdown()).expect("write");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == reference::markdown(), "docs/config.md is out of step: UPDATE=1 cargo test -p alertmill config_reference");
}

//! Tables whose sources change, and what looks take of them.

use super::*;
use crate::config::types::ByteSize;
use crate::outgoing::double::{Double, answer};
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use std::future::Future;
use std::sync::atomic::AtomicUsize;
use tempfile::TempDir;
use tower::ServiceExt;

/// Longer than anything here takes on a machine that builds beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tables and what is in force, without rules and journal.
struct World {
    dir: TempDir,
    engine: Engine,
    modules: ModuleFiles,
    config: Config,
    tables: Tables,
    in_force: RuleSet,
}

impl World {
    /// `tables` are lines of `[tables.NAME]` after its `key`.
    fn new(tables: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        for (name, keys) in tables {
            let mut table: config::Table = toml::from_str(&format!("key = \"host\"\n{keys}")).expect("a section");
            if table.url.is_empty() {
                table.file = dir.path().join(format!("{name}.csv"));
            }
            config.tables.insert((*name).to_owned(), table);
        }
        let modules = ModuleFiles::open(&dir.path().join("modules")).expect("modules");
        let contents = modules.clone();
        let engine = Engine::new(move |digest: &str| contents.get(digest).ok().flatten().ok_or_else(|| format!("no file of {digest}"))).expect("an engine");
        let tables = Tables::new(&config, engine.clone(), modules.clone()).swapping_at_once();
        World { dir, engine, modules, config, tables, in_force: RuleSet::default() }
    }

    /// The same folder with other limits, or as the next process finds it.
    fn restart(&mut self) {
        self.tables = Tables::new(&self.config, self.engine.clone(), self.modules.clone()).swapping_at_once();
        self.tables.looked(&self.in_force);
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join(format!("{name}.csv")), content).expect("written");
    }

    /// Two looks, the second of which takes what came to rest; gives the problems' codes.
    fn look(&mut self) -> Vec<String> {
        look(&self.tables, &mut self.in_force);
        look(&self.tables, &mut self.in_force).problems.into_iter().map(|problem| problem.code).collect()
    }

    /// Fetches every URL once, then looks.
    async fn fetch(&mut self) -> Vec<String> {
        self.tables.fetch_once().await;
        self.look()
    }

    fn row(&self, name: &str) -> TableRow {
        self.tables.rows().into_iter().find(|row| row.name == name).expect("the table")
    }

    /// The owner of a host in a table that is in force.
    fn owner(&self, name: &str, host: &str) -> Option<String> {
        let cells = self.tables.cells(name, host)??;
        cells.into_iter().find(|(column, _)| column == "owner").map(|(_, owner)| owner)
    }

    fn outcomes(&self, name: &str) -> [u64; 4] {
        let row = self.row(name);
        Outcome::ALL.map(|outcome| row.refreshes[outcome.name()])
    }
}

/// Looks once as the watch does, with no rule to say no.
fn look(tables: &Tables, in_force: &mut RuleSet) -> Now {
    let now = tables.now(in_force, SystemTime::now());
    if now.set.digests != in_force.tables {
        *in_force = RuleSet { generation: in_force.generation + 1, tables: now.set.digests.clone(), ..RuleSet::default() };
    }
    tables.looked(in_force);
    now
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

const HOSTS: &str = "host,owner\nweb-1,alice\nweb-2,bob\n";

#[test]
fn rows_in_another_order_are_the_same_table() {
    let mut world = World::new(&[("hosts", "")]);
    world.write("hosts", HOSTS);
    assert_eq!(world.look(), Vec::<String>::new());
    let (before, row) = (world.in_force.clone(), world.row("hosts"));
    assert_eq!((row.rows, row.generation, row.problem.is_none()), (Some(2), Some(1), true));
    for same in [
        "host,owner\r\n\"web-2\",bob\r\nweb-1,\"alice\"\r\n",
        "owner,host\nalice,web-1\nbob,web-2\n",
        "{\"owner\":\"bob\",\"host\":\"web-2\"}\n{\"host\":\"web-1\",\"owner\":\"alice\"}\n",
    ] {
        world.write("hosts", same);
        world.look();
        assert_eq!(world.in_force, before, "{same}");
    }
    assert_eq!(world.outcomes("hosts"), [1, 3, 0, 0], "each was read");
    world.write("hosts", "host,owner\nweb-1,alice\nweb-2,carol\n");
    world.look();
    assert_eq!((world.in_force.generation, world.owner("hosts", "web-2").as_deref()), (2, Some("carol")));
}

#[test]
fn a_table_over_its_limits_keeps_the_last_one() {
    let mut world = World::new(&[("hosts", "rows_max = 3\nsize_max = 1024"), ("other", "")]);
    world.write("hosts", HOSTS);
    world.write("other", HOSTS);
    world.look();
    let before = world.in_force.clone();
    let many_rows = "host,owner\na,1\nb,1\nc,1\nd,1\n".to_owned();
    let large_file = format!("host,owner\n{}web-1,x\n", "\n".repeat(1_100));
    let large_cells = format!("host,owner\nweb-1,{}\n", "x".repeat(1_000));
    for (content, says) in [(many_rows, "rows_max"), (large_file, "size_max"), (large_cells, "size_max")] {
        world.write("hosts", &content);
        assert_eq!(world.look(), ["table-too-large"], "{says}");
        let problem = world.row("hosts").problem.expect("a problem");
        assert!(problem.message.contains(says) && problem.message.contains("`hosts`"), "{}", problem.message);
        assert_eq!((world.in_force == before, world.owner("hosts", "web-1").as_deref()), (true, Some("alice")));
    }
    assert_eq!(world.outcomes("hosts"), [1, 0, 0, 3]);
    world.write("hosts", "host,owner\nweb-1,dora\n");
    assert_eq!(world.look(), Vec::<String>::new());
    assert_eq!(world.owner("hosts", "web-1").as_deref(), Some("dora"));

    // All together: the same file is taken once there is room, and which one is refused does not depend on who came first.
    let kept = (world.row("hosts").bytes.expect("bytes") + world.row("other").bytes.expect("bytes")) as u64;
    world.config.limits.tables_size = ByteSize(kept * 3);
    world.restart();
    assert_eq!(world.look(), Vec::<String>::new());
    let before = world.in_force.clone();
    world.write("other", &format!("host,owner\n{}", (0..100).map(|n| format!("web-{n},x\n")).collect::<String>()));
    assert_eq!(world.look(), ["table-too-large"]);
    assert!(world.row("other").problem.is_some_and(|problem| problem.message.contains("limits.tables_size")));
    assert_eq!((&world.in_force, world.owner("other", "web-1").as_deref()), (&before, Some("alice")));
    world.config.limits.tables_size = ByteSize::mib(1);
    world.restart();
    assert_eq!((world.look(), world.owner("other", "web-1").as_deref()), (Vec::new(), Some("x")));
}

#[test]
fn limits_of_today_refuse_nothing_that_is_in_force() {
    let mut world = World::new(&[("hosts", "")]);
    world.write("hosts", HOSTS);
    world.look();
    let before = world.in_force.clone();
    world.config.tables.get_mut("hosts").expect("the table").rows_max = 1;
    world.config.limits.tables_size = ByteSize(1);
    world.restart();
    assert_eq!(world.look(), ["table-too-large"]);
    assert_eq!((&world.in_force, world.owner("hosts", "web-1").as_deref()), (&before, Some("alice")));
}

#[tokio::test]
async fn what_the_server_says_unchanged_begins_nothing() {
    let turn = Arc::new(AtomicUsize::new(0));
    let at = turn.clone();
    let server = Double::http(move |asked| {
        let validators = [("etag", "\"one\""), ("last-modified", "Mon, 23 Nov 2020 10:00:00 GMT")];
        match at.load(Relaxed) {
            0 if asked.headers.contains_key("if-none-match") => answer(304, &[], ""),
            0 => answer(200, &validators, HOSTS),
            // Another page, another entity tag, the same table.
            1 => answer(200, &[("etag", "\"two\"")], r#"[{"owner":"bob","host":"web-2"},{"owner":"alice","host":"web-1"}]"#),
            _ => answer(200, &[], "host,owner\nweb-1,zoe\n"),
        }
    })
    .await;
    let mut world = World::new(&[("hosts", &format!("url = \"{}/hosts?token=hunter2\"", server.base))]);
    assert_eq!(world.fetch().await, Vec::<String>::new());
    let before = world.in_force.clone();
    assert_eq!((before.generation, world.outcomes("hosts")), (1, [1, 0, 0, 0]));
    world.fetch().await;
    assert_eq!((&world.in_force, world.outcomes("hosts")), (&before, [1, 1, 0, 0]));
    turn.store(1, Relaxed);
    world.fetch().await;
    assert_eq!((&world.in_force, world.outcomes("hosts")), (&before, [1, 2, 0, 0]));
    turn.store(2, Relaxed);
    world.fetch().await;
    assert_eq!((world.in_force.generation, world.owner("hosts", "web-1").as_deref(), world.outcomes("hosts")), (2, Some("zoe"), [2, 2, 0, 0]));
    let asked: Vec<_> = server.asked().drain(..).collect();
    assert!(asked.iter().all(|asked| asked.path == "/hosts?token=hunter2" && asked.method == "GET"));
    let header = |at: usize, name: &str| asked[at].headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!((header(0, "if-none-match"), header(0, "if-modified-since")), (None, None));
    assert_eq!((header(1, "if-none-match").as_deref(), header(1, "if-modified-since").as_deref()), (Some("\"one\""), Some("Mon, 23 Nov 2020 10:00:00 GMT")));
    assert_eq!(header(3, "if-none-match").as_deref(), Some("\"two\""), "what was said with the content that is known");

    // A start knows no tag, asks for all of it, and finds what is in force.
    let before = world.in_force.clone();
    world.restart();
    assert_eq!((world.fetch().await, &world.in_force, world.outcomes("hosts")), (Vec::new(), &before, [0, 1, 0, 0]));
    assert!(!serde_json::to_string(&world.tables.rows()).expect("JSON").contains("hunter2"), "a query is not shown");
}

#[tokio::test]
async fn a_second_change_within_a_second_is_seen() {
    // It changes twice within a second, and answers both questions in it; then it is left alone.
    let (at, later) = ("Mon, 23 Nov 2020 10:00:00 GMT", "Mon, 23 Nov 2020 10:00:01 GMT");
    let turn = Arc::new(AtomicUsize::new(0));
    let now = turn.clone();
    let server = Double::http(move |asked| match (now.load(Relaxed), asked.headers.get("if-modified-since")) {
        (_, Some(since)) if since == at => answer(304, &[("date", later)], ""),
        (0, _) => answer(200, &[("date", at), ("last-modified", at)], HOSTS),
        _ => answer(200, &[("date", later), ("last-modified", at)], "host,owner\nweb-1,zoe\n"),
    })
    .await;
    let mut world = World::new(&[("hosts", &format!("url = \"{}\"", server.base))]);
    world.fetch().await;
    assert_eq!(world.owner("hosts", "web-1").as_deref(), Some("alice"));
    turn.store(1, Relaxed);
    world.fetch().await;
    assert_eq!(world.owner("hosts", "web-1").as_deref(), Some("zoe"));
    world.fetch().await;
    assert_eq!(world.outcomes("hosts"), [2, 1, 0, 0], "now its time says that nothing changed");
    assert!(server.asked()[2].headers.contains_key("if-modified-since"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn all_who_ask_while_a_fetch_runs_get_one_more() {
    // The first answer waits until it is opened.
    let (gate, waits) = std::sync::mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let server = Double::http(move |_| {
        let _ = waits.lock().expect("no test panics with it").recv();
        answer(200, &[], HOSTS)
    })
    .await;
    let world = World::new(&[("hosts", &format!("url = \"{}\"\nrefresh_s = 0", server.base))]);
    let (stopping, stop) = watch::channel(false);
    let fetching = world.tables.fetch(&stop);
    let begun = Instant::now();
    while server.asked().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    let source = &world.tables.0.sources[0];
    let mut answers = Vec::new();
    for _ in 0..20 {
        let (ask, answered) = oneshot::channel();
        source.asks.send(ask).await.expect("it is being fetched");
        answers.push(answered);
    }
    drop(gate);
    for answered in answers {
        assert_eq!(answered.await.expect("an answer"), Ok(()));
    }
    assert_eq!(server.asked().len(), 2);
    stopping.send_replace(true);
    for fetching in fetching {
        fetching.await.expect("it ends");
    }
}

#[tokio::test]
async fn a_redirect_and_a_link_local_address_are_refused() {
    let inner = Double::http(|_| answer(200, &[], HOSTS)).await;
    let to = inner.base.clone();
    let status = Arc::new(AtomicUsize::new(301));
    let now = status.clone();
    let server = Double::http(move |_| answer(now.load(Relaxed) as u16, &[("location", &to)], HOSTS)).await;
    let mut world = World::new(&[("hosts", &format!("url = \"{}\"", server.base))]);
    for code in [301, 302, 303, 307, 308] {
        status.store(code, Relaxed);
        assert_eq!(world.fetch().await, ["table-fetch"], "{code}");
        let message = world.row("hosts").problem.expect("a problem").message;
        assert!(message.contains(&code.to_string()) && message.contains("redirects are not followed"), "{message}");
    }
    assert_eq!((inner.connections(), world.in_force.tables.len()), (0, 0), "nobody went on, and a redirect's body is no table");

    let addresses =
        ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "255.255.255.255"];
    for address in addresses {
        let mut world = World::new(&[("hosts", &format!("url = \"http://{address}:{}/\"\nallow_http = true", server.port))]);
        let asked = server.connections();
        assert_eq!(world.fetch().await, ["table-fetch"], "{address}");
        let message = world.row("hosts").problem.expect("a problem").message;
        assert!(message.contains("refused"), "{address}: {message}");
        assert_eq!(server.connections(), asked, "{address}");
    }
    println!("tables: 5 redirects and {} addresses refused, 0 connections", addresses.len());
}

#[tokio::test]
async fn whatever_else_a_server_answers_keeps_the_last_good() {
    let turn = Arc::new(AtomicUsize::new(0));
    let at = turn.clone();
    let server = Double::http(move |_| match at.load(Relaxed) {
        0 => answer(200, &[], HOSTS),
        1 => answer(304, &[], ""),
        2 => answer(404, &[], HOSTS),
        3 => answer(500, &[], ""),
        4 => answer(204, &[], ""),
        5 => answer(200, &[("content-encoding", "gzip")], HOSTS),
        6 => answer(200, &[], ""),
        7 => answer(200, &[], "<html><body>please log in</body></html>"),
        8 => answer(200, &[], "[]"),
        9 => answer(200, &[], "\u{1}"),
        10 => answer(200, &[], "host,owner\nweb-1"),
        11 => answer(200, &[], "[{\"host\":\"web-1\",\"owner\":\"eve\"}"),
        _ => answer(200, &[], format!("host,owner\nweb-1,{}\n", "x".repeat(70_000))),
    })
    .await;
    let mut world = World::new(&[("hosts", &format!("url = \"{}\"\nsize_max = \"64 KiB\"", server.base))]);
    world.fetch().await;
    let before = world.in_force.clone();
    let mut codes = Vec::new();
    for now in 1..=12 {
        turn.store(now, Relaxed);
        let found = world.fetch().await;
        assert_eq!(found.len(), 1, "{now}: {found:?}");
        codes.extend(found);
        assert_eq!((&world.in_force, world.owner("hosts", "web-1").as_deref()), (&before, Some("alice")), "{now}");
    }
    assert_eq!(codes[..5].iter().collect::<BTreeSet<_>>().len(), 1, "{codes:?}");
    assert!(codes[..5].iter().all(|code| code == "table-fetch") && codes[5..11].iter().all(|code| code == "table-invalid"), "{codes:?}");
    assert_eq!((codes[11].as_str(), world.outcomes("hosts")), ("table-too-large", [1, 0, 5, 7]));
}

#[tokio::test]
async fn a_secret_is_sent_in_its_header_and_shown_nowhere() {
    let server = Double::http(|_| answer(403, &[], "who are you")).await;
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("header");
    std::fs::write(&file, "X-Token: hunter2\n").expect("written");
    let mut world = World::new(&[("hosts", &format!("url = \"{}\"\nheader_file = \"{}\"", server.base, file.display()))]);
    world.fetch().await;
    assert_eq!(server.asked()[0].headers["x-token"], "hunter2");
    // It is read for each fetch: it was renewed.
    std::fs::write(&file, "X-Token: hunter3\n").expect("written");
    world.fetch().await;
    assert_eq!(server.asked()[1].headers["x-token"], "hunter3");
    let shown = serde_json::to_string(&world.tables.rows()).expect("JSON");
    assert!(shown.contains("403") && !shown.contains("hunter"), "{shown}");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(world.fetch().await, ["table-fetch"]);
    assert_eq!(server.asked().len(), 2, "nothing is asked without it");
}

#[test]
fn a_source_that_is_gone_keeps_the_table_and_makes_it_stale() {
    let mut world = World::new(&[("hosts", "stale_after_s = 600"), ("other", "stale_after_s = 0")]);
    world.write("hosts", HOSTS);
    world.write("other", HOSTS);
    world.look();
    let row = |world: &World, later_s: u64| world.tables.0.sources[0].row(SystemTime::now() + Duration::from_secs(later_s));
    assert!(!row(&world, 590).stale && row(&world, 620).stale);
    for _ in 0..2 {
        std::fs::remove_file(world.dir.path().join("hosts.csv")).expect("removed");
        assert_eq!(world.look(), ["unreadable"]);
        let before = world.in_force.clone();
        // The next process finds it gone.
        world.restart();
        assert_eq!(world.look(), ["unreadable"]);
        assert_eq!((&world.in_force, world.owner("hosts", "web-1").as_deref()), (&before, Some("alice")));
        assert!(row(&world, 0).age_s.is_some_and(|age| age < 600) && row(&world, 620).stale, "its age goes on from when it was kept");
        assert!(!world.tables.0.sources[1].row(SystemTime::now() + Duration::from_secs(1 << 30)).stale, "never");
        // It comes back, with what it said before.
        world.write("hosts", HOSTS);
        assert_eq!(world.look(), Vec::<String>::new());
        assert_eq!((&world.in_force, row(&world, 590).stale), (&before, false));
    }
}

#[tokio::test]
async fn what_changed_together_is_one_generation_and_the_next_one_waits_for_a_second() {
    let mut world = World::new(&[("hosts", ""), ("other", "")]);
    world.tables = Tables::new(&world.config, world.engine.clone(), world.modules.clone());
    world.write("hosts", HOSTS);
    world.write("other", HOSTS);
    world.look();
    let first = Instant::now();
    assert_eq!(world.in_force.generation, 1, "both tables came with one");
    world.write("hosts", "host,owner\nweb-1,x\n");
    world.write("other", "host,owner\nweb-1,y\n");
    world.look();
    loop {
        let now = look(&world.tables, &mut world.in_force);
        assert!(now.problems.is_empty(), "waiting is no problem");
        if world.in_force.generation == 2 {
            break;
        }
        assert!(now.is_unsettled && first.elapsed() < PATIENCE);
        in_time(world.tables.changed()).await;
    }
    assert!(first.elapsed() >= SWAP_EVERY - Duration::from_millis(100), "{:?}", first.elapsed());
    assert_eq!((world.owner("hosts", "web-1").as_deref(), world.owner("other", "web-1").as_deref()), (Some("x"), Some("y")));
}

#[test]
fn what_a_later_look_may_ask_for_is_held() {
    let mut world = World::new(&[("hosts", "")]);
    world.write("hosts", HOSTS);
    world.look();
    world.write("hosts", "host,owner\nweb-1,new\n");
    // A look that finds it, and whose generation is never begun.
    world.tables.now(&world.in_force, SystemTime::now());
    let now = world.tables.now(&world.in_force, SystemTime::now());
    let held = world.tables.held();
    assert!(held.contains(&now.set.digests[0].1) && now.set.digests != world.in_force.tables);
    world
        .modules
        .remove_unused(std::time::Duration::ZERO, |digest| held.contains(digest) || world.in_force.tables.iter().any(|(_, used)| used == digest))
        .expect("removed");
    world.look();
    assert_eq!(world.owner("hosts", "web-1").as_deref(), Some("new"));
    assert!(world.modules.get(&world.in_force.tables[0].1).expect("readable").is_some());
}

/// The answer of a route: status and body.
async fn ask(tables: &Tables, method: &str, path: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    let response = crate::api::tables::router(tables.clone()).oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn who_asks_for_a_refresh_hears_what_came_of_it() {
    let turn = Arc::new(AtomicUsize::new(0));
    let at = turn.clone();
    let server = Double::http(move |_| match at.load(Relaxed) {
        0 => answer(200, &[], HOSTS),
        1 => answer(200, &[], "host,owner\nweb-1,held\n"),
        2 => answer(503, &[], ""),
        3 => answer(200, &[], "no table"),
        4 => answer(200, &[], "host,owner\na,1\nb,1\nc,1\n"),
        _ => answer(200, &[], "host,owner\nweb-1,zoe\n"),
    })
    .await;
    let world = World::new(&[("files", ""), ("hosts", &format!("url = \"{}\"\nrefresh_s = 0\nrows_max = 2", server.base))]);
    world.write("files", HOSTS);
    let file = world.dir.path().join("files.csv");
    let tables = world.tables.clone();
    let (stopping, stop) = watch::channel(false);
    let fetching = tables.fetch(&stop);
    in_time(tables.tried(PATIENCE)).await;
    // Looks as the server does, with a rule that cannot run with one of the contents.
    let looking = tokio::spawn(async move {
        let mut in_force = RuleSet::default();
        loop {
            let mut now = world.tables.now(&in_force, SystemTime::now());
            let is_held = now.set.loaded.iter().any(|(_, table)| table.row("web-1").is_some_and(|row| row.contains(&("owner", "held"))));
            if is_held {
                now.set.digests = in_force.tables.clone();
            }
            if now.set.digests != in_force.tables {
                in_force = RuleSet { generation: in_force.generation + 1, tables: now.set.digests, ..RuleSet::default() };
            }
            world.tables.looked(&in_force);
            world.tables.changed().await;
        }
    });
    let (status, first) = in_time(ask(&tables, "POST", "/api/v1/tables/hosts:refresh")).await;
    assert_eq!((status, &first["name"]), (200, &Value::from("hosts")), "{first}");
    let (_, again) = in_time(ask(&tables, "POST", "/api/v1/tables/hosts:refresh")).await;
    assert_eq!((&again["changed"], &again["digest"], &again["generation"]), (&Value::Bool(false), &first["digest"], &first["generation"]), "{again}");
    for (now, status, code) in [(1, 409, "table-held-back"), (2, 502, "table-fetch"), (3, 422, "table-invalid"), (4, 422, "table-too-large")] {
        turn.store(now, Relaxed);
        let (found, problem) = in_time(ask(&tables, "POST", "/api/v1/tables/hosts:refresh")).await;
        assert_eq!((found, &problem["code"]), (status, &Value::from(code)), "{problem}");
        let (_, row) = ask(&tables, "GET", "/api/v1/tables/hosts").await;
        assert_eq!((&row["digest"], &row["problem"]["code"]), (&first["digest"], &Value::from(code)), "{row}");
        let (found, cells) = ask(&tables, "GET", "/api/v1/tables/hosts/rows?key=web-1").await;
        assert_eq!((found, cells), (200, serde_json::json!({"host": "web-1", "owner": "alice"})));
    }
    turn.store(5, Relaxed);
    let (_, changed) = in_time(ask(&tables, "POST", "/api/v1/tables/hosts:refresh")).await;
    assert!(changed["changed"] == true && changed["generation"].as_u64() > first["generation"].as_u64(), "{changed}");
    assert_eq!(ask(&tables, "GET", "/api/v1/tables/hosts").await.1["problem"], Value::Null);
    let (status, unchanged) = in_time(ask(&tables, "POST", "/api/v1/tables/files:refresh")).await;
    assert_eq!((status, &unchanged["changed"]), (200, &Value::Bool(false)), "{unchanged}");
    // What is said is always of the content that lies there, not of the one before, however soon somebody asks.
    for (content, status, code) in [
        (Some("no table"), 422, Value::from("table-invalid")),
        (None, 502, Value::from("table-fetch")),
        (Some("host,owner\nweb-1\n"), 422, Value::from("table-invalid")),
        (Some("host,owner\nweb-1,yan\n"), 200, Value::Null),
    ] {
        match content {
            Some(content) => std::fs::write(&file, content).expect("written"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        let (found, said) = in_time(ask(&tables, "POST", "/api/v1/tables/files:refresh")).await;
        assert_eq!((found, &said["code"]), (status, &code), "{content:?}: {said}");
    }
    for (method, path, status, code) in [
        ("POST", "/api/v1/tables/none:refresh", 404, "not-found"),
        ("POST", "/api/v1/tables/hosts", 404, "not-found"),
        ("POST", "/api/v1/tables/hosts:drop", 404, "not-found"),
        ("GET", "/api/v1/tables/none", 404, "not-found"),
        ("GET", "/api/v1/tables/none/rows?key=a", 404, "not-found"),
        ("GET", "/api/v1/tables/hosts/rows?key=web-9", 404, "not-found"),
        ("GET", "/api/v1/tables/hosts/rows", 400, "bad-parameter"),
        ("GET", "/api/v1/tables?key=a", 400, "unknown-parameter"),
    ] {
        let (found, problem) = ask(&tables, method, path).await;
        assert_eq!((found, &problem["code"]), (status, &Value::from(code)), "{method} {path}: {problem}");
    }
    let (_, list) = ask(&tables, "GET", "/api/v1/tables").await;
    let names: Vec<&str> = list["items"].as_array().expect("items").iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["files", "hosts"]);
    stopping.send_replace(true);
    looking.abort();
    for task in fetching {
        in_time(task).await.expect("it ends");
    }
}

/// The blocks of a kind in a page.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let inner = page.split("```").skip(1).step_by(2);
    inner.filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n')).collect()
}

#[test]
fn the_page_on_tables_says_what_is_so() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tables.md")).expect("the page");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("alertmill.toml");
    std::fs::write(&file, blocks(&page, "toml").concat()).expect("written");
    let config = config::load(Some(&file), std::iter::empty()).expect("the example is good");
    assert_eq!(config.tables.keys().collect::<Vec<_>>(), ["hosts", "services"]);
    assert_eq!(config.limits.tables_size, Config::default().limits.tables_size, "the example names the default");

    let contents: Vec<&str> = ["csv", "json", "ndjson"].iter().flat_map(|kind| blocks(&page, kind)).collect();
    let forms: BTreeSet<Vec<u8>> = contents.iter().map(|text| Table::parse(text.as_bytes(), Some("host")).expect(text).to_csv()).collect();
    assert_eq!((contents.len(), forms.len()), (3, 1), "three ways to write one table");

    let metrics = crate::telemetry::Metrics::new(crate::telemetry::Sources {
        tables: crate::telemetry::handle(|| {
            let refreshes = Outcome::ALL.iter().map(|outcome| (outcome.name(), 1)).collect();
            vec![TableRow { name: "hosts".into(), rows: Some(1), bytes: Some(2), age_s: Some(3), generation: Some(4), refreshes, ..TableRow::default() }]
        }),
        ..crate::telemetry::Sources::default()
    });
    let text = metrics.text().expect("text");
    let named: Vec<&str> = page.split('`').filter(|word| word.starts_with("alertmill_table_")).collect();
    assert_eq!(named.len(), 8);
    for name in named {
        assert!(text.contains(&format!("\n{name}{{table=\"hosts\"")), "{name} is not in\n{text}");
    }
    for outcome in Outcome::ALL {
        assert!(page.contains(&format!("`{}`", outcome.name())) && text.contains(&format!("outcome=\"{}\"", outcome.name())), "{outcome:?}");
    }
    for code in crate::http::ProblemCode::OWN.iter().filter(|code| code.as_str().starts_with("table-")) {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", code.as_str()))).unwrap_or_else(|| panic!("{code:?} is not there"));
        let exit = crate::cli::Exit::of_status(code.status().as_u16()) as u8;
        assert!(row.ends_with(&format!("| {} | {exit} |", code.status().as_u16())), "{row}");
    }
}

//! What looks and changes make of a real folder, with modules that are compiled and a journal that may refuse.

use super::slots::{Named, What};
use super::*;
use crate::http::Problem;
use crate::rules_folder::tests::World;
use crate::signature::{self, SecretKey, SignatureFile, Statement, TENANT};
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::RecordBody;
use alertmill_core::rule_set::{ChangeAction, Quarantine, RuleEntry, RuleSet};
use alertmill_core::version_change::{VersionAction, VersionChange};
use alertmill_stores::modules;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A compiled rule of the tests.
fn module(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../rules/dist/test/{name}.wasm"))
}

/// A journal that loses its answer to some appends.
#[derive(Default)]
struct Journaled {
    sets: Mutex<Vec<RuleSet>>,
    versions: Mutex<Vec<RecordBody>>,
    answers: Mutex<Vec<PortError>>,
}

impl Journal for Journaled {
    async fn append(&self, body: RecordBody, _: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let RecordBody::RuleSet(set) = body else {
            self.versions.lock().unwrap().push(body);
            return Ok(Appended { ordinal: 0, received_at_ms: 1 });
        };
        let mut sets = self.sets.lock().unwrap();
        sets.push(set);
        match self.answers.lock().unwrap().pop() {
            Some(error) => Err(error),
            None => Ok(Appended { ordinal: sets.len() as u64, received_at_ms: 1 }),
        }
    }
}

#[tokio::test]
async fn an_unclear_append_spends_its_number() {
    let world = World::new(&[], &[("10-says.wasm", "says")]);
    let journal = Journaled::default();
    let generations = || journal.sets.lock().unwrap().iter().map(|set| set.generation).collect::<Vec<_>>();
    let keeper = RuleKeeper::new(world.folder, world.engine, RuleSet::default());
    keeper.is_replayed(Vec::new());
    journal.answers.lock().unwrap().push(PortError::Unclear("the answer was lost".to_owned()));
    keeper.look(&journal).await.expect_err("unclear");
    // Another module meanwhile: were the first record there, one number would be two sets.
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/dist/test/says-b.wasm");
    std::fs::copy(other, world.dir.path().join("rules.d/10-says.wasm")).unwrap();
    while keeper.look(&journal).await.expect("a clear answer").is_none() {}
    let versions: Vec<_> = journal.sets.lock().unwrap().iter().map(|set| set.rules[0].version.clone()).collect();
    assert_eq!(generations()[..2], [1, 2], "{versions:?}");

    // What certainly changed nothing has its number still, or a full disk would use them up.
    std::fs::remove_file(world.dir.path().join("rules.d/10-says.wasm")).unwrap();
    let before = keeper.shown().set.generation;
    journal.sets.lock().unwrap().clear();
    *journal.answers.lock().unwrap() = vec![PortError::DiskRefused("full".to_owned()), PortError::Unavailable("full".to_owned())];
    let mut refused = 0;
    let begun = loop {
        match keeper.look(&journal).await {
            Ok(Some(generation)) => break generation,
            Ok(None) => {}
            Err(_) => refused += 1,
        }
    };
    assert_eq!((refused, begun), (2, before + 1));
    // What the journal then turns out to hold is known, and no number comes again.
    keeper.begins(&RuleSet { generation: before + 7, ..RuleSet::default() });
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/dist/test/says.wasm"), world.dir.path().join("rules.d/10-says.wasm")).unwrap();
    let begun = loop {
        if let Some(generation) = keeper.look(&journal).await.unwrap() {
            break generation;
        }
    };
    assert_eq!(begun, before + 8);
}

#[test]
fn what_a_later_look_may_ask_for_is_held() {
    let world = World::new(&["hosts"], &[("10-says.wasm", "says"), ("20-says.wasm", "says-b")]);
    let (modules, journal) = (world.folder.modules().clone(), Journaled::default());
    let keeper = RuleKeeper::new(world.folder, world.engine, RuleSet::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let look = || runtime.block_on(keeper.look(&journal));
    let until_begun = || std::iter::from_fn(|| look().transpose().or(Some(Ok(0)))).find(|begun| !matches!(begun, Ok(0))).unwrap();
    look().unwrap();
    // Beside what runs, the module that waits for its name: no look puts it there again.
    assert_eq!(keeper.between_looks(1, |held| modules.remove_unused(std::time::Duration::ZERO, |digest| held.contains(digest)).unwrap()), 0);
    std::fs::remove_file(world.dir.path().join("rules.d/10-says.wasm")).unwrap();
    assert_eq!(until_begun(), Ok(2));
    assert_eq!(keeper.shown().set.rules[0].version, "1.1.0");

    // What a record names that may have been written is held until the state is behind it.
    let hosts = world.dir.path().join("hosts.csv");
    let table = || journal.sets.lock().unwrap().last().unwrap().tables[0].1.clone();
    std::fs::write(&hosts, "host,owner\nweb-1,zoe\n").unwrap();
    journal.answers.lock().unwrap().push(PortError::Unclear("the answer was lost".to_owned()));
    until_begun().expect_err("unclear");
    let unclear = table();
    std::fs::write(&hosts, "host,owner\nweb-1,yves\n").unwrap();
    // The next look may not have seen twice what was written since.
    let newest = loop {
        let begun = until_begun().unwrap();
        if table() != unclear {
            break begun;
        }
    };
    let held = |newest_in_state| keeper.between_looks(newest_in_state, |held| [&unclear, &table()].map(|digest| held.contains(digest)));
    assert_eq!((held(2), held(newest)), ([true, true], [false, true]));
}

/// A keeper over `10-says.wasm`, with both versions of it in the data folder and the first one in force.
struct Kept {
    world: World,
    keeper: RuleKeeper,
    journal: Journaled,
}

/// Version 1.0.0 and 1.1.0.
fn versions() -> [Named; 2] {
    [("1.0.0", "says"), ("1.1.0", "says-b")].map(|(version, file)| {
        let digest = modules::digest(&std::fs::read(module(file)).unwrap());
        Named { version: version.into(), digest: digest.into() }
    })
}

fn activate(version: &Named) -> What {
    What::Activate { version: version.clone(), options: None, order: None, allow_downgrade: true }
}

impl Kept {
    async fn new() -> Kept {
        let world = World::new(&[], &[("10-says.wasm", "says")]);
        world.folder.modules().put(&std::fs::read(module("says-b")).unwrap()).unwrap();
        let keeper = RuleKeeper::new(world.renewed(), world.engine.clone(), RuleSet::default());
        keeper.is_replayed(Vec::new());
        let kept = Kept { world, keeper, journal: Journaled::default() };
        assert_eq!(kept.keeper.look(&kept.journal).await, Ok(Some(1)));
        kept
    }

    /// The next process, that found the last set in its state.
    fn restart(&mut self) {
        let latest = self.keeper.shown().set.clone();
        self.keeper = RuleKeeper::new(self.world.renewed(), self.world.engine.clone(), latest);
        self.keeper.is_replayed(&self.came());
    }

    /// The versions that have a record, in its order.
    fn came(&self) -> Vec<VersionChange> {
        let records = self.journal.versions.lock().unwrap();
        let change = |body: &RecordBody| match body {
            RecordBody::RuleVersion(change) => change.clone(),
            other => panic!("{other:?}"),
        };
        records.iter().map(change).collect()
    }

    /// A version came by the API.
    fn uploaded(&self, version: &Named) {
        let Named { version, digest } = version.clone();
        self.keeper.knows(&VersionChange { name: "says".into(), version, digest, ..VersionChange::default() });
    }

    /// What it names was uploaded before.
    async fn ask_if(&self, what: What, only_if: Condition) -> Result<Changed, Problem> {
        what.names().into_iter().for_each(|version| self.uploaded(version));
        let who = Who { operator: "wang".into(), ..Who::default() };
        self.keeper.change(&self.journal, &Ask { rule: "says".into(), what, only_if, who }).await
    }

    async fn ask(&self, what: What) -> Result<Changed, Problem> {
        self.ask_if(what, Condition::Any).await
    }

    /// Two looks, so that a change of the file is taken; the version in force after them.
    async fn look(&self) -> String {
        for _ in 0..2 {
            self.keeper.look(&self.journal).await.unwrap();
        }
        self.version()
    }

    fn version(&self) -> String {
        self.keeper.shown().set.rules[0].version.to_string()
    }

    fn put(&self, file: &str) {
        std::fs::copy(module(file), self.world.dir.path().join("rules.d/10-says.wasm")).unwrap();
    }

    fn records(&self) -> usize {
        self.journal.sets.lock().unwrap().len()
    }
}

#[tokio::test]
async fn stale_changes_are_refused_and_nothing_is_begun() {
    let kept = Kept::new().await;
    let [_, second] = versions();
    let seen = kept.keeper.shown().etag("says").unwrap();
    for only_if in [Condition::Tags(vec!["\"g9\"".to_owned()]), Condition::Missing] {
        assert_eq!(kept.ask_if(activate(&second), only_if).await.unwrap_err().code, "stale");
    }
    assert_eq!((kept.records(), kept.version().as_str()), (1, "1.0.0"));
    // Two operators that saw the same: one of them wins, and the other one is told.
    kept.ask_if(activate(&second), Condition::Tags(vec![seen.clone()])).await.unwrap();
    let refused = kept.ask_if(What::Rollback, Condition::Tags(vec![seen])).await.unwrap_err();
    assert!(refused.code == "stale" && refused.detail.contains("\"g2\""), "{refused:?}");
    assert_eq!((kept.records(), kept.version().as_str()), (2, "1.1.0"));
    // What is so already is no record.
    assert!(!kept.ask(activate(&second)).await.unwrap().is_changed);
    assert_eq!(kept.records(), 2);
    // A version that is not kept cannot run, and changes nothing.
    let missing = Named { version: "9".into(), digest: "0".repeat(64).into() };
    assert_eq!(kept.ask(activate(&missing)).await.unwrap_err().code, "content-missing");
    assert_eq!((kept.records(), kept.version().as_str()), (2, "1.1.0"));
    let change = kept.journal.sets.lock().unwrap()[1].change.clone();
    assert_eq!((change.action, change.operator.as_str(), change.object.as_str(), change.to), (ChangeAction::Activate, "wang", "says", second.digest));
}

#[tokio::test]
async fn a_pin_holds_a_changed_file() {
    let mut kept = Kept::new().await;
    kept.ask(What::Pin(None)).await.unwrap();
    kept.put("says-b");
    assert_eq!(kept.look().await, "1.0.0");
    let records = kept.records();
    assert_eq!(kept.ask(activate(&versions()[1])).await.unwrap_err().code, "pinned");
    kept.restart();
    assert_eq!((kept.look().await.as_str(), kept.records()), ("1.0.0", records), "a restart forgets no pin and begins nothing");
    kept.ask(What::Unpin).await.unwrap();
    assert_eq!(kept.look().await, "1.0.0", "nothing switches by itself");
    kept.ask(activate(&versions()[1])).await.unwrap();
    assert_eq!(kept.look().await, "1.1.0");
}

#[tokio::test]
async fn rollback_twice_is_where_it_was() {
    let kept = Kept::new().await;
    kept.ask(activate(&versions()[1])).await.unwrap();
    let before = kept.keeper.shown().set.rules.clone();
    assert_eq!(kept.ask(What::Rollback).await.unwrap().after.unwrap().version, "1.0.0");
    kept.ask(What::Rollback).await.unwrap();
    assert_eq!(kept.keeper.shown().set.rules, before);
}

#[tokio::test]
async fn a_rollback_is_not_repeated_blindly() {
    let kept = Kept::new().await;
    kept.ask(activate(&versions()[1])).await.unwrap();
    let seen = Condition::Tags(vec![kept.keeper.shown().etag("says").unwrap()]);
    kept.ask_if(What::Rollback, seen.clone()).await.unwrap();
    assert_eq!(kept.ask_if(What::Rollback, seen).await.unwrap_err().code, "stale");
    assert_eq!(kept.version(), "1.0.0");
}

#[tokio::test]
async fn the_last_change_wins_across_a_restart() {
    let mut kept = Kept::new().await;
    kept.ask(activate(&versions()[1])).await.unwrap();
    kept.restart();
    assert_eq!((kept.look().await.as_str(), kept.records()), ("1.1.0", 2), "the file did not change, so it undoes nothing");
    // And a file that did change does, also while no process ran.
    std::fs::write(kept.world.dir.path().join("rules.d/10-says.toml"), "[limits]\ntime_ms = 99\n").unwrap();
    kept.restart();
    assert_eq!(kept.look().await, "1.0.0");
    let set = kept.keeper.shown().set.clone();
    assert!(set.rules[0].options.contains("99") && set.rules[0].previous.as_ref().is_some_and(|previous| previous.version == "1.1.0"));
    assert_eq!((set.change.action, set.change.object.as_str()), (ChangeAction::Folder, "says"));
}

#[tokio::test]
async fn no_change_while_the_last_process_is_replayed() {
    let kept = Kept::new().await;
    let keeper = RuleKeeper::new(World::new(&[], &[]).folder, kept.world.engine.clone(), kept.keeper.shown().set.clone());
    let ask = Ask { rule: "says".into(), what: What::Deactivate, only_if: Condition::Any, who: Who::default() };
    let refused = keeper.change(&kept.journal, &ask).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_s, kept.records()), ("replaying", Some(1), 1));
    let version = VersionChange { name: "says".into(), digest: versions()[1].digest.clone(), ..VersionChange::default() };
    assert_eq!(keeper.remove_version(&kept.journal, version).await.unwrap_err().code, "replaying", "a record to come may let it run");
    keeper.is_replayed(Vec::new());
    assert!(keeper.change(&kept.journal, &ask).await.unwrap().is_changed);
}

#[tokio::test]
async fn what_is_only_tried_begins_nothing_and_says_what_would_be() {
    let kept = Kept::new().await;
    let ask = Ask { rule: "says".into(), what: activate(&versions()[1]), only_if: Condition::Any, who: Who::default() };
    assert_eq!(kept.keeper.try_change(&ask).unwrap_err().code, "not-found", "nobody has uploaded it");
    kept.uploaded(&versions()[1]);
    let would = kept.keeper.try_change(&ask).unwrap();
    assert_eq!((would.is_changed, would.set.generation, would.info.unwrap().version.as_str()), (true, 2, "1.1.0"));
    assert_eq!((kept.records(), kept.version().as_str()), (1, "1.0.0"));
}

#[tokio::test]
async fn a_quarantine_is_a_record_that_a_look_does_not_undo() {
    let mut kept = Kept::new().await;
    let [first, second] = versions();
    let quarantine = |digest: &Named| What::Quarantine(Quarantine { kind: "deadline".into(), ..Quarantine::default() }, Some(digest.digest.clone()));
    assert!(!kept.ask(quarantine(&second)).await.unwrap().is_changed, "what no longer runs");
    kept.ask(quarantine(&first)).await.unwrap();
    kept.restart();
    kept.look().await;
    assert!(kept.keeper.shown().set.rules[0].quarantine.is_some());
    assert_eq!(kept.records(), 2);
    kept.put("says-b");
    assert_eq!(kept.look().await, "1.1.0");
    let slot = kept.keeper.shown().set.rules[0].clone();
    assert!(slot.quarantine.is_none() && slot.previous.is_none(), "a new version is out of it, and there is nothing good to go back to");
}

#[tokio::test]
async fn what_the_folder_offers_is_a_version_with_one_record() {
    let kept = Kept::new().await;
    kept.look().await;
    kept.put("says-b");
    kept.look().await;
    kept.put("says");
    kept.look().await;
    let versions = kept.came();
    let came: Vec<(&str, &str)> = versions.iter().map(|change| (change.version.as_str(), change.source.as_str())).collect();
    assert_eq!(came, [("1.0.0", "folder"), ("1.1.0", "folder")]);
}

/// A journal that answers when it is let.
struct Gated<'a>(&'a Journaled, tokio::sync::Semaphore);

impl Journal for Gated<'_> {
    async fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        self.1.acquire().await.expect("open").forget();
        self.0.append(body, parsed).await
    }
}

#[tokio::test]
async fn a_version_goes_or_runs_and_never_both() {
    for removal_is_first in [true, false] {
        let kept = Kept::new().await;
        let [_, second] = versions();
        kept.uploaded(&second);
        let journal = Gated(&kept.journal, tokio::sync::Semaphore::new(0));
        let change = |what| Ask { rule: "says".into(), what, only_if: Condition::Any, who: Who::default() };
        let (off, on) = (change(What::Deactivate), change(activate(&second)));
        let removed = VersionChange { action: VersionAction::Removed, name: "says".into(), digest: second.digest.clone(), ..VersionChange::default() };
        // A change that waits for the journal lets none other decide; those who wait behind it have seen the version there.
        let mut off = std::pin::pin!(kept.keeper.change(&journal, &off));
        let mut activation = std::pin::pin!(kept.keeper.change(&journal, &on));
        let mut removal = std::pin::pin!(kept.keeper.remove_version(&journal, removed));
        assert!(waits(&mut off).await);
        if removal_is_first {
            assert!(waits(&mut removal).await && waits(&mut activation).await);
        } else {
            assert!(waits(&mut activation).await && waits(&mut removal).await);
        }
        journal.1.add_permits(9);
        let (off, activation, removal) = tokio::join!(off, activation, removal);
        let records = kept
            .journal
            .versions
            .lock()
            .unwrap()
            .iter()
            .filter(|body| matches!(body, RecordBody::RuleVersion(change) if change.action == VersionAction::Removed))
            .count();
        assert!(off.unwrap().is_changed);
        if removal_is_first {
            assert_eq!((activation.unwrap_err().code, removal.is_ok(), records, kept.version().as_str()), ("not-found", true, 1, "1.0.0"));
        } else {
            assert_eq!((activation.unwrap().is_changed, removal.unwrap_err().code, records, kept.version().as_str()), (true, "in-use", 0, "1.1.0"));
        }
    }
}

/// Goes as far as it can; whether it waits.
async fn waits(future: &mut std::pin::Pin<&mut impl Future>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn what_is_signed_later_has_a_record_of_its_signature() {
    let mut kept = Kept::new().await;
    let says = versions()[0].digest.clone();
    let key = SecretKey::generate().expect("random bytes").0;
    let publisher = crate::config::Publisher { key: key.public().to_string(), ..Default::default() };
    kept.world.config.rules.publishers = [("platform".to_owned(), publisher)].into();
    kept.restart();
    kept.look().await;
    assert_eq!((kept.keeper.is_signed(&"says".into(), &says), kept.version().as_str()), (Some(false), "1.0.0"), "what runs goes on, unsigned");
    let statement = Statement { tenant: TENANT, name: "says", version: "1.0.0", digest: &says };
    let file = SignatureFile::sign(&statement, &key, "platform", None).expect("signed");
    std::fs::write(signature::beside(&kept.world.dir.path().join("rules.d/10-says.wasm")), file.to_bytes()).unwrap();
    kept.look().await;
    let came = kept.came();
    let signers: Vec<_> = came.iter().map(|change| change.signature.as_ref().map(|signature| signature.signer.as_str())).collect();
    assert_eq!(signers, [None, Some("platform")]);
    kept.restart();
    kept.look().await;
    assert_eq!((kept.keeper.is_signed(&"says".into(), &says), kept.came().len(), kept.records()), (Some(true), 2, 1), "one record, and no generation");
    assert_eq!(kept.keeper.is_signed(&"other".into(), &says), None);
}

#[tokio::test]
async fn a_tag_never_stands_for_two_states_of_a_slot() {
    let mut kept = Kept::new().await;
    let mut seen: BTreeMap<String, RuleEntry> = BTreeMap::new();
    let mut look_at = |kept: &Kept| {
        let shown = kept.keeper.shown();
        let (tag, slot) = (shown.etag("says").unwrap(), &shown.set.rules[0]);
        let first = seen.entry(tag.clone()).or_insert_with(|| slot.clone());
        assert_eq!(first, slot, "{tag}");
        seen.len()
    };
    let [first, second] = versions();
    for round in 0..3 {
        for what in [activate(&second), What::Pin(None), What::Unpin, What::Rollback, What::Deactivate, activate(&first)] {
            look_at(&kept);
            // The answer is lost; whether the record is there shows only at the next start.
            kept.journal.answers.lock().unwrap().push(PortError::Unclear("the answer was lost".to_owned()));
            kept.ask(what.clone()).await.expect_err("unclear");
            look_at(&kept);
            let unclear = kept.journal.sets.lock().unwrap().last().unwrap().clone();
            kept.restart();
            if round % 2 == 0 {
                kept.keeper.begins(&unclear);
            }
            look_at(&kept);
            kept.ask(what).await.expect("a clear answer");
            look_at(&kept);
            kept.restart();
        }
    }
    let tags = look_at(&kept);
    assert!(tags >= 18, "{tags}");
}

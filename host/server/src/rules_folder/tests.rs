//! Looks at a folder that changes between them, and what they put in force.

use super::*;
use crate::config::{Config, Table};
use alertmill_core::rule_set::Origin;
use alertmill_core::rules::RuleSets;
use tempfile::TempDir;

const HOSTS: &str = "host,owner,team,service,tier\nweb-1,alice,web,shop,1\nweb-2,bob,infra,,\n";
const GRANT: &str = "grants = [\"tables\"]\n";

/// A folder, a table `hosts` and what is in force, without a journal.
pub(crate) struct World {
    pub dir: TempDir,
    pub folder: RulesFolder,
    pub engine: Engine,
    pub in_force: RuleSet,
    pub config: Config,
}

impl World {
    pub fn new(tables: &[&str], files: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("rules.d")).expect("rules.d");
        let mut config = Config::default();
        config.rules.dir = dir.path().join("rules.d");
        for name in tables {
            let table = Table { file: dir.path().join(format!("{name}.csv")), key: "host".to_owned(), ..Table::default() };
            std::fs::write(&table.file, HOSTS).expect("a table");
            config.tables.insert((*name).to_owned(), table);
        }
        let modules = ModuleFiles::open(&dir.path().join("modules")).expect("modules");
        let contents = modules.clone();
        let engine = Engine::new(move |digest: &str| contents.get(digest).ok().flatten().ok_or_else(|| format!("no file of {digest}"))).expect("an engine");
        let folder = RulesFolder::new(&config, engine.clone(), modules).swapping_at_once();
        let world = World { dir, folder, engine, in_force: RuleSet::default(), config };
        files.iter().for_each(|(file, module)| world.module(file, module));
        world
    }

    fn write(&self, file: &str, content: &str) {
        std::fs::write(self.dir.path().join(file), content).expect("written");
    }

    /// The folder as the next process finds it.
    pub fn restart(&mut self) {
        self.folder = self.renewed();
    }

    /// A folder that has not looked yet.
    pub fn renewed(&self) -> RulesFolder {
        RulesFolder::new(&self.config, self.engine.clone(), self.folder.modules.clone())
            .signed_by(self.config.rules.signers().expect("keys"))
            .swapping_at_once()
    }

    /// Copies a compiled rule: `says` of `dist/test`, or a shipped one.
    pub fn module(&self, file: &str, name: &str) {
        let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/dist");
        let bytes = std::fs::read(dist.join(format!("test/{name}.wasm"))).or_else(|_| std::fs::read(dist.join(format!("{name}.wasm"))));
        std::fs::write(self.dir.path().join("rules.d").join(file), bytes.expect("a compiled rule")).expect("written");
    }

    /// Looks, and begins the generation that it asks for, as the keeper does; whatever a look asks for can be loaded.
    pub fn look(&mut self) -> Look {
        self.look_at(SystemTime::now())
    }

    /// As `look`, at a time that may be long after the last write.
    fn look_at(&mut self, now: SystemTime) -> Look {
        let look = self.folder.look_at(&self.in_force, now);
        if look.rules != self.in_force.rules || look.tables != self.in_force.tables {
            self.in_force = RuleSet { generation: self.in_force.generation + 1, rules: look.rules.clone(), tables: look.tables.clone(), ..RuleSet::default() };
            self.engine.register(self.in_force.clone());
            self.engine.open(self.in_force.generation).map(|_| ()).expect("a generation that can be loaded");
        }
        look
    }

    /// The look that sees a change, and the one that takes it.
    pub fn take(&mut self) -> Look {
        self.look();
        self.look()
    }

    pub fn version(&self, rule: &str) -> Option<&str> {
        self.in_force.rules.iter().find(|entry| entry.name == rule).map(|entry| entry.version.as_str())
    }

    fn table(&self, name: &str) -> String {
        let (_, digest) = self.in_force.tables.iter().find(|(known, _)| *known == name).expect("the table");
        String::from_utf8(self.folder.modules.get(digest).expect("readable").expect("kept")).expect("text")
    }
}

fn codes(look: &Look) -> Vec<&str> {
    look.problems.iter().map(|problem| problem.code.as_str()).collect()
}

#[test]
fn file_names_give_rule_names() {
    let of = |name: &str| rule_name(Path::new(name));
    assert_eq!(of("rules.d/10-owner-from-table.wasm").as_deref(), Some("owner-from-table"));
    assert_eq!(of("1-a.wasm").as_deref(), Some("a"));
    assert_eq!([of("owner.wasm"), of("x-owner.wasm"), of("10-.wasm")], [None, None, None]);
}

#[test]
fn a_table_that_a_refused_rule_cannot_run_with_stays_as_it_is_and_others_go_on() {
    let mut world = World::new(&["hosts", "other"], &[("10-owner-from-table.wasm", "owner-from-table"), ("20-says.wasm", "says")]);
    world.write("rules.d/10-owner-from-table.toml", GRANT);
    assert_eq!(codes(&world.look()), Vec::<&str>::new());
    assert_eq!(world.in_force.generation, 1);

    // A column is gone: the rule's file is refused with it, and its last version cannot run with it either.
    world.write("hosts.csv", "host,team,service,tier\nweb-1,web,shop,1\n");
    let look = world.take();
    let held = look.problems.iter().find(|problem| problem.code == "table-held-back").unwrap_or_else(|| panic!("{:?}", look.problems));
    assert!(held.message.contains("`hosts`") && held.message.contains("`owner-from-table`") && held.message.contains("owner"), "{}", held.message);
    assert!(world.table("hosts").contains("alice"));

    // Meanwhile another rule and another table change.
    world.module("20-says.wasm", "says-b");
    world.write("other.csv", "host,owner\nweb-9,zoe\n");
    let look = world.take();
    assert_eq!(world.version("says"), Some("1.1.0"), "{:?}", look.problems);
    assert!(world.table("other").contains("zoe") && world.table("hosts").contains("alice"));
    assert_eq!(world.version("owner-from-table"), Some("1.0.0"));
    let generation = world.in_force.generation;
    world.take();
    assert_eq!(world.in_force.generation, generation, "looks that find nothing new begin nothing");

    world.write("hosts.csv", "host,owner,team,service,tier\nweb-1,dora,web,shop,1\n");
    assert_eq!(codes(&world.take()), Vec::<&str>::new());
    assert!(world.table("hosts").contains("dora"));
}

#[test]
fn a_change_of_rule_and_table_that_is_half_bad_keeps_both() {
    let mut world = World::new(&["hosts"], &[("10-owner-from-table.wasm", "owner-from-table")]);
    world.write("rules.d/10-owner-from-table.toml", GRANT);
    world.look();
    let before = world.in_force.clone();
    world.write("rules.d/10-owner-from-table.wasm", "rubbish");
    world.write("hosts.csv", "host\nweb-1\n");
    let look = world.take();
    assert_eq!(world.in_force, before, "{:?}", look.problems);
    assert!(codes(&look).contains(&"not-a-component") && codes(&look).contains(&"table-held-back"), "{:?}", look.problems);
}

#[test]
fn options_that_are_half_written_are_not_taken() {
    let mut world = World::new(&[], &[("10-severity-by-labels.wasm", "severity-by-labels")]);
    let whole = "[limits]\ntime_ms = 99\n\n[[config.exceptions]]\ntag = \"env\"\nvalues = [\"production\"]\neffect = { at_least = 1 }\n";
    world.write("rules.d/10-severity-by-labels.toml", whole);
    world.look();
    let before = world.in_force.clone();
    // The same file written anew: cut before the first byte and after the first table, each good TOML by itself.
    for cut in [0, whole.find("\n\n").expect("two tables") + 1] {
        world.write("rules.d/10-severity-by-labels.toml", &whole[..cut]);
        assert_eq!(codes(&world.look()), Vec::<&str>::new());
        assert_eq!(world.in_force, before, "cut at {cut}");
    }
    world.write("rules.d/10-severity-by-labels.toml", whole);
    world.take();
    assert_eq!(world.in_force, before);
    // What stays as it is was meant.
    world.write("rules.d/10-severity-by-labels.toml", "[limits]\ntime_ms = 77\n");
    world.take();
    assert!(world.in_force.rules[0].options.contains("77") && world.in_force.rules[0].config.is_empty());
}

#[test]
fn a_table_that_is_half_written_is_not_taken() {
    let mut world = World::new(&["hosts"], &[]);
    world.look();
    world.write("hosts.csv", "host,owner,team,service,tier\nweb-1,dora,web,shop,1\n");
    assert_eq!(codes(&world.look()), Vec::<&str>::new());
    assert!(world.table("hosts").contains("bob"), "one line is there, the other not yet");
    world.write("hosts.csv", "host,owner,team,service,tier\nweb-1,dora,web,shop,1\nweb-2,eve,infra,,\n");
    world.look();
    assert!(world.table("hosts").contains("bob"));
    world.look();
    assert!(world.table("hosts").contains("eve") && world.in_force.generation == 2);
}

#[test]
fn a_rename_is_taken_one_look_later_and_a_file_that_comes_back_was_never_away() {
    let mut world = World::new(&[], &[("10-says.wasm", "says")]);
    world.look();
    world.module("10-says.new", "says-b");
    let folder = world.dir.path().join("rules.d");
    std::fs::rename(folder.join("10-says.new"), folder.join("10-says.wasm")).expect("renamed");
    world.look();
    assert_eq!(world.version("says"), Some("1.0.0"));
    world.look();
    assert_eq!(world.version("says"), Some("1.1.0"));

    std::fs::remove_file(folder.join("10-says.wasm")).expect("removed");
    world.look();
    assert_eq!(world.version("says"), Some("1.1.0"));
    world.module("10-says.wasm", "says-b");
    world.take();
    assert_eq!((world.version("says"), world.in_force.generation), (Some("1.1.0"), 2));
    std::fs::remove_file(folder.join("10-says.wasm")).expect("removed");
    world.take();
    assert_eq!(world.version("says"), None);
}

#[test]
fn a_disabled_file_takes_no_name_and_has_to_have_its_own() {
    let mut world = World::new(&[], &[("10-says.wasm", "says"), ("20-says.wasm", "says-b"), ("30-speaks.wasm", "says")]);
    world.write("rules.d/10-says.toml", "enabled = false\n");
    world.write("rules.d/30-speaks.toml", "enabled = false\n");
    let look = world.look();
    assert_eq!(codes(&look), ["name-differs"], "{:?}", look.problems);
    let listed: Vec<&str> = world.in_force.rules.iter().map(|entry| entry.version.as_str()).collect();
    assert_eq!(listed, ["1.1.0"], "the first is off, the second runs");

    // A bad file before it does not take the name either, and of two good ones the first has it.
    world.write("rules.d/10-says.toml", "");
    world.write("rules.d/10-says.wasm", "rubbish");
    world.take();
    assert_eq!(world.version("says"), Some("1.1.0"));
    world.module("10-says.wasm", "says");
    assert!(codes(&world.take()).contains(&"name-taken"));
    assert_eq!(world.version("says"), Some("1.0.0"));
}

#[test]
fn what_the_disk_refused_is_tried_again_although_no_file_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (rules, kept, table) = (dir.path().join("rules.d"), dir.path().join("modules"), dir.path().join("owners.csv"));
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(&table, "key,owner\na,b\n").unwrap();
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/dist/test/says.wasm");
    std::fs::copy(module, rules.join("10-says.wasm")).unwrap();
    let mut config = Config::default();
    config.rules.dir = rules.clone();
    config.tables.insert("owners".to_owned(), Table { file: table, ..Table::default() });
    let engine = Engine::new(|_: &str| Err("nothing is kept".to_owned())).unwrap();
    let mut folder = RulesFolder::new(&config, engine, ModuleFiles::open(&kept).unwrap());

    std::fs::remove_dir(&kept).unwrap();
    std::fs::write(&kept, "in the way").unwrap();
    let look = folder.look(&RuleSet::default());
    let codes: Vec<_> = look.problems.iter().map(|problem| (problem.name.as_str(), problem.code.as_str())).collect();
    assert_eq!((codes, look.rules.len()), (vec![("owners", NOT_KEPT), ("says", NOT_KEPT)], 0));
    std::fs::remove_file(&kept).unwrap();
    std::fs::create_dir(&kept).unwrap();
    let look = folder.look(&RuleSet::default());
    assert_eq!((look.problems, look.rules.len(), look.tables.len()), (Vec::new(), 1, 1));

    // A folder that cannot be listed is a problem, and no rule goes.
    std::fs::rename(&rules, dir.path().join("aside")).unwrap();
    std::fs::write(&rules, "no folder").unwrap();
    let in_force = RuleSet { generation: 1, rules: look.rules, tables: look.tables, ..RuleSet::default() };
    let look = folder.look(&in_force);
    assert_eq!((look.problems[0].code.as_str(), &look.rules), (UNREADABLE, &in_force.rules));
}

/// When everything that was written until now is old enough.
fn later() -> SystemTime {
    SystemTime::now() + SETTLED_AFTER
}

#[test]
fn files_that_are_new_at_every_look_are_taken_when_they_are_old_enough() {
    let mut world = World::new(&["hosts"], &[("10-says.wasm", "says")]);
    world.look();
    for owner in ["carol", "dora"] {
        world.write("hosts.csv", &format!("host,owner,team,service,tier\nweb-1,{owner},web,shop,1\n"));
        assert!(!world.look().is_unsettled || !world.table("hosts").contains(owner));
        world.write("hosts.csv", &format!("host,owner,team,service,tier\nweb-1,{owner},web,shop,10\n"));
        assert_eq!(codes(&world.look_at(later())), Vec::<&str>::new());
        assert!(world.table("hosts").contains(owner));
    }
    world.module("10-says.wasm", "says-b");
    world.look_at(later());
    assert_eq!(world.version("says"), Some("1.1.0"));
}

#[test]
fn a_file_that_is_never_at_rest_is_a_problem_and_what_it_was_goes_on() {
    let mut world = World::new(&["hosts"], &[("10-says.wasm", "says")]);
    world.look();
    let before = world.in_force.clone();
    let mut look = Look::default();
    for turn in 0..5 {
        assert_eq!(codes(&look), Vec::<&str>::new(), "turn {turn}");
        world.write("hosts.csv", &format!("{HOSTS}web-{turn},eve,,,{}\n", "1".repeat(turn)));
        world.write("rules.d/10-says.toml", &format!("[limits]\ntime_ms = 77\n{}", "\n".repeat(turn)));
        look = world.look();
    }
    assert_eq!((codes(&look), look.is_unsettled), (vec![CHANGING, CHANGING], true), "{:?}", look.problems);
    assert_eq!((look.problems[0].name.as_str(), look.problems[1].name.as_str()), ("hosts", "says"));
    assert!(look.problems[0].message.contains("rename"));
    assert_eq!(world.in_force, before);
    assert!(!world.look().is_unsettled);
    assert_eq!((codes(&world.look()), world.in_force.generation), (Vec::new(), 2));
}

#[test]
fn the_first_look_after_a_restart_takes_no_half_files() {
    let mut world = World::new(&["hosts", "other"], &[("10-says.wasm", "says")]);
    world.look();
    let before = world.in_force.clone();
    world.write("hosts.csv", "host,owner,team,service,tier\nweb-1,dora,web,shop,1\n");
    world.write("rules.d/10-says.toml", "[limits]\ntime_ms = 77\n");
    world.restart();
    let look = world.look();
    assert_eq!((&world.in_force, codes(&look), look.is_unsettled), (&before, Vec::new(), true));
    world.restart();
    assert!(!world.look_at(later()).is_unsettled);
    assert!(world.table("hosts").contains("dora") && world.in_force.rules[0].options.contains("77"));
}

#[test]
fn a_disabled_twin_that_is_touched_begins_nothing() {
    let mut world = World::new(&[], &[("10-says.wasm", "says"), ("20-says.wasm", "says-b")]);
    world.write("rules.d/20-says.toml", "enabled = false\n");
    world.look();
    assert_eq!(world.in_force.rules.len(), 1);
    world.write("rules.d/20-says.toml", "enabled = false\n\n");
    assert!(world.look().is_unsettled);
    world.look();
    assert_eq!((world.in_force.generation, world.in_force.rules.len()), (1, 1));

    // Nor does the one that runs give way to a second one that is to run.
    world.write("rules.d/20-says.toml", "");
    assert!(codes(&world.take()).contains(&"name-taken"));
    let generation = world.in_force.generation;
    world.write("rules.d/10-says.toml", "\n");
    world.take();
    assert_eq!((world.in_force.generation, world.version("says")), (generation, Some("1.0.0")));
}

#[test]
fn a_rule_goes_on_when_its_module_cannot_be_read_for_a_moment() {
    let mut world = World::new(&["hosts"], &[("10-owner-from-table.wasm", "owner-from-table")]);
    world.write("rules.d/10-owner-from-table.toml", GRANT);
    world.look();
    let before = world.in_force.clone();
    world.write("hosts.csv", "host,team,service,tier\nweb-1,web,shop,1\n");
    assert!(codes(&world.take()).contains(&"table-held-back"));

    // What tables it reads is known from then on; a look that does not know it cannot ask.
    let module = world.dir.path().join("modules");
    let aside = world.dir.path().join("aside");
    world.folder.forget_reads();
    std::fs::rename(&module, &aside).expect("aside");
    std::fs::write(&module, "in the way").expect("a file in its place");
    let look = world.folder.look(&before);
    assert_eq!(look.rules, before.rules, "{:?}", look.problems);
    std::fs::remove_file(&module).expect("the file");
    std::fs::rename(&aside, &module).expect("back");
    assert!(codes(&world.look()).contains(&"table-held-back"));
    assert_eq!(world.in_force, before);
}

#[test]
fn numbers_order_by_number() {
    let mut world =
        World::new(&[], &[("100-says.wasm", "says"), ("20-severity-by-labels.wasm", "severity-by-labels"), ("3-dedupe-by-tags.wasm", "dedupe-by-tags")]);
    assert_eq!(codes(&world.look()), Vec::<&str>::new());
    let order: Vec<&str> = world.in_force.rules.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(order, ["dedupe-by-tags", "severity-by-labels", "says"]);
    // Zeros in front change nothing, a number may have any length, and among equal ones the name decides.
    let mut files = ["x.wasm", "99999999999999999999999-a.wasm", "010-a.wasm", "9-b.wasm", "10-b.wasm", "0-z.wasm", "010-c.wasm"].map(Path::new);
    files.sort_by(|a, b| run_order(a).cmp(&run_order(b)));
    assert_eq!(
        files.map(|file| file.to_str().unwrap()),
        ["0-z.wasm", "9-b.wasm", "010-a.wasm", "10-b.wasm", "010-c.wasm", "99999999999999999999999-a.wasm", "x.wasm"]
    );
}

#[test]
fn a_folder_that_is_gone_misses_no_rule_that_was_uploaded() {
    let mut world = World::new(&[], &[("10-says.wasm", "says"), ("20-severity-by-labels.wasm", "severity-by-labels")]);
    world.look();
    let upload = |set: &mut RuleSet, name: &str| {
        let entry = set.rules.iter_mut().find(|entry| entry.name == name).unwrap();
        (entry.origin, entry.offered) = (Origin::Upload, Text::default());
    };
    upload(&mut world.in_force, "severity-by-labels");
    std::fs::remove_dir_all(world.dir.path().join("rules.d")).unwrap();
    world.restart();
    let before = world.in_force.clone();
    let look = world.look_at(later());
    assert_eq!((codes(&look), &world.in_force), (vec!["source-gone"], &before));
    let message = &look.problems[0].message;
    assert!(message.contains("`says`") && !message.contains("`severity-by-labels`"), "{message}");
    // With none but uploaded rules the folder has nothing to say.
    upload(&mut world.in_force, "says");
    world.restart();
    let before = world.in_force.clone();
    assert_eq!((codes(&world.look_at(later())), &world.in_force), (Vec::new(), &before));
}

#[test]
fn a_folder_that_is_gone_at_start_keeps_its_rules() {
    let mut world = World::new(&["hosts"], &[("10-says.wasm", "says"), ("20-severity-by-labels.wasm", "severity-by-labels")]);
    world.module("30-dedupe-by-tags.wasm", "dedupe-by-tags");
    world.write("rules.d/30-dedupe-by-tags.toml", "enabled = false\n");
    world.look();
    let before = world.in_force.clone();
    let (folder, aside) = (world.dir.path().join("rules.d"), world.dir.path().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    // Missing, empty, and no folder at all.
    for what in ["missing", "empty", "unreadable"] {
        match what {
            "missing" => {}
            "empty" => std::fs::create_dir(&folder).unwrap(),
            _ => std::fs::write(&folder, "no folder").unwrap(),
        }
        world.restart();
        for _ in 0..3 {
            let look = world.look_at(later());
            assert_eq!(codes(&look), [if what == "unreadable" { UNREADABLE } else { "source-gone" }], "{what}");
            assert_eq!(world.in_force, before, "{what}: {:?}", look.problems);
            if what != "unreadable" {
                assert!(look.problems[0].message.contains("`says`") && look.problems[0].message.contains("mount it"), "{:?}", look.problems);
                assert_eq!(look.infos.len(), 2, "they are shown as what they are");
            }
        }
        let _ = std::fs::remove_file(&folder);
        let _ = std::fs::remove_dir(&folder);
    }
    // Tables go on meanwhile.
    world.restart();
    world.write("hosts.csv", "host,owner\nweb-1,zoe\n");
    world.look_at(later());
    assert!(world.table("hosts").contains("zoe") && world.in_force.rules == before.rules);

    // They come back one by one: the first one alone removes none of the others.
    std::fs::create_dir(&folder).unwrap();
    for file in ["10-says.wasm", "20-severity-by-labels.wasm", "30-dedupe-by-tags.wasm"] {
        std::fs::copy(aside.join(file).with_extension("toml"), folder.join(file).with_extension("toml")).ok();
        std::fs::copy(aside.join(file), folder.join(file)).unwrap();
        assert!(world.look_at(later()).is_unsettled);
        assert_eq!(world.in_force.rules, before.rules, "{file}");
    }
    assert_eq!((codes(&world.look_at(later())), &world.in_force.rules), (Vec::new(), &before.rules));
    assert_eq!(world.in_force.generation, before.generation + 1, "the table's; files that came back begin nothing");

    // From here on what goes was removed, down to the last one.
    std::fs::remove_file(folder.join("20-severity-by-labels.wasm")).unwrap();
    world.take();
    assert_eq!((world.version("severity-by-labels"), world.version("says")), (None, Some("1.0.0")));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(codes(&world.take()), Vec::<&str>::new());
    assert!(world.in_force.rules.is_empty());

    // A start that finds one module at least goes by what it finds.
    std::fs::rename(&aside, &folder).unwrap();
    world.take();
    std::fs::remove_file(folder.join("10-says.wasm")).unwrap();
    world.restart();
    world.look();
    assert_eq!((world.version("says"), world.version("severity-by-labels").is_some()), (None, true));
}

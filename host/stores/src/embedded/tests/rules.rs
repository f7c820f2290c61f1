//! What is kept of rules: generations, verdicts, versions, the audit.

use super::*;

#[test]
fn verdicts_without_an_end_are_restored_with_their_generation() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let verdict = |kind: &str| Verdict {
        rule: "r".into(),
        version: "1@sha256:d".into(),
        hook: Hook::Dedupe,
        kind: kind.into(),
        message: "on\ntwo lines".into(),
        policy: Policy::PassThrough,
        from: Place { ordinal: 1, index: 0 },
        until: None,
    };
    let set = |generation| RuleSet { generation, tables: vec![("hosts".into(), "t".into())], ..RuleSet::default() };
    let steps = [
        (&[][..], Some(vec![verdict("nobody's")]), 0, Vec::new()),
        (&[1, 2], None, 2, Vec::new()),
        (&[], Some(vec![verdict("deadline")]), 2, vec![verdict("deadline")]),
        (&[], None, 2, vec![verdict("deadline")]),
        (&[], Some(vec![verdict("deadline"), verdict("init")]), 2, vec![verdict("deadline"), verdict("init")]),
        (&[3], Some(Vec::new()), 3, Vec::new()),
    ];
    for (n, (generations, open_verdicts, generation, expected)) in (1..).zip(steps) {
        let rule_sets = generations.iter().copied().map(set).collect();
        store.commit_blocking(&Commit { rule_sets, open_verdicts, ..commit(n - 1, n) }).unwrap();
        let shown = store.reader().rule_sets(1).unwrap();
        assert!(shown.iter().all(|row| serde_json::from_str::<RuleSet>(&row.content).is_ok()), "what is shown is the set: {shown:?}");
        drop(store);
        let (opened, restored) = EmbeddedStore::open(dir.path()).unwrap();
        assert_eq!((restored.rule_set.generation, restored.open_verdicts), (generation, expected), "commit {n}");
        store = opened;
    }
}

#[test]
fn every_generation_of_one_commit_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut one = commit(0, 9);
    one.rule_sets = (1..=3)
        .map(|generation| RuleSet { generation, rules: Vec::new(), tables: vec![("hosts".into(), format!("t{generation}").into())], ..RuleSet::default() })
        .collect();
    store.commit_blocking(&one).unwrap();
    let rows = store.reader().rule_sets(99).unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.generation, row.ordinal, row.content.contains(&format!("\"t{}\"", row.generation)))).collect();
    assert_eq!(seen, [(3, 9, true), (2, 9, true), (1, 9, true)]);
    drop(store);
    assert_eq!(EmbeddedStore::open(dir.path()).unwrap().1.rule_set, one.rule_sets[2], "the last one is in force");
}

fn upload(ordinal: u64, name: &str, digest: &str) -> VersionWrite {
    let change = VersionChange {
        name: name.into(),
        version: "1.0.0".into(),
        digest: digest.into(),
        signature: Some(VersionSignature { signer: "platform".into(), key_id: "k".into(), digest: format!("{digest}-sig").into() }),
        ..VersionChange::default()
    };
    VersionWrite { ordinal, received_at_ms: T * 1_000 + ordinal as i64, change }
}

fn removal(ordinal: u64, name: &str, digest: &str) -> VersionWrite {
    let mut write = upload(ordinal, name, digest);
    (write.change.action, write.change.operator) = (VersionAction::Removed, "retention".into());
    write
}

#[test]
fn versions_are_listed_newest_first_until_they_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let writes: Vec<VersionWrite> = (1..=4).map(|n| upload(n, if n == 3 { "other" } else { "owner" }, &format!("d{n}"))).collect();
    store.commit_blocking(&Commit { rule_versions: writes.clone(), ..commit(0, 4) }).unwrap();
    let (reader, owner) = (store.reader(), Some("owner"));
    let listed = |name, before, limit| reader.rule_versions(name, before, limit).unwrap().iter().map(|row| row.ordinal).collect::<Vec<_>>();
    assert_eq!((listed(owner, None, 2), listed(owner, Some(2), 2), listed(None, None, 9)), (vec![4, 2], vec![1], vec![4, 3, 2, 1]));
    assert_eq!(reader.rule_version("other", "d3").unwrap().as_ref(), Some(&writes[2]));
    assert_eq!(reader.rule_version("owner", "d3").unwrap(), None);
    // The same again is the newest, and one that is removed and comes again in one commit is there.
    let again = vec![upload(5, "owner", "d1"), removal(6, "owner", "d4"), removal(7, "owner", "d2"), upload(8, "owner", "d2"), removal(9, "owner", "never")];
    store.commit_blocking(&Commit { rule_versions: again, ..commit(4, 9) }).unwrap();
    assert_eq!(listed(owner, None, 9), [8, 5]);
    drop(store);
    let (store, _) = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.reader().rule_versions(owner, None, 9).unwrap().iter().map(|row| row.change.digest.clone()).collect::<Vec<_>>(), ["d2", "d1"]);
}

fn audit_entry(ordinal: u64, object: &str) -> AuditEntry {
    let at_ms = T * 1_000 + ordinal as i64;
    AuditEntry { ordinal, at_ms, action: "activate".into(), object: object.into(), operator: "wang".into(), generation: ordinal, ..AuditEntry::default() }
}

/// A store with entries of five commits, two each.
fn audited(dir: &std::path::Path) -> EmbeddedStore {
    let (mut store, _) = EmbeddedStore::open(dir).unwrap();
    for to in [2, 4, 6, 8, 10] {
        let audit = vec![audit_entry(to - 1, "owner"), audit_entry(to, "other")];
        store.commit_blocking(&Commit { audit, ..commit(to - 2, to) }).unwrap();
    }
    store
}

#[test]
fn the_audit_chain_shows_a_changed_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = audited(dir.path());
    let reader = store.reader();
    let whole = reader.check_audit().unwrap();
    assert_eq!((whole.entries, whole.first, whole.broken, whole.last.map(|last| last.0)), (10, Some(1), None, Some(10)));
    let listed = |object, before| reader.audit(object, before, 3).unwrap().iter().map(|row| row.entry.ordinal).collect::<Vec<_>>();
    assert_eq!((listed(None, None), listed(Some("owner"), Some(7)), listed(Some("nobody"), None)), (vec![10, 9, 8], vec![5, 3, 1], vec![]));
    drop(store);
    // What somebody does who knows the schema and its checksums.
    let sums = |connection: &Connection| {
        type Row = (u64, i64, String, String, Vec<u8>, Vec<u8>);
        let rows: Vec<Row> = connection
            .prepare("SELECT ordinal, at_ms, object, content, before, hash FROM audit")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for (ordinal, at_ms, object, content, before, hash) in rows {
            let sum = checksum::of_audit(ordinal, at_ms, &object, &content, &before, &hash);
            connection.execute("UPDATE audit SET sum = ?2 WHERE ordinal = ?1", params![ordinal, sum]).unwrap();
        }
    };
    let changes = [
        ("UPDATE audit SET content = replace(content, 'wang', 'li') WHERE ordinal = 5", 5),
        ("UPDATE audit SET content = replace(content, '\"at_ms\":1', '\"at_ms\":2') WHERE ordinal = 1", 1),
        ("DELETE FROM audit WHERE ordinal = 4", 5),
        ("UPDATE audit SET hash = zeroblob(32) WHERE ordinal = 7", 7),
        ("UPDATE audit SET before = zeroblob(32) WHERE ordinal = 7", 7),
        ("UPDATE audit SET ordinal = 99 WHERE ordinal = 3", 4),
    ];
    for (change, broken_at) in changes {
        let copy = tempfile::tempdir().unwrap();
        drop(audited(copy.path()));
        let connection = Connection::open(copy.path().join("state.sqlite")).unwrap();
        assert_eq!(connection.execute(change, []).unwrap(), 1, "{change}");
        sums(&connection);
        drop(connection);
        let (store, _) = EmbeddedStore::open(copy.path()).unwrap();
        let found = store.reader().check_audit().unwrap();
        assert_eq!(found.broken.as_ref().map(|broken| broken.0), Some(broken_at), "{change}: {found:?}");
    }
}

#[test]
fn old_entries_of_the_audit_go_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = audited(dir.path());
    assert_eq!(store.retire_audit(T * 1_000 + 7).unwrap(), 6);
    let check = store.reader().check_audit().unwrap();
    assert_eq!((check.entries, check.first, check.broken), (4, Some(7), None));
    assert_eq!(store.retire_audit(i64::MAX).unwrap(), 3, "the newest stays, or the chain would begin anew");
    store.commit_blocking(&Commit { audit: vec![audit_entry(11, "owner")], ..commit(10, 11) }).unwrap();
    let check = store.reader().check_audit().unwrap();
    assert_eq!((check.entries, check.first, check.broken), (2, Some(10), None));
}

//! Lists, pages and filters.

use super::*;

#[test]
fn lists_are_newest_first_filtered_and_paged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut all = commit(0, 1);
    all.alerts = (1..=60).map(|seq| alert(seq, 1, STATUSES[seq as usize % 3])).collect();
    store.commit_blocking(&all).unwrap();
    let reader = store.reader();
    let filters = [
        AlertFilter::default(),
        AlertFilter { status: vec![Status::Abnormal], ..AlertFilter::default() },
        AlertFilter { severity: vec![1, 2], tenant: Some("system".into()), ..AlertFilter::default() },
        AlertFilter { from_s: Some(T + 130), to_s: Some(T + 40), ..AlertFilter::default() },
    ];
    for filter in filters {
        let wanted = |alert: &&AlertWrite| {
            (filter.status.is_empty() || filter.status.contains(&alert.status))
                && (filter.severity.is_empty() || filter.severity.contains(&alert.severity))
                && filter.tenant.as_deref().is_none_or(|tenant| tenant == alert.tenant)
                && filter.from_s.is_none_or(|from| alert.end_time.is_none_or(|end| end >= from))
                && filter.to_s.is_none_or(|to| alert.begin_time <= to)
        };
        let expected: Vec<u64> = all.alerts.iter().filter(wanted).map(|alert| alert.seq).rev().collect();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = reader.list_alerts(&filter, 7, cursor, false).unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(last.seq);
            seen.extend(page.iter().map(|row| row.seq));
        }
        assert_eq!(seen, expected, "{filter:?}");
        assert!(!seen.is_empty());
    }
    let row = reader.list_alerts(&AlertFilter::default(), 1, None, true).unwrap().remove(0);
    assert_eq!((row.seq, row.document), (60, Some(alert(60, 1, Status::Abnormal).document)));
    let counts = reader.alert_counts(None).unwrap();
    assert_eq!(counts.iter().map(|count| count.count).sum::<u64>(), 60);
}

#[test]
fn changes_of_an_alert_keep_its_index_right() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    for (revision, status) in [(1, Status::Abnormal), (2, Status::Abnormal), (3, Status::Recovered)] {
        let mut change = commit(revision - 1, revision);
        change.alerts = vec![alert(1, revision, status)];
        store.commit_blocking(&change).unwrap();
        let found = |status| store.reader().list_alerts(&AlertFilter { status: vec![status], ..AlertFilter::default() }, 9, None, false).unwrap();
        assert_eq!(found(status)[0].revision, revision);
        assert_eq!(found(Status::Abnormal).len(), usize::from(status == Status::Abnormal));
    }
    let whole: String = store.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

#[test]
fn events_and_logs_of_an_alert_are_paged_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let log = |op_type, create_time| LogWrite { seq: 1, op_type, create_time, document: format!("\"{op_type}\"").into_bytes() };
    for n in 1..=4u8 {
        let mut one = commit(n as u64 - 1, n as u64);
        let second = T + i64::from(n);
        let a = add_event(&mut one, n, &format!("{{\"id\":\"a{n}\",\"create_time\":{second},\"time\":5,\"description\":\"d\"}}"));
        let b = add_event(&mut one, n + 100, &format!("{{\"id\":\"b{n}\",\"create_time\":{second}}}"));
        let role = if n == 1 { EventRole::Opened } else { EventRole::Updated };
        one.alert_events = vec![AlertEvents { seq: 1, events: vec![(a, role), (b, EventRole::Late)] }];
        one.alerts = vec![alert(1, n.into(), Status::Abnormal)];
        match n {
            1 => one.logs = vec![log("CREATE", second)],
            4 => one.logs = vec![log("RECOVER", second)],
            _ => {}
        }
        store.commit_blocking(&one).unwrap();
    }
    let reader = store.reader();
    let (mut events, mut cursor) = (Vec::new(), None);
    loop {
        let page = reader.alert_events(1, cursor, 3).unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.cursor);
        events.extend(page.into_iter().map(|event| match event.row {
            EventRead::Found(row) => row.uid.0[0],
            EventRead::Gone | EventRead::Damaged => 0,
        }));
    }
    assert_eq!(events, [104, 4, 103, 3, 102, 2, 101, 1]);
    let (mut logs, mut cursor) = (Vec::new(), None);
    loop {
        let page = reader.alert_logs(1, cursor, 2).unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.cursor);
        logs.extend(page);
    }
    let ops: Vec<&str> = logs.iter().map(|log| log.op_type.as_str()).collect();
    let c = "CONVERGE";
    assert_eq!(ops, ["RECOVER", c, c, c, c, c, c, c, "CREATE"]);
    let expected = format!("{{\"alert_id\":\"{T}1\",\"op_type\":\"CONVERGE\",\"create_time\":{},\"time\":5,\"description\":\"d\",\"event_id\":\"a4\"}}", T + 4);
    assert_eq!(String::from_utf8(logs[2].document.clone()).unwrap(), expected);
}

#[test]
fn numbers_that_no_row_can_have_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut one = commit(0, 1);
    one.alerts = vec![alert(1, 1, Status::Closed)];
    let event = add_event(&mut one, 1, "{}");
    one.alert_events = vec![AlertEvents { seq: 1, events: vec![(event, EventRole::Updated)] }];
    one.dead_letters = vec![dead_letter(1, "web")];
    store.commit_blocking(&one).unwrap();
    let reader = store.reader();
    for n in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert!(reader.alert(n).unwrap().is_none() && reader.dead_letter(n).unwrap().is_none());
        assert!(reader.alert_events(n, None, 9).unwrap().is_empty() && reader.alert_logs(n, None, 9).unwrap().is_empty());
        assert!(reader.dead_letters(None, None, n, 9).unwrap().is_empty());
        assert_eq!(reader.list_alerts(&AlertFilter::default(), 9, Some(n), false).unwrap().len(), 1);
        assert_eq!(reader.alert_events(1, Some((n, u32::MAX)), 9).unwrap().len(), 1);
        assert_eq!(reader.alert_logs(1, Some((n, u32::MAX)), 9).unwrap().len(), 1);
        assert_eq!(store.remove_dead_letters(&[n]).unwrap(), 0);
    }
}

#[test]
fn one_damaged_event_does_not_cost_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut one = commit(0, 1);
    let events = (1..=3).map(|n| (add_event(&mut one, n, "{\"create_time\":7}"), EventRole::Updated)).collect();
    one.alert_events = vec![AlertEvents { seq: 1, events }];
    one.alerts = vec![alert(1, 1, Status::Abnormal)];
    store.commit_blocking(&one).unwrap();
    let path = dir.path().join("events/0000000001.events");
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.windows(16).position(|window| window == [2; 16]).unwrap();
    bytes[second] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let page = store.reader().alert_events(1, None, 9).unwrap();
    assert!(matches!(
        &page[..],
        [AlertEvent { row: EventRead::Found(_), .. }, AlertEvent { row: EventRead::Damaged, .. }, AlertEvent { row: EventRead::Found(_), .. }]
    ));
    assert_eq!(store.reader().alert_logs(1, None, 9).unwrap().len(), 2);
}

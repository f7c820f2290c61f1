//! A disk or a journal that is full.

use super::*;

#[test]
fn what_is_made_ahead_is_within_the_journals_limit() {
    let dir = tempfile::tempdir().unwrap();
    let disk_bytes_max = 20_000;
    let (journal, _reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max, ..small(0) }).unwrap();
    let all = || {
        let spares = durable::names_with_suffix(dir.path(), crate::disk::UNFINISHED).unwrap();
        bytes_of(&[segment_files(dir.path()), spares.iter().map(|name| dir.path().join(name)).collect()].concat())
    };
    let mut last = 0;
    // Here the writer and what it left to others rest, so that no file has two names and none is gone while it is measured.
    while let Ok(appended) = wait(journal.append(body(last + 1), None)) {
        last = appended.ordinal;
        sealed(&journal, dir.path());
        assert!(all() <= disk_bytes_max, "{} after record {last}", all());
    }
    assert!(last > 100 && journal.release(SyncedPosition::vouched(last)).unwrap() > 0);
    append(&journal, [last + 1]);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk { creates: Failing::at(&[2]), ..FaultyDisk::default() };
    let (journal, mut reader, _) = open_on(dir.path(), small(0), Arc::new(disk)).unwrap();
    let mut next = 1;
    let refused = loop {
        match wait(journal.append(body(next), None)) {
            Ok(appended) => next = appended.ordinal + 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, PortError::DiskRefused(why) if why.contains("nothing was taken")), "{refused:?}");
    assert!(!refused.to_string().contains(&dir.path().display().to_string()), "senders learn no paths: {refused}");
    append(&journal, next..=next + 100);
    check(&drain(&mut reader, next + 100));
    assert_eq!(journal.failure(), None);
}

#[test]
fn a_journal_over_its_limit_refuses_until_segments_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max: 12_288, ..small(0) }).unwrap();
    let mut last = 0;
    let refused = loop {
        match wait(journal.append(body(last + 1), None)) {
            Ok(appended) => last = appended.ordinal,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, PortError::Full(why) if why.contains("is full")), "{refused:?}");
    assert!(journal.release(SyncedPosition::vouched(last)).unwrap() > 0);
    append(&journal, [last + 1]);
}

#[test]
fn a_full_journal_takes_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max: 12_288, ..small(0) }).unwrap();
    let is_full = |answer: &Result<Appended, PortError>| matches!(answer, Err(PortError::Full(why)) if why.contains("is full"));
    let mut last = 0;
    while let Ok(appended) = wait(journal.append(body(last + 1), None)) {
        last = appended.ordinal;
    }
    let before = last;
    // As many as one segment holds, and nothing else gets into it.
    let refused = loop {
        match wait(journal.append(verdicts_body(last), None)) {
            Ok(appended) => last = appended.ordinal,
            refused => break refused,
        }
        assert!(is_full(&wait(journal.append(body(0), None))));
    };
    assert!(is_full(&refused) && last >= before + 5, "{refused:?} after {} of them", last - before);
    assert_eq!(segment_files(dir.path()).len(), 4, "three, and one in the reserve");
    // The segment of the next process is in the reserve too, whoever finds room in it.
    drop((journal, reader));
    let options = JournalOptions { disk_bytes_max: 12_288, ..small(0) };
    let (journal, mut reader, _) = JournalDir::open(dir.path(), options).unwrap();
    assert!(is_full(&wait(journal.append(body(0), None))));
    for body in [RecordBody::Start { version: "1".into() }, verdicts_body(last)] {
        last = wait(journal.append(body, None)).unwrap().ordinal;
    }
    // When the first can go, there is room for everyone again.
    let records = drain(&mut reader, last);
    check(&records[..before as usize]);
    assert!(journal.release(SyncedPosition::vouched(last)).unwrap() > 0);
    append(&journal, last + 1..=last + 40);
}

#[test]
fn verdicts_go_on_alone_from_a_group_that_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let hold = Arc::new(AtomicBool::new(false));
    let disk = Arc::new(FaultyDisk { hold: hold.clone(), ..FaultyDisk::default() });
    let options = JournalOptions { disk_bytes_max: 12_288, queue_bytes_max: 500, ..small(0) };
    let (journal, _reader, _) = open_on(dir.path(), options, disk).unwrap();
    // Room for two more of them in the last segment.
    let mut last = 0;
    while journal.counts().segment_bytes <= 8_192 || last % 2 == 0 {
        last = wait(journal.append(body(last + 1), None)).unwrap().ordinal;
    }
    hold.store(true, Ordering::SeqCst);
    let mut first = Box::pin(journal.append(body(last + 1), None));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    yield_until("the writer to take it", || journal.counts().append_queue_bytes == 0);
    let large = body_of_bytes(4_000);
    let mut waiting = Vec::new();
    for body in [large.clone(), verdicts_body(1), large, verdicts_body(2)] {
        let mut append = Box::pin(journal.append(body, None));
        // A queue that is full for everyone else takes verdicts.
        let answer = append.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        waiting.push((append, answer));
    }
    hold.store(false, Ordering::SeqCst);
    assert_eq!(wait(first).unwrap().ordinal, last + 1);
    let answers: Vec<Result<u64, bool>> = waiting
        .into_iter()
        .map(|(append, answer)| {
            let answer = match answer {
                Poll::Ready(answer) => answer,
                Poll::Pending => wait(append),
            };
            answer.map(|appended| appended.ordinal).map_err(|error| matches!(error, PortError::Full(_)))
        })
        .collect();
    assert_eq!(answers, [Err(true), Ok(last + 2), Err(false), Ok(last + 3)]);
}

/// An item of so many bytes.
fn body_of_bytes(bytes: usize) -> RecordBody {
    let RecordBody::Items(items) = body(0) else { unreachable!() };
    RecordBody::Items(Items { heap: vec![b' '; bytes].into(), spans: vec![ItemSpan { bytes: 0..bytes as u32, request_index: 0 }], ..items })
}

#[test]
fn a_record_that_never_fits_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max: 12_288, ..small(0) }).unwrap();
    let huge = match body(1) {
        RecordBody::Items(items) => {
            let span = ItemSpan { bytes: 0..20_000, request_index: 0 };
            RecordBody::Items(Items { heap: vec![b' '; 20_000].into(), spans: vec![span], ..items })
        }
        other => other,
    };
    assert!(matches!(wait(journal.append(huge, None)), Err(PortError::TooLarge(why)) if why.contains("fewer items")));
    append(&journal, [1]);
}

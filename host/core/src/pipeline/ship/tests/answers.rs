//! Every answer to one page.

use super::fakes::{Call, Fakes, KINDS, Kind};
use crate::pipeline::ship::{VERSION_MAX, ship_alerts, ship_stream};
use crate::ports::PortError;
use crate::services::{DocumentPlace, Family, Service, Stream};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

fn world_of(alerts: u64) -> Fakes {
    let fakes = Fakes::default();
    for seq in 1..=alerts {
        fakes.world().local.change(seq, seq, true, 0);
    }
    fakes
}

/// Runs the loop over alerts until nothing waits.
fn ship(fakes: &Fakes) {
    let (mut outbox, mut documents, mut around) = (fakes.clone(), fakes.clone(), fakes.around(1 << 20));
    let mut shipping = pin!(ship_alerts(&mut outbox, &mut documents, &mut around));
    assert!(matches!(shipping.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending), "it rests when nothing waits");
}

fn place(fakes: &Fakes, seq: u64) -> DocumentPlace {
    let create_time = fakes.world().local.alerts[&seq].create_time;
    DocumentPlace { index: Family::Alert.index(create_time), id: format!("{create_time}{seq}").into() }
}

/// All documents but those that were refused are there as the state has them, once each; nothing waits.
fn converged(fakes: &Fakes, refused: &[u64]) {
    let seqs: Vec<u64> = fakes.world().local.alerts.keys().copied().collect();
    let places: Vec<(u64, DocumentPlace)> = seqs.into_iter().map(|seq| (seq, place(fakes, seq))).collect();
    let world = fakes.world();
    for (seq, place) in &places {
        let there = world.elastic.there.get(place).map(|there| &there.1);
        if !refused.contains(seq) {
            assert_eq!(there, Some(&world.local.alerts[seq].document), "alert {seq}");
        }
    }
    assert!(world.elastic.there.keys().all(|there| places.iter().any(|(_, place)| place == there)), "one document an alert");
    assert!(world.local.queue.keys().all(|(service, _)| *service != Service::Documents), "nothing waits");
    assert_eq!(world.elastic.versions_gone_back, 0);
    assert_eq!(world.local.refused.len(), refused.len(), "a dead letter for each that was refused");
}

#[test]
fn every_combination_of_answers_for_four_alerts_converges() {
    let kinds = KINDS.len();
    for combination in 0..kinds.pow(4) {
        let chosen: Vec<Kind> = (0..4).map(|n| KINDS[combination / kinds.pow(n) % kinds]).collect();
        let fakes = world_of(4);
        fakes.world().elastic.script.push_back(Call::Items(chosen.clone()));
        ship(&fakes);
        let of = |kind: Kind| (1..=4).filter(|seq| chosen[*seq as usize - 1] == kind).collect::<Vec<u64>>();
        let raised = !of(Kind::Stranger).is_empty() || !of(Kind::Ghost).is_empty();
        converged(&fakes, &of(Kind::Refuses));
        let world = fakes.world();
        assert!(world.elastic.bulks <= 3, "{chosen:?}: {} calls", world.elastic.bulks);
        assert_eq!(world.local.base > 0, raised, "{chosen:?}");
    }
}

#[test]
fn every_subset_of_eight_items_may_fail_in_each_way() {
    for kind in KINDS {
        for subset in 0..1u32 << 8 {
            let fakes = world_of(8);
            let chosen = (0..8).map(|n| if subset >> n & 1 == 1 { kind } else { Kind::AsItIs }).collect();
            fakes.world().elastic.script.push_back(Call::Items(chosen));
            ship(&fakes);
            let refused: Vec<u64> = (1..=8).filter(|seq| kind == Kind::Refuses && subset >> (seq - 1) & 1 == 1).collect();
            converged(&fakes, &refused);
        }
    }
}

#[test]
fn an_answer_that_is_lost_says_nothing_whatever_was_done() {
    for done in 0..1u32 << 4 {
        for rest_later in [false, true] {
            for second in [None, Some(Call::Fails(PortError::Unavailable("away".into())))] {
                let fakes = world_of(4);
                fakes.world().elastic.script.push_back(Call::Lost { done, rest_later });
                fakes.world().elastic.script.extend(second);
                ship(&fakes);
                // What was on its way all the time comes last, and loses.
                let mut world = fakes.world();
                let late = std::mem::take(&mut world.elastic.late);
                late.iter().for_each(|(place, op, document)| drop(world.elastic.write(place, *op, document)));
                drop(world);
                converged(&fakes, &[]);
                assert_eq!(fakes.world().local.base, 0, "no conflict with ourselves");
            }
        }
    }
}

#[test]
fn a_call_that_is_too_large_is_cut_until_it_fits_and_one_that_never_fits_is_refused() {
    let fakes = world_of(9);
    fakes.world().elastic.items_max = 2;
    ship(&fakes);
    converged(&fakes, &[]);
    let fakes = world_of(3);
    let too_large = || Call::Fails(PortError::TooLarge("too large".into()));
    fakes.world().elastic.script.extend([too_large(), too_large(), Call::Items(Vec::new())]);
    ship(&fakes);
    // 3 -> 1; that one alone is too large.
    converged(&fakes, &[1]);
    assert_eq!(fakes.world().local.refused[0].reason, "too large");
}

#[test]
fn a_refused_alert_lives_on_and_its_next_revision_is_tried() {
    let fakes = world_of(2);
    fakes.world().elastic.script.push_back(Call::Items(vec![Kind::Refuses]));
    ship(&fakes);
    converged(&fakes, &[1]);
    let letter = fakes.world().local.refused[0].clone();
    assert_eq!((letter.family, letter.tenant.as_str(), letter.reason.as_str()), (Family::Alert, "system", "no mapping"));
    fakes.world().local.change(1, 1, true, 5);
    ship(&fakes);
    fakes.world().local.refused.clear();
    converged(&fakes, &[]);
}

#[test]
fn what_no_version_can_outdo_is_refused_and_does_not_loop() {
    let fakes = world_of(2);
    let at = place(&fakes, 1);
    fakes.world().elastic.there.insert(at.clone(), (VERSION_MAX, b"{}".to_vec()));
    ship(&fakes);
    converged(&fakes, &[1]);
    assert_eq!(fakes.world().local.base, 0, "others are left alone");
    assert!(fakes.world().local.refused[0].reason.contains("remove it"));
}

#[test]
fn an_older_copy_of_the_state_wins_over_what_it_never_knew() {
    let fakes = world_of(3);
    let copy = fakes.world().local.clone();
    // The future that is lost: many changes, shipped.
    for salt in 1..=20 {
        fakes.world().local.change(1, 1, true, salt);
        fakes.world().local.change(2, 2, salt < 20, salt);
        ship(&fakes);
    }
    fakes.world().local = copy;
    fakes.world().local.change(1, 1, true, 77);
    ship(&fakes);
    converged(&fakes, &[]);
    let world = fakes.world();
    assert_eq!((world.heard["BaseRaised"], world.local.alerts[&1].revision), (1, 2));
    assert!(world.elastic.there.values().all(|(version, _)| *version < 2 << 32), "one step lifts all");
}

#[test]
fn equal_answers_do_not_loop_without_a_pause() {
    let fakes = world_of(1);
    fakes.world().elastic.script.extend((0..50).map(|_| Call::Items(vec![Kind::Ghost])));
    ship(&fakes);
    converged(&fakes, &[]);
    let world = fakes.world();
    assert!(world.pauses >= 50, "{} pauses", world.pauses);
}

#[test]
fn a_stream_ships_each_document_once_and_gives_up_only_what_is_refused() {
    for combination in 0..KINDS.len().pow(4) {
        let chosen: Vec<Kind> = (0..4).map(|n| KINDS[combination / KINDS.len().pow(n) % KINDS.len()]).collect();
        let fakes = world_of(4);
        fakes.world().elastic.script.push_back(Call::Items(chosen.clone()));
        fakes.world().elastic.script.push_back(Call::Lost { done: 1, rest_later: false });
        let (mut outbox, mut documents, mut around) = (fakes.clone(), fakes.clone(), fakes.around(1 << 20));
        let mut shipping = pin!(ship_stream(Stream::Events, &mut outbox, &mut documents, &mut around));
        assert!(shipping.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let refused = chosen.iter().filter(|kind| **kind == Kind::Refuses).count();
        let world = fakes.world();
        assert_eq!((world.elastic.there.len(), world.local.refused.len(), world.local.shipped), (4 - refused, refused, [4, 0]), "{chosen:?}");
    }
}

//! Long random lives: changes, faults, lost and late answers, crashes at every await, older copies put back, wiped caches.
//! In the end all is as the state says.

use super::fakes::{Chance, Fakes, Local};
use crate::pipeline::ship::{SnapshotKeys, ship_alerts, ship_snapshots, ship_stream};
use crate::services::{Family, Service, Stream};
use crate::value::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

const ROUNDS: u64 = 300;
/// With no fault any more, all must be even by then.
const QUIET_ROUNDS: u64 = 4_000;

/// One life of the process, as long as `more` wants it.
fn live(fakes: &Fakes, life: u64, mut more: impl FnMut(&Fakes) -> bool) {
    let (mut a, mut b, mut c, mut d) = (fakes.clone(), fakes.clone(), fakes.clone(), fakes.clone());
    let (mut es_a, mut es_b, mut es_c, mut redis) = (fakes.clone(), fakes.clone(), fakes.clone(), fakes.clone());
    let mut around = [(); 4].map(|()| fakes.around(400));
    let [around_a, around_b, around_c, around_d] = &mut around;
    let mut loops: Vec<Pin<Box<dyn Future<Output = _> + Send + '_>>> = vec![
        Box::pin(ship_alerts(&mut a, &mut es_a, around_a)),
        Box::pin(ship_stream(Stream::Events, &mut b, &mut es_b, around_b)),
        Box::pin(ship_stream(Stream::Logs, &mut c, &mut es_c, around_c)),
        Box::pin(ship_snapshots(life, &mut d, &mut redis, around_d)),
    ];
    let mut context = Context::from_waker(Waker::noop());
    while more(fakes) {
        fakes.world().ticks += 1;
        for one in &mut loops {
            assert!(one.as_mut().poll(&mut context).is_pending(), "shipping never ends by itself");
        }
    }
}

fn is_even(fakes: &Fakes) -> bool {
    let world = fakes.world();
    let local = &world.local;
    let shipped = (0..2).all(|n| local.shipped[n] == local.streams[n].len());
    shipped && local.queue.is_empty() && world.cache.marker.is_some() && world.cache.marker == local.markers.settled
}

fn check(fakes: &Fakes, seed: u64, was_restored: bool) {
    let world = fakes.world();
    let (local, elastic) = (&world.local, &world.elastic);
    assert_eq!(elastic.versions_gone_back, 0, "seed {seed}");
    let mut keys = BTreeMap::new();
    for (seq, alert) in &local.alerts {
        let id = format!("{}{seq}", alert.create_time);
        let there: Vec<_> = elastic.there.iter().filter(|(place, _)| place.id == id.as_str()).collect();
        assert_eq!(there.len(), 1, "seed {seed}: alert {seq}");
        assert_eq!(there[0].0.index, Family::Alert.index(alert.create_time));
        assert_eq!(there[0].1.1, alert.document, "seed {seed}: alert {seq} of revision {} and {}", alert.revision, String::from_utf8_lossy(&there[0].1.1));
        if alert.is_open {
            let SnapshotKeys { content, snapshot } = SnapshotKeys::of(&Value::from_json(&alert.document).unwrap());
            keys.insert(content, alert.document.clone());
            keys.insert(snapshot, alert.document.clone());
        }
    }
    assert_eq!(world.cache.keys, keys, "seed {seed}: the cache has the open alerts and nothing else");
    let streams = |name: &str| elastic.there.keys().filter(|place| place.index.starts_with(name)).count();
    for (n, name) in ["bkfta_event_", "bkfta_log_"].into_iter().enumerate() {
        // What only the lost future had is there too.
        let found = streams(name);
        assert!(found == local.streams[n].len() || was_restored && found > local.streams[n].len(), "seed {seed}: {found} {name}");
    }
}

/// One fingerprint has one open alert at a time.
fn change(local: &mut Local, chance: &mut Chance) {
    let fingerprint = chance.below(6);
    let open = local.alerts.iter().find(|(_, alert)| alert.is_open && alert.fingerprint == fingerprint).map(|(seq, _)| *seq);
    let salt = chance.below(1_000_000);
    match open {
        Some(seq) => local.change(seq, fingerprint, chance.below(4) > 0, salt),
        None => local.change(local.alerts.len() as u64 + 1, fingerprint, true, salt),
    }
}

#[test]
fn random_lives_end_even() {
    let mut heard: BTreeMap<String, u64> = BTreeMap::new();
    let (mut crashes, mut restores, mut wipes) = (0, 0, 0);
    for seed in 0..2_000 {
        let fakes = Fakes::default();
        let mut chance = Chance(seed);
        fakes.world().chance = Some(Chance(seed ^ 0x5eed));
        fakes.world().faults = [0, 10, 40][seed as usize % 3];
        let (mut copy, mut cache_copy) = (Local::default(), fakes.world().cache.clone());
        let (mut rounds, mut was_restored, mut life) = (0, false, 0);
        while rounds < ROUNDS {
            life += 1;
            live(&fakes, seed << 16 | life, |fakes| {
                rounds += 1;
                if chance.below(3) == 0 {
                    change(&mut fakes.world().local, &mut chance);
                }
                let mut world = fakes.world();
                match chance.below(60) {
                    0 => copy = world.local.clone(),
                    1 | 2 => cache_copy = world.cache.clone(),
                    // A replica that had not heard the last of it takes over.
                    3 => world.cache = cache_copy.clone(),
                    4 => (world.cache, wipes) = (Default::default(), wipes + 1),
                    5..10 => {
                        let late = std::mem::take(&mut world.elastic.late);
                        late.iter().for_each(|(place, op, document)| drop(world.elastic.write(place, *op, document)));
                    }
                    10..15 => {
                        let late = std::mem::take(&mut world.late_batches);
                        late.iter().for_each(|batch| _ = world.cache.apply(batch));
                    }
                    _ => {}
                }
                rounds < ROUNDS && chance.below(40) > 0
            });
            crashes += 1;
            // An older copy of the folder, put back by somebody who then says so.
            if chance.below(12) == 0 && rounds < ROUNDS {
                (was_restored, restores) = (true, restores + 1);
                let mut world = fakes.world();
                world.local = copy.clone();
                world.local.open_alerts_wait(Service::Documents);
            }
        }
        let mut quiet = 0;
        fakes.world().faults = 0;
        live(&fakes, seed << 16 | 0xffff, |fakes| {
            quiet += 1;
            assert!(quiet < QUIET_ROUNDS, "seed {seed} is not even: {:?} {:?}", fakes.world().local.queue, fakes.world().heard);
            // The idle cache is looked at once more.
            quiet < 20 || !is_even(fakes)
        });
        check(&fakes, seed, was_restored);
        for (name, n) in &fakes.world().heard {
            *heard.entry(name.clone()).or_insert(0) += n;
        }
    }
    println!("{crashes} crashes, {restores} older copies put back, {wipes} wiped caches; {heard:?}");
    for name in ["AlreadyThere", "BaseRaised", "Conflicts", "Later", "Rebuilt", "Stored", "Unclear"] {
        assert!(heard.get(name).is_some_and(|n| *n > 1_000), "{name}: {heard:?}");
    }
    assert!(restores > 500 && wipes > 1_000);
}

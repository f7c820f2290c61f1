use super::tests::World;
use super::*;
use crate::signature::{FILE_MAX, SecretKey, SignatureFile, Statement, TENANT, beside};

fn key() -> SecretKey {
    SecretKey::generate().expect("random bytes").0
}

/// A world whose rules need a signature by `key`.
fn world(key: &SecretKey, files: &[(&str, &str)]) -> World {
    let mut world = World::new(&[], files);
    trust(&mut world, key, false);
    world
}

/// From the next start on `key` is the publisher's.
fn trust(world: &mut World, key: &SecretKey, revoked: bool) {
    let publisher = crate::config::Publisher { key: key.public().to_string(), revoked, ..Default::default() };
    world.config.rules.publishers = [("platform".to_owned(), publisher)].into();
    world.restart();
}

fn says(world: &World) -> PathBuf {
    world.dir.path().join("rules.d/10-says.wasm")
}

/// Signs the module that lies there now.
fn sign(world: &World, key: &SecretKey) {
    let bytes = std::fs::read(says(world)).expect("the module");
    let info = world.engine.inspect(&bytes).expect("a rule");
    let statement = Statement { tenant: TENANT, name: &info.name, version: &info.version, digest: &info.digest };
    let file = SignatureFile::sign(&statement, key, "platform", None).expect("signed");
    std::fs::write(beside(&says(world)), file.to_bytes()).expect("written");
}

fn codes(look: &Look) -> Vec<&str> {
    look.problems.iter().map(|problem| problem.code.as_str()).collect()
}

#[test]
fn a_new_version_is_taken_with_a_signature_and_not_without() {
    let key = key();
    let mut world = world(&key, &[("10-says.wasm", "says")]);
    let look = world.look();
    assert_eq!((codes(&look), world.version("says")), (vec!["signature-missing"], None));

    sign(&world, &key);
    let look = world.take();
    assert_eq!((codes(&look), world.version("says")), (vec![], Some("1.0.0")));
    let (_, signed) = look.offers.signatures.first().expect("signed");
    assert_eq!((signed.signer.as_str(), signed.key_id.as_str()), ("platform", key.public().id().as_str()));
    let kept = world.folder.modules.get(&signed.digest).expect("readable").expect("kept");
    assert_eq!(kept, std::fs::read(beside(&says(&world))).expect("the signature"));

    // The next version under the signature of this one: the last good version stays.
    world.module("10-says.wasm", "says-b");
    let look = world.take();
    assert_eq!((codes(&look), world.version("says")), (vec!["signature-invalid"], Some("1.0.0")));
    sign(&world, &key);
    let look = world.take();
    assert_eq!((codes(&look), world.version("says")), (vec![], Some("1.1.0")));
}

#[test]
fn what_runs_when_publishers_are_first_configured_goes_on_and_is_said() {
    let key = key();
    let mut world = World::new(&[], &[("10-says.wasm", "says")]);
    world.look();
    assert_eq!(world.version("says"), Some("1.0.0"));
    let before = world.in_force.clone();
    trust(&mut world, &key, false);
    let look = world.take();
    assert_eq!((codes(&look), &world.in_force), (vec!["signature-missing"], &before));
    // Another version needs one as well, and the version before it comes back as it was.
    world.module("10-says.wasm", "says-b");
    assert_eq!((codes(&world.take()), &world.in_force), (vec!["signature-missing"], &before));
    world.module("10-says.wasm", "says");
    assert_eq!((codes(&world.take()), &world.in_force), (vec!["signature-missing"], &before));
    // A signature that comes later counts from then on, and changes nothing that runs.
    sign(&world, &key);
    let look = world.take();
    assert_eq!((codes(&look), look.offers.signatures.len(), &world.in_force), (vec![], 1, &before));
}

#[test]
fn a_key_that_is_revoked_stops_new_versions_only() {
    let (key, other) = (key(), key());
    let mut world = world(&key, &[("10-says.wasm", "says")]);
    sign(&world, &key);
    world.look();
    assert_eq!(world.version("says"), Some("1.0.0"));
    let before = world.in_force.clone();
    trust(&mut world, &key, true);
    assert_eq!((codes(&world.take()), &world.in_force), (vec!["publisher-revoked"], &before));
    world.module("10-says.wasm", "says-b");
    sign(&world, &key);
    assert_eq!((codes(&world.take()), &world.in_force), (vec!["publisher-revoked"], &before));
    sign(&world, &other);
    assert_eq!((codes(&world.take()), &world.in_force), (vec!["publisher-unknown"], &before));
}

#[test]
fn without_publishers_a_signature_is_not_looked_at_and_never_harms() {
    let mut world = World::new(&[], &[("10-says.wasm", "says")]);
    std::fs::write(beside(&says(&world)), "rubbish").expect("written");
    let look = world.look();
    assert_eq!((codes(&look), look.offers.signatures.len(), world.version("says")), (vec![], 0, Some("1.0.0")));
}

#[test]
fn a_signature_file_of_any_size_is_read_within_its_bound() {
    let key = key();
    let mut world = world(&key, &[("10-says.wasm", "says")]);
    std::fs::File::create(beside(&says(&world))).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    let look = world.look();
    assert_eq!(codes(&look), ["signature-invalid"]);
    assert!(look.problems[0].message.contains(&(FILE_MAX + 1).to_string()), "{}", look.problems[0].message);
}

//! A slot is what stands under one rule name: the version that runs, its options and place, and what must outlive a restart
//! (pin, last offer of the folder, the version before). Here is what a change makes of the slots of a set.
//!
//! The folder is a publisher like any other. A file that changed is activated; one that did not change undoes nothing, so the
//! last change wins, whoever made it. A pin holds version and options against all of them.

use crate::http::{Problem, ProblemCode};
use alertmill_core::rule_set::{Change, ChangeAction, Origin, Quarantine, Released, RuleEntry, RuleSet, RuleVersion};
use alertmill_core::value::Text;
use alertmill_core::version_change::VersionSignature;
use alertmill_engine::RuleOptions;
use serde_json::Value;
use std::cmp::Ordering;

/// The place of a rule that nobody gave one.
const DEFAULT_ORDER: &str = "50";

/// What is asked of one slot.
#[derive(Clone, Debug)]
pub enum What {
    /// This version is to run.
    Activate {
        /// Version text and digest.
        version: Named,
        /// Options instead of the slot's.
        options: Option<RuleOptions>,
        /// Place instead of the slot's.
        order: Option<Text>,
        /// Also when its version text is lower than the highest that ran. What is then lower is measured by this one.
        allow_downgrade: bool,
    },
    /// The version before, with its options, is to run again.
    Rollback,
    /// Version and options are to stay; with a version, that one.
    Pin(Option<Named>),
    /// They may change again.
    Unpin,
    /// It is not to run.
    Deactivate,
    /// Other options, another place.
    Configure {
        /// Options.
        options: Option<RuleOptions>,
        /// Place.
        order: Option<Text>,
    },
    /// The slot is to go; its versions stay.
    Remove,
    /// It is not to be called; of this digest only, when one is named. An operator names none, and stands before what the server did.
    Quarantine(Quarantine, Option<Text>),
    /// It is to be called again; how that came, unless an operator says so.
    Release(Option<Released>),
}

/// A version as people and as the data folder name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// From the manifest.
    pub version: Text,
    /// 64 hex digits.
    pub digest: Text,
}

impl What {
    /// The version that it names.
    pub fn names(&self) -> Option<&Named> {
        match self {
            What::Activate { version, .. } | What::Pin(Some(version)) => Some(version),
            _ => None,
        }
    }

    /// The audit's word for it.
    pub fn action(&self) -> ChangeAction {
        match self {
            What::Activate { .. } => ChangeAction::Activate,
            What::Rollback => ChangeAction::Rollback,
            What::Pin(_) => ChangeAction::Pin,
            What::Unpin => ChangeAction::Unpin,
            What::Deactivate => ChangeAction::Deactivate,
            What::Configure { .. } => ChangeAction::Configure,
            What::Remove => ChangeAction::Remove,
            What::Quarantine(..) => ChangeAction::Quarantine,
            What::Release(_) => ChangeAction::Release,
        }
    }
}

/// The rules after a change of one of them; the same ones when it is so already.
pub fn changed(rules: &[RuleEntry], name: &str, what: &What) -> Result<Vec<RuleEntry>, Problem> {
    let slot = rules.iter().find(|slot| slot.name == name);
    let next = match (slot, what) {
        (None, What::Activate { version, options, order, .. }) => Some(new_slot(name, version, options.as_ref(), order.as_ref())),
        (None, _) => return Err(ProblemCode::NotFound.problem(format!("no rule is named {name:?}; `rule list` shows those that are"))),
        (Some(slot), what) => after(slot, what)?,
    };
    let mut rules: Vec<RuleEntry> = rules.iter().filter(|slot| slot.name != name).cloned().chain(next).collect();
    in_order(&mut rules);
    Ok(rules)
}

fn new_slot(name: &str, version: &Named, options: Option<&RuleOptions>, order: Option<&Text>) -> RuleEntry {
    let default = RuleOptions::default();
    let (config, options) = options.unwrap_or(&default).texts();
    RuleEntry {
        name: Text::new(name),
        version: version.version.clone(),
        digest: version.digest.clone(),
        config,
        options,
        order: order.cloned().unwrap_or(Text::new_static(DEFAULT_ORDER)),
        origin: Origin::Upload,
        ..RuleEntry::default()
    }
}

fn after(slot: &RuleEntry, what: &What) -> Result<Option<RuleEntry>, Problem> {
    Ok(Some(match what {
        What::Activate { version, options, order, allow_downgrade } => {
            let next = asked(slot, version, options.as_ref())?;
            if next != slot.running() {
                is_free(slot)?;
            }
            let order = place(slot, order.as_ref())?;
            if *allow_downgrade {
                return Ok(Some(RuleEntry { disabled: false, order, highest: Text::default(), ..runs(slot, next) }));
            }
            is_no_downgrade(slot, &next)?;
            RuleEntry { disabled: false, order, ..runs(slot, next) }
        }
        What::Rollback => {
            is_free(slot)?;
            let none = || ProblemCode::NoPrevious.problem(format!("rule `{}` has no version before {}; activate one by its digest", slot.name, slot.version));
            runs(slot, slot.previous.clone().ok_or_else(none)?)
        }
        What::Pin(None) => RuleEntry { pinned: true, ..slot.clone() },
        What::Pin(Some(version)) => {
            let next = asked(slot, version, None)?;
            if next != slot.running() {
                is_free(slot)?;
            }
            is_no_downgrade(slot, &next)?;
            RuleEntry { pinned: true, disabled: false, ..runs(slot, next) }
        }
        What::Unpin => RuleEntry { pinned: false, ..slot.clone() },
        What::Deactivate => RuleEntry { disabled: true, ..slot.clone() },
        What::Configure { options, order } => {
            let running = Named { version: slot.version.clone(), digest: slot.digest.clone() };
            let next = asked(slot, &running, options.as_ref())?;
            if next != slot.running() {
                is_free(slot)?;
            }
            let order = place(slot, order.as_ref())?;
            RuleEntry { order, ..runs(slot, next) }
        }
        What::Remove => {
            is_free(slot)?;
            if !slot.offered.is_empty() {
                let why = format!("the file of rule `{}` is in the rules folder and would bring it back; remove the file, or deactivate the rule", slot.name);
                return Err(ProblemCode::InFolder.problem(why));
            }
            return Ok(None);
        }
        // What failed may have been replaced meanwhile.
        What::Quarantine(_, Some(digest)) if *digest != slot.digest => slot.clone(),
        What::Quarantine(_, digest) if slot.quarantine.as_ref().is_some_and(|known| digest.is_some() || known.retry_at_ms.is_none()) => slot.clone(),
        What::Quarantine(quarantine, _) => RuleEntry { quarantine: Some(quarantine.clone()), ..slot.clone() },
        What::Release(_) if slot.quarantine.is_none() => slot.clone(),
        What::Release(released) => RuleEntry { quarantine: None, released: *released, ..slot.clone() },
    }))
}

/// The version that is asked for, with the slot's options or other ones.
fn asked(slot: &RuleEntry, version: &Named, options: Option<&RuleOptions>) -> Result<RuleVersion, Problem> {
    let (config, options) = match options {
        Some(_) if !slot.offered.is_empty() => {
            let why = format!("the options of rule `{}` are in its file in the rules folder, which would lie; change them there", slot.name);
            return Err(ProblemCode::OptionsInFile.problem(why));
        }
        Some(options) => options.texts(),
        None => (slot.config.clone(), slot.options.clone()),
    };
    Ok(RuleVersion { version: version.version.clone(), digest: version.digest.clone(), config, options })
}

fn is_free(slot: &RuleEntry) -> Result<(), Problem> {
    match slot.pinned {
        true => Err(ProblemCode::Pinned.problem(format!("rule `{}` is pinned to {} (sha256:{}); unpin it first", slot.name, slot.version, slot.digest))),
        false => Ok(()),
    }
}

/// A version that is lower than the highest that ran is not activated unless that is meant; a rollback is, and a file is.
fn is_no_downgrade(slot: &RuleEntry, next: &RuleVersion) -> Result<(), Problem> {
    let highest = highest(slot);
    if next.digest == slot.digest || by_version(&next.version, highest) != Ordering::Less {
        return Ok(());
    }
    let which = if slot.highest.is_empty() { "runs" } else { "ran before" };
    let why =
        format!("{} is lower than {highest}, which {which}; activate it with --allow-downgrade (over HTTP `allow_downgrade`), or roll back", next.version);
    Err(ProblemCode::Downgrade.problem(why))
}

/// The highest version text that ran, since somebody said that a lower one is meant.
fn highest(slot: &RuleEntry) -> &Text {
    if slot.highest.is_empty() { &slot.version } else { &slot.highest }
}

fn place(slot: &RuleEntry, order: Option<&Text>) -> Result<Text, Problem> {
    match order {
        Some(order) if *order != slot.order && !slot.offered.is_empty() => {
            let why = format!("the place of rule `{}` is the number of its file in the rules folder; rename the file", slot.name);
            Err(ProblemCode::OptionsInFile.problem(why))
        }
        Some(order) => Ok(order.clone()),
        None => Ok(slot.order.clone()),
    }
}

/// The slot with this version in force. What ran becomes the version before, unless it was in quarantine.
fn runs(slot: &RuleEntry, next: RuleVersion) -> RuleEntry {
    let before = slot.running();
    if before == next {
        return slot.clone();
    }
    let previous = match slot.quarantine {
        None => Some(before),
        Some(_) => slot.previous.clone().filter(|previous| *previous != next),
    };
    let origin = if offer(&next) == slot.offered { Origin::Folder } else { Origin::Upload };
    let highest = highest(slot).clone();
    let highest = if by_version(&next.version, &highest) == Ordering::Less { highest } else { Text::default() };
    let RuleVersion { version, digest, config, options } = next;
    RuleEntry { version, digest, config, options, previous, origin, quarantine: None, released: None, highest, ..slot.clone() }
}

/// What the files of the rules folder ask for.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// The folder says nothing: all slots stay.
    pub keeps_all: bool,
    /// By name, at most one for each.
    pub files: Vec<Offer>,
    /// Signatures of the files' modules, by the modules' digests.
    pub signatures: Vec<(Text, VersionSignature)>,
    /// Name and digest of what is in force and cannot run any more, whatever tables are kept for it.
    pub unfit: Vec<(Text, Text)>,
}

/// What one file asks for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each file of the folder")]
pub enum Offer {
    /// This version with these options, at this place; `offered` is set.
    Whole(RuleEntry),
    /// It cannot be used now: what runs under this name stays.
    Kept(Text),
}

impl Offer {
    /// The rule's name.
    pub fn name(&self) -> &Text {
        match self {
            Offer::Whole(entry) => &entry.name,
            Offer::Kept(name) => name,
        }
    }
}

/// The rules after a look at the folder; the same ones when it offers nothing new.
pub fn with_offers(rules: &[RuleEntry], offers: &Offers) -> Vec<RuleEntry> {
    let of = |name: &str| offers.files.iter().find(|offer| *offer.name() == name);
    let mut next = Vec::with_capacity(rules.len());
    for slot in rules {
        let after = if offers.keeps_all { Some(slot.clone()) } else { taken(slot, of(&slot.name)) };
        let Some(mut slot) = after else { continue };
        if offers.unfit.iter().any(|(name, digest)| *name == slot.name && *digest == slot.digest) {
            // Its file, once it is good, makes the slot anew.
            if !slot.offered.is_empty() {
                continue;
            }
            slot.disabled = true;
        }
        next.push(slot);
    }
    for offer in &offers.files {
        if let Offer::Whole(entry) = offer
            && next.iter().all(|slot| slot.name != entry.name)
        {
            next.push(entry.clone());
        }
    }
    in_order(&mut next);
    next
}

/// A slot after a look that found this under its name.
fn taken(slot: &RuleEntry, offer: Option<&Offer>) -> Option<RuleEntry> {
    match offer {
        Some(Offer::Kept(_)) => Some(slot.clone()),
        Some(Offer::Whole(file)) => {
            let slot = RuleEntry { order: file.order.clone(), ..slot.clone() };
            if file.offered == slot.offered {
                return Some(slot);
            }
            let slot = RuleEntry { offered: file.offered.clone(), ..slot };
            match slot.pinned {
                true => Some(slot),
                false => Some(RuleEntry { disabled: false, origin: Origin::Folder, ..runs(&slot, file.running()) }),
            }
        }
        // What runs came from the file that is gone.
        None if slot.origin == Origin::Folder && !slot.pinned => None,
        None => Some(RuleEntry { offered: Text::default(), origin: Origin::Upload, ..slot.clone() }),
    }
}

/// What tells one offer from another: digest and options, without what is as it would be anyway, so that a key that a later
/// version of this program adds changes no offer.
pub fn offer(version: &RuleVersion) -> Text {
    let parse = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let default = serde_json::to_value(RuleOptions::default()).unwrap_or_default();
    let said = without(parse(&version.options), &default);
    Text::from(alertmill_stores::modules::digest(format!("{}\n{}\n{said}", version.digest, version.config).as_bytes()))
}

/// A document without the members that are as in `default`.
fn without(value: Value, default: &Value) -> Value {
    match (value, default) {
        (Value::Object(members), Value::Object(defaults)) => {
            let differs = |(key, value): (String, Value)| match defaults.get(&key) {
                Some(default) if *default == value => None,
                Some(default) => Some((key, without(value, default))),
                None => Some((key, value)),
            };
            members.into_iter().filter_map(differs).collect()
        }
        (value, _) => value,
    }
}

/// Sorts rules as they run: by number, of any length, then by name.
fn in_order(rules: &mut [RuleEntry]) {
    let place = |slot: &RuleEntry| {
        let digits = slot.order.trim_start_matches('0').to_owned();
        (slot.order.is_empty(), digits.len(), digits, slot.name.clone())
    };
    rules.sort_by_cached_key(place);
}

/// Versions as people count: numbers by their value, and what has something behind a `-` is before what has not.
pub fn by_version(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let text = text.split('+').next().unwrap_or_default();
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        (parts(core), pre.map(parts))
    };
    let ((a, a_pre), (b, b_pre)) = (split(a), split(b));
    a.cmp(&b).then_with(|| match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(&b),
    })
}

/// Numbers before words, shorter numbers before longer ones.
fn parts(text: &str) -> Vec<(bool, usize, String)> {
    let part = |part: &str| {
        let is_word = part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit());
        let digits = part.trim_start_matches('0');
        if is_word { (true, 0, part.to_owned()) } else { (false, digits.len(), digits.to_owned()) }
    };
    text.split('.').map(part).collect()
}

/// What the audit says of a look at folder and tables.
pub fn change_by_look(before: &RuleSet, rules: &[RuleEntry]) -> Change {
    let of = |rules: &[RuleEntry], name: &str| rules.iter().find(|slot| slot.name == name).cloned();
    let mut names: Vec<&Text> = before.rules.iter().chain(rules).map(|slot| &slot.name).collect();
    names.sort();
    names.dedup();
    names.retain(|name| of(&before.rules, name) != of(rules, name));
    let digest = |slot: Option<RuleEntry>| slot.map(|slot| slot.digest).unwrap_or_default();
    match names[..] {
        [] if before.generation > 0 => Change { action: ChangeAction::Tables, ..Change::default() },
        [name] => Change {
            action: ChangeAction::Folder,
            object: name.clone(),
            from: digest(of(&before.rules, name)),
            to: digest(of(rules, name)),
            ..Change::default()
        },
        _ => Change { action: ChangeAction::Folder, ..Change::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str) -> RuleVersion {
        let (config, options) = RuleOptions::default().texts();
        RuleVersion { version: digest.into(), digest: digest.into(), config, options }
    }

    fn file(name: &str, digest: &str) -> RuleEntry {
        let running = version(digest);
        let offered = offer(&running);
        let RuleVersion { version, digest, config, options } = running;
        RuleEntry { name: name.into(), version, digest, config, options, order: "10".into(), offered, ..RuleEntry::default() }
    }

    fn offers(files: &[RuleEntry]) -> Offers {
        Offers { files: files.iter().cloned().map(Offer::Whole).collect(), ..Offers::default() }
    }

    fn activate(digest: &str) -> What {
        What::Activate { version: named(digest), options: None, order: None, allow_downgrade: false }
    }

    fn named(digest: &str) -> Named {
        Named { version: digest.into(), digest: digest.into() }
    }

    fn code(result: Result<Vec<RuleEntry>, Problem>) -> &'static str {
        result.expect_err("refused").code
    }

    #[test]
    fn the_last_change_wins() {
        let by_file = with_offers(&[], &offers(&[file("r", "1")]));
        let by_api = changed(&by_file, "r", &activate("2")).unwrap();
        assert_eq!((by_api[0].digest.as_str(), by_api[0].origin), ("2", Origin::Upload));
        assert_eq!(with_offers(&by_api, &offers(&[file("r", "1")])), by_api, "an offer that did not change undoes nothing");
        let by_file = with_offers(&by_api, &offers(&[file("r", "3")]));
        assert_eq!((by_file[0].digest.as_str(), by_file[0].origin, by_file[0].previous.as_ref().unwrap().digest.as_str()), ("3", Origin::Folder, "2"));
        // A bad file, and a folder that says nothing, leave everything.
        for offers in [Offers { files: vec![Offer::Kept("r".into())], ..Offers::default() }, Offers { keeps_all: true, ..Offers::default() }] {
            assert_eq!(with_offers(&by_file, &offers), by_file);
        }
    }

    #[test]
    fn a_file_that_goes_takes_what_came_from_it_and_nothing_else() {
        let by_file = with_offers(&[], &offers(&[file("r", "1")]));
        assert!(with_offers(&by_file, &offers(&[])).is_empty());
        let by_api = changed(&by_file, "r", &activate("2")).unwrap();
        let held = with_offers(&by_api, &offers(&[]));
        assert_eq!((held[0].digest.as_str(), held[0].offered.as_str()), ("2", ""));
        assert!(changed(&held, "r", &What::Remove).unwrap().is_empty(), "now it can be removed");
        assert_eq!(code(changed(&by_api, "r", &What::Remove)), "in-folder");
        // What the API took back to the file's version is the file's again.
        let back = changed(&by_api, "r", &What::Rollback).unwrap();
        assert_eq!((back[0].digest.as_str(), back[0].origin), ("1", Origin::Folder));
        assert!(with_offers(&back, &offers(&[])).is_empty());
    }

    #[test]
    fn a_pin_holds_a_changed_file_and_one_that_goes() {
        let pinned = changed(&with_offers(&[], &offers(&[file("r", "1")])), "r", &What::Pin(None)).unwrap();
        let held = with_offers(&pinned, &offers(&[file("r", "2")]));
        assert_eq!((held[0].digest.as_str(), held[0].offered == pinned[0].offered), ("1", false));
        for what in [activate("2"), What::Rollback, What::Pin(Some(named("2"))), What::Remove] {
            assert_eq!(code(changed(&held, "r", &what)), "pinned", "{what:?}");
        }
        assert_eq!(changed(&held, "r", &activate("1")).unwrap(), held, "what runs already is no change");
        let free = changed(&held, "r", &What::Unpin).unwrap();
        assert_eq!(with_offers(&free, &offers(&[file("r", "2")])), free, "nothing switches by itself");
        let gone = with_offers(&pinned, &offers(&[]));
        assert_eq!((gone[0].digest.as_str(), with_offers(&changed(&gone, "r", &What::Unpin).unwrap(), &offers(&[])).len()), ("1", 1));
    }

    #[test]
    fn rollback_twice_is_where_it_was_and_never_goes_to_quarantine() {
        let first = changed(&[], "r", &activate("1")).unwrap();
        assert_eq!(code(changed(&first, "r", &What::Rollback)), "no-previous");
        let second = changed(&first, "r", &activate("2")).unwrap();
        let back = changed(&second, "r", &What::Rollback).unwrap();
        assert_eq!(back[0].digest, "1");
        assert_eq!(changed(&back, "r", &What::Rollback).unwrap(), second);

        let quarantine = What::Quarantine(Quarantine { kind: "deadline".into(), ..Quarantine::default() }, Some("2".into()));
        let bad = changed(&second, "r", &quarantine).unwrap();
        assert!(bad[0].quarantine.is_some());
        assert_eq!(changed(&bad, "r", &quarantine).unwrap(), bad);
        assert_eq!(changed(&bad, "r", &What::Release(None)).unwrap(), second);
        // What an operator says stands before what the server did, and stays.
        let by_hand = |since_ms| What::Quarantine(Quarantine { kind: "by-hand".into(), since_ms, ..Quarantine::default() }, None);
        let automatic = What::Quarantine(Quarantine { retry_at_ms: Some(9), ..Quarantine::default() }, Some("2".into()));
        let held = changed(&changed(&second, "r", &automatic).unwrap(), "r", &by_hand(1)).unwrap();
        assert_eq!(held[0].quarantine.as_ref().map(|quarantine| quarantine.kind.as_str()), Some("by-hand"));
        assert_eq!(changed(&held, "r", &by_hand(2)).unwrap(), held);
        let back = changed(&bad, "r", &What::Rollback).unwrap();
        assert_eq!((back[0].digest.as_str(), &back[0].quarantine, &back[0].previous), ("1", &None, &None));
        let third = changed(&bad, "r", &activate("3")).unwrap();
        assert_eq!((third[0].quarantine.is_none(), third[0].previous.as_ref().unwrap().digest.as_str()), (true, "1"));
        // It was replaced before it was known to be bad.
        assert_eq!(changed(&third, "r", &quarantine).unwrap(), third);
    }

    #[test]
    fn what_the_file_says_is_not_said_otherwise() {
        let by_file = with_offers(&[], &offers(&[file("r", "1")]));
        let options = RuleOptions { config: serde_json::json!({"a": 1}), ..RuleOptions::default() };
        let with = What::Activate { version: named("2"), options: Some(options.clone()), order: None, allow_downgrade: false };
        let other_place = What::Configure { options: None, order: Some("7".into()) };
        assert_eq!(code(changed(&by_file, "r", &with)), "options-in-file");
        assert_eq!(code(changed(&by_file, "r", &other_place)), "options-in-file");
        let mut rules = changed(&changed(&[], "b", &with).unwrap(), "a", &activate("1")).unwrap();
        assert_eq!(rules[0].name, "a", "equal numbers go by name");
        rules = changed(&rules, "b", &other_place).unwrap();
        assert_eq!((rules[0].name.as_str(), rules[0].config.as_str(), &rules[0].previous), ("b", r#"{"a":1}"#, &None));
        let configured = changed(&rules, "a", &What::Configure { options: Some(options), order: None }).unwrap();
        assert!(configured[1].previous.is_some(), "other options are another version to go back from");
        assert_eq!(code(changed(&rules, "zz", &What::Rollback)), "not-found");
    }

    #[test]
    fn m43_a_lower_version_is_meant_or_refused() {
        let rules = changed(&[], "r", &activate("1.10.0")).unwrap();
        assert_eq!(code(changed(&rules, "r", &activate("1.9.0"))), "downgrade");
        let meant = What::Activate { version: named("1.9.0"), options: None, order: None, allow_downgrade: true };
        let meant = changed(&rules, "r", &meant).unwrap();
        assert_eq!(meant[0].version, "1.9.0");
        changed(&meant, "r", &activate("1.9.1")).expect("what was meant is what the next one is measured by");
        // A rollback is meant, but what comes then is measured by the highest that ran.
        let rules = changed(&changed(&[], "r", &activate("1.0")).unwrap(), "r", &activate("1.2")).unwrap();
        let back = changed(&rules, "r", &What::Rollback).unwrap();
        let refused = changed(&back, "r", &activate("1.1")).unwrap_err();
        assert!(refused.code == "downgrade" && refused.detail.contains("1.1 is lower than 1.2") && refused.detail.contains("--allow-downgrade"), "{refused:?}");
        assert_eq!(code(changed(&back, "r", &What::Pin(Some(named("1.1"))))), "downgrade", "a pin is no way around it");
        let off = changed(&back, "r", &What::Deactivate).unwrap();
        assert_eq!(changed(&off, "r", &activate("1.0")).unwrap(), back, "what runs is no downgrade, however it came");
        assert_eq!(changed(&back, "r", &activate("1.2.1")).unwrap()[0].highest, "", "behind it all is forgotten");
        assert_eq!(changed(&back, "r", &What::Rollback).unwrap(), rules);
        let versions = ["0.9", "1.0.0-alpha", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0-beta", "1.0.0", "1.0.1", "1.2", "1.10", "2024.1"];
        assert!(versions.windows(2).all(|pair| by_version(pair[0], pair[1]) == Ordering::Less), "{versions:?}");
        assert_eq!(by_version("1.0+a", "1.0+b"), Ordering::Equal);
    }

    #[test]
    fn an_option_that_is_as_it_would_be_anyway_changes_no_offer() {
        let plain = version("1");
        let mut options: Value = serde_json::from_str(&plain.options).unwrap();
        options.as_object_mut().unwrap().remove("enabled");
        assert_eq!(offer(&RuleVersion { options: Text::from(options.to_string()), ..plain.clone() }), offer(&plain));
        options["limits"]["time_ms"] = 7.into();
        assert_ne!(offer(&RuleVersion { options: Text::from(options.to_string()), ..plain.clone() }), offer(&plain));
    }
}

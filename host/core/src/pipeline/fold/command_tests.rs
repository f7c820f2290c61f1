//! What operators' commands do to alerts.

use super::bench::{Life, Rules, T, firing, without_grace};
use crate::alert::Alert;
use crate::command::Verdict::{self, Done, NotOpen, Repeated, Unchanged};
use crate::command::{Action, AlertRef, Command};
use crate::record::{Record, RecordBody};
use crate::row::DedupeAnswer;

const HOUR: i64 = 3600;

fn event(id: &str, severity: u8, status: &str, time: i64) -> String {
    format!(r#"{{"event_id":"{id}","alert_name":"disk full","severity":{severity},"status":"{status}","time":{time}}}"#)
}

/// One open alert.
fn opened() -> Life {
    let mut life = Life::new();
    life.events(T, &[&event("a", 2, "abnormal", T)]);
    life
}

/// What the ends of documents say of an acknowledgement.
fn ack_fields(life: &Life, n: usize) -> [String; 4] {
    ["is_ack", "is_ack_noticed", "ack_operator", "ack_duration"].map(|name| life.field(n, name))
}

const NOBODY: [&str; 4] = ["false", "false", "null", "null"];

#[test]
fn every_action_in_every_state_and_once_more() {
    type Prepare = fn(&mut Life);
    let states: [(&str, Prepare); 6] = [
        ("open", |_| {}),
        ("acknowledged", |life| assert_eq!(life.command(T + 1, Action::Acknowledge, &[life.named(0)], ""), [Done])),
        ("recovered", |life| life.events(T + 1, &[&event("end", 2, "recovered", T + 1)])),
        ("closed by an event", |life| life.events(T + 1, &[&event("end", 2, "closed", T + 1)])),
        ("closed by an operator", |life| assert_eq!(life.command(T + 1, Action::Close, &[life.named(0)], ""), [Done])),
        ("timed out", |life| life.clock(T + HOUR)),
    ];
    for (state, prepare) in states {
        for action in Action::ALL {
            for key in ["", "key"] {
                let mut life = opened();
                prepare(&mut life);
                let (before, logs) = (life.tables.clone(), life.logs().len());
                let first = match (state, action) {
                    ("open", Action::Acknowledge | Action::Close) | ("acknowledged", Action::Unacknowledge | Action::Close) => Done,
                    ("open", Action::Unacknowledge) | ("acknowledged", Action::Acknowledge) => Unchanged,
                    _ => NotOpen,
                };
                let second = match (first, action, key) {
                    (Done, _, "key") => Repeated,
                    (Done, Action::Close, _) => NotOpen,
                    (Done, ..) => Unchanged,
                    (same, ..) => same,
                };
                let named = life.named(0);
                let what = format!("{action:?} of one {state}, key {key:?}");
                // Long after the close time-out, which ended what was open by then, nothing is left to change.
                assert_eq!(life.command(T + HOUR + 9, *action, &[named], key), [NotOpen], "{what}, when it timed out");
                // The same before the close time-out.
                let mut life = opened();
                if state != "timed out" {
                    prepare(&mut life);
                    assert_eq!(life.command(T + 100, *action, &[named], key), [first], "{what}");
                    let once = life.tables.clone();
                    assert_eq!(life.command(T + 101, *action, &[named], key), [second], "{what}, again");
                    assert_eq!((&life.tables.alerts, &life.tables.logs), (&once.alerts, &once.logs), "{what}, again");
                    assert_eq!(life.logs().len(), logs + usize::from(first == Done), "{what}");
                    if first != Done {
                        assert_eq!((&life.tables.alerts, &life.tables.logs), (&before.alerts, &before.logs), "{what}");
                    }
                    assert_eq!(life.tables.ledger, before.ledger, "commands are no items");
                }
            }
        }
    }
}

#[test]
fn an_id_of_another_second_names_nothing_also_when_its_alert_has_ended() {
    let mut life = opened();
    let named = life.named(0);
    let other = AlertRef { create_time: named.create_time + 1, ..named };
    assert_eq!(life.command(T + 1, Action::Close, &[other], "key"), [NotOpen]);
    assert_eq!(life.command(T + 1, Action::Close, &[named], "key"), [Done]);
    assert_eq!(life.command(T + 2, Action::Close, &[other, named], "key"), [NotOpen, Repeated], "there is no such alert");
}

#[test]
fn an_acknowledged_alert_says_who_and_after_how_long() {
    let mut life = opened();
    assert_eq!(ack_fields(&life, 0), NOBODY);
    life.command(T + 90, Action::Acknowledge, &[life.named(0)], "");
    assert_eq!(ack_fields(&life, 0), ["true", "false", r#""wang""#, "90"]);
    assert_eq!((life.field(0, "update_time"), life.alert(0).revision, life.statuses()), ((T + 90).to_string(), 2, vec!["ABNORMAL"]));
    let log = String::from_utf8(life.tables.logs[1].2.clone()).unwrap();
    let (id, at) = (life.alert(0).id.clone(), T + 90);
    assert_eq!(log, format!(r#"{{"alert_id":"{id}","op_type":"ACK","create_time":{at},"time":{at},"description":"because","operator":"wang"}}"#));
    // Events and their end leave it.
    life.events(T + 100, &[&event("b", 2, "abnormal", T + 100)]);
    assert_eq!(ack_fields(&life, 0)[2..], [r#""wang""#, "90"]);
    life.command(T + 110, Action::Unacknowledge, &[life.named(0)], "");
    assert_eq!(ack_fields(&life, 0), NOBODY);
    life.command(T + 120, Action::Acknowledge, &[life.named(0)], "");
    life.events(T + 130, &[&event("end", 2, "recovered", T + 130)]);
    assert_eq!((life.statuses(), &ack_fields(&life, 0)[3]), (vec!["RECOVERED"], &"120".to_owned()));
    assert_eq!(life.logs(), ["CREATE", "ACK", "UNACK", "ACK", "RECOVER"]);
    life.check_counted_once();
}

#[test]
fn an_operators_close_ends_the_alert_and_the_next_event_opens_another() {
    let mut life = opened();
    life.command(T + 50, Action::Acknowledge, &[life.named(0)], "");
    assert_eq!(life.command(T + 1000, Action::Close, &[life.named(0)], ""), [Done]);
    assert_eq!((life.statuses(), life.alert(0).end_time, life.tables.next_due_ms), (vec!["CLOSED"], Some(T + 1000), None));
    assert!(life.field(0, "extra_info").contains(r#""end_description":"because""#));
    let log = String::from_utf8(life.tables.logs[2].2.clone()).unwrap();
    assert!(log.contains(r#""op_type":"CLOSE""#) && log.contains(r#""description":"because","operator":"wang""#), "{log}");
    // What is older than its end stays out, as with every end.
    life.events(T + 1001, &[&event("old", 2, "abnormal", T + 939)]);
    assert_eq!((life.count("stored_only.expired"), life.statuses().len()), (1, 1));
    life.events(T + 1002, &[&event("new", 2, "abnormal", T + 940)]);
    assert_eq!((life.statuses(), ack_fields(&life, 1)), (vec!["CLOSED", "ABNORMAL"], NOBODY.map(str::to_owned)));
    // The old one's id names nothing that could change.
    assert_eq!(life.command(T + 1003, Action::Acknowledge, &[life.named(0), life.named(1)], ""), [NotOpen, Done]);
    life.check_counted_once();
}

#[test]
fn a_close_without_a_word_says_a_code() {
    let mut life = opened();
    let command = Command {
        tenant: "system".into(),
        action: Action::Close,
        alerts: vec![life.named(0)],
        operator: "anonymous".into(),
        comment: "".into(),
        idempotency_key: None,
    };
    // Another tenant's alert is none, and neither is one of another second.
    life.record(T + 1, RecordBody::Command(Command { tenant: "other".into(), ..command.clone() }));
    let wrong = AlertRef { create_time: T + 1, ..life.named(0) };
    life.record(T + 1, RecordBody::Command(Command { alerts: vec![wrong, AlertRef { create_time: T, seq: 7 }], ..command.clone() }));
    assert_eq!(life.decided.iter().flat_map(|decided| &decided.decisions).map(|d| d.verdict).collect::<Vec<_>>(), [NotOpen; 3]);
    assert_eq!((life.statuses(), life.logs()), (vec!["ABNORMAL"], vec!["CREATE"]));
    life.record(T + 2, RecordBody::Command(command));
    assert!(life.field(0, "extra_info").contains(r#""end_description":"@closed.by_operator""#));
    assert!(String::from_utf8(life.tables.logs[1].2.clone()).unwrap().contains(r#""description":"@closed.by_operator","operator":"anonymous""#));
}

#[test]
fn a_worse_event_opens_an_alert_that_nobody_has_acknowledged() {
    let mut life = opened();
    life.command(T + 1, Action::Acknowledge, &[life.named(0)], "");
    life.events(T + 2, &[&event("milder", 3, "abnormal", T + 2)]);
    assert_eq!(life.field(0, "is_ack"), "true");
    life.events(T + 3, &[&event("worse", 1, "abnormal", T + 3)]);
    assert_eq!((life.statuses(), life.field(0, "is_ack"), ack_fields(&life, 1)), (vec!["CLOSED", "ABNORMAL"], "true".into(), NOBODY.map(str::to_owned)));
}

#[test]
fn a_time_out_that_is_due_comes_before_the_command() {
    for (at, verdict, end) in [(T + HOUR - 1, Done, T + HOUR - 1), (T + HOUR, NotOpen, T + HOUR), (T + 2 * HOUR, NotOpen, T + HOUR)] {
        let mut life = opened();
        assert_eq!(life.command(at, Action::Close, &[life.named(0)], ""), [verdict], "{}", at - T);
        assert_eq!(life.alert(0).end_time, Some(end));
    }
    // Neither does an acknowledgement put it off.
    let mut life = opened();
    life.command(T + 1000, Action::Acknowledge, &[life.named(0)], "");
    life.clock(T + HOUR);
    assert_eq!((life.statuses(), life.logs()), (vec!["CLOSED"], vec!["CREATE", "ACK", "SYSTEM_CLOSE"]));
}

#[test]
fn re_sends_hold_an_acknowledged_alert_and_open_a_closed_one_again() {
    let mut life = Life::with(without_grace());
    life.alertmanager(T, &[&firing("", T, Some(T + 240))]);
    life.command(T + 30, Action::Acknowledge, &[life.named(0)], "");
    life.alertmanager(T + 60, &[&firing("", T, Some(T + 300))]);
    assert_eq!((life.count("refreshed"), life.field(0, "is_ack")), (1, "true".into()));
    // The sender still holds the condition for true, so a close by hand does not hide it.
    life.command(T + 90, Action::Close, &[life.named(0)], "");
    life.restart();
    life.alertmanager(T + 120, &[&firing("", T, Some(T + 360))]);
    assert_eq!((life.statuses(), life.field(1, "is_ack"), life.count("duplicates")), (vec!["CLOSED", "ABNORMAL"], "false".into(), 0));
    life.alertmanager(T + 180, &[&firing("", T, Some(T + 420))]);
    assert_eq!((life.statuses().len(), life.count("refreshed")), (2, 2));
    // Closed, and then resolved by its sender: nothing opens.
    life.command(T + 190, Action::Close, &[life.named(1)], "");
    life.alertmanager(T + 200, &[&firing("", T, Some(T + 195))]);
    assert_eq!((life.statuses(), life.count("stored_only.no-open-alert")), (vec!["CLOSED", "CLOSED"], 1));
    life.check_counted_once();
}

#[test]
fn a_repeated_request_is_known_whatever_happened_since() {
    let mut life = opened();
    let named = life.named(0);
    assert_eq!(life.command(T + 1, Action::Acknowledge, &[named], "k1"), [Done]);
    assert_eq!(life.command(T + 2, Action::Unacknowledge, &[named], "k2"), [Done]);
    life.restart();
    assert_eq!(life.command(T + 3, Action::Acknowledge, &[named], "k1"), [Repeated], "it does not undo what came after it");
    assert_eq!((life.field(0, "is_ack"), life.logs()), ("false".into(), vec!["CREATE", "ACK", "UNACK"]));
    assert_eq!(life.command(T + 4, Action::Close, &[named], "k1"), [Done], "another action is another request");
    for _ in 0..2 {
        assert_eq!(life.command(T + 5, Action::Close, &[named], "k1"), [Repeated]);
        assert_eq!(life.command(T + 5, Action::Acknowledge, &[named], "k1"), [Repeated]);
        assert_eq!(life.command(T + 5, Action::Close, &[named], "k9"), [NotOpen]);
        life.restart();
    }
    // A new alert of the fingerprint takes the place of the old one.
    life.events(T + 6, &[&event("b", 2, "abnormal", T + 6)]);
    assert_eq!(life.command(T + 7, Action::Close, &[named, life.named(1)], "k1"), [NotOpen, Done]);
    assert_eq!(life.logs(), ["CREATE", "ACK", "UNACK", "CLOSE", "CREATE", "CLOSE"]);
}

#[test]
fn an_alert_remembers_a_bounded_number_of_requests() {
    let mut life = opened();
    let named = life.named(0);
    let action = |n: usize| [Action::Acknowledge, Action::Unacknowledge][n % 2];
    for n in 0..100 {
        assert_eq!(life.command(T + 1, action(n), &[named], &format!("k{n}")), [Done]);
    }
    let alert = life.alert(0);
    assert_eq!(Alert::restore(alert.seq, &alert.document, &alert.state).unwrap().requests.len(), 16);
    assert_eq!(life.command(T + 2, action(84), &[named], "k84"), [Repeated]);
    assert_eq!(life.command(T + 2, action(83), &[named], "k83"), [Unchanged]);
}

#[test]
fn a_command_in_the_batch_of_the_opening_event_is_decided_like_any_other() {
    let mut life = opened();
    let named = life.named(0);
    life.command(T + 1, Action::Acknowledge, &[named, named], "");
    life.command(T + 2, Action::Close, &[named], "");
    let mut at_once = Life::new();
    at_once.fold(life.journal.clone());
    at_once.tables.check_same(&life.tables, "at once");
    assert_eq!(at_once.decided, life.decided);
    assert_eq!(at_once.decided[0].decisions.iter().map(|d| d.verdict).collect::<Vec<_>>(), [Done, Unchanged]);
}

/// SplitMix64, for walks that can be had again.
pub struct Walk(pub u64);

impl Walk {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A record: events, re-sends, commands, time, starts. Ids are of alerts that were, are, or never will be.
    pub fn record(&mut self, life: &mut Life, at: i64) {
        match self.below(10) {
            0..=2 => {
                let status = ["abnormal", "abnormal", "abnormal", "recovered", "closed"][self.below(5) as usize];
                let item = format!(
                    r#"{{"event_id":"e{}","alert_name":"host {}","severity":{},"status":"{status}","time":{}}}"#,
                    self.below(40),
                    self.below(4),
                    1 + self.below(3),
                    at - self.below(90) as i64
                );
                life.events(at, &[&item]);
            }
            3..=4 => {
                let labels = format!(r#","instance":"{}""#, self.below(3));
                let starts = T + self.below(3) as i64 * 1000;
                life.alertmanager(at, &[&firing(&labels, starts, (self.below(4) > 0).then_some(at + self.below(400) as i64 - 60))]);
            }
            5..=7 => {
                // Mostly the newest ones, of which some are open.
                let count = life.tables.alerts.len();
                let newest = |below: u64| count - 1 - below as usize;
                let mut alerts: Vec<AlertRef> =
                    (0..1 + self.below(3)).filter(|_| count > 0).map(|_| life.named(newest(self.below(count.min(5) as u64)))).collect();
                if self.below(8) == 0 {
                    alerts.push(AlertRef { create_time: at, seq: self.below(1 << 20) });
                }
                let key = [String::new(), format!("k{}", self.below(3))][self.below(2) as usize].clone();
                life.command(at, Action::ALL[self.below(3) as usize], &alerts, &key);
            }
            8 => life.clock(at),
            _ => life.start(at),
        }
    }
}

#[test]
fn walks_with_commands_are_the_same_however_batches_are_cut_and_processes_end() {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for seed in 0..60u64 {
        let mut walk = Walk(seed);
        let mut one = Life::new();
        if seed % 3 == 0 {
            one.rules = Rules { dedupe: |row| row.dedupe = DedupeAnswer::Key("all".into()), ..Rules::default() };
        }
        let mut at = T;
        for _ in 0..150 {
            walk.record(&mut one, at);
            at += [0, 0, 1, 30, 200, 4000][walk.below(6) as usize];
        }
        one.check_counted_once();
        for restarts in [false, true] {
            let mut other = Life::new();
            other.rules = one.rules;
            let mut left: Vec<Record> = one.journal.clone();
            while !left.is_empty() {
                let rest = left.split_off((1 + walk.below(12) as usize).min(left.len()));
                other.fold(std::mem::replace(&mut left, rest));
                if restarts && walk.below(3) == 0 {
                    other.restart();
                }
            }
            other.tables.check_same(&one.tables, &format!("seed {seed}, restarts {restarts}"));
            assert_eq!(other.decided, one.decided, "seed {seed}, restarts {restarts}");
        }
        verdicts.extend(one.decided.iter().flat_map(|decided| &decided.decisions).map(|decision| decision.verdict));
    }
    for verdict in [Done, Repeated, Unchanged, NotOpen] {
        let n = verdicts.iter().filter(|v| **v == verdict).count();
        println!("{verdict:?}: {n}");
        assert!(n > 50, "the walks hardly reach {verdict:?}");
    }
}

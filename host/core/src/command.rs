//! What an operator asks of alerts. A command is a journal record like everything else that changes an alert: the fold
//! decides it, in journal order, at the time of its record (docs/semantics.md, Commands).

use crate::event::Status;
use crate::identity::{alert_id, parse_alert_id, request_id};
use crate::value::Text;

/// Alerts that one command may name.
pub const ALERTS_PER_COMMAND_MAX: usize = 1_000;
/// Characters of a comment.
pub const COMMENT_CHARS_MAX: usize = 1_000;
/// Characters of an operator's name.
pub const OPERATOR_CHARS_MAX: usize = 64;
/// Who commands when nobody is named.
pub const ANONYMOUS: &str = "anonymous";

macro_rules! actions {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal $name:literal)*) => {
        /// What is to be done. The numbers are in journals for ever.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Action { $($(#[doc = $doc])* $variant = $number),* }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Action] = &[$(Action::$variant),*];

            /// Name in paths, on the command line and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Action::$variant => $name),* }
            }

            /// The action of a number.
            pub const fn of_number(number: u8) -> Option<Action> {
                match number { $($number => Some(Action::$variant),)* _ => None }
            }
        }
    };
}

actions! {
    /// Somebody takes care of the alert.
    Acknowledge = 1 "ack"
    /// Nobody does any more.
    Unacknowledge = 2 "unack"
    /// The alert ends, by the operator's word.
    Close = 3 "close"
}

/// The alert that an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlertRef {
    /// When it was made, seconds.
    pub create_time: i64,
    /// `seq_id`.
    pub seq: u64,
}

impl AlertRef {
    /// Reads an id as [`id`](AlertRef::id) writes it; another spelling is no id.
    pub fn parse(id: &str) -> Option<AlertRef> {
        let (create_time, seq) = parse_alert_id(id)?;
        Some(AlertRef { create_time, seq }).filter(|alert| alert.id() == id)
    }

    /// The document's id.
    pub fn id(&self) -> Text {
        alert_id(self.create_time, self.seq)
    }
}

/// One command to some alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Only alerts of this tenant hear it.
    pub tenant: Text,
    /// What is to be done.
    pub action: Action,
    /// To which alerts.
    pub alerts: Vec<AlertRef>,
    /// Who says so.
    pub operator: Text,
    /// Why, for the log; may be empty.
    pub comment: Text,
    /// The request's `Idempotency-Key`: under the same one a command is done once.
    pub idempotency_key: Option<Text>,
}

impl Command {
    /// What the alerts that it changes remember of it, so that its repetition is known; none without a key.
    pub fn request_id(&self) -> Option<Text> {
        let key = self.idempotency_key.as_deref()?;
        Some(request_id(&self.tenant, &self.operator, self.action.name(), key))
    }

    /// Rough bytes in memory.
    pub fn size_bytes(&self) -> usize {
        let texts = self.tenant.len() + self.operator.len() + self.comment.len() + self.idempotency_key.as_deref().map_or(0, str::len);
        size_of::<Command>() + texts + self.alerts.len() * size_of::<AlertRef>()
    }
}

/// Why a name or comment is refused, in words for whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextRefused {
    /// Nothing where something is wanted.
    #[error("is empty; leave it out, or name somebody")]
    Empty,
    /// Too many characters.
    #[error("has more than {0} characters")]
    TooLong(usize),
    /// A character that commands a terminal instead of saying something.
    #[error("has a control character")]
    Control,
}

/// Whether `name` can stand for an operator: 1 to [`OPERATOR_CHARS_MAX`] characters, no control characters.
pub fn check_operator(name: &str) -> Result<(), TextRefused> {
    match name.trim().is_empty() {
        true => Err(TextRefused::Empty),
        false => check_text(name, OPERATOR_CHARS_MAX, |_| false),
    }
}

/// Whether `comment` can be logged: at most [`COMMENT_CHARS_MAX`] characters; of control characters only line feed and tab.
pub fn check_comment(comment: &str) -> Result<(), TextRefused> {
    check_text(comment, COMMENT_CHARS_MAX, |c| matches!(c, '\n' | '\t'))
}

fn check_text(text: &str, chars_max: usize, allowed: fn(char) -> bool) -> Result<(), TextRefused> {
    match text {
        text if text.chars().nth(chars_max).is_some() => Err(TextRefused::TooLong(chars_max)),
        text if text.chars().any(|c| c.is_control() && !allowed(c)) => Err(TextRefused::Control),
        _ => Ok(()),
    }
}

/// What the fold decided of one alert that a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The alert changed.
    Done,
    /// This very request had changed the alert before; nothing changed again.
    Repeated,
    /// The alert is open and was so already; nothing changed.
    Unchanged,
    /// No open alert has that id: it has ended, or there never was one. The store knows which.
    NotOpen,
}

/// What an alert is after a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertNow {
    /// Stored status.
    pub status: Status,
    /// Who acknowledged it, if somebody did.
    pub ack_operator: Option<Text>,
    /// Seconds; only ended alerts have one.
    pub end_time: Option<i64>,
    /// Version of the document.
    pub revision: u64,
}

/// A verdict, with the alert as it is then where the fold has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// None for alerts that are not open any more.
    pub alert: Option<AlertNow>,
}

/// The decisions of one command's record, in the order of its alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Its record.
    pub ordinal: u64,
    /// One for each alert that it names.
    pub decisions: Vec<Decision>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_known_by_their_numbers() {
        for action in Action::ALL {
            assert_eq!(Action::of_number(*action as u8), Some(*action));
        }
        assert_eq!((Action::of_number(0), Action::of_number(4)), (None, None));
    }

    #[test]
    fn only_the_one_spelling_is_an_id() {
        let alert = AlertRef { create_time: 1_700_000_000, seq: 16_384 };
        assert_eq!((alert.id().as_str(), AlertRef::parse("170000000016384")), ("170000000016384", Some(alert)));
        for text in ["", "x", "1700000000", "1700000000016384", "17000000001638x", " 170000000016384", "170000000099999999999999999999", "١٧٠٠٠٠٠٠٠٠١"]
        {
            assert_eq!(AlertRef::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_and_comments_are_bounded_and_command_no_terminal() {
        let long = |n: usize| "é".repeat(n);
        assert_eq!((check_operator(&long(64)), check_operator(&long(65))), (Ok(()), Err(TextRefused::TooLong(64))));
        assert_eq!((check_comment(&long(1_000)), check_comment(&long(1_001))), (Ok(()), Err(TextRefused::TooLong(1_000))));
        assert_eq!((check_operator(" "), check_comment("")), (Err(TextRefused::Empty), Ok(())));
        assert_eq!((check_comment("a\n\tb"), check_operator("a\nb")), (Ok(()), Err(TextRefused::Control)));
        for bad in ["\0", "\u{1b}[31m", "\r", "\u{7f}", "\u{85}"] {
            assert_eq!((check_comment(bad), check_operator(&format!("a{bad}"))), (Err(TextRefused::Control), Err(TextRefused::Control)), "{bad:?}");
        }
    }

    #[test]
    fn another_key_operator_or_action_is_another_request() {
        let command = |operator: &str, action, key: Option<&str>| Command {
            tenant: "system".into(),
            action,
            alerts: Vec::new(),
            operator: operator.into(),
            comment: "".into(),
            idempotency_key: key.map(Text::new),
        };
        let one = command("wang", Action::Close, Some("k")).request_id();
        assert_eq!(one, command("wang", Action::Close, Some("k")).request_id());
        for other in [command("li", Action::Close, Some("k")), command("wang", Action::Acknowledge, Some("k")), command("wang", Action::Close, Some("l"))] {
            assert_ne!(one, other.request_id());
        }
        assert_eq!(command("wang", Action::Close, None).request_id(), None);
    }
}

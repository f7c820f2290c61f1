//! One page through the bulk port, in smaller calls where the service finds it too large.

use crate::ports::PortError;
use crate::services::{BulkItem, Documents, ItemOutcome};

/// What is known of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The service said so.
    Known(ItemOutcome),
    /// The answer was lost.
    Unclear,
    /// It was not sent, or nothing was done.
    NotSent,
}

/// Answers to each item, and why the service was given up if it was.
pub(super) async fn bulk_in_pieces(documents: &mut impl Documents, items: &[BulkItem<'_>]) -> (Vec<Answer>, Option<PortError>) {
    let mut answers = Vec::with_capacity(items.len());
    let mut piece = items.len();
    while answers.len() < items.len() {
        let rest = &items[answers.len()..];
        let now = &rest[..piece.min(rest.len())];
        let error = match documents.bulk(now).await {
            Ok(outcomes) if outcomes.len() == now.len() => {
                answers.extend(outcomes.into_iter().map(Answer::Known));
                continue;
            }
            Ok(outcomes) => PortError::Unclear(format!("{} answers to {} items", outcomes.len(), now.len())),
            Err(PortError::TooLarge(why)) if now.len() == 1 => {
                answers.push(Answer::Known(ItemOutcome::Refused(why)));
                continue;
            }
            Err(PortError::TooLarge(_)) => {
                piece = now.len() / 2;
                continue;
            }
            Err(error) => error,
        };
        if !error.changed_nothing() {
            answers.extend(now.iter().map(|_| Answer::Unclear));
        }
        answers.resize(items.len(), Answer::NotSent);
        return (answers, Some(error));
    }
    (answers, None)
}

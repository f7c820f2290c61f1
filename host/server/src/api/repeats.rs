//! Answers that a repeated request gets again instead of being done again. In memory, the newest ones: what is repeated is
//! repeated within seconds.

use crate::http::{Problem, ProblemCode};
use alertmill_stores::modules::digest;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Answers that are kept.
const KEPT_MAX: usize = 32;

/// The answers by their keys.
pub(super) struct Repeats<T>(Mutex<VecDeque<(RepeatKey, Arc<OnceCell<T>>)>>);

/// A key that a sender chose, for one body: with another body it is another request.
#[derive(PartialEq, Eq)]
pub(super) struct RepeatKey(String);

impl RepeatKey {
    pub fn new(key: &str, body: &[u8]) -> RepeatKey {
        RepeatKey(format!("{}{key}", digest(body)))
    }
}

impl<T> Default for Repeats<T> {
    fn default() -> Repeats<T> {
        Repeats(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Repeats<T> {
    /// The answer that was given under this key, or that of `work`, which is seen through although nobody may wait for it any more;
    /// `Err` is an answer that is not kept, so that a repeat goes on.
    pub async fn once(&self, key: RepeatKey, work: impl Future<Output = Result<T, Result<T, Problem>>> + Send + 'static) -> Result<T, Problem> {
        let cell = self.cell(key);
        let task = tokio::spawn(async move { cell.get_or_try_init(|| work).await.cloned() });
        let done = task.await.unwrap_or_else(|_| Err(Err(ProblemCode::Internal.problem("the request ended early; the log says why"))));
        done.or_else(|unkept| unkept)
    }

    fn cell(&self, of: RepeatKey) -> Arc<OnceCell<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = kept.iter().find(|(known, _)| *known == of) {
            return cell.clone();
        }
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        let cell = Arc::<OnceCell<T>>::default();
        kept.push_back((of, cell.clone()));
        cell
    }
}

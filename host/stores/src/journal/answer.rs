//! One answer from the writer thread to one waiting sender: a future made of std parts, so that this crate needs no
//! runtime. The sender's side may be dropped at any time; a writer that dies answers "fatal".

use alertmill_core::ports::{Appended, PortError};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

type Outcome = Result<Appended, PortError>;

#[derive(Default)]
struct Slot {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// The writer's side.
pub(super) struct Promise(Option<Arc<Mutex<Slot>>>);

/// The sender's side.
pub(super) struct Answer(Arc<Mutex<Slot>>);

pub(super) fn answer() -> (Promise, Answer) {
    let slot = Arc::new(Mutex::new(Slot::default()));
    (Promise(Some(slot.clone())), Answer(slot))
}

impl Promise {
    /// Answers; wakes the sender outside the lock.
    pub fn keep(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(slot) = self.0.take() else { return };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.outcome = Some(outcome);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.settle(Err(PortError::Fatal("the journal's writer has ended; restart the process".into())));
    }
}

impl Future for Answer {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

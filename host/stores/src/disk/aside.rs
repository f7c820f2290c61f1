//! A thread for file work that a writer does not wait for.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

type Work = Box<dyn FnOnce() + Send>;

/// The thread; when the value is dropped, what was begun is brought to its end.
pub(crate) struct Aside {
    works: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// What will come of it.
pub(crate) struct Pending<T>(Receiver<T>);

impl<T> Pending<T> {
    /// Waits for it; `None` when the work panicked.
    pub fn wait(self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl Aside {
    /// Starts a thread of that name.
    pub fn start(name: &str) -> io::Result<Aside> {
        let (works, waiting) = channel::<Work>();
        let run = move || waiting.into_iter().for_each(|work| work());
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Aside { works: Some(works), thread: Some(thread) })
    }

    /// Does it behind what was begun before.
    pub fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (answer, pending) = channel();
        if let Some(works) = &self.works {
            // A thread that has panicked takes nothing, and the answer says so.
            let _ = works.send(Box::new(move || {
                let _ = answer.send(work());
            }));
        }
        Pending(pending)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.works = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_in_order_and_to_its_end() {
        let (done, seen) = channel();
        let aside = Aside::start("aside").unwrap();
        let pending: Vec<Pending<u32>> = (0..5)
            .map(|n| {
                let done = done.clone();
                aside.begin(move || {
                    let _ = done.send(n);
                    n * n
                })
            })
            .collect();
        drop(aside);
        assert_eq!(seen.try_iter().collect::<Vec<u32>>(), [0, 1, 2, 3, 4]);
        assert_eq!(pending.into_iter().map(|pending| pending.wait().unwrap()).collect::<Vec<u32>>(), [0, 1, 4, 9, 16]);
    }

    #[test]
    fn work_that_panics_has_no_answer_and_nobody_waits_for_it() {
        let aside = Aside::start("aside").unwrap();
        let (panics, behind) = (aside.begin(|| -> u32 { panic!("this panic is the test's") }), aside.begin(|| 1));
        assert_eq!((panics.wait(), behind.wait()), (None, None));
        assert_eq!(aside.begin(|| 2).wait(), None);
    }
}

//! Somebody who looks at rows at which the pipeline halted, after a while, and says what is done with them.

use crate::weather::Part;
use crate::world::World;
use alertmill_core::ports::{Halts, Resume};
use alertmill_core::verdict::{Halted, Policy};

pub struct FakeHalts<'w>(pub &'w World);

impl Halts for FakeHalts<'_> {
    /// The process may go down meanwhile: then it halts again, and what is said then counts.
    async fn decide(&mut self, halted: &Halted) -> Resume {
        let world = self.0;
        let (ms, resume) = {
            let mut guard = world.state();
            let state = &mut *guard;
            state.halted += 1;
            let ms = 1 + state.rng.below(if halted.may_pass { 2_000 } else { 15_000 });
            // Nothing fires while it waits.
            state.troubled_until_ms = (state.now_ms() + ms as i64).max(state.troubled_until_ms);
            let asks_again = state.rng.chance(if halted.may_pass { 80 } else { 10 });
            let policy = state.rng.pick(&[Policy::PassThrough, Policy::DeadLetter, Policy::PreviousVersion]);
            let to_the_end = state.rng.chance(40);
            state.trace.word(halted.at.ordinal << 8 | u64::from(halted.at.index));
            (ms, if asks_again { Resume::Retry } else { Resume::As { policy, to_the_end } })
        };
        world.call(Part::Pipe, 20).await;
        world.wait(ms).await;
        resume
    }
}

//! Op `tick`: the time-outs that are due. The checks that follow them in upstream are ops of their own when they are
//! built; until then a vector that needs them differs.

use crate::conformance::vector::Step;
use crate::conformance::world::{Got, World};

/// Does the op.
pub fn tick(world: &mut World, step: &Step) -> Result<Got, String> {
    world.apply(step.at, None);
    Ok(world.finish(Got::new()))
}

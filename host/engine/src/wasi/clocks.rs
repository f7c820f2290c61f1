//! `wasi:clocks`: both stand at 0, and whoever waits has waited. What a rule may know of time is `received_at`, on its row.

use super::io::{self, Pollable};
use super::{Cx, instance};
use crate::host::Host;
use wasmtime::component::{ComponentType, Linker, Lower, Resource};

pub(super) const MONOTONIC: &[(&str, &str)] =
    &[("now", "() -> u64"), ("resolution", "() -> u64"), ("subscribe-instant", "(u64) -> pollable"), ("subscribe-duration", "(u64) -> pollable")];
pub(super) const WALL: &[(&str, &str)] =
    &[("now", "() -> record { seconds: u64, nanoseconds: u32 }"), ("resolution", "() -> record { seconds: u64, nanoseconds: u32 }")];

#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut monotonic = instance(linker, "wasi:clocks/monotonic-clock")?;
    monotonic.func_wrap("now", |_: Cx<'_>, (): ()| Ok((0_u64,)))?;
    monotonic.func_wrap("resolution", |_: Cx<'_>, (): ()| Ok((1_u64,)))?;
    for subscribe in ["subscribe-instant", "subscribe-duration"] {
        monotonic.func_wrap(subscribe, |cx: Cx<'_>, (_,): (u64,)| -> wasmtime::Result<(Resource<Pollable>,)> { io::pollable(cx) })?;
    }
    let mut wall = instance(linker, "wasi:clocks/wall-clock")?;
    wall.func_wrap("now", |_: Cx<'_>, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 0 },)))?;
    wall.func_wrap("resolution", |_: Cx<'_>, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 1 },)))
}

//! `wasi:io`: streams that take what is printed, one that is at its end, and pollables that are ready at once.

use super::{Cx, Misuse, Output, instance};
use crate::host::Host;
use crate::signature::RESOURCE;
use wasmtime::component::{ComponentType, Linker, Lower, Resource, ResourceType, WasmList};

pub(super) const ERROR: &[(&str, &str)] = &[("error", RESOURCE), ("[method]error.to-debug-string", "(borrow<error>) -> string")];

pub(super) const POLL: &[(&str, &str)] = &[
    ("pollable", RESOURCE),
    ("[method]pollable.ready", "(borrow<pollable>) -> bool"),
    ("[method]pollable.block", "(borrow<pollable>)"),
    ("poll", "(list<borrow<pollable>>) -> list<u32>"),
];

pub(super) const STREAMS: &[(&str, &str)] = &[
    ("input-stream", RESOURCE),
    ("output-stream", RESOURCE),
    ("[method]input-stream.read", "(borrow<input-stream>, u64) -> result<list<u8>, variant { last-operation-failed(error), closed }>"),
    ("[method]input-stream.blocking-read", "(borrow<input-stream>, u64) -> result<list<u8>, variant { last-operation-failed(error), closed }>"),
    ("[method]input-stream.skip", "(borrow<input-stream>, u64) -> result<u64, variant { last-operation-failed(error), closed }>"),
    ("[method]input-stream.blocking-skip", "(borrow<input-stream>, u64) -> result<u64, variant { last-operation-failed(error), closed }>"),
    ("[method]input-stream.subscribe", "(borrow<input-stream>) -> pollable"),
    ("[method]output-stream.check-write", "(borrow<output-stream>) -> result<u64, variant { last-operation-failed(error), closed }>"),
    ("[method]output-stream.write", "(borrow<output-stream>, list<u8>) -> result<_, variant { last-operation-failed(error), closed }>"),
    ("[method]output-stream.blocking-write-and-flush", "(borrow<output-stream>, list<u8>) -> result<_, variant { last-operation-failed(error), closed }>"),
    ("[method]output-stream.flush", "(borrow<output-stream>) -> result<_, variant { last-operation-failed(error), closed }>"),
    ("[method]output-stream.blocking-flush", "(borrow<output-stream>) -> result<_, variant { last-operation-failed(error), closed }>"),
    ("[method]output-stream.subscribe", "(borrow<output-stream>) -> pollable"),
    ("[method]output-stream.write-zeroes", "(borrow<output-stream>, u64) -> result<_, variant { last-operation-failed(error), closed }>"),
    ("[method]output-stream.blocking-write-zeroes-and-flush", "(borrow<output-stream>, u64) -> result<_, variant { last-operation-failed(error), closed }>"),
    ("[method]output-stream.splice", "(borrow<output-stream>, borrow<input-stream>, u64) -> result<u64, variant { last-operation-failed(error), closed }>"),
    (
        "[method]output-stream.blocking-splice",
        "(borrow<output-stream>, borrow<input-stream>, u64) -> result<u64, variant { last-operation-failed(error), closed }>",
    ),
];

/// What a stream takes at once, and says that it takes.
pub(super) const WRITE_BYTES_MAX: u64 = 64 << 10;

// Marks of the resource types. No instance gets an `Error`: nothing here fails in a way that has more to say.
pub(super) struct Error;
pub(super) struct Pollable;
pub(super) struct InputStream;
/// Its number is that of the [`Output`].
pub(super) struct OutputStream;

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[allow(dead_code, reason = "the type has it; nothing here fails so")]
    LastOperationFailed(Resource<Error>),
    #[component(name = "closed")]
    Closed,
}

type Answer<T> = (Result<T, StreamError>,);

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut error = instance(linker, "wasi:io/error")?;
    resource::<Error>(&mut error, "error")?;
    error.func_wrap("[method]error.to-debug-string", |_: Cx<'_>, (_,): (Resource<Error>,)| Ok((String::new(),)))?;

    let mut poll = instance(linker, "wasi:io/poll")?;
    resource::<Pollable>(&mut poll, "pollable")?;
    poll.func_wrap("[method]pollable.ready", |_: Cx<'_>, (_,): (Resource<Pollable>,)| Ok((true,)))?;
    poll.func_wrap("[method]pollable.block", |_: Cx<'_>, (_,): (Resource<Pollable>,)| Ok(()))?;
    poll.func_wrap("poll", |_: Cx<'_>, (all,): (Vec<Resource<Pollable>>,)| match all.len() {
        0 => Err(Misuse::Poll.into()),
        ready => Ok(((0..ready as u32).collect::<Vec<u32>>(),)),
    })?;

    let mut streams = instance(linker, "wasi:io/streams")?;
    resource::<InputStream>(&mut streams, "input-stream")?;
    resource::<OutputStream>(&mut streams, "output-stream")?;
    for read in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.func_wrap(read, |_: Cx<'_>, (_, _): (Resource<InputStream>, u64)| -> wasmtime::Result<Answer<Vec<u8>>> { Ok((Err(StreamError::Closed),)) })?;
    }
    for skip in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        streams.func_wrap(skip, |_: Cx<'_>, (_, _): (Resource<InputStream>, u64)| -> wasmtime::Result<Answer<u64>> { Ok((Err(StreamError::Closed),)) })?;
    }
    streams.func_wrap("[method]input-stream.subscribe", |cx: Cx<'_>, (_,): (Resource<InputStream>,)| pollable(cx))?;
    streams.func_wrap("[method]output-stream.check-write", |_: Cx<'_>, (_,): (Resource<OutputStream>,)| -> wasmtime::Result<Answer<u64>> {
        Ok((Ok(WRITE_BYTES_MAX),))
    })?;
    for write in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams.func_wrap(write, |mut cx: Cx<'_>, (to, text): (Resource<OutputStream>, WasmList<u8>)| -> wasmtime::Result<Answer<()>> {
            at_most(text.len() as u64)?;
            let text = text.as_le_slice(&cx).to_vec();
            cx.data_mut().print(Output::of(to.rep()), &text);
            Ok((Ok(()),))
        })?;
    }
    for flush in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams.func_wrap(flush, |_: Cx<'_>, (_,): (Resource<OutputStream>,)| -> wasmtime::Result<Answer<()>> { Ok((Ok(()),)) })?;
    }
    streams.func_wrap("[method]output-stream.subscribe", |cx: Cx<'_>, (_,): (Resource<OutputStream>,)| pollable(cx))?;
    for zeroes in ["[method]output-stream.write-zeroes", "[method]output-stream.blocking-write-zeroes-and-flush"] {
        streams.func_wrap(zeroes, |mut cx: Cx<'_>, (to, length): (Resource<OutputStream>, u64)| -> wasmtime::Result<Answer<()>> {
            at_most(length)?;
            cx.data_mut().print(Output::of(to.rep()), &vec![0; length as usize]);
            Ok((Ok(()),))
        })?;
    }
    for splice in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        type Splice = (Resource<OutputStream>, Resource<InputStream>, u64);
        streams.func_wrap(splice, |_: Cx<'_>, (_, _, _): Splice| -> wasmtime::Result<Answer<u64>> { Ok((Err(StreamError::Closed),)) })?;
    }
    Ok(())
}

fn at_most(length: u64) -> Result<(), Misuse> {
    if length <= WRITE_BYTES_MAX { Ok(()) } else { Err(Misuse::Write(length)) }
}

/// A handle of any of these resources is a place in the instance's own list, and nothing else.
pub(super) fn resource<T: 'static>(instance: &mut wasmtime::component::LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<T>(), |mut cx, _| {
        cx.data_mut().stand_ins.closed();
        Ok(())
    })
}

pub(super) fn handle<T: 'static>(cx: &mut Cx<'_>, number: u32) -> Result<Resource<T>, Misuse> {
    cx.data_mut().stand_ins.opened()?;
    Ok(Resource::new_own(number))
}

/// Ready at once.
pub(super) fn pollable(mut cx: Cx<'_>) -> wasmtime::Result<(Resource<Pollable>,)> {
    Ok((handle(&mut cx, 0)?,))
}

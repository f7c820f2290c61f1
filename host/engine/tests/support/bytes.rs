//! Modules as bytes: sections to make one of, and a function of a good one put in another's place.

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// How a component begins.
pub const HEAD: [u8; 8] = *b"\0asm\x0d\0\x01\0";
/// How a core module begins.
pub const CORE: [u8; 8] = *b"\0asm\x01\0\0\0";
const CORE_MODULE: u8 = 1;
const CODE: u8 = 10;

/// A number as modules have it.
pub fn leb(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn read_leb(bytes: &mut &[u8]) -> u64 {
    let mut n = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    n
}

/// A section: id, length, content.
pub fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len() as u64), content.to_vec()].concat()
}

fn sections(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut left = &bytes[HEAD.len()..];
    let mut all = Vec::new();
    while let Some((id, rest)) = left.split_first() {
        left = rest;
        let length = read_leb(&mut left) as usize;
        all.push((*id, &left[..length]));
        left = &left[length..];
    }
    all
}

fn joined(head: &[u8], sections: impl IntoIterator<Item = (u8, Vec<u8>)>) -> Vec<u8> {
    sections.into_iter().fold(head[..HEAD.len()].to_vec(), |bytes, (id, content)| [bytes, section(id, &content)].concat())
}

/// The component with a start function in its core module: locals, code and `end`.
pub fn with_start(component: &[u8], export: &str, body: &[u8]) -> Vec<u8> {
    const EXPORTS: u8 = 7;
    let mut found = false;
    let changed = sections(component).into_iter().map(|(id, content)| {
        let is_it = id == CORE_MODULE && function_of(content, export).is_some();
        found |= is_it;
        (id, if is_it { start_in(content, body, EXPORTS) } else { content.to_vec() })
    });
    let bytes = joined(component, changed.collect::<Vec<_>>());
    assert!(found, "no core module exports `{export}`");
    bytes
}

/// One more type, function and body; the start section comes behind the exports.
fn start_in(module: &[u8], body: &[u8], behind: u8) -> Vec<u8> {
    const START: u8 = 8;
    let count_of = |wanted: u8| sections(module).into_iter().find(|(id, _)| *id == wanted).map(|(_, content)| read_leb(&mut &*content)).expect("a section");
    let (types, functions) = (count_of(1), count_of(3));
    let more = |content: &[u8], one: &[u8]| {
        let mut left = content;
        let count = read_leb(&mut left);
        [leb(count + 1), left.to_vec(), one.to_vec()].concat()
    };
    let mut all = Vec::new();
    for (id, content) in sections(module) {
        all.push(match id {
            1 => (id, more(content, &[0x60, 0, 0])),
            3 => (id, more(content, &leb(types))),
            CODE => (id, more(content, &[leb(body.len() as u64), body.to_vec()].concat())),
            _ => (id, content.to_vec()),
        });
        if id == behind {
            all.push((START, leb(imported_functions(module) + functions)));
        }
    }
    joined(module, all)
}

fn imported_functions(module: &[u8]) -> u64 {
    let payloads = Parser::new(0).parse_all(module).map(|payload| payload.expect("a good module"));
    let of = |payload| match payload {
        Payload::ImportSection(section) => section.into_imports().filter(|import| matches!(import.as_ref().expect("an import").ty, TypeRef::Func(_))).count(),
        _ => 0,
    };
    payloads.map(of).sum::<usize>() as u64
}

/// The component with one more inside, which is instantiated with it and needs nothing.
pub fn with_component(component: &[u8], inner: &[u8]) -> Vec<u8> {
    const COMPONENT: u8 = 4;
    const INSTANCES: u8 = 5;
    let before = sections(component).iter().filter(|(id, _)| *id == COMPONENT).count() as u64;
    [component.to_vec(), section(COMPONENT, inner), section(INSTANCES, &[vec![1, 0], leb(before), vec![0]].concat())].concat()
}

/// A text as names are written.
pub fn name(text: &str) -> Vec<u8> {
    [leb(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// A function's name, and the bytes of its type.
pub type Function<'a> = (&'a str, &'a [u8]);

/// A component that imports interfaces with functions, and does nothing with them: interface, and its functions with the bytes
/// of their types.
pub fn importing(interfaces: &[(&str, &[Function<'_>])]) -> Vec<u8> {
    let mut types = leb(interfaces.len() as u64);
    let mut imports = leb(interfaces.len() as u64);
    for (index, (interface, functions)) in interfaces.iter().enumerate() {
        // An instance: for each function its type, then its export.
        types.extend([vec![0x42], leb(functions.len() as u64 * 2)].concat());
        for (at, (function, ty)) in functions.iter().enumerate() {
            types.extend([vec![0x01], ty.to_vec(), vec![0x04, 0x00], name(function), vec![0x01], leb(at as u64)].concat());
        }
        imports.extend([vec![0x00], name(interface), vec![0x05], leb(index as u64)].concat());
    }
    [HEAD.to_vec(), section(7, &types), section(10, &imports)].concat()
}

/// The component with another name wherever it has this one, of the same length.
pub fn renamed(component: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = component.to_vec();
    let places: Vec<usize> = bytes.windows(old.len()).enumerate().filter(|(_, part)| *part == old.as_bytes()).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "`{old}` is not there");
    places.into_iter().for_each(|at| bytes[at..at + new.len()].copy_from_slice(new.as_bytes()));
    bytes
}

/// The component with another body for the function that its core module exports under this name: locals, code and `end`.
pub fn maimed(component: &[u8], export: &str, body: &[u8]) -> Vec<u8> {
    let mut found = false;
    let changed = sections(component).into_iter().map(|(id, content)| match function_of(content, export) {
        Some(at) if id == CORE_MODULE => {
            found = true;
            (id, with_body(content, at, body))
        }
        _ => (id, content.to_vec()),
    });
    let bytes = joined(component, changed.collect::<Vec<_>>());
    assert!(found, "no core module exports `{export}`");
    bytes
}

/// Which of the module's own functions has this name outside.
fn function_of(module: &[u8], export: &str) -> Option<usize> {
    if !module.starts_with(&CORE) {
        return None;
    }
    let mut found = None;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(section) = payload.expect("a good module") {
            let exports = section.into_iter().map(|export| export.expect("a good export"));
            found = exports.filter(|known| known.kind == ExternalKind::Func && known.name == export).map(|known| known.index as usize).last();
        }
    }
    found.map(|index| index - imported_functions(module) as usize)
}

fn with_body(module: &[u8], at: usize, body: &[u8]) -> Vec<u8> {
    let replaced = sections(module).into_iter().map(|(id, content)| {
        if id != CODE {
            return (id, content.to_vec());
        }
        let mut left = content;
        let count = read_leb(&mut left);
        let mut code = leb(count);
        for function in 0..count as usize {
            let length = read_leb(&mut left) as usize;
            let own = &left[..length];
            left = &left[length..];
            let body = if function == at { body } else { own };
            code.extend(leb(body.len() as u64));
            code.extend_from_slice(body);
        }
        (id, code)
    });
    joined(module, replaced.collect::<Vec<_>>())
}

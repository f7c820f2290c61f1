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
    let mut imported = 0;
    let mut found = None;
    for payload in Parser::new(0).parse_all(module) {
        match payload.expect("a good module") {
            Payload::ImportSection(section) => {
                let imports = section.into_imports().map(|import| import.expect("a good import"));
                imported += imports.filter(|import| matches!(import.ty, TypeRef::Func(_))).count();
            }
            Payload::ExportSection(section) => {
                let exports = section.into_iter().map(|export| export.expect("a good export"));
                found = exports.filter(|known| known.kind == ExternalKind::Func && known.name == export).map(|known| known.index as usize).last();
            }
            _ => {}
        }
    }
    found.map(|index| index - imported)
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

//! Wraps a compiled rule (a core module that carries its component types) into a component.
//!
//! - `componentize wrap IN OUT [WORLD WIT_FILE...]`: the world, which is in the last of the files, is joined to what the module says of
//!   itself; only test modules need it, which import what no rule may or are built without the SDK.
//! - `componentize tidy IN OUT`: only what `wrap` does first: function names as people write them, for a module that stays unwrapped.
//! - `componentize facts FILE...`: what a file is, imports and exports, a line each: what `cargo xtask rules --check` compares.
//! - `componentize sums FILE...`: SHA-256 in the form of `sha256sum`, with the file's folder if that is `test`.
//!
//! Imports that the code does not use are not in the component, so what is left is what the rule needs to be granted.

mod names;

use std::error::Error;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["wrap", module, out] => wrap(module, out, None),
        ["wrap", module, out, world, files @ ..] => wrap(module, out, Some((world, files))),
        ["tidy", module, out] => write(out, &names::tidy(&read(module)?)?),
        ["facts", files @ ..] => files.iter().try_for_each(|file| facts(file)),
        ["sums", files @ ..] => files.iter().try_for_each(|file| sum(file)),
        _ => Err("usage: componentize wrap IN OUT [WORLD WIT_FILE...] | tidy IN OUT | facts FILE... | sums FILE...".into()),
    }
}

fn wrap(module: &str, out: &str, also: Option<(&str, &[&str])>) -> Result<(), Box<dyn Error>> {
    let mut bytes = names::tidy(&read(module)?)?;
    if let Some((world, files)) = also {
        let mut resolve = Resolve::default();
        let mut packages = Vec::new();
        for file in files {
            packages.push(resolve.push_file(file)?);
        }
        let world = resolve.select_world(packages.last().map_or(&[], std::slice::from_ref), Some(world))?;
        embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
    }
    let component = ComponentEncoder::default().module(&bytes)?.validate(true).encode()?;
    write(out, &component)
}

fn read(file: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    fs::read(file).map_err(|error| format!("{file}: {error}").into())
}

fn write(file: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    fs::write(file, bytes).map_err(|error| format!("{file}: {error}").into())
}

fn facts(file: &str) -> Result<(), Box<dyn Error>> {
    let bytes = read(file)?;
    let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                if depth == 1 {
                    println!("{name} is {}", if encoding == Encoding::Component { "a component" } else { "a core module" });
                }
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    println!("{name} imports {}", import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    println!("{name} exports {}", export?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn sum(file: &str) -> Result<(), Box<dyn Error>> {
    let bytes = read(file)?;
    let path = Path::new(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let in_test = path.parent().is_some_and(|folder| folder.ends_with("test"));
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{digest}  {}{name}", if in_test { "test/" } else { "" });
    Ok(())
}

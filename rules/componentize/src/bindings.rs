//! Writes `guest/rust/src/generated/` from the contract, so that rule authors compile no code generator.
//!
//! `bindings WIT_DIR OUT_DIR` writes `rule.rs` (types, traits and export macros of all hooks) and one `.bin` per exported
//! interface: the component type that tells the wrapper that a module has this export. A rule links just those of its
//! own hooks, and the wrapper joins them.

use std::error::Error;
use std::fs;
use std::path::Path;

use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, Ownership};
use wit_component::StringEncoding;
use wit_parser::{Resolve, World, WorldId, WorldItem, WorldKey};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wit, out] = arguments.as_slice() else {
        return Err("usage: bindings WIT_DIR OUT_DIR".into());
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some("rule"))?;
    fs::create_dir_all(out)?;
    write_sections(&resolve, world, Path::new(out))?;
    write_bindings(&mut resolve, world, Path::new(out))
}

fn write_bindings(resolve: &mut Resolve, world: WorldId, out: &Path) -> Result<(), Box<dyn Error>> {
    let options = Opts {
        // Keys of a table look-up then go out as `&[&str]`, straight from the column's heap.
        ownership: Ownership::Borrowing { duplicate_if_necessary: true },
        generate_all: true,
        pub_export_macro: true,
        format: false,
        runtime_path: Some("alertmill_rule::wit_bindgen::rt".to_string()),
        default_bindings_module: Some("alertmill_rule::bindings".to_string()),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(resolve, world, &mut files)?;
    for (name, contents) in files.iter() {
        fs::write(out.join(name), contents)?;
    }
    Ok(())
}

fn write_sections(resolve: &Resolve, world: WorldId, out: &Path) -> Result<(), Box<dyn Error>> {
    for (key, item) in &resolve.worlds[world].exports {
        let (WorldKey::Interface(id), WorldItem::Interface { .. }) = (key, item) else {
            return Err("the contract exports interfaces only".into());
        };
        let name = resolve.interfaces[*id].name.clone().ok_or("an exported interface without a name")?;
        let mut single = resolve.clone();
        let only = World { name: format!("only-{name}"), exports: [(key.clone(), item.clone())].into_iter().collect(), ..single.worlds[world].clone() };
        let only = single.worlds.alloc(only);
        let section = wit_component::metadata::encode(&single, only, StringEncoding::UTF8, None)?;
        fs::write(out.join(format!("{}.bin", name.replace('-', "_"))), section)?;
    }
    Ok(())
}

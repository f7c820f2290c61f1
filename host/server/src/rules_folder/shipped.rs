//! The shipped rules, embedded, so that the binary alone runs the demo and the bench.

use std::path::Path;

/// File name without its end, module, options; in the order in which they run.
const RULES: [(&str, &[u8], &str); 3] = [
    ("10-owner-from-table", include_bytes!("../../../../rules/dist/owner-from-table.wasm"), "grants = [\"tables\"]\n"),
    ("20-severity-by-labels", include_bytes!("../../../../rules/dist/severity-by-labels.wasm"), ""),
    ("30-dedupe-by-tags", include_bytes!("../../../../rules/dist/dedupe-by-tags.wasm"), ""),
];

/// File names of the rules without their ends, in order.
pub fn names() -> Vec<&'static str> {
    RULES.iter().map(|(name, ..)| *name).collect()
}

/// Puts all of them, with their options, into a rules folder.
pub fn write_to(dir: &Path) -> std::io::Result<()> {
    for (name, module, options) in RULES {
        std::fs::write(dir.join(format!("{name}.wasm")), module)?;
        std::fs::write(dir.join(format!("{name}.toml")), options)?;
    }
    Ok(())
}

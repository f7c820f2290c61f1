//! Exports a hook but not `lifecycle`, so that nobody can ask what it reads.

// Elsewhere than in a module nothing calls what it exports.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use alertmill_rule::glue::{Batch, Output, Patches, enrich_rule};

struct Module;

impl enrich_rule::Guest for Module {
    fn enrich(_events: Batch) -> Output {
        let patches = Patches { rows: vec![], columns: vec![], more_tags: vec![], removed_tags: vec![], drops: vec![] };
        Output { patches, errors: vec![] }
    }
}

alertmill_rule::export!(@section ENRICH_RULE enrich_rule __export_alertmill_rules_enrich_rule_0_1_0_cabi);

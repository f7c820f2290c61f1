//! Makes a module's exports out of its rules.

use std::cell::OnceCell;

/// Holds the rule between `init` and the calls that follow.
pub struct Slot<T>(OnceCell<T>);

impl<T> Slot<T> {
    /// Empty until `init`.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Slot(OnceCell::new())
    }

    /// Puts the rule in.
    pub fn fill(&self, rule: T) -> Result<(), String> {
        self.0.set(rule).map_err(|_| "init was called twice".to_string())
    }

    /// The rule.
    pub fn get(&self) -> &T {
        self.0.get().expect("init comes before any other call")
    }
}

/// The component types of the single exports; the wrapper joins those that a module carries.
pub mod sections {
    macro_rules! section {
        ($(#[$meta:meta])* $name:ident $file:literal) => {
            $(#[$meta])*
            pub const $name: &[u8; include_bytes!($file).len()] = include_bytes!($file);
        };
    }
    section!(/// `lifecycle`
        LIFECYCLE "generated/lifecycle.bin");
    section!(/// `normalize-rule`
        NORMALIZE_RULE "generated/normalize_rule.bin");
    section!(/// `enrich-rule`
        ENRICH_RULE "generated/enrich_rule.bin");
    section!(/// `dedupe-rule`
        DEDUPE_RULE "generated/dedupe_rule.bin");
    section!(/// `alert-rule`
        ALERT_RULE "generated/alert_rule.bin");
}

/// Exports rules as the hooks of this module: `export!(enrich: Severity);`, `export!(lookup: Owner, dedupe: Key);`.
///
/// Hooks: `normalize`, `enrich` and `lookup` (events), `dedupe`, `alert` and `alert_lookup` (new alerts). Name and version are
/// those of the crate; `export!(name: "severity", version: "1.2.0", enrich: Severity);` says others. The description is always the
/// crate's. With several hooks each rule is made from the same config, and one type may be several of them.
#[macro_export]
macro_rules! export {
    (name: $name:expr, version: $version:expr, $($hook:ident : $rule:ty),+ $(,)?) => {
        const _: () = {
            #[allow(dead_code)]
            struct Module;

            impl $crate::glue::lifecycle::Guest for Module {
                fn describe() -> $crate::glue::lifecycle::Manifest {
                    $crate::glue::manifest($name, $version, env!("CARGO_PKG_DESCRIPTION"), vec![$($crate::export!(@describe $hook $rule)),+])
                }
                fn init(config: String) -> Result<(), String> {
                    $($crate::export!(@init $hook config);)+
                    Ok(())
                }
            }
            // In a unit test nobody calls the exports; without this the rule would be said to be unused.
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(String) -> Result<(), String> = <Module as $crate::glue::lifecycle::Guest>::init;
            $crate::export!(@section LIFECYCLE lifecycle __export_alertmill_rules_lifecycle_0_1_0_cabi);
            $($crate::export!(@hook $hook $rule);)+
        };
    };

    (@describe normalize $rule:ty) => { $crate::glue::NormalizeHook::<$rule>::describe($crate::glue::lifecycle::Hook::Normalize) };
    (@describe enrich $rule:ty) => { $crate::glue::EnrichHook::<$rule>::describe($crate::glue::lifecycle::Hook::EnrichEvent) };
    (@describe lookup $rule:ty) => { $crate::glue::LookupHook::<$rule>::describe($crate::glue::lifecycle::Hook::EnrichEvent) };
    (@describe dedupe $rule:ty) => { $crate::glue::DedupeHook::<$rule>::describe($crate::glue::lifecycle::Hook::Dedupe) };
    (@describe alert $rule:ty) => { $crate::glue::EnrichHook::<$rule>::describe($crate::glue::lifecycle::Hook::EnrichAlert) };
    (@describe alert_lookup $rule:ty) => { $crate::glue::LookupHook::<$rule>::describe($crate::glue::lifecycle::Hook::EnrichAlert) };

    (@init normalize $config:ident) => { $crate::export!(@fill NORMALIZE $config) };
    (@init enrich $config:ident) => { $crate::export!(@fill ENRICH $config) };
    (@init lookup $config:ident) => { $crate::export!(@fill ENRICH $config) };
    (@init dedupe $config:ident) => { $crate::export!(@fill DEDUPE $config) };
    (@init alert $config:ident) => { $crate::export!(@fill ALERT $config) };
    (@init alert_lookup $config:ident) => { $crate::export!(@fill ALERT $config) };
    (@fill $slot:ident $config:ident) => { $slot.with(|slot| slot.fill($slot::new(&$config)?))? };

    (@hook normalize $rule:ty) => {
        $crate::export!(@slot NORMALIZE $crate::glue::NormalizeHook<$rule>);
        impl $crate::glue::normalize_rule::Guest for Module {
            fn normalize(payloads: Vec<$crate::Payload>) -> $crate::glue::normalize_rule::Normalized {
                NORMALIZE.with(|slot| slot.get().run(payloads))
            }
        }
        $crate::export!(@section NORMALIZE_RULE normalize_rule __export_alertmill_rules_normalize_rule_0_1_0_cabi);
    };
    (@hook enrich $rule:ty) => { $crate::export!(@enrich $crate::glue::EnrichHook<$rule>); };
    (@hook lookup $rule:ty) => { $crate::export!(@enrich $crate::glue::LookupHook<$rule>); };
    (@hook dedupe $rule:ty) => {
        $crate::export!(@slot DEDUPE $crate::glue::DedupeHook<$rule>);
        impl $crate::glue::dedupe_rule::Guest for Module {
            fn dedupe(events: $crate::glue::Batch) -> Vec<$crate::glue::dedupe_rule::DedupeKey> {
                DEDUPE.with(|slot| slot.get().run(events))
            }
        }
        $crate::export!(@section DEDUPE_RULE dedupe_rule __export_alertmill_rules_dedupe_rule_0_1_0_cabi);
    };
    (@hook alert $rule:ty) => { $crate::export!(@alert $crate::glue::EnrichHook<$rule>); };
    (@hook alert_lookup $rule:ty) => { $crate::export!(@alert $crate::glue::LookupHook<$rule>); };

    (@enrich $hook:ty) => {
        $crate::export!(@slot ENRICH $hook);
        impl $crate::glue::enrich_rule::Guest for Module {
            fn enrich(events: $crate::glue::Batch) -> $crate::glue::Output {
                ENRICH.with(|slot| slot.get().run(events))
            }
        }
        $crate::export!(@section ENRICH_RULE enrich_rule __export_alertmill_rules_enrich_rule_0_1_0_cabi);
    };
    (@alert $hook:ty) => {
        $crate::export!(@slot ALERT $hook);
        impl $crate::glue::alert_rule::Guest for Module {
            fn enrich_alerts(alerts: $crate::glue::Batch) -> $crate::glue::Output {
                ALERT.with(|slot| slot.get().run(alerts))
            }
        }
        $crate::export!(@section ALERT_RULE alert_rule __export_alertmill_rules_alert_rule_0_1_0_cabi);
    };

    // The same name as type (to make the rule) and as static (to keep it).
    (@slot $slot:ident $hook:ty) => {
        type $slot = $hook;
        ::std::thread_local! {
            static $slot: $crate::glue::Slot<$hook> = const { $crate::glue::Slot::new() };
        }
    };

    // Only in a module: other platforms' linkers do not take these names.
    (@section $section:ident $interface:ident $cabi:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::glue::$interface::$cabi!(Module with_types_in $crate::glue::$interface);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[unsafe(link_section = concat!("component-type:alertmill:", stringify!($interface)))]
            pub static SECTION: [u8; $crate::glue::sections::$section.len()] = *$crate::glue::sections::$section;
        };
    };

    ($($hook:ident : $rule:ty),+ $(,)?) => {
        $crate::export!(name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION"), $($hook: $rule),+);
    };
}

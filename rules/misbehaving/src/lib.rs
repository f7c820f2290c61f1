//! Modules that do what no rule should, one a file beside this one. `cargo xtask rules` makes them into `dist/test/`.
//!
//! Two more are made of `says` there: `core-module` (not wrapped) and `wrong-version` (says that it is for 0.2.0). `by-hand` is made into
//! `no-imports` too. `all-hooks` and `by-hand` behave well.

# Short names for what `cargo xtask` does; `cargo xtask help` lists everything.

# The main job on a scratch folder.
demo *ARGS:
    cargo xtask demo {{ARGS}}

# All tests.
test *ARGS:
    cargo xtask test {{ARGS}}

# The core alone: seconds, no WASM engine, no runtime.
test-core:
    cargo test -p alertmill-core

# One crate.
test-crate NAME:
    cargo test --release -p {{NAME}}

# The simulator.
sim SEEDS="1000":
    cargo xtask sim --seeds {{SEEDS}}

# The shipped rules.
rules:
    cargo xtask rules

# Form and lints.
lint:
    cargo xtask lint

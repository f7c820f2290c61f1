//! The binary `alertmill`.

use alertmill::compile::{Program, child};

fn main() -> std::process::ExitCode {
    if let Some(ended) = child::run_if_asked() {
        return ended;
    }
    Program::hold_this_one();
    alertmill::cli::main()
}

//! The binary `alertmill`.

fn main() -> std::process::ExitCode {
    alertmill::cli::main()
}

//! The `bellhop` binary: see [`bellhop::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match bellhop::cli::main() {
        Ok(code) => code,
        Err(error) => {
            // The whole chain in one line, and never a backtrace: this is for whoever runs it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The `bellhop` binary: see [`bellhop::cli`].

use std::process::ExitCode;

/// The image's binary is linked with musl, whose allocator holds three times what 10,000 Services need (`.ci/footprint` measures it).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

//! `bellhop-sim`: see [`bellhop_sim::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bellhop_sim::cli::main()
}

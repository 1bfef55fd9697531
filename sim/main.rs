//! `bellhop-sim`: see [`bellhop_sim::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A sweep spends much of its time on small objects of JSON and frames; what allocates them decides no draw and no order.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    bellhop_sim::cli::main()
}

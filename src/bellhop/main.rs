//! The `bellhop` binary: see [`bellhop::cli`].

fn main() -> anyhow::Result<()> {
    bellhop::cli::main()
}

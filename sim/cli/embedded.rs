//! The tutorial, built in, so that the program plays it from anywhere.
//!
//! The grammar reads files; the built-in ones are laid down in a folder of their own for the length of the run.

use anyhow::Context;
use tempfile::TempDir;

/// What is played without arguments.
pub(super) const TUTORIAL: &str = "scenarios/tutorial/tutorial-and-power-failure.yaml";

/// The files that it needs, by their place in the source.
const FILES: [(&str, &str); 5] = [
    (TUTORIAL, include_str!("../../scenarios/tutorial/tutorial-and-power-failure.yaml")),
    ("scenarios/base/tutorial.yaml", include_str!("../../scenarios/base/tutorial.yaml")),
    ("scenarios/seed/porter-layer2-eip.yaml", include_str!("../../scenarios/seed/porter-layer2-eip.yaml")),
    ("scenarios/seed/porter-layer2.yaml", include_str!("../../scenarios/seed/porter-layer2.yaml")),
    ("scenarios/seed/porter-layer2-svc.yaml", include_str!("../../scenarios/seed/porter-layer2-svc.yaml")),
];

/// Lays the files down. They go with the folder.
pub(super) fn unpack() -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("bellhop-sim-").tempdir().context("failed to make a temporary folder")?;
    for (name, text) in FILES {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(folder)
}

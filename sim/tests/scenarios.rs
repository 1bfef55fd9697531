//! One test for each file under `scenarios/`, by theme and name: it is played at its own seed, all its expectations hold, and its transcript is the reviewed one.

use std::path::Path;

use bellhop_scenario::{load, play};
use bellhop_sim::SimWorld;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = bellhop_scenario::files(&folder)?;
    assert!(!files.is_empty(), "no scenario in {}", folder.display());
    let trials = files.into_iter().map(|file| {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default();
        let (name, theme) = (text(file.file_stem()), text(file.parent().and_then(Path::file_name)));
        Trial::test(format!("scenario::{theme}::{name}"), move || scenario(&name, &file))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// Plays a file.
fn scenario(name: &str, file: &Path) -> Result<(), Failed> {
    let scenario = load(file)?;
    let mut world = SimWorld::new(None);
    let outcome = play(&scenario, &mut world)?;
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(file.parent().unwrap_or_else(|| Path::new(".")).join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // A snapshot that differs panics with its difference; the harness tells it as this test's failure.
    settings.bind(|| insta::assert_snapshot!(name, outcome.to_string()));
    if outcome.failed() > 0 {
        return Err(outcome.to_string().into());
    }
    Ok(())
}

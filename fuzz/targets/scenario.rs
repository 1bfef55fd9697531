//! Any bytes as a scenario file: a scenario or a refusal, and neither is large. Its seeds are the files under `scenarios/`.
#![no_main]

use std::path::Path;

use bellhop_scenario::{Refusal, Scenario, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A path in the folder of the real ones, so that `extends` and manifests can be found.
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/tutorial/fuzz.yaml"));
    hold(parse(path, &String::from_utf8_lossy(bytes)));
});

/// As in `sim/scenario/grammar/hostile.rs`.
fn hold(answer: Result<Scenario, Refusal>) {
    match answer {
        Ok(scenario) => {
            assert!(scenario.topology.machines().count() <= 64 && scenario.topology.switches.len() <= 32);
            assert!(scenario.timeline.iter().all(|step| step.at <= scenario.stop));
        }
        Err(refusal) => {
            let text = refusal.to_string();
            assert!(text.starts_with("error: ") && text.len() < 10_000, "{} letters", text.len());
        }
    }
}

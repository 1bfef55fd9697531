//! The end of a run: what a client still waits for counts as unanswered, except for what it asked in the last second.

use std::path::Path;

use bellhop_scenario::{Outcome, parse_in, play};
use bellhop_sim::SimWorld;

/// The tutorial's Service; the node that carries it loses its power at `off`; then one expectation until the end at 20 s.
fn played(off: &str, expect: &str) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover");
    let text = format!(
        "version: 1\nname: the-end\nabout: A test.\nextends: ../base/tutorial.yaml\nseed: 42\nstop: 20s\n\
         cluster: {{ manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml] }}\n\
         timeline:\n  - {{ at: 0s, apply: all }}\n  - {{ at: {off}, power-off: {{ node-of: porter-layer2-svc }} }}\n\
         expect:\n  - {{ what: it is answered, always: {{ from: 8s }}, {expect} }}\n"
    );
    let scenario = parse_in(&folder, &text).unwrap_or_else(|refusal| panic!("{refusal}"));
    play(&scenario, &mut SimWorld::new(None)).expect("the simulator plays it")
}

const PING: &str = "ping: { from: i-f3fozos0, to: 192.168.0.91, lost: 0 }";
const CURL: &str = "curl: { from: i-f3fozos0, url: \"http://192.168.0.91\", status: 200 }";

#[test]
fn a_ping_that_is_unanswered_when_the_run_ends_is_lost() {
    let outcome = played("15s", PING);
    assert_eq!(outcome.exit_code(), 1, "{outcome}");
}

#[test]
fn a_curl_that_is_unanswered_when_the_run_ends_has_failed() {
    let outcome = played("18s", CURL);
    assert_eq!(outcome.exit_code(), 1, "{outcome}");
}

#[test]
fn what_was_asked_in_the_last_second_says_nothing() {
    for expect in [PING, CURL] {
        let outcome = played("19500ms", expect);
        assert_eq!(outcome.exit_code(), 0, "{outcome}");
    }
}

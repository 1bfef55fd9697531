//! `bellhop-sim new`: a scenario to begin with, commented, that plays as it stands.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bellhop_scenario::load;

/// What is written; NAME is replaced. It must load and play: a test holds it to that.
const SKELETON: &str = r#"# Say here what somebody met, when, and what the numbers below come from.
# yaml-language-server: $schema=../schemas/scenario.v1.json
version: 1
name: NAME
about: One sentence that says what happens.
why: one sentence that says who would miss it
# The tutorial's four machines: master1, worker-p001, worker-p002 and the client i-f3fozos0, on one switch, sw0.
extends: ../base/tutorial.yaml
# All chance comes from this number; `run --seed 7` takes another one.
seed: 42
stop: 40s

cluster:
  # What `apply: all` applies: a pool, two pods, and the Service porter-layer2-svc, which gets 192.168.0.91.
  manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml]

# What happens, in order of time. One thing a step: what people do (run, apply, edit), what clients do (ping, curl), what goes wrong
# (kill-bellhop, power-off, freeze, cable, api and others: `bellhop-sim schema` has them all).
timeline:
  - at: 0s
    apply: all
  # Pods take some seconds to start.
  - at: 5s
    ping: { from: i-f3fozos0, to: 192.168.0.91, every: 100ms }
  - at: 15s
    id: killed
    # A machine's name, or whoever it is by then: leader, { node-of: porter-layer2-svc }, { same-as: AN EARLIER STEP }.
    kill-bellhop: leader

# What must be seen: a sentence, a time word (eventually, always, never), a subject.
expect:
  - what: the Service gets the first address of the pool
    eventually: { within: 1s }
    resource:
      kind: Service
      metadata: { name: porter-layer2-svc }
      status: { loadBalancer: { ingress: [{ ip: 192.168.0.91 }] } }
  - what: the client never waits longer for an answer
    always: { from: 5s }
    ping: { from: i-f3fozos0, to: 192.168.0.91, longest-gap: 8s }
  - what: the Service's node has not changed
    never: { from: killed }
    event: { reason: NodeChanged, about: { kind: Service, name: porter-layer2-svc } }
"#;

/// Writes the file and says what to do with it.
pub(super) fn new(name: &str, theme: &str, folder: Option<PathBuf>) -> anyhow::Result<u8> {
    for (what, word) in [("name", name), ("theme", theme)] {
        let fits = word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if word.is_empty() || word.len() > 63 || !fits {
            bail!("`{}` cannot be a {what}: expected small letters, digits and -, at most 63", word.escape_debug());
        }
    }
    let folder = folder.unwrap_or_else(super::scenarios);
    let taken = bellhop_scenario::files(&folder).with_context(|| format!("failed to read the folder {}", folder.display()))?;
    if let Some(other) = taken.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name)) {
        bail!("a scenario is called {name} already: {}", other.display());
    }
    let path = folder.join(theme).join(name).with_extension("yaml");
    std::fs::create_dir_all(folder.join(theme)).with_context(|| format!("failed to make the folder of {theme}"))?;
    std::fs::write(&path, SKELETON.replace("NAME", name)).with_context(|| format!("failed to write {}", path.display()))?;
    load(&path)?;
    let shown = path.display();
    super::print(&format!("wrote {shown}\nplay it:  cargo run -p bellhop-sim -- run {shown}\n"))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bellhop_scenario::{parse, play};

    use super::SKELETON;
    use crate::SimWorld;

    #[test]
    fn what_it_writes_loads_and_plays() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover/something-new.yaml");
        let scenario = parse(&path, &SKELETON.replace("NAME", "something-new")).expect("the skeleton is a scenario");
        let outcome = play(&scenario, &mut SimWorld::new(None)).expect("the skeleton can be played");
        assert_eq!(outcome.exit_code(), 0, "{outcome}");
    }
}

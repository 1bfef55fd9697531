//! Files that mean harm: whatever bytes come, the grammar answers with a scenario or a refusal, and neither is large.
//!
//! A fuzz target needs nothing else: [`super::parse`] with any path and any text.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::{files, parse, parse_in};
use crate::source::{from_yaml, to_yaml};

/// The longest that a file of 256 KiB may take in a debug build on a busy machine; a quadratic loop over its 100,000 events takes minutes.
const PATIENCE: Duration = Duration::from_secs(10);

/// All scenario files with their texts.
fn scenarios() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    files(&folder).unwrap().into_iter().map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).collect()
}

/// Reads, and holds the answer to its bounds.
#[expect(clippy::disallowed_methods, reason = "how long the grammar takes is what is tested, and no run depends on it")]
fn read(path: &Path, text: &str) -> Result<(), TestCaseError> {
    let began = Instant::now();
    match parse(path, text) {
        Ok(scenario) => {
            prop_assert!(scenario.topology.machines().count() <= 64 && scenario.topology.switches.len() <= 32);
            let actions = scenario.timeline.iter().map(|step| step.actions.len()).sum::<usize>();
            prop_assert!(actions <= 1000 * 32 + 400, "{actions} actions");
            prop_assert!(scenario.timeline.iter().all(|step| step.at <= scenario.stop));
        }
        Err(refusal) => {
            let text = refusal.to_string();
            prop_assert!(text.starts_with("error: ") && text.len() < 10_000, "{} letters", text.len());
        }
    }
    prop_assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
    Ok(())
}

/// Every value below one, by its way there.
fn ways(value: &Value, way: String, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, below)| ways(below, format!("{way}/{}", key.replace('~', "~0").replace('/', "~1")), all))
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, below)| ways(below, format!("{way}/{index}"), all)),
        _ => {}
    }
    all.push(way);
}

/// Something that does not belong there.
fn strange() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[ -~\u{e9}\n]{0,20}".prop_map(Value::from),
        prop_oneof!["0s", "24h", "99999999999999999999s", "leader", "all", "..", "/etc/passwd", "0.0.0.0/0", "::/0", "ff:ff:ff:ff:ff:ff"]
            .prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        read(Path::new("probe.yaml"), &String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_scenario_with_lines_moved_and_bytes_overwritten_is_answered(
        which in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), "[ -~\t]{0,8}"), 1..6),
    ) {
        let all = scenarios();
        let (path, text) = which.get(&all);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (from, to, with) in changes {
            let line = from.get(&lines).clone();
            let (to, cut) = (to.index(lines.len()), to.index(line.len() + 1));
            let cut = (0..=cut).rev().find(|cut| line.is_char_boundary(*cut)).unwrap_or(0);
            lines.insert(to, format!("{}{with}{}", &line[..cut], &line[cut..]));
            lines.remove(from.index(lines.len()));
        }
        read(path, &lines.join("\n"))?;
    }

    #[test]
    fn a_scenario_with_values_exchanged_is_answered(
        which in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), strange()), 1..4),
    ) {
        let all = scenarios();
        let (path, text) = which.get(&all);
        let mut value = from_yaml(text).unwrap();
        for (place, with) in changes {
            let mut all = Vec::new();
            ways(&value, String::new(), &mut all);
            *value.pointer_mut(place.get(all.as_slice()).as_str()).unwrap() = with;
        }
        let text = to_yaml(&value);
        read(path, &text)?;
        if let Err(refusal) = parse_in(path.parent().unwrap(), &text) {
            prop_assert!(refusal.to_string().starts_with("error: "));
        }
    }
}

#[test]
fn the_largest_files_that_are_read_are_answered_in_time() {
    let (path, text) = scenarios().into_iter().find(|(path, _)| path.ends_with("leader-dies.yaml")).unwrap();
    let steps = |step: &str| {
        let many = step.repeat((200 * 1024 / step.len()).min(999));
        let (before, after) = text.split_once("  - at: 0s\n    apply: all\n").unwrap();
        format!("{before}  - {{ at: 0s, apply: all }}\n{many}{after}")
    };
    let aliases = format!("{}{}", text.replacen("why:", "why: &a x # ", 1), "# *a\n".repeat(10_000));
    for text in [
        steps("  - { at: 0s, apply: all }\n"),
        steps("  - { at: 0s, api-down: {} }\n"),
        steps("  - { at: 0s, cable: { machine: leader, nic: eth0, loss: 5% } }\n"),
        steps("  - { at: 0s, ping: { from: i-f3fozos0, to: 192.168.0.91, every: 10ms } }\n"),
        format!("version: 1\ntopology: {{ clients: {{ {} }} }}", "a: {}, ".repeat(30_000)),
        format!("version: 1\nx: &a [{}]\ny: [{}]", "1, ".repeat(20_000), "*a, ".repeat(99)),
        "- ".repeat(120_000),
        "{".repeat(200_000),
        aliases,
    ] {
        read(&path, &text).unwrap();
    }
}

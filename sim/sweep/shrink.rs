//! From a scenario that fails to the smallest one found that still fails for the same cause.
//!
//! Steps are taken out by delta debugging (Zeller and Hildebrandt, IEEE TSE 2002), then what remains is made plainer: lists of manifests and replicas,
//! clients that nothing names, switches, durations, the end. Every candidate goes through the grammar and is played; what no longer parses is no candidate.

use serde_json::{Value, json};

/// The smallest scenario found, starting from `scenario`, for which `fails` still holds. `fails` plays it; it holds for `scenario` itself.
pub(crate) fn shrink(scenario: Value, mut fails: impl FnMut(&Value) -> bool) -> Value {
    let mut smallest = scenario;
    loop {
        let before = smallest.clone();
        smallest = fewer(smallest, "/timeline", &mut fails);
        for list in ["/expect", "/cluster/bellhop", "/cluster/manifests", "/topology/uplinks"] {
            smallest = fewer(smallest, list, &mut fails);
        }
        smallest = fewer_applied(smallest, &mut fails);
        for map in ["/topology/clients", "/topology/nodes", "/topology/switches"] {
            smallest = fewer_entries(smallest, map, &mut fails);
        }
        smallest = shorter(smallest, &mut fails);
        if smallest == before {
            return smallest;
        }
    }
}

/// Takes out of a list what is not needed: halves first, then quarters, down to single items.
fn fewer(mut scenario: Value, list: &str, fails: &mut impl FnMut(&Value) -> bool) -> Value {
    let length = |scenario: &Value| scenario.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
    let mut chunk = length(&scenario).div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < length(&scenario) {
            let mut candidate = scenario.clone();
            if let Some(items) = candidate.pointer_mut(list).and_then(Value::as_array_mut) {
                items.drain(from..(from + chunk).min(items.len()));
            }
            if fails(&candidate) {
                scenario = candidate;
            } else {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    scenario
}

/// Takes manifests out of each step that applies several.
fn fewer_applied(mut scenario: Value, fails: &mut impl FnMut(&Value) -> bool) -> Value {
    let steps = scenario["timeline"].as_array().map_or(0, Vec::len);
    for step in 0..steps {
        scenario = fewer(scenario, &format!("/timeline/{step}/apply"), fails);
    }
    scenario
}

/// Takes entries out of a map, one by one.
fn fewer_entries(mut scenario: Value, map: &str, fails: &mut impl FnMut(&Value) -> bool) -> Value {
    let keys: Vec<String> = scenario.pointer(map).and_then(Value::as_object).map(|map| map.keys().cloned().collect()).unwrap_or_default();
    for key in keys {
        let mut candidate = scenario.clone();
        if let Some(entries) = candidate.pointer_mut(map).and_then(Value::as_object_mut) {
            entries.remove(&key);
        }
        if fails(&candidate) {
            scenario = candidate;
        }
    }
    scenario
}

/// Halves how long faults last, and ends the scenario sooner.
fn shorter(mut scenario: Value, fails: &mut impl FnMut(&Value) -> bool) -> Value {
    let steps = scenario["timeline"].as_array().map_or(0, Vec::len);
    for step in 0..steps {
        let Some(key) = fault_key(&scenario["timeline"][step]) else { continue };
        while let Some(half) = half(&scenario["timeline"][step][&key]["for"]) {
            let mut candidate = scenario.clone();
            candidate["timeline"][step][&key]["for"] = half;
            if !fails(&candidate) {
                break;
            }
            scenario = candidate;
        }
    }
    while let Some(half) = half(&scenario["stop"]) {
        let mut candidate = scenario.clone();
        candidate["stop"] = half;
        if !fails(&candidate) {
            break;
        }
        scenario = candidate;
    }
    scenario
}

/// The key of a step's fault that says how long it lasts.
fn fault_key(step: &Value) -> Option<String> {
    step.as_object()?.iter().find(|(_, value)| value.get("for").is_some()).map(|(key, _)| key.clone())
}

/// Half of a duration; `None` where that would be less than a tenth of a second.
fn half(text: &Value) -> Option<Value> {
    let half = bellhop_scenario::duration::parse(text.as_str()?).ok()? / 2;
    (half.as_millis() >= 100).then(|| json!(bellhop_scenario::duration::words(half)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(steps: &[&str]) -> Value {
        let timeline: Vec<Value> = steps.iter().map(|step| json!({ "at": "1s", "run": step })).collect();
        json!({ "stop": "60s", "timeline": timeline, "topology": { "clients": { "a": {}, "b": {} } } })
    }

    fn has(scenario: &Value, step: &str) -> bool {
        scenario["timeline"].as_array().into_iter().flatten().any(|each| each["run"] == step)
    }

    #[test]
    fn the_two_steps_that_matter_stay_and_nothing_else() {
        let steps: Vec<String> = (0..37).map(|index| format!("step {index}")).collect();
        let start = scenario(&steps.iter().map(String::as_str).collect::<Vec<_>>());
        let small = shrink(start, |candidate| {
            has(candidate, "step 5") && has(candidate, "step 31") && candidate["topology"]["clients"]["b"].is_object()
        });
        assert_eq!(small["timeline"].as_array().map(Vec::len), Some(2));
        assert_eq!(small["topology"]["clients"], json!({ "b": {} }));
        assert_eq!(small["stop"], "118ms");
    }

    #[test]
    fn a_fault_is_as_short_as_it_may_be() {
        let start = json!({ "stop": "60s", "timeline": [{ "at": "1s", "freeze": { "machine": "a", "for": "16s" } }] });
        let long_enough = |candidate: &Value| {
            let text = candidate["timeline"][0]["freeze"]["for"].as_str().unwrap_or("0s");
            bellhop_scenario::duration::parse(text).is_ok_and(|lasts| lasts.as_secs() >= 4) && candidate["stop"] == "60s"
        };
        assert_eq!(shrink(start, long_enough)["timeline"][0]["freeze"]["for"], "4s");
    }
}

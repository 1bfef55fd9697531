//! A Pod's cells: its one-word status is put together from its phase and all its containers (`printPod`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, created, name, or_none};
use crate::object::{is_deleting, list, number, text};

/// `printPod`.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let statuses = list(pod, &["status", "containerStatuses"]);
    let total = list(pod, &["spec", "containers"]).len();
    let ready = statuses.iter().filter(|status| status["ready"] == true && status["state"]["running"].is_object()).count();
    let address = match list(pod, &["status", "podIPs"]).first() {
        Some(first) => text(first, &["ip"]),
        None => text(pod, &["status", "podIP"]),
    };
    let node = text(pod, &["spec", "nodeName"]);
    let nominated = text(pod, &["status", "nominatedNodeName"]);
    vec![
        name(pod),
        json!(format!("{ready}/{total}")),
        json!(status(pod)),
        json!(restarts(statuses, now)),
        created(pod, now),
        json!(or_none(address)),
        json!(or_none(node)),
        json!(or_none(nominated)),
        json!(gates(pod)),
    ]
}

fn status(pod: &Value) -> String {
    let phase = text(pod, &["status", "phase"]);
    let said = text(pod, &["status", "reason"]);
    let mut reason = if said.is_empty() { phase } else { said }.to_owned();
    let gated = |condition: &&Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
    if list(pod, &["status", "conditions"]).iter().any(|condition| gated(&condition)) {
        "SchedulingGated".clone_into(&mut reason);
    }
    let init_total = list(pod, &["spec", "initContainers"]).len();
    let waiting_init = list(pod, &["status", "initContainerStatuses"])
        .iter()
        .enumerate()
        .find_map(|(index, status)| initializing(index, init_total, status));
    if let Some(initializing) = waiting_init {
        reason = initializing;
    } else {
        let mut running = false;
        for status in list(pod, &["status", "containerStatuses"]).iter().rev() {
            if let Some(said) = stopped(status) {
                reason = said;
            } else if status["ready"] == true && status["state"]["running"].is_object() {
                running = true;
            }
        }
        if reason == "Completed" && running {
            let is_ready =
                list(pod, &["status", "conditions"]).iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            if is_ready { "Running" } else { "NotReady" }.clone_into(&mut reason);
        }
    }
    if is_deleting(pod) && said == "NodeLost" {
        return "Unknown".to_owned();
    }
    if is_deleting(pod) && !matches!(phase, "Succeeded" | "Failed") {
        return "Terminating".to_owned();
    }
    reason
}

fn initializing(index: usize, total: usize, status: &Value) -> Option<String> {
    let state = &status["state"];
    if number(state, &["terminated", "exitCode"]) == Some(0) {
        return None;
    }
    if state["terminated"].is_object() {
        return Some(format!("Init:{}", stopped(status).unwrap_or_default()));
    }
    let why = text(state, &["waiting", "reason"]);
    Some(if matches!(why, "" | "PodInitializing") { format!("Init:{index}/{total}") } else { format!("Init:{why}") })
}

fn stopped(status: &Value) -> Option<String> {
    let (waiting, ended) = (text(status, &["state", "waiting", "reason"]), &status["state"]["terminated"]);
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let why = text(ended, &["reason"]);
    match (ended.is_object(), why, number(ended, &["signal"]).unwrap_or(0)) {
        (false, ..) => None,
        (true, "", 0) => Some(format!("ExitCode:{}", number(ended, &["exitCode"]).unwrap_or(0))),
        (true, "", signal) => Some(format!("Signal:{signal}")),
        (true, why, _) => Some(why.to_owned()),
    }
}

fn restarts(statuses: &[Value], now: Timestamp) -> String {
    let count: i64 = statuses.iter().filter_map(|status| number(status, &["restartCount"])).sum();
    let ended = |status: &Value| text(status, &["lastState", "terminated", "finishedAt"]).parse::<Timestamp>().ok();
    match statuses.iter().filter_map(ended).max() {
        Some(last) if count > 0 => format!("{count} ({} ago)", age::human(now.duration_since(last).as_secs())),
        _ => count.to_string(),
    }
}

fn gates(pod: &Value) -> String {
    let gates = list(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let holds = |gate: &&Value| {
        let conditions = list(pod, &["status", "conditions"]);
        conditions.iter().any(|condition| condition["type"] == gate["conditionType"] && condition["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_word_says_the_most_telling_thing() {
        let with = |status: Value| json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a"}]}, "status": status});
        assert_eq!(status(&with(json!({"phase": "Pending"}))), "Pending");
        let crashing = with(json!({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}));
        assert_eq!(status(&crashing), "CrashLoopBackOff");
        let mut leaving = with(json!({"phase": "Running"}));
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(status(&leaving), "Terminating");
    }
}

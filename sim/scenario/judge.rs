//! The judge: which expectations hold, given everything that was seen.
//!
//! There is one judge for all worlds, so that "always", "within" and "longest gap" mean the same everywhere. A level (an object, a neighbor
//! entry) is judged at every moment at which anything changed; a probe by its requests; frames by count. The world's slack is added to
//! every bound: windows of `eventually` end later by it, windows of `always` and `never` begin later by it, but never by more than half of
//! their length: a short window is judged in its second half, not in a point.

use std::time::Duration;

use serde_json::Value;

use crate::action::{Action, Target};
use crate::duration::{moment, words};
use crate::expectation::{Expectation, Mac, Pattern, Subject, When, Window};
use crate::history::{History, segment_of};
use crate::outcome::{Check, CheckKind};
use crate::scenario::Scenario;

mod count;
mod names;
mod probe;

pub(crate) use count::{message, text};
pub(crate) use probe::{blind, failed};

/// Judges one expectation.
pub(crate) fn judge(scenario: &Scenario, history: &History, expectation: &Expectation, slack: Duration) -> Check {
    let case = Case { scenario, history, when: slackened(expectation.when, slack), slack };
    let verdict = match &expectation.subject {
        Subject::Ping { from, to, wanted } => probe::ping(&case, from, *to, *wanted),
        Subject::Curl { from, url, status, answered_by } => probe::curl(&case, from, url, *status, answered_by.as_ref()),
        Subject::Wire { filter, each, at_least, at_most } => count::wire(&case, filter, each, *at_least, *at_most),
        Subject::Event { .. } => count::event(&case, &expectation.subject),
        Subject::Output { step, contains, exit } => count::output(&case, step, contains, *exit),
        level => case.level(|at| holds(&case, level, at)),
    };
    let nothing = if verdict.passed { names::nothing(&case, &expectation.subject) } else { None };
    let verdict = nothing.map_or(verdict, |why| Verdict::failed(format!("it says nothing: {why}")));
    let detail = match (&verdict.at, &expectation.after, expectation.when) {
        (Some(at), Some(step), When::Eventually(window)) => {
            format!("{}, {} after {step}", moment(*at), words(at.saturating_sub(window.from)))
        }
        (Some(at), None, When::Eventually(_)) if verdict.passed => moment(*at),
        _ => verdict.detail.clone(),
    };
    Check { what: expectation.what.clone(), passed: verdict.passed, detail, kind: CheckKind::Expectation }
}

/// Everything that a judgement needs beside its subject.
struct Case<'a> {
    scenario: &'a Scenario,
    history: &'a History,
    when: When,
    slack: Duration,
}

/// A judgement.
struct Verdict {
    passed: bool,
    /// When it came true.
    at: Option<Duration>,
    detail: String,
}

impl Verdict {
    fn passed(detail: impl Into<String>) -> Self {
        Self { passed: true, at: None, detail: detail.into() }
    }

    fn came_true(at: Duration) -> Self {
        Self { passed: true, at: Some(at), detail: moment(at) }
    }

    fn failed(detail: impl Into<String>) -> Self {
        Self { passed: false, at: None, detail: detail.into() }
    }
}

impl Case<'_> {
    /// The window, whatever the word.
    fn window(&self) -> Window {
        let (When::Eventually(window) | When::Always(window) | When::Never(window)) = self.when;
        window
    }

    /// Judges something that is so or not at each moment; `Err` says what is instead.
    fn level(&self, holds: impl Fn(Duration) -> Result<(), String>) -> Verdict {
        let window = self.window();
        let mut last = String::new();
        for at in self.history.moments(window.from, window.until) {
            match (holds(at), self.when) {
                (Ok(()), When::Eventually(_)) => return Verdict::came_true(at),
                (Ok(()), When::Never(_)) => return Verdict::failed(format!("at {} it was so", moment(at))),
                (Err(instead), When::Always(_)) => return Verdict::failed(format!("at {}: {instead}", moment(at))),
                (Err(instead), When::Eventually(_)) => last = instead,
                (Ok(()), When::Always(_)) | (Err(_), When::Never(_)) => {}
            }
        }
        match self.when {
            When::Eventually(_) => Verdict::failed(format!("not by {}: {last}", moment(window.until))),
            When::Always(_) | When::Never(_) => Verdict::passed(between(window)),
        }
    }
}

/// A window in words.
fn between(window: Window) -> String {
    format!("{} to {}", moment(window.from), moment(window.until))
}

/// The window with the world's slack.
fn slackened(when: When, slack: Duration) -> When {
    let later =
        |window: Window| Window { from: window.from + slack.min(window.until.saturating_sub(window.from) / 2), until: window.until };
    match when {
        When::Eventually(window) => When::Eventually(Window { from: window.from, until: window.until + slack }),
        When::Always(window) => When::Always(later(window)),
        When::Never(window) => When::Never(later(window)),
    }
}

/// Whether a subject that is a level holds at a moment; `Err` says what is instead.
fn holds(case: &Case<'_>, subject: &Subject, at: Duration) -> Result<(), String> {
    match subject {
        Subject::Neigh { client, dst, lladdr, state } => {
            let entry = case.history.neighbor(client, *dst, at).ok_or_else(|| format!("{client} has no entry for {dst}"))?;
            if let Some(wanted) = lladdr {
                let wanted = mac(case, wanted, segment_of(case.scenario, client), at)?;
                let shown = entry.lladdr.map_or_else(|| entry.state.clone(), |lladdr| lladdr.to_string());
                equal(entry.lladdr == Some(wanted), || format!("{dst} lladdr {shown}, expected {wanted}"))?;
            }
            let wanted = state.as_ref().unwrap_or(&entry.state);
            equal(*wanted == entry.state, || format!("{dst} is {}", entry.state))
        }
        Subject::Resource(pattern) => resource(case, pattern, at),
        Subject::Absent(pattern) => match resource(case, pattern, at) {
            Ok(()) => Err(format!("{} {} is there", pattern.kind, pattern.name)),
            Err(_) => Ok(()),
        },
        Subject::Condition { kind, namespace, name, condition, status, reason, message_contains, .. } => {
            let object = case.history.object(kind, namespace.as_deref(), name, at).ok_or_else(|| format!("there is no {kind} {name}"))?;
            let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
            let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let entry = conditions.into_iter().flatten().find(|entry| text(entry, "type") == *condition);
            let entry = entry.ok_or_else(|| format!("{kind} {name} has no condition {condition}"))?;
            let fits = text(entry, "status") == *status
                && reason.as_ref().is_none_or(|reason| text(entry, "reason") == *reason)
                && message_contains.as_ref().is_none_or(|part| text(entry, "message").contains(part));
            let found = || format!("{condition}={}, reason {}: {}", text(entry, "status"), text(entry, "reason"), text(entry, "message"));
            equal(fits, found)
        }
        Subject::NodeOf { service, is, is_not } => {
            let node = case.history.machine(&Target::NodeOf(service.clone()), at)?;
            let named = |target: &Target| case.history.machine(target, at).is_ok_and(|machine| machine == node);
            for target in is_not {
                // Nobody is not somebody else: that must be known before it can be told apart.
                let other = case.history.machine(target, at)?;
                equal(other != node, || format!("the node is {node}"))?;
            }
            equal(is.is_empty() || is.iter().any(named), || format!("the node is {node}"))
        }
        // Judged elsewhere: they are no levels.
        Subject::Ping { .. } | Subject::Curl { .. } | Subject::Event { .. } | Subject::Wire { .. } | Subject::Output { .. } => {
            Err("not a level".to_owned())
        }
    }
}

/// `Ok` when true.
fn equal(fits: bool, instead: impl FnOnce() -> String) -> Result<(), String> {
    if fits { Ok(()) } else { Err(instead()) }
}

/// Whether an object has the pattern's fields.
fn resource(case: &Case<'_>, pattern: &Pattern, at: Duration) -> Result<(), String> {
    let object = case.history.object(&pattern.kind, pattern.namespace.as_deref(), &pattern.name, at);
    let object = object.ok_or_else(|| format!("there is no {} {}", pattern.kind, pattern.name))?;
    let Value::Object(fields) = &pattern.fields else { return Ok(()) };
    for (key, wanted) in fields.iter().filter(|(key, _)| !["apiVersion", "kind"].contains(&key.as_str())) {
        matches(wanted, object.get(key).unwrap_or(&Value::Null), key)?;
    }
    Ok(())
}

/// A partial match: objects field by field, a list when each of its items matches some item, the rest by value.
fn matches(wanted: &Value, found: &Value, path: &str) -> Result<(), String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().try_for_each(|(key, wanted)| matches(wanted, found.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}")))
        }
        (Value::Array(wanted), Value::Array(found)) => wanted.iter().try_for_each(|wanted| {
            let any = found.iter().any(|found| matches(wanted, found, path).is_ok());
            equal(any, || format!("{path} has no {wanted}"))
        }),
        _ => equal(wanted == found, || if found.is_null() { format!("no {path}") } else { format!("{path} is {found}") }),
    }
}

/// A MAC address at a moment.
fn mac(case: &Case<'_>, mac: &Mac, segment: Option<&str>, at: Duration) -> Result<bellhop_core::mac::MacAddr, String> {
    match mac {
        Mac::Is(mac) => Ok(*mac),
        Mac::Of(target) => {
            let machine = case.history.machine(target, at)?;
            case.history.mac(case.scenario, &machine, segment, at)
        }
    }
}

/// The number of the command that a step runs.
fn run_of(scenario: &Scenario, step: &str) -> Option<crate::action::RunId> {
    let step = scenario.timeline.iter().find(|candidate| candidate.id.as_deref() == Some(step))?;
    step.actions.iter().rev().find_map(|action| if let Action::Run { run, .. } = action { Some(*run) } else { None })
}

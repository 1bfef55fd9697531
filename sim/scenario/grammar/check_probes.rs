//! Whether somebody asks for as long as an expectation looks: that no ping was lost must not be said of a time in which nobody pinged.

use std::time::Duration;

use super::check_expect::same_probe;
use super::refusal::{Finding, at};
use super::spanned::Spanned;
use crate::action::{Action, ProbeId, Target};
use crate::duration::words;
use crate::expectation::{Subject, Window};
use crate::scenario::Scenario;

/// Refuses a window of `always` or `never` in which the probes of the timeline do not ask throughout. Where the timeline has no such probe, one is
/// started for the whole window, and there is nothing to refuse.
pub(super) fn asked_throughout(scenario: &Scenario, subject: &Subject, window: Window, place: &Spanned<()>) -> Result<(), Finding> {
    let (probe, limit, every) = (ProbeId(0), Duration::ZERO, Duration::ZERO);
    let (wanted, what) = match subject {
        Subject::Ping { from, to, .. } => {
            let ping = Action::Ping { probe, from: Target::Machine(from.clone()), to: *to, every, until: None };
            (ping, format!("{from} does not ping {to}"))
        }
        Subject::Curl { from, url, .. } => {
            let curl = Action::Curl { probe, from: Target::Machine(from.clone()), url: url.clone(), every, until: None, limit };
            (curl, format!("{from} does not curl {url}"))
        }
        _ => return Ok(()),
    };
    let mut is_asked = false;
    let mut until_now = window.from;
    // Steps are in order of time, so what is not covered by now never will be.
    for step in &scenario.timeline {
        for action in step.actions.iter().filter(|action| same_probe(action, &wanted)) {
            is_asked = true;
            if let Action::Ping { until, .. } | Action::Curl { until, .. } = action
                && step.at <= until_now
            {
                until_now = until_now.max(until.unwrap_or(scenario.stop));
            }
        }
    }
    if !is_asked || until_now >= window.until {
        return Ok(());
    }
    let later =
        scenario.timeline.iter().filter(|step| step.at > until_now && step.actions.iter().any(|action| same_probe(action, &wanted)));
    let again = later.map(|step| step.at).min().unwrap_or(window.until).min(window.until);
    let (from, until) = (words(until_now), words(again));
    Err(at(place, format!("{what} from {from} to {until}: expected a window throughout which a step does")))
}

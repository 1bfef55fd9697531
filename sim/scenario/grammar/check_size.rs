//! How much a file may ask of whoever plays it: frames of storms and requests of probes, counted before anything is played.
//!
//! Counted is what the file asks for. What comes of a frame (a switch floods it to 64 machines) is bounded by how many of those there may be.

use std::time::Duration;

use super::refusal::{Finding, at};
use super::spanned::Spanned;
use crate::action::{Action, Target};
use crate::fault::Fault;
use crate::scenario::{Scenario, Step};

/// A storm of the fastest kind (200,000 a second) for 50 seconds: minutes of a laptop's time.
const MOST_FRAMES: u128 = 10_000_000;
/// Ten clients that ask ten times a second for almost three hours.
const MOST_REQUESTS: u128 = 1_000_000;

/// Refuses the step with which the storms or the probes of the timeline become too many.
pub(super) fn step_fits(scenario: &Scenario, step: &Step, place: &Spanned<()>) -> Result<(), Finding> {
    let total =
        |count: fn(&Scenario, &Step) -> u128| scenario.timeline.iter().chain([step]).map(|step| count(scenario, step)).sum::<u128>();
    if frames(scenario, step) > 0 && total(frames) > MOST_FRAMES {
        let message =
            format!("storms and spoofed ARP of more than {MOST_FRAMES} frames in all with this step: expected `for`, or fewer a second");
        return Err(at(place, message));
    }
    if requests(scenario, step) > 0 && total(requests) > MOST_REQUESTS {
        let message =
            format!("more than {MOST_REQUESTS} requests of pings and curls in all with this step: expected `until`, or a longer `every`");
        return Err(at(place, message));
    }
    Ok(())
}

/// The same for the probes that expectations start: told at the end of the scenario, which makes them so many.
pub(super) fn whole_fits(scenario: &Scenario, stop: &Spanned<crate::duration::Text>) -> Result<(), Finding> {
    if scenario.timeline.iter().map(|step| requests(scenario, step)).sum::<u128>() > MOST_REQUESTS {
        let message =
            format!("more than {MOST_REQUESTS} requests, with those of expectations: expected an earlier end, or `until` in expectations");
        return Err(at(stop, message));
    }
    Ok(())
}

/// Frames that a step's storms and spoofers send.
fn frames(scenario: &Scenario, step: &Step) -> u128 {
    let left = scenario.stop.saturating_sub(step.at);
    let of = |action: &Action<Target>| match action {
        Action::Fault { fault: Fault::Storm { rate, .. }, lasts } => {
            u128::from(*rate) * lasts.unwrap_or(left).min(left).as_millis().div_ceil(1000)
        }
        Action::Fault { fault: Fault::SpoofArp { every, .. }, lasts } => times(lasts.unwrap_or(left).min(left), *every),
        _ => 0,
    };
    step.actions.iter().map(of).sum()
}

/// Requests that a step's probes send.
fn requests(scenario: &Scenario, step: &Step) -> u128 {
    let of = |action: &Action<Target>| match action {
        Action::Ping { every, until, .. } | Action::Curl { every, until, .. } => {
            times(until.unwrap_or(scenario.stop).min(scenario.stop).saturating_sub(step.at), *every)
        }
        _ => 0,
    };
    step.actions.iter().map(of).sum()
}

/// How often something happens that happens every so often.
fn times(length: Duration, every: Duration) -> u128 {
    length.as_nanos() / every.as_nanos().max(1) + 1
}

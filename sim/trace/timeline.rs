//! What the timeline does, as records: which step of the scenario an action is, and what it is called.

use std::time::Duration;

use bellhop_core::time::Instant;
use bellhop_scenario::{Action, Scenario};

use super::record;

/// A record of an action that is done now, at `now` since the scenario's zero.
pub(crate) fn action(scenario: &Scenario, zero: Instant, now: Duration, action: &Action) -> record::Action {
    let until = match action {
        Action::Reboot { off, .. } => Some(zero + now + *off),
        Action::Fault { lasts: Some(lasts), .. } => Some(zero + now + *lasts),
        _ => None,
    };
    let machine = action.target().cloned();
    record::Action { step: step(scenario, now, action), kind: action.key().to_owned(), machine, words: action.words(), until }
}

/// The id of the step that an action belongs to: the one at this time that does the same, whatever its machine is called there.
fn step(scenario: &Scenario, now: Duration, action: &Action) -> Option<String> {
    let anybody = |action: Result<Action<()>, ()>| action.ok();
    let wanted = anybody(action.resolve(|_| Ok(())))?;
    let steps = scenario.timeline.iter().filter(|step| step.at == now);
    steps.into_iter().find(|step| step.actions.iter().any(|own| anybody(own.resolve(|_| Ok(()))).as_ref() == Some(&wanted)))?.id.clone()
}

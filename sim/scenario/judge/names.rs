//! Whether the names in an expectation mean anything: what says that something is not so must not pass because there is no such thing.
//!
//! "Never does the client have the MAC of that Service's node" is true of a Service that nobody made, and says nothing. So `never`,
//! `absent` and a count of frames pass only if every name in them meant something at some moment up to the end of the window.

use std::time::Duration;

use super::{Case, mac};
use crate::action::Target;
use crate::expectation::{AnsweredBy, Mac, Pattern, Subject, When, WireFilter};
use crate::history::segment_of;

/// A name that means nothing, in words; `None`: all of them mean something, or a pass says so by itself.
pub(super) fn nothing(case: &Case<'_>, subject: &Subject) -> Option<String> {
    let is_denied = matches!(case.when, When::Never(_));
    match subject {
        Subject::Absent(pattern) => object(case, pattern),
        Subject::Wire { filter, .. } => frames(case, filter),
        _ if !is_denied => None,
        Subject::Resource(pattern) => object(case, pattern),
        Subject::Condition { kind, namespace, name, .. } => ever(case, kind, namespace.as_deref(), name),
        Subject::Event { kind: Some(kind), name: Some(name), .. } => {
            // An expectation about an Event says no namespace.
            let is_there =
                case.history.objects(kind).any(|(key, levels)| key.2 == *name && levels.iter().any(|(at, _)| *at <= case.window().until));
            (!is_there).then(|| format!("there never was a {kind} {name}"))
        }
        Subject::NodeOf { service, is, is_not } => {
            let own = Target::NodeOf(service.clone());
            std::iter::once(&own).chain(is).chain(is_not).find_map(|target| machine(case, target))
        }
        Subject::Neigh { client, lladdr: Some(wanted), dst, .. } => owner(case, wanted, segment_of(case.scenario, client)).or_else(|| {
            let has_entry = moments(case).any(|at| case.history.neighbor(client, *dst, at).is_some());
            (!has_entry).then(|| format!("{client} never had an entry for {dst}"))
        }),
        Subject::Curl { answered_by: Some(AnsweredBy::PodsOn(target)), .. } => machine(case, target),
        Subject::Neigh { .. } | Subject::Ping { .. } | Subject::Curl { .. } | Subject::Event { .. } | Subject::Output { .. } => None,
    }
}

/// The moments of the window at which anything changed.
fn moments(case: &Case<'_>) -> impl Iterator<Item = Duration> {
    let window = case.window();
    case.history.moments(window.from, window.until).into_iter()
}

/// An object that nobody ever saw.
fn object(case: &Case<'_>, pattern: &Pattern) -> Option<String> {
    ever(case, &pattern.kind, pattern.namespace.as_deref(), &pattern.name)
}

fn ever(case: &Case<'_>, kind: &str, namespace: Option<&str>, name: &str) -> Option<String> {
    let until = case.window().until;
    let was_there =
        case.history.moments(Duration::ZERO, until).into_iter().any(|at| case.history.object(kind, namespace, name, at).is_some());
    (!was_there).then(|| format!("there never was a {kind} {name}"))
}

/// A target that was nobody at every moment of the window, and why.
fn machine(case: &Case<'_>, target: &Target) -> Option<String> {
    let mut why = None;
    for at in moments(case) {
        match case.history.machine(target, at) {
            Ok(_) => return None,
            Err(because) => why = Some(because),
        }
    }
    why
}

/// The same for whose MAC is meant.
fn owner(case: &Case<'_>, wanted: &Mac, segment: Option<&str>) -> Option<String> {
    let mut why = None;
    for at in moments(case) {
        match mac(case, wanted, segment, at) {
            Ok(_) => return None,
            Err(because) => why = Some(because),
        }
    }
    why
}

/// The same for the owners that a filter names.
fn frames(case: &Case<'_>, filter: &WireFilter) -> Option<String> {
    let named = [&filter.sender_mac, &filter.ethernet_source];
    named.into_iter().flatten().find_map(|wanted| owner(case, wanted, filter.segment.as_deref()))
}

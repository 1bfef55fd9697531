//! What happens at moments: frames on the wire, Kubernetes Events, the output of commands.

use std::time::Duration;

use serde_json::Value;

use super::{Case, Verdict, mac, run_of};
use crate::duration::moment;
use crate::expectation::{Mac, Subject, When, WireFilter};
use crate::observation::{ArpFrame, ArpOperation};

/// Judges frames: how many are such, and whether each of them is as it must be.
pub(super) fn wire(case: &Case<'_>, filter: &WireFilter, each: &WireFilter, at_least: Option<usize>, at_most: Option<usize>) -> Verdict {
    let window = case.window();
    let within = case.history.frames().iter().filter(|(at, _)| *at >= window.from && *at <= window.until);
    let frames: Vec<_> = within.filter(|(at, frame)| passes(case, filter, frame, *at)).collect();
    if let Some((at, frame)) = frames.iter().find(|(at, frame)| !passes(case, each, frame, *at)) {
        return Verdict::failed(format!("at {}: {}", moment(*at), shown(frame)));
    }
    let (count, least) = (frames.len(), at_least.unwrap_or_else(|| usize::from(at_most.is_none())));
    let text = format!("{count} frames");
    match case.when {
        When::Never(_) => match frames.first() {
            Some((at, frame)) => Verdict::failed(format!("at {}: {}", moment(*at), shown(frame))),
            None => Verdict::passed(text),
        },
        When::Eventually(_) | When::Always(_) if count < least => Verdict::failed(format!("{text}, expected at least {least}")),
        When::Eventually(_) | When::Always(_) if at_most.is_some_and(|most| count > most) => {
            Verdict::failed(format!("{text}, expected at most {}", at_most.unwrap_or_default()))
        }
        When::Eventually(_) if least > 0 => frames.get(least - 1).map_or_else(|| Verdict::passed(text), |(at, _)| Verdict::came_true(*at)),
        When::Eventually(_) | When::Always(_) => Verdict::passed(text),
    }
}

/// Whether a frame is such.
fn passes(case: &Case<'_>, filter: &WireFilter, frame: &ArpFrame, at: Duration) -> bool {
    let is = |wanted: &Option<Mac>, found| {
        wanted.as_ref().is_none_or(|wanted| mac(case, wanted, Some(&frame.segment), at).is_ok_and(|wanted| wanted == found))
    };
    filter.segment.as_ref().is_none_or(|segment| *segment == frame.segment)
        && filter.operation.is_none_or(|operation| operation == frame.operation)
        && filter.sender_ip.is_none_or(|ip| ip == frame.sender_ip)
        && filter.target_ip.is_none_or(|ip| ip == frame.target_ip)
        && filter.ethernet_destination.is_none_or(|mac| mac == frame.ethernet_destination)
        && is(&filter.sender_mac, frame.sender_mac)
        && is(&filter.ethernet_source, frame.ethernet_source)
}

/// A frame as `tcpdump -nn -e` prints it.
fn shown(frame: &ArpFrame) -> String {
    let what = match frame.operation {
        ArpOperation::Request => format!("Request who-has {} tell {}", frame.target_ip, frame.sender_ip),
        ArpOperation::Reply => format!("Reply {} is-at {}", frame.sender_ip, frame.sender_mac),
    };
    format!("{} > {}, ethertype ARP (0x0806), {what}", frame.ethernet_source, frame.ethernet_destination)
}

/// Judges Events: whether one was written, or written again, within the window.
pub(super) fn event(case: &Case<'_>, subject: &Subject) -> Verdict {
    let Subject::Event { reason, kind, name, message_contains } = subject else { return Verdict::failed("not an event") };
    let window = case.window();
    let fits = |event: &Value| {
        let about = |key: &str| text(event, &["involvedObject", "regarding"], key);
        event.get("reason").and_then(Value::as_str) == Some(reason)
            && kind.as_deref().is_none_or(|kind| about("kind") == Some(kind))
            && name.as_deref().is_none_or(|name| about("name") == Some(name))
            && message_contains.as_deref().is_none_or(|part| message(event).contains(part))
    };
    let written = case.history.objects("Event").flat_map(|(_, levels)| levels.iter());
    let within = written.filter(|(at, _)| *at >= window.from && *at <= window.until);
    let first = within.filter(|(_, event)| event.as_ref().is_some_and(fits)).map(|(at, _)| *at).min();
    match (first, case.when) {
        (Some(at), When::Eventually(_)) => Verdict::came_true(at),
        (None, When::Eventually(_)) => Verdict::failed(format!("no Event {reason} by {}", moment(window.until))),
        (Some(at), _) => Verdict::failed(format!("Event {reason} at {}", moment(at))),
        (None, _) => Verdict::passed(format!("no Event {reason}")),
    }
}

/// A field of the object that an Event is about: v1 and events.k8s.io/v1 call it differently.
pub(crate) fn text<'a>(event: &'a Value, objects: &[&str], key: &str) -> Option<&'a str> {
    objects.iter().find_map(|object| event.get(object)?.get(key)?.as_str())
}

/// An Event's message, in either version.
pub(crate) fn message(event: &Value) -> &str {
    event.get("message").or_else(|| event.get("note")).and_then(Value::as_str).unwrap_or_default()
}

/// Judges what a command printed.
pub(super) fn output(case: &Case<'_>, step: &str, contains: &[String], exit: Option<i32>) -> Verdict {
    let window = case.window();
    let printed = run_of(case.scenario, step).and_then(|run| case.history.output(run)).filter(|printed| printed.at <= window.until);
    let Some(printed) = printed else { return Verdict::failed(format!("{step} had not ended by {}", moment(window.until))) };
    let missing = contains.iter().find(|part| !printed.text.contains(*part));
    let instead = match (missing, exit) {
        (Some(part), _) => Some(format!("{step} did not print `{part}`")),
        (None, Some(exit)) if exit != printed.exit => Some(format!("{step} ended with exit code {}", printed.exit)),
        _ => None,
    };
    match (instead, case.when) {
        (None, When::Never(_)) => Verdict::failed(format!("{step} printed it")),
        (Some(_), When::Never(_)) => Verdict::passed(format!("{step} did not")),
        (None, _) => Verdict::came_true(printed.at),
        (Some(instead), _) => Verdict::failed(instead),
    }
}

//! The expectations of a file: one time word, one subject, and anchors that exist.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::status::event;
use serde_json::Value;

use super::check::known;
use super::check_probes;
use super::check_timeline::{CURL_LIMIT, anchor, machine, station};
use super::expect;
use super::refusal::{Finding, at};
use super::spanned::Spanned;
use super::values::{MacText, OneOrMany, TargetText};
use crate::action::{Action, ProbeId, Target};
use crate::command;
use crate::expectation::{AnsweredBy, Expectation, Mac, Pattern, PingWanted, Subject, When, Window, WireFilter};
use crate::scenario::{Scenario, Step};

/// More than a person can review.
const MOST_EXPECTATIONS: usize = 200;
/// How often an expectation about a ping asks, when the timeline has no such ping (as in `scenario-sample.yaml`).
const IMPLIED_PING: Duration = Duration::from_millis(100);
/// The same for a curl: each is a connection of its own.
const IMPLIED_CURL: Duration = Duration::from_millis(500);

/// Kinds whose apiVersion need not be said.
const KINDS: [(&str, &str); 14] = [
    ("ConfigMap", "v1"),
    ("DaemonSet", "apps/v1"),
    ("Deployment", "apps/v1"),
    ("Eip", "network.kubesphere.io/v1alpha2"),
    ("EndpointSlice", "discovery.k8s.io/v1"),
    ("Endpoints", "v1"),
    ("Event", "v1"),
    ("Lease", "coordination.k8s.io/v1"),
    ("Namespace", "v1"),
    ("Node", "v1"),
    ("Pod", "v1"),
    ("ReplicaSet", "apps/v1"),
    ("Secret", "v1"),
    ("Service", "v1"),
];

/// The reasons of Events: Bellhop's. Of Kubernetes' own no world is asked.
const REASONS: [&str; 10] = [
    event::ALLOCATION_FAILED,
    event::EIP_CONFLICTING,
    event::EIP_INVALID,
    event::EIP_IN_USE,
    event::INTERFACE_UNAVAILABLE,
    event::IP_ALLOCATED,
    event::IP_RELEASED,
    event::NODE_ASSIGNED,
    event::NODE_CHANGED,
    event::NO_ELIGIBLE_NODE,
];

/// Fills the scenario's expectations.
pub(super) fn expectations(scenario: &mut Scenario, expectations: Vec<Spanned<expect::Expect>>) -> Result<(), Finding> {
    let anchors = scenario.timeline.iter().filter_map(|step| Some((step.id.clone()?, step.at))).collect();
    for (index, expectation) in expectations.into_iter().enumerate() {
        if index >= MOST_EXPECTATIONS {
            return Err(at(&expectation, format!("too many expectations: expected at most {MOST_EXPECTATIONS}")));
        }
        let checked = checked(scenario, &anchors, expectation)?;
        scenario.expect.push(checked);
    }
    Ok(())
}

/// One expectation.
fn checked(scenario: &Scenario, anchors: &BTreeMap<String, Duration>, expect: Spanned<expect::Expect>) -> Result<Expectation, Finding> {
    let keys = keys(&expect.value);
    if keys.len() != 1 {
        let found = if keys.is_empty() { "none".to_owned() } else { keys.join(" and ") };
        return Err(at(
            &expect,
            format!(
                "an expectation has one subject, this one has {found}: expected one of neigh, ping, curl, resource, absent, event, condition, wire, output, node-of"
            ),
        ));
    }
    let place = Spanned::new((), expect.referenced, expect.defined);
    let expect = expect.value;
    if expect.what.value.trim().is_empty() {
        return Err(at(&expect.what, "expected a sentence"));
    }
    let (when, after) = when(scenario, anchors, &expect, &place)?;
    let counted = expect.wire.as_ref().and_then(|wire| wire.value.at_least.as_ref().or(wire.value.at_most.as_ref()));
    if let (When::Never(_), Some(count)) = (when, counted) {
        return Err(at(
            count,
            "`never` is no frame at all: expected no count beside it (at-least and at-most go with eventually and always)",
        ));
    }
    let what = expect.what.value.clone();
    let subject = subject(scenario, expect, &place)?;
    let moment = matches!(subject, Subject::Event { .. } | Subject::Output { .. });
    let stretch = matches!(subject, Subject::Ping { wanted: PingWanted::LongestGap(_) | PingWanted::Lost(_), .. });
    match when {
        When::Always(_) if moment => Err(at(&place, "an event and an output happen at one moment: expected eventually or never")),
        When::Eventually(_) | When::Never(_) if stretch => {
            Err(at(&place, "longest-gap and lost are about a stretch of time: expected always"))
        }
        When::Always(window) | When::Never(window) => {
            check_probes::asked_throughout(scenario, &subject, window, &place)?;
            Ok(Expectation { what, when, after, subject })
        }
        When::Eventually(_) => Ok(Expectation { what, when, after, subject }),
    }
}

/// The subjects that an expectation has.
fn keys(expect: &expect::Expect) -> Vec<&'static str> {
    let all = [
        ("neigh", expect.neigh.is_some()),
        ("ping", expect.ping.is_some()),
        ("curl", expect.curl.is_some()),
        ("resource", expect.resource.is_some()),
        ("absent", expect.absent.is_some()),
        ("event", expect.event.is_some()),
        ("condition", expect.condition.is_some()),
        ("wire", expect.wire.is_some()),
        ("output", expect.output.is_some()),
        ("node-of", expect.node_of.is_some()),
    ];
    all.into_iter().filter(|(_, present)| *present).map(|(key, _)| key).collect()
}

/// The time word, and the step that it counts from.
fn when(
    scenario: &Scenario,
    anchors: &BTreeMap<String, Duration>,
    expect: &expect::Expect,
    place: &Spanned<()>,
) -> Result<(When, Option<String>), Finding> {
    let during = |during: &Spanned<expect::During>| {
        let from = during.value.from.as_ref().map_or(Ok(Duration::ZERO), |text| anchor(anchors, text))?;
        let until = during.value.until.as_ref().map_or(Ok(scenario.stop), |text| before(anchors, text))?;
        if from >= until || until > scenario.stop {
            return Err(at(during, "an empty stretch of time: expected `from` before `until`, and both before `stop`"));
        }
        let step = during.value.from.as_ref().filter(|text| anchors.contains_key(&text.value));
        Ok((Window { from, until }, step.map(|text| text.value.clone())))
    };
    match (&expect.eventually, &expect.always, &expect.never) {
        (Some(eventually), None, None) => {
            let after = &eventually.value.after;
            let from = after.as_ref().map_or(Ok(Duration::ZERO), |text| anchor(anchors, text))?;
            let until = from + eventually.value.within.0;
            if until > scenario.stop {
                let (until, stop) = (crate::duration::words(until), crate::duration::words(scenario.stop));
                return Err(at(eventually, format!("ends at {until}, after the end: expected {stop} (`stop`) or earlier")));
            }
            let step = after.as_ref().filter(|text| anchors.contains_key(&text.value));
            Ok((When::Eventually(Window { from, until }), step.map(|text| text.value.clone())))
        }
        (None, Some(always), None) => during(always).map(|(window, step)| (When::Always(window), step)),
        (None, None, Some(never)) => during(never).map(|(window, step)| (When::Never(window), step)),
        _ => Err(at(place, "expected exactly one of eventually, always, never")),
    }
}

/// The end of a window: of one that ends with a step, the moment before it, because what the step does may show at once.
fn before(anchors: &BTreeMap<String, Duration>, text: &Spanned<String>) -> Result<Duration, Finding> {
    let at = anchor(anchors, text)?;
    Ok(if anchors.contains_key(&text.value) { at.saturating_sub(Duration::from_nanos(1)) } else { at })
}

/// The states of a neighbor table's entry (Linux' include/uapi/linux/neighbour.h, as `ip neigh` prints them).
const STATES: [&str; 8] = ["INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT"];

/// A state in the kernel's words, in whatever letters.
fn state(text: &Spanned<String>) -> Result<String, Finding> {
    let upper = text.value.to_ascii_uppercase();
    if STATES.contains(&upper.as_str()) {
        return Ok(upper);
    }
    Err(at(text, format!("`{}` is no state of an entry: expected one of {}", text.value.escape_debug(), STATES.join(", "))))
}

/// The subject.
fn subject(scenario: &Scenario, expect: expect::Expect, place: &Spanned<()>) -> Result<Subject, Finding> {
    if let Some(neigh) = expect.neigh {
        station(scenario, neigh.client.clone())?;
        let lladdr = neigh.lladdr.map(|lladdr| mac(scenario, lladdr)).transpose()?;
        let state = neigh.state.as_ref().map(state).transpose()?;
        return Ok(Subject::Neigh { client: neigh.client.value, dst: neigh.dst, lladdr, state });
    }
    if let Some(ping) = expect.ping {
        station(scenario, ping.value.from.clone())?;
        let wanted = match (&ping.value.longest_gap, ping.value.lost, ping.value.answered) {
            (Some(gap), None, None) => PingWanted::LongestGap(gap.0),
            (None, Some(lost), None) => PingWanted::Lost(lost),
            (None, None, Some(answered)) => PingWanted::Answered(answered),
            _ => return Err(at(&ping, "expected exactly one of longest-gap, lost, answered")),
        };
        return Ok(Subject::Ping { from: ping.value.from.value, to: ping.value.to, wanted });
    }
    if let Some(curl) = expect.curl {
        station(scenario, curl.from.clone())?;
        command::checked_url(&curl.url.value).map_err(|message| at(&curl.url, message))?;
        let answered_by = curl.answered_by.map(|by| answered_by(scenario, by)).transpose()?;
        return Ok(Subject::Curl { from: curl.from.value, url: curl.url.value, status: curl.status, answered_by });
    }
    if let Some(resource) = expect.resource {
        return Ok(Subject::Resource(pattern(resource)?));
    }
    if let Some(absent) = expect.absent {
        return Ok(Subject::Absent(pattern(absent)?));
    }
    if let Some(event) = expect.event {
        let about = event.value.about.map_or((None, None), |about| (about.kind, about.name));
        match &about {
            (None, Some(name)) => return Err(at(name, "the name of what? expected `kind` beside it")),
            (Some(kind), _) if known_version(&kind.value).is_none() => {
                return Err(at(kind, format!("`{}` is not a kind known here: expected one as in Service or Eip", kind.value)));
            }
            _ => {}
        }
        let (kind, name) = (about.0.map(|kind| kind.value), about.1.map(|name| name.value));
        if !REASONS.contains(&event.value.reason.value.as_str()) {
            let message = format!("`{}` is no reason of an Event: expected one of {}", event.value.reason.value, REASONS.join(", "));
            return Err(at(&event.value.reason, message));
        }
        let (reason, message_contains) = (event.value.reason.value, event.value.message_contains);
        return Ok(Subject::Event { reason, kind, name, message_contains });
    }
    if let Some(condition) = expect.condition {
        if !["True", "False", "Unknown"].contains(&condition.status.value.as_str()) {
            return Err(at(&condition.status, "expected \"True\", \"False\" or \"Unknown\", in quotes"));
        }
        return Ok(Subject::Condition {
            api_version: api_version(condition.api_version, &condition.kind)?,
            kind: condition.kind.value,
            namespace: condition.namespace,
            name: condition.name,
            condition: condition.condition,
            status: condition.status.value,
            reason: condition.reason,
            message_contains: condition.message_contains,
        });
    }
    if let Some(wire) = expect.wire {
        return self::wire(scenario, wire.value);
    }
    if let Some(output) = expect.output {
        let step = scenario.timeline.iter().find(|step| step.id.as_ref() == Some(&output.value.step.value));
        if !step.is_some_and(|step| matches!(step.actions.first(), Some(Action::Run { .. }))) {
            return Err(at(&output.value.step, format!("no step `{}` that runs a command", output.value.step.value)));
        }
        let contains = output.value.contains.map_or_else(Vec::new, |many| many.0);
        if contains.is_empty() && output.value.exit.is_none() {
            return Err(at(&output.value.step, "expected `contains` or `exit`"));
        }
        return Ok(Subject::Output { step: output.value.step.value, contains, exit: output.value.exit });
    }
    if let Some(node_of) = expect.node_of {
        let targets = |many: Option<Spanned<OneOrMany<TargetText>>>| match many {
            None => Ok(Vec::new()),
            Some(many) => {
                let (referenced, defined) = (many.referenced, many.defined);
                many.value.0.into_iter().map(|one| machine(scenario, Spanned::new(one, referenced, defined))).collect()
            }
        };
        let place = Spanned::new((), node_of.referenced, node_of.defined);
        let (is, is_not) = (targets(node_of.value.is)?, targets(node_of.value.is_not)?);
        if is.is_empty() && is_not.is_empty() {
            return Err(at(&place, "expected `is` or `is-not`"));
        }
        return Ok(Subject::NodeOf { service: node_of.value.service, is, is_not });
    }
    Err(at(place, "expected a subject"))
}

/// Which frames, how many, and what each must be.
fn wire(scenario: &Scenario, wire: expect::Wire) -> Result<Subject, Finding> {
    let one = |text: Option<Spanned<MacText>>| text.map(|text| mac(scenario, text)).transpose();
    if let Some(segment) = &wire.segment {
        known(&scenario.topology.segments, segment, "segment")?;
    }
    let filter = WireFilter {
        segment: wire.segment.map(|segment| segment.value),
        operation: wire.operation,
        sender_ip: wire.sender_ip.map(|ip| on_the_lan(scenario, &ip)).transpose()?,
        sender_mac: one(wire.sender_mac)?,
        target_ip: wire.target_ip.map(|ip| on_the_lan(scenario, &ip)).transpose()?,
        ethernet_source: one(wire.ethernet_source)?,
        ethernet_destination: wire.ethernet_destination,
    };
    let each = match wire.each {
        None => WireFilter::default(),
        Some(each) => WireFilter {
            sender_mac: one(each.sender_mac)?,
            ethernet_source: one(each.ethernet_source)?,
            ethernet_destination: each.ethernet_destination,
            ..WireFilter::default()
        },
    };
    let (at_least, at_most) = (wire.at_least.as_ref().map(|count| count.value), wire.at_most.as_ref().map(|count| count.value));
    match (&wire.at_least, &wire.at_most) {
        (Some(least), _) if least.value == 0 => return Err(at(least, "at least none is always so: expected 1 or more")),
        (Some(least), Some(most)) if least.value > most.value => {
            return Err(at(most, format!("fewer than `at-least`: expected {} or more", least.value)));
        }
        _ => {}
    }
    Ok(Subject::Wire { filter, each, at_least, at_most })
}

/// An address that a frame can name: nobody's (0.0.0.0, as in RFC 5227's probes), a machine's, or one of a segment.
fn on_the_lan(scenario: &Scenario, ip: &Spanned<Ipv4Addr>) -> Result<Ipv4Addr, Finding> {
    // Machines have addresses of their segments; only a NIC that is alone on its own has another.
    let mut nics = scenario.topology.machines().filter_map(|machine| scenario.topology.nics(machine)).flat_map(|nics| nics.values());
    let prefixes: Vec<_> = scenario.topology.segments.values().map(|segment| segment.ipv4).collect();
    if ip.value.is_unspecified() || prefixes.iter().any(|prefix| prefix.contains(&ip.value)) || nics.any(|nic| nic.ip.addr() == ip.value) {
        return Ok(ip.value);
    }
    let prefixes = prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(at(ip, format!("`{}` is on no segment: expected an address in one of {prefixes}", ip.value)))
}

/// A MAC address, by value or by owner.
fn mac(scenario: &Scenario, text: Spanned<MacText>) -> Result<Mac, Finding> {
    match text.value {
        MacText::Is(mac) => Ok(Mac::Is(mac)),
        MacText::Of(target) => machine(scenario, Spanned::new(TargetText(target), text.referenced, text.defined)).map(Mac::Of),
    }
}

/// Which pods.
fn answered_by(scenario: &Scenario, by: Spanned<expect::AnsweredBy>) -> Result<AnsweredBy, Finding> {
    match by.value {
        expect::AnsweredBy::Pods(0) => Err(at(&by, "expected at least one pod (for no answer at all: `never`)")),
        expect::AnsweredBy::Pods(count) => Ok(AnsweredBy::Pods(count)),
        expect::AnsweredBy::PodsOn(target) => machine(scenario, Spanned::new(target, by.referenced, by.defined)).map(AnsweredBy::PodsOn),
    }
}

/// A partial object: its name is taken out, the rest stays.
fn pattern(object: Spanned<Value>) -> Result<Pattern, Finding> {
    let text = |path: &[&str]| path.iter().try_fold(&object.value, |value, key| value.get(key))?.as_str().map(str::to_owned);
    let (Some(kind), Some(name)) = (text(&["kind"]), text(&["metadata", "name"])) else {
        return Err(at(&object, "expected a partial object with `kind` and `metadata.name`"));
    };
    let api_version = api_version(text(&["apiVersion"]), &Spanned::new(kind.clone(), object.referenced, object.defined))?;
    let namespace = text(&["metadata", "namespace"]);
    Ok(Pattern { api_version, kind, namespace, name, fields: object.value })
}

/// The apiVersion of a kind that is known here.
pub(crate) fn known_version(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(known, _)| *known == kind).map(|(_, version)| *version)
}

/// The apiVersion that is said, or that the kind is known to have.
fn api_version(said: Option<String>, kind: &Spanned<String>) -> Result<String, Finding> {
    let found = || known_version(&kind.value).map(str::to_owned);
    let missing = || at(kind, format!("`{}` is not a kind known here: expected `apiVersion` beside it", kind.value));
    said.or_else(found).ok_or_else(missing)
}

/// Expectations about a ping or curl that the timeline does not have start one, for as long as they need it.
pub(super) fn add_implied_probes(scenario: &mut Scenario) {
    let mut implied: BTreeMap<(String, String), (Action<Target>, Window)> = BTreeMap::new();
    for expectation in &scenario.expect {
        let (When::Eventually(window) | When::Always(window) | When::Never(window)) = expectation.when;
        let probe = ProbeId(0);
        let (key, action) = match &expectation.subject {
            Subject::Ping { from, to, .. } => {
                let action = Action::Ping { probe, from: Target::Machine(from.clone()), to: *to, every: IMPLIED_PING, until: None };
                ((from.clone(), to.to_string()), action)
            }
            Subject::Curl { from, url, .. } => {
                let (from_target, url_text) = (Target::Machine(from.clone()), url.clone());
                let action = Action::Curl { probe, from: from_target, url: url_text, every: IMPLIED_CURL, until: None, limit: CURL_LIMIT };
                ((from.clone(), url.clone()), action)
            }
            _ => continue,
        };
        if scenario.timeline.iter().flat_map(|step| &step.actions).any(|existing| same_probe(existing, &action)) {
            continue;
        }
        let (_, all) = implied.entry(key).or_insert((action, window));
        *all = Window { from: all.from.min(window.from), until: all.until.max(window.until) };
    }
    let is_probe = |action: &&Action<Target>| matches!(action, Action::Ping { .. } | Action::Curl { .. });
    let mut next = scenario.timeline.iter().flat_map(|step| &step.actions).filter(is_probe).count();
    for (_, (mut action, window)) in implied {
        if let Action::Ping { probe, until, .. } | Action::Curl { probe, until, .. } = &mut action {
            (*probe, *until) = (ProbeId(next), Some(window.until));
            next += 1;
        }
        let place = scenario.timeline.partition_point(|step| step.at <= window.from);
        scenario.timeline.insert(place, Step { at: window.from, id: None, actions: vec![action] });
    }
}

/// Whether two probes ask the same of the same.
pub(super) fn same_probe(one: &Action<Target>, other: &Action<Target>) -> bool {
    match (one, other) {
        (Action::Ping { from, to, .. }, Action::Ping { from: from2, to: to2, .. }) => from == from2 && to == to2,
        (Action::Curl { from, url, .. }, Action::Curl { from: from2, url: url2, .. }) => from == from2 && url == url2,
        _ => false,
    }
}

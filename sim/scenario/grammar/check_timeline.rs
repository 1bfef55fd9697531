//! The timeline of a file: times that do not go back, one action a step, targets that exist.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::check::{known, readable_text};
use super::refusal::{Finding, at};
use super::spanned::Spanned;
use super::values::{OneOrMany, TargetText};
use super::{check_fault, check_size, file};
use crate::action::{Action, Edit, ProbeId, RunId, Target};
use crate::command::{self, CommandLine, Kubectl};
use crate::duration;
use crate::scenario::{Scenario, Step};

/// More than a person can review.
const MOST_STEPS: usize = 1000;
/// How long one request of a continuous curl may take unless said: two seconds tell an outage from a slow answer.
pub(super) const CURL_LIMIT: Duration = Duration::from_secs(2);
/// More often tests the probe, not the network.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Fills the scenario's timeline.
pub(super) fn timeline(scenario: &mut Scenario, steps: Spanned<Vec<Spanned<file::Step>>>) -> Result<(), Finding> {
    if steps.value.len() > MOST_STEPS {
        return Err(at(&steps, format!("too many steps: expected at most {MOST_STEPS}")));
    }
    let id = |step: &Spanned<file::Step>| step.value.id.as_ref().map(|id| (id.value.clone(), step.value.at.value.0));
    let mut counters = Counters { anchors: steps.value.iter().filter_map(id).collect(), ..Counters::default() };
    for step in steps.value {
        let place = step.with(());
        let step = checked(scenario, step, &mut counters)?;
        check_size::step_fits(scenario, &step, &place)?;
        scenario.timeline.push(step);
    }
    Ok(())
}

/// Numbers for what answers later, and the times of all steps that have an id.
#[derive(Default)]
struct Counters {
    anchors: BTreeMap<String, Duration>,
    runs: usize,
    probes: usize,
}

impl Counters {
    fn run(&mut self) -> RunId {
        self.runs += 1;
        RunId(self.runs - 1)
    }

    fn probe(&mut self) -> ProbeId {
        self.probes += 1;
        ProbeId(self.probes - 1)
    }
}

/// One step, after those that the scenario has already.
fn checked(scenario: &Scenario, step: Spanned<file::Step>, counters: &mut Counters) -> Result<Step, Finding> {
    let when = step.value.at.value.0;
    if let Some(before) = scenario.timeline.last().filter(|before| before.at > when) {
        return Err(at(&step.value.at, format!("earlier than the step before it: expected {} or later", duration::words(before.at))));
    }
    if when > scenario.stop {
        return Err(at(&step.value.at, format!("after the end: expected {} (`stop`) or earlier", duration::words(scenario.stop))));
    }
    if let Some(id) = &step.value.id {
        let fits = id.value.starts_with(|c: char| c.is_ascii_alphabetic()) && id.value.len() <= 63;
        if !fits || !id.value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            return Err(at(id, format!("`{}` cannot be an id: expected a letter, then letters, digits and -", id.value.escape_debug())));
        }
        if scenario.timeline.iter().any(|step| step.id.as_ref() == Some(&id.value)) {
            return Err(at(id, format!("another step is called `{}` already", id.value)));
        }
    }
    let keys = keys(&step.value);
    let chosen: Vec<_> = keys.iter().filter(|(_, present)| *present).map(|(key, _)| *key).collect();
    let [_] = chosen.as_slice() else {
        let found = if chosen.is_empty() { "none".to_owned() } else { chosen.join(" and ") };
        let all = keys.map(|(key, _)| key).join(", ");
        return Err(at(&step, format!("a step does one thing, this one has {found}: expected one of {all}")));
    };
    let place = step.with(());
    let step = step.value;
    let id = step.id.as_ref().map(|id| id.value.clone());
    let actions = actions(scenario, step, &place, counters)?;
    Ok(Step { at: when, id, actions })
}

/// What a step can do, and whether this one does.
fn keys(step: &file::Step) -> [(&'static str, bool); 29] {
    [
        ("run", step.run.is_some()),
        ("apply", step.apply.is_some()),
        ("edit", step.edit.is_some()),
        ("ping", step.ping.is_some()),
        ("curl", step.curl.is_some()),
        ("power-off", step.power_off.is_some()),
        ("power-on", step.power_on.is_some()),
        ("reboot", step.reboot.is_some()),
        ("nic-down", step.nic_down.is_some()),
        ("nic-up", step.nic_up.is_some()),
        ("kill-bellhop", step.kill_bellhop.is_some()),
        ("stop-bellhop", step.stop_bellhop.is_some()),
        ("start-bellhop", step.start_bellhop.is_some()),
        ("restart-bellhop", step.restart_bellhop.is_some()),
        ("api-down", step.api_down.is_some()),
        ("api-up", step.api_up.is_some()),
        ("freeze", step.freeze.is_some()),
        ("clock-rate", step.clock_rate.is_some()),
        ("freeze-bellhop", step.freeze_bellhop.is_some()),
        ("die-at-write", step.die_at_write.is_some()),
        ("set-mac", step.set_mac.is_some()),
        ("flap", step.flap.is_some()),
        ("cable", step.cable.is_some()),
        ("uplink", step.uplink.is_some()),
        ("claim-address", step.claim_address.is_some()),
        ("spoof-arp", step.spoof_arp.is_some()),
        ("storm", step.storm.is_some()),
        ("api", step.api.is_some()),
        ("unready", step.unready.is_some()),
    ]
}

/// What a step with one key does.
fn actions(
    scenario: &Scenario,
    mut step: file::Step,
    place: &Spanned<()>,
    counters: &mut Counters,
) -> Result<Vec<Action<Target>>, Finding> {
    if let (Some(machine), None) = (&step.machine, &step.run) {
        return Err(at(machine, "`machine` says where `run` types its command: it does not belong here"));
    }
    if let Some(line) = step.run {
        return Ok(vec![run(scenario, &line, step.machine, counters)?]);
    }
    if let Some(what) = step.apply {
        return apply(scenario, what, counters);
    }
    if let Some(fault) = check_fault::fault(scenario, &mut step)? {
        return Ok(vec![fault]);
    }
    let action = if let Some(edit) = step.edit {
        if edit.set.value.is_empty() {
            return Err(at(&edit.set, "expected at least one path with its new value"));
        }
        Action::Edit(Edit { kind: edit.kind, namespace: edit.namespace, name: edit.name, set: edit.set.value })
    } else if let Some(ping) = step.ping {
        let until = ping.until.map(|until| anchor(&counters.anchors, &until)).transpose()?;
        Action::Ping { probe: counters.probe(), from: station(scenario, ping.from)?, to: ping.to, every: interval(&ping.every)?, until }
    } else if let Some(curl) = step.curl {
        command::checked_url(&curl.url.value).map_err(|message| at(&curl.url, message))?;
        let until = curl.until.map(|until| anchor(&counters.anchors, &until)).transpose()?;
        let limit = curl.limit.map_or(CURL_LIMIT, |limit| limit.value.0);
        let (from, every) = (station(scenario, curl.from)?, interval(&curl.every)?);
        Action::Curl { probe: counters.probe(), from, url: curl.url.value, every, until, limit }
    } else if let Some(target) = step.power_off {
        Action::PowerOff(machine(scenario, target)?)
    } else if let Some(target) = step.power_on {
        Action::PowerOn(machine(scenario, target)?)
    } else if let Some(nic) = step.nic_down {
        let (machine, nic) = nic_of(scenario, nic)?;
        Action::NicDown { machine, nic }
    } else if let Some(nic) = step.nic_up {
        let (machine, nic) = nic_of(scenario, nic)?;
        Action::NicUp { machine, nic }
    } else if let Some(target) = step.kill_bellhop {
        Action::KillBellhop(node(scenario, target)?)
    } else if let Some(target) = step.stop_bellhop {
        Action::StopBellhop(node(scenario, target)?)
    } else if let Some(target) = step.start_bellhop {
        Action::StartBellhop(node(scenario, target)?)
    } else if step.api_down.is_some() {
        Action::ApiDown
    } else if step.api_up.is_some() {
        Action::ApiUp
    } else {
        return Err(at(place, "a step that does nothing"));
    };
    Ok(vec![action])
}

/// A typed command.
fn run(
    scenario: &Scenario,
    line: &Spanned<String>,
    on: Option<Spanned<TargetText>>,
    counters: &mut Counters,
) -> Result<Action<Target>, Finding> {
    let command = command::parse(&line.value).map_err(|message| at(line, message))?;
    if let CommandLine::Kubectl(Kubectl::Apply { file } | Kubectl::DeleteFile { file }) = &command.what {
        readable_text(&scenario.folder, &file.to_string_lossy()).map_err(|message| at(line, message))?;
    }
    if on.is_none() && !matches!(command.what, CommandLine::Kubectl(_)) {
        return Err(at(line, "on which machine? expected `machine` beside `run`"));
    }
    let on = on.map(|target| machine(scenario, target)).transpose()?;
    Ok(Action::Run { run: counters.run(), on, command })
}

/// `apply: all` and `apply: FILE…` are what somebody would type.
fn apply(scenario: &Scenario, what: Spanned<OneOrMany<String>>, counters: &mut Counters) -> Result<Vec<Action<Target>>, Finding> {
    let files: Vec<PathBuf> = match what.value.0.as_slice() {
        [all] if all == "all" => scenario.cluster.manifests.clone(),
        files => files.iter().map(PathBuf::from).collect(),
    };
    if files.is_empty() {
        return Err(at(&what, "nothing to apply: expected a file, or `all` and `cluster.manifests`"));
    }
    let apply = |file: &PathBuf| {
        let name = file.to_string_lossy();
        readable_text(&scenario.folder, &name).map_err(|message| at(&what, message))?;
        let command = command::parse(&format!("kubectl apply -f {name}")).map_err(|message| at(&what, message))?;
        Ok(Action::Run { run: counters.run(), on: None, command })
    };
    files.iter().map(apply).collect()
}

/// A machine that a fault happens to, or a command runs on.
pub(super) fn machine(scenario: &Scenario, target: Spanned<TargetText>) -> Result<Target, Finding> {
    match &target.value.0 {
        Target::Machine(name) if !scenario.has_machine(name) => {
            let names = scenario.topology.machines().cloned().collect::<Vec<_>>().join(", ");
            Err(at(&target, format!("no machine `{name}`: expected leader or one of {names}")))
        }
        Target::NodeOf(service) if service.is_empty() => Err(at(&target, "expected a Service's name or its address")),
        Target::SameAs(id) if step_target(scenario, id).is_none() => {
            Err(at(&target, format!("no earlier step `{id}` that chose a machine")))
        }
        _ => Ok(target.value.0),
    }
}

/// The same for what only a node can suffer.
pub(super) fn node(scenario: &Scenario, target: Spanned<TargetText>) -> Result<Target, Finding> {
    if let Target::Machine(name) = &target.value.0
        && scenario.has_machine(name)
        && !scenario.topology.nodes.contains_key(name)
    {
        let what = if scenario.topology.clients.contains_key(name) { "client" } else { "router" };
        return Err(at(&target, format!("`{name}` is a {what}: expected a node, because Bellhop and pods run on nodes")));
    }
    machine(scenario, target)
}

/// A machine by name, for probes.
pub(super) fn station(scenario: &Scenario, name: Spanned<String>) -> Result<Target, Finding> {
    if scenario.has_machine(&name.value) {
        return Ok(Target::Machine(name.value));
    }
    let names = scenario.topology.machines().cloned().collect::<Vec<_>>().join(", ");
    Err(at(&name, format!("no machine `{}`: expected one of {names}", name.value)))
}

/// A machine and one of its NICs.
pub(super) fn nic_of(scenario: &Scenario, nic: file::NicOf) -> Result<(Target, String), Finding> {
    let target = machine(scenario, nic.machine)?;
    match &target {
        Target::Machine(name) => match scenario.topology.nics(name) {
            Some(nics) => known(nics, &nic.nic, "NIC")?,
            None if nic.nic.value == "eth0" => {}
            None => return Err(at(&nic.nic, "a client has one NIC: expected eth0")),
        },
        _ if scenario.topology.nodes.values().any(|node| node.nics.contains_key(&nic.nic.value)) => {}
        _ => return Err(at(&nic.nic, format!("no node has a NIC `{}`", nic.nic.value))),
    }
    Ok((target, nic.nic.value))
}

/// What an earlier step was done to.
pub(crate) fn step_target<'a>(scenario: &'a Scenario, id: &str) -> Option<&'a Target> {
    let step = scenario.timeline.iter().find(|step| step.id.as_deref() == Some(id))?;
    step.actions.iter().find_map(Action::target)
}

/// A duration since the start, or a step's id.
pub(super) fn anchor(anchors: &BTreeMap<String, Duration>, text: &Spanned<String>) -> Result<Duration, Finding> {
    if text.value.starts_with(|c: char| c.is_ascii_digit()) {
        return duration::parse(&text.value).map_err(|message| at(text, message));
    }
    anchors.get(&text.value).copied().ok_or_else(|| {
        let ids = anchors.keys().cloned().collect::<Vec<_>>().join(", ");
        let ids = if ids.is_empty() { "no step has an id".to_owned() } else { format!("expected a duration or one of {ids}") };
        at(text, format!("no step `{}`: {ids}", text.value))
    })
}

/// An interval that a probe can keep.
pub(super) fn interval(every: &Spanned<duration::Text>) -> Result<Duration, Finding> {
    if every.value.0 < SHORTEST_INTERVAL {
        return Err(at(every, format!("too often: expected {} or more", duration::words(SHORTEST_INTERVAL))));
    }
    Ok(every.value.0)
}

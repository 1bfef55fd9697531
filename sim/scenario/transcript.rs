//! The transcript: what every machine's terminal showed, in order of time.
//!
//! Commands appear where they were typed with what they printed, probes when their answers begin, stop and begin again, faults with a ⚡,
//! Bellhop's own Events as they are written. Plain text: whoever prints it may color it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::action::{Action, ProbeId, RunId, Target};
use crate::duration::{moment, words};
use crate::judge::{failed, message, text};
use crate::observation::{Observation, Seen};

/// Times are padded so that three digits of seconds still line up.
const MARGIN: usize = 10;

/// Lines under way.
#[derive(Default)]
pub(crate) struct Transcript {
    /// Blocks of lines with the time at which they belong.
    blocks: Vec<(Duration, Vec<String>)>,
    /// Where the block of each command that runs is.
    runs: BTreeMap<RunId, usize>,
    /// The requests of each continuous probe, which end out of order: a lost one is known to be lost later than the next is answered.
    probes: BTreeMap<ProbeId, Vec<Request>>,
    /// The Events that were shown, by namespace and name, with their message.
    events: BTreeMap<(String, String), String>,
}

/// One request of a continuous probe, as its terminal has it.
struct Request {
    /// When it was made.
    sent: Duration,
    /// When it was answered; `None`: never.
    answer: Option<Duration>,
    /// Who asked whom, with the answer or what was there instead of one.
    line: String,
}

impl Action {
    /// What is done, as a transcript has it: `⚡ power-off worker-p001`, `i-f3fozos0$ ping -i 0.1 192.168.0.91`.
    pub fn words(&self) -> String {
        Transcript::words(self, "")
    }
}

impl Transcript {
    /// Something is done.
    pub(crate) fn action(&mut self, at: Duration, asked: &Action<Target>, action: &Action) {
        let why = match asked.target() {
            Some(Target::NodeOf(service)) => format!(" (node of {service})"),
            Some(Target::Leader) => " (the leader)".to_owned(),
            Some(Target::SameAs(step)) => format!(" (as in {step})"),
            Some(Target::Machine(_)) | None => String::new(),
        };
        if let Action::Run { run, .. } = action {
            self.runs.insert(*run, self.blocks.len());
        }
        self.line(at, Self::words(action, &why));
    }

    /// What is done, in a line; `why` says how its machine was chosen.
    fn words(action: &Action, why: &str) -> String {
        let fault = |what: &str, machine: &str| format!("⚡ {what} {machine}{why}");
        match action {
            Action::Run { on, command, .. } => format!("{}$ {}", on.as_deref().unwrap_or_default(), command.text),
            Action::Edit(edit) => {
                let set = edit.set.iter().map(|(path, value)| format!("{path}: {value}")).collect::<Vec<_>>().join(", ");
                let namespace = edit.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
                format!("$ kubectl edit {} {}{namespace}   # {set}", edit.kind, edit.name)
            }
            Action::Ping { from, to, every, .. } => format!("{from}$ ping -i {} {to}", every.as_secs_f64()),
            Action::Curl { from, url, every, .. } => format!("{from}$ while sleep {}; do curl -s {url}; done", every.as_secs_f64()),
            Action::PowerOff(machine) => fault("power-off", machine),
            Action::PowerOn(machine) => fault("power-on", machine),
            Action::NicDown { machine, nic } => fault(&format!("nic-down {nic} of"), machine),
            Action::NicUp { machine, nic } => fault(&format!("nic-up {nic} of"), machine),
            Action::KillBellhop(machine) => fault("kill-bellhop on", machine),
            Action::StopBellhop(machine) => fault("stop-bellhop on", machine),
            Action::StartBellhop(machine) => fault("start-bellhop on", machine),
            Action::ApiDown => "⚡ api-down".to_owned(),
            Action::ApiUp => "⚡ api-up".to_owned(),
            Action::Reboot { machine, off } => format!("⚡ reboot {machine}, off for {}{why}", words(*off)),
            Action::RestartBellhop(machine) => fault("restart-bellhop on", machine),
            Action::Fault { fault, lasts } => {
                let lasts = lasts.map(|lasts| format!(" for {}", words(lasts))).unwrap_or_default();
                format!("⚡ {fault}{lasts}{why}")
            }
        }
    }

    /// Something was seen.
    pub(crate) fn observation(&mut self, observation: &Observation) {
        let at = observation.at;
        match &observation.what {
            Seen::Output { run, text, .. } => {
                let block = self.runs.get(run).and_then(|block| self.blocks.get_mut(*block));
                if let Some((_, lines)) = block {
                    lines.extend(text.lines().map(|line| line.trim_end().to_owned()));
                }
            }
            Seen::Ping { probe, from, to, sent, answer, .. } => {
                let line = if answer.is_some() { format!("{from}: {to} answers") } else { format!("{from}: no answer from {to}") };
                self.probes.entry(*probe).or_default().push(Request { sent: *sent, answer: *answer, line });
            }
            Seen::Curl { probe, from, url, started, result } => {
                let said = result.as_ref().map_or_else(failed, |answer| answer.body.trim().to_owned());
                let answer = result.is_ok().then_some(at);
                self.probes.entry(*probe).or_default().push(Request { sent: *started, answer, line: format!("{from}: {url}: {said}") });
            }
            Seen::Object { kind, namespace, name, object: Some(object), .. } if kind == "Event" => {
                self.event(at, namespace.as_deref().unwrap_or_default(), name, object);
            }
            // The end of a fault (`Fault::over`) stands beside its beginning; the rest is a remark.
            Seen::Note { text } if text.starts_with('⚡') => self.line(at, text.clone()),
            Seen::Note { text } => self.line(at, format!("# {text}")),
            Seen::InvariantBroken { invariant, detail } => self.line(at, format!("× broken: {invariant}: {detail}")),
            Seen::NotConverged { detail } => self.line(at, format!("× not converged: {detail}")),
            Seen::Crash { machine, detail } => self.line(at, format!("× Bellhop on {machine} ended: {detail}")),
            Seen::Object { .. } | Seen::Neighbor { .. } | Seen::Frame(_) | Seen::Nic { .. } => {}
        }
    }

    /// All lines, in order of time.
    pub(crate) fn lines(mut self) -> Vec<String> {
        for requests in std::mem::take(&mut self.probes).into_values() {
            self.probe(requests);
        }
        self.blocks.sort_by_key(|(at, _)| *at);
        self.blocks.into_iter().flat_map(|(_, lines)| lines).collect()
    }

    /// A probe's terminal says when answers begin, stop and begin again.
    fn probe(&mut self, mut requests: Vec<Request>) {
        requests.sort_by_key(|request| request.sent);
        let mut answered = None;
        let mut last = requests.first().map_or(Duration::ZERO, |request| request.sent);
        for Request { sent, answer, line } in requests {
            match (answer, answered) {
                (Some(at), Some(false)) => self.line(at, format!("{line}, after {} without", words(at.saturating_sub(last)))),
                (Some(at), None) => self.line(at, line),
                (None, None | Some(true)) => self.line(sent, line),
                (Some(_), Some(true)) | (None, Some(false)) => {}
            }
            answered = Some(answer.is_some());
            last = answer.unwrap_or(last);
        }
    }

    /// An Event of Bellhop's, once for each message.
    fn event(&mut self, at: Duration, namespace: &str, name: &str, event: &Value) {
        let component = text(event, &["source"], "component").or_else(|| event.get("reportingComponent")?.as_str());
        let component = component.filter(|component| !component.is_empty()).or_else(|| event.get("reportingController")?.as_str());
        if !component.is_some_and(|component| component.contains("bellhop")) {
            return;
        }
        let shown = self.events.insert((namespace.to_owned(), name.to_owned()), message(event).to_owned());
        if shown.as_deref() == Some(message(event)) {
            return;
        }
        let about = |key: &str| text(event, &["involvedObject", "regarding"], key).unwrap_or_default();
        let reason = event.get("reason").and_then(Value::as_str).unwrap_or_default();
        let object =
            if about("namespace").is_empty() { about("name").to_owned() } else { format!("{}/{}", about("namespace"), about("name")) };
        self.line(at, format!("{reason}  {object}: {}", message(event)));
    }

    /// One line with its time.
    fn line(&mut self, at: Duration, line: String) {
        self.blocks.push((at, vec![format!("{:<MARGIN$} {line}", moment(at))]));
    }
}

//! The transcript: what every machine's terminal showed, in order of time.
//!
//! Commands appear where they were typed with what they printed, probes when their answers begin, stop and begin again, faults with a ⚡,
//! Bellhop's own Events as they are written. Plain text: whoever prints it may color it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::action::{Action, ProbeId, RunId, Target};
use crate::duration::{moment, words};
use crate::judge::{failed, message, text};
use crate::observation::{CurlFailure, HttpAnswer, Observation, Seen};

/// Times are padded so that three digits of seconds still line up.
const MARGIN: usize = 10;

/// Lines under way.
#[derive(Default)]
pub(crate) struct Transcript {
    /// Blocks of lines with the time at which they belong.
    blocks: Vec<(Duration, Vec<String>)>,
    /// Where the block of each command that runs is.
    runs: BTreeMap<RunId, usize>,
    /// What each continuous probe last said.
    probes: BTreeMap<ProbeId, Probe>,
    /// The Events that were shown, by namespace and name, with their message.
    events: BTreeMap<(String, String), String>,
}

/// A continuous probe, as its terminal has it.
struct Probe {
    /// Whether the last request was answered; `None` before the first.
    answered: Option<bool>,
    /// When it last was (or when the probe began).
    since: Duration,
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
        let fault = |what: &str, machine: &str| format!("⚡ {what} {machine}{why}");
        let line = match action {
            Action::Run { run, on, command } => {
                self.runs.insert(*run, self.blocks.len());
                format!("{}$ {}", on.as_deref().unwrap_or_default(), command.text)
            }
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
        };
        self.line(at, line);
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
            Seen::Ping { probe, from, to, sent, answer, .. } => self.ping(*probe, from, *to, *sent, *answer),
            Seen::Curl { probe, from, url, started, result } => self.curl(*probe, from, url, *started, at, result),
            Seen::Object { kind, namespace, name, object: Some(object), .. } if kind == "Event" => {
                self.event(at, namespace.as_deref().unwrap_or_default(), name, object);
            }
            Seen::Note { text } => self.line(at, format!("# {text}")),
            Seen::InvariantBroken { invariant, detail } => self.line(at, format!("× broken: {invariant}: {detail}")),
            Seen::Crash { machine, detail } => self.line(at, format!("× Bellhop on {machine} ended: {detail}")),
            Seen::Object { .. } | Seen::Neighbor { .. } | Seen::Frame(_) | Seen::Nic { .. } => {}
        }
    }

    /// All lines, in order of time.
    pub(crate) fn lines(mut self) -> Vec<String> {
        self.blocks.sort_by_key(|(at, _)| *at);
        self.blocks.into_iter().flat_map(|(_, lines)| lines).collect()
    }

    /// A ping's terminal says when answers begin, stop and begin again.
    fn ping(&mut self, probe: ProbeId, from: &str, to: IpAddr, sent: Duration, answer: Option<Duration>) {
        let state = self.probes.entry(probe).or_insert(Probe { answered: None, since: sent });
        let line = match (answer, state.answered) {
            (Some(at), None) => Some((at, format!("{from}: {to} answers"))),
            (Some(at), Some(false)) => Some((at, format!("{from}: {to} answers again after {}", words(at.saturating_sub(state.since))))),
            (None, None | Some(true)) => Some((sent, format!("{from}: no answer from {to}"))),
            (Some(_), Some(true)) | (None, Some(false)) => None,
        };
        state.since = answer.unwrap_or(state.since);
        state.answered = Some(answer.is_some());
        if let Some((at, line)) = line {
            self.line(at, line);
        }
    }

    /// So does a curl's.
    fn curl(&mut self, probe: ProbeId, from: &str, url: &str, started: Duration, at: Duration, result: &Result<HttpAnswer, CurlFailure>) {
        let state = self.probes.entry(probe).or_insert(Probe { answered: None, since: started });
        let line = match (result, state.answered) {
            (Ok(answer), None | Some(false)) => Some((at, format!("{from}: {url}: {}", answer.body.trim()))),
            (Err(failure), None | Some(true)) => Some((started, format!("{from}: {url}: {}", failed(failure)))),
            _ => None,
        };
        state.answered = Some(result.is_ok());
        if let Some((at, line)) = line {
            self.line(at, line);
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

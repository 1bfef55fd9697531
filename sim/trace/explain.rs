//! A story, told: what happened to an address and why, for somebody who was not there.

use std::fmt::Write as _;
use std::time::Duration;

use bellhop_core::time::Instant;
use bellhop_scenario::duration::words;

use super::header::Header;
use super::story::{Entry, Idle, LATELY, Probe, Probing, Said, Story};
use super::words::plain;

/// How often Kubernetes' kubelets report, and how long it waits for them, if nobody says otherwise (node-monitor-grace-period).
const GRACE: &str = "Kubernetes waits 50s for it, if nobody set another time";
/// A heartbeat comes every ten seconds; one that is older than this is missing.
const HEARTBEAT_MISSED: Duration = Duration::from_secs(12);

/// The story of an address, in sentences.
pub fn explain(header: &Header, story: &Story) -> String {
    let mut told = Teller { header, story, text: String::new() };
    let played = &header.played;
    told.line(format!("{} at {} of {}, seed {}", story.address, told.moment(story.at), played.name(), played.seed));
    if let Some(bug) = played.planted {
        told.line(format!("Bellhop is not as it is: {bug} was planted in every replica."));
    }
    told.over();
    told.blank();
    told.broken();
    told.holder();
    told.node();
    told.leader();
    told.refused();
    told.faults();
    told.wire();
    told.clients();
    told.conclusion();
    told.blank();
    told.chronicle();
    told.text
}

/// The Services that wait for an address, in sentences; nothing if none does.
pub fn waiting(header: &Header, story: &Story) -> String {
    let mut told = Teller { header, story, text: String::new() };
    told.waiting();
    told.text
}

/// A length of time as people say it: `55s`, `250ms`.
pub(super) fn span(duration: Duration) -> String {
    // Nobody needs the milliseconds of a minute, nor more than tenths of some seconds.
    match duration.as_secs() {
        0 => words(duration),
        1..10 => format!("{}s", (duration.as_secs_f64() * 10.0).round() / 10.0),
        _ => format!("{:.0}s", duration.as_secs_f64()),
    }
}

struct Teller<'a> {
    header: &'a Header,
    story: &'a Story,
    text: String,
}

impl Teller<'_> {
    /// `t+12.400s`.
    fn moment(&self, at: Instant) -> String {
        let zero = self.header.zero;
        let sign = if at < zero { '-' } else { '+' };
        let nanos = at.as_nanos().abs_diff(zero.as_nanos());
        format!("t{sign}{}.{:03}s", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1_000_000)
    }

    /// `t+12.400s`; of what came before the scenario no more than that.
    fn since(&self, at: Instant) -> String {
        if at < self.header.zero { "before the scenario began".to_owned() } else { self.moment(at) }
    }

    /// How long ago.
    fn ago(&self, at: Instant) -> String {
        let ago = self.story.at - at;
        if ago < Duration::from_millis(1) { self.moment(at) } else { format!("{} ({} before)", self.moment(at), span(ago)) }
    }

    fn line(&mut self, line: String) {
        // Writing into a String cannot fail. What led to a broken promise has lines of its own.
        let _ = writeln!(self.text, "{}", plain(&line, &['\n']));
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    /// That the moment lies behind the end.
    fn over(&mut self) {
        if let Some(over) = self.story.over {
            self.line(format!(
                "The scenario ended at {}; this is how things stood then. What came after is not recorded.",
                self.moment(over)
            ));
        }
    }

    /// Promises that are broken.
    fn broken(&mut self) {
        for (at, invariant, detail) in &self.story.broken {
            let when = if *at > self.story.at { self.moment(*at) } else { self.ago(*at) };
            self.line(format!("Broken, at {when}: {invariant}: {detail}"));
        }
        if !self.story.broken.is_empty() {
            self.blank();
        }
    }

    fn waiting(&mut self) {
        for (service, waiting) in &self.story.waiting {
            let said = waiting.said.as_ref().map_or_else(
                || ", and Bellhop has said nothing of it".to_owned(),
                |(reason, message)| format!(". Bellhop says: {reason}: {message}"),
            );
            self.line(format!("{service} has asked for an address since {} and has none{said}.", self.ago(waiting.since)));
        }
    }

    /// Clients of the API that get no answer, or a bad one: replicas of Bellhop, and the kubelet that matters.
    fn refused(&mut self) {
        let story = self.story;
        for (client, refused) in &story.refused {
            let who = match client.split_once(' ') {
                Some(("bellhop", machine)) => format!("Bellhop on {machine}"),
                Some(("node", machine)) if story.node.as_ref().is_some_and(|(node, _)| node == machine) => {
                    format!("The kubelet of {machine}")
                }
                _ => continue,
            };
            let what = match refused.outcome.as_str() {
                "unreachable" => "did not reach the API server".to_owned(),
                outcome => format!("failed ({outcome})"),
            };
            let line = match refused.count {
                1 => format!("{who}'s last request to the API, at {}, {what}.", self.ago(refused.since)),
                count => format!("{who}'s last {count} requests to the API {what}, the first at {}.", self.ago(refused.since)),
            };
            self.line(line);
        }
    }

    fn holder(&mut self) {
        let address = self.story.address;
        let line = match (&self.story.held, &self.story.held_before) {
            (Some(held), _) => {
                let pool = held.pool.as_ref().map(|pool| format!(", out of the Eip {pool}")).unwrap_or_default();
                format!("{address} belongs to the Service {}{pool}, since {}.", held.service, self.ago(held.since))
            }
            (None, Some((service, until))) => {
                format!("{address} belongs to no Service. {service} had it until {}.", self.ago(*until))
            }
            (None, None) => format!("{address} belongs to no Service, and none had it before."),
        };
        self.line(line);
        self.waiting();
    }

    fn node(&mut self) {
        let story = self.story;
        let Some(held) = &story.held else { return };
        let Some((node, since)) = &story.node else {
            self.line(format!("No node carries it{}.", self.told()));
            if let Some((reason, message)) = &held.silent {
                self.line(format!("It is not announced: {reason}: {message}."));
            }
            return self.endpoints();
        };
        self.line(format!("{node} carries it, since {}{}.", self.ago(*since), self.told()));
        if let Some(facts) = story.nodes.get(node) {
            let heartbeat = facts.heartbeat.map(|last| format!("Its kubelet last reported at {}", self.ago(last)));
            let is_late = facts.heartbeat.is_some_and(|last| story.at - last > HEARTBEAT_MISSED);
            let line = match (facts.ready, heartbeat) {
                (Some((true, since)), Some(heartbeat)) if is_late => {
                    format!("The API server still calls {node} Ready, as it has since {}. {heartbeat}: {GRACE}.", self.since(since))
                }
                (Some((true, since)), heartbeat) => {
                    let heartbeat = heartbeat.map(|heartbeat| format!(" {heartbeat}.")).unwrap_or_default();
                    format!("The API server calls {node} Ready, since {}.{heartbeat}", self.since(since))
                }
                (Some((false, since)), heartbeat) => {
                    let heartbeat = heartbeat.map(|heartbeat| format!(" {heartbeat}.")).unwrap_or_default();
                    format!("The API server calls {node} not Ready, since {}.{heartbeat}", self.ago(since))
                }
                (None, _) => format!("The API server has not heard of {node} being Ready."),
            };
            self.line(line);
            if let Some(since) = facts.cordoned {
                self.line(format!("{node} is cordoned, since {}.", self.ago(since)));
            }
        }
        self.others(node);
        self.endpoints();
    }

    /// Who would answer behind the address.
    fn endpoints(&mut self) {
        let story = self.story;
        let Some(held) = &story.held else { return };
        let ready: Vec<String> =
            story.endpoints.iter().filter(|end| end.is_ready).map(|end| format!("{} on {}", end.pod, end.node)).collect();
        let service = &held.service;
        match ready.as_slice() {
            [] => self.line(format!("{service} has no ready endpoint.")),
            [one] => self.line(format!("{service} has one ready endpoint: {one}.")),
            many => self.line(format!("{service} has {} ready endpoints: {}.", many.len(), many.join(", "))),
        }
    }

    /// Nodes that are not Ready besides the one that carries.
    fn others(&mut self, node: &str) {
        let down = self.story.nodes.iter().filter(|(name, facts)| name.as_str() != node && facts.ready.is_some_and(|(ready, _)| !ready));
        let lines: Vec<String> = down
            .filter_map(|(name, facts)| {
                let (_, since) = facts.ready?;
                let last = facts.heartbeat.map(|last| format!(": its kubelet last reported at {}", self.moment(last))).unwrap_or_default();
                Some(format!("{name} is not Ready, since {}{last}.", self.ago(since)))
            })
            .collect();
        lines.into_iter().for_each(|line| self.line(line));
    }

    /// The Event behind the choice of the node.
    fn told(&self) -> String {
        let told = |told: &super::story::Told| format!(". Bellhop said at {}: {}: {}", self.moment(told.at), told.reason, told.message);
        self.story.decision.as_ref().map(told).unwrap_or_default()
    }

    fn leader(&mut self) {
        let line = match &self.story.leader {
            Some(leader) => {
                let (holder, renewed) = (&leader.holder, self.ago(leader.renewed));
                match self.story.idle.get(holder) {
                    Some((idle, since)) => {
                        let what = match idle {
                            Idle::Killed => "was killed",
                            Idle::Ended => "ended",
                            Idle::Frozen => "has stood still since",
                        };
                        let (since, until) = (self.ago(*since), leader.renewed + leader.duration);
                        let until = if until > self.story.at {
                            format!(
                                " So nobody answers for {} until another replica leads; the Lease is good until {}.",
                                self.story.address,
                                self.moment(until)
                            )
                        } else {
                            format!(" The Lease ran out at {}.", self.ago(until))
                        };
                        format!(
                            "The Lease is still that of Bellhop on {holder}, which last renewed it at {renewed}; but that replica {what} {}{since}.{until}",
                            if *idle == Idle::Frozen { "" } else { "at " }
                        )
                    }
                    None => {
                        format!("Bellhop on {holder} leads, since {}; it last renewed its Lease at {renewed}.", self.since(leader.since))
                    }
                }
            }
            None => "Nobody leads: the Lease has no holder.".to_owned(),
        };
        self.line(line);
    }

    fn faults(&mut self) {
        if self.story.faults.is_empty() {
            return self.line("No fault is on.".to_owned());
        }
        for (since, fault) in &self.story.faults {
            let step = fault.step.as_ref().map(|step| format!(" (step {step})")).unwrap_or_default();
            let until = fault.until.map(|until| format!(", until {}", self.moment(until))).unwrap_or_default();
            self.line(format!("On since {}{until}: {}{step}.", self.ago(*since), fault.words));
        }
    }

    fn wire(&mut self) {
        let (address, places) = (self.story.address, &self.header.places);
        let Some(Said { at, by, by_bellhop, source, mac, to }) = &self.story.said else {
            return self.line(format!("Nobody has said on the wire yet where {address} is."));
        };
        let who = if *by_bellhop { format!("Bellhop on {by}") } else { format!("The kernel of {by}") };
        let to =
            to.map_or_else(|| "everybody".to_owned(), |to| places.machine_with_address(to).map_or_else(|| to.to_string(), str::to_owned));
        let from = if source == mac { "from the same MAC".to_owned() } else { format!("in a frame from {}", places.mac(*source)) };
        self.line(format!(
            "Last heard on the wire, at {}: {who} told {to} that {address} is at {}, {from}.",
            self.ago(*at),
            places.mac(*mac)
        ));
    }

    fn clients(&mut self) {
        let address = self.story.address;
        let clients: Vec<String> =
            self.header.places.machines.iter().filter(|machine| !machine.is_node).map(|machine| machine.name.clone()).collect();
        for client in clients {
            let line = match self.story.tables.get(&client) {
                Some(Entry { since, state, mac: Some(mac) }) => {
                    format!("{client} has it at {} ({state} since {}).", self.header.places.mac(*mac), self.moment(*since))
                }
                Some(Entry { since, state, mac: None }) => format!("{client} knows no MAC for it ({state} since {}).", self.ago(*since)),
                None => format!("{client} has no entry for {address}: it has not asked."),
            };
            self.line(line);
        }
        for ((client, probing), Probe { answered, unanswered, failure }) in &self.story.probes {
            let verb = if *probing == Probing::Ping { "ping" } else { "curl" };
            let line = match (answered, unanswered) {
                (Some(last), None) => format!("{client}'s {verb} is answered; the last answer came at {}.", self.moment(*last)),
                (last, Some((first, count))) => {
                    let why = failure.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                    let last = last
                        .map_or_else(|| "there never was one".to_owned(), |last| format!("the last answer came at {}", self.moment(last)));
                    format!("{client}'s {verb} has had no answer since {}, {count} requests{why}; {last}.", self.ago(*first))
                }
                (None, None) => continue,
            };
            self.line(line);
        }
    }

    /// What follows from these facts for whoever asks why there is no answer.
    fn conclusion(&mut self) {
        let (story, places) = (self.story, &self.header.places);
        let Some((node, _)) = story.node.as_ref().filter(|_| story.probes.values().any(|probe| probe.unanswered.is_some())) else { return };
        for (client, entry) in &story.tables {
            let Some(machine) = entry.mac.and_then(|mac| places.machine_with_mac(mac)) else { continue };
            let machine = machine.to_owned();
            if let Some(since) = story.without_power.get(&machine) {
                self.line(format!("So what {client} sends goes to {machine}, which has had no power since {}.", self.moment(*since)));
            } else if machine != *node {
                self.line(format!("So what {client} sends goes to {machine}, and not to {node}, which carries the address."));
            }
        }
    }

    fn chronicle(&mut self) {
        let from = self.moment(Instant::from_nanos(self.story.at.as_nanos().saturating_sub(u64::try_from(LATELY.as_nanos()).unwrap_or(0))));
        if self.story.chronicle.is_empty() {
            let last = self.story.earlier.as_ref().map(|(at, words)| format!(" The last that did, at {}: {words}", self.ago(*at)));
            return self.line(format!("Since {from} nothing happened that concerns it.{}", last.unwrap_or_default()));
        }
        self.line(format!("Since {from}:"));
        for (at, words) in &self.story.chronicle {
            self.line(format!("{:<11} {words}", self.moment(*at)));
        }
    }
}

//! The world of real kernels, as the player sees it.
//!
//! It joins machines ([`crate::lan`]), processes, looks and terminals; it judges nothing. Captures, logs and the API server's address are
//! left in a folder of the run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use bellhop_scenario::feature::Feature;
use bellhop_scenario::{Action, Fault, Look, Observation, Scenario, Seen, Unplayable, World, WorldError};

use crate::capture;
use crate::clock::{Clock, Reporter};
use crate::cluster::Cluster;
pub use crate::cluster::Programs;
use crate::due::{Agenda, Due, Flap};
use crate::lan::Lan;
use crate::namespace::Namespace;
use crate::neighbors;
use crate::objects;
use crate::probe::{Curl, Ping};
use crate::process::Process;
use crate::terminal::{Seat, Terminal};

/// kubectl takes half a second to start while other worlds run beside this one; watches and tables are seen a fifth later.
const SLACK: Duration = Duration::from_secs(2);
/// Cables here are as fast as they are: a delay that somebody would notice does not exist.
const LONGEST_DELAY: Duration = Duration::from_millis(10);
/// How long the run goes on after the scenario's end, so that what was on its way arrives.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// Network namespaces with real kernels.
pub struct NetnsWorld {
    programs: Programs,
    out: PathBuf,
    run: Option<Run>,
    /// What was seen and not handed out yet, after the end too.
    seen: Option<Receiver<Observation>>,
}

/// A run under way. Fields are dropped in this order: processes before the namespaces that they are in.
struct Run {
    report: Reporter,
    probes: Vec<(Option<Duration>, Process)>,
    /// What is still to come of what was done.
    agenda: Agenda,
    /// The operator's (on no machine) and those on machines.
    terminals: Vec<(Option<String>, Terminal)>,
    captures: Vec<Process>,
    cluster: Cluster,
    lan: Lan,
    scenario: Scenario,
    out: PathBuf,
}

impl NetnsWorld {
    /// A world whose runs leave captures and logs in `out`.
    pub fn new(programs: Programs, out: PathBuf) -> Self {
        Self { programs, out, run: None, seen: None }
    }
}

impl World for NetnsWorld {
    fn name(&self) -> &str {
        "network namespaces"
    }

    fn supports(&self, scenario: &Scenario) -> Result<(), Unplayable> {
        let beyond = scenario.topology.beyond_plain().into_iter().filter(|(feature, _)| *feature != Feature::Ipv6).map(|(_, what)| what);
        let actions = scenario.timeline.iter().flat_map(|step| &step.actions);
        let faults = actions.filter(|action| !can_do(action)).map(|action| format!("the fault {}", action.key()));
        let faults: BTreeSet<String> = faults.collect();
        let slow = scenario.topology.segments.iter().filter(|(_, segment)| segment.latency.max > LONGEST_DELAY);
        let slow = slow.map(|(name, _)| format!("segment {name}: cables that delay by more than 10 ms"));
        let two = scenario
            .topology
            .segments
            .keys()
            .filter(|name| scenario.topology.switches.values().filter(|switch| switch.segment == **name).count() > 1);
        let two = two.map(|name| format!("segment {name}: more than one switch"));
        let missing: Vec<String> = slow.chain(two).chain(beyond).chain(faults).collect();
        if missing.is_empty() { Ok(()) } else { Err(Unplayable { missing }) }
    }

    fn slack(&self) -> Duration {
        SLACK
    }

    fn start(&mut self, scenario: &Scenario, looks: &[Look]) -> Result<(), WorldError> {
        self.begin(scenario, looks).map_err(|error| WorldError(format!("{error:#}")))
    }

    fn run_until(&mut self, at: Duration) -> Result<(), WorldError> {
        let run = self.running()?;
        loop {
            let now = run.report.clock.now();
            run.probes.retain(|(until, _)| until.is_none_or(|until| until > now));
            while let Some(due) = run.agenda.take(now) {
                run.due(due).map_err(|error| WorldError(format!("{error:#}")))?;
            }
            let ends = run.probes.iter().filter_map(|(until, _)| *until);
            let next = ends.chain(run.agenda.next()).chain([at]).min().unwrap_or(at);
            if now >= at {
                return Ok(());
            }
            std::thread::sleep(next.saturating_sub(now));
        }
    }

    fn now(&self) -> Duration {
        self.run.as_ref().map_or(Duration::ZERO, |run| run.report.clock.now())
    }

    fn act(&mut self, action: &Action) -> Result<(), WorldError> {
        self.running()?.act(action).map_err(|error| WorldError(format!("{error:#}")))
    }

    fn observations(&mut self) -> Vec<Observation> {
        if let Some(run) = &mut self.run {
            for (machine, detail) in run.cluster.crashed() {
                run.report.now(Seen::Crash { machine, detail });
            }
        }
        let mut seen: Vec<_> = self.seen.iter().flat_map(Receiver::try_iter).collect();
        seen.sort_by_key(|observation| observation.at);
        seen
    }

    fn finish(&mut self) -> Result<(), WorldError> {
        if let Some(mut run) = self.run.take() {
            std::thread::sleep(AFTERMATH);
            run.terminals.iter().for_each(|(_, terminal)| terminal.wait(Duration::from_secs(10)));
            run.probes.clear();
            for (machine, detail) in run.cluster.crashed() {
                run.report.now(Seen::Crash { machine, detail });
            }
            // The readers of pings hand in their last words.
            std::thread::sleep(Duration::from_millis(200));
            if run.captures.iter_mut().any(|capture| capture.ended().is_some()) {
                run.report.looks.fails("the wire", "tcpdump ended: see tcpdump.log");
            }
            if let Some(blind) = run.report.looks.blind() {
                return Err(WorldError(blind));
            }
        }
        Ok(())
    }
}

impl NetnsWorld {
    fn running(&mut self) -> Result<&mut Run, WorldError> {
        self.run.as_mut().ok_or_else(|| WorldError("the world has not started".to_owned()))
    }

    fn begin(&mut self, scenario: &Scenario, looks: &[Look]) -> Result<()> {
        // An absolute path: commands run in the scenario's folder.
        std::fs::create_dir_all(&self.out)?;
        let out = self.out.canonicalize()?;
        let mut scenario = scenario.clone();
        scenario.folder = scenario.folder.canonicalize().context("the scenario's folder")?;
        let lan = Lan::new(&scenario.topology)?;
        let mut captures = Vec::new();
        for segment in scenario.topology.segments.keys() {
            captures.push(capture_segment(&lan, segment, &out)?);
        }
        let mut cluster = Cluster::start(&self.programs, &scenario, &out)?;
        cluster.boot(&lan)?;
        let (sender, seen) = channel();
        let report = Reporter::new(Clock::start(), sender);
        self.seen = Some(seen);
        let run =
            Run { report, probes: Vec::new(), agenda: Agenda::default(), terminals: Vec::new(), captures, cluster, lan, scenario, out };
        run.look(looks)?;
        self.run = Some(run);
        Ok(())
    }
}

/// Whether this world can do such a thing. What cables do to frames, a machine that stands still, its clock, and what an API server does to
/// single requests are the simulator's alone.
fn can_do<M>(action: &Action<M>) -> bool {
    let Action::Fault { fault, .. } = action else { return true };
    matches!(fault, Fault::SetMac { .. } | Fault::Flap { .. } | Fault::FreezeBellhop { .. } | Fault::ClaimAddress { .. })
}

/// An address as the only one of its subnet. The kernel looks for duplicates of one of IPv6.
fn alone(address: std::net::IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// tcpdump on a segment, once it has begun.
fn capture_segment(lan: &Lan, segment: &str, out: &std::path::Path) -> Result<Process> {
    let file = out.join(format!("{segment}.pcap"));
    let mut command = capture::tcpdump(segment, &file);
    let mut process = lan.switches().inside(|| Process::start(&mut command, &out.join("tcpdump.log")))??;
    for _ in 0..100 {
        if std::fs::metadata(&file).is_ok_and(|file| file.len() > 0) || process.ended().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(process)
}

impl Run {
    /// Begins to look.
    fn look(&self, looks: &[Look]) -> Result<()> {
        for machine in self.scenario.topology.nodes.keys().chain(self.scenario.topology.clients.keys()) {
            self.report_nics(machine)?;
        }
        for look in looks {
            match look {
                Look::Objects { api_version, kind } => objects::watch(self.cluster.server, api_version, kind, self.report.clone()),
                Look::Neighbors { machine } => neighbors::watch(machine, self.lan.machine(machine)?.clone(), self.report.clone()),
                Look::Frames => {
                    for segment in self.scenario.topology.segments.keys() {
                        let file = self.out.join(format!("{segment}.pcap"));
                        capture::follow(segment, &file, self.report.clone()).context("tcpdump has not begun: see tcpdump.log")?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Says which MACs a machine has, of those that the scenario leaves to the world too.
    fn report_nics(&self, machine: &str) -> Result<()> {
        for (nic, mac) in self.lan.macs(machine)? {
            let mac = mac.parse().map_err(|_| anyhow::anyhow!("{mac} is no MAC"))?;
            self.report.now(Seen::Nic { machine: machine.to_owned(), nic, mac });
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Run { run, on: None, command } => self.operator()?.run(*run, command.argv.clone()),
            Action::Run { run, on: Some(machine), command } => {
                // Each in a window of its own: a ping that waits for answers holds nothing up.
                let terminal = self.open_terminal(self.lan.machine(machine)?.clone());
                terminal.run(*run, command.argv.clone());
                self.terminals.push((Some(machine.clone()), terminal));
            }
            Action::Edit(edit) => self.operator()?.edit(edit.clone()),
            Action::Ping { probe, from, to, every, until } => {
                let ping = Ping { probe: *probe, from: from.clone(), to: *to, every: *every };
                let process = ping.start(self.lan.machine(from)?, &self.out.join("ping.log"), self.report.clone())?;
                self.probes.push((*until, process));
            }
            Action::Curl { probe, from, url, every, until, limit } => {
                let (probe, from, url) = (*probe, from.clone(), url.clone());
                let namespace = self.lan.machine(&from)?.clone();
                Curl { probe, from, url, every: *every, until: *until, limit: *limit }.start(namespace, self.report.clone())?;
            }
            Action::PowerOff(machine) => {
                self.cluster.kill_node(machine);
                self.terminals.retain(|(on, _)| on.as_ref() != Some(machine));
                self.lan.power_off(machine)?;
            }
            Action::PowerOn(machine) => {
                self.lan.power_on(machine)?;
                self.report_nics(machine)?;
                if self.scenario.topology.nodes.contains_key(machine) {
                    self.cluster.restart_node(machine, &self.lan)?;
                }
            }
            Action::NicDown { machine, nic } => drop(self.lan.machine(machine)?.ip(&format!("link set {nic} down"))?),
            Action::NicUp { machine, nic } => drop(self.lan.machine(machine)?.ip(&format!("link set {nic} up"))?),
            Action::KillBellhop(machine) => self.cluster.kill_bellhop(machine),
            Action::StopBellhop(machine) => {
                if !self.cluster.stop_bellhop(machine) {
                    self.report.now(Seen::Note { text: format!("Bellhop on {machine} did not end on SIGTERM") });
                }
            }
            Action::StartBellhop(machine) => self.cluster.start_bellhop(machine, &self.lan)?,
            Action::ApiDown => self.cluster.close_relays(),
            Action::ApiUp => self.cluster.open_relays(&self.lan)?,
            Action::Reboot { machine, off } => {
                let back = self.report.clock.now() + *off;
                self.act(&Action::PowerOff(machine.clone()))?;
                self.agenda.at(back, Due::Do(Action::PowerOn(machine.clone())));
            }
            Action::RestartBellhop(machine) => {
                self.cluster.kill_bellhop(machine);
                self.cluster.start_bellhop(machine, &self.lan)?;
            }
            Action::Fault { fault, lasts } => self.fault(fault, *lasts)?,
        }
        Ok(())
    }

    /// Something goes wrong.
    fn fault(&mut self, fault: &Fault, lasts: Option<Duration>) -> Result<()> {
        let now = self.report.clock.now();
        let end = lasts.map(|lasts| now + lasts);
        match fault {
            Fault::SetMac { machine, nic, mac } => {
                self.lan.machine(machine)?.ip(&format!("link set {nic} address {mac}"))?;
                self.report_nics(machine)?;
            }
            Fault::Flap { machine, nic, every } => {
                let (machine, nic, end) = (machine.clone(), nic.clone(), end.unwrap_or(self.scenario.stop));
                self.agenda.at(now, Due::Flap(Flap { machine, nic, every: *every, end, is_up: true }));
            }
            Fault::FreezeBellhop { machine } => {
                if !self.cluster.freeze_bellhop(machine, true) {
                    self.report.now(Seen::Note { text: format!("no Bellhop runs on {machine}") });
                }
                end.into_iter().for_each(|end| self.agenda.at(end, Due::Thaw(machine.clone())));
            }
            Fault::ClaimAddress { machine, address } => {
                let nic = self.lan.macs(machine)?.into_keys().next().context("a machine without a NIC")?;
                self.lan.machine(machine)?.ip(&format!("address add {} dev {nic}", alone(*address)))?;
                end.into_iter().for_each(|end| self.agenda.at(end, Due::Release(machine.clone(), *address)));
            }
            other => anyhow::bail!("not playable here: {other}"),
        }
        end.into_iter().for_each(|end| self.agenda.at(end, Due::Over(fault.clone())));
        Ok(())
    }

    /// What is to come has come. A machine that has lost its power meanwhile has lost the fault with it.
    fn due(&mut self, due: Due) -> Result<()> {
        match due {
            Due::Flap(flap) => {
                if self.lan.machine(&flap.machine).is_err() {
                    return Ok(());
                }
                let (change, next) = flap.step(self.report.clock.now());
                next.into_iter().for_each(|(at, flap)| self.agenda.at(at, Due::Flap(flap)));
                self.act(&change)
            }
            Due::Do(action) => self.act(&action),
            Due::Thaw(machine) => {
                self.cluster.freeze_bellhop(&machine, false);
                Ok(())
            }
            Due::Release(machine, address) => {
                let Ok(namespace) = self.lan.machine(&machine) else { return Ok(()) };
                let nic = self.lan.macs(&machine)?.into_keys().next().context("a machine without a NIC")?;
                // After a power cycle it is not there any more.
                let _ = namespace.ip(&format!("address del {} dev {nic}", alone(address)));
                Ok(())
            }
            Due::Over(fault) => {
                self.report.now(Seen::Note { text: fault.over() });
                Ok(())
            }
        }
    }

    /// The operator's terminal, where one command follows the other.
    fn operator(&mut self) -> Result<Terminal> {
        if let Some((_, terminal)) = self.terminals.iter().find(|(on, _)| on.is_none()) {
            return Ok(terminal.clone());
        }
        let terminal = self.open_terminal(Namespace::current()?);
        self.terminals.push((None, terminal.clone()));
        Ok(terminal)
    }

    fn open_terminal(&self, namespace: Namespace) -> Terminal {
        let seat = Seat { namespace, folder: self.scenario.folder.clone(), kubeconfig: self.cluster.kubeconfig.clone() };
        Terminal::open(seat, self.report.clone())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // tcpdump writes what it still holds.
        for capture in &mut self.captures {
            capture.signal(nix::sys::signal::Signal::SIGTERM);
            capture.wait(Duration::from_secs(2));
        }
    }
}

//! The world of real Kubernetes, as the player of scenario files sees it. It judges nothing.
//!
//! The cluster is the suite's own and is there before a file is played; [`super::case`] puts it back afterwards. What a file may ask for of it
//! stands in [`super::playable`].

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bellhop_scenario::{Action, Look, Observation, Scenario, Seen, Unplayable, World, WorldError};
use nix::sys::signal::Signal;

use super::machine::{Machine, NIC};
use super::playable;
use super::suite::{Bench, CLIENT};
use crate::capture;
use crate::clock::{Clock, Reporter};
use crate::neighbors;
use crate::objects;
use crate::probe::{Curl, Ping};
use crate::process::Process;
use crate::terminal::{Seat, Terminal};

/// Containers start, kubelets report and endpoints follow in their own time, all of them on this machine.
const SLACK: Duration = Duration::from_secs(5);
/// How long the run goes on after the scenario's end, so that what was on its way arrives.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// A kind cluster.
pub(crate) struct KindWorld<'a> {
    bench: &'a Bench,
    out: PathBuf,
    run: Option<Run<'a>>,
    /// What was seen and not handed out yet, after the end too.
    seen: Option<Receiver<Observation>>,
}

/// A run under way. Fields are dropped in this order.
struct Run<'a> {
    bench: &'a Bench,
    report: Reporter,
    probes: Vec<(Option<Duration>, Process)>,
    terminals: Vec<(Option<String>, Terminal)>,
    capture: Process,
    /// `kubectl proxy`: the API without its encryption, for looks.
    proxy: Process,
    clients: Vec<(String, Machine)>,
    scenario: Scenario,
    out: PathBuf,
}

impl<'a> KindWorld<'a> {
    /// A world whose run leaves captures and logs in `out`.
    pub(crate) fn new(bench: &'a Bench, out: &Path) -> Self {
        Self { bench, out: out.to_owned(), run: None, seen: None }
    }

    fn running(&mut self) -> Result<&mut Run<'a>, WorldError> {
        self.run.as_mut().ok_or_else(|| WorldError("the world has not started".to_owned()))
    }
}

impl World for KindWorld<'_> {
    fn name(&self) -> &str {
        "kind"
    }

    fn supports(&self, scenario: &Scenario) -> Result<(), Unplayable> {
        let missing = playable::missing(scenario, self.bench);
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
            if now >= at {
                return Ok(());
            }
            let next = run.probes.iter().filter_map(|(until, _)| *until).chain([at]).min().unwrap_or(at);
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
        let mut seen: Vec<_> = self.seen.iter().flat_map(Receiver::try_iter).collect();
        seen.sort_by_key(|observation| observation.at);
        seen
    }

    fn finish(&mut self) -> Result<(), WorldError> {
        let Some(mut run) = self.run.take() else { return Ok(()) };
        std::thread::sleep(AFTERMATH);
        run.terminals.iter().for_each(|(_, terminal)| terminal.wait(Duration::from_secs(10)));
        run.probes.clear();
        // The readers of pings hand in their last words.
        std::thread::sleep(Duration::from_millis(200));
        for (what, process) in [("the wire", &mut run.capture), ("the API", &mut run.proxy)] {
            if process.ended().is_some() {
                run.report.looks.fails(what, process.last_words());
            }
        }
        run.report.looks.blind().map_or(Ok(()), |blind| Err(WorldError(blind)))
    }
}

impl<'a> KindWorld<'a> {
    fn begin(&mut self, scenario: &Scenario, looks: &[Look]) -> Result<()> {
        let bench = self.bench;
        let mut scenario = scenario.clone();
        scenario.folder = scenario.folder.canonicalize().context("the scenario's folder")?;
        let docker = &bench.cluster.docker;
        let wire = self.out.join("lan0.pcap");
        let mut command = capture::tcpdump(bench.cluster.bridge, &wire);
        let capture = docker.namespace.inside(|| Process::start(&mut command, &self.out.join("tcpdump-lan0.log")))??;
        let mut command = bench.cluster.kubectl_for_ever();
        command.args(["proxy", "--port=0"]);
        let (proxy, printed) = docker.namespace.inside(|| Process::start_piped(&mut command, &self.out.join("proxy.log")))??;
        let mut line = String::new();
        BufReader::new(printed).read_line(&mut line)?;
        let server: SocketAddr =
            line.trim().rsplit(' ').next().unwrap_or_default().parse().context("kubectl proxy did not say where it listens")?;
        let mut clients = Vec::new();
        for (index, (name, client)) in scenario.topology.clients.iter().enumerate() {
            let machine = if client.ip.addr().to_string() == CLIENT {
                bench.client.clone()
            } else {
                let mac = client.mac.map_or_else(|| format!("52:54:22:00:01:{index:02x}"), |mac| mac.to_string());
                let addresses = [Some(client.ip.to_string()), client.ipv6.map(|ip| ip.to_string())];
                let addresses: Vec<&str> = addresses.iter().flatten().map(String::as_str).collect();
                Machine::connect(&format!("client{index}"), &mac, &addresses, &bench.cluster)?
            };
            clients.push((name.clone(), machine));
        }
        super::patience::wait_for("the capture", Duration::from_secs(10), || {
            if std::fs::metadata(&wire)?.len() > 0 { Ok(()) } else { bail!("it has not begun") }
        })?;
        let (sender, seen) = channel();
        let report = Reporter::new(Clock::start(), sender);
        self.seen = Some(seen);
        let out = self.out.clone();
        let run = Run { bench, report, probes: Vec::new(), terminals: Vec::new(), capture, proxy, clients, scenario, out };
        run.look(looks, server, &wire)?;
        self.run = Some(run);
        Ok(())
    }
}

impl Run<'_> {
    /// Begins to look.
    fn look(&self, looks: &[Look], server: SocketAddr, wire: &Path) -> Result<()> {
        for node in &self.bench.cluster.nodes {
            self.report_nic(&node.name, &node.mac)?;
        }
        for (name, client) in &self.clients {
            self.report_nic(name, &client.mac()?)?;
        }
        for look in looks {
            match look {
                // The thread that watches stays where it was started.
                Look::Objects { api_version, kind } => {
                    let watch = || objects::watch(server, api_version, kind, self.report.clone());
                    self.bench.cluster.docker.namespace.inside(watch)?;
                }
                Look::Neighbors { machine } => neighbors::watch(machine, self.client(machine)?.namespace.clone(), self.report.clone()),
                Look::Frames => {
                    let segment = self.scenario.topology.segments.keys().next().map_or("lan0", String::as_str);
                    capture::follow(segment, wire, self.report.clone())?;
                }
            }
        }
        Ok(())
    }

    fn report_nic(&self, machine: &str, mac: &str) -> Result<()> {
        let mac = mac.parse().map_err(|_| anyhow::anyhow!("{mac} is no MAC"))?;
        self.report.now(Seen::Nic { machine: machine.to_owned(), nic: NIC.to_owned(), mac });
        Ok(())
    }

    fn client(&self, name: &str) -> Result<&Machine> {
        self.clients.iter().find(|(client, _)| client == name).map(|(_, machine)| machine).with_context(|| format!("{name} is no client"))
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Run { run, on, command } => self.terminal(on.as_ref())?.run(*run, command.argv.clone()),
            Action::Edit(edit) => self.terminal(None)?.edit(edit.clone()),
            Action::Ping { probe, from, to, every, until } => {
                let ping = Ping { probe: *probe, from: from.clone(), to: *to, every: *every };
                let process = ping.start(&self.client(from)?.namespace, &self.out.join("ping.log"), self.report.clone())?;
                self.probes.push((*until, process));
            }
            Action::Curl { probe, from, url, every, until, limit } => {
                let (probe, from, url) = (*probe, from.clone(), url.clone());
                let namespace = self.client(&from)?.namespace.clone();
                Curl { probe, from, url, every: *every, until: *until, limit: *limit }.start(namespace, self.report.clone())?;
            }
            Action::NicDown { machine, .. } => self.bench.cluster.cable(self.bench.cluster.node(machine)?, false)?,
            Action::NicUp { machine, .. } => self.bench.cluster.cable(self.bench.cluster.node(machine)?, true)?,
            other => bail!("not playable here: {}", other.key()),
        }
        Ok(())
    }

    /// The operator's terminal, where one command follows the other; on machines each command has a window of its own, so that a ping
    /// that waits for answers holds nothing up.
    fn terminal(&mut self, on: Option<&String>) -> Result<Terminal> {
        if let (None, Some((_, terminal))) = (on, self.terminals.iter().find(|(on, _)| on.is_none())) {
            return Ok(terminal.clone());
        }
        let namespace = match on {
            Some(machine) => self.client(machine)?.namespace.clone(),
            None => self.bench.cluster.docker.namespace.clone(),
        };
        let seat = Seat { namespace, folder: self.scenario.folder.clone(), kubeconfig: self.bench.cluster.kubeconfig.clone() };
        let terminal = Terminal::open(seat, self.report.clone());
        self.terminals.push((on.cloned(), terminal.clone()));
        Ok(terminal)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // tcpdump writes what it still holds.
        self.capture.signal(Signal::SIGTERM);
        self.capture.wait(Duration::from_secs(2));
    }
}

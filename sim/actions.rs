//! What a timeline does to the simulator. Faults, which last, are in `faults`; what they ask of the fabric is in `lan`.

mod faults;
mod lan;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bellhop::env::Clock;
use bellhop_apiserver::ClientName;
use bellhop_core::object::Family;
use bellhop_core::time::Instant;
use bellhop_fabric::{CurlOptions, MachineId, NicId, PingOptions};
use bellhop_scenario::command::{Command, CommandLine};
use bellhop_scenario::{Action, Edit, RunId, Seen};

pub(crate) use faults::Ongoing;
pub(crate) use lan::Intruder;

use crate::eye::Purpose;
use crate::kubectl::{Failure, Operator};
use crate::programs::Key;
use crate::stage::{Alarm, Curling, Stage};

impl Stage {
    /// Does one thing, now.
    pub(crate) fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Run { run, on, command } => self.run(*run, on.as_deref(), command),
            Action::Edit(edit) => {
                self.edit(edit.clone());
                Ok(())
            }
            Action::Ping { probe, from, to, every, until } => {
                let machine = self.machine(from)?;
                let options = PingOptions { to: *to, interval: *every, count: None };
                let ping = self.lan.fabric.borrow_mut().ping(machine, options);
                self.eye.pings.insert(ping, Purpose::Probe { probe: *probe, from: from.clone(), target: to.to_string() });
                if let Some(until) = until {
                    self.set_alarm(self.zero + *until, Alarm::StopPing(ping));
                }
                Ok(())
            }
            Action::Curl { probe, from, url, every, until, limit } => {
                destination(url)?;
                let until = until.map(|until| self.zero + until);
                self.machine(from)?;
                self.curl_again(Curling { probe: *probe, from: from.clone(), url: url.clone(), every: *every, until, limit: *limit });
                Ok(())
            }
            Action::PowerOff(machine) => {
                self.cancel_power_on(machine);
                self.power_off(machine)
            }
            Action::PowerOn(machine) => {
                self.cancel_power_on(machine);
                self.power_on(machine)
            }
            Action::Reboot { machine, off } => {
                self.cancel_power_on(machine);
                self.power_off(machine)?;
                self.set_alarm(self.clock.now() + *off, Alarm::PowerOn(machine.clone()));
                Ok(())
            }
            Action::NicDown { machine, nic } => {
                let id = self.nic(machine, nic)?;
                self.lan.fabric.borrow_mut().nic_down(id);
                self.ordeal.unplug(machine, nic, self.clock.now());
                Ok(())
            }
            Action::NicUp { machine, nic } => {
                let id = self.nic(machine, nic)?;
                self.lan.fabric.borrow_mut().nic_up(id);
                self.ordeal.plug(machine, nic, self.clock.now());
                Ok(())
            }
            Action::KillBellhop(machine) => {
                self.installed.remove(machine);
                self.kill_bellhop(machine);
                Ok(())
            }
            Action::StopBellhop(machine) => {
                self.installed.remove(machine);
                if let Some(shutdown) = self.shutdowns.get(machine) {
                    shutdown.cancel();
                }
                Ok(())
            }
            Action::StartBellhop(machine) => {
                self.installed.insert(machine.clone());
                if self.programs.runs(&Key::Bellhop(machine.clone())) || !self.is_powered(machine)? {
                    return Ok(());
                }
                self.start_bellhop(machine)
            }
            Action::RestartBellhop(machine) => {
                self.installed.insert(machine.clone());
                self.kill_bellhop(machine);
                if self.is_powered(machine)? { self.start_bellhop(machine) } else { Ok(()) }
            }
            Action::ApiDown => self.api_down(),
            Action::ApiUp => {
                self.api_up();
                Ok(())
            }
            Action::Fault { fault, lasts } => self.begin(fault, *lasts),
        }
    }

    /// Everything on the machine is gone at once.
    fn power_off(&mut self, machine: &str) -> Result<(), String> {
        let id = self.machine(machine)?;
        if self.is_powered(machine)? {
            self.ordeal.off.entry(machine.to_owned()).or_default().push((self.clock.now(), Instant::FAR_FUTURE));
        }
        self.programs.kill(&Key::Node(machine.to_owned()));
        self.kill_bellhop(machine);
        self.lan.fabric.borrow_mut().power_off(id);
        *self.boots.entry(machine.to_owned()).or_default() += 1;
        self.work_out();
        self.finish_pings();
        Ok(())
    }

    /// A reboot that somebody's hand on the switch overtakes.
    fn cancel_power_on(&mut self, machine: &str) {
        self.alarms.retain(|_, alarm| !matches!(alarm, Alarm::PowerOn(of) if of == machine));
    }

    /// How often the machine's power went off or on: the number of its life.
    fn boots(&self, machine: &str) -> Result<u32, String> {
        self.machine(machine)?;
        Ok(self.boots.get(machine).copied().unwrap_or_default())
    }

    /// The machine boots, and what is meant to run there starts.
    pub(crate) fn power_on(&mut self, machine: &str) -> Result<(), String> {
        let id = self.machine(machine)?;
        if self.is_powered(machine)? {
            return Ok(());
        }
        self.lan.fabric.borrow_mut().power_on(id);
        if let Some((_, until)) = self.ordeal.off.get_mut(machine).and_then(|off| off.last_mut()) {
            *until = self.clock.now();
        }
        *self.boots.entry(machine.to_owned()).or_default() += 1;
        if self.machines.nodes.contains_key(machine) {
            self.start_node(machine)?;
        }
        if self.installed.contains(machine) {
            self.start_bellhop(machine)?;
        }
        Ok(())
    }

    pub(crate) fn kill_bellhop(&mut self, machine: &str) {
        if self.programs.kill(&Key::Bellhop(machine.to_owned())) {
            self.ordeal.deaths.entry(machine.to_owned()).or_default().push(self.clock.now());
        }
        self.shutdowns.remove(machine);
    }

    /// A command line.
    fn run(&mut self, run: RunId, on: Option<&str>, command: &Command) -> Result<(), String> {
        let now = self.clock.now();
        match &command.what {
            CommandLine::Kubectl(kubectl) => {
                let (operator, log, clock, zero) = (self.operator(), self.eye.log(), self.clock.clone(), self.zero);
                let kubectl = kubectl.clone();
                self.start_operator(async move {
                    let printed = operator.run(&kubectl).await;
                    let started = now.saturating_since(zero);
                    log.say(clock.now(), Seen::Output { run, started, text: printed.text, exit: printed.exit });
                    Ok(())
                });
                Ok(())
            }
            CommandLine::Ping { count, interval, to } => {
                let machine = self.asking(on)?;
                let options = PingOptions { to: *to, interval: *interval, count: u32::try_from(*count).ok() };
                let ping = self.lan.fabric.borrow_mut().ping(machine, options);
                self.eye.pings.insert(ping, Purpose::Command { run });
                self.counted.insert(ping, (run, now));
                self.finish_pings();
                Ok(())
            }
            CommandLine::IpNeigh { family, to } => {
                let machine = self.asking(on)?;
                let fabric = self.lan.fabric.borrow();
                let of_family = |address| family.is_none_or(|family| family == Family::of(address));
                let asked = |address| to.is_none_or(|to| to == address) && of_family(address);
                let lines = fabric.neighbors(machine).into_iter().filter(|entry| asked(entry.address));
                let text = lines.map(|entry| format!("{entry}\n")).collect();
                self.eye.log().say(now, Seen::Output { run, started: now.saturating_since(self.zero), text, exit: 0 });
                Ok(())
            }
            CommandLine::Curl { limit, url } => {
                let machine = self.asking(on)?;
                let options = CurlOptions { max_time: *limit, ..destination(url)? };
                let curl = self.lan.fabric.borrow_mut().curl(machine, options);
                self.eye.curls.insert(curl, Purpose::Command { run });
                Ok(())
            }
        }
    }

    /// One request of a continuous curl, and the alarm for the next.
    pub(crate) fn curl_again(&mut self, curling: Curling) {
        let now = self.lan.fabric.borrow().now();
        if curling.until.is_some_and(|until| now >= until) {
            return;
        }
        let (Ok(machine), Ok(options)) = (self.machine(&curling.from), destination(&curling.url)) else { return };
        let options = CurlOptions { max_time: Some(curling.limit), ..options };
        let curl = self.lan.fabric.borrow_mut().curl(machine, options);
        let purpose = Purpose::Probe { probe: curling.probe, from: curling.from.clone(), target: curling.url.clone() };
        self.eye.curls.insert(curl, purpose);
        self.eye.asking.borrow_mut().insert(curl, now);
        self.set_alarm(now + curling.every.max(Duration::from_millis(1)), Alarm::Curl(curling));
    }

    /// `kubectl edit`, whose editor is closed at once.
    fn edit(&mut self, edit: Edit) {
        let (operator, log, clock) = (self.operator(), self.eye.log(), self.clock.clone());
        self.start_operator(async move {
            if let Err(Failure(text)) = operator.edit(&edit).await {
                log.say(clock.now(), Seen::Note { text });
            }
            Ok(())
        });
    }

    fn start_operator(&mut self, body: impl Future<Output = anyhow::Result<()>> + 'static) {
        self.commands += 1;
        self.programs.start(Key::Operator(self.commands), body);
    }

    /// Someone at a terminal, now.
    fn operator(&self) -> Operator {
        let address = self.machines.nodes.values().next().map_or(Ipv4Addr::LOCALHOST, |(ip, _)| *ip);
        Operator {
            client: kube::Client::new(self.api.client_service(ClientName::from("kubectl")), "default"),
            folder: self.scenario.folder.clone(),
            server: format!("{address}:6443"),
            now: self.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }

    /// The machine at whose terminal a command is typed.
    fn asking(&self, on: Option<&str>) -> Result<MachineId, String> {
        self.machine(on.ok_or("ping, ip and curl need a machine to be typed on")?)
    }

    pub(crate) fn machine(&self, name: &str) -> Result<MachineId, String> {
        self.machines.ids.get(name).copied().ok_or_else(|| format!("no machine {name}"))
    }

    pub(crate) fn is_powered(&self, name: &str) -> Result<bool, String> {
        Ok(self.lan.fabric.borrow().is_powered(self.machine(name)?))
    }

    fn nic(&self, machine: &str, nic: &str) -> Result<NicId, String> {
        let id = self.machine(machine)?;
        self.lan.fabric.borrow().nic(id, nic).ok_or_else(|| format!("{machine} has no NIC {nic}"))
    }
}

/// Address, port and path of a URL as scenarios have them.
fn destination(url: &str) -> Result<CurlOptions, String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').map_or_else(|| (rest, "/".to_owned()), |(host, path)| (host, format!("/{path}")));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = host.parse().or_else(|_| bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 80)));
    let to: SocketAddr = address.map_err(|_| format!("{url}: not the URL of an address"))?;
    Ok(CurlOptions { to, path, connect_timeout: None, max_time: None })
}

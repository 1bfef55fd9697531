//! Faults that begin, last and end.
//!
//! Every fault that is on stands in a list under a number of its own. What a machine, a program or a client of the API meets is worked out from
//! that list whenever it changes, so that faults of one kind overlap freely: when one ends, the others go on. What is frozen is one boot of a
//! machine or one process: what comes after it is not. All other faults wait for a machine that is off or a replica that does not run.

use std::collections::BTreeSet;
use std::time::Duration;

use bellhop::env::Clock;
use bellhop_apiserver::{self as apiserver, ClientName, FaultId};
use bellhop_core::time::Instant;
use bellhop_scenario::Seen;
use bellhop_scenario::fault::{Api, Fault, Gone};

use super::lan;
use crate::invariants::Disturbance;
use crate::programs::Key;
use crate::stage::{Alarm, Stage};

/// The kubelet's first pause before it starts a container again (`CrashLoopBackOff` begins with 10 s; kubelet, `containerBackOff`).
const BACK_OFF: Duration = Duration::from_secs(10);

/// A fault that is on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ongoing {
    /// What.
    pub(crate) fault: Fault,
    /// Since when, in the world's time.
    pub(crate) since: Instant,
    /// Until when; `None`: until somebody ends it, or until it strikes.
    pub(crate) until: Option<Instant>,
    /// Whom it has got hold of: a frozen machine or replica that ends is not frozen when it comes back.
    hold: Option<u32>,
}

impl Stage {
    /// Which faults are on, the oldest first. An API server that is away is among them; machines that are off are not.
    pub(crate) fn ongoing(&self) -> impl Iterator<Item = &Ongoing> {
        self.faults.values()
    }

    /// Lets a fault begin, and end after `lasts`.
    pub(super) fn begin(&mut self, fault: &Fault, lasts: Option<Duration>) -> Result<(), String> {
        let since = self.clock.now();
        if let Fault::SetMac { machine, nic, mac } = fault {
            return lan::set_mac(self, machine, nic, *mac);
        }
        let hold = match fault {
            Fault::Freeze { machine } => Some(self.boots(machine)?),
            Fault::FreezeBellhop { machine } => {
                self.machine(machine)?;
                Some(self.starts_of(&Key::Bellhop(machine.clone())))
            }
            Fault::Api { replica: Some(machine), .. } | Fault::Unready { machine: Some(machine), .. } => {
                self.machine(machine).map(|_| None)?
            }
            _ => None,
        };
        let until = lasts.map(|lasts| since + lasts);
        let id = self.faults_begun;
        self.faults_begun += 1;
        self.faults.insert(id, Ongoing { fault: fault.clone(), since, until, hold });
        if let Err(why) = self.take_effect(id, fault) {
            self.faults.remove(&id);
            return Err(why);
        }
        if let Some(until) = until {
            self.set_alarm(until, Alarm::EndFault(id));
        }
        Ok(())
    }

    /// The API server goes away for everybody, until [`Stage::api_up`].
    pub(super) fn api_down(&mut self) -> Result<(), String> {
        let fault = Fault::Api { replica: None, api: Api { down: true, ..Api::default() } };
        self.api_up();
        self.begin(&fault, None)?;
        self.outage = self.faults.keys().next_back().copied();
        Ok(())
    }

    /// It is back.
    pub(super) fn api_up(&mut self) {
        if let Some(id) = self.outage.take() {
            self.end_fault(id);
        }
    }

    /// Ends a fault; one that has ended already is fine.
    pub(crate) fn end_fault(&mut self, id: u64) {
        let Some(Ongoing { fault, since, until, .. }) = self.faults.remove(&id) else { return };
        let now = self.clock.now();
        self.ordeal.disturbances.extend(disturbance(&fault, since, now));
        if until.is_some() {
            self.eye.log().say(now, Seen::Note { text: fault.over() });
        }
        match &fault {
            Fault::Api { replica, .. } => self.api.clear_fault(replica.as_deref().map(replica_name).as_ref(), FaultId(id)),
            Fault::DieAtWrite { machine, .. } => self.spare(machine),
            Fault::Flap { machine, nic, .. } => _ = lan::set_carrier(self, machine, nic, true),
            Fault::Cable { .. } | Fault::Uplink { .. } | Fault::ClaimAddress { .. } | Fault::SpoofArp { .. } | Fault::Storm { .. } => {
                lan::end(self, id, &fault);
            }
            _ => {}
        }
        self.work_out();
    }

    /// Ends every fault that is on, and lets machines that are rebooting and replicas that wait to be started again come up now. What a
    /// timeline switched off by itself stays so.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.outage = None;
        for id in self.faults.keys().copied().collect::<Vec<_>>() {
            self.end_fault(id);
        }
        let is_pending = |alarm: &Alarm| matches!(alarm, Alarm::PowerOn(_) | Alarm::StartAgain(_));
        let pending: Vec<_> = self.alarms.iter().filter(|(_, alarm)| is_pending(alarm)).map(|(at, _)| *at).collect();
        for at in pending {
            match self.alarms.remove(&at) {
                Some(Alarm::PowerOn(machine)) => self.power_on(&machine)?,
                Some(Alarm::StartAgain(machine)) => self.start_again(&machine)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The next change of a link that flaps.
    pub(crate) fn flap(&mut self, id: u64, carrier: bool) {
        let Some(Ongoing { fault: Fault::Flap { machine, nic, every }, .. }) = self.faults.get(&id) else { return };
        let (machine, nic, every) = (machine.clone(), nic.clone(), every.max(&Duration::from_millis(1)).to_owned());
        _ = lan::set_carrier(self, &machine, &nic, carrier);
        self.set_alarm(self.clock.now() + every, Alarm::Flap(id, !carrier));
    }

    /// Ends the replicas that died at a write, as the kernel would have at that moment.
    pub(crate) fn bury(&mut self) {
        let dead: Vec<String> = std::mem::take(&mut *self.dead.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for machine in dead {
            let struck = |ongoing: &Ongoing| matches!(&ongoing.fault, Fault::DieAtWrite { machine: of, .. } if *of == machine);
            self.faults.retain(|_, ongoing| !struck(ongoing));
            self.kill_bellhop(&machine);
            self.set_alarm(self.clock.now() + BACK_OFF, Alarm::StartAgain(machine));
        }
    }

    /// The kubelet starts a replica again, if it is still meant to run there, and nobody did before.
    pub(crate) fn start_again(&mut self, machine: &str) -> Result<(), String> {
        let runs = self.programs.runs(&Key::Bellhop(machine.to_owned()));
        if self.installed.contains(machine) && self.is_powered(machine)? && !runs { self.start_bellhop(machine) } else { Ok(()) }
    }

    fn take_effect(&mut self, id: u64, fault: &Fault) -> Result<(), String> {
        match fault {
            Fault::Api { replica, api } => {
                self.api.set_fault(replica.as_deref().map(replica_name).as_ref(), FaultId(id), api_fault(api));
            }
            Fault::DieAtWrite { machine, write } => {
                self.machine(machine)?;
                let (dead, name) = (std::sync::Arc::clone(&self.dead), machine.clone());
                // Of two for one replica, the later counts.
                self.faults.retain(|other, ongoing| {
                    *other == id || !matches!(&ongoing.fault, Fault::DieAtWrite { machine: of, .. } if of == machine)
                });
                self.api.die_at_write(&replica_name(machine), *write, move || {
                    dead.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(name);
                });
            }
            Fault::Flap { machine, nic, .. } => {
                self.nic(machine, nic)?;
                self.flap(id, false);
            }
            Fault::Freeze { machine } | Fault::ClockRate { machine, .. } | Fault::FreezeBellhop { machine } => {
                self.machine(machine)?;
                self.work_out();
            }
            Fault::Unready { .. } => self.work_out(),
            Fault::SetMac { .. } => {}
            Fault::Cable { .. } | Fault::Uplink { .. } | Fault::ClaimAddress { .. } | Fault::SpoofArp { .. } | Fault::Storm { .. } => {
                lan::begin(self, id, fault)?;
            }
        }
        Ok(())
    }

    /// Puts in force what all faults of clocks, freezing and readiness together mean. Called also when something starts.
    pub(crate) fn work_out(&mut self) {
        for machine in self.machines.ids.keys().cloned().collect::<Vec<_>>() {
            let clock = self.machine_clock(&machine);
            let ppm = self.faults.values().filter_map(|ongoing| match &ongoing.fault {
                Fault::ClockRate { machine: of, ppm } if *of == machine => Some(i64::from(*ppm)),
                _ => None,
            });
            clock.set_rate(ppm.sum());
            let frozen = self.is_frozen(&machine);
            lan::set_frozen(self, &machine, frozen);
            self.programs.set_frozen(&Key::Node(machine.clone()), frozen);
            let replica = Key::Bellhop(machine.clone());
            let stopped = self.faults.values().any(|ongoing| {
                let held = ongoing.hold == Some(self.starts_of(&replica));
                held && matches!(&ongoing.fault, Fault::FreezeBellhop { machine: of } if *of == machine)
            });
            self.programs.set_frozen(&replica, frozen || stopped);
            if let Some(probes) = self.probes.get(&machine) {
                let failing = self.faults.values().filter_map(|ongoing| match &ongoing.fault {
                    Fault::Unready { deployment, machine: of } if of.as_ref().is_none_or(|of| *of == machine) => Some(deployment.clone()),
                    _ => None,
                });
                probes.set_failing(failing.collect::<BTreeSet<String>>());
            }
        }
    }

    /// Whether the machine as a whole stands still.
    fn is_frozen(&self, machine: &str) -> bool {
        let boots = self.boots(machine).ok();
        let holds = |ongoing: &Ongoing| ongoing.hold == boots && matches!(&ongoing.fault, Fault::Freeze { machine: of } if of == machine);
        self.faults.values().any(holds)
    }

    fn spare(&self, machine: &str) {
        self.api.spare(&replica_name(machine));
    }
}

/// Whom a fault kept from what it should do; `None`: nobody.
fn disturbance(fault: &Fault, from: Instant, until: Instant) -> Option<Disturbance> {
    let (machine, of_the_lan) = match fault {
        Fault::Freeze { machine } | Fault::FreezeBellhop { machine } | Fault::DieAtWrite { machine, .. } => (Some(machine.clone()), false),
        Fault::Api { replica, .. } => (replica.clone(), false),
        Fault::Flap { machine, .. } | Fault::Cable { machine, .. } => (Some(machine.clone()), true),
        Fault::Uplink { .. } | Fault::Storm { .. } => (None, true),
        // Bellhop has to live with these.
        Fault::ClockRate { .. } | Fault::SetMac { .. } | Fault::ClaimAddress { .. } | Fault::SpoofArp { .. } | Fault::Unready { .. } => {
            return None;
        }
    };
    Some(Disturbance { from, until, machine, of_the_lan, what: fault.to_string() })
}

/// The name under which a replica asks the API server.
fn replica_name(machine: &str) -> ClientName {
    ClientName::from(format!("bellhop {machine}").as_str())
}

fn api_fault(api: &Api) -> apiserver::Fault {
    apiserver::Fault {
        down: api.down,
        silent: api.silent,
        latency: api.latency.map(|latency| apiserver::Latency { min: latency.min, max: latency.max }),
        refuse: api.refuse.iter().map(|(status, chance)| (*status, chance.0)).collect(),
        lose_answers: api.lose_answers.0,
        stale: api.stale,
        cut_watches: api.cut_watches,
        gone: api.gone.map(|gone| match gone {
            Gone::Http => apiserver::Gone::Http,
            Gone::Stream => apiserver::Gone::Stream,
        }),
        ..apiserver::Fault::default()
    }
}

//! What a timeline can do to a world.
//!
//! `Action<Target>` is as the file says it, where a machine may be "the node of that Service"; the player resolves it to a plain
//! [`Action`], whose machines are names, at the moment it is done.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::command::Command;
use crate::fault::Fault;

/// A continuous probe of a scenario, numbered from 0 in order of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeId(pub usize);

/// A command line of a scenario, numbered from 0 in order of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub usize);

/// One thing to do. `M` is how a machine is named.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<M = String> {
    /// Types a command into a terminal. Real worlds run [`Command::argv`], the simulator interprets [`Command::what`].
    Run {
        /// Echoed in [`crate::Seen::Output`].
        run: RunId,
        /// The machine; `None`: wherever the operator runs kubectl.
        on: Option<M>,
        /// The command.
        command: Command,
    },
    /// Changes fields of an object, as somebody would in `kubectl edit`.
    Edit(Edit),
    /// One echo request every so often.
    Ping {
        /// Echoed in [`crate::Seen::Ping`].
        probe: ProbeId,
        /// The asking machine.
        from: M,
        /// The address.
        to: IpAddr,
        /// From one request to the next.
        every: Duration,
        /// No request from here on; `None`: until the scenario stops.
        until: Option<Duration>,
    },
    /// One HTTP request every so often, each on a connection of its own.
    Curl {
        /// Echoed in [`crate::Seen::Curl`].
        probe: ProbeId,
        /// The asking machine.
        from: M,
        /// `http://192.168.0.91`, with port and path where given.
        url: String,
        /// From one request to the next.
        every: Duration,
        /// No request from here on; `None`: until the scenario stops.
        until: Option<Duration>,
        /// How long one request may take (`curl -m`).
        limit: Duration,
    },
    /// Cuts the power: kernel, pods, kubelet and Bellhop are gone at once, with everything in memory.
    PowerOff(M),
    /// Power again: the machine boots, and what is meant to run there starts.
    PowerOn(M),
    /// Takes a link down (`ip link set eth0 down`).
    NicDown {
        /// The machine.
        machine: M,
        /// The interface.
        nic: String,
    },
    /// Takes it up again.
    NicUp {
        /// The machine.
        machine: M,
        /// The interface.
        nic: String,
    },
    /// SIGKILL to the replica of Bellhop on this machine: no goodbye. It stays away until [`Action::StartBellhop`].
    KillBellhop(M),
    /// SIGTERM to it: it gives the Lease back and exits.
    StopBellhop(M),
    /// Starts Bellhop on this machine.
    StartBellhop(M),
    /// The API server stops answering: connections are refused, watches break.
    ApiDown,
    /// It answers again, with the same store.
    ApiUp,
    /// Power off, and on again after a while.
    Reboot {
        /// The machine.
        machine: M,
        /// For how long it is off.
        off: Duration,
    },
    /// SIGKILL to the replica of Bellhop on this machine, and another one started at once.
    RestartBellhop(M),
    /// Something goes wrong, for a while or until the scenario ends.
    Fault {
        /// What.
        fault: Fault<M>,
        /// For how long; `None`: until the end, or a fault that is over in a moment.
        lasts: Option<Duration>,
    },
}

/// What somebody does in `kubectl edit`: fields of one object get other values.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// The object's kind, as kubectl takes it (`configmap`, `Service`).
    pub kind: String,
    /// Its namespace; `None`: `default`, or not namespaced.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Dotted path to the new value. A path that leads into a text that is itself YAML goes on inside it: in a kube-proxy ConfigMap,
    /// `data.config.conf.ipvs.strictARP` sets a line of the file `config.conf` (the longest key that exists is taken at each step).
    pub set: BTreeMap<String, Value>,
}

/// How a scenario names a machine that an earlier decision chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its name.
    Machine(String),
    /// The node that carries a Service's address, as written on the Service. Named by `[namespace/]name` or by the address.
    NodeOf(String),
    /// The node on which the leading replica of Bellhop runs, as its Lease says.
    Leader,
    /// Whatever the step with this id resolved to.
    SameAs(String),
}

impl<M> Action<M> {
    /// The machine that it is done to, where there is one.
    pub fn target(&self) -> Option<&M> {
        match self {
            Self::Run { on, .. } => on.as_ref(),
            Self::Ping { from, .. } | Self::Curl { from, .. } => Some(from),
            Self::PowerOff(machine)
            | Self::PowerOn(machine)
            | Self::NicDown { machine, .. }
            | Self::NicUp { machine, .. }
            | Self::KillBellhop(machine)
            | Self::StopBellhop(machine)
            | Self::StartBellhop(machine)
            | Self::Reboot { machine, .. }
            | Self::RestartBellhop(machine) => Some(machine),
            Self::Fault { fault, .. } => fault.target(),
            Self::Edit(_) | Self::ApiDown | Self::ApiUp => None,
        }
    }

    /// The same action with every machine named by `name`.
    pub fn resolve<N, E>(&self, mut name: impl FnMut(&M) -> Result<N, E>) -> Result<Action<N>, E> {
        Ok(match self {
            Self::Run { run, on, command } => Action::Run { run: *run, on: on.as_ref().map(name).transpose()?, command: command.clone() },
            Self::Edit(edit) => Action::Edit(edit.clone()),
            Self::Ping { probe, from, to, every, until } => {
                Action::Ping { probe: *probe, from: name(from)?, to: *to, every: *every, until: *until }
            }
            Self::Curl { probe, from, url, every, until, limit } => {
                Action::Curl { probe: *probe, from: name(from)?, url: url.clone(), every: *every, until: *until, limit: *limit }
            }
            Self::PowerOff(machine) => Action::PowerOff(name(machine)?),
            Self::PowerOn(machine) => Action::PowerOn(name(machine)?),
            Self::NicDown { machine, nic } => Action::NicDown { machine: name(machine)?, nic: nic.clone() },
            Self::NicUp { machine, nic } => Action::NicUp { machine: name(machine)?, nic: nic.clone() },
            Self::KillBellhop(machine) => Action::KillBellhop(name(machine)?),
            Self::StopBellhop(machine) => Action::StopBellhop(name(machine)?),
            Self::StartBellhop(machine) => Action::StartBellhop(name(machine)?),
            Self::ApiDown => Action::ApiDown,
            Self::ApiUp => Action::ApiUp,
            Self::Reboot { machine, off } => Action::Reboot { machine: name(machine)?, off: *off },
            Self::RestartBellhop(machine) => Action::RestartBellhop(name(machine)?),
            Self::Fault { fault, lasts } => Action::Fault { fault: fault.resolve(name)?, lasts: *lasts },
        })
    }
}

impl<M> Action<M> {
    /// The key under which a file has it: worlds name by it what they cannot do.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::Edit(_) => "edit",
            Self::Ping { .. } => "ping",
            Self::Curl { .. } => "curl",
            Self::PowerOff(_) => "power-off",
            Self::PowerOn(_) => "power-on",
            Self::NicDown { .. } => "nic-down",
            Self::NicUp { .. } => "nic-up",
            Self::KillBellhop(_) => "kill-bellhop",
            Self::StopBellhop(_) => "stop-bellhop",
            Self::StartBellhop(_) => "start-bellhop",
            Self::ApiDown => "api-down",
            Self::ApiUp => "api-up",
            Self::Reboot { .. } => "reboot",
            Self::RestartBellhop(_) => "restart-bellhop",
            Self::Fault { fault, .. } => fault.key(),
        }
    }
}

//! What is still to come of things that were done: the end of a fault, power after a reboot, the next change of a link that flaps.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_scenario::{Action, Fault};

/// One thing to come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Due {
    /// As if the timeline had it.
    Do(Action),
    /// SIGCONT to the replica on this machine.
    Thaw(String),
    /// An address that is not a machine's own is taken off it.
    Release(String, IpAddr),
    /// The next change of a link that flaps.
    Flap(Flap),
    /// A fault is over: say so.
    Over(Fault),
}

/// A link that goes down and up again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flap {
    pub(crate) machine: String,
    pub(crate) nic: String,
    /// From one change to the next.
    pub(crate) every: Duration,
    /// It is up from here on.
    pub(crate) end: Duration,
    /// Whether it is up now.
    pub(crate) is_up: bool,
}

impl Flap {
    /// The change that is due now, and the one after it.
    pub(crate) fn step(self, now: Duration) -> (Action, Option<(Duration, Self)>) {
        let (machine, nic) = (self.machine.clone(), self.nic.clone());
        let goes_down = self.is_up && now < self.end;
        let action = if goes_down { Action::NicDown { machine, nic } } else { Action::NicUp { machine, nic } };
        let next = (now < self.end).then(|| ((now + self.every).min(self.end), Self { is_up: !goes_down, ..self }));
        (action, next)
    }
}

/// All of them, by time and then in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BTreeMap<(Duration, u64), Due>,
    set: u64,
}

impl Agenda {
    /// Something is to be done at a time.
    pub(crate) fn at(&mut self, when: Duration, due: Due) {
        self.set += 1;
        self.entries.insert((when, self.set), due);
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.entries.keys().next().map(|(when, _)| *when)
    }

    /// Takes what is due by now.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Due> {
        let key = *self.entries.keys().next().filter(|(when, _)| *when <= now)?;
        self.entries.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_flaps_begins_down_and_ends_up() {
        let second = Duration::from_secs;
        let flap = Flap { machine: "worker-p001".to_owned(), nic: "eth0".to_owned(), every: second(1), end: second(13), is_up: true };
        let mut agenda = Agenda::default();
        agenda.at(second(10), Due::Flap(flap));
        assert_eq!(agenda.take(second(9)), None);
        let mut states = String::new();
        while let Some(Due::Flap(flap)) = agenda.next().and_then(|now| agenda.take(now)) {
            let (action, next) = flap.step(second(10 + states.len() as u64));
            states.push(if matches!(action, Action::NicDown { .. }) { 'd' } else { 'u' });
            next.into_iter().for_each(|(at, flap)| agenda.at(at, Due::Flap(flap)));
        }
        assert_eq!(states, "dudu");
    }
}

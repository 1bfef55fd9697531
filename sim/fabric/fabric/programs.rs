//! The programs that run on machines: starting, stopping, and what they printed.

use std::collections::BTreeMap;

use super::{CurlId, Fabric, MachineId, PingId};
use crate::curl::{CurlOptions, CurlReport};
use crate::ping::PingOptions;

/// All programs.
#[derive(Default)]
pub(super) struct Programs {
    /// The next ping's or curl's number.
    next: u32,
    /// Which machine a ping is on.
    pings: BTreeMap<PingId, MachineId>,
    /// Curls that have ended and whose report nobody took.
    curls: BTreeMap<CurlId, CurlReport>,
}

/// Reports that are kept for somebody to take; the oldest goes beyond.
const REPORTS_MAX: usize = 4096;

impl Programs {
    /// Keeps a report.
    pub(super) fn end_curl(&mut self, curl: CurlId, report: CurlReport) {
        if self.curls.len() >= REPORTS_MAX {
            self.curls.pop_first();
        }
        self.curls.insert(curl, report);
    }

    /// A number.
    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}

impl Fabric {
    /// Starts a ping on a machine. What becomes of each request is an [`crate::Event::Echo`].
    pub fn ping(&mut self, machine: MachineId, options: PingOptions) -> PingId {
        let number = self.programs.number();
        self.programs.pings.insert(PingId(number), machine);
        self.with_machine(machine, |now, host, effects| host.start_ping(now, number, options, effects));
        PingId(number)
    }

    /// Ctrl-C: what is outstanding is lost, and the statistics are printed.
    pub fn stop_ping(&mut self, ping: PingId) {
        if let Some(machine) = self.programs.pings.get(&ping).copied() {
            self.with_machine(machine, |_, host, effects| host.stop_ping(ping.0, effects));
        }
    }

    /// Whether a ping has ended.
    pub fn ping_is_done(&self, ping: PingId) -> bool {
        self.running_ping(ping).is_none_or(crate::ping::Ping::is_done)
    }

    /// What a ping with a count has printed so far; of an endless one the first line and, once stopped, the statistics.
    pub fn ping_text(&self, ping: PingId) -> &str {
        self.running_ping(ping).map_or("", crate::ping::Ping::text)
    }

    /// Forgets a ping, running or not.
    pub fn remove_ping(&mut self, ping: PingId) {
        self.stop_ping(ping);
        if let Some(machine) = self.programs.pings.remove(&ping) {
            self.machines[machine.0].remove_ping(ping.0);
        }
    }

    /// Starts a curl on a machine. Its end is an [`crate::Event::Curl`] too.
    pub fn curl(&mut self, machine: MachineId, options: CurlOptions) -> CurlId {
        let number = self.programs.number();
        self.with_machine(machine, |now, host, effects| host.start_curl(now, number, options, effects));
        CurlId(number)
    }

    /// Takes the report of a curl that has ended; it prints as curl does.
    pub fn take_curl(&mut self, curl: CurlId) -> Option<CurlReport> {
        self.programs.curls.remove(&curl)
    }

    /// A ping that was not removed.
    fn running_ping(&self, ping: PingId) -> Option<&crate::ping::Ping> {
        let machine = self.programs.pings.get(&ping)?;
        self.machines[machine.0].ping(ping.0)
    }
}

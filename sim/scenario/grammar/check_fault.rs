//! The faults of a timeline: what they name exists, what they do is possible, every number has a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check_timeline::{interval, machine, nic_of, node};
use super::check_topology::ends;
use super::fault::{self as written, Cable, Uplink};
use super::file::{self, NicOf};
use super::quantities::{PercentText, RateText};
use super::refusal::{Finding, at};
use super::spanned::Spanned;
use crate::action::{Action, Target};
use crate::duration::{self, Text as DurationText};
use crate::fault::{Api, Chance, Direction, Fault, Gone, Wire};
use crate::scenario::{Latency, Scenario};

/// A tenth: a thousand times what the worst crystal is off by, and enough to make every timer meet every other.
const MOST_PPM: i32 = 100_000;
/// More writes than Bellhop makes in any scenario.
const MOST_WRITES: u32 = 10_000;
/// A gigabit carries 1.4 million short frames a second; a simulator that is to end, this many.
const FASTEST_STORM: u32 = 200_000;
/// Longer runs of lost frames are a cut.
const LONGEST_BURST: u32 = 10_000;
/// TCP gives up later, people earlier.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Statuses that an API server refuses requests with.
const STATUSES: [u16; 3] = [429, 500, 503];

/// The fault of a step, if it has one.
pub(super) fn fault(scenario: &Scenario, step: &mut file::Step) -> Result<Option<Action<Target>>, Finding> {
    Ok(Some(if let Some(reboot) = step.reboot.take() {
        Action::Reboot { machine: machine(scenario, reboot.machine)?, off: some(&reboot.off)? }
    } else if let Some(target) = step.restart_bellhop.take() {
        Action::RestartBellhop(node(scenario, target)?)
    } else if let Some(die) = step.die_at_write.take() {
        let write = within(&die.write, MOST_WRITES)?;
        momentary(Fault::DieAtWrite { machine: node(scenario, die.machine)?, write })
    } else if let Some(set) = step.set_mac.take() {
        if !set.mac.value.is_unicast() {
            return Err(at(&set.mac, format!("{} is a group address: no machine can have it", set.mac.value)));
        }
        let (machine, nic) = nic_of(scenario, NicOf { machine: set.machine, nic: set.nic })?;
        momentary(Fault::SetMac { machine, nic, mac: set.mac.value })
    } else {
        return lasting(scenario, step);
    }))
}

/// A fault that is over in a moment.
fn momentary(fault: Fault<Target>) -> Action<Target> {
    Action::Fault { fault, lasts: None }
}

/// A fault that has a length.
fn lasting(scenario: &Scenario, step: &mut file::Step) -> Result<Option<Action<Target>>, Finding> {
    let (fault, lasts) = if let Some(freeze) = step.freeze.take() {
        (Fault::Freeze { machine: machine(scenario, freeze.machine)? }, freeze.lasts)
    } else if let Some(rate) = step.clock_rate.take() {
        if rate.ppm.value == 0 || !(-MOST_PPM..=MOST_PPM).contains(&rate.ppm.value) {
            return Err(at(&rate.ppm, format!("expected a number from -{MOST_PPM} to {MOST_PPM}, and not 0")));
        }
        (Fault::ClockRate { machine: node(scenario, rate.machine)?, ppm: rate.ppm.value }, rate.lasts)
    } else if let Some(freeze) = step.freeze_bellhop.take() {
        (Fault::FreezeBellhop { machine: node(scenario, freeze.machine)? }, freeze.lasts)
    } else if let Some(flap) = step.flap.take() {
        let every = interval(&flap.every)?;
        let (machine, nic) = nic_of(scenario, NicOf { machine: flap.machine, nic: flap.nic })?;
        (Fault::Flap { machine, nic, every }, flap.lasts)
    } else if let Some(cable) = step.cable.take() {
        let wire = wire(&cable, Effects::of_cable(&cable.value))?;
        let (machine, nic) = nic_of(scenario, NicOf { machine: cable.value.machine, nic: cable.value.nic })?;
        (Fault::Cable { machine, nic, wire }, cable.value.lasts)
    } else if let Some(uplink) = step.uplink.take() {
        let wire = wire(&uplink, Effects::of_uplink(&uplink.value))?;
        (Fault::Uplink { between: connected(scenario, &uplink.value)?, wire }, uplink.value.lasts)
    } else if let Some(claim) = step.claim_address.take() {
        (Fault::ClaimAddress { machine: machine(scenario, claim.machine)?, address: claim.address }, claim.lasts)
    } else if let Some(spoof) = step.spoof_arp.take() {
        if spoof.address.value.is_ipv6() {
            return Err(at(&spoof.address, "ARP is for IPv4: expected an IPv4 address"));
        }
        let (every, machine) = (interval(&spoof.every)?, machine(scenario, spoof.machine)?);
        (Fault::SpoofArp { machine, address: spoof.address.value, every }, spoof.lasts)
    } else if let Some(storm) = step.storm.take() {
        let rate = within(&storm.rate, FASTEST_STORM)?;
        (Fault::Storm { machine: machine(scenario, storm.machine)?, rate }, storm.lasts)
    } else if let Some(mut api) = step.api.take() {
        let (replica, lasts) = (api.value.replica.take(), api.value.lasts.take());
        let replica = replica.map(|target| node(scenario, target)).transpose()?;
        (Fault::Api { replica, api: checked_api(api)? }, lasts)
    } else if let Some(unready) = step.unready.take() {
        if unready.deployment.value.is_empty() {
            return Err(at(&unready.deployment, "expected a Deployment's name"));
        }
        let machine = unready.machine.map(|target| node(scenario, target)).transpose()?;
        (Fault::Unready { deployment: unready.deployment.value, machine }, unready.lasts)
    } else {
        return Ok(None);
    };
    let lasts = lasts.as_ref().map(some).transpose()?;
    Ok(Some(Action::Fault { fault, lasts }))
}

/// A length of time that is one.
fn some(text: &Spanned<DurationText>) -> Result<Duration, Finding> {
    if text.value.0.is_zero() { Err(at(text, "expected more than no time")) } else { Ok(text.value.0) }
}

/// A number from 1 to `most`.
fn within(number: &Spanned<u32>, most: u32) -> Result<u32, Finding> {
    if (1..=most).contains(&number.value) { Ok(number.value) } else { Err(at(number, format!("expected a number from 1 to {most}"))) }
}

/// A delay that somebody would wait for.
fn delay(latency: Option<&Spanned<Latency>>) -> Result<Option<Latency>, Finding> {
    match latency {
        Some(latency) if latency.value.max > LONGEST_DELAY || latency.value.max.is_zero() => {
            Err(at(latency, format!("expected a delay of at most {}, and of more than none", duration::words(LONGEST_DELAY))))
        }
        latency => Ok(latency.map(|latency| latency.value)),
    }
}

/// Two switches with a cable between them.
fn connected(scenario: &Scenario, uplink: &Uplink) -> Result<[String; 2], Finding> {
    let between = ends(&scenario.topology, &uplink.between)?;
    let [one, other] = &between;
    let uplinks = scenario.topology.uplinks();
    let is_there = uplinks.iter().any(|uplink| uplink.between.contains(one) && uplink.between.contains(other));
    if is_there {
        return Ok(between);
    }
    let all = uplinks.iter().map(|uplink| format!("[{}]", uplink.between.join(", "))).collect::<Vec<_>>().join(", ");
    Err(at(&uplink.between, format!("no cable from {one} to {other}: expected one of {all}")))
}

/// What `cable` and `uplink` have in common.
struct Effects<'a> {
    direction: Option<written::Direction>,
    cut: bool,
    loss: Option<PercentText>,
    burst: Option<&'a Spanned<u32>>,
    duplicate: Option<PercentText>,
    reorder: Option<PercentText>,
    corrupt: Option<PercentText>,
    delay: Option<&'a Spanned<Latency>>,
    rate: Option<RateText>,
}

/// The fields of the same name of two structs: serde's `flatten` would lose their places in the file.
macro_rules! effects {
    ($from:ident) => {
        Effects {
            direction: $from.direction,
            cut: $from.cut,
            loss: $from.loss,
            burst: $from.burst.as_ref(),
            duplicate: $from.duplicate,
            reorder: $from.reorder,
            corrupt: $from.corrupt,
            delay: $from.delay.as_ref(),
            rate: $from.rate,
        }
    };
}

impl<'a> Effects<'a> {
    fn of_cable(cable: &'a Cable) -> Self {
        effects!(cable)
    }

    fn of_uplink(uplink: &'a Uplink) -> Self {
        effects!(uplink)
    }
}

/// What a cable does.
fn wire<T>(place: &Spanned<T>, said: Effects<'_>) -> Result<Wire, Finding> {
    let share = |percent: Option<PercentText>| percent.map_or_else(Chance::default, |percent| percent.0);
    if let (Some(burst), None) = (said.burst, said.loss) {
        return Err(at(burst, "`burst` says how frames are lost: expected `loss` beside it"));
    }
    let wire = Wire {
        direction: match said.direction {
            None | Some(written::Direction::Both) => Direction::Both,
            Some(written::Direction::In) => Direction::In,
            Some(written::Direction::Out) => Direction::Out,
        },
        cut: said.cut,
        loss: share(said.loss),
        burst: said.burst.map_or(Ok(1), |burst| within(burst, LONGEST_BURST))?,
        duplicate: share(said.duplicate),
        reorder: share(said.reorder),
        corrupt: share(said.corrupt),
        delay: delay(said.delay)?,
        rate: said.rate.map(|rate| rate.0),
    };
    if !wire.has_effect() {
        return Err(at(place, "a cable that is as it should be: expected one of cut, loss, duplicate, reorder, corrupt, delay, rate"));
    }
    Ok(wire)
}

/// What the API server does.
fn checked_api(api: Spanned<written::Api>) -> Result<Api, Finding> {
    let place = api.with(());
    let api = api.value;
    if api.down && api.silent {
        return Err(at(&place, "down and silent exclude each other: expected one of them"));
    }
    let refuse = api.refuse.map(refusals).transpose()?.unwrap_or_default();
    let checked = Api {
        down: api.down,
        silent: api.silent,
        latency: delay(api.latency.as_ref())?,
        refuse,
        lose_answers: api.lose_answers.map_or_else(Chance::default, |percent| percent.0),
        stale: api.stale.as_ref().map(some).transpose()?,
        cut_watches: api.cut_watches.as_ref().map(interval).transpose()?,
        gone: api.gone.map(|gone| match gone {
            written::Gone::Http => Gone::Http,
            written::Gone::Stream => Gone::Stream,
        }),
    };
    if checked == Api::default() {
        return Err(at(
            &place,
            "an API server that is as it should be: expected one of down, silent, latency, refuse, lose-answers, stale, cut-watches, gone",
        ));
    }
    Ok(checked)
}

/// Statuses and their shares.
fn refusals(refuse: Spanned<BTreeMap<u16, PercentText>>) -> Result<BTreeMap<u16, Chance>, Finding> {
    if let Some(status) = refuse.value.keys().find(|status| !STATUSES.contains(status)) {
        return Err(at(&refuse, format!("no API server refuses with {status}: expected 429, 500 or 503")));
    }
    let sum: u64 = refuse.value.values().map(|percent| u64::from(percent.0.0)).sum();
    if sum > u64::from(Chance::CERTAIN.0) {
        return Err(at(&refuse, "more than all requests are refused: expected at most 100% together"));
    }
    Ok(refuse.value.into_iter().map(|(status, percent)| (status, percent.0)).collect())
}

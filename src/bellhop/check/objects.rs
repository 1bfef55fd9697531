//! The judgement over what users make: nodes, Eips, Services.
//!
//! Most of it is read off the conditions that the leader wrote, which saw the NICs; no second opinion is formed here.

use std::net::IpAddr;

use bellhop_api::parse;
use bellhop_core::object::{Condition, Node, Protocol, Service};
use bellhop_core::status::reason;

use super::Verdict::{self, Fine, Odd, Wrong};
use super::facts::{Facts, Read};

/// How many are named; the rest is a number.
const NAMED_MAX: usize = 5;

/// A LAN of more than 4,096 addresses is rare: an IPv4 pool and a node that share fewer leading bits are hardly on one. An IPv6 LAN has 64.
const LAN_BITS: [u32; 2] = [20, 64];

pub(super) fn nodes(facts: &Facts) -> Read<Verdict> {
    let nodes = read_nodes(facts)?;
    let (excluded, others): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(|node| node.excluded);
    let ready = others.iter().filter(|node| node.ready && !node.deleting).count();
    let named = excluded.iter().map(|node| node.name.to_string()).collect::<Vec<_>>().join(", ");
    Ok(match (ready, excluded.len()) {
        (0, 0) => Wrong("no node is Ready".to_owned()),
        (0, _) => Wrong(format!(
            "no Ready node is without the label node.kubernetes.io/exclude-from-external-load-balancers ({named}): take it off, or run with --ignore-exclude-label"
        )),
        (_, 0) => Fine(format!("{ready} of {}", nodes.len())),
        _ => Fine(format!("{ready} of {}; excluded by label: {named}", nodes.len())),
    })
}

pub(super) fn pools(facts: &Facts) -> Read<Verdict> {
    let eips = facts.eips.as_ref().map_err(Clone::clone)?;
    if eips.is_empty() {
        return Ok(Odd("there is no Eip: nothing can be handed out".to_owned()));
    }
    let pools: Vec<_> = eips.iter().map(parse::pool).collect();
    let wrong = pools.iter().filter_map(|pool| match &pool.status.condition {
        // One that was switched off, or is another program's, is as somebody wanted it.
        _ if pool.disabled || pool.deleting || pool.protocol != Protocol::Layer2 => None,
        None => Some(format!("{}: no leader has looked at it yet", pool.name)),
        Some(condition) if condition.status => None,
        Some(condition) => Some(format!("{}: {}", pool.name, said(condition))),
    });
    Ok(some(wrong.collect(), Wrong, || {
        let named = pools.iter().filter_map(|pool| Some(format!("{} {}", pool.name, pool.status.condition.as_ref()?.message)));
        shortened(named.collect())
    }))
}

pub(super) fn pools_near_nodes(facts: &Facts) -> Read<Verdict> {
    let nodes = read_nodes(facts)?;
    let addresses: Vec<IpAddr> = nodes.iter().flat_map(|node| node.addresses.iter().copied().chain(node.layer2_address)).collect();
    let eips = facts.eips.as_ref().map_err(Clone::clone)?;
    let far = eips.iter().map(parse::pool).filter_map(|pool| {
        let first = pool.addresses.as_ref().ok()?.first();
        let near = addresses.iter().any(|address| share_a_lan(first, *address));
        (!near && !pool.disabled).then(|| format!("{}: no node has an address near {first}", pool.name))
    });
    Ok(some(far.collect(), Odd, String::new))
}

fn share_a_lan(one: IpAddr, other: IpAddr) -> bool {
    let [four, six] = LAN_BITS;
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= four,
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= six,
        _ => false,
    }
}

pub(super) fn assigned(facts: &Facts) -> Read<Verdict> {
    let ours = ours(facts)?;
    let waiting = ours.iter().filter_map(|service| match &service.status.assigned {
        None => Some(format!("{}: no leader has looked at it yet", service.key)),
        Some(condition) if condition.status => None,
        Some(condition) => Some(format!("{}: {}", service.key, said(condition))),
    });
    Ok(some(waiting.collect(), Wrong, || format!("{} of {}", ours.len(), ours.len())))
}

pub(super) fn announced(facts: &Facts) -> Read<Verdict> {
    let silent = |service: &Service| {
        service.status.announced.clone().filter(|condition| !condition.status && condition.reason != reason::NO_ADDRESS)
    };
    let ours = ours(facts)?;
    let silent: Vec<(String, Condition)> = ours.iter().filter_map(|service| Some((service.key.to_string(), silent(service)?))).collect();
    // Without a ready endpoint there is nothing to reach: the application's matter.
    let (idle, wrong): (Vec<_>, Vec<_>) = silent.into_iter().partition(|(_, condition)| condition.reason == reason::NO_READY_ENDPOINT);
    let lines =
        |list: &[(String, Condition)]| list.iter().map(|(key, condition)| format!("{key}: {}", said(condition))).collect::<Vec<_>>();
    Ok(if wrong.is_empty() { some(lines(&idle), Odd, String::new) } else { some(lines(&wrong), Wrong, String::new) })
}

/// The Services that ask for an address of ours.
fn ours(facts: &Facts) -> Read<Vec<Service>> {
    let services = facts.services.as_ref().map_err(Clone::clone)?;
    Ok(services.iter().map(parse::service).filter(|service| service.request.is_some()).collect())
}

fn read_nodes(facts: &Facts) -> Read<Vec<Node>> {
    Ok(facts.nodes.as_ref().map_err(Clone::clone)?.iter().map(parse::node).collect())
}

fn said(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

/// Fine if there is none of these.
fn some(found: Vec<String>, verdict: fn(String) -> Verdict, fine: impl FnOnce() -> String) -> Verdict {
    if found.is_empty() { Fine(fine()) } else { verdict(shortened(found)) }
}

fn shortened(found: Vec<String>) -> String {
    let more = found.len().saturating_sub(NAMED_MAX);
    let named = found.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join("; ");
    if more == 0 { named } else { format!("{named}; and {more} more") }
}

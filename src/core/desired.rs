//! What should stand on each object, as the decisions and the LAN are now.
//!
//! Pure functions from the [`Controller`] and the [`Network`] to a status; [`crate::replica`] compares it with what stands there and writes the
//! difference. `None` means: leave it as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::allocation::{Held, RECORD_BYTES_MAX};
use crate::controller::{Carried, Controller};
use crate::mac::MacAddr;
use crate::name::{InterfaceName, PoolName, ServiceKey};
use crate::network::{Network, NotAnnounced};
use crate::object::{Condition, Family, Pool, PoolStatus, Protocol, Request, Service, ServiceStatus};
use crate::sharers::Sharers;
use crate::status::reason;
use crate::text;

/// The longest label value: Kubernetes, "Labels and Selectors".
const LABEL_VALUE_LENGTH_MAX: usize = 63;

/// The status of a pool.
pub fn pool_status(controller: &Controller, network: &Network, pool: &Pool) -> PoolStatus {
    let addresses = pool.addresses.as_ref().ok().filter(|_| controller.allocation().has_pool(&pool.name));
    let used = if addresses.is_some() { controller.allocation().used(&pool.name) } else { used_without_book(controller, pool) };
    let condition = Some(pool_condition(controller, network, pool, &used));
    let ready = condition.as_ref().is_some_and(|condition| condition.status);
    let Some(addresses) = addresses else {
        return PoolStatus { usage: used.len() as u64, used, ready, condition, ..PoolStatus::default() };
    };
    PoolStatus {
        first: Some(addresses.first()),
        last: Some(addresses.last()),
        size: addresses.size(),
        usage: used.len() as u64,
        occupied: controller.allocation().is_exhausted(&pool.name),
        ready,
        v4: addresses.family() == Family::V4,
        condition,
        used,
    }
}

/// The record of a pool that is invalid. It outlives a typing error in spec.address, and ends with its users, so that the pool can be deleted. What stands there of
/// Services that never asked us is another controller's to end, unless they are gone.
fn used_without_book(controller: &Controller, pool: &Pool) -> BTreeMap<IpAddr, Sharers> {
    let allocation = controller.allocation();
    let holds =
        |user: &ServiceKey, address: &IpAddr| allocation.held(user).values().any(|held| held.pool == pool.name && held.address == *address);
    let asks_another = |user: &ServiceKey| {
        let asks_us = |request: &Request| !matches!(request.protocol, Some(Protocol::Other(_)));
        controller.service(user).is_some_and(|service| !service.request.as_ref().is_some_and(asks_us))
    };
    let is_foreign = matches!(pool.protocol, Protocol::Other(_));
    let stays = |user: &&ServiceKey, address: &IpAddr| holds(user, address) || (is_foreign && asks_another(user));
    let used = pool
        .status
        .used
        .iter()
        .map(|(address, users)| (*address, users.iter().filter(|user| stays(user, address)).cloned().collect::<Sharers>()));
    used.filter(|(_, users)| !users.is_empty()).collect()
}

/// The status of a Service. `refused`: why the API does not take a pool's record, if so.
pub fn service_status<'a>(
    controller: &Controller,
    network: &Network,
    key: &ServiceKey,
    refused: impl Fn(&PoolName) -> Option<&'a str>,
) -> Option<ServiceStatus> {
    let service = controller.service(key)?;
    if service.request.is_none() {
        // Only our own conditions prove that what stands on it is ours: the label and the annotation are PorterLB's and OpenELB's words too.
        let ours = service.status.assigned.is_some() || service.status.announced.is_some();
        let ingress = service.status.ingress.iter().copied().filter(|address| !was_given(controller, service, *address));
        return ours.then(|| ServiceStatus { ingress: ingress.collect(), ..ServiceStatus::default() });
    }
    let held = controller.held(key);
    let Some(first) = held.first() else {
        let refusal = controller.refusal(key)?;
        let announced = Some(no(reason::NO_ADDRESS, "there is no address to announce"));
        return Some(ServiceStatus { assigned: Some(no(refusal.reason, &refusal.message)), announced, ..ServiceStatus::default() });
    };
    if let Some(unrecorded) = held.iter().find(|held| !controller.is_recorded(key, held)) {
        return while_recording(controller, service, unrecorded, refused(&unrecorded.pool));
    }
    let node = controller.carried(key).and_then(Carried::node);
    Some(ServiceStatus {
        ingress: held.iter().map(|held| held.address).collect(),
        node: node.cloned(),
        pool: fits_label(&first.pool).then(|| first.pool.clone()),
        assigned: Some(assigned(controller, key, &held)),
        announced: Some(announced(controller, network, key, &held)?),
    })
}

/// What is told stays told until all is on record, but nobody is told that an address is announced when it is not, nor left without a word where the API takes no
/// record.
fn while_recording(controller: &Controller, service: &Service, unrecorded: &Held, refused: Option<&str>) -> Option<ServiceStatus> {
    let waits = format!("{} waits to be recorded in Eip {}", unrecorded.address, unrecorded.pool);
    if let Some(why) = refused {
        let (assigned, announced) = (no(reason::RECORDING, &format!("{waits}: {why}")), service.status.announced.clone());
        let announced = announced.filter(|told| told.status).or_else(|| Some(no(reason::NO_ADDRESS, "there is no address to announce")));
        return Some(ServiceStatus { assigned: Some(assigned), announced, ..service.status.clone() });
    }
    let still_held = |held: &Held| service.status.ingress.contains(&held.address) && controller.is_recorded(&service.key, held);
    let stands = controller.held(&service.key).into_iter().any(still_held);
    let told = service.status.announced.as_ref().is_some_and(|told| told.status);
    (told && !stands).then(|| ServiceStatus { announced: Some(no(reason::RECORDING, &waits)), ..service.status.clone() })
}

fn assigned(controller: &Controller, key: &ServiceKey, held: &[&Held]) -> Condition {
    let refusal = controller.refusal(key);
    if let Some(refusal) = refusal.filter(|refusal| !refusal.optional) {
        return no(refusal.reason, &refusal.message);
    }
    let with = |held: &&Held| {
        let others = controller.allocation().users(held.address).iter().filter(|user| *user != key);
        let others = named(others.map(ToString::to_string));
        let shared = if others.is_empty() { String::new() } else { format!(" (shared with {others})") };
        format!("{} from Eip {}{shared}", held.address, held.pool)
    };
    let mut message: Vec<String> = held.iter().map(with).collect();
    message.extend(refusal.map(|refusal| refusal.message.clone()));
    yes(reason::ASSIGNED, message.join("; "))
}

fn announced(controller: &Controller, network: &Network, key: &ServiceKey, held: &[&Held]) -> Option<Condition> {
    let mut failed: Option<&'static str> = None;
    let mut messages: Vec<String> = Vec::new();
    for held in held {
        match announcement(controller, network, key, held)? {
            Ok((interface, mac)) => {
                let node = controller.carried(key).and_then(Carried::node)?;
                messages.push(format!("{} is at {mac}, node {node}, on the LAN of {interface}", held.address));
            }
            Err(why) => {
                failed = failed.or(Some(why.reason));
                messages.push(why.message);
            }
        }
    }
    messages.dedup();
    let message = messages.join("; ");
    Some(failed.map_or_else(|| yes(reason::ANNOUNCED, message.clone()), |reason| no(reason, &message)))
}

/// At most this many names in one message: a condition is for a person, and an Event has room for a thousand bytes.
const NAMES_MAX: usize = 8;

/// Names for a person: the first few, and how many more.
fn named(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    let listed = names[..names.len() - more].join(", ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}

/// Whether an address that stands on a Service which asks us no more can be one that we gave it. Any other is somebody else's by now, and stays.
fn was_given(controller: &Controller, service: &Service, address: IpAddr) -> bool {
    let is_said = |message: &str| message.split("; ").any(|part| part.starts_with(&format!("{address} ")));
    let said = service.status.assigned.as_ref().is_some_and(|assigned| is_said(&assigned.message));
    let of_pool =
        |pool: &Pool| pool.status.used.contains_key(&address) || pool.addresses.as_ref().is_ok_and(|addresses| addresses.contains(address));
    said || controller.pools().values().any(of_pool)
}

/// Where on the LAN an address of a Service is, or why it is not announced. `None`: it is not on record.
pub fn announcement(
    controller: &Controller,
    network: &Network,
    key: &ServiceKey,
    held: &Held,
) -> Option<Result<(InterfaceName, MacAddr), NotAnnounced>> {
    if !controller.is_recorded(key, held) {
        return None;
    }
    let not = |reason, message: &str| Some(Err(NotAnnounced { reason, message: message.to_owned() }));
    match controller.carried(key)? {
        Carried::NoEndpoint(_) => {
            not(reason::NO_READY_ENDPOINT, "no endpoint of the Service is ready: nothing would answer behind the address")
        }
        Carried::NoNode(_) => not(reason::NO_ELIGIBLE_NODE, "no node can carry the address: see the Events"),
        Carried::By(node) => Some(network.reach(&held.pool, held.address, controller.nodes().get(node)?)),
    }
}

fn pool_condition(controller: &Controller, network: &Network, pool: &Pool, used: &BTreeMap<IpAddr, Sharers>) -> Condition {
    // Before what is wrong with it: that does not matter any more.
    if pool.deleting {
        let users: BTreeSet<String> = used.values().flatten().map(ToString::to_string).collect();
        return no(
            reason::DELETING,
            &format!(
                "waits for the Services that use it: {}. Delete them or let them name another Eip. To end it now (their addresses stay, \
                 unannounced, for an Eip of this name): kubectl patch eip {} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'",
                named(users.into_iter()),
                pool.name
            ),
        );
    }
    if let Protocol::Other(protocol) = &pool.protocol {
        return no(reason::PROTOCOL_MISMATCH, &format!("protocol `{protocol}` is not served: Bellhop announces by layer2 only"));
    }
    if let Err(error) = &pool.addresses {
        return no(reason::INVALID_ADDRESS, &format!("spec.address: {error}"));
    }
    if let Some(Err(error)) = &pool.interface {
        return no(reason::INVALID_INTERFACE, &format!("spec.interface: {error}"));
    }
    if let Some(older) = controller.conflict(&pool.name) {
        return no(reason::CONFLICTING, &format!("overlaps the older Eip {older}: change spec.address of one of them"));
    }
    match network.interface_of(&pool.name) {
        Some(Err(why)) => return no(reason::INTERFACE_NOT_FOUND, why),
        Some(Ok(name)) => {
            if let Some(trouble) = network.trouble(name) {
                return no(reason::INTERFACE_NOT_USABLE, &trouble.to_string());
            }
        }
        None => {}
    }
    if pool.disabled {
        return no(reason::DISABLED, "spec.disable is set: what is assigned stays, nothing more is handed out");
    }
    ready_condition(controller, network, pool)
}

/// From here on a person has to make another pool, while there is time: three quarters of what a record may take.
const RECORD_BYTES_WARNING: usize = RECORD_BYTES_MAX / 4 * 3;

fn ready_condition(controller: &Controller, network: &Network, pool: &Pool) -> Condition {
    let interface = network.interface_of(&pool.name).and_then(|served| served.as_ref().ok()).map_or("?", InterfaceName::as_str);
    let reserved = pool.addresses.iter().flat_map(|addresses| controller.allocation().reserved_in(addresses));
    let reserved = named(reserved.map(|(address, owner)| format!("{address} ({owner})")));
    let mut message = format!("announced on {interface}");
    if !reserved.is_empty() {
        message.push_str(&format!("; never handed out: {reserved}"));
    }
    let bytes = controller.allocation().record_bytes(&pool.name);
    if bytes < RECORD_BYTES_WARNING {
        return yes(reason::READY, message);
    }
    let kibibytes = format!("{} of {} KiB", bytes / 1024, RECORD_BYTES_MAX / 1024);
    yes(reason::RECORD_NEARLY_FULL, format!("{message}; its record (status.used) has {kibibytes} that Kubernetes takes: make another Eip"))
}

fn yes(reason: &str, message: String) -> Condition {
    Condition { status: true, reason: reason.to_owned(), message: text::message(&message).into_owned() }
}

fn no(reason: &str, message: &str) -> Condition {
    Condition { status: false, reason: reason.to_owned(), message: text::message(message).into_owned() }
}

/// A name is a DNS subdomain already: all that a label value asks besides is its length.
fn fits_label(pool: &PoolName) -> bool {
    pool.as_str().len() <= LABEL_VALUE_LENGTH_MAX
}

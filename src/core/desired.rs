//! What should stand on each object, as the decisions and the LAN are now.
//!
//! Pure functions from the [`Controller`] and the [`Network`] to a status; [`crate::replica`] compares it with what stands there and writes the
//! difference. `None` means: leave it as it is.

use std::net::IpAddr;

use crate::controller::{Carried, Controller};
use crate::mac::MacAddr;
use crate::name::{InterfaceName, PoolName, ServiceKey};
use crate::network::{Network, NotAnnounced};
use crate::object::{Condition, Family, Pool, PoolStatus, Protocol, Service, ServiceStatus};
use crate::status::reason;

/// The longest label value: Kubernetes, "Labels and Selectors".
const LABEL_VALUE_LENGTH_MAX: usize = 63;

/// The status of a pool.
pub fn pool_status(controller: &Controller, network: &Network, pool: &Pool) -> PoolStatus {
    let condition = Some(pool_condition(controller, network, pool));
    let ready = condition.as_ref().is_some_and(|condition| condition.status);
    let addresses = pool.addresses.as_ref().ok().filter(|_| controller.allocation().has_pool(&pool.name));
    let Some(addresses) = addresses else {
        // The record outlives a typing error in spec.address.
        let used = pool.status.used.clone();
        return PoolStatus { usage: used.len() as u64, used, ready, condition, ..PoolStatus::default() };
    };
    let used = controller.allocation().used(&pool.name);
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

/// The status of a Service.
pub fn service_status(controller: &Controller, network: &Network, key: &ServiceKey) -> Option<ServiceStatus> {
    let service = controller.service(key)?;
    if service.request.is_none() {
        // Only our own conditions prove that what stands on it is ours: the label and the annotation are PorterLB's and OpenELB's words too.
        let ours = service.status.assigned.is_some() || service.status.announced.is_some();
        let ingress = service.status.ingress.iter().copied().filter(|address| !was_given(controller, service, *address));
        return ours.then(|| ServiceStatus { ingress: ingress.collect(), ..ServiceStatus::default() });
    }
    let refused = controller.refusal(key).map(|refusal| no(refusal.reason, &refusal.message));
    let Some(held) = controller.allocation().held(key) else {
        let announced = Some(no(reason::NO_ADDRESS, "there is no address to announce"));
        return Some(ServiceStatus { assigned: Some(refused?), announced, ..ServiceStatus::default() });
    };
    if controller.recorded(key).is_none() {
        // What is told stays told until the new address is on record, but nobody is told that it is announced when it is not.
        let told = service.status.announced.as_ref().filter(|announced| announced.status)?;
        let announced = Some(no(reason::RECORDING, &format!("{} waits to be recorded in Eip {}", held.address, held.pool)));
        return Some(ServiceStatus { announced: announced.filter(|_| told.status), ..service.status.clone() });
    }
    let assigned = refused.unwrap_or_else(|| yes(reason::ASSIGNED, format!("{} from Eip {}", held.address, held.pool)));
    let announced = match announcement(controller, network, key)? {
        Ok((interface, mac)) => {
            let node = controller.carried(key).and_then(Carried::node)?;
            yes(reason::ANNOUNCED, format!("{} is at {mac}, node {node}, on the LAN of {interface}", held.address))
        }
        Err(why) => no(why.reason, &why.message),
    };
    Some(ServiceStatus {
        ingress: vec![held.address],
        node: controller.carried(key).and_then(Carried::node).cloned(),
        pool: fits_label(&held.pool).then(|| held.pool.clone()),
        assigned: Some(assigned),
        announced: Some(announced),
    })
}

/// Whether an address that stands on a Service which asks us no more can be one that we gave it. Any other is somebody else's by now, and stays.
fn was_given(controller: &Controller, service: &Service, address: IpAddr) -> bool {
    let said = service.status.assigned.as_ref().is_some_and(|assigned| assigned.message.starts_with(&format!("{address} ")));
    let of_pool =
        |pool: &Pool| pool.status.used.contains_key(&address) || pool.addresses.as_ref().is_ok_and(|addresses| addresses.contains(address));
    said || controller.pools().values().any(of_pool)
}

/// Where on the LAN a Service's address is, or why it is not announced. `None`: it has none, or none that is on record.
pub fn announcement(
    controller: &Controller,
    network: &Network,
    key: &ServiceKey,
) -> Option<Result<(InterfaceName, MacAddr), NotAnnounced>> {
    let held = controller.recorded(key)?;
    let not = |reason, message: &str| Some(Err(NotAnnounced { reason, message: message.to_owned() }));
    match controller.carried(key)? {
        Carried::NoEndpoint(_) => {
            not(reason::NO_READY_ENDPOINT, "no endpoint of the Service is ready: nothing would answer behind the address")
        }
        Carried::NoNode(_) => not(reason::NO_ELIGIBLE_NODE, "no node can carry the address: see the Events"),
        Carried::By(node) => Some(network.reach(&held.pool, held.address, controller.nodes().get(node)?)),
    }
}

fn pool_condition(controller: &Controller, network: &Network, pool: &Pool) -> Condition {
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
    if pool.deleting {
        let users = controller.allocation().used(&pool.name);
        let users: Vec<String> = users.values().flatten().map(ToString::to_string).collect();
        return no(reason::DELETING, &format!("waits for the Services that use it: {}", users.join(", ")));
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
    yes(
        reason::READY,
        format!(
            "announced on {}",
            network.interface_of(&pool.name).and_then(|served| served.as_ref().ok()).map_or("?", InterfaceName::as_str)
        ),
    )
}

fn yes(reason: &str, message: String) -> Condition {
    Condition { status: true, reason: reason.to_owned(), message }
}

fn no(reason: &str, message: &str) -> Condition {
    Condition { status: false, reason: reason.to_owned(), message: message.to_owned() }
}

/// A name is a DNS subdomain already: all that a label value asks besides is its length.
fn fits_label(pool: &PoolName) -> bool {
    pool.as_str().len() <= LABEL_VALUE_LENGTH_MAX
}

//! The tutorial in IPv6, and with an address of each family.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use super::{ADDRESS, SAMPLES, SERVICE, answers, pods_are_ready};
use crate::kind::case::{Case, SOON};
use crate::kind::patience::wait_for;

/// The first of the pool in `e2e/kind/manifests/ipv6.yaml`.
const IPV6: &str = "2001:db8::91";

/// Neighbor Discovery says what ARP says.
pub(super) fn the_tutorial_in_ipv6(case: &Case<'_>) -> Result<String> {
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2.yaml -f e2e/kind/manifests/ipv6.yaml"))?;
    pods_are_ready(case)?;
    case.served_at(SERVICE, IPV6)?;
    is_reached_in_ipv6(case)?;
    let leader = case.leader()?;
    let wanted = format!("{} >", leader.mac);
    wait_for("an advertisement on the wire", SOON, || {
        let seen = case.frames_as_text("icmp6 and ip6[40] == 136")?;
        let ours: Vec<&str> = seen.lines().filter(|line| line.contains(&format!("tgt is {IPV6}"))).collect();
        ensure!(!ours.is_empty(), "none names {IPV6}");
        ensure!(ours.iter().all(|line| line.contains(&wanted)), "not all come from {}: {}", leader.name, ours.join("\n"));
        Ok(())
    })?;
    Ok(format!("{} carries {IPV6}, {} leads", case.carrier(SERVICE)?.name, leader.name))
}

/// One Service, two addresses, one node.
pub(super) fn an_address_of_each_family(case: &Case<'_>) -> Result<String> {
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2.yaml -f e2e/kind/manifests/dual-stack.yaml"))?;
    pods_are_ready(case)?;
    let wanted: Vec<IpAddr> = vec![ADDRESS.parse()?, IPV6.parse()?];
    wait_for("two addresses", SOON, || {
        let has = case.addresses(SERVICE)?;
        ensure!(has == wanted, "{SERVICE} has {has:?}");
        Ok(())
    })?;
    answers(case, ADDRESS)?;
    let (carrier, neighbor) = (case.carrier(SERVICE)?, case.neighbor(ADDRESS)?);
    ensure!(neighbor == carrier.mac, "the client's neighbor table has {neighbor} for {ADDRESS}, {} has {}", carrier.name, carrier.mac);
    is_reached_in_ipv6(case)?;
    Ok(format!("{} carries both", carrier.name))
}

fn is_reached_in_ipv6(case: &Case<'_>) -> Result<()> {
    answers(case, &format!("-g http://[{IPV6}]"))?;
    let (carrier, neighbor) = (case.carrier(SERVICE)?, case.neighbor(IPV6)?);
    ensure!(neighbor == carrier.mac, "the client's neighbor table has {neighbor} for {IPV6}, {} has {}", carrier.name, carrier.mac);
    Ok(())
}

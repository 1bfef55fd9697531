//! From the version before to this one and back, while clients go on asking.
//!
//! The version before is installed as its own program says (`bellhop manifests`), with its own kinds and rights; this one as a user upgrades.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::operations::HANDED_OVER;
use super::{SAMPLES, answers, pods_are_ready};
use crate::kind::case::{Case, SOON};
use crate::kind::patience::wait_for;
use crate::kind::probes::{Asked, Probe};
use crate::kind::{Family, PREVIOUS};

/// A family's pool, its range from the first address on, and the Services of `e2e/kind/manifests/upgrade-*.yaml` that draw from it.
type Drawn = (&'static str, &'static str, [&'static str; 2]);
const IPV4: Drawn = ("upgrade", "192.168.0.91-192.168.0.100", ["cluster", "local"]);
const IPV6: Drawn = ("upgrade6", "2001:db8::91-2001:db8::9a", ["cluster6", "local6"]);

/// A Service, its address, and the MAC of the node that carries it.
struct Served {
    service: &'static str,
    address: String,
    mac: String,
}

/// Every address is answered all the time, and no object is touched: not forth, not back.
pub(super) fn from_the_version_before_and_back(case: &Case<'_>) -> Result<String> {
    let went = forth_and_back(case);
    // What follows is about this version. Nobody looks any more, so both replicas may go at once, if they are there.
    let _ = case.kubectl("scale deployment bellhop -n bellhop-system --replicas=0");
    let restored = this_version(case);
    let note = went?;
    restored.map(|()| note)
}

fn forth_and_back(case: &Case<'_>) -> Result<String> {
    let from = the_version_before(case)?;
    let served = serve(case)?;
    let before = objects(case)?;
    let forth = watched(case, &served, || this_version(case)).context("upgraded")?;
    runs(case, false)?;
    is_unchanged(case, &before).context("the upgrade has changed objects")?;
    let back = watched(case, &served, || {
        case.kubectl("rollout undo deployment bellhop -n bellhop-system")?;
        rolled_out(case)
    });
    let back = back.context("rolled back")?;
    runs(case, true)?;
    is_unchanged(case, &before).context("the roll-back has changed objects")?;
    Ok(format!("from {from}; {} addresses; forth: {forth}; back: {back}", served.len()))
}

/// Installs it where nothing is; what it is, in words.
fn the_version_before(case: &Case<'_>) -> Result<String> {
    case.bench.cluster.load(&case.bench.previous)?;
    case.bellhop("uninstall --yes --crds")?;
    let manifests = case.previous_bellhop(&format!("manifests --image {PREVIOUS}"))?;
    case.apply("previous.yaml", &manifests)?;
    rolled_out(case)?;
    runs(case, true)?;
    let version = case.previous_bellhop("version")?;
    let is_this = std::fs::read(&case.bench.program)? == std::fs::read(&case.bench.previous_program)?;
    Ok(if is_this { "this build under another name".to_owned() } else { format!("another build ({})", version.trim()) })
}

/// Upgrades as docs/operating.md says.
fn this_version(case: &Case<'_>) -> Result<()> {
    case.kubectl("apply -k deploy")?;
    rolled_out(case)
}

fn rolled_out(case: &Case<'_>) -> Result<()> {
    case.kubectl("rollout status deployment bellhop -n bellhop-system --timeout=150s").map(drop)
}

/// Of Bellhop's pods that are not about to end, both run the version before, or neither.
fn runs(case: &Case<'_>, previous: bool) -> Result<()> {
    let pods = case.object("pods -n bellhop-system -l app.kubernetes.io/name=bellhop")?;
    let stay = pods["items"].as_array().into_iter().flatten().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let images: Vec<&str> = stay.filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str()).collect();
    ensure!(images.len() == 2 && images.iter().all(|image| (*image == PREVIOUS) == previous), "pods run {images:?}");
    Ok(())
}

/// A Service of each policy and of each family that the cluster has.
fn serve(case: &Case<'_>) -> Result<Vec<Served>> {
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2.yaml"))?;
    pods_are_ready(case)?;
    let (ipv4, ipv6) = ((case.bench.family != Family::Ipv6).then_some(IPV4), (case.bench.family != Family::Ipv4).then_some(IPV6));
    let mut served = Vec::new();
    for ((pool, range, services), file) in [(ipv4, "ipv4"), (ipv6, "ipv6")].into_iter().filter_map(|(drawn, file)| Some((drawn?, file))) {
        case.kubectl(&format!("apply -f e2e/kind/manifests/upgrade-{file}.yaml"))?;
        for service in services {
            let address = wait_for(&format!("an address of {service}"), SOON, || {
                case.addresses(service)?.first().copied().with_context(|| format!("{service} has none"))
            })?;
            let shown = address.to_string();
            case.served_at(service, &shown)?;
            answers(case, &url(address))?;
            served.push(Served { service, address: shown, mac: case.carrier(service)?.mac });
        }
        case.patch(&format!("eip {pool}"), &json!({ "spec": { "address": range } }).to_string())?;
        wait_for(&format!("{pool} with ten addresses"), SOON, || {
            let size = &case.object(&format!("eip {pool}"))?["status"]["poolSize"];
            ensure!(*size == 10, "it has {size}");
            Ok(())
        })?;
    }
    Ok(served)
}

fn url(address: IpAddr) -> String {
    if address.is_ipv6() { format!("-g http://[{address}]") } else { address.to_string() }
}

/// Services and Eips as they stand, without what counts writes.
fn objects(case: &Case<'_>) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for kind in ["svc", "eip"] {
        let list = case.object(kind)?;
        all.extend(list["items"].as_array().into_iter().flatten().cloned());
    }
    for object in &mut all {
        object["metadata"]["resourceVersion"].take();
    }
    Ok(all)
}

/// Whether they stand as before; the first two that differ, if not.
fn is_unchanged(case: &Case<'_>, before: &[Value]) -> Result<()> {
    let after = objects(case)?;
    ensure!(after.len() == before.len(), "{} and then {}", before.len(), after.len());
    let differing = before.iter().zip(&after).find(|(before, after)| before != after);
    differing.map_or(Ok(()), |(before, after)| bail!("{before} and then {after}"))
}

/// What clients see of the addresses while something is done to Bellhop.
fn watched(case: &Case<'_>, served: &[Served], act: impl FnOnce() -> Result<()>) -> Result<String> {
    let started = served.iter().map(|it| Ok((it, case.keep_curling(&it.address)?, case.keep_asking(&it.address)?)));
    let probes: Vec<(&Served, Probe, Probe)> = started.collect::<Result<_>>()?;
    let acted = act();
    std::thread::sleep(Duration::from_secs(3));
    let stopped = probes.into_iter().map(|(it, curls, questions)| Ok((it, curls.stop()?, questions.stop()?)));
    let seen: Vec<(&Served, Asked, Asked)> = stopped.collect::<Result<_>>()?;
    acted?;
    let (mut silence, mut requests) = (Duration::ZERO, 0);
    for (Served { service, address, mac }, curls, questions) in &seen {
        let has = case.addresses(service)?;
        ensure!(has == [address.parse::<IpAddr>()?], "{service} had {address} and has {has:?}");
        ensure!(questions.answers() == [mac], "answers for {address} named {:?}, and its node has {mac}", questions.answers());
        ensure!(questions.longest_silence() < HANDED_OVER, "nobody answered for {address} for {:?}", questions.longest_silence());
        ensure!(curls.lost() == 0, "{} of {} requests to {address} were lost", curls.lost(), curls.questions());
        silence = silence.max(questions.longest_silence());
        requests += curls.questions();
    }
    Ok(format!("no ARP or NDP answer for {:.1} s at most, 0 of {requests} requests lost", silence.as_secs_f64()))
}

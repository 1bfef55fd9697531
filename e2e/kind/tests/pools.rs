//! Pools that are changed while they are used, and Services that get nothing.

use anyhow::{Result, ensure};

use super::{SAMPLES, SERVICE};
use crate::kind::case::{Case, SOON};
use crate::kind::patience::wait_for;

const POOL: &str = "eip porter-layer2-eip";

/// Two addresses for three Services; the third gets one when there is one, and keeps what the pool loses.
pub(super) fn a_pool_grows_and_shrinks(case: &Case<'_>) -> Result<String> {
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2.yaml -f {SAMPLES}/porter-layer2-eip.yaml"))?;
    case.patch(POOL, r#"{"spec":{"address":"192.168.0.91-192.168.0.92"}}"#)?;
    total(case, 2)?;
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2-svc.yaml"))?;
    case.served_at(SERVICE, "192.168.0.91")?;
    case.kubectl("apply -f scenarios/manifests/svc-second.yaml")?;
    case.served_at("second", "192.168.0.92")?;
    case.kubectl("apply -f scenarios/manifests/svc-first.yaml")?;
    describes(case, "first", "porter-layer2-eip")?;
    ensure!(case.addresses("first")?.is_empty(), "an address from nowhere");
    case.patch(POOL, r#"{"spec":{"address":"192.168.0.91-192.168.0.110"}}"#)?;
    total(case, 20)?;
    case.served_at("first", "192.168.0.93")?;
    // What is assigned stays, also where the pool is not any more.
    case.patch(POOL, r#"{"spec":{"address":"192.168.0.92-192.168.0.95"}}"#)?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    for (service, address) in [(SERVICE, "192.168.0.91"), ("second", "192.168.0.92"), ("first", "192.168.0.93")] {
        let has = case.addresses(service)?;
        ensure!(has == [address.parse::<std::net::IpAddr>()?], "{service} has {has:?}, not {address}");
    }
    case.kubectl("get eip,svc")?;
    Ok(String::new())
}

fn total(case: &Case<'_>, size: u64) -> Result<()> {
    wait_for(&format!("a pool of {size}"), SOON, || {
        let pool = case.object(POOL)?;
        ensure!(pool["status"]["poolSize"] == size, "it has {}", pool["status"]["poolSize"]);
        Ok(())
    })
}

/// `kubectl describe svc` shows an Event that says what is wrong and with what.
pub(super) fn a_pending_service_says_why(case: &Case<'_>) -> Result<String> {
    case.kubectl("apply -f scenarios/manifests/svc-unknown-pool.yaml")?;
    describes(case, "unknown-pool", "no-such-eip")?;
    let row = case.kubectl("get svc unknown-pool --no-headers")?;
    ensure!(row.contains("<pending>"), "not pending: {row}");
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2-eip.yaml -f scenarios/manifests/svc-outside-pool.yaml"))?;
    describes(case, "outside-pool", "192.168.0.150")?;
    Ok(String::new())
}

/// Waits until `kubectl describe svc` prints a word among the Events.
fn describes(case: &Case<'_>, service: &str, word: &str) -> Result<()> {
    wait_for(&format!("an Event of {service} with `{word}`"), SOON, || {
        let text = case.kubectl(&format!("describe svc {service}"))?;
        ensure!(text.split("Events:").skip(1).any(|events| events.contains(word)), "no Event says `{word}`");
        Ok(())
    })
}

//! Counts and states for Prometheus.
//!
//! A scrape asks the running program for a [`Snapshot`] through a channel and writes it out; the program itself keeps no registry, no global
//! and no timer for it. So a scrape that is answered also proves that the program's one loop turns: the probes use the same way.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

/// One question for a [`Snapshot`].
pub type Observation = oneshot::Sender<Snapshot>;

/// Asks the running program how it is.
#[derive(Clone, Debug)]
pub struct Observer(mpsc::Sender<Observation>);

impl Observer {
    /// An observer and what [`crate::Config::observations`] takes.
    pub fn new() -> (Self, mpsc::Receiver<Observation>) {
        let (sender, receiver) = mpsc::channel(8);
        (Self(sender), receiver)
    }

    /// How the program is; `None` once it has ended.
    pub async fn observe(&self) -> Option<Snapshot> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        receiver.await.ok()
    }
}

/// How the program is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every kind has been listed once.
    pub synced: bool,
    /// It leads, and has it confirmed.
    pub leader: bool,
    /// Addresses of each Eip.
    pub pools: BTreeMap<String, PoolUse>,
    /// Services with an announced address, as (namespace, name, address, node, interface).
    pub announced: Vec<[String; 5]>,
    /// Traffic of each interface that is open.
    pub interfaces: BTreeMap<String, Traffic>,
}

/// Addresses of one Eip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// All.
    pub size: u64,
    /// Those in use.
    pub used: u64,
}

/// Frames of one interface since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests for one of our addresses.
    pub requests: u64,
    /// Replies sent.
    pub replies: u64,
    /// Gratuitous frames sent.
    pub gratuitous: u64,
    /// Frames that could not be sent.
    pub send_errors: u64,
    /// Frames that were none of ours, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// The text that Prometheus scrapes.
pub fn text(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("bellhop");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let encoder = &mut encoder;
        let leader = encoder.encode_descriptor("leader", "Whether this replica leads.", None, MetricType::Gauge)?;
        Gauge(u64::from(self.leader)).encode(leader)?;
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        gauges(encoder, "build_info", "The version that runs.", [(version, 1)])?;
        let of_pool = |value: fn(&PoolUse) -> u64| {
            self.pools.iter().map(move |(eip, pool)| (vec![("eip", eip.clone()), ("family", pool.family.to_owned())], value(pool)))
        };
        gauges(encoder, "eip_addresses", "Addresses of an Eip.", of_pool(|pool| pool.size))?;
        gauges(encoder, "eip_addresses_in_use", "Addresses of an Eip that are in use.", of_pool(|pool| pool.used))?;
        let names = ["namespace", "service", "ip", "node", "interface"];
        let announced = self.announced.iter().map(|values| (std::iter::zip(names, values.iter().cloned()).collect(), 1));
        gauges(encoder, "service_announced", "Services whose address this replica answers for.", announced)?;
        let of_interface = |value: fn(&Traffic) -> u64| {
            self.interfaces
                .iter()
                .map(move |(name, traffic)| (vec![("interface", name.clone()), ("family", "ipv4".to_owned())], value(traffic)))
        };
        counters(encoder, "l2_requests", "Requests for an address of ours.", of_interface(|traffic| traffic.requests))?;
        counters(encoder, "l2_replies", "Replies sent.", of_interface(|traffic| traffic.replies))?;
        counters(encoder, "l2_gratuitous", "Gratuitous frames sent.", of_interface(|traffic| traffic.gratuitous))?;
        counters(encoder, "l2_send_errors", "Frames that could not be sent.", of_interface(|traffic| traffic.send_errors))?;
        let ignored = self.interfaces.iter().flat_map(|(name, traffic)| {
            traffic.ignored.iter().map(move |(reason, count)| (vec![("interface", name.clone()), ("reason", (*reason).to_owned())], *count))
        });
        counters(encoder, "l2_frames_ignored", "Frames that were none of ours, by reason.", ignored)
    }
}

type Series = (Vec<(&'static str, String)>, u64);

fn gauges(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, series: impl IntoIterator<Item = Series>) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    series.into_iter().try_for_each(|(labels, value)| Gauge(value).encode(family.encode_family(&labels)?))
}

fn counters(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, series: impl IntoIterator<Item = Series>) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    series.into_iter().try_for_each(|(labels, value)| Counter(value).encode(family.encode_family(&labels)?))
}

struct Gauge(u64);

impl EncodeMetric for Gauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&i64::try_from(self.0).unwrap_or(i64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

struct Counter(u64);

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<prometheus_client::encoding::NoLabelSet, _, u64>(&self.0, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_names_every_series_with_our_prefix() {
        let traffic = Traffic { replies: 3, ignored: BTreeMap::from([("vlan", 2)]), ..Default::default() };
        let snapshot = Snapshot {
            leader: true,
            pools: BTreeMap::from([("pool".into(), PoolUse { family: "ipv4", size: 10, used: 1 })]),
            interfaces: BTreeMap::from([("eth0".into(), traffic)]),
            ..Default::default()
        };
        let text = text(snapshot).expect("writing to a string");
        for line in [
            "bellhop_leader 1",
            "bellhop_eip_addresses{eip=\"pool\",family=\"ipv4\"} 10",
            "bellhop_eip_addresses_in_use{eip=\"pool\",family=\"ipv4\"} 1",
            "bellhop_l2_replies_total{interface=\"eth0\",family=\"ipv4\"} 3",
            "bellhop_l2_frames_ignored_total{interface=\"eth0\",reason=\"vlan\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}

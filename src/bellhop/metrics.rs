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

/// A question to the running program.
#[derive(Debug)]
pub enum Observation {
    /// Does the loop turn, and what has it been told?
    Health(oneshot::Sender<Health>),
    /// Everything. It costs a look at each Service, so only a scrape asks for it.
    Snapshot(oneshot::Sender<Snapshot>),
}

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
        self.ask(Observation::Snapshot).await
    }

    /// What the probes are to say; `None` once the program has ended.
    pub async fn health(&self) -> Option<Health> {
        self.ask(Observation::Health).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Observation) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(question(sender)).await.ok()?;
        receiver.await.ok()
    }
}

/// What the program has been told of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Kinds that have not been listed once.
    pub unlisted: Vec<&'static str>,
    /// Each kind, and whether its watch is broken: what is known of it may be old.
    pub stale: BTreeMap<&'static str, bool>,
}

/// How the program is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What it has been told.
    pub health: Health,
    /// It leads, and has it confirmed.
    pub leader: bool,
    /// Addresses of each Eip.
    pub pools: BTreeMap<String, PoolUse>,
    /// Services with an address, as (namespace, name, address).
    pub assigned: Vec<[String; 3]>,
    /// How many Services have not what they ask for, by the reason that stands on them.
    pub waiting: BTreeMap<String, u64>,
    /// Services with an announced address, as (namespace, name, address, node, interface).
    pub announced: Vec<[String; 5]>,
    /// Writes to the API so far, by kind and end (`done`, `conflict`, `failed`).
    pub writes: BTreeMap<(&'static str, &'static str), u64>,
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
    /// ARP requests and neighbor solicitations for one of our addresses.
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
        let stale = self.health.stale.iter().map(|(kind, stale)| (vec![("kind", (*kind).to_owned())], u64::from(*stale)));
        gauges(encoder, "config_stale", "Whether the watch of a kind is broken, so that what is known of it may be old.", stale)?;
        let of_pool = |value: fn(&PoolUse) -> u64| {
            self.pools.iter().map(move |(eip, pool)| (vec![("eip", eip.clone()), ("family", pool.family.to_owned())], value(pool)))
        };
        gauges(encoder, "eip_addresses", "Addresses of an Eip.", of_pool(|pool| pool.size))?;
        gauges(encoder, "eip_addresses_in_use", "Addresses of an Eip that are in use.", of_pool(|pool| pool.used))?;
        let assigned =
            self.assigned.iter().map(|values| (std::iter::zip(["namespace", "service", "ip"], values.iter().cloned()).collect(), 1));
        gauges(encoder, "service_assigned", "Services with an address.", assigned)?;
        let waiting = self.waiting.iter().map(|(reason, count)| (vec![("reason", reason.clone())], *count));
        gauges(encoder, "services_waiting", "Services that wait for an address, by the reason that stands on them.", waiting)?;
        let names = ["namespace", "service", "ip", "node", "interface"];
        let announced = self.announced.iter().map(|values| (std::iter::zip(names, values.iter().cloned()).collect(), 1));
        gauges(encoder, "service_announced", "Services whose address this replica answers for.", announced)?;
        let writes = self
            .writes
            .iter()
            .map(|((kind, result), count)| (vec![("kind", (*kind).to_owned()), ("result", (*result).to_owned())], *count));
        counters(encoder, "api_writes", "Writes to the Kubernetes API, by how they ended.", writes)?;
        let of_interface = |value: fn(&Traffic) -> u64| {
            self.interfaces.iter().map(move |(name, traffic)| (vec![("interface", name.clone())], value(traffic)))
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

    /// A snapshot with something in each of its fields.
    fn full() -> Snapshot {
        let traffic = Traffic { replies: 3, ignored: BTreeMap::from([("vlan", 2)]), ..Default::default() };
        Snapshot {
            health: Health { unlisted: Vec::new(), stale: BTreeMap::from([("Nodes", true)]) },
            leader: true,
            pools: BTreeMap::from([("pool".into(), PoolUse { family: "ipv4", size: 10, used: 1 })]),
            assigned: vec![["default", "web", "192.0.2.7"].map(Into::into)],
            waiting: BTreeMap::from([("PoolExhausted".into(), 4)]),
            announced: vec![["default", "web", "192.0.2.7", "worker", "eth0"].map(Into::into)],
            writes: BTreeMap::from([(("Eip", "done"), 5)]),
            interfaces: BTreeMap::from([("eth0".into(), traffic)]),
        }
    }

    #[test]
    fn a_scrape_names_every_series_with_our_prefix() {
        let text = text(full()).expect("writing to a string");
        for line in [
            "bellhop_leader 1",
            "bellhop_config_stale{kind=\"Nodes\"} 1",
            "bellhop_eip_addresses{eip=\"pool\",family=\"ipv4\"} 10",
            "bellhop_eip_addresses_in_use{eip=\"pool\",family=\"ipv4\"} 1",
            "bellhop_service_assigned{namespace=\"default\",service=\"web\",ip=\"192.0.2.7\"} 1",
            "bellhop_services_waiting{reason=\"PoolExhausted\"} 4",
            "bellhop_api_writes_total{kind=\"Eip\",result=\"done\"} 5",
            "bellhop_l2_replies_total{interface=\"eth0\"} 3",
            "bellhop_l2_frames_ignored_total{interface=\"eth0\",reason=\"vlan\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    /// Each exposed series: name, type, labels, as docs/metrics.md has them in its table.
    fn exposed() -> BTreeMap<String, (String, String)> {
        let text = text(full()).expect("writing to a string");
        let types: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split_once(' ')).collect();
        let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, labels) = line.split_once([' ', '{']).expect("a series");
            let labels = if line.contains('{') { labels.split('}').next().unwrap_or_default() } else { "" };
            let labels: Vec<&str> = labels.split(',').filter_map(|label| label.split_once('=').map(|(name, _)| name)).collect();
            let type_ = types.get(name.trim_end_matches("_total")).copied().unwrap_or_default();
            (name.to_owned(), (type_.to_owned(), labels.join(", ")))
        });
        series.collect()
    }

    fn repository(path: &str) -> String {
        let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn the_table_in_docs_names_what_is_exposed_with_its_type_and_labels() {
        let rows = repository("docs/metrics.md");
        let rows = rows.lines().filter(|line| line.starts_with("| `bellhop_")).map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), cells[2].replace('`', "")))
        });
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), exposed(), "left docs/metrics.md, right what a scrape gives");
    }

    #[test]
    fn alerts_and_dashboard_ask_for_series_that_are_exposed() {
        let exposed = exposed();
        for path in ["deploy/overlays/prometheus/alerts.yaml", "deploy/overlays/prometheus/dashboard.json"] {
            let text = repository(path);
            let named: Vec<String> = text
                .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .filter(|word| word.starts_with("bellhop_"))
                .map(str::to_owned)
                .collect();
            assert!(!named.is_empty(), "{path} asks for nothing of ours");
            for name in named {
                assert!(exposed.contains_key(&name), "{path}: {name} is not exposed");
            }
        }
    }
}

//! What the tests of a whole replica stand on: the tutorial's objects, a LAN whose workers answer for themselves, and an API that takes every write.
//!
//! It knows no fault but those that a test sets; what a replica should do is the tests' to say.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::*;
use crate::arp::{ArpMessage, Operation};
use crate::link::InterfaceAddress;
use crate::mac::MacAddr;
use crate::object::{Endpoint, Protocol, Request, ServiceStatus, Version};
use crate::pool::AddressPool;

pub(super) const MASTER1: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
pub(super) const WORKER_P001: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x3a, 0xe6, 0x6e]);
pub(super) const WORKER_P002: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x37, 0x6c, 0x7b]);
pub(super) const CLIENT: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]);
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);

/// A replica on master1 with the plainest API there could be: it takes every write, and hands the object back.
pub(super) struct Bench {
    pub(super) replica: Replica,
    pub(super) now: Instant,
    pub(super) pools: BTreeMap<PoolName, Pool>,
    pub(super) services: BTreeMap<ServiceKey, Service>,
    pub(super) version: u64,
    pub(super) events: Vec<Event>,
    pub(super) sent: Vec<ArpMessage>,
    pub(super) writes: usize,
    pub(super) api_up: bool,
    /// Somebody's webhook undoes what is written to a Service's status.
    pub(super) undone: bool,
}

pub(super) fn node(name: &str, last: u8) -> Node {
    Node {
        name: name.into(),
        ready: true,
        deleting: false,
        excluded: false,
        addresses: vec![[192, 168, 0, last].into()],
        layer2_address: None,
    }
}

pub(super) fn pool(name: &str, addresses: &str) -> Pool {
    Pool {
        name: name.into(),
        uid: name.to_owned(),
        version: Version("1".into()),
        created: 1,
        deleting: false,
        has_finalizer: false,
        addresses: AddressPool::parse(addresses, false),
        protocol: Protocol::Layer2,
        interface: Some("eth0".parse()),
        disabled: false,
        is_default: false,
        priority: 0,
        binding: None,
        status: PoolStatus::default(),
    }
}

pub(super) fn service(name: &str, created: i64) -> Service {
    Service {
        key: ServiceKey::new("default", name),
        version: Version("1".into()),
        created,
        request: Some(Request::default()),
        status: ServiceStatus::default(),
        has_foreign_finalizer: false,
    }
}

pub(super) fn slice(service: &str, nodes: &[&str]) -> EndpointSlice {
    let endpoint = |node: &&str| Endpoint { node: Some((*node).into()), ready: true, serving: true, terminating: false };
    EndpointSlice {
        name: format!("{service}-x").into(),
        service: ServiceKey::new("default", service),
        endpoints: nodes.iter().map(endpoint).collect(),
    }
}

impl Bench {
    /// Leading on master1 with eth0, three nodes listed, nothing else yet.
    pub(super) fn new() -> Self {
        let config = Config { node: "master1".into(), ignore_exclude_label: false, lease: Times::default() };
        let mut bench = Self {
            replica: Replica::new(config, ChaCha8Rng::seed_from_u64(42)),
            now: Instant::from_millis(1000),
            pools: BTreeMap::new(),
            services: BTreeMap::new(),
            version: 1,
            events: Vec::new(),
            sent: Vec::new(),
            writes: 0,
            api_up: true,
            undone: false,
        };
        let eth0 = Interface {
            name: "eth0".into(),
            mac: MASTER1,
            up: true,
            addresses: vec![InterfaceAddress { address: [192, 168, 0, 2].into(), prefix_length: 24 }],
        };
        bench.replica.handle_interfaces(bench.now, vec![eth0], BTreeMap::new());
        for (name, last) in [("master1", 2), ("worker-p001", 3), ("worker-p002", 4)] {
            bench.replica.handle_node(bench.now, node(name, last));
        }
        bench.replica.handle_lease(bench.now, None);
        bench
    }

    /// With the tutorial's pool and Service, both Pods up.
    pub(super) fn tutorial() -> Self {
        let mut bench = Self::new();
        bench.add_pool(pool("porter-layer2-eip", "192.168.0.91-192.168.0.100"));
        bench.add_service(service("porter-layer2-svc", 5));
        bench.replica.handle_slice(bench.now, slice("porter-layer2-svc", &["worker-p001", "worker-p002"]));
        bench.sync();
        bench
    }

    pub(super) fn add_pool(&mut self, pool: Pool) {
        self.pools.insert(pool.name.clone(), pool.clone());
        self.replica.handle_pool(self.now, pool);
    }

    pub(super) fn add_service(&mut self, service: Service) {
        self.services.insert(service.key.clone(), service.clone());
        self.replica.handle_service(self.now, service);
    }

    pub(super) fn sync(&mut self) {
        for kind in Kind::ALL {
            self.replica.handle_synced(self.now, kind);
        }
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "it never comes to rest");
            let now = self.now;
            while let Some(command) = self.replica.poll_link(now) {
                if let LinkCommand::Open(name) = command {
                    self.replica.handle_link(now, &name, Ok(()));
                }
            }
            let mut frame = Vec::new();
            if let Some(interface) = self.replica.poll_transmit(now, &mut frame) {
                self.transmitted(&interface, &frame);
            } else if let Some(write) = self.replica.poll_lease(now) {
                self.lease(&write);
            } else if let Some(write) = self.replica.poll_write(now) {
                self.write(write);
            } else if let Some(event) = self.replica.poll_event(now) {
                self.events.push(event);
            } else {
                return;
            }
        }
    }

    /// The LAN: the workers' kernels answer for their own addresses.
    pub(super) fn transmitted(&mut self, interface: &InterfaceName, frame: &[u8]) {
        let message = ArpMessage::parse(frame).expect("our own frame");
        self.sent.push(message);
        let workers = [(Ipv4Addr::new(192, 168, 0, 3), WORKER_P001), (Ipv4Addr::new(192, 168, 0, 4), WORKER_P002)];
        let asked = workers.iter().find(|(address, _)| message.operation == Operation::Request && message.target_ip == *address);
        if let Some(&(address, mac)) = asked {
            let mut reply = Vec::new();
            ArpMessage {
                destination: MASTER1,
                source: mac,
                operation: Operation::Reply,
                sender_mac: mac,
                sender_ip: address,
                target_mac: MASTER1,
                target_ip: message.sender_ip,
            }
            .emit(&mut reply);
            self.replica.handle_frame(self.now, interface, &reply);
        }
    }

    pub(super) fn lease(&mut self, write: &LeaseWrite) {
        self.version += 1;
        let version = Version(self.version.to_string());
        let lease = LeaseRecord { version, holder: write.holder.clone(), duration: write.duration, ..LeaseRecord::default() };
        self.replica.handle_lease_written(self.now, if self.api_up { Ok(lease) } else { Err(Written::Failed) });
    }

    pub(super) fn write(&mut self, write: Write) {
        self.writes += 1;
        self.version += 1;
        let next = Version(self.version.to_string());
        let subject = match write {
            Write::PoolStatus { pool, version, status } => {
                let object = self.pools.get_mut(&pool).expect("a pool that is there");
                assert_eq!(object.version, version);
                (object.status, object.version) = (status, next);
                self.replica.handle_pool(self.now, object.clone());
                Subject::Pool(pool)
            }
            Write::PoolFinalizer { pool, present, .. } => {
                let object = self.pools.get_mut(&pool).expect("a pool that is there");
                (object.has_finalizer, object.version) = (present, next);
                self.replica.handle_pool(self.now, object.clone());
                Subject::Pool(pool)
            }
            Write::Service { service, status, .. } => {
                for address in &status.ingress {
                    let told = self.services[&service].status.ingress.contains(address);
                    let recorded = self.pools.values().any(|pool| pool.status.used.contains_key(address));
                    assert!(told || recorded, "{address} is told before it is on record");
                }
                let object = self.services.get_mut(&service).expect("a Service that is there");
                object.version = next;
                if !self.undone {
                    object.status = status;
                }
                self.replica.handle_service(self.now, object.clone());
                Subject::Service(service)
            }
        };
        self.replica.handle_written(self.now, &subject, Written::Done);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.replica.poll_timeout(self.now).filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.replica.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.replica.handle_timeout(end);
        self.drain();
    }

    /// What the client hears when it asks for `address`.
    pub(super) fn who_has(&mut self, address: Ipv4Addr) -> Option<ArpMessage> {
        self.ask(address);
        self.drain();
        self.answer()
    }

    /// The client asks; nothing is drained yet.
    pub(super) fn ask(&mut self, address: Ipv4Addr) {
        let mut frame = Vec::new();
        let request = ArpMessage {
            destination: MacAddr::BROADCAST,
            source: CLIENT,
            operation: Operation::Request,
            sender_mac: CLIENT,
            sender_ip: [192, 168, 0, 5].into(),
            target_mac: MacAddr::ZERO,
            target_ip: address,
        };
        request.emit(&mut frame);
        self.sent.clear();
        self.replica.handle_frame(self.now, &"eth0".into(), &frame);
    }

    /// What was answered since.
    pub(super) fn answer(&self) -> Option<ArpMessage> {
        self.sent.iter().find(|message| message.operation == Operation::Reply && message.destination == CLIENT).copied()
    }

    pub(super) fn status(&self, name: &str) -> &ServiceStatus {
        &self.services[&ServiceKey::new("default", name)].status
    }

    pub(super) fn reasons(&self) -> Vec<&'static str> {
        self.events.iter().map(|event| event.reason).collect()
    }
}

pub(super) fn carrier_of(status: &ServiceStatus) -> MacAddr {
    match status.node.as_ref().map(NodeName::as_str) {
        Some("master1") => MASTER1,
        Some("worker-p001") => WORKER_P001,
        Some("worker-p002") => WORKER_P002,
        other => panic!("{other:?} carries it"),
    }
}

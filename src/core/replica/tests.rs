//! A whole replica by theme: what it writes, and what it says on the wire. What the tests stand on is `bench`.

mod bench;
mod dual_stack;
mod leadership;
mod nodes;
mod pools;
mod properties;
mod sharing;
mod tutorial;
mod writes;

use std::time::Duration;

use super::*;
use crate::arp::Operation;
use crate::by_family::ByFamily;
use crate::events::WAITING_MAX;
use crate::lease::LeaseRecord;
use crate::link::InterfaceAddress;
use crate::object::{Family, Request, ServiceStatus, TrafficPolicy, Version};
use crate::pool::AddressPool;
use bench::{Bench, MASTER1, VIP, WORKER_P001, WORKER_P002, carrier_of, node, pool, service, slice};

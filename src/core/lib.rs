//! Every decision of Bellhop, and nothing else.
//!
//! This crate knows no socket, no clock, no randomness of the system, no async runtime and no Kubernetes type. Time, chance and
//! order are inputs. What it decides can therefore be tested by calling a function, and a failover replays from a seed.
//!
//! Methods come in three kinds, told apart by name: `handle_*(now, …)` takes one event in, `poll_*` hands work out, and bare nouns look.
//! Start reading at [`replica::Replica`], which is all that the program drives.

pub mod allocation;
pub mod announced;
pub mod announcements;
pub mod announcer;
pub mod arp;
pub mod by_family;
pub mod carriers;
pub mod controller;
pub mod desired;
mod events;
pub mod frame;
pub mod groups;
pub mod interface;
pub mod lease;
pub mod ledger;
pub mod link;
pub mod mac;
pub mod name;
pub mod namespaces;
pub mod ndp;
pub mod network;
pub mod node_macs;
pub mod notice;
pub mod object;
pub mod outbox;
pub mod placement;
pub mod pool;
pub mod reminders;
pub mod replica;
pub mod sharers;
pub mod sharing;
pub mod status;
pub mod text;
pub mod time;

//! The program: it watches the API, leads by a Lease, writes statuses, opens links and announces.

pub mod env;
pub mod watch;

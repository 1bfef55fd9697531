//! What a Kubernetes API server answers, asked of any: one list of calls, played against ours and against a real one.
//!
//! ```text
//! calls/*.yaml   the calls, a file for each theme       call reads them
//! run            plays them over a `kube::Client`       so over TLS, over plain HTTP, or in process
//! sweep          what a theme that was stopped half way has left
//! normal         takes out of an answer what differs from run to run
//! recorded/*     what the real server answered, normalised: reviewed data
//! differ         where two answers part
//! listed         the differences that stand, with their reasons, in sim/apiserver/README.md
//! report         the table call × ours × real
//! ```
//!
//! It knows no server and starts none. `cargo test -p bellhop-apiserver --test conformance` holds ours to the recorded answers;
//! `e2e/run conformance` starts a real server beside it and compares the two.

pub mod call;
pub mod differ;
pub mod listed;
pub mod normal;
pub mod record;
pub mod report;
pub mod run;
mod sweep;

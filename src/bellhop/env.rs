//! Everything that the program has of the world, in one value.
//!
//! [`Env`] is all that [`crate::run`] gets: a clock, a random stream, a Kubernetes client, the machine's links and a way to be asked to
//! stop. It knows nothing of where they come from: [`crate::system`] makes them from the operating system, the simulator from its own
//! world. So a replica can be frozen (its future is not polled), run at a wrong clock rate, crash between two writes (dropped) and start again.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bellhop_core::link::{Interface, LinkError, LinkLayer};
use bellhop_core::name::InterfaceName;
use bellhop_core::time::Instant;
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

/// A future without a result, on the one thread there is.
pub type LocalFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What a program has of the world. The models of Kubernetes around us take it too.
pub struct Env {
    /// Time, both kinds.
    pub clock: Rc<dyn Clock>,
    /// Chance: this program's own stream.
    pub rng: ChaCha8Rng,
    /// The Kubernetes API.
    pub client: kube::Client,
    /// The machine's interfaces.
    pub links: Rc<dyn Links>,
    /// Cancelled when the program is asked to stop in good order (SIGTERM).
    pub shutdown: CancellationToken,
}

/// A clock. Only differences of [`Clock::now`] decide anything; wall time is for people and for fields of the API.
pub trait Clock {
    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Wall time.
    fn wall(&self) -> jiff::Timestamp;

    /// Ends at or after `deadline`.
    fn sleep_until(&self, deadline: Instant) -> LocalFuture<'static>;
}

/// The interfaces of the machine that the program runs on.
pub trait Links {
    /// All interfaces with their addresses as of now, by name.
    fn interfaces(&self) -> Vec<Interface>;

    /// The interface through which this machine would send to `destination`, as its routing table says; `None` without a route
    /// or when the destination is the machine itself.
    fn route_to(&self, destination: IpAddr) -> Option<InterfaceName>;

    /// The gateways of the default routes.
    fn gateways(&self) -> BTreeSet<IpAddr> {
        BTreeSet::new()
    }

    /// Ends when [`Links::interfaces`] or [`Links::route_to`] may answer differently than at the last call of [`Links::interfaces`].
    fn changed(&self) -> LocalFuture<'_>;

    /// Opens an interface for frames. The filter is in place before the first frame.
    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError>;
}

/// A link that can be waited for.
pub trait Link: LinkLayer {
    /// Ready when [`LinkLayer::receive`] may have a frame or an error to tell.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Frames that the link itself dropped since it was opened, by reason, for the metrics.
    fn ignored(&self) -> Vec<(&'static str, u64)>;
}

//! The program's one loop: feeds the core with what the world has to tell, and does what the core hands out.
//!
//! One future and nothing beside it: no task, no signal handler, no global. It decides nothing. Every event is followed by draining all
//! that the core hands out; only then is the next one taken, in a fixed order of sources. What goes to the LAN goes before what goes to the API.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bellhop_core::lease::Times;
use bellhop_core::name::NodeName;
use bellhop_core::network::LinkCommand;
use bellhop_core::notice::Notice;
use bellhop_core::replica::{self, Replica};
use bellhop_core::time::Instant;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;

use crate::env::{Clock, Env, Links, LocalFuture};
use crate::jobs::Jobs;
use crate::metrics::Observation;
use crate::outage::Outages;
use crate::ports::Ports;
use crate::snapshot;
use crate::watches::{Input, Watches};

/// What can be set.
pub struct Config {
    /// The node that this replica runs on; its identity as a candidate for the Lease.
    pub node: NodeName,
    /// Where the Lease is.
    pub namespace: String,
    /// The Lease's durations.
    pub lease: Times,
    /// Let nodes carry addresses that are labelled as excluded from load balancing.
    pub ignore_exclude_label: bool,
    /// Questions for how the program is: see [`crate::metrics::Observer`].
    pub observations: Option<mpsc::Receiver<Observation>>,
}

impl Config {
    /// The defaults, on this node.
    pub fn new(node: impl Into<NodeName>) -> Self {
        Self {
            node: node.into(),
            namespace: bellhop_api::keys::NAMESPACE.to_owned(),
            lease: Times::default(),
            ignore_exclude_label: false,
            observations: None,
        }
    }
}

/// How long to try to give the Lease back. An API server that is away must not keep a pod from ending.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// Inputs from the API taken in before the core is drained: a list of thousands is decided as one, and frames wait no longer for it.
const INPUTS_PER_TURN: usize = 512;

/// Runs a replica until `env.shutdown` is cancelled, and gives the Lease back then. An API server that is away is waited for.
pub async fn run(config: Config, mut env: Env) -> anyhow::Result<()> {
    let links = env.links.clone();
    let shutdown = env.shutdown.clone();
    let mut program = Program::new(config, &mut env);
    tracing::info!(node = %program.node, "watching the cluster");

    let mut asked_to_stop = Some(Box::pin(shutdown.cancelled()));
    program.look_at_interfaces();
    let mut interfaces_changed = links.changed();
    loop {
        program.drain();
        if program.is_finished() {
            break;
        }
        let event = poll_fn(|cx| {
            if asked_to_stop.as_mut().is_some_and(|asked| asked.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Event::Stop);
            }
            if interfaces_changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::InterfacesChanged);
            }
            program.poll_inputs(cx).map(|()| Event::Handled)
        });
        match event.await {
            Event::Handled => {}
            Event::Stop => {
                asked_to_stop = None;
                program.stop();
            }
            Event::InterfacesChanged => {
                program.look_at_interfaces();
                interfaces_changed = links.changed();
            }
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// What ended a wait.
enum Event {
    /// Asked to stop.
    Stop,
    /// The machine's interfaces or routes changed.
    InterfacesChanged,
    /// Something came in, and the core has it.
    Handled,
}

/// The core and all that connects it with the world.
struct Program {
    node: NodeName,
    clock: Rc<dyn Clock>,
    links: Rc<dyn Links>,
    replica: Replica,
    watches: Watches,
    ports: Ports,
    jobs: Jobs,
    outages: Outages,
    observations: Option<mpsc::Receiver<Observation>>,
    /// The timer, and when it ends.
    timer: Option<(Instant, LocalFuture<'static>)>,
    /// When to end even if the Lease could not be given back.
    stop_at: Option<Instant>,
    /// Which destinations the routes were last looked up for.
    destinations: std::collections::BTreeSet<std::net::IpAddr>,
    /// What went by, for metrics and probes.
    seen: snapshot::Seen,
}

impl Program {
    fn new(config: Config, env: &mut Env) -> Self {
        let mut stream = || ChaCha8Rng::from_rng(&mut env.rng);
        let core = replica::Config { node: config.node.clone(), ignore_exclude_label: config.ignore_exclude_label, lease: config.lease };
        let (replica, mut watch_rng, event_rng) = (Replica::new(core, stream()), stream(), stream());
        Self {
            replica,
            watches: Watches::new(&env.client, &config.namespace, &env.clock, &mut watch_rng),
            ports: Ports::default(),
            jobs: Jobs::new(env.client.clone(), env.clock.clone(), config.namespace, &config.node, event_rng),
            outages: Outages::default(),
            observations: config.observations,
            timer: None,
            stop_at: None,
            destinations: Default::default(),
            seen: snapshot::Seen::default(),
            node: config.node,
            clock: env.clock.clone(),
            links: env.links.clone(),
        }
    }

    fn look_at_interfaces(&mut self) {
        self.destinations = self.replica.destinations();
        let routes = self.destinations.iter().map(|address| (*address, self.links.route_to(*address))).collect();
        let now = self.clock.now();
        self.replica.handle_gateways(now, self.links.gateways());
        self.replica.handle_interfaces(now, self.links.interfaces(), routes);
    }

    fn stop(&mut self) {
        let now = self.clock.now();
        self.stop_at = Some(now + SHUTDOWN_LIMIT);
        self.replica.handle_shutdown(now);
    }

    fn is_finished(&self) -> bool {
        self.stop_at.is_some_and(|limit| self.replica.is_finished() || self.clock.now() >= limit)
    }

    /// Does all that the core hands out.
    fn drain(&mut self) {
        let now = self.clock.now();
        self.drain_to_lan(now);
        if self.replica.destinations() != self.destinations {
            self.look_at_interfaces();
            self.drain_to_lan(now);
        }
        if let Some(write) = self.replica.poll_lease(now) {
            self.jobs.start_lease(&write);
        }
        self.jobs.set_fence(self.replica.may_write_until());
        while self.jobs.have_room() {
            let Some(write) = self.replica.poll_write(now) else { break };
            self.jobs.start(write, &self.watches);
        }
        while self.jobs.have_room_for_event() {
            let Some(event) = self.replica.poll_event(now) else { break };
            self.jobs.start_event(event, &self.watches);
        }
        while let Some(notice) = self.replica.poll_notice() {
            log(&notice);
        }
    }

    fn drain_to_lan(&mut self, now: Instant) {
        let mut frame = Vec::new();
        loop {
            while let Some(command) = self.replica.poll_link(now) {
                match command {
                    LinkCommand::Open(interface) => {
                        let result = self.ports.open(&*self.links, &interface);
                        self.replica.handle_link(now, &interface, result);
                    }
                    LinkCommand::Close(interface) => self.ports.close(&interface),
                    LinkCommand::Join(interface, group) => {
                        if let Err(error) = self.ports.join(&interface, group) {
                            self.replica.handle_join_refused(now, &interface, group, error);
                        }
                    }
                    LinkCommand::Leave(interface, group) => self.ports.leave(&interface, group),
                }
            }
            let Some(interface) = self.replica.poll_transmit(now, &mut frame) else { break };
            if let Err(error) = self.ports.send(&interface, &frame) {
                self.replica.handle_link(now, &interface, Err(error));
            }
            frame.clear();
        }
    }

    /// Takes in what is there, the LAN first. Ready if there was anything.
    fn poll_inputs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let frames = self.poll_frames(cx);
        let timer = self.poll_timer(cx);
        let jobs = self.poll_jobs(cx);
        let watches = self.poll_watches(cx);
        let observations = self.poll_observations(cx);
        let any = [frames, timer, jobs, watches, observations].iter().any(Poll::is_ready);
        if any { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let mut failed = Vec::new();
        let replica = &mut self.replica;
        let taken = self.ports.poll_frames(cx, |interface, frame| replica.handle_frame(now, interface, frame), &mut failed);
        for (interface, error) in failed {
            self.replica.handle_link(now, &interface, Err(error));
        }
        taken
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let deadline = [self.replica.poll_timeout(now), self.stop_at].into_iter().flatten().min();
        if self.timer.as_ref().map(|(deadline, _)| *deadline) != deadline {
            self.timer = deadline.map(|deadline| (deadline, self.clock.sleep_until(deadline)));
        }
        let Some((_, sleep)) = &mut self.timer else { return Poll::Pending };
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.timer = None;
        self.replica.handle_timeout(self.clock.now());
        Poll::Ready(())
    }

    fn poll_jobs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut any = Poll::Pending;
        while let Poll::Ready(mut finished) = self.jobs.poll_next(cx) {
            any = Poll::Ready(());
            let now = self.clock.now();
            self.seen.finished(&finished);
            if let Some(input) = finished.learn(&mut self.watches, &mut self.outages) {
                self.handle(now, input);
            }
            finished.tell(now, &mut self.replica);
        }
        any
    }

    fn poll_watches(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut any = Poll::Pending;
        for _ in 0..INPUTS_PER_TURN {
            let Poll::Ready(input) = self.watches.poll_next(cx, &mut self.outages) else { break };
            any = Poll::Ready(());
            self.handle(self.clock.now(), input);
        }
        any
    }

    fn poll_observations(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(observations) = &mut self.observations else { return Poll::Pending };
        match observations.poll_recv(cx) {
            Poll::Ready(Some(observation)) => {
                match observation {
                    Observation::Health(asker) => _ = asker.send(self.seen.health()),
                    // Nobody waits behind a look at all Services that nobody waits for.
                    Observation::Snapshot(asker) if asker.is_closed() => {}
                    Observation::Snapshot(asker) => {
                        _ = asker.send(snapshot::take(&self.replica, &self.ports, &self.seen));
                    }
                }
                Poll::Ready(())
            }
            Poll::Ready(None) => {
                self.observations = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn handle(&mut self, now: Instant, input: Input) {
        let replica = &mut self.replica;
        match input {
            Input::Pool(pool) => replica.handle_pool(now, pool),
            Input::PoolGone(name) => replica.handle_pool_deleted(now, &name),
            Input::Service(service) => replica.handle_service(now, service),
            Input::ServiceGone(key) => replica.handle_service_deleted(now, &key),
            Input::Slice(slice) => replica.handle_slice(now, slice),
            Input::SliceGone(namespace, name) => replica.handle_slice_deleted(now, &namespace, &name),
            Input::Node(node) => replica.handle_node(now, node),
            Input::NodeGone(name) => replica.handle_node_deleted(now, &name),
            Input::Namespace(namespace) => replica.handle_namespace(now, namespace),
            Input::NamespaceGone(name) => replica.handle_namespace_deleted(now, &name),
            Input::Synced(kind) => {
                self.seen.synced(kind);
                replica.handle_synced(now, kind);
            }
            Input::Away(kind) => {
                self.seen.away(kind);
                replica.handle_away(now, kind);
            }
            Input::Lease(lease) => replica.handle_lease(now, lease),
        }
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::Link(_, Err(_)) | Notice::Group(..) | Notice::Untold(_) => tracing::warn!("{notice}"),
        _ => tracing::info!("{notice}"),
    }
}

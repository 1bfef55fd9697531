//! A real Linux host with one NIC: a network namespace with one end of a veth pair. The other end lies in a namespace of the experimenter's,
//! where a packet socket holds it. Nothing has a name outside, so nothing can be left behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bellhop_fidelity::{
    Arm, ArmError, Captured, Entry, Experiment, HOST, HOST_IP, HOST_IP6, LOCAL_IP, LOCAL_IP6, PREFIX, PREFIX6, Settings,
};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;
use crate::neighbors::parse;

/// The socket is looked at so often.
const TICK: Duration = Duration::from_millis(5);
/// How long a new cable may take until both kernels have noticed it.
const CABLE: Duration = Duration::from_secs(5);
/// Where datagrams go: nobody answers them (RFC 863).
const DISCARD: u16 = 9;

/// The host and the far end of its cable.
pub(super) struct KernelHost {
    host: Namespace,
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    began: Instant,
    /// The longest time by which the experimenter was late.
    late: Duration,
    /// How many frames the experimenter sent.
    sent: u64,
}

impl KernelHost {
    /// A host for an experiment, its cable live. IPv6 is on only where it is needed: its groups fill the kernel's tables.
    pub(super) fn new(experiment: &Experiment) -> Result<Self> {
        let (host, far) = (Namespace::new()?, Namespace::new()?);
        far.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        far.ip(&format!("link add far0 type veth peer name eth0 address {HOST} netns {}", host.path()))?;
        far.ip("link set far0 up")?;
        set(&host, &experiment.settings, experiment.is_ipv6())?;
        host.ip("link set lo up")?;
        host.ip(&format!("address add {LOCAL_IP}/32 dev lo"))?;
        host.ip(&format!("address add {HOST_IP}/{PREFIX} dev eth0"))?;
        host.ip("link set eth0 up")?;
        if experiment.is_ipv6() {
            host.ip(&format!("address add {LOCAL_IP6}/128 dev lo nodad"))?;
            host.ip(&format!("address add {HOST_IP6}/{PREFIX6} dev eth0 nodad"))?;
        }
        await_cable(&host, &far, experiment.is_ipv6())?;
        let (sender, receiver) = far.inside(open)??;
        Ok(Self { host, sender, receiver, began: Instant::now(), late: Duration::ZERO, sent: 0 })
    }

    /// Makes an experiment. The calling thread stays in the host's namespace. `None` if its instruments failed: the experimenter was later than
    /// `late_max` at any time, or a frame of its own did not get through the cable.
    pub(super) fn make(&mut self, experiment: &Experiment, late_max: Duration) -> Option<Result<String, String>> {
        if let Err(error) = self.host.enter() {
            return Some(Err(format!("{error:#}")));
        }
        let saw = experiment.run(self);
        match self.arrived() {
            Ok(arrived) if arrived < self.sent => {
                eprintln!("{}: {arrived} of the experimenter's {} frames reached the host", experiment.name, self.sent);
                None
            }
            Ok(_) => (self.late <= late_max).then(|| saw.map_err(|error| error.to_string())),
            Err(error) => Some(Err(format!("{error:#}"))),
        }
    }

    /// How many frames the host's NIC took in: nobody but the experimenter sends any.
    fn arrived(&self) -> Result<u64> {
        let shown: serde_json::Value = serde_json::from_str(&self.host.ip("-s -j link show dev eth0")?)?;
        shown[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| format!("ip does not count frames: {shown}"))
    }

    /// Notes how long something took that should have taken no longer than `expected`.
    fn took(&mut self, since: Instant, expected: Duration) {
        self.late = self.late.max(since.elapsed().saturating_sub(expected));
    }
}

/// The settings, all of them: what a namespace begins with depends on the machine.
fn set(host: &Namespace, settings: &Settings, ipv6: bool) -> Result<()> {
    for family in ["ipv4", "ipv6"] {
        let neigh = |name: &str, value: u128| host.sysctl(&format!("{family}/neigh/eth0/{name}"), &value.to_string());
        neigh("base_reachable_time_ms", settings.base_reachable.as_millis())?;
        neigh("delay_first_probe_time", settings.delay_first_probe.as_secs().into())?;
        neigh("mcast_resolicit", settings.reprobes.into())?;
    }
    if let Some(lock) = settings.lock {
        // In hundredths of a second (USER_HZ).
        host.sysctl("ipv4/neigh/eth0/locktime", &(lock.as_millis() / 10).to_string())?;
    }
    let of_ipv4 = [
        ("arp_ignore", settings.arp_ignore),
        ("arp_announce", settings.arp_announce),
        ("arp_accept", settings.arp_accept.into()),
        ("drop_gratuitous_arp", settings.drop_gratuitous.into()),
        ("rp_filter", 0),
    ];
    for (name, value) in of_ipv4 {
        host.sysctl(&format!("ipv4/conf/eth0/{name}"), &value.to_string())?;
        host.sysctl(&format!("ipv4/conf/all/{name}"), &if name == "rp_filter" { value } else { 0 }.to_string())?;
    }
    // Addresses are there soon, made of the MAC, and nothing is asked of routers.
    for (name, value) in
        [("disable_ipv6", u8::from(!ipv6)), ("addr_gen_mode", 0), ("accept_dad", 0), ("accept_ra", 0), ("router_solicitations", 0)]
    {
        host.sysctl(&format!("ipv6/conf/eth0/{name}"), &value.to_string())?;
    }
    Ok(())
}

/// The experimenter's socket, opened inside its namespace.
fn open() -> Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    let interface = pnet_datalink::interfaces().into_iter().find(|interface| interface.name == "far0").context("far0 is not there")?;
    let config = Config { read_timeout: Some(TICK), ..Config::default() };
    match pnet_datalink::channel(&interface, config).context("failed to open a packet socket")? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => bail!("a packet socket of another kind"),
    }
}

/// Waits until both ends of the cable are up and, where the host is to have IPv6, its NIC has both addresses for good: the kernel does all of
/// this in work items of its own. Each end by itself: one whose carrier the kernel has not noticed yet (linkwatch_do_dev, a hundred NICs at a
/// time) still has the qdisc noop, which drops what is sent and calls it sent.
fn await_cable(host: &Namespace, far: &Namespace, ipv6: bool) -> Result<()> {
    let until = Instant::now() + CABLE;
    loop {
        let (near, other) = (show(host, "eth0")?, show(far, "far0")?);
        let addresses = near["addr_info"].as_array().cloned().unwrap_or_default();
        let has = |scope: &str| addresses.iter().any(|address| address["family"] == "inet6" && address["scope"] == scope);
        let settled = addresses.iter().all(|address| address["tentative"].is_null());
        if [&near, &other].iter().all(|nic| nic["operstate"] == "UP") && settled && (!ipv6 || (has("link") && has("global"))) {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("the cable is not live after {CABLE:?}: {near}, {other}");
        }
        std::thread::sleep(TICK);
    }
}

/// A NIC and its addresses as the kernel has them.
fn show(namespace: &Namespace, nic: &str) -> Result<serde_json::Value> {
    let shown: serde_json::Value = serde_json::from_str(&namespace.ip(&format!("-j address show dev {nic}"))?)?;
    Ok(shown[0].clone())
}

impl Arm for KernelHost {
    fn now(&mut self) -> Duration {
        self.began.elapsed()
    }

    fn next_frame(&mut self, until: Duration) -> Result<Option<Captured>, ArmError> {
        loop {
            let since = Instant::now();
            let heard = match self.receiver.next() {
                // What the experimenter sent is seen here too.
                Ok(frame) => frame.get(6..12).is_some_and(|source| source == HOST.0).then(|| frame.to_vec()),
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => None,
                Err(error) => return Err(ArmError::new(error)),
            };
            self.took(since, TICK);
            let at = self.now();
            if let Some(frame) = heard {
                return Ok(Some(Captured { at, frame }));
            }
            if at >= until {
                return Ok(None);
            }
        }
    }

    fn put(&mut self, frame: &[u8]) -> Result<(), ArmError> {
        let since = Instant::now();
        let sent = self.sender.send_to(frame, None).unwrap_or_else(|| Err(std::io::Error::other("a frame too long for the socket")));
        self.took(since, Duration::ZERO);
        self.sent += 1;
        sent.map_err(ArmError::new)
    }

    fn send_packet(&mut self, source: Option<IpAddr>, to: IpAddr, confirm: bool) -> Result<(), ArmError> {
        let since = Instant::now();
        let sent = send_packet(source, to, confirm);
        self.took(since, Duration::ZERO);
        sent.map_err(ArmError::new)
    }

    fn entry(&mut self, address: IpAddr) -> Result<Option<Entry>, ArmError> {
        let since = Instant::now();
        // Not "dev eth0": then ip leaves the device out of what it prints, and there is no other.
        let printed = self.host.ip(&format!("-j neigh show to {address}")).map_err(ArmError::new)?;
        self.took(since, TICK);
        let printed = if printed.trim().is_empty() { "[]" } else { printed.as_str() };
        let table = parse(printed).ok_or_else(|| ArmError(format!("ip -j neigh printed {printed}")))?;
        let entry = table.into_values().next();
        Ok(entry.map(|(mac, state)| Entry { state, mac: mac.and_then(|mac| mac.parse().ok()) }))
    }

    fn collects_failed(&self) -> bool {
        true
    }
}

/// A datagram, from a socket of its own.
fn send_packet(source: Option<IpAddr>, to: IpAddr, confirm: bool) -> std::io::Result<()> {
    let (domain, anything): (_, IpAddr) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::new(source.unwrap_or(anything), 0).into())?;
    let flags = if confirm { nix::libc::MSG_CONFIRM } else { 0 };
    socket.send_to_with_flags(&[0], &SocketAddr::new(to, DISCARD).into(), flags).map(|_| ())
}

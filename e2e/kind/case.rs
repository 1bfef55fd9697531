//! One test's view of the bench: it types commands, reads objects, and looks at the wire. Everything is written down in a folder of its own.
//!
//! Afterwards the cluster is as before: no object of the test, all nodes schedulable and Ready, all cables in.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bellhop_scenario::Scenario;
use bellhop_scenario::observation::ArpFrame;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::cluster::Node;
use super::machine::NIC;
use super::patience::wait_for;
use super::probes::Probe;
use super::suite::{Bench, CLIENT, CLIENT_IPV6};
use super::tests::{Place, Play, Test};
use super::world::KindWorld;
use crate::capture;
use crate::namespace::run;
use crate::process::{Process, mortal};

/// How long something may take that has nothing to wait for but programs on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A test under way.
pub(crate) struct Case<'a> {
    pub(crate) bench: &'a Bench,
    out: PathBuf,
    log: RefCell<File>,
    /// From which port [`Case::early_curl`] asks next.
    early_port: Cell<u16>,
    capture: Process,
}

/// Below those that Linux gives to who names none (net.ipv4.ip_local_port_range begins at 32768), and enough for a test.
const EARLY_PORTS: u16 = 10_000;

impl<'a> Case<'a> {
    /// Plays a test: what it has to say about how it went.
    pub(crate) fn play(bench: &'a Bench, test: &Test) -> Result<String> {
        let out = bench.out.join(&test.name);
        std::fs::create_dir_all(&out)?;
        let log = RefCell::new(File::create(out.join("commands.txt"))?);
        let mut command = capture::tcpdump(NIC, &out.join("client.pcap"));
        let capture = bench.client.namespace.inside(|| Process::start(&mut command, &out.join("tcpdump.log")))??;
        let mut case = Self { bench, out, log, early_port: Cell::new(EARLY_PORTS), capture };
        let result = wait_for("tcpdump", SOON, || case.frames()).and_then(|_| match &test.play {
            Play::Test(play) => play(&case),
            Play::File(scenario) => case.scenario(scenario),
        });
        case.keep();
        // Frames that tcpdump still holds.
        case.capture.signal(Signal::SIGTERM);
        case.capture.wait(Duration::from_secs(2));
        let restored = if test.place == Place::Last { Ok(()) } else { case.restore().context("the cluster is not as before the test") };
        let note = result?;
        restored.map(|()| note)
    }

    /// Plays a scenario file.
    fn scenario(&self, scenario: &Scenario) -> Result<String> {
        let outcome = bellhop_scenario::play(scenario, &mut KindWorld::new(self.bench, &self.out))?;
        let transcript = outcome.to_string();
        std::fs::write(self.out.join("transcript.txt"), &transcript)?;
        let failed: Vec<&str> = transcript.lines().filter(|line| line.starts_with('×')).collect();
        ensure!(outcome.exit_code() == 0, "{}", failed.join("\n         "));
        Ok(scenario.about.clone())
    }

    /// What a person wants to see when the test has failed: objects and Bellhop's logs.
    fn keep(&self) {
        let kinds = "eip,svc,deploy,endpointslices,pods,events";
        for line in [&format!("get {kinds} -A -o wide"), "describe eip,svc", "get nodes -o yaml", "get lease -n bellhop-system -o yaml"] {
            let _ = self.kubectl(line);
        }
        for (file, previous) in [("bellhop.log", ""), ("bellhop-before-restart.log", " --previous")] {
            let line = format!("logs -n bellhop-system -l app.kubernetes.io/name=bellhop --prefix --tail=-1{previous}");
            let _ = self.bench.cluster.run(&line).and_then(|text| Ok(std::fs::write(self.out.join(file), text)?));
        }
    }

    /// Everything as before.
    fn restore(&self) -> Result<()> {
        for node in &self.bench.cluster.nodes {
            self.bench.cluster.cable(node, true)?;
            self.kubectl(&format!("uncordon {}", node.name))?;
        }
        self.kubectl("annotate nodes --all layer2.porter.kubesphere.io/v1alpha1-")?;
        // The API server's own Service is labelled as a component.
        self.kubectl("delete services -l !component --wait=false")?;
        self.kubectl("delete deployments --all --wait=false")?;
        self.kubectl("delete eips --all --timeout=60s")?;
        self.kubectl("wait --for=delete pods --all --timeout=90s")?;
        self.forget_connections()?;
        self.kubectl("wait --for=condition=Ready nodes --all --timeout=90s")?;
        self.kubectl("rollout status deployment bellhop -n bellhop-system --timeout=120s").map(drop)
    }

    /// What [`Case::early_curl`] is careful of, from test to test.
    fn forget_connections(&self) -> Result<()> {
        // It ends badly when there is nothing to forget.
        let line =
            format!("(conntrack -D -f ipv4 -s {CLIENT}; conntrack -D -f ipv6 -s {CLIENT_IPV6}) >/dev/null 2>&1; command -v conntrack");
        self.bench.cluster.nodes.iter().try_for_each(|node| self.bench.cluster.on_node(node, &line).map(drop))
    }

    /// Types `kubectl` with words divided by blanks; what it printed.
    pub(crate) fn kubectl(&self, line: &str) -> Result<String> {
        self.type_in(&format!("kubectl {line}"), || self.bench.cluster.run(line))
    }

    /// Types `bellhop`, the operator's own copy of the program, with words divided by blanks; what it printed.
    pub(crate) fn bellhop(&self, line: &str) -> Result<String> {
        self.program(&self.bench.program, line)
    }

    /// Types `bellhop` of the version before.
    pub(crate) fn previous_bellhop(&self, line: &str) -> Result<String> {
        self.program(&self.bench.previous_program, line)
    }

    fn program(&self, program: &Path, line: &str) -> Result<String> {
        let mut command = self.bench.cluster.with_kubeconfig("timeout");
        command.arg("120").arg(program).args(line.split(' '));
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        self.type_in(&format!("{name} {line}"), || self.bench.cluster.docker.inside(&mut command))
    }

    /// Types `kubectl apply -f` with a file of this text.
    pub(crate) fn apply(&self, name: &str, text: &str) -> Result<String> {
        let file = self.out.join(name);
        std::fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
        self.kubectl(&format!("apply -f {}", file.display()))
    }

    /// `kubectl edit` with an editor that replaces one text by another.
    pub(crate) fn edit(&self, what: &str, from: &str, to: &str) -> Result<String> {
        let editor = format!("sed -i 's/{from}/{to}/'");
        let mut command = self.bench.cluster.kubectl();
        command.arg("edit").args(what.split(' ')).env("KUBE_EDITOR", &editor);
        self.type_in(&format!("KUBE_EDITOR=\"{editor}\" kubectl edit {what}"), || self.bench.cluster.docker.inside(&mut command))
    }

    /// `kubectl patch --type=merge` with a JSON text.
    pub(crate) fn patch(&self, what: &str, patch: &str) -> Result<String> {
        let mut command = self.bench.cluster.kubectl();
        command.arg("patch").args(what.split(' ')).args(["--type=merge", "-p", patch]);
        self.type_in(&format!("kubectl patch {what} --type=merge -p '{patch}'"), || self.bench.cluster.docker.inside(&mut command))
    }

    /// Types a program's line on the client; what it printed, also when it ended badly.
    pub(crate) fn client(&self, line: &str) -> Result<String> {
        let mut words = line.split(' ');
        let mut command: Command = mortal(words.next().unwrap_or_default());
        command.args(words);
        self.type_in(line, || {
            let output = self.bench.client.namespace.inside(|| command.output())??;
            Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        })
    }

    /// Writes a command and what came of it down.
    fn type_in(&self, line: &str, run: impl FnOnce() -> Result<String>) -> Result<String> {
        let printed = run();
        let text = match &printed {
            Ok(text) => text.clone(),
            Err(error) => format!("error: {error:#}\n"),
        };
        self.say(&format!("$ {line}\n{text}"));
        printed
    }

    /// Writes something down.
    pub(crate) fn say(&self, text: &str) {
        // A log that cannot be written must not fail a test.
        let _ = writeln!(self.log.borrow_mut(), "{text}");
    }

    /// An object: `svc porter-layer2-svc`.
    pub(crate) fn object(&self, what: &str) -> Result<Value> {
        let text = self.bench.cluster.run(&format!("get {what} -o json"))?;
        serde_json::from_str(&text).context("kubectl printed something else than JSON")
    }

    /// The addresses that a Service shows.
    pub(crate) fn addresses(&self, service: &str) -> Result<Vec<IpAddr>> {
        let object = self.object(&format!("svc {service}"))?;
        let ingress = object["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
        Ok(ingress.filter_map(|ingress| ingress["ip"].as_str()?.parse().ok()).collect())
    }

    /// Waits until a Service has just this address, and is announced.
    pub(crate) fn served_at(&self, service: &str, address: &str) -> Result<()> {
        wait_for(&format!("{service} at {address}"), SOON, || {
            let has = self.addresses(service)?;
            ensure!(has == [address.parse::<IpAddr>()?], "{service} has {has:?}");
            let object = self.object(&format!("svc {service}"))?;
            let announced = condition(&object, "bellhop.dev/Announced").context("no condition says whether it is announced")?;
            ensure!(announced["status"] == "True", "not announced: {} {}", announced["reason"], announced["message"]);
            Ok(())
        })
    }

    /// The node that carries a Service's address.
    pub(crate) fn carrier(&self, service: &str) -> Result<Node> {
        let object = self.object(&format!("svc {service}"))?;
        let name = object["metadata"]["annotations"]["layer2.porter.kubesphere.io/v1alpha1"].as_str().context("no node is written down")?;
        self.bench.cluster.node(name).cloned()
    }

    /// The node that the leader runs on.
    pub(crate) fn leader(&self) -> Result<Node> {
        let lease = self.object("lease bellhop -n bellhop-system")?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        self.bench.cluster.node(holder).cloned().context("nobody leads")
    }

    /// The names of the tutorial's pods and the nodes that they are on, of those that are ready.
    pub(crate) fn pods(&self) -> Result<Vec<(String, String)>> {
        let list = self.object("pods -l app=porter-layer2")?;
        let ready =
            list["items"].as_array().into_iter().flatten().filter(|pod| condition(pod, "Ready").is_some_and(|it| it["status"] == "True"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(ready.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]))).collect())
    }

    /// What the tutorial's pods answer on the client to so many requests, each with a connection of its own.
    pub(crate) fn curls(&self, address: &str, count: usize) -> Result<Vec<String>> {
        (0..count).map(|_| Ok(self.client(&format!("curl -s -m 2 {address}"))?.trim().to_owned())).collect()
    }

    /// Asks over HTTP where kube-proxy may have no rules yet; what was printed. A node's conntrack keeps a connection that came before the rules for
    /// two minutes as one not to be translated, and what comes from the same port until then is lost. So each of these has a port of its own.
    pub(crate) fn early_curl(&self, address: &str) -> Result<String> {
        let port = self.early_port.get();
        self.early_port.set(port + 1);
        self.client(&format!("curl -s -m 2 --local-port {port} {address}"))
    }

    /// Asks over HTTP until stopped.
    pub(crate) fn keep_curling(&self, address: &str) -> Result<Probe> {
        Ok(Probe::curl(&self.bench.client, SocketAddr::new(address.parse()?, 80)))
    }

    /// Asks by ARP, or by Neighbor Discovery on a machine of its own, until stopped.
    pub(crate) fn keep_asking(&self, address: &str) -> Result<Probe> {
        Ok(match address.parse()? {
            IpAddr::V4(address) => Probe::arping(&self.bench.client, address),
            IpAddr::V6(address) => Probe::ndisc(&self.bench.asker, address),
        })
    }

    /// The MAC that the client's neighbor table has for an address.
    pub(crate) fn neighbor(&self, address: &str) -> Result<String> {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let text = self.client(&format!("ip {family} -j neigh show to {address} dev {NIC}"))?;
        let table: Value = serde_json::from_str(&text).unwrap_or_default();
        table[0]["lladdr"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("no entry for {address}: {}", text.trim()))
    }

    /// ARP frames that reached the client until now, with the time since 1970.
    pub(crate) fn frames(&self) -> Result<Vec<(Duration, ArpFrame)>> {
        let file = self.out.join("client.pcap");
        if std::fs::metadata(&file)?.len() == 0 {
            bail!("nothing is captured yet");
        }
        capture::read("client", &file)
    }

    /// Frames that reached the client until now, of those that tcpdump's filter takes, as it prints them with their MACs.
    pub(crate) fn frames_as_text(&self, filter: &str) -> Result<String> {
        let mut command = Command::new("tcpdump");
        run(command.args(["-n", "-e", "-v", "-r"]).arg(self.out.join("client.pcap")).arg(filter))
    }

    /// ARP frames that name an address as their sender's.
    pub(crate) fn frames_from(&self, address: &str) -> Result<Vec<ArpFrame>> {
        let address: Ipv4Addr = address.parse()?;
        Ok(self.frames()?.into_iter().map(|(_, frame)| frame).filter(|frame| frame.sender_ip == address).collect())
    }
}

/// A condition of an object.
pub(crate) fn condition<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

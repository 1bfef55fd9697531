//! The real kubectl, without special flags, against the server over HTTP: every verb that the tutorial and its readers use.
//!
//! Each test has a server of its own on a loopback port of its own and a HOME of its own (kubectl caches discovery there). Where there
//! is no kubectl the tests say so on stderr and check nothing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bellhop_apiserver::{ApiServer, Config};

/// A server in a thread, and a kubectl that talks to it.
struct Kubectl {
    home: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Kubectl {
    /// `None`, said loudly, when there is no kubectl on this machine.
    #[expect(clippy::disallowed_methods, reason = "the server needs a thread beside the processes that ask it")]
    fn start() -> Option<Self> {
        if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
            eprintln!("SKIPPED: no kubectl on this machine, so NOTHING was checked here");
            return None;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("non-blocking");
        let home = tempfile::tempdir().expect("a directory");
        let address = listener.local_addr().expect("bound");
        std::fs::write(home.path().join("kubeconfig"), ApiServer::kubeconfig(address)).expect("written");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let shutdown = async { drop(stopped.await) };
                ApiServer::new(&Config::default()).serve_http(listener, shutdown).await.expect("served");
            });
        });
        Some(Self { home, stop: Some(stop), thread: Some(thread) })
    }

    fn output(&self, arguments: &str, input: &str) -> Output {
        let words = split(arguments);
        let mut command = Command::new("kubectl");
        command.args(words).env("KUBECONFIG", self.home.path().join("kubeconfig")).env("HOME", self.home.path());
        command.env("KUBE_EDITOR", self.home.path().join("editor")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        // Before 1.33 kubectl takes what begins with a brace for JSON; a document's mark makes it YAML for all.
        let mark = if input.starts_with('{') { "---\n" } else { "" };
        child.stdin.take().expect("piped").write_all(format!("{mark}{input}").as_bytes()).expect("kubectl reads");
        child.wait_with_output().expect("kubectl ends")
    }

    /// What it prints; anything but success is a failure of the test.
    fn run(&self, arguments: &str) -> String {
        self.pipe(arguments, "")
    }

    /// The same with a manifest on standard input.
    fn pipe(&self, arguments: &str, input: &str) -> String {
        let output = self.output(arguments, input);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments}\n{out}{error}");
        out
    }

    /// What it complains about; success is a failure of the test.
    fn refused(&self, arguments: &str, input: &str) -> String {
        let output = self.output(arguments, input);
        assert!(!output.status.success(), "kubectl {arguments} succeeded:\n{}", text(&output.stdout));
        text(&output.stderr)
    }

    /// The CRDs, then the tutorial's three files.
    fn with_the_tutorial(self) -> Self {
        self.run(&format!("apply -f {}", root().join("deploy/crds.yaml").display()));
        self.run("wait --for condition=Established crd/eips.network.kubesphere.io --timeout 10s");
        self.run(&format!("apply -f {}", root().join("scenarios/seed").display()));
        self
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Splits at spaces outside single quotes, as a shell would.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match (letter, words.last_mut()) {
            ('\'', _) => quoted = !quoted,
            (' ', _) if !quoted => words.push(String::new()),
            (_, Some(word)) => word.push(letter),
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The words of each line, so that ages and padding do not matter.
fn first_words(table: &str, count: usize) -> Vec<String> {
    table.lines().map(|line| line.split_whitespace().take(count).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn apply_creates_configures_and_leaves_alone() {
    let Some(kubectl) = Kubectl::start() else { return };
    let kubectl = kubectl.with_the_tutorial();
    let service = root().join("scenarios/seed/porter-layer2-svc.yaml");
    assert_eq!(kubectl.run(&format!("apply -f {}", service.display())), "service/porter-layer2-svc unchanged\n");
    let local =
        std::fs::read_to_string(&service).expect("it exists").replace("externalTrafficPolicy: Cluster", "externalTrafficPolicy: Local");
    assert_eq!(kubectl.pipe("apply -f -", &local), "service/porter-layer2-svc configured\n");
    assert_eq!(kubectl.run("get svc porter-layer2-svc -o jsonpath={.spec.externalTrafficPolicy}"), "Local");
    assert_eq!(kubectl.pipe("apply --server-side --force-conflicts -f -", &local), "service/porter-layer2-svc serverside-applied\n");
    let two_ports = "[{\"op\":\"add\",\"path\":\"/spec/ports/-\",\"value\":{\"name\":\"tls\",\"port\":443}}]";
    kubectl.run(&format!("patch svc porter-layer2-svc --type json -p '{two_ports}'"));
    kubectl.pipe("apply -f -", &local);
    assert_eq!(kubectl.run("get svc porter-layer2-svc -o jsonpath={.spec.ports[*].name}"), "http tls", "apply merges ports by their key");
}

#[test]
fn get_prints_the_columns_of_the_real_one() {
    let Some(kubectl) = Kubectl::start() else { return };
    let kubectl = kubectl.with_the_tutorial();
    let services = kubectl.run("get svc");
    assert_eq!(first_words(&services, 6)[0], "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE");
    assert_eq!(first_words(&services, 4)[2], "porter-layer2-svc LoadBalancer 10.96.0.2 <pending>");
    let wide = kubectl.run("get svc porter-layer2-svc -o wide");
    assert!(wide.lines().nth(1).is_some_and(|row| row.ends_with("app=porter-layer2")), "{wide}");
    assert_eq!(first_words(&kubectl.run("get deploy"), 4), ["NAME READY UP-TO-DATE AVAILABLE", "porter-layer2 0/2 0 0"]);
    assert_eq!(first_words(&kubectl.run("get eip"), 1), ["NAME", "porter-layer2-eip"]);
    assert_eq!(
        kubectl.run("get svc,eip -o name"),
        "service/kubernetes\nservice/porter-layer2-svc\neip.network.kubesphere.io/porter-layer2-eip\n"
    );
    assert!(kubectl.run("get svc porter-layer2-svc -o yaml").contains("\n  loadBalancer: {}\n"));
    assert!(kubectl.run("get svc porter-layer2-svc -o json").contains("\"clusterIP\": \"10.96.0.2\""));
    assert_eq!(first_words(&kubectl.run("get svc -A"), 2)[0], "NAMESPACE NAME");
    assert!(kubectl.refused("get svc nope", "").contains("Error from server (NotFound): services \"nope\" not found"));
}

#[test]
fn get_follows_what_happens() {
    let Some(kubectl) = Kubectl::start() else { return };
    let kubectl = kubectl.with_the_tutorial();
    let mut watching = Command::new("kubectl");
    watching.args(["get", "svc", "porter-layer2-svc", "-w", "--request-timeout=3s"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    watching.env("KUBECONFIG", kubectl.home.path().join("kubeconfig")).env("HOME", kubectl.home.path());
    let watching = watching.spawn().expect("kubectl starts");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let status = "{\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"192.168.0.91\"}]}}}";
    kubectl.run(&format!("patch svc porter-layer2-svc --subresource status --type merge -p '{status}'"));
    let seen = text(&watching.wait_with_output().expect("it ends with its timeout").stdout);
    let addresses: Vec<_> = seen.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(addresses, ["EXTERNAL-IP", "<pending>", "192.168.0.91"], "{seen}");
}

#[test]
fn describe_annotate_label_and_edit() {
    let Some(kubectl) = Kubectl::start() else { return };
    let kubectl = kubectl.with_the_tutorial();
    assert_eq!(kubectl.run("annotate svc porter-layer2-svc a=b"), "service/porter-layer2-svc annotated\n");
    assert_eq!(kubectl.run("label eip porter-layer2-eip a=b"), "eip.network.kubesphere.io/porter-layer2-eip labeled\n");
    assert_eq!(kubectl.run("get eip -l a=b -o name"), "eip.network.kubesphere.io/porter-layer2-eip\n");
    let uid = kubectl.run("get svc porter-layer2-svc -o jsonpath={.metadata.uid}");
    let about = format!("{{apiVersion: v1, kind: Service, name: porter-layer2-svc, namespace: default, uid: {uid}}}");
    let said = "metadata: {name: e}, reason: Allocated, message: took it, type: Normal, source: {component: bellhop}";
    let event = format!("{{apiVersion: v1, kind: Event, {said}, involvedObject: {about}, lastTimestamp: 2026-01-01T00:00:00Z}}");
    kubectl.pipe("create -f -", &event);
    let described = kubectl.run("describe svc porter-layer2-svc");
    for line in ["Type:                     LoadBalancer", "External Traffic Policy:  Cluster", "took it"] {
        assert!(described.contains(line), "{line}\n{described}");
    }
    for what in ["deploy porter-layer2", "eip porter-layer2-eip", "crd eips.network.kubesphere.io", "ns default"] {
        assert!(kubectl.run(&format!("describe {what}")).starts_with("Name: "), "{what}");
    }
    assert!(kubectl.run("get events").contains("service/porter-layer2-svc   took it"));
    let editor = kubectl.home.path().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/replicas: 2/replicas: 5/' \"$1\"\n").expect("written");
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("made executable");
    assert_eq!(kubectl.run("edit deploy porter-layer2"), "deployment.apps/porter-layer2 edited\n");
    assert_eq!(kubectl.run("get deploy porter-layer2 -o jsonpath={.spec.replicas}"), "5");
}

#[test]
fn patch_in_three_forms_scale_and_roll_out() {
    let Some(kubectl) = Kubectl::start() else { return };
    let kubectl = kubectl.with_the_tutorial();
    let replace = "[{\"op\":\"replace\",\"path\":\"/spec/externalTrafficPolicy\",\"value\":\"Local\"}]";
    kubectl.run(&format!("patch svc porter-layer2-svc --type json -p '{replace}'"));
    assert_ne!(kubectl.run("get svc porter-layer2-svc -o jsonpath={.spec.healthCheckNodePort}"), "");
    kubectl.run("patch svc porter-layer2-svc --type merge -p '{\"spec\":{\"externalTrafficPolicy\":\"Cluster\"}}'");
    kubectl.run("patch deploy porter-layer2 -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"kubia\",\"image\":\"kubia:2\"}]}}}}'");
    let container = kubectl.run("get deploy porter-layer2 -o jsonpath={.spec.template.spec.containers[0].image}{.spec.template.spec.containers[0].ports[0].containerPort}");
    assert_eq!(container, "kubia:28080", "the strategic patch kept the ports");
    assert_eq!(kubectl.run("scale deploy porter-layer2 --replicas 3"), "deployment.apps/porter-layer2 scaled\n");
    assert_eq!(kubectl.run("rollout restart deploy porter-layer2"), "deployment.apps/porter-layer2 restarted\n");
    assert!(kubectl.refused("rollout status deploy porter-layer2 --timeout 1s", "").contains("timed out waiting for the condition"));
    let generation = kubectl.run("get deploy porter-layer2 -o jsonpath={.metadata.generation}");
    let status = format!(
        "{{\"status\":{{\"observedGeneration\":{generation},\"replicas\":3,\"updatedReplicas\":3,\"readyReplicas\":3,\"availableReplicas\":3}}}}"
    );
    kubectl.run(&format!("patch deploy porter-layer2 --subresource status --type merge -p '{status}'"));
    assert_eq!(kubectl.run("rollout status deploy porter-layer2 --timeout 5s"), "deployment \"porter-layer2\" successfully rolled out\n");
}

#[test]
fn delete_waits_and_nodes_are_cordoned_and_drained() {
    let Some(kubectl) = Kubectl::start() else { return };
    let kubectl = kubectl.with_the_tutorial();
    kubectl.pipe("create -f -", "{apiVersion: v1, kind: Node, metadata: {name: node-a}}");
    kubectl.pipe("create -f -", "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: node-a, terminationGracePeriodSeconds: 0, containers: [{name: c, image: x}]}}");
    assert_eq!(kubectl.run("cordon node-a"), "node/node-a cordoned\n");
    assert!(kubectl.run("drain node-a --force --timeout 10s").contains("node/node-a drained"));
    assert_eq!(kubectl.run("uncordon node-a"), "node/node-a uncordoned\n");
    assert_eq!(kubectl.run("get po --ignore-not-found"), "");
    let seed = root().join("scenarios/seed");
    let deleted = kubectl.run(&format!("delete -f {}", seed.display()));
    assert_eq!(deleted.lines().count(), 3, "{deleted}");
    assert_eq!(kubectl.run("get eip,deploy -o name"), "");
    kubectl.run("create ns lab");
    kubectl.run("-n lab create cm a --from-literal x=y");
    assert!(kubectl.run("delete ns lab --timeout 10s").starts_with("namespace \"lab\" deleted"));
}

#[test]
fn mistakes_are_named_as_a_real_server_names_them() {
    let Some(kubectl) = Kubectl::start() else { return };
    let eip = root().join("scenarios/seed/porter-layer2-eip.yaml");
    assert!(kubectl.refused(&format!("apply -f {}", eip.display()), "").contains("ensure CRDs are installed first"));
    let kubectl = kubectl.with_the_tutorial();
    let service = "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: 80}], prt: 3}}";
    assert!(kubectl.refused("apply -f -", service).contains("strict decoding error: unknown field \"spec.prt\""));
    let service = "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {type: Foo, ports: [{port: 80}]}}";
    let said = kubectl.refused("apply -f -", service);
    assert!(said.contains("The Service \"bad\" is invalid: spec.type: Unsupported value: \"Foo\""), "{said}");
    let nowhere = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: nowhere}}";
    assert!(kubectl.refused("create -f -", nowhere).contains("namespaces \"nowhere\" not found"));
    assert!(kubectl.refused(&format!("create -f {}", eip.display()), "").contains("already exists"));
}

#[test]
fn api_resources_and_explain_know_built_in_and_custom_kinds() {
    let Some(kubectl) = Kubectl::start() else { return };
    let kubectl = kubectl.with_the_tutorial();
    let resources = kubectl.run("api-resources");
    assert!(resources.lines().any(|line| line.starts_with("services ") && line.contains("svc")), "{resources}");
    assert!(resources.lines().any(|line| line.starts_with("eips ") && line.contains("network.kubesphere.io/v1alpha2")), "{resources}");
    assert!(kubectl.run("explain service.spec.ports.nodePort").contains("FIELD: nodePort <integer>"));
    assert!(kubectl.run("explain eip.spec").contains("address\t<string> -required-"));
}

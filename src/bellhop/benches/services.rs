//! How long 10,000 Services take to converge: the whole program against the API server in memory, in one process and on one core, on real time.
//!
//! All Services and their endpoints are there when the program starts: the worst case, and that of an installation over PorterLB. Converged means that each has its
//! address on record, on its status, and is announced. Prints a line for each target of issue 5; what the API server takes of the time is counted in.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop::{Config, run};
use serde_json::json;

#[path = "../tests/run/world.rs"]
#[allow(dead_code, reason = "the tests' world, of which a bench needs less")]
mod world;

use world::{World, condition};

const SERVICES: usize = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let world = World::tutorial().await;
        world.create_eip("pool", "192.168.64.0/18").await;
        for number in 0..SERVICES {
            create(&world, &format!("web-{number}")).await;
        }
        let announced = Arc::new(Mutex::new(BTreeSet::new()));
        let (seen, writes) = (announced.clone(), Arc::new(Mutex::new(0_u64)));
        let counted = writes.clone();
        world.server.observe(move |record| {
            *counted.lock().expect("not poisoned") += 1;
            if record.resource == "services" && condition(&record.object, "bellhop.dev/Announced").starts_with("True") {
                seen.lock().expect("not poisoned").insert(record.name.clone());
            }
        });
        let (started, busy) = (tokio::time::Instant::from_std(now()), on_cpu());
        let converged = async {
            while announced.lock().expect("not poisoned").len() < SERVICES {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (started.elapsed(), on_cpu() - busy)
        };
        let script = async {
            let (took, on_cpu) = converged.await;
            row("10,000 Services converge", took.as_secs_f64(), " s", 10.0);
            let count = || *writes.lock().expect("not poisoned");
            println!(
                "  {:.2} s of it on the CPU (the rest is this machine's other work), {} writes to the API",
                on_cpu.as_secs_f64(),
                count()
            );
            // What is under way comes to its end; then a quiet time is counted.
            tokio::time::sleep(Duration::from_secs(5)).await;
            let before = count();
            tokio::time::sleep(Duration::from_secs(10)).await;
            let idle = count() - before;
            // The Lease is renewed once a second, whatever else there is.
            row("writes a minute at idle, the Lease's 60 among them", idle as f64 * 6.0, "", 66.0);
        };
        tokio::select! {
            biased;
            result = run(Config::new("master1"), world.env("master1")) => panic!("the program ended: {result:?}"),
            () = script => {}
        }
    });
}

async fn create(world: &World, name: &str) {
    let service = json!({
        "metadata": {"name": name, "annotations": {"lb.kubesphere.io/v1alpha1": "porter", "protocol.porter.kubesphere.io/v1alpha1": "layer2"}},
        // There are 2,768 node ports.
        "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    world.create("v1", "Service", service).await;
    let slice = json!({
        "metadata": {"name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.233.1.2"], "nodeName": "worker-p001", "conditions": {"ready": true}}],
        "ports": [{"port": 8080}],
    });
    world.create("discovery.k8s.io/v1", "EndpointSlice", slice).await;
}

fn row(what: &str, measured: f64, unit: &str, at_most: f64) {
    let met = if measured <= at_most { "met" } else { "NOT met" };
    println!("{what:<55} {measured:>8.2}{unit}  <= {at_most}{unit}  {met}");
}

/// The time for which this process had a core (proc(5): `/proc/[pid]/schedstat`).
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

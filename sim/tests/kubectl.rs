//! What operators type at nodes and pods, against the cluster in the simulator: what is printed, and what comes of it.

use std::path::Path;

use bellhop_scenario::{Outcome, parse_in, play};
use bellhop_sim::SimWorld;

/// The tutorial's Service, and commands from 10 s on, ten seconds apart.
fn typed(commands: &[&str], expect: &str) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/rollout");
    let steps: String = commands
        .iter()
        .enumerate()
        .map(|(index, command)| format!("  - {{ at: {}s, id: s{index}, run: \"kubectl {command}\" }}\n", 10 + 10 * index))
        .collect();
    let text = format!(
        "version: 1\nname: typed\nabout: A test.\nextends: ../base/tutorial.yaml\nseed: 42\nstop: 60s\n\
         cluster: {{ manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml] }}\n\
         timeline:\n  - {{ at: 0s, apply: all }}\n{steps}expect:\n{expect}\n"
    );
    let scenario = parse_in(&folder, &text).unwrap_or_else(|refusal| panic!("{refusal}"));
    play(&scenario, &mut SimWorld::new(None)).expect("the simulator plays it")
}

/// The transcript with names that are drawn left out.
fn transcript(outcome: &Outcome) -> String {
    outcome.transcript.join("\n")
}

#[test]
fn a_drained_node_has_only_the_pods_of_daemonsets() {
    let expect =
        "  - { what: another pod is there, eventually: { within: 5s, after: s2 }, output: { step: s2, contains: [worker-p002, Running] } }";
    let outcome = typed(&["drain worker-p001 --ignore-daemonsets", "drain worker-p001", "get po -o wide", "uncordon worker-p001"], expect);
    let text = transcript(&outcome);
    for line in [
        "node/worker-p001 cordoned",
        "Warning: ignoring DaemonSet-managed Pods: kube-system/kube-proxy-",
        "evicting pod default/porter-layer2-",
        " evicted",
        "node/worker-p001 drained",
        "node/worker-p001 already cordoned",
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)",
        "node/worker-p001 uncordoned",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (_, pods) = text.split_once("get po -o wide").expect("the command is in the transcript");
    assert!(!pods.split("uncordon").next().unwrap_or_default().contains("worker-p001"), "{text}");
    assert_eq!(outcome.exit_code(), 0, "{outcome}");
}

#[test]
fn an_image_that_is_set_replaces_the_pods_and_a_wrong_container_is_refused() {
    let commands = [
        "set image deployment/porter-layer2 kubia=luksa/kubia:v2",
        "set image deployment/porter-layer2 nobody=x",
        "delete pods -l app=porter-layer2",
    ];
    let expect = "  - { what: it is the new image, eventually: { within: 1s, after: s1 }, resource: { kind: Deployment, metadata: { name: porter-layer2 }, spec: { template: { spec: { containers: [{ image: \"luksa/kubia:v2\" }] } } } } }\n  - { what: pods are deleted, eventually: { within: 40s }, output: { step: s2, contains: 'pod \"porter-layer2-', exit: 0 } }";
    let outcome = typed(&commands, expect);
    let text = transcript(&outcome);
    assert!(text.contains("deployment.apps/porter-layer2 image updated"), "{text}");
    assert!(text.contains("unable to find container named \"nobody\""), "{text}");
    assert_eq!(outcome.exit_code(), 0, "{outcome}");
}

#[test]
fn nodes_and_pools_can_be_deleted_and_deployments_scaled() {
    let expect = "  - { what: the Eip goes when its user has gone, eventually: { within: 59s }, absent: { kind: Eip, metadata: { name: porter-layer2-eip } } }";
    let outcome = typed(
        &[
            "scale deployment porter-layer2 --replicas=1",
            "rollout restart deployment porter-layer2",
            "delete node worker-p002",
            "delete svc porter-layer2-svc",
            "delete eip porter-layer2-eip",
        ],
        expect,
    );
    let text = transcript(&outcome);
    for line in [
        "porter-layer2 scaled",
        "porter-layer2 restarted",
        "node \"worker-p002\" deleted",
        "eip.network.kubesphere.io \"porter-layer2-eip\" deleted",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(outcome.exit_code(), 0, "{outcome}");
}

//! The judge over hand-made observations, and the player over a world that only repeats them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::action::{Action, ProbeId, RunId};
use crate::observation::{ArpFrame, ArpOperation, CurlFailure, HttpAnswer, Observation, Seen};
use crate::outcome::Outcome;
use crate::player::{PlayError, looks, play};
use crate::scenario::Scenario;
use crate::world::{Look, Unplayable, World, WorldError};

const CLIENT: &str = "i-f3fozos0";
const URL: &str = "http://192.168.0.91";

/// A world in which what is seen is written down before.
#[derive(Default)]
struct Script {
    seen: Vec<Observation>,
    now: Duration,
    slack: Duration,
    acted: Vec<(Duration, Action)>,
    finished: bool,
    lacks: Vec<String>,
}

impl World for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn supports(&self, _: &Scenario) -> Result<(), Unplayable> {
        if self.lacks.is_empty() { Ok(()) } else { Err(Unplayable { missing: self.lacks.clone() }) }
    }

    fn slack(&self) -> Duration {
        self.slack
    }

    fn start(&mut self, _: &Scenario, _: &[Look]) -> Result<(), WorldError> {
        Ok(())
    }

    fn run_until(&mut self, at: Duration) -> Result<(), WorldError> {
        self.now = self.now.max(at);
        Ok(())
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn act(&mut self, action: &Action) -> Result<(), WorldError> {
        self.acted.push((self.now, action.clone()));
        Ok(())
    }

    fn observations(&mut self) -> Vec<Observation> {
        let later = self.seen.partition_point(|seen| seen.at <= self.now);
        self.seen.drain(..later).collect()
    }

    fn finish(&mut self) -> Result<(), WorldError> {
        self.finished = true;
        Ok(())
    }
}

fn at(milliseconds: u64, what: Seen) -> Observation {
    Observation { at: Duration::from_millis(milliseconds), what }
}

fn object(milliseconds: u64, kind: &str, name: &str, object: Option<Value>) -> Observation {
    let namespace = Some("default".to_owned());
    at(milliseconds, Seen::Object { api_version: "v1".into(), kind: kind.into(), namespace, name: name.into(), object })
}

/// The Service as of some moment, with its node.
fn service(milliseconds: u64, node: &str) -> Observation {
    let body = json!({
        "metadata": { "name": "web", "annotations": { "layer2.porter.kubesphere.io/v1alpha1": node } },
        "status": {
            "loadBalancer": { "ingress": [{ "ip": "192.168.0.90" }, { "ip": "192.168.0.91", "ipMode": "VIP" }] },
            "conditions": [{ "type": "bellhop.dev/Announced", "status": "True", "reason": "Announced", "message": "by master1" }],
        },
    });
    object(milliseconds, "Service", "web", Some(body))
}

fn neighbor(milliseconds: u64, lladdr: &str) -> Observation {
    let (dst, lladdr) = ("192.168.0.91".parse().unwrap(), Some(lladdr.parse().unwrap()));
    at(milliseconds, Seen::Neighbor { machine: CLIENT.into(), dev: "eth0".into(), dst, lladdr, state: Some("REACHABLE".into()) })
}

/// One echo request that took `took` milliseconds, or is given up after a second.
fn echo(sent: u64, took: Option<u64>) -> Observation {
    let answer = took.map(|took| Duration::from_millis(sent + took));
    let (from, to) = (CLIENT.to_owned(), "192.168.0.91".parse().unwrap());
    let what = Seen::Ping { probe: ProbeId(0), from, to, seq: sent / 100, sent: Duration::from_millis(sent), answer };
    at(sent + took.unwrap_or(1000), what)
}

fn curl(started: u64, body: Option<&str>) -> Observation {
    let result = body.map_or(Err(CurlFailure::TimedOut), |pod| Ok(HttpAnswer { status: 200, body: format!("You've hit {pod}\n") }));
    let started = Duration::from_millis(started);
    Observation {
        at: started + Duration::from_millis(5),
        what: Seen::Curl { probe: ProbeId(0), from: CLIENT.into(), url: URL.into(), started, result },
    }
}

fn frame(milliseconds: u64, sender_mac: &str) -> Observation {
    let mac = |text: &str| text.parse().unwrap();
    at(
        milliseconds,
        Seen::Frame(ArpFrame {
            segment: "lan0".into(),
            ethernet_source: mac("52:54:22:a3:9a:d9"),
            ethernet_destination: mac("52:54:22:fa:b9:3b"),
            operation: ArpOperation::Reply,
            sender_mac: mac(sender_mac),
            sender_ip: [192, 168, 0, 91].into(),
            target_mac: mac("52:54:22:fa:b9:3b"),
            target_ip: [192, 168, 0, 5].into(),
        }),
    )
}

const P1: &str = "52:54:22:3a:e6:6e";
const P2: &str = "52:54:22:37:6c:7b";

/// A scenario on the tutorial's machines, ten seconds long, that moves nothing by itself.
fn scenario(timeline: &str, expect: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tutorial/probe.yaml");
    let text = format!(
        "version: 1\nname: probe\nabout: A test.\nextends: ../base/tutorial.yaml\nstop: 10s\ntimeline:\n  - {{ at: 0s, id: start, api-up: {{}} }}\n{timeline}\nexpect:\n{expect}\n"
    );
    crate::parse(&path, &text).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn judged(expect: &str, mut seen: Vec<Observation>, slack: u64) -> Outcome {
    seen.sort_by_key(|seen| seen.at);
    let expect = format!("  - {{ what: it is so, {expect} }}");
    let mut world = Script { seen, slack: Duration::from_millis(slack), ..Script::default() };
    play(&scenario("", &expect), &mut world).unwrap()
}

/// Judges one expectation over observations, in a world without slack.
fn passes(expect: &str, seen: Vec<Observation>) -> bool {
    let outcome = judged(expect, seen, 0);
    assert_eq!(outcome.exit_code(), u8::from(outcome.failed() > 0), "{outcome}");
    outcome.failed() == 0
}

#[test]
fn eventually_holds_when_a_level_is_so_once_within_the_bound() {
    let expect = "eventually: { within: 2s }, node-of: { service: web, is: worker-p001 }";
    assert!(passes(expect, vec![service(2000, "worker-p001"), service(2001, "worker-p002")]));
    assert!(!passes(expect, vec![service(2001, "worker-p001")]));
    assert!(!passes(expect, vec![]));
}

#[test]
fn eventually_sees_what_was_so_before_its_window_and_still_is() {
    let expect = "eventually: { within: 1s, after: 5s }, node-of: { service: web, is: worker-p001 }";
    assert!(passes(expect, vec![service(1000, "worker-p001")]));
    assert!(!passes(expect, vec![service(1000, "worker-p001"), service(4999, "worker-p002")]));
}

#[test]
fn always_and_never_look_at_every_change_in_their_window() {
    let always = "always: { from: 2s, until: 5s }, node-of: { service: web, is: worker-p001 }";
    let never = "never: { from: 2s, until: 5s }, node-of: { service: web, is: worker-p002 }";
    let flap = |from, until| vec![service(1000, "worker-p001"), service(from, "worker-p002"), service(until, "worker-p001")];
    for (expect, from, until, holds) in
        [(always, 3000, 3001, false), (always, 1500, 2000, true), (never, 3000, 3001, false), (never, 5001, 5002, true)]
    {
        assert_eq!(passes(expect, flap(from, until)), holds, "{expect} {from} {until}");
    }
}

#[test]
fn slack_is_added_to_a_bound() {
    let expect = "eventually: { within: 2s }, node-of: { service: web, is: worker-p001 }";
    assert_eq!(judged(expect, vec![service(2300, "worker-p001")], 500).failed(), 0);
    assert_eq!(judged(expect, vec![service(2300, "worker-p001")], 200).failed(), 1);
}

#[test]
fn slack_takes_no_more_than_half_of_a_short_window() {
    let expect = "always: { from: 2s, until: 5s }, node-of: { service: web, is: worker-p001 }";
    let flap = |from, until| vec![service(1000, "worker-p001"), service(from, "worker-p002"), service(until, "worker-p001")];
    for (from, until, failed) in [(2100, 3400, 0), (3600, 3700, 1), (4500, 4600, 1)] {
        assert_eq!(judged(expect, flap(from, until), 2000).failed(), failed, "{from} {until}");
    }
}

#[test]
fn what_must_not_be_so_is_not_so_of_something_that_exists() {
    let there = || {
        let pool = object(1000, "Eip", "pool", Some(json!({ "metadata": { "name": "pool" } })));
        vec![service(1000, "worker-p001"), pool, neighbor(1500, P1), frame(1500, P1)]
    };
    for (expect, of_something, of_nothing) in [
        ("never: {}, node-of: { service: NAME, is: worker-p002 }", "web", "wbe"),
        ("always: { from: 2s }, node-of: { service: web, is-not: { node-of: NAME } }", "", "wbe"),
        ("never: {}, resource: { kind: Service, metadata: { name: NAME }, spec: { x: 1 } }", "web", "wbe"),
        ("always: {}, absent: { kind: Service, metadata: { name: NAME }, spec: { x: 1 } }", "web", "wbe"),
        ("eventually: { within: 1s }, absent: { kind: Service, metadata: { name: NAME } }", "", "wbe"),
        ("never: {}, condition: { kind: Service, name: NAME, type: bellhop.dev/Announced, status: \"False\" }", "web", "wbe"),
        ("never: {}, event: { reason: NodeChanged, about: { kind: Service, name: NAME } }", "web", "wbe"),
        ("never: {}, event: { reason: EipInUse, about: { kind: Eip, name: NAME } }", "pool", "pol"),
        ("never: { from: 2s }, neigh: { client: i-f3fozos0, dst: NAME, lladdr: { mac-of: worker-p002 } }", "192.168.0.91", "192.168.0.99"),
        ("never: { from: 2s }, neigh: { client: i-f3fozos0, dst: 192.168.0.91, lladdr: { node-of: NAME } }", "", "wbe"),
        ("never: {}, wire: { sender-ip: 192.168.0.92, sender-mac: { node-of: NAME } }", "web", "wbe"),
        ("always: {}, wire: { sender-ip: 192.168.0.92, sender-mac: { node-of: NAME }, at-most: 0 }", "web", "wbe"),
        ("never: {}, wire: { sender-ip: 192.168.0.92, sender-mac: { mac-of: NAME } }", "", "leader"),
    ] {
        if !of_something.is_empty() {
            assert!(passes(&expect.replace("NAME", of_something), there()), "{expect}");
        }
        let outcome = judged(&expect.replace("NAME", of_nothing), there(), 0);
        assert_eq!(outcome.failed(), 1, "{expect}: {outcome}");
    }
}

#[test]
fn a_window_until_a_step_ends_before_what_the_step_does() {
    let never = |until: &str| {
        let expect = format!("  - {{ what: it is so, never: {{ until: {until} }}, node-of: {{ service: web, is: worker-p002 }} }}");
        let seen = vec![service(1000, "worker-p001"), service(4000, "worker-p002")];
        play(&scenario("  - { at: 4s, id: moved, api-up: {} }", &expect), &mut Script { seen, ..Script::default() }).unwrap().failed()
    };
    assert_eq!((never("moved"), never("4s")), (0, 1));
}

#[test]
fn a_neighbor_entry_is_compared_with_the_node_of_that_moment() {
    let expect = "eventually: { within: 2s, after: 5s }, neigh: { client: i-f3fozos0, dst: 192.168.0.91, lladdr: { node-of: web }, state: reachable }";
    let moved = |lladdr| vec![service(1000, "worker-p001"), neighbor(1500, P1), service(5000, "worker-p002"), neighbor(6000, lladdr)];
    assert!(passes(expect, moved(P2)));
    assert!(!passes(expect, moved(P1)));
}

#[test]
fn a_list_matches_when_each_expected_item_matches_some_item() {
    let resource = |ip: &str| {
        format!(
            "eventually: {{ within: 1s }}, resource: {{ kind: Service, metadata: {{ name: web }}, status: {{ loadBalancer: {{ ingress: [{{ ip: {ip} }}] }} }} }}"
        )
    };
    assert!(passes(&resource("192.168.0.91"), vec![service(0, "worker-p001")]));
    assert!(!passes(&resource("192.168.0.92"), vec![service(0, "worker-p001")]));
}

#[test]
fn absent_is_an_object_that_is_gone_or_has_no_such_field() {
    let gone = "eventually: { within: 5s, after: 3s }, absent: { kind: Service, metadata: { name: web } }";
    assert!(passes(gone, vec![service(0, "worker-p001"), object(4000, "Service", "web", None)]));
    assert!(!passes(gone, vec![service(0, "worker-p001")]));
    let field = "always: {}, absent: { kind: Service, metadata: { name: web }, status: { loadBalancer: { ingress: [{}] } } }";
    assert!(passes(field, vec![object(0, "Service", "web", Some(json!({ "status": { "loadBalancer": {} } })))]));
    assert!(!passes(field, vec![service(0, "worker-p001")]));
}

#[test]
fn a_condition_is_told_from_its_type_status_and_reason() {
    let condition = |status: &str, reason: &str| {
        format!(
            "eventually: {{ within: 1s }}, condition: {{ kind: Service, name: web, type: bellhop.dev/Announced, status: \"{status}\", reason: {reason} }}"
        )
    };
    assert!(passes(&condition("True", "Announced"), vec![service(0, "worker-p001")]));
    assert!(!passes(&condition("False", "Announced"), vec![service(0, "worker-p001")]));
    assert!(!passes(&condition("True", "NoAddress"), vec![service(0, "worker-p001")]));
}

#[test]
fn the_longest_gap_is_the_longest_time_without_an_answer() {
    let gap = |most: &str| format!("always: {{}}, ping: {{ from: i-f3fozos0, to: 192.168.0.91, longest-gap: {most} }}");
    let outage = || (10..90).map(|n| echo(n * 100, (!(20..50).contains(&n)).then_some(1))).collect::<Vec<_>>();
    assert!(passes(&gap("3100ms"), outage()));
    assert!(!passes(&gap("3099ms"), outage()));
    let outcome = judged(&gap("10s"), outage(), 0);
    assert_eq!(outcome.blind[0].longest, Some(Duration::from_millis(3100)));
    assert_eq!(outcome.blind[0].since, Duration::from_millis(1901));
}

#[test]
fn an_outage_that_never_ends_counts_to_the_end() {
    let gap = "always: {}, ping: { from: i-f3fozos0, to: 192.168.0.91, longest-gap: 3s }";
    assert!(!passes(gap, (0..90).map(|n| echo(n * 100, (n < 20).then_some(1))).collect()));
    assert!(!passes(gap, (0..90).map(|n| echo(n * 100, None)).collect()));
}

#[test]
fn pings_are_answered_lost_or_missing() {
    let ping = |time: &str, wanted: &str| format!("{time}, ping: {{ from: i-f3fozos0, to: 192.168.0.91, {wanted} }}");
    let one_lost = || vec![echo(1000, Some(1)), echo(2000, None), echo(3001, Some(1)), echo(4000, Some(1))];
    for (time, wanted, holds) in [
        ("always: { from: 900ms, until: 4s }", "lost: 1", true),
        ("always: { from: 900ms, until: 4s }", "lost: 0", false),
        ("always: {}", "answered: true", false),
        ("always: { from: 3s }", "answered: true", true),
        ("eventually: { within: 1001ms }", "answered: true", true),
        ("eventually: { within: 1s }", "answered: true", false),
        ("eventually: { within: 3s }", "answered: false", true),
        ("never: { from: 3s }", "answered: true", false),
        ("never: { from: 1500ms, until: 3s }", "answered: true", true),
        ("always: { from: 5s }", "answered: true", false),
        ("never: { from: 5s }", "answered: true", false),
    ] {
        assert_eq!(passes(&ping(time, wanted), one_lost()), holds, "{time} {wanted}");
    }
}

#[test]
fn an_outage_counts_from_the_beginning_of_the_window_to_its_end() {
    let gap = "always: { from: 1s, until: 9s }, ping: { from: i-f3fozos0, to: 192.168.0.91, longest-gap: 2s }";
    let asked = |from: u64, until: u64| (from..until).map(|n| echo(n * 100, Some(1))).collect::<Vec<_>>();
    assert!(passes(gap, asked(10, 90)));
    assert!(!passes(gap, asked(31, 90)));
    assert!(!passes(gap, asked(10, 69)));
}

#[test]
fn a_machine_that_did_not_ask_has_lost_nothing_and_says_nothing() {
    let lost = "always: { from: 1s, until: 9s }, ping: { from: i-f3fozos0, to: 192.168.0.91, lost: 0 }";
    let silent = |from, until| (10..90).filter(|n| !(from..until).contains(n)).map(|n| echo(n * 100, Some(1))).collect::<Vec<_>>();
    assert!(passes(lost, silent(40, 50)));
    for (from, until) in [(10, 40), (40, 70), (60, 90)] {
        let outcome = judged(lost, silent(from, until), 0);
        assert!(outcome.checks[0].detail.contains("sent no echo request"), "{outcome}");
    }
}

#[test]
fn curls_are_told_by_who_answered() {
    let curl_expect = |time: &str, by: &str| format!("{time}, curl: {{ from: i-f3fozos0, url: \"{URL}\", status: 200{by} }}");
    let pod = |name: &str, node: &str| object(0, "Pod", name, Some(json!({ "spec": { "nodeName": node } })));
    let seen = || {
        let answers = [curl(1000, Some("a")), curl(2000, Some("b")), curl(3000, Some("a")), curl(6000, None)];
        [service(0, "worker-p001"), pod("a", "worker-p001"), pod("b", "worker-p002")].into_iter().chain(answers).collect::<Vec<_>>()
    };
    for (time, by, holds) in [
        ("always: { until: 5s }", ", answered-by: { pods: 2 }", true),
        ("always: { until: 5s }", ", answered-by: { pods: 1 }", false),
        ("always: { from: 2500ms, until: 5s }", ", answered-by: { pods: 1 }", true),
        ("always: {}", "", false),
        ("eventually: { within: 2500ms }", ", answered-by: { pods: 2 }", true),
        ("eventually: { within: 2s }", ", answered-by: { pods: 2 }", false),
        ("always: { until: 5s }", ", answered-by: { pods-on: { node-of: web } }", false),
        ("always: { from: 2500ms, until: 5s }", ", answered-by: { pods-on: { node-of: web } }", true),
        ("never: { from: 5s }", "", true),
        ("never: { until: 5s }", "", false),
    ] {
        assert_eq!(passes(&curl_expect(time, by), seen()), holds, "{time} {by}");
    }
}

#[test]
fn frames_are_counted_and_each_must_be_right() {
    let wire = |time: &str, rest: &str| format!("{time}, wire: {{ operation: reply, sender-ip: 192.168.0.91{rest} }}");
    let seen = || vec![service(0, "worker-p001"), frame(1000, P1), frame(2000, P1), frame(3000, P2)];
    for (time, rest, holds) in [
        ("always: {}", ", at-least: 3", true),
        ("always: {}", ", at-least: 4", false),
        ("always: {}", ", at-most: 2", false),
        ("eventually: { within: 2s }", ", at-least: 2", true),
        ("always: {}", ", each: { sender-mac: { node-of: web } }", false),
        ("always: { until: 2500ms }", ", each: { sender-mac: { node-of: web }, ethernet-source: { mac-of: master1 } }", true),
        ("never: {}", ", sender-mac: { mac-of: worker-p002 }", false),
        ("never: {}", ", sender-mac: { mac-of: master1 }", true),
        ("always: { from: 5s }", "", false),
    ] {
        assert_eq!(passes(&wire(time, rest), seen()), holds, "{time} {rest}");
    }
}

#[test]
fn events_are_judged_in_either_version_of_their_kind() {
    let expect =
        |time: &str| format!("{time}, event: {{ reason: NodeChanged, about: {{ kind: Service, name: web }}, message-contains: p002 }}");
    let event = |about: &str, text: &str| {
        let body = json!({ "reason": "NodeChanged", about: { "kind": "Service", "name": "web" }, text: "worker-p001 -> worker-p002" });
        vec![service(0, "worker-p001"), object(3000, "Event", "web.1", Some(body))]
    };
    for (about, text) in [("involvedObject", "message"), ("regarding", "note")] {
        assert!(passes(&expect("eventually: { within: 3s }"), event(about, text)));
        assert!(!passes(&expect("eventually: { within: 2s }"), event(about, text)));
        assert!(!passes(&expect("never: {}"), event(about, text)));
        assert!(passes(&expect("never: { from: 4s }"), event(about, text)));
    }
}

#[test]
fn the_player_resolves_targets_when_their_step_comes() {
    let timeline = "  - { at: 2s, id: loss, power-off: { node-of: 192.168.0.91 } }\n  - { at: 6s, power-on: { same-as: loss } }\n  - { at: 7s, kill-bellhop: leader }";
    let lease = json!({ "spec": { "holderIdentity": "master1" } });
    let (api_version, namespace) = ("coordination.k8s.io/v1".to_owned(), Some("bellhop-system".to_owned()));
    let lease = Seen::Object { api_version, kind: "Lease".into(), namespace, name: "bellhop".into(), object: Some(lease) };
    let seen = vec![service(1000, "worker-p001"), at(1500, lease), service(4000, "worker-p002")];
    let mut world = Script { seen, ..Script::default() };
    let scenario = scenario(timeline, "  - { what: it moves, always: { from: 4s }, node-of: { service: web, is-not: { same-as: loss } } }");
    assert!(looks(&scenario).contains(&Look::Objects { api_version: "coordination.k8s.io/v1".into(), kind: "Lease".into() }));
    let outcome = play(&scenario, &mut world).unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome}");
    let expected = [Action::PowerOff("worker-p001".into()), Action::PowerOn("worker-p001".into()), Action::KillBellhop("master1".into())];
    assert_eq!(world.acted.into_iter().skip(1).map(|(_, action)| action).collect::<Vec<_>>(), expected);
}

#[test]
fn a_target_that_nobody_is_fails_the_run_and_the_rest_goes_on() {
    let mut world = Script::default();
    let outcome = play(&scenario("  - { at: 2s, power-off: leader }\n  - { at: 3s, api-down: {} }", "  []"), &mut world).unwrap();
    assert_eq!((outcome.passed(), outcome.failed(), outcome.exit_code()), (0, 1, 1));
    assert_eq!(world.acted.last(), Some(&(Duration::from_secs(3), Action::ApiDown)));
}

#[test]
fn what_a_world_cannot_do_is_said_by_name() {
    let mut world = Script { lacks: vec!["no client switch2".into()], ..Script::default() };
    let Err(PlayError::Unplayable(unplayable)) = play(&scenario("", "  []"), &mut world) else { panic!("played") };
    assert_eq!(unplayable.to_string(), "not playable here: no client switch2");
}

#[test]
fn a_crash_weighs_more_than_an_invariant_and_that_more_than_an_expectation() {
    let broken = at(1000, Seen::InvariantBroken { invariant: "one address, one Service".into(), detail: "two".into() });
    let crash = at(2000, Seen::Crash { machine: "master1".into(), detail: "panicked".into() });
    let expect = "eventually: { within: 1s }, node-of: { service: web, is: worker-p001 }";
    assert_eq!(judged(expect, vec![broken.clone()], 0).exit_code(), 3);
    assert_eq!(judged(expect, vec![broken, crash], 0).exit_code(), 5);
}

#[test]
fn the_transcript_reads_like_the_tutorials_terminals() {
    let timeline = "  - { at: 2s, run: kubectl get svc web }\n  - { at: 3s, ping: { from: i-f3fozos0, to: 192.168.0.91, every: 100ms } }\n  - { at: 4s, id: neigh, machine: i-f3fozos0, run: ip neigh }\n  - { at: 5s, power-off: { node-of: web } }";
    let output = |run, started: u64, text: &str| {
        let (run, started, text) = (RunId(run), Duration::from_millis(started), text.to_owned());
        at(started.as_millis() as u64 + 30, Seen::Output { run, started, text, exit: 0 })
    };
    let event = json!({
        "reason": "IPAllocated", "message": "192.168.0.91 of pool porter-layer2-eip", "source": { "component": "bellhop" },
        "involvedObject": { "kind": "Service", "namespace": "default", "name": "web" },
    });
    let mut seen = vec![
        service(100, "worker-p001"),
        object(103, "Event", "web.1", Some(event)),
        output(0, 2000, "NAME   TYPE\nweb    LoadBalancer\n"),
        output(1, 4000, "192.168.0.91 dev eth0 lladdr 52:54:22:3a:e6:6e REACHABLE\n"),
    ];
    seen.extend((30..90).map(|n| echo(n * 100, (!(50..80).contains(&n)).then_some(1))));
    seen.sort_by_key(|seen| seen.at);
    let expect = "  - { what: the node is named, eventually: { within: 1s }, node-of: { service: web, is: worker-p001 } }\n  - { what: somebody else takes over, eventually: { within: 1s, after: neigh }, node-of: { service: web, is: worker-p002 } }";
    let outcome = play(&scenario(timeline, expect), &mut Script { seen, ..Script::default() }).unwrap();
    insta::assert_snapshot!(outcome.to_string());
}

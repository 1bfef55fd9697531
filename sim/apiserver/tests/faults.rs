//! What each fault does to a client: asked through kube's own client, on a paused clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop_apiserver::{ApiServer, ClientName, Config, Fault, FaultId, Gone, Latency, Outcome};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

const CERTAIN: u32 = 1_000_000;

/// A server on tokio's paused clock, and two of its clients: one that the faults are for, and one that they are not for.
struct World {
    server: ApiServer,
    start: tokio::time::Instant,
    ours: Api<ConfigMap>,
    others: Api<ConfigMap>,
}

impl World {
    fn new() -> Self {
        let start = tokio::time::Instant::now();
        let now = move || Timestamp::UNIX_EPOCH + start.elapsed();
        let server = ApiServer::new(&Config { seed: 7, clock: Arc::new(now), ..Config::default() });
        let api = |name: &str| Api::default_namespaced(Client::new(server.client_service(ClientName::from(name)), "default"));
        Self { start, ours: api("ours"), others: api("others"), server }
    }

    fn fault(&self, fault: Fault) {
        self.server.set_fault(Some(&ClientName::from("ours")), FaultId(1), fault);
    }

    fn heal(&self) {
        self.server.clear_fault(Some(&ClientName::from("ours")), FaultId(1));
    }

    fn millis(&self) -> u128 {
        self.start.elapsed().as_millis()
    }

    async fn set(&self, name: &str, value: &str) {
        let patch = Patch::Merge(json!({"data": {"key": value}}));
        self.others.patch(name, &PatchParams::default(), &patch).await.expect("the others are not disturbed");
    }

    async fn create(&self, name: &str) -> ConfigMap {
        self.others.create(&PostParams::default(), &config_map(name)).await.expect("the others are not disturbed")
    }
}

fn config_map(name: &str) -> ConfigMap {
    let data = BTreeMap::from([("key".to_owned(), "0".to_owned())]);
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() }, data: Some(data), ..Default::default() }
}

fn value(map: &ConfigMap) -> &str {
    map.data.as_ref().map_or("", |data| &data["key"])
}

fn refusal(result: Result<ConfigMap, kube::Error>) -> (u16, String, u32) {
    match result.expect_err("refused") {
        kube::Error::Api(status) => (status.code, status.reason.clone(), status.details.map_or(0, |details| details.retry_after_seconds)),
        other => panic!("{other}"),
    }
}

fn is_broken<T>(result: Result<T, kube::Error>) -> bool {
    matches!(result.err(), Some(kube::Error::Service(_) | kube::Error::HyperError(_)))
}

/// The next event of a watch in short, `broken` for an error of the connection, `ended`.
async fn next<S: futures::Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin>(stream: &mut S) -> String {
    match stream.next().await {
        Some(Ok(WatchEvent::Added(map) | WatchEvent::Modified(map))) => format!("{}={}", map.name_any(), value(&map)),
        Some(Ok(WatchEvent::Error(status))) => format!("error {}", status.code),
        Some(Ok(other)) => format!("{other:?}"),
        Some(Err(_)) => "broken".to_owned(),
        None => "ended".to_owned(),
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(3600), test).await.expect("an hour of virtual time is enough") });
}

#[test]
fn a_request_takes_the_latency_and_acts_halfway() {
    run(async {
        let world = World::new();
        let second = Duration::from_secs(1);
        world.fault(Fault { latency: Some(Latency { min: second, max: second }), ..Fault::default() });
        let (map, parameters) = (config_map("a"), PostParams::default());
        let create = world.ours.create(&parameters, &map);
        let look = async {
            tokio::time::sleep(Duration::from_millis(499)).await;
            assert!(world.others.get_opt("a").await.expect("answered").is_none());
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(world.others.get_opt("a").await.expect("answered").is_some());
        };
        let (created, ()) = tokio::join!(biased; create, look);
        created.expect("created");
        assert_eq!(world.millis(), 1000);
    });
}

#[test]
fn a_refusal_is_a_status_as_kube_apiserver_sends_it() {
    run(async {
        let world = World::new();
        let with = |status: u16| Fault { refuse: BTreeMap::from([(status, CERTAIN)]), ..Fault::default() };
        world.fault(with(429));
        assert_eq!(refusal(world.ours.get("a").await), (429, "TooManyRequests".to_owned(), 1));
        world.fault(with(500));
        assert_eq!(refusal(world.ours.get("a").await).1, "InternalError");
        world.fault(with(503));
        assert_eq!(refusal(world.ours.create(&PostParams::default(), &config_map("a")).await).1, "ServiceUnavailable");
        world.heal();
        assert_eq!(refusal(world.ours.get("a").await).0, 404, "and nothing was created");
    });
}

#[test]
fn what_a_client_has_no_right_to_is_refused_with_verb_and_resource_and_the_rest_goes_on() {
    run(async {
        let world = World::new();
        world.create("a").await;
        let forbidden = [("patch".to_owned(), "configmaps".to_owned())].into();
        world.fault(Fault { forbidden, ..Fault::default() });
        let patch = Patch::Merge(json!({"data": {"key": "1"}}));
        let refused = world.ours.patch("a", &PatchParams::default(), &patch).await.expect_err("no right");
        let kube::Error::Api(status) = refused else { panic!("{refused}") };
        assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
        let said =
            r#"configmaps "a" is forbidden: User "ours" cannot patch resource "configmaps" in API group "" in the namespace "default""#;
        assert_eq!(status.message, said);
        assert_eq!(value(&world.ours.get("a").await.expect("another verb")), "0");
        assert!(world.others.patch("a", &PatchParams::default(), &patch).await.is_ok(), "another client");
    });
}

#[test]
fn a_write_whose_answer_is_lost_has_taken_effect() {
    run(async {
        let world = World::new();
        world.fault(Fault { lose_answers: CERTAIN, ..Fault::default() });
        assert!(is_broken(world.ours.create(&PostParams::default(), &config_map("a")).await));
        assert_eq!(value(&world.ours.get("a").await.expect("reads are answered")), "0");
        assert_eq!(refusal(world.ours.create(&PostParams::default(), &config_map("a")).await).1, "AlreadyExists", "a refusal is not lost");
    });
}

#[test]
fn a_silent_server_answers_nothing_and_what_hung_breaks_when_it_is_over() {
    run(async {
        let world = World::new();
        let mut watch = Box::pin(world.ours.watch(&WatchParams::default(), "0").await.expect("watching"));
        world.fault(Fault { silent: true, ..Fault::default() });
        world.create("a").await;
        let mut asked = Box::pin(world.ours.get("a"));
        let silence = async { tokio::join!(biased; next(&mut watch), asked.as_mut()) };
        assert!(tokio::time::timeout(Duration::from_secs(3000), silence).await.is_err(), "neither answer nor event, nor an end");
        world.heal();
        assert!(is_broken(asked.await));
        assert_eq!(next(&mut watch).await, "broken");
        assert!(world.ours.get("a").await.is_ok());
    });
}

#[test]
fn a_server_that_goes_down_breaks_what_is_under_way() {
    run(async {
        let world = World::new();
        let second = Duration::from_secs(1);
        world.fault(Fault { latency: Some(Latency { min: second, max: second }), ..Fault::default() });
        let (map, parameters) = (config_map("a"), PostParams::default());
        let create = world.ours.create(&parameters, &map);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            world.server.set_reachable(None, false);
            assert!(is_broken(world.others.get("a").await), "everybody");
            tokio::time::sleep(Duration::from_millis(700)).await;
            world.server.set_reachable(None, true);
        };
        let (created, ()) = tokio::join!(biased; create, cut);
        assert!(is_broken(created));
        assert!(world.others.get("a").await.is_ok(), "it took effect before");
    });
}

#[test]
fn a_late_watch_tells_each_change_late_and_in_order() {
    run(async {
        let world = World::new();
        let (min, max) = (Duration::from_millis(100), Duration::from_millis(900));
        let before = world.create("a").await.resource_version().expect("versioned");
        world.fault(Fault { latency: Some(Latency { min, max }), ..Fault::default() });
        let mut watch = Box::pin(world.ours.watch(&WatchParams::default(), &before).await.expect("watching"));
        let opened = world.millis();
        let write = async {
            for number in 1..=20 {
                world.set("a", &number.to_string()).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let read = async {
            let mut told = Vec::new();
            for _ in 0..20 {
                told.push((next(&mut watch).await, world.millis() - opened));
            }
            told
        };
        let ((), told) = tokio::join!(biased; write, read);
        for (index, (event, at)) in told.iter().enumerate() {
            assert_eq!(*event, format!("a={}", index + 1));
            let late = at - 50 * u128::try_from(index).expect("small");
            assert!((100..=1000).contains(&late), "{event} came {late} ms late");
        }
    });
}

#[test]
fn a_lagging_server_reads_the_past_and_its_versions_and_its_watches_follow() {
    run(async {
        let world = World::new();
        world.create("a").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.set("a", "1").await;
        world.create("b").await;
        world.fault(Fault { stale: Some(Duration::from_secs(30)), ..Fault::default() });
        let list = world.ours.list(&ListParams::default()).await.expect("listed");
        assert_eq!(list.items.iter().map(|map| (map.name_any(), value(map).to_owned())).collect::<Vec<_>>(), [("a".into(), "0".into())]);
        assert_eq!(value(&world.ours.get("a").await.expect("there")), "0");
        assert_eq!(refusal(world.ours.get("b").await).0, 404);
        let newest = world.others.list(&ListParams::default()).await.expect("listed").metadata.resource_version.expect("versioned");
        let version = list.metadata.resource_version.expect("versioned");
        assert!(version.parse::<u64>().expect("a number") < newest.parse().expect("a number"));
        let exact = world.ours.list(&ListParams::default().at(&newest)).await.expect_err("that server is not so far yet");
        assert!(matches!(exact, kube::Error::Api(status) if status.code == 504));
        let mut watch = Box::pin(world.ours.watch(&WatchParams::default(), &version).await.expect("watching"));
        assert_eq!(next(&mut watch).await, "a=1");
        assert_eq!(next(&mut watch).await, "b=0");
        assert_eq!(world.millis(), 90_000, "when that server hears of it");
        assert_eq!(value(&world.ours.get("a").await.expect("there")), "1");
    });
}

#[test]
fn a_version_written_to_a_lagging_server_conflicts() {
    run(async {
        let world = World::new();
        world.create("a").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.set("a", "1").await;
        world.fault(Fault { stale: Some(Duration::from_secs(30)), ..Fault::default() });
        let past = world.ours.get("a").await.expect("there");
        assert_eq!(refusal(world.ours.replace("a", &PostParams::default(), &past).await).1, "Conflict");
    });
}

#[test]
fn a_watch_is_cut_after_its_time_counted_from_its_beginning() {
    run(async {
        let world = World::new();
        let mut watch = Box::pin(world.ours.watch(&WatchParams::default(), &world.server.revision().to_string()).await.expect("watching"));
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.fault(Fault { cut_watches: Some(Duration::from_secs(10)), ..Fault::default() });
        assert_eq!(next(&mut watch).await, "broken");
        assert_eq!(world.millis(), 10_000);
    });
}

#[test]
fn a_watch_that_resumes_from_the_past_is_told_410_in_the_stream_or_as_its_status() {
    run(async {
        let world = World::new();
        let before = world.create("a").await.resource_version().expect("versioned");
        world.create("b").await;
        world.fault(Fault { gone: Some(Gone::Stream), ..Fault::default() });
        let mut watch = Box::pin(world.ours.watch(&WatchParams::default(), &before).await.expect("it begins"));
        assert_eq!(next(&mut watch).await, "error 410");
        assert_eq!(next(&mut watch).await, "ended");
        world.fault(Fault { gone: Some(Gone::Http), ..Fault::default() });
        let refused = world.ours.watch(&WatchParams::default(), &before).await.err();
        assert!(matches!(refused, Some(kube::Error::Api(status)) if status.code == 410));
        let newest = world.server.revision().to_string();
        let mut watch = Box::pin(world.ours.watch(&WatchParams::default(), &newest).await.expect("the newest is not too old"));
        world.create("c").await;
        assert_eq!(next(&mut watch).await, "c=0");
    });
}

#[test]
fn a_client_that_dies_at_a_write_hears_nothing_and_its_successor_does() {
    run(async {
        let world = World::new();
        let dead = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&dead);
        world.server.die_at_write(&ClientName::from("ours"), 2, move || *flag.lock().expect("one thread") = true);
        world.ours.create(&PostParams::default(), &config_map("a")).await.expect("the first write");
        world.ours.get("a").await.expect("a read does not count");
        let parameters = PostParams::default();
        let second = config_map("b");
        let unanswered = tokio::time::timeout(Duration::from_secs(60), world.ours.create(&parameters, &second)).await;
        assert!(unanswered.is_err() && *dead.lock().expect("one thread"));
        assert!(tokio::time::timeout(Duration::from_secs(60), world.ours.get("a")).await.is_err(), "nothing at all");
        let successor: Api<ConfigMap> =
            Api::default_namespaced(Client::new(world.server.client_service(ClientName::from("ours")), "default"));
        successor.get("b").await.expect("it took effect");
    });
}

#[test]
fn every_request_is_observed_with_what_became_of_it() {
    run(async {
        let world = World::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        world.server.observe_requests(move |record| {
            let line = (format!("{} {} {} {}", record.client, record.verb, record.resource, record.name), record.outcome, record.changed);
            log.lock().expect("one thread").push(line);
        });
        let created = world.ours.create(&PostParams::default(), &config_map("a")).await.expect("created");
        world.ours.replace("a", &PostParams::default(), &created).await.expect("nothing changes");
        world.ours.create(&PostParams::default(), &config_map("a")).await.expect_err("there already");
        world.fault(Fault { lose_answers: CERTAIN, ..Fault::default() });
        world.ours.delete("a", &kube::api::DeleteParams::default()).await.expect_err("lost");
        world.fault(Fault { down: true, ..Fault::default() });
        world.ours.list(&ListParams::default()).await.expect_err("away");
        let line = |what: &str, outcome, changed| (format!("ours {what}"), outcome, changed);
        let wanted = [
            line("create configmaps a", Outcome::Answered(201), true),
            line("update configmaps a", Outcome::Answered(200), false),
            line("create configmaps a", Outcome::Answered(409), false),
            line("delete configmaps a", Outcome::AnswerLost(200), true),
            line("list configmaps ", Outcome::Unreachable, false),
        ];
        assert_eq!(*seen.lock().expect("one thread"), wanted);
    });
}

#[test]
fn the_same_faults_and_requests_have_the_same_end() {
    let once = |with_latency: bool| {
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&outcomes);
        run(async move {
            let world = World::new();
            world.fault(Fault { refuse: BTreeMap::from([(500, 400_000)]), lose_answers: 400_000, ..Fault::default() });
            if with_latency {
                let latency = Some(Latency { min: Duration::ZERO, max: Duration::from_secs(1) });
                world.server.set_fault(None, FaultId(2), Fault { latency, ..Fault::default() });
            }
            for number in 0..40 {
                let result = world.ours.create(&PostParams::default(), &config_map(&format!("m{number}"))).await;
                into.lock().expect("one thread").push(result.map_err(|error| error.to_string()).map(|map| map.name_any()));
            }
        });
        outcomes.lock().expect("one thread").clone()
    };
    assert_eq!(once(false), once(false));
    assert_eq!(once(false), once(true), "one more fault leaves the draws of the others as they were");
    let failed = once(false).iter().filter(|outcome| outcome.is_err()).count();
    assert!((10..40).contains(&failed), "{failed} of 40");
}

/// One request over HTTP as the client `ours`: all that came back before the connection ended.
async fn over_http(address: std::net::SocketAddr, head: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let request = format!(
        "{head} HTTP/1.1\r\nHost: here\r\nX-Bellhop-Client: ours\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("HTTP is text")
}

#[test]
fn faults_reach_a_client_over_http_in_real_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let script = async {
            let wait = Duration::from_millis(100);
            world.fault(Fault {
                latency: Some(Latency { min: wait, max: wait }),
                refuse: BTreeMap::from([(429, CERTAIN)]),
                ..Fault::default()
            });
            let refused = over_http(address, "GET /api/v1/namespaces/default/configmaps", "").await;
            assert!(world.millis() >= 100, "{}", world.millis());
            assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 1"), "{refused}");
            world.fault(Fault { lose_answers: CERTAIN, ..Fault::default() });
            let path = "POST /api/v1/namespaces/default/configmaps";
            assert_eq!(over_http(address, path, &serde_json::to_string(&config_map("a")).expect("JSON")).await, "");
            world.others.get("a").await.expect("it took effect");
        };
        tokio::select! {
            biased;
            ended = world.server.serve_http(listener, std::future::pending()) => panic!("{ended:?}"),
            () = script => {}
        }
    });
}

//! kube's own client and watcher against the server, in process: what Bellhop relies on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop_apiserver::{ApiServer, ClientName, Config};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};

fn server() -> ApiServer {
    ApiServer::new(&Config { clock: Arc::new(|| Timestamp::UNIX_EPOCH), history: 50, ..Config::default() })
}

fn client(server: &ApiServer, name: &str) -> Client {
    Client::new(server.client_service(ClientName::from(name)), "default")
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    let data = BTreeMap::from([("key".to_owned(), value.to_owned())]);
    ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        data: Some(data),
        ..Default::default()
    }
}

/// Runs a test on a paused clock, as the simulator does.
fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(3600), test).await.expect("an hour of virtual time is enough") });
}

async fn next(events: &mut (impl futures::Stream<Item = watcher::Result<watcher::Event<ConfigMap>>> + Unpin)) -> String {
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Apply(object))) => {
                return format!("applied {}={}", object.name_any(), object.data.unwrap_or_default()["key"]);
            }
            Ok(Some(watcher::Event::Delete(object))) => return format!("deleted {}", object.name_any()),
            Ok(Some(watcher::Event::InitApply(object))) => return format!("listed {}", object.name_any()),
            Ok(Some(watcher::Event::InitDone)) => return "synced".to_owned(),
            Ok(Some(watcher::Event::Init)) | Err(_) => {}
            Ok(None) => return "ended".to_owned(),
        }
    }
}

fn a_watcher_sees_create_update_and_delete(config: watcher::Config) {
    run(async {
        let server = server();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
        maps.create(&PostParams::default(), &config_map("old", "0")).await.expect("created");
        let watched: Api<ConfigMap> = Api::default_namespaced(client(&server, "watcher"));
        let mut events = Box::pin(watcher(watched, config).default_backoff());
        assert_eq!(next(&mut events).await, "listed old");
        assert_eq!(next(&mut events).await, "synced");
        maps.create(&PostParams::default(), &config_map("a", "1")).await.expect("created");
        assert_eq!(next(&mut events).await, "applied a=1");
        let patch = Patch::Merge(serde_json::json!({"data": {"key": "2"}}));
        maps.patch("a", &PatchParams::default(), &patch).await.expect("patched");
        assert_eq!(next(&mut events).await, "applied a=2");
        maps.delete("a", &DeleteParams::default()).await.expect("deleted");
        assert_eq!(next(&mut events).await, "deleted a");
    });
}

#[test]
fn a_listing_watcher_sees_create_update_and_delete() {
    a_watcher_sees_create_update_and_delete(watcher::Config::default());
}

#[test]
fn a_streaming_watcher_sees_create_update_and_delete() {
    a_watcher_sees_create_update_and_delete(watcher::Config::default().streaming_lists());
}

#[test]
fn a_watcher_recovers_from_an_outage_and_from_410() {
    run(async {
        let server = server();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
        let name = ClientName::from("watcher");
        let watched: Api<ConfigMap> = Api::default_namespaced(client(&server, "watcher"));
        let mut events = Box::pin(watcher(watched, watcher::Config::default()).default_backoff());
        maps.create(&PostParams::default(), &config_map("a", "1")).await.expect("created");
        assert_eq!(next(&mut events).await, "listed a");
        assert_eq!(next(&mut events).await, "synced");
        server.set_reachable(Some(&name), false);
        maps.create(&PostParams::default(), &config_map("b", "1")).await.expect("others are reached");
        server.compact();
        let heard = tokio::time::timeout(Duration::from_secs(10), next(&mut events)).await;
        assert!(heard.is_err(), "cut off: {heard:?}");
        server.set_reachable(Some(&name), true);
        assert_eq!(next(&mut events).await, "listed a");
        assert_eq!(next(&mut events).await, "listed b");
    });
}

#[test]
fn a_paged_list_stays_at_its_revision_and_expires_with_it() {
    run(async {
        let server = server();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
        for name in ["a", "b", "c"] {
            maps.create(&PostParams::default(), &config_map(name, "1")).await.expect("created");
        }
        let first = maps.list(&ListParams::default().limit(2)).await.expect("listed");
        let token = first.metadata.continue_.clone().expect("there is more");
        assert_eq!(first.metadata.remaining_item_count, Some(1));
        maps.delete("c", &DeleteParams::default()).await.expect("deleted");
        let second = maps.list(&ListParams::default().limit(2).continue_token(&token)).await.expect("still there");
        assert_eq!(second.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c"]);
        server.compact();
        maps.create(&PostParams::default(), &config_map("d", "1")).await.expect("created");
        let expired = maps.list(&ListParams::default().limit(2).continue_token(&token)).await.expect_err("compacted");
        assert!(matches!(expired, kube::Error::Api(status) if status.code == 410));
    });
}

#[test]
fn a_stale_version_conflicts_and_an_unchanged_write_is_none() {
    run(async {
        let server = server();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
        let created = maps.create(&PostParams::default(), &config_map("a", "1")).await.expect("created");
        let writes = server.writes();
        maps.replace("a", &PostParams::default(), &created).await.expect("nothing to do");
        assert_eq!(server.writes(), writes);
        let mut changed = config_map("a", "2");
        changed.metadata.resource_version = created.resource_version();
        maps.replace("a", &PostParams::default(), &changed).await.expect("replaced");
        changed.data = Some(BTreeMap::new());
        let refused = maps.replace("a", &PostParams::default(), &changed).await.expect_err("stale");
        assert!(matches!(refused, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
        assert!(matches!(maps.create(&PostParams::default(), &created).await, Err(kube::Error::Api(_))));
    });
}

#[test]
fn a_finalizer_holds_an_object_until_it_is_taken_off() {
    run(async {
        let server = server();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
        let mut held = config_map("a", "1");
        held.metadata.finalizers = Some(vec!["bellhop.dev/held".to_owned()]);
        maps.create(&PostParams::default(), &held).await.expect("created");
        let answer = maps.delete("a", &DeleteParams::default()).await.expect("begun");
        assert!(answer.left().expect("it is still there").metadata.deletion_timestamp.is_some());
        let patch = Patch::Merge(serde_json::json!({"metadata": {"finalizers": null}}));
        maps.patch("a", &PatchParams::default(), &patch).await.expect("patched");
        assert!(maps.get_opt("a").await.expect("asked").is_none());
    });
}

#[test]
fn an_owner_takes_its_dependents_along_and_an_observer_sees_who_did_it() {
    run(async {
        let server = server();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        server.observe(move |record| log.lock().expect("one thread").push(format!("{} {} {}", record.client, record.verb, record.name)));
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
        let owner = maps.create(&PostParams::default(), &config_map("owner", "1")).await.expect("created");
        let mut dependent = config_map("dependent", "1");
        let reference = serde_json::json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()}]);
        dependent.metadata.owner_references = serde_json::from_value(reference).expect("a reference");
        maps.create(&PostParams::default(), &dependent).await.expect("created");
        maps.delete("owner", &DeleteParams::background()).await.expect("deleted");
        let seen = seen.lock().expect("one thread").clone();
        assert_eq!(seen, ["user create owner", "user create dependent", "user delete owner", "garbage-collector delete dependent"]);
    });
}

#[test]
fn the_same_requests_give_the_same_objects() {
    let once = || {
        let server = server();
        let created = Arc::new(Mutex::new(None));
        let out = Arc::clone(&created);
        run(async move {
            let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
            let mut generated = config_map("", "1");
            generated.metadata.generate_name = Some("web-".to_owned());
            *out.lock().expect("one thread") = Some(maps.create(&PostParams::default(), &generated).await.expect("created"));
        });
        let created = created.lock().expect("one thread").clone().expect("the test ran");
        (created.name_any(), created.uid())
    };
    assert_eq!(once(), once());
    assert!(once().0.starts_with("web-"));
}

#[test]
fn watch_events_of_a_plain_stream_come_in_order() {
    run(async {
        let server = server();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server, "user"));
        let stream = maps.watch(&kube::api::WatchParams::default().labels("app=web"), "0").await.expect("watching");
        let mut stream = Box::pin(stream);
        let mut map = config_map("a", "1");
        map.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "web".to_owned())]));
        maps.create(&PostParams::default(), &map).await.expect("created");
        let patch = Patch::Merge(serde_json::json!({"metadata": {"labels": {"app": "db"}}}));
        maps.patch("a", &PatchParams::default(), &patch).await.expect("patched");
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            match stream.next().await.expect("it goes on").expect("an event") {
                kube::api::WatchEvent::Added(_) => kinds.push("added"),
                kube::api::WatchEvent::Deleted(_) => kinds.push("deleted"),
                _ => {}
            }
        }
        assert_eq!(kinds, ["added", "deleted"], "what leaves the selection is deleted for its watcher");
    });
}

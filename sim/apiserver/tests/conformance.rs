//! Holds this server to what a real one answered: every call of `sim/conformance`, against the recorded answers.
//!
//! The answers were recorded by `e2e/run conformance --record`; what differs and may is listed in the README of this folder, with a reason.

use std::collections::BTreeMap;

use bellhop_apiserver::{ApiServer, ClientName, Config};
use bellhop_conformance::call::{Call, themes};
use bellhop_conformance::listed::{README, listed};
use bellhop_conformance::record;
use bellhop_conformance::report::Report;
use bellhop_conformance::run::{Server, play};

fn ours(config: &Config) -> Server<'static> {
    let server = ApiServer::new(config);
    let client = kube::Client::new(server.client_service(ClientName::from("conformance")), "default");
    let compact = move || {
        server.compact();
        Ok(true)
    };
    Server { client, compact: Box::new(compact) }
}

#[tokio::test]
async fn every_call_is_answered_as_a_real_server_answers_it_or_the_difference_is_listed() {
    let config = Config { service_cidr_v6: Some(("fd00:10:96::".parse().expect("an address"), 112)), ..Config::default() };
    let server = ours(&config);
    let (listed, mut report) = (listed(README), Report::default());
    for theme in themes().expect("the calls can be read") {
        let answers = play(&server, &theme).await.expect("our own server answers");
        let real = record::read(&record::folder(), &theme.name).expect("the recorded answers can be read");
        report.add(&theme.name, &answers, &real, &listed);
    }
    report.close(&listed);
    assert!(report.rows.len() >= 150, "{}", report.sum());
    let unrecorded: Vec<_> = report.rows.iter().filter(|row| row.real.is_empty()).map(|row| &row.call).collect();
    assert!(unrecorded.is_empty(), "never asked of a real server (e2e/run conformance --record): {unrecorded:#?}");
    assert!(report.good(), "{}{}", report.text(), report.sum());
}

#[tokio::test]
async fn a_theme_that_is_stopped_half_way_leaves_nothing() {
    let server = ours(&Config::default());
    let before = everything(&server).await;
    for theme in themes().expect("the calls can be read") {
        let outside = |call: &Call| call.post.as_ref().is_some_and(|path| !path.contains("${ns}"));
        for stop in (0..theme.calls.len()).filter(|index| outside(&theme.calls[*index])) {
            let mut theme = theme.clone();
            theme.calls.truncate(stop + 1);
            theme.calls.push(Call { name: "stop".to_owned(), get: Some("/${nothing}".to_owned()), ..Call::default() });
            play(&server, &theme).await.expect_err("nothing was kept");
            assert_eq!(everything(&server).await, before, "{} stopped after `{}`", theme.name, theme.calls[stop].name);
        }
    }
}

/// The names of what is in no namespace, of the kinds that the calls make.
async fn everything(server: &Server<'_>) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for kind in [
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    ] {
        let request = http::Request::get(kind).body(Vec::new()).expect("a request");
        let list: kube::core::ObjectList<kube::core::DynamicObject> = server.client.request(request).await.expect("a list");
        all.insert(kind, list.items.into_iter().filter_map(|object| object.metadata.name).collect());
    }
    all
}

//! Holds this server to what a real one answered: every call of `sim/conformance`, against the recorded answers.
//!
//! The answers were recorded by `e2e/run conformance --record`; what differs and may is listed in the README of this folder, with a reason.

use bellhop_apiserver::{ApiServer, ClientName, Config};
use bellhop_conformance::call::themes;
use bellhop_conformance::listed::{README, listed};
use bellhop_conformance::record;
use bellhop_conformance::report::Report;
use bellhop_conformance::run::{Server, play};

struct Ours(ApiServer);

impl Server for Ours {
    fn client(&self) -> kube::Client {
        kube::Client::new(self.0.client_service(ClientName::from("conformance")), "default")
    }

    async fn compact(&self) -> Result<bool, String> {
        self.0.compact();
        Ok(true)
    }
}

#[tokio::test]
async fn every_call_is_answered_as_a_real_server_answers_it_or_the_difference_is_listed() {
    let config = Config { service_cidr_v6: Some(("fd00:10:96::".parse().expect("an address"), 112)), ..Config::default() };
    let server = Ours(ApiServer::new(&config));
    let (listed, mut report) = (listed(README), Report::default());
    for theme in themes().expect("the calls can be read") {
        let ours = play(&server, &theme).await.expect("our own server answers");
        let real = record::read(&record::folder(), &theme.name).expect("the recorded answers can be read");
        report.add(&theme.name, &ours, &real, &listed);
    }
    report.close(&listed);
    assert!(report.rows.len() >= 150, "{}", report.sum());
    let unrecorded: Vec<_> = report.rows.iter().filter(|row| row.real.is_empty()).map(|row| &row.call).collect();
    assert!(unrecorded.is_empty(), "never asked of a real server (e2e/run conformance --record): {unrecorded:#?}");
    assert!(report.good(), "{}{}", report.text(), report.sum());
}

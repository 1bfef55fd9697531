//! Metrics and probes over HTTP: an edge of the process, beside the program and never inside it.
//!
//! Every answer asks the program itself, so that `/healthz` says that its loop turns and not merely that a socket is open.

#![expect(clippy::disallowed_methods, reason = "beside the program, and in no simulation: tasks and tokio's time")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::connections;
use crate::metrics::{self, Health, Observer};

/// A loop that does not turn within this time is stuck. Kubernetes' probes wait one second by default.
const ANSWER_LIMIT: Duration = Duration::from_millis(800);

/// OpenMetrics, which Prometheus asks for; its text is what `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` on one socket and `/healthz` and `/readyz` on the other, until dropped. Each has bounds of its own: who scrapes takes nothing from
/// the probes.
pub async fn serve(metrics: TcpListener, probes: TcpListener, observer: Observer) -> Infallible {
    let metrics_router = Router::new().route("/metrics", get(metrics_text)).with_state(Arc::new(Mutex::new(observer.clone())));
    let probe_router =
        Router::new().route("/healthz", get(healthz)).route("/livez", get(healthz)).route("/readyz", get(readyz)).with_state(observer);
    futures::future::join(connections::serve(metrics, metrics_router), connections::serve(probes, probe_router)).await.0
}

/// One scrape at a time, since each is a look at all Services: so a probe waits behind one at the most.
async fn metrics_text(State(observer): State<Arc<Mutex<Observer>>>) -> Response {
    let observer = observer.lock().await;
    let snapshot = tokio::time::timeout(ANSWER_LIMIT, observer.observe()).await.ok().flatten();
    match snapshot.and_then(|snapshot| metrics::text(snapshot).ok()) {
        Some(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn healthz(State(observer): State<Observer>, Query(asked): Query<Asked>) -> Response {
    let health = health(&observer).await;
    answer("healthz", &asked, &[ping(), turning(health.as_ref())])
}

async fn readyz(State(observer): State<Observer>, Query(asked): Query<Asked>) -> Response {
    let health = health(&observer).await;
    answer("readyz", &asked, &[ping(), turning(health.as_ref()), listed(health.as_ref())])
}

async fn health(observer: &Observer) -> Option<Health> {
    tokio::time::timeout(ANSWER_LIMIT, observer.health()).await.ok().flatten()
}

/// `?verbose`.
#[derive(Deserialize)]
struct Asked {
    verbose: Option<String>,
}

/// One line of an answer: what was looked at, and what is wrong with it.
struct Check {
    name: &'static str,
    wrong: Option<String>,
}

/// Whoever reads the answer has reached this.
fn ping() -> Check {
    Check { name: "ping", wrong: None }
}

/// The program's one loop answers.
fn turning(health: Option<&Health>) -> Check {
    let wrong = health.is_none().then(|| format!("no answer within {} ms", ANSWER_LIMIT.as_millis()));
    Check { name: "loop", wrong }
}

/// Every kind has been listed, so that this replica can take over at once. A watch that broke later takes nothing from it: what is known is answered for.
fn listed(health: Option<&Health>) -> Check {
    let unlisted = health.map_or_else(Vec::new, |health| health.unlisted.clone());
    let wrong = match health {
        None => Some("unknown".to_owned()),
        Some(_) if unlisted.is_empty() => None,
        Some(_) => Some(format!("not listed yet: {}", unlisted.join(", "))),
    };
    Check { name: "informer-sync", wrong }
}

/// In the form of kube-apiserver's: `ok`, or each check where asked for or where one fails.
fn answer(endpoint: &str, asked: &Asked, checks: &[Check]) -> Response {
    let failed = checks.iter().any(|check| check.wrong.is_some());
    if !failed && asked.verbose.is_none() {
        return "ok".into_response();
    }
    let mut text: String = checks
        .iter()
        .map(|Check { name, wrong }| match wrong {
            None => format!("[+]{name} ok\n"),
            Some(why) => format!("[-]{name} failed: {why}\n"),
        })
        .collect();
    text += &format!("{endpoint} check {}\n", if failed { "failed" } else { "passed" });
    let status = if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    (status, text).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn said(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    fn verbose(verbose: bool) -> Query<Asked> {
        Query(Asked { verbose: verbose.then(String::new) })
    }

    /// A program that answers one question like this.
    async fn beside<T>(
        health: Health,
        asker: impl Future<Output = T>,
        mut questions: tokio::sync::mpsc::Receiver<metrics::Observation>,
    ) -> T {
        let program = async {
            let Some(metrics::Observation::Health(asker)) = questions.recv().await else { panic!("only health is asked for") };
            asker.send(health).expect("somebody waits");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            value = asker => value,
            () = program => unreachable!("pending"),
        }
    }

    #[tokio::test]
    async fn a_replica_that_has_listed_everything_is_ready() {
        let (observer, questions) = Observer::new();
        let response = beside(Health::default(), readyz(State(observer), verbose(true)), questions).await;
        let text = "[+]ping ok\n[+]loop ok\n[+]informer-sync ok\nreadyz check passed\n";
        assert_eq!(said(response).await, (200, text.to_owned()));
        let (observer, questions) = Observer::new();
        let response = beside(Health::default(), readyz(State(observer), verbose(false)), questions).await;
        assert_eq!(said(response).await, (200, "ok".to_owned()));
    }

    #[tokio::test]
    async fn a_replica_that_waits_for_a_list_says_for_which_also_unasked() {
        let (observer, questions) = Observer::new();
        let health = Health { unlisted: vec!["Eips", "Nodes"], ..Health::default() };
        let response = beside(health, readyz(State(observer), verbose(false)), questions).await;
        let text = "[+]ping ok\n[+]loop ok\n[-]informer-sync failed: not listed yet: Eips, Nodes\nreadyz check failed\n";
        assert_eq!(said(response).await, (500, text.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_turn_is_not_healthy() {
        let (observer, _questions) = Observer::new();
        let text = "[+]ping ok\n[-]loop failed: no answer within 800 ms\nhealthz check failed\n";
        assert_eq!(said(healthz(State(observer), verbose(false)).await).await, (500, text.to_owned()));
    }

    /// What a GET of this page is answered.
    async fn fetch(listener: std::net::SocketAddr, page: &str) -> String {
        let mut stream = TcpStream::connect(listener).await.expect("a connection");
        stream.write_all(format!("GET {page} HTTP/1.1\r\nhost: node\r\n\r\n").as_bytes()).await.expect("a request");
        let mut answer = String::new();
        // Well before strangers are ended by their time.
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
        answer
    }

    #[tokio::test]
    async fn strangers_on_both_sockets_keep_neither_prometheus_nor_the_kubelet_out() {
        let (observer, mut questions) = Observer::new();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let (metrics, probes) = (listen().await, listen().await);
        let [metrics_at, probes_at] = [&metrics, &probes].map(|listener| listener.local_addr().expect("an address"));
        let program = async {
            while let Some(question) = questions.recv().await {
                match question {
                    metrics::Observation::Health(asker) => asker.send(Health::default()).expect("somebody waits"),
                    metrics::Observation::Snapshot(asker) => asker.send(metrics::Snapshot::default()).expect("somebody waits"),
                }
            }
        };
        let visitors = async {
            let mut strangers = Vec::new();
            for address in [metrics_at, probes_at].repeat(4 * connections::CONNECTIONS_MAX) {
                strangers.push(TcpStream::connect(address).await.expect("a connection"));
            }
            let (scraped, probed) = (fetch(metrics_at, "/metrics").await, fetch(probes_at, "/healthz").await);
            assert!(scraped.starts_with("HTTP/1.1 200 OK") && scraped.ends_with("# EOF\n"), "{scraped}");
            assert!(probed.starts_with("HTTP/1.1 200 OK") && probed.ends_with("ok"), "{probed}");
        };
        tokio::select! {
            never = serve(metrics, probes, observer) => match never {},
            () = program => unreachable!("somebody may ask"),
            () = visitors => {}
        }
    }
}

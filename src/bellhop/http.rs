//! Metrics and probes over HTTP: an edge of the process, beside the program and never inside it.
//!
//! Every answer asks the program itself, so that `/healthz` says that its loop turns and not merely that a socket is open.

use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::{self, Observer, Snapshot};

/// A loop that does not turn within this time is stuck. Kubernetes' probes wait one second by default.
const ANSWER_LIMIT: Duration = Duration::from_millis(800);

/// OpenMetrics, which Prometheus asks for; its text is what `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` on one socket and `/healthz` and `/readyz` on the other, until dropped.
pub async fn serve(metrics: TcpListener, probes: TcpListener, observer: Observer) -> anyhow::Result<()> {
    let metrics_router = Router::new().route("/metrics", get(metrics_text)).with_state(observer.clone());
    let probe_router =
        Router::new().route("/healthz", get(healthz)).route("/livez", get(healthz)).route("/readyz", get(readyz)).with_state(observer);
    let metrics = async { axum::serve(metrics, metrics_router).await.context("failed to serve metrics") };
    let probes = async { axum::serve(probes, probe_router).await.context("failed to serve probes") };
    futures::future::try_join(metrics, probes).await.map(drop)
}

async fn observe(observer: &Observer) -> Option<Snapshot> {
    tokio::time::timeout(ANSWER_LIMIT, observer.observe()).await.ok().flatten()
}

async fn metrics_text(State(observer): State<Observer>) -> Response {
    match observe(&observer).await.and_then(|snapshot| metrics::text(snapshot).ok()) {
        Some(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn healthz(State(observer): State<Observer>) -> Response {
    match observe(&observer).await {
        Some(_) => "ok\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the program's loop does not turn\n").into_response(),
    }
}

/// In the form of kube-apiserver's `/readyz?verbose`.
async fn readyz(State(observer): State<Observer>) -> Response {
    match observe(&observer).await {
        Some(snapshot) if snapshot.synced => "[+]loop ok\n[+]watches synced\nreadyz check passed\n".into_response(),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "[+]loop ok\n[-]watches not listed yet\nreadyz check failed\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "[-]loop does not turn\nreadyz check failed\n").into_response(),
    }
}

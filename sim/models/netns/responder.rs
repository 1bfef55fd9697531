//! What runs in a pod: it answers every request with the pod's name, as the image luksa/kubia does.
//!
//! The header `x-client-address` tells whom the pod saw, so that a test can tell a kept client address from a replaced one.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;

/// Answers `You've hit <name>` on `listen` for ever. Makes its own runtime: it is a process's whole business.
pub fn run_pod(name: &str, listen: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let service = router(name.to_owned()).into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await?;
        Ok(())
    })
}

fn router(name: String) -> Router {
    Router::new().fallback(move |ConnectInfo(client): ConnectInfo<SocketAddr>| {
        let answer = ([("x-client-address", client.ip().to_canonical().to_string())], format!("You've hit {name}\n"));
        async move { answer }
    })
}

//! The server over HTTP/1.1, for kubectl and for processes.
//!
//! Connections are futures in one set that [`serve`] polls: when it returns, they are gone. All HTTP clients are one [`ClientName`],
//! `http`, unless they say otherwise in the `X-Bellhop-Client` header.

use std::future::Future;
use std::io;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::request::Request;
use crate::server::{ApiServer, ResponseBody};
use crate::{ClientName, serve};

/// etcd takes 1.5 MiB, kube-apiserver 3 MiB in a body.
const BODY_MAX_BYTES: usize = 3 * 1024 * 1024;

/// Accepts and serves until `shutdown` is done.
pub(crate) async fn serve(server: &ApiServer, listener: tokio::net::TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let mut connections = FuturesUnordered::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connections.push(connection(server.clone(), stream)),
                // Out of file descriptors, or the peer is gone already: the next one may do better.
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(()) = connections.next() => {}
        }
    }
}

async fn connection(server: ApiServer, stream: tokio::net::TcpStream) {
    // Small answers must not wait for acknowledgements.
    stream.set_nodelay(true).ok();
    let service = hyper::service::service_fn(move |request| {
        let server = server.clone();
        async move { handle(&server, request).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let served = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn handle(server: &ApiServer, request: hyper::Request<Incoming>) -> io::Result<hyper::Response<ResponseBody>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX_BYTES).collect().await.map_err(io::Error::other)?.to_bytes();
    let name = parts.headers.get("x-bellhop-client").and_then(|name| name.to_str().ok()).unwrap_or("http");
    serve::serve(server, Request::new(ClientName::from(name), &parts, body), serve::Connection::default()).await
}

//! Who may be connected to one of our sockets: few at a time, each for one request, and nobody for long.
//!
//! The sockets are open to whoever reaches the node. So what one connection holds has a bound, and so have their number and their time; whoever comes when all
//! are taken displaces who has been there longest, so that strangers who only hold connections keep nobody out. What is asked is not known here.

#![expect(clippy::disallowed_methods, reason = "beside the program, and in no simulation: tasks and tokio's time")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections of one listener at once. Two Prometheus servers, the kubelet and a person are four; each may hold the text of a scrape, so there are
/// not many more.
pub(crate) const CONNECTIONS_MAX: usize = 16;

/// From when it is accepted to the last byte of its answer. Prometheus gives a scrape up after ten seconds, unless told otherwise, and the kubelet a
/// probe after one.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// The request's line and its headers. It is the least that hyper takes; Prometheus, the kubelet and curl send some hundred bytes. A body is never read.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Accepts and serves until dropped, and nothing stays behind then.
pub(crate) async fn serve(mut listener: TcpListener, router: Router) -> Infallible {
    // Tasks of their own, so that what strangers send wakes nobody else.
    let mut tasks = JoinSet::new();
    let mut connections = VecDeque::new();
    loop {
        let (stream, _) = Listener::accept(&mut listener).await;
        while tasks.try_join_next().is_some() {}
        connections.retain(|connection: &tokio::task::AbortHandle| !connection.is_finished());
        if connections.len() == CONNECTIONS_MAX {
            connections.pop_front().inspect(tokio::task::AbortHandle::abort);
        }
        connections.push_back(tasks.spawn(connection(stream, router.clone())));
        // However many come at once, between two of them it is everybody's turn.
        tokio::task::yield_now().await;
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Neither a stranger that says nothing nor one that breaks off is news.
    drop(tokio::time::timeout(CONNECTION_LIMIT, served).await);
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Runs `client` beside a server whose only page says `here`.
    async fn beside(client: impl AsyncFnOnce(SocketAddr)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/page", get(async || "here"));
        tokio::select! {
            never = serve(listener, router) => match never {},
            () = client(address) => {}
        }
    }

    /// What comes back until the server closes.
    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        // A reset after the answer is an end, too.
        stream.read_to_string(&mut answer).await.ok();
        answer
    }

    /// Whether the server has ended it.
    fn is_ended(stranger: &TcpStream) -> bool {
        !matches!(stranger.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[tokio::test]
    async fn strangers_who_hold_connections_keep_nobody_out_and_are_few() {
        beside(async |address| {
            let mut strangers = Vec::new();
            for index in 0..5 * CONNECTIONS_MAX {
                let mut stranger = TcpStream::connect(address).await.expect("a connection");
                // Every other begins a request and does not end it.
                if index % 2 == 0 {
                    stranger.write_all(b"GET /page HTTP/1.1\r\n").await.expect("half a request");
                }
                strangers.push(stranger);
            }
            let answer = ask(address, "GET /page HTTP/1.1\r\nhost: node\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("here"), "{answer}");
            // Readiness is learned by waiting for it.
            strangers[0].readable().await.expect("it ends");
            tokio::time::sleep(Duration::from_millis(100)).await;
            let ended: Vec<bool> = strangers.iter().map(is_ended).collect();
            let open = ended.iter().filter(|ended| !**ended).count();
            assert!((1..CONNECTIONS_MAX).contains(&open), "{open} strangers are connected still");
            assert!(ended.is_sorted_by_key(|ended| !ended), "who came first went first: {ended:?}");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_left_when_the_time_is_over() {
        beside(async |address| {
            let mut stranger = TcpStream::connect(address).await.expect("a connection");
            let ended = tokio::time::timeout(2 * CONNECTION_LIMIT, stranger.read(&mut [0])).await;
            assert_eq!(ended.expect("in time").expect("an end"), 0);
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_is_for_one_request_and_its_headers_have_a_bound() {
        beside(async |address| {
            let twice = ask(address, &"GET /page HTTP/1.1\r\nhost: node\r\n\r\n".repeat(2)).await;
            assert_eq!(twice.matches("HTTP/1.1 200 OK").count(), 1, "{twice}");
            let long = ask(address, &format!("GET /page HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(2 * HEAD_BYTES_MAX))).await;
            assert!(!long.contains("200 OK"), "{long}");
        })
        .await;
    }
}

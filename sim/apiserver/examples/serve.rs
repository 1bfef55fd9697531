//! Serves the in-memory API on a port of its own choosing and prints a kubeconfig: for trying kubectl by hand.

use bellhop_apiserver::{ApiServer, Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", ApiServer::kubeconfig(listener.local_addr()?));
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    ApiServer::new(&Config::default()).serve_http(listener, interrupted).await
}

//! Lets programs in a namespace reach the API server's loopback port in the root namespace, under one address everywhere.
//!
//! A relay listens on 127.0.0.1 inside a namespace: the socket stays there, while the thread that serves it is outside. Nothing is
//! configured in the root namespace. A closed relay refuses connections and has cut those that were open: an API server that is away.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// From one look for a new connection to the next.
const PACE: Duration = Duration::from_millis(10);

/// A relay; dropping it closes it.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    closing: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    /// Listens on 127.0.0.1:`port` inside `namespace` (0: any free port), and connects to 127.0.0.1:`to` outside.
    pub fn open(namespace: &Namespace, port: u16, to: u16) -> Result<Self> {
        let listener = namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?.context("failed to open a relay")?;
        listener.set_nonblocking(true).context("failed to open a relay")?;
        let port = listener.local_addr().context("failed to open a relay")?.port();
        let (closing, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let thread = std::thread::spawn({
            let (closing, open) = (closing.clone(), open.clone());
            move || serve(&listener, to, &closing, &open)
        });
        Ok(Self { port, closing, open, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.open.lock().map(|mut open| std::mem::take(&mut *open)).unwrap_or_default() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(listener: &TcpListener, to: u16, closing: &AtomicBool, open: &Mutex<Vec<TcpStream>>) {
    while !closing.load(Ordering::Relaxed) {
        match listener.accept() {
            // A connection that cannot be served is closed by being dropped: the client tries again.
            Ok((near, _)) => drop(connect(near, to, open)),
            Err(_) => std::thread::sleep(PACE),
        }
    }
}

/// Two threads carry what each side says to the other.
fn connect(near: TcpStream, to: u16, open: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    near.set_nonblocking(false)?;
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        if let Ok(mut open) = open.lock() {
            open.push(stream.try_clone()?);
        }
    }
    let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
    std::thread::spawn(move || carry(near, far));
    std::thread::spawn(move || carry(far_again, near_again));
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, both sides are told.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

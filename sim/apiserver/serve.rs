//! The way of one request: to the server, through whatever is wrong on that way, and back.
//!
//! Without a fault it is one step. With one, in this order: is the server reached; half of the latency; a refusal; the request itself, which
//! may take effect; a lost answer; the other half of the latency, at whose end the connection may be gone. A watch's stream comes after
//! all that and is `watch`'s. Only the client's own future moves a request on: one that is frozen or dropped on the way goes no further.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Response};

use crate::dispatch;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::record::{Outcome, Subject};
use crate::request::Request;
use crate::server::{ApiServer, ResponseBody};
use crate::status::ApiError;

/// One client's connections: what [`ApiServer::die_at_write`] ends for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection(Arc<AtomicBool>);

impl Connection {
    /// Nothing more comes back over it.
    fn is_dead(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers one request; an error is a connection that was refused or broke.
pub(crate) async fn serve(server: &ApiServer, request: Request, connection: Connection) -> io::Result<Response<ResponseBody>> {
    if connection.is_dead() {
        return std::future::pending().await;
    }
    let Some(fault) = server.lock().faults.of(&request.client) else {
        return handle(server, &request, &Fault::default(), &connection).await;
    };
    if fault.down {
        server.begin().tell_request(&request, &Subject::of(&request), Outcome::Unreachable, false);
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
    }
    let latency = fault.latency.map(|latency| server.lock().faults.draw_latency(&request.client, latency)).unwrap_or_default();
    travel(server, &request, latency / 2).await.inspect_err(|_| {
        server.begin().tell_request(&request, &Subject::of(&request), Outcome::Unreachable, false);
    })?;
    // What is wrong may have changed on the way.
    let fault = server.lock().faults.of(&request.client).unwrap_or_default();
    let response = handle(server, &request, &fault, &connection).await?;
    travel(server, &request, latency - latency / 2).await?;
    Ok(response)
}

/// Lets the time on the way pass; fails where the way breaks. On a silent way it lasts until the silence ends, and then it breaks.
async fn travel(server: &ApiServer, request: &Request, time: Duration) -> io::Result<()> {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    let mut hung = false;
    loop {
        let (fault, changed) = {
            let engine = server.lock();
            (engine.faults.of(&request.client).unwrap_or_default(), engine.faults_changed())
        };
        if fault.down || (hung && !fault.silent) {
            return Err(broken());
        }
        if !fault.silent {
            return Ok(());
        }
        hung = true;
        changed.await;
    }
}

/// At the server: refused, or done; and whether the answer leaves it.
async fn handle(server: &ApiServer, request: &Request, fault: &Fault, connection: &Connection) -> io::Result<Response<ResponseBody>> {
    match answer(server, request, fault, connection) {
        Sent::Answer(response) => Ok(response),
        Sent::Nothing => Err(broken()),
        Sent::Never => std::future::pending().await,
    }
}

/// What the server sends.
enum Sent {
    Answer(Response<ResponseBody>),
    /// The connection breaks in place of the answer.
    Nothing,
    /// Nobody is there to hear it.
    Never,
}

fn answer(server: &ApiServer, request: &Request, fault: &Fault, connection: &Connection) -> Sent {
    let mut engine = server.begin();
    if let Some(status) = engine.faults.draw_refusal(&request.client, &fault.refuse) {
        let response = refused(status);
        engine.tell_request(request, &Subject::of(request), Outcome::Answered(status), false);
        return Sent::Answer(response);
    }
    let mut subject = Subject::of(request);
    if let Some(error) = forbidden(request, &subject, fault) {
        engine.tell_request(request, &subject, Outcome::Answered(error.code), false);
        return Sent::Answer(dispatch::json_response(error.code, &error.to_status(), &[]));
    }
    let before = engine.writes();
    let response = dispatch::answer(server, &mut engine, request, &mut subject);
    let (code, changed) = (response.status().as_u16(), engine.writes() != before);
    let dies = changed && dies(&mut engine, request, connection);
    let writes = !matches!(request.method, Method::GET | Method::HEAD);
    let lost = writes && engine.faults.draw_lost_answer(&request.client, fault.lose_answers) && response.status().is_success();
    let outcome = if dies || lost { Outcome::AnswerLost(code) } else { Outcome::Answered(code) };
    engine.tell_request(request, &subject, outcome, changed);
    match (dies, lost) {
        (true, _) => Sent::Never,
        (false, true) => Sent::Nothing,
        (false, false) => Sent::Answer(response),
    }
}

/// What RBAC says to a request that no rule allows.
fn forbidden(request: &Request, subject: &Subject, fault: &Fault) -> Option<ApiError> {
    let (plural, group) = subject.resource.split_once('.').unwrap_or((&subject.resource, ""));
    let plural = if subject.subresource.is_empty() { plural.to_owned() } else { format!("{plural}/{}", subject.subresource) };
    let full = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
    let is_forbidden = fault.forbidden.contains(&(subject.verb.to_owned(), full));
    is_forbidden.then(|| ApiError::no_right(&request.client.to_string(), subject, &plural, group))
}

/// Counts a write that took effect, if its writer is to die at one.
fn dies(engine: &mut Engine, request: &Request, connection: &Connection) -> bool {
    let Some(doom) = engine.take_doom(&request.client) else { return false };
    connection.0.store(true, Ordering::Relaxed);
    doom();
    true
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
}

/// A refusal that has nothing to do with what was asked.
fn refused(status: u16) -> Response<ResponseBody> {
    let error = ApiError::of_the_server(status);
    let mut response = dispatch::json_response(error.code, &error.to_status(), &[]);
    if status == 429 {
        // kube-apiserver, server/filters/priority-and-fairness.go: retryAfter is one second.
        response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    response
}

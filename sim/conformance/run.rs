//! Plays calls against one server.
//!
//! A theme has a namespace of its own, made before its first call and deleted after its last, so that it can be played on a cluster that
//! somebody uses. What it makes outside of a namespace begins with [`PREFIX`] and is deleted by the theme itself, or, when a call stopped it
//! half way, after it; what a run that was killed has left is deleted by the next.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

use crate::call::{Call, Theme};
use crate::normal::Normal;
use crate::sweep::Leftovers;

/// Every name outside of a namespace that the suite gives begins with this.
pub const PREFIX: &str = "bellhop-conformance";
/// A controller of the real cluster has this long to do its part.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two times of asking.
const PAUSE: Duration = Duration::from_millis(250);
/// What a stream has not said by then it does not say.
const STREAM: Duration = Duration::from_secs(5);

/// A server to play against.
pub struct Server<'a> {
    /// A client of it, with the rights of an administrator.
    pub client: kube::Client,
    /// Forgets its history, as etcd's compaction does; `false` if nobody here can do that, and why it failed if somebody can.
    pub compact: Box<dyn Fn() -> Result<bool, String> + 'a>,
}

/// Why playing stopped. A refusal by the server is none: it is an answer.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Nobody answers.
    #[error("{0}: {1}")]
    Unreachable(String, String),
    /// A call says what cannot be sent.
    #[error("{0}: {1}")]
    Unsendable(String, String),
    /// What a call builds on is not there.
    #[error("{0}: an earlier call kept no `{1}`")]
    NotKept(String, String),
    /// The server's history could not be forgotten.
    #[error("{0}: the compaction failed: {1}")]
    NotCompacted(String, String),
    /// The theme's namespace could not be made.
    #[error("the namespace {0} cannot be made: {1}")]
    NoNamespace(String, Value),
}

/// What came of the calls of a theme, by their names: the normalised answer, `None` where the call could not be made here.
pub type Answers = Vec<(String, Option<Value>)>;

/// Plays all calls of a theme.
pub async fn play(server: &Server<'_>, theme: &Theme) -> Result<Answers, Stopped> {
    let namespace = format!("{PREFIX}-{}", theme.name);
    let mut player = Player { client: server.client.clone(), kept: BTreeMap::from([("ns".to_owned(), json!(namespace))]), namespace };
    let left = Leftovers::of(theme);
    player.begin(&left).await?;
    let answers = player.all(server, theme).await;
    // Also after a call that could not be made: nothing of ours stays.
    player.sweep(&left).await?;
    answers
}

struct Player {
    client: kube::Client,
    namespace: String,
    kept: BTreeMap<String, Value>,
}

/// A raw answer.
struct Answer {
    code: u16,
    content_type: String,
    warnings: Vec<String>,
    body: Value,
}

impl Player {
    async fn all(&mut self, server: &Server<'_>, theme: &Theme) -> Result<Answers, Stopped> {
        let (mut answers, mut compacted) = (Answers::new(), true);
        for call in &theme.calls {
            if call.compact {
                compacted = (server.compact)().map_err(|why| Stopped::NotCompacted(call.name.clone(), why))?;
                continue;
            }
            // Without a compaction nothing after it means what it says.
            let answer = if compacted { self.ask(call).await? } else { None };
            answers.push((call.name.clone(), answer));
        }
        Ok(answers)
    }

    async fn begin(&self, left: &Leftovers) -> Result<(), Stopped> {
        for path in self.sweep(left).await? {
            let mut waited = Duration::ZERO;
            while self.send(&plain("GET", &path, None)).await?.code != 404 && waited < PATIENCE {
                tokio::time::sleep(PAUSE).await;
                waited += PAUSE;
            }
        }
        let name = &self.namespace;
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let made = self.send(&plain("POST", "/api/v1/namespaces", Some(body))).await?;
        if made.code != 201 {
            return Err(Stopped::NoNamespace(name.clone(), made.body));
        }
        // Pods need it; where kube-controller-manager runs it may have come already.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        self.send(&plain("POST", &format!("/api/v1/namespaces/{name}/serviceaccounts"), Some(account))).await?;
        Ok(())
    }

    /// Deletes what the theme may have left, and its namespace; says what was there.
    async fn sweep(&self, left: &Leftovers) -> Result<Vec<String>, Stopped> {
        for path in &left.held {
            let free = json!({"metadata": {"finalizers": null}});
            self.send(&plain("PATCH", &self.filled("sweep", path)?, Some(free))).await?;
        }
        let mut there = Vec::new();
        for path in left.made.iter().chain([&format!("/api/v1/namespaces/{}", self.namespace)]) {
            if self.send(&plain("DELETE", path, None)).await?.code != 404 {
                there.push(path.clone());
            }
        }
        Ok(there)
    }

    async fn ask(&mut self, call: &Call) -> Result<Option<Value>, Stopped> {
        let filled = self.fill(call)?;
        let mut answer = self.send(&filled).await?;
        let mut waited = Duration::ZERO;
        while call.until.is_some_and(|code| code != answer.code) && waited < PATIENCE {
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
            answer = self.send(&filled).await?;
        }
        for (name, pointer) in &call.keep {
            if let Some(value) = answer.body.pointer(pointer) {
                self.kept.insert(name.clone(), value.clone());
            }
        }
        let normal = Normal { namespace: &self.namespace, kept: &self.kept };
        let mut shown = json!({"code": answer.code, "type": answer.content_type, "body": normal.body(call, answer.body)});
        if !answer.warnings.is_empty() {
            shown["warnings"] = answer.warnings.iter().map(|warning| normal.text(warning)).collect();
        }
        Ok(Some(shown))
    }

    /// The call with `${…}` filled in.
    fn fill(&self, call: &Call) -> Result<Call, Stopped> {
        let mut call = call.clone();
        let name = call.name.clone();
        let paths = [&mut call.get, &mut call.head, &mut call.post, &mut call.put, &mut call.patch, &mut call.delete, &mut call.text];
        for path in paths.into_iter().flatten() {
            *path = self.filled(&name, path)?;
        }
        if let Some(body) = &mut call.body {
            self.fill_value(&name, body)?;
        }
        Ok(call)
    }

    fn fill_value(&self, call: &str, value: &mut Value) -> Result<(), Stopped> {
        match value {
            Value::Object(map) => {
                let spelled: Vec<String> = map.keys().filter(|key| key.contains("${")).cloned().collect();
                for key in spelled {
                    let child = map.remove(&key).unwrap_or_default();
                    map.insert(self.filled(call, &key)?, child);
                }
                map.values_mut().try_for_each(|child| self.fill_value(call, child))
            }
            Value::Array(list) => list.iter_mut().try_for_each(|child| self.fill_value(call, child)),
            Value::String(text) => {
                let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                match whole.and_then(|name| self.kept.get(name)) {
                    Some(kept) => *value = kept.clone(),
                    None => *text = self.filled(call, text)?,
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn filled(&self, call: &str, text: &str) -> Result<String, Stopped> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| Stopped::Unsendable(call.to_owned(), "`${` without `}`".to_owned()))?;
            out.push_str(before);
            let letters = name.strip_prefix('a').and_then(|count| count.parse().ok());
            match (letters, self.kept.get(name)) {
                (Some(count), _) => out.push_str(&"a".repeat(count)),
                (_, Some(Value::String(kept))) => out.push_str(kept),
                (_, Some(kept)) => out.push_str(&kept.to_string()),
                _ => return Err(Stopped::NotKept(call.to_owned(), name.to_owned())),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    async fn send(&self, call: &Call) -> Result<Answer, Stopped> {
        let unsendable = |why: String| Stopped::Unsendable(call.name.clone(), why);
        let unreachable = |why: String| Stopped::Unreachable(call.name.clone(), why);
        let (method, path) = call.request().ok_or_else(|| unsendable("it is no request".to_owned()))?;
        let mut request = http::Request::builder().method(method).uri(path).header("user-agent", "conformance/1");
        request = request.header("accept", accept(call));
        let body = match (&call.text, &call.body) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(body)) => body.to_string().into_bytes(),
            (None, None) => Vec::new(),
        };
        if !body.is_empty() || call.content_type.is_some() {
            request = request.header("content-type", content_type(call));
        }
        let request = request.body(Body::from(body)).map_err(|error| unsendable(error.to_string()))?;
        let sent = tokio::time::timeout(PATIENCE, self.client.send(request)).await;
        let response =
            sent.map_err(|_| unreachable(format!("no answer in {PATIENCE:?}")))?.map_err(|error| unreachable(error.to_string()))?;
        let header = |name: &str| {
            let values = response.headers().get_all(name).iter();
            values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect::<Vec<_>>()
        };
        let (code, content_type, warnings) = (response.status().as_u16(), header("content-type").join(","), header("warning"));
        let body = match call.watch.filter(|_| response.status().is_success()) {
            Some(lines) => stream(response.into_body(), lines).await,
            None => {
                let read = tokio::time::timeout(PATIENCE, response.into_body().collect()).await;
                let read = read.map_err(|_| unreachable(format!("the answer does not end in {PATIENCE:?}")))?;
                let bytes = read.map_err(|error| unreachable(error.to_string()))?.to_bytes();
                let text = || json!(String::from_utf8_lossy(&bytes));
                if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
            }
        };
        Ok(Answer { code, content_type, warnings, body })
    }
}

fn plain(method: &str, path: &str, body: Option<Value>) -> Call {
    let path = Some(path.to_owned());
    let call = Call { name: format!("{method} {}", path.as_deref().unwrap_or_default()), body, ..Call::default() };
    match method {
        "POST" => Call { post: path, ..call },
        "PATCH" => Call { patch: path, content_type: Some("merge".to_owned()), ..call },
        "DELETE" => Call { delete: path, ..call },
        _ => Call { get: path, ..call },
    }
}

fn accept(call: &Call) -> &str {
    match call.accept.as_deref() {
        None => "application/json",
        Some("table") => "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        Some("metadata") => {
            if call.request().is_some_and(|(_, path)| path.contains("watch=") || is_single(path)) {
                "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
            } else {
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
            }
        }
        Some(other) => other,
    }
}

/// Whether a namespaced path names one object.
fn is_single(path: &str) -> bool {
    path.split('?').next().unwrap_or_default().rsplit("/namespaces/").next().is_some_and(|rest| rest.split('/').count() > 2)
}

fn content_type(call: &Call) -> &str {
    match call.content_type.as_deref() {
        None => "application/json",
        Some("json") => "application/json-patch+json",
        Some("merge") => "application/merge-patch+json",
        Some("strategic") => "application/strategic-merge-patch+json",
        Some("apply") => "application/apply-patch+yaml",
        Some(other) => other,
    }
}

/// The first lines of a stream, as a list.
async fn stream(mut body: Body, lines: usize) -> Value {
    let mut text = Vec::new();
    let count = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    while count(&text) < lines {
        let Ok(Some(Ok(frame))) = tokio::time::timeout(STREAM, body.frame()).await else { break };
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().take(lines).map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
}

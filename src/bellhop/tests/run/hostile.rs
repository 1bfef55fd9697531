//! Manifests that mean harm, or were written in a hurry: each file under `tests/hostile/` with what must come of it in its first lines, each in a cluster of its own.
//!
//! ```text
//! # Why somebody would write it.
//! # token: HUGE = 'x' * 262000                             HUGE in the file is so much text; %h and %l count up to 255.255
//! # refused: spec.address                                  the API server refuses it and names this
//! # cel: spec.address                                      it may refuse it: a rule says so, and not every API server evaluates rules
//! # expect: Eip/odd Ready False InvalidAddress             a condition, with status and reason; or `absent`
//! # expect: Eip/odd usage 0                                a number in its status
//! # expect: Service/odd ingress 192.168.0.94               the first address on it
//! # expect: Service/odd untouched                          nothing of Bellhop's is on it
//! ```
//!
//! A document whose object is there already is a patch by another hand; a `status` is written as one. Beside all that stand a good pool and a good Service, which must
//! not notice: same address, same node, and the LAN is answered.

use std::fs;
use std::path::{Path, PathBuf};

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{World, condition};
use crate::{EIP, ask, beside};

/// Fewer files than this, and somebody has lost some.
const FILES_MIN: usize = 120;

#[tokio::test(start_paused = true)]
async fn every_hostile_manifest_is_told_what_is_wrong_with_it_and_disturbs_nobody() {
    let files = files();
    assert!(files.len() >= FILES_MIN, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("a file of that folder");
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Err(why) = play(&text).await {
            wrong.push(format!("{name}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

/// One file in a cluster of its own.
async fn play(text: &str) -> Result<(), String> {
    let manifest = Manifest::read(text);
    let world = World::tutorial().await;
    beside(&world, async {
        world.create_eip("pool", "192.168.0.91-192.168.0.100").await;
        world.create_service("web").await;
        let announced = |service: &Value| condition(service, "bellhop.dev/Announced").starts_with("True");
        let good = world.until("v1", "Service", "web", announced).await;
        // Whoever comes now is younger: times of objects have seconds.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let refused = apply(&world, &manifest.objects).await;
        if let Some(field) = &manifest.refused {
            let why = refused.ok_or("it was not refused")?;
            return why.contains(field.as_str()).then_some(()).ok_or_else(|| format!("refused, without naming {field}: {why}"));
        }
        match (refused, &manifest.cel) {
            (Some(why), Some(field)) if why.contains(field.as_str()) => {}
            (Some(why), _) => return Err(format!("refused: {why}")),
            (None, _) => settle(&world, &manifest.expected).await?,
        }
        let after = world.until("v1", "Service", "web", announced).await;
        for (what, path) in
            [("address", "/status/loadBalancer/ingress"), ("node", "/metadata/annotations/layer2.porter.kubesphere.io~1v1alpha1")]
        {
            let (before, after) = (good.pointer(path), after.pointer(path));
            (before == after).then_some(()).ok_or_else(|| format!("the good Service's {what} went from {before:?} to {after:?}"))?;
        }
        ask(&world).await.map(drop).ok_or_else(|| "nobody answers for the good Service".to_owned())
    })
    .await
}

/// Waits until all that is expected is so, and stays so for a while.
async fn settle(world: &World, expected: &[Expected]) -> Result<(), String> {
    let mut met = 0;
    let mut unmet = String::new();
    for _ in 0..100 {
        let mut all = Ok(());
        for each in expected {
            all = all.and(each.check(world).await);
        }
        met = if all.is_ok() { met + 1 } else { 0 };
        unmet = all.err().unwrap_or(unmet);
        if met == 4 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    Err(unmet)
}

/// Creates what is not there and patches what is. The first refusal, if any.
async fn apply(world: &World, objects: &[Value]) -> Option<String> {
    for object in objects {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = world.api(&api_version, &kind);
        let there = api.get_opt(name).await.ok().flatten().is_some();
        let parsed: Result<DynamicObject, _> = serde_json::from_value(object.clone());
        let written = match parsed {
            Ok(parsed) if !there => api.create(&PostParams::default(), &parsed).await.map(drop),
            _ => api.patch(name, &PatchParams::default(), &Patch::Merge(object)).await.map(drop),
        };
        let status = json!({"status": object["status"]});
        let written = match written {
            Ok(()) if !object["status"].is_null() => api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop),
            written => written,
        };
        if let Err(error) = written {
            return Some(error.to_string());
        }
    }
    None
}

/// A file, taken apart.
#[derive(Default)]
struct Manifest {
    refused: Option<String>,
    cel: Option<String>,
    expected: Vec<Expected>,
    objects: Vec<Value>,
}

impl Manifest {
    fn read(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut body = text.to_owned();
        let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        for (token, value) in header.iter().filter_map(|line| line.strip_prefix("token: ")).map(token) {
            body = body.replace(&token, &value);
        }
        for line in body.lines().map_while(|line| line.strip_prefix("# ")) {
            match line.split_once(": ") {
                Some(("refused", field)) => manifest.refused = Some(field.to_owned()),
                Some(("cel", field)) => manifest.cel = Some(field.to_owned()),
                Some(("expect", what)) => manifest.expected.push(Expected::read(what)),
                _ => {}
            }
        }
        assert!(manifest.refused.is_some() == manifest.expected.is_empty(), "a file says what must come of it: {header:?}");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&body).expect("YAML");
        manifest.objects = documents.into_iter().filter(|document| !document.is_null()).collect();
        manifest
    }
}

/// `NAME = 'text' * count`.
fn token(line: &str) -> (String, String) {
    let (name, rest) = line.split_once(" = '").expect("NAME = 'text' * count");
    let (text, rest) = rest.split_once('\'').expect("a closing quote");
    let mut numbers = rest.trim_start_matches(" * ").split_whitespace();
    let count: usize = numbers.next().and_then(|count| count.parse().ok()).expect("a count");
    let counted = |number: usize| text.replace("%h", &(number / 256).to_string()).replace("%l", &(number % 256).to_string());
    let end = rest.split_once("+ '").and_then(|(_, end)| end.strip_suffix('\'')).unwrap_or_default();
    (name.to_owned(), (0..count).map(counted).collect::<String>() + end)
}

/// What must come of it.
struct Expected {
    kind: String,
    name: String,
    words: Vec<String>,
}

impl Expected {
    fn read(text: &str) -> Self {
        let mut words = text.split_whitespace().map(str::to_owned);
        let object = words.next().expect("an object");
        let (kind, name) = object.split_once('/').expect("KIND/NAME");
        Self { kind: kind.to_owned(), name: name.to_owned(), words: words.collect() }
    }

    async fn check(&self, world: &World) -> Result<(), String> {
        let api_version = if self.kind == "Eip" { EIP } else { "v1" };
        let object = world.get(api_version, &self.kind, &self.name).await;
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let (wanted, is) = match words[..] {
            ["untouched"] => ("".to_owned(), touched(&object)),
            ["ingress", address] => {
                (address.to_owned(), object["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap_or_default().to_owned())
            }
            [field @ ("usage" | "poolSize"), number] => (number.to_owned(), object["status"][field].to_string()),
            [type_, "absent"] => ("".to_owned(), condition(&object, type_)),
            [type_, status, reason] => (format!("{status} {reason}"), condition(&object, type_)),
            _ => panic!("{words:?} expects nothing that is known"),
        };
        (wanted == is).then_some(()).ok_or_else(|| format!("{}/{} {}: `{is}`", self.kind, self.name, words.join(" ")))
    }
}

/// What of Bellhop's is on a Service.
fn touched(service: &Value) -> String {
    if service.is_null() {
        return "it is not there".to_owned();
    }
    [condition(service, "bellhop.dev/AddressAssigned"), condition(service, "bellhop.dev/Announced")].concat()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let entries = fs::read_dir(folder).expect("the folder of hostile manifests");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry of that folder").path()).collect();
    files.sort();
    files
}

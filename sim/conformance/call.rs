//! The calls as they are written: one YAML file for each theme.
//!
//! A path or a body may say `${name}`: `${ns}` is the theme's own namespace, `${a64}` is 64 letters a, all other names are what an earlier
//! call of the theme kept. A text that is nothing but `${name}` becomes the kept value itself, of whatever type.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The calls of one theme, in their order: a later one may stand on what an earlier one made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Theme {
    /// The file's name, without its ending.
    #[serde(skip)]
    pub name: String,
    /// What the theme is about.
    pub about: String,
    /// The calls.
    pub calls: Vec<Call>,
}

/// One request, and what of its answer counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Call {
    /// What is asked, in words.
    pub name: String,
    /// The path and query of a GET; one of the six methods is given, or `compact`.
    pub get: Option<String>,
    /// Of a HEAD.
    pub head: Option<String>,
    /// Of a POST.
    pub post: Option<String>,
    /// Of a PUT.
    pub put: Option<String>,
    /// Of a PATCH.
    pub patch: Option<String>,
    /// Of a DELETE.
    pub delete: Option<String>,
    /// Not a request: forget the history, as etcd's compaction does. Nothing is compared.
    pub compact: bool,
    /// The content type; `json`, `merge`, `strategic` and `apply` stand for those of the patches.
    #[serde(rename = "as")]
    pub content_type: Option<String>,
    /// The Accept header; `table` and `metadata` stand for the two that kubectl and informers use.
    pub accept: Option<String>,
    /// The body, as JSON.
    pub body: Option<Value>,
    /// The body as it is, in place of `body`.
    pub text: Option<String>,
    /// What to keep of the answer, by name, as JSON pointers.
    pub keep: BTreeMap<String, String>,
    /// The only parts of the answer's body that count, as JSON pointers; all of it where there are none.
    pub look: Vec<String>,
    /// Parts that do not count, as JSON pointers; `*` is any step.
    pub skip: Vec<String>,
    /// `metadata.managedFields` counts.
    pub owners: bool,
    /// Asked again until the answer has this code, for what a controller of the real cluster does in its own time.
    pub until: Option<u16>,
    /// The answer is a stream: so many of its lines are read.
    pub watch: Option<usize>,
}

/// Why a file of calls is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not what a theme looks like.
    #[error("calls/{0}.yaml: {1}")]
    Unreadable(String, String),
    /// A call without a method, or with two.
    #[error("calls/{0}.yaml: `{1}` must have exactly one of get, head, post, put, patch, delete and compact")]
    Method(String, String),
    /// Two calls of one name.
    #[error("calls/{0}.yaml: `{1}` is there twice")]
    Twice(String, String),
}

impl Call {
    /// Method and path, as written; `None` for what is no request.
    pub fn request(&self) -> Option<(&'static str, &str)> {
        let given = [
            ("GET", &self.get),
            ("HEAD", &self.head),
            ("POST", &self.post),
            ("PUT", &self.put),
            ("PATCH", &self.patch),
            ("DELETE", &self.delete),
        ];
        given.into_iter().find_map(|(method, path)| Some((method, path.as_deref()?)))
    }

    fn methods(&self) -> usize {
        let paths = [&self.get, &self.head, &self.post, &self.put, &self.patch, &self.delete];
        paths.iter().filter(|path| path.is_some()).count() + usize::from(self.compact)
    }
}

/// Reads one theme.
pub fn read(name: &str, text: &str) -> Result<Theme, Refusal> {
    let theme: Theme = serde_saphyr::from_str(text).map_err(|error| Refusal::Unreadable(name.to_owned(), error.to_string()))?;
    for (index, call) in theme.calls.iter().enumerate() {
        if call.methods() != 1 {
            return Err(Refusal::Method(name.to_owned(), call.name.clone()));
        }
        if theme.calls[..index].iter().any(|earlier| earlier.name == call.name) {
            return Err(Refusal::Twice(name.to_owned(), call.name.clone()));
        }
    }
    Ok(Theme { name: name.to_owned(), ..theme })
}

macro_rules! themes {
    ($($name:literal),* $(,)?) => {
        /// All themes, in the order in which they are played.
        pub fn themes() -> Result<Vec<Theme>, Refusal> {
            Ok(vec![$(read($name, include_str!(concat!("calls/", $name, ".yaml")))?),*])
        }
    };
}

themes!(
    "verbs",
    "names",
    "errors",
    "patches",
    "apply",
    "lists",
    "watches",
    "deletion",
    "services",
    "kinds",
    "workloads",
    "status",
    "crds",
    "custom",
    "cel",
    "tables",
    "access",
    "discovery",
);

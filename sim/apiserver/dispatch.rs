//! One request to one answer: which verb on which kind, and in which form the answer is written.
//!
//! Verbs are elsewhere; this module knows the HTTP codes of success, tables, partial metadata and the Warning header.

use std::sync::LazyLock;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::record::Subject;
use crate::registry::Kind;
use crate::request::{Request, ResourcePath};
use crate::server::{ApiServer, ResponseBody, full};
use crate::status::{ApiError, FieldError};
use crate::write::{Call, FieldValidation};
use crate::{access, delete, discovery, object, openapi, protobuf, read, registry, subresource, table, watch, write};

/// A written answer: its code, its object and what to warn about.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

/// Answers a request; refusals become `Status` bodies. `subject` gets the name of an object that is created.
pub(crate) fn answer(server: &ApiServer, engine: &mut Engine, request: &Request, subject: &mut Subject) -> Response<ResponseBody> {
    let response = route(server, engine, request, subject).unwrap_or_else(|error| {
        if subject.name.is_empty() {
            object::text(&error.details, &["name"]).clone_into(&mut subject.name);
        }
        let kind = ResourcePath::parse(&request.path).and_then(|path| engine.kind(&path.group, &path.version, &path.plural));
        json_response(error.code, &error.to_status(), kind.map(|kind| deprecated(&kind)).unwrap_or_default())
    });
    // HEAD has no body, whoever carries the answer.
    if request.method == Method::HEAD { response.map(|_| full(Vec::new())) } else { response }
}

/// A JSON response.
pub(crate) fn json_response(code: u16, body: &Value, warnings: &[String]) -> Response<ResponseBody> {
    let mut text = Vec::new();
    object::write_json(&mut text, body);
    text.push(b'\n');
    text_response(code, "application/json", text, warnings)
}

/// What a path of no group and version comes out as, from the multiplexer below all APIs.
fn page_not_found() -> Response<ResponseBody> {
    text_response(404, "text/plain; charset=utf-8", b"404 page not found\n".to_vec(), &[])
}

fn text_response(code: u16, content_type: &str, body: Vec<u8>, warnings: &[String]) -> Response<ResponseBody> {
    let mut builder = Response::builder().status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    builder = builder.header("content-type", content_type).header("cache-control", "no-cache, private");
    for warning in warnings {
        // RFC 9111's retired Warning header, as Kubernetes uses it: code, agent, quoted text.
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        builder = builder.header("warning", format!("299 - \"{quoted}\""));
    }
    builder.body(full(body)).unwrap_or_else(|_| Response::new(full(Vec::new())))
}

fn route(server: &ApiServer, engine: &mut Engine, request: &Request, subject: &mut Subject) -> Result<Response<ResponseBody>, ApiError> {
    if let Some(document) = discovery::document(engine, request).or_else(|| openapi::document(engine, &request.path)) {
        return match request.method {
            Method::GET | Method::HEAD => Ok(text_response(document.code, document.content_type, document.body, &[])),
            _ => Err(ApiError::method_not_allowed()),
        };
    }
    let Some(path) = ResourcePath::parse(&request.path) else { return Ok(page_not_found()) };
    if let Some(answer) = access::answer(engine, &path, request) {
        return answer.map(|(code, body)| json_response(code, &body, &[]));
    }
    let Some(kind) = engine.kind(&path.group, &path.version, &path.plural) else {
        let of_the_server = registry::builtins().iter().any(|kind| kind.group == path.group);
        return if of_the_server { Err(ApiError::no_such_path()) } else { Ok(page_not_found()) };
    };
    if !request.accepts_json() {
        return Err(ApiError::not_acceptable());
    }
    if !kind.namespaced && !path.namespace.is_empty() {
        return Err(ApiError::no_such_path());
    }
    if kind.namespaced && path.namespace.is_empty() && !path.name.is_empty() {
        return Err(ApiError::no_such_path());
    }
    if request.method == Method::HEAD || (kind.namespaced && path.namespace.is_empty() && request.method == Method::POST) {
        return Err(ApiError::method_not_allowed());
    }
    let watching = path.watching || (path.name.is_empty() && request.query.flag("watch").unwrap_or(false));
    match (request.method.as_str(), path.name.is_empty()) {
        ("GET", _) if watching => watch::start(server, engine, &kind, &path, request),
        ("GET", true) => list(engine, &kind, &path, request),
        ("GET", false) => {
            let object = match path.subresource.as_str() {
                "status" if !kind.status => return Err(ApiError::no_such_path()),
                "" | "status" => read::get(engine, &kind, &path, read::wanted_revision(engine, request)?)?,
                _ => subresource::get(engine, &kind, &path)?,
            };
            judge_include(request)?;
            Ok(view(engine, &kind, &path, request, 200, &object, deprecated(&kind)))
        }
        (method, _) => {
            let answer = mutate(engine, &kind, &path, request, method)?;
            if subject.verb == "create" {
                object::name(&answer.body).clone_into(&mut subject.name);
            }
            Ok(view(engine, &kind, &path, request, answer.code, &answer.body, &answer.warnings))
        }
    }
}

fn mutate(engine: &mut Engine, kind: &Kind, path: &ResourcePath, request: &Request, method: &str) -> Result<Answer, ApiError> {
    let mut call = Call::new(kind, path, request)?;
    call.warnings.extend_from_slice(deprecated(kind));
    let (code, body) = match (method, path.name.is_empty(), path.subresource.as_str()) {
        ("POST", true, "") => (201, write::create(engine, &mut call, body_object(request)?)?),
        ("POST", false, sub) if !sub.is_empty() => subresource::post(engine, &mut call, body_object(request)?)?,
        ("PUT", false, "scale") => (200, subresource::put_scale(engine, &mut call, &body_object(request)?)?),
        ("PUT", false, _) => write::replace(engine, &mut call, body_object(request)?)?,
        ("PATCH", false, "scale") => (200, subresource::patch_scale(engine, &mut call, request)?),
        ("PATCH", false, _) => write::patch(engine, &mut call, request)?,
        ("DELETE", false, "") => (200, delete::delete(engine, &call, &delete::Options::read(request)?)?),
        ("DELETE", true, "") => (200, delete::delete_collection(engine, &call, request)?),
        _ => return Err(ApiError::method_not_allowed()),
    };
    delete::collect_garbage(engine);
    Ok(Answer { code, body, warnings: call.warnings })
}

fn list(engine: &Engine, kind: &Kind, path: &ResourcePath, request: &Request) -> Result<Response<ResponseBody>, ApiError> {
    let listed = read::list(engine, kind, path, request)?;
    if request.wants_table() {
        judge_include(request)?;
        let body = table::of_list(kind, &listed, engine.now, request.query.get("includeObject"));
        return Ok(json_response(200, &body, deprecated(kind)));
    }
    if request.wants_partial_metadata() {
        let items: Vec<Value> = listed.items.iter().map(|object| table::partial_metadata(object)).collect();
        let body =
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": listed.metadata(), "items": items});
        return Ok(json_response(200, &body, &[]));
    }
    Ok(text_response(200, "application/json", listed.to_json(kind), deprecated(kind)))
}

/// What of its objects a table shows (`TableOptions`).
fn judge_include(request: &Request) -> Result<(), ApiError> {
    let include = request.query.get("includeObject");
    if !request.wants_table() || matches!(include, "" | "None" | "Metadata" | "Object") {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("unrecognized includeObject value: {include:?}")))
}

/// What a request for a kind that goes away is warned of.
fn deprecated(kind: &Kind) -> &'static [String] {
    static ENDPOINTS: LazyLock<[String; 1]> =
        LazyLock::new(|| ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]);
    if kind.kind == "Endpoints" && kind.custom.is_none() { &*ENDPOINTS } else { &[] }
}

/// Writes one object in the form the client asked for.
fn view(
    engine: &Engine,
    kind: &Kind,
    path: &ResourcePath,
    request: &Request,
    code: u16,
    body: &Value,
    warnings: &[String],
) -> Response<ResponseBody> {
    let of_the_kind = object::text(body, &["kind"]) == kind.kind && path.subresource != "scale";
    if of_the_kind && request.wants_table() {
        let table = table::of_object(kind, body, engine.now, request.query.get("includeObject"));
        return json_response(code, &table, warnings);
    }
    if of_the_kind && request.wants_partial_metadata() {
        return json_response(code, &table::partial_metadata(body), warnings);
    }
    json_response(code, body, warnings)
}

/// The body as an object: JSON, or YAML or protobuf where the content type says so.
pub(crate) fn body_object(request: &Request) -> Result<Value, ApiError> {
    let content_type = request.content_type.split(';').next().unwrap_or_default().trim();
    let body = match content_type {
        "" | "application/json" => serde_json::from_slice(&request.body).map_err(|error| error.to_string()),
        "application/yaml" => yaml(&request.body),
        protobuf::MEDIA_TYPE => Ok(protobuf::read(&request.body)?),
        other => return Err(ApiError::unsupported_media_type(other)),
    };
    let body: Value = body
        .map_err(|error| ApiError::bad_request(format!("the object provided is unrecognized (must be of type {}): {error}", "Object")))?;
    if body.is_object() { Ok(body) } else { Err(ApiError::bad_request("the object provided is not a JSON object")) }
}

/// YAML text as JSON.
pub(crate) fn yaml(text: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

impl<'a> Call<'a> {
    /// Reads what a writing request says beside its body.
    fn new(kind: &'a Kind, path: &'a ResourcePath, request: &Request) -> Result<Self, ApiError> {
        let options = match request.method.as_str() {
            "POST" => "CreateOptions",
            "PUT" => "UpdateOptions",
            "PATCH" => "PatchOptions",
            _ => "DeleteOptions",
        };
        // apimachinery `validation.ValidateFieldManager`: FieldManagerMaxLength.
        if request.query.get("fieldManager").len() > 128 {
            let detail = "Too long: may not be more than 128 bytes".to_owned();
            let error = FieldError { path: "fieldManager".to_owned(), reason: "FieldValueTooLong", detail };
            return Err(ApiError::invalid_options(options, &error));
        }
        let dry_run = match request.query.get("dryRun") {
            "" => false,
            "All" => true,
            other => return Err(ApiError::invalid_options(options, &FieldError::unsupported("dryRun", &json!([other]), &["All"]))),
        };
        let validation = match request.query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            other => {
                let error = FieldError::unsupported("fieldValidation", &json!(other), &["", "Ignore", "Strict", "Warn"]);
                return Err(ApiError::invalid_options(options, &error));
            }
        };
        let verb = match request.method.as_str() {
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            _ => "delete",
        };
        Ok(Self {
            kind,
            path,
            client: request.client.clone(),
            verb,
            manager: request.field_manager(),
            dry_run,
            validation,
            warnings: Vec::new(),
            owners: None,
        })
    }
}

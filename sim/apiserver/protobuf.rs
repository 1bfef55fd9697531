//! Reads the protobuf bodies that kubectl's typed clients send: `create namespace|configmap|secret|service|deployment`, and evictions.
//!
//! Kubernetes wraps them in an envelope (`k8s\0`, then `runtime.Unknown`). The tables below are the field numbers of k8s.io/api's
//! `generated.proto`, as far as those commands use them. A field that is not in them is refused with 415 and its number, never
//! dropped; answers are always JSON, which these clients read as well.

use serde_json::{Map, Value, json};

use crate::status::ApiError;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Text,
    Bytes,
    Number,
    Flag,
    Message(&'static [Field]),
    /// `map<string, string>`.
    Texts,
    /// `map<string, bytes>`.
    BytesMap,
    /// `resource.Quantity` by name.
    Quantities,
    IntOrString,
    /// Repeated texts.
    TextList,
    /// Repeated messages.
    List(&'static [Field]),
    /// What the server writes itself, and what these commands leave empty.
    Ignored,
}

/// Field number, JSON name, shape.
type Field = (u64, &'static str, Shape);

/// The content type of these bodies.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// How every body begins (`runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

use Shape::{Bytes, BytesMap, Flag, Ignored, IntOrString, List, Message, Number, Quantities, Text, TextList, Texts};

const METADATA: &[Field] = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Ignored),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Ignored),
    (8, "creationTimestamp", Ignored),
    (11, "labels", Texts),
    (12, "annotations", Texts),
    (14, "finalizers", TextList),
    (17, "managedFields", Ignored),
];
const TYPE_META: &[Field] = &[(1, "apiVersion", Text), (2, "kind", Text)];
const UNKNOWN: &[Field] =
    &[(1, "typeMeta", Message(TYPE_META)), (2, "raw", Bytes), (3, "contentEncoding", Ignored), (4, "contentType", Ignored)];
const NAMESPACE: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "spec", Ignored), (3, "status", Ignored)];
const CONFIG_MAP: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "data", Texts), (3, "binaryData", BytesMap), (4, "immutable", Flag)];
const SECRET: &[Field] =
    &[(1, "metadata", Message(METADATA)), (2, "data", BytesMap), (3, "type", Text), (4, "stringData", Texts), (5, "immutable", Flag)];
const SERVICE_ACCOUNT: &[Field] = &[(1, "metadata", Message(METADATA)), (4, "automountServiceAccountToken", Flag)];
const SERVICE_PORT: &[Field] = &[
    (1, "name", Text),
    (2, "protocol", Text),
    (3, "port", Number),
    (4, "targetPort", IntOrString),
    (5, "nodePort", Number),
    (6, "appProtocol", Text),
];
const SERVICE_SPEC: &[Field] = &[
    (1, "ports", List(SERVICE_PORT)),
    (2, "selector", Texts),
    (3, "clusterIP", Text),
    (4, "type", Text),
    (5, "externalIPs", TextList),
    (7, "sessionAffinity", Text),
    (8, "loadBalancerIP", Text),
    (9, "loadBalancerSourceRanges", TextList),
    (10, "externalName", Text),
    (11, "externalTrafficPolicy", Text),
    (12, "healthCheckNodePort", Number),
    (13, "publishNotReadyAddresses", Flag),
    (17, "ipFamilyPolicy", Text),
    (18, "clusterIPs", TextList),
    (19, "ipFamilies", TextList),
    (20, "allocateLoadBalancerNodePorts", Flag),
    (21, "loadBalancerClass", Text),
    (22, "internalTrafficPolicy", Text),
];
const SERVICE: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "spec", Message(SERVICE_SPEC)), (3, "status", Ignored)];
const CONTAINER_PORT: &[Field] =
    &[(1, "name", Text), (2, "hostPort", Number), (3, "containerPort", Number), (4, "protocol", Text), (5, "hostIP", Text)];
const ENV: &[Field] = &[(1, "name", Text), (2, "value", Text)];
const RESOURCES: &[Field] = &[(1, "limits", Quantities), (2, "requests", Quantities)];
const CONTAINER: &[Field] = &[
    (1, "name", Text),
    (2, "image", Text),
    (3, "command", TextList),
    (4, "args", TextList),
    (5, "workingDir", Text),
    (6, "ports", List(CONTAINER_PORT)),
    (7, "env", List(ENV)),
    (8, "resources", Message(RESOURCES)),
    (13, "terminationMessagePath", Text),
    (14, "imagePullPolicy", Text),
    (16, "stdin", Flag),
    (17, "stdinOnce", Flag),
    (18, "tty", Flag),
    (20, "terminationMessagePolicy", Text),
];
const POD_SPEC: &[Field] = &[
    (2, "containers", List(CONTAINER)),
    (3, "restartPolicy", Text),
    (4, "terminationGracePeriodSeconds", Number),
    (6, "dnsPolicy", Text),
    (7, "nodeSelector", Texts),
    (8, "serviceAccountName", Text),
    (9, "serviceAccount", Text),
    (10, "nodeName", Text),
    (11, "hostNetwork", Flag),
    (12, "hostPID", Flag),
    (13, "hostIPC", Flag),
    (14, "securityContext", Ignored),
    (16, "hostname", Text),
    (17, "subdomain", Text),
    (19, "schedulerName", Text),
    (24, "priorityClassName", Text),
];
const POD: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "spec", Message(POD_SPEC)), (3, "status", Ignored)];
const SELECTOR: &[Field] = &[(1, "matchLabels", Texts)];
const TEMPLATE: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "spec", Message(POD_SPEC))];
const STRATEGY: &[Field] = &[(1, "type", Text)];
const DEPLOYMENT_SPEC: &[Field] = &[
    (1, "replicas", Number),
    (2, "selector", Message(SELECTOR)),
    (3, "template", Message(TEMPLATE)),
    (4, "strategy", Message(STRATEGY)),
    (5, "minReadySeconds", Number),
    (6, "revisionHistoryLimit", Number),
    (7, "paused", Flag),
    (9, "progressDeadlineSeconds", Number),
];
const DEPLOYMENT: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "spec", Message(DEPLOYMENT_SPEC)), (3, "status", Ignored)];
const PRECONDITIONS: &[Field] = &[(1, "uid", Text), (2, "resourceVersion", Text)];
const DELETE_OPTIONS: &[Field] = &[
    (1, "gracePeriodSeconds", Number),
    (2, "preconditions", Message(PRECONDITIONS)),
    (3, "orphanDependents", Flag),
    (4, "propagationPolicy", Text),
    (5, "dryRun", TextList),
    (6, "ignoreStoreReadErrorWithClusterBreakingPotential", Flag),
];
const EVICTION: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "deleteOptions", Message(DELETE_OPTIONS))];

fn message_of(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "Service" => SERVICE,
        "Pod" => POD,
        "Deployment" => DEPLOYMENT,
        "Eviction" => EVICTION,
        "DeleteOptions" => DELETE_OPTIONS,
        _ => return None,
    })
}

/// Reads a body; 415 when it holds what the tables do not have.
pub(crate) fn read(body: &[u8]) -> Result<Value, ApiError> {
    let envelope =
        body.strip_prefix(MAGIC).ok_or_else(|| ApiError::bad_request("provided data does not appear to be a protobuf message"))?;
    let broken = |what: String| ApiError::unsupported_media_type(&format!("{MEDIA_TYPE}: {what}"));
    let (mut type_meta, mut raw) = (json!({}), Vec::new());
    for (number, payload) in fields(envelope).map_err(broken)? {
        match (number, payload) {
            (1, Payload::Bytes(bytes)) => type_meta = message(TYPE_META, bytes, "typeMeta").map_err(broken)?,
            (2, Payload::Bytes(bytes)) => raw = bytes.to_vec(),
            _ if UNKNOWN.iter().any(|(known, ..)| *known == number) => {}
            _ => return Err(broken(format!("the envelope has a field {number}"))),
        }
    }
    let kind = type_meta["kind"].as_str().unwrap_or_default().to_owned();
    let table = message_of(&kind).ok_or_else(|| broken(format!("{kind} is read as JSON only")))?;
    let mut object = message(table, &raw, &kind).map_err(broken)?;
    object["apiVersion"] = type_meta["apiVersion"].clone();
    object["kind"] = json!(kind);
    Ok(object)
}

fn message(table: &[Field], bytes: &[u8], path: &str) -> Result<Value, String> {
    let mut map = Map::new();
    for (number, payload) in fields(bytes)? {
        let found = table.iter().find(|(known, ..)| *known == number);
        let (_, name, shape) = found.ok_or_else(|| format!("{path} has a field {number}, which is read as JSON only"))?;
        let path = format!("{path}.{name}");
        insert(&mut map, name, *shape, &payload, &path)?;
    }
    Ok(Value::Object(map))
}

/// Empty texts and messages are Go's zero values: written by protobuf, left out by JSON.
fn insert(map: &mut Map<String, Value>, name: &str, shape: Shape, payload: &Payload<'_>, path: &str) -> Result<(), String> {
    let value = match (shape, payload) {
        (Ignored, _) => return Ok(()),
        (Number, Payload::Varint(number)) => json!(number.cast_signed()),
        (Flag, Payload::Varint(number)) => json!(*number != 0),
        (Text, Payload::Bytes([])) => return Ok(()),
        (Text, Payload::Bytes(bytes)) => json!(text(bytes, path)?),
        (Bytes, Payload::Bytes(bytes)) => json!(k8s_openapi::ByteString(bytes.to_vec())),
        (Message(table), Payload::Bytes(bytes)) => message(table, bytes, path)?,
        (IntOrString, Payload::Bytes(bytes)) => int_or_string(bytes, path)?,
        (TextList, Payload::Bytes(bytes)) => return push(map, name, json!(text(bytes, path)?)),
        (List(table), Payload::Bytes(bytes)) => return push(map, name, message(table, bytes, path)?),
        (Texts | BytesMap | Quantities, Payload::Bytes(bytes)) => {
            let (key, value) = entry(shape, bytes, path)?;
            let entries = map.entry(name).or_insert_with(|| json!({}));
            entries[key] = value;
            return Ok(());
        }
        _ => return Err(format!("{path} is of another wire type")),
    };
    // A zero number or false flag is the same as none in every field of the tables but one: replicas.
    let zero = (value == json!(0) && name != "replicas" && name != "gracePeriodSeconds") || value == json!(false);
    if !zero {
        map.insert(name.to_owned(), value);
    }
    Ok(())
}

fn push(map: &mut Map<String, Value>, name: &str, item: Value) -> Result<(), String> {
    let list = map.entry(name).or_insert_with(|| json!([]));
    list.as_array_mut().ok_or_else(|| format!("{name} is not a list"))?.push(item);
    Ok(())
}

fn entry(shape: Shape, bytes: &[u8], path: &str) -> Result<(String, Value), String> {
    let (mut key, mut value) = (String::new(), json!(""));
    for (number, payload) in fields(bytes)? {
        match (number, payload, shape) {
            (1, Payload::Bytes(bytes), _) => key = text(bytes, path)?,
            (2, Payload::Bytes(bytes), Texts) => value = json!(text(bytes, path)?),
            (2, Payload::Bytes(bytes), BytesMap) => value = json!(k8s_openapi::ByteString(bytes.to_vec())),
            (2, Payload::Bytes(bytes), _) => value = message(&[(1, "string", Text)], bytes, path)?["string"].clone(),
            _ => return Err(format!("{path} is not a map")),
        }
    }
    Ok((key, value))
}

fn int_or_string(bytes: &[u8], path: &str) -> Result<Value, String> {
    let parts = message(&[(1, "type", Number), (2, "intVal", Number), (3, "strVal", Text)], bytes, path)?;
    Ok(if parts["type"] == json!(1) {
        json!(parts["strVal"].as_str().unwrap_or_default())
    } else {
        json!(parts["intVal"].as_i64().unwrap_or(0))
    })
}

fn text(bytes: &[u8], path: &str) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("{path} is not UTF-8"))
}

/// A field's payload, as far as Kubernetes uses wire types.
enum Payload<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Payload<'_>)>, String> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let payload = match tag & 7 {
            0 => Payload::Varint(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX);
                let (head, rest) = bytes.split_at_checked(length).ok_or("a field is longer than its message")?;
                bytes = rest;
                Payload::Bytes(head)
            }
            other => return Err(format!("wire type {other} is not used by Kubernetes")),
        };
        fields.push((tag >> 3, payload));
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("a number is cut off")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is longer than ten bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short fields");
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &type_meta), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let metadata = [field(1, b"a"), field(2, b"")].concat();
        let data = [field(1, b"key"), field(2, b"value")].concat();
        let read = read(&body("ConfigMap", &[field(1, &metadata), field(2, &data)].concat())).expect("valid");
        assert_eq!(read, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"key": "value"}}));
    }

    #[test]
    fn what_the_tables_do_not_have_is_refused_and_nothing_panics() {
        assert_eq!(read(&body("ConfigMap", &field(9, b"x"))).expect_err("no such field").code, 415);
        assert_eq!(read(&body("Gadget", b"")).expect_err("no such kind").code, 415);
        let whole = body("ConfigMap", &field(1, &field(1, b"a")));
        for end in 0..whole.len() {
            drop(read(&whole[..end]));
        }
    }
}

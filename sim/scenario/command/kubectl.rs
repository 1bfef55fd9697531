//! kubectl's arguments, as far as scenarios use them.
//!
//! Options are read first, wherever they stand, then each verb takes its own and refuses the rest. What an API server would refuse (an
//! unknown resource, a key that has a value already) is not refused here: that is for the world to show.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Kubectl, ObjectRef, PatchType, Scope};

/// The verbs, for messages.
const VERBS: &str = "expected apply, get, annotate, label, delete, scale, rollout restart, set image, patch, drain, cordon or uncordon";

/// Options that take a value: short form, long form.
const VALUED: [(&str, &str); 9] = [
    ("-n", "--namespace"),
    ("-f", "--filename"),
    ("-l", "--selector"),
    ("-o", "--output"),
    ("-p", "--patch"),
    ("--replicas", "--replicas"),
    ("--subresource", "--subresource"),
    ("--type", "--type"),
    ("--wait", "--wait"),
];

/// Options without one.
const SWITCHES: [(&str, &str); 5] = [
    ("-A", "--all-namespaces"),
    ("--delete-emptydir-data", "--delete-emptydir-data"),
    ("--force", "--force"),
    ("--ignore-daemonsets", "--ignore-daemonsets"),
    ("--overwrite", "--overwrite"),
];

/// Reads what stands after `kubectl`.
pub(super) fn parse(arguments: &[&str]) -> Result<Kubectl, String> {
    let mut line = Line::read(arguments)?;
    let verb = line.next().ok_or_else(|| format!("kubectl: no verb: {VERBS}"))?;
    let command = match verb.as_str() {
        "apply" => Kubectl::Apply { file: line.file()? },
        "get" => get(&mut line)?,
        "annotate" => {
            let (object, set, overwrite) = keys(&mut line)?;
            Kubectl::Annotate { object, set, overwrite }
        }
        "label" => {
            let (object, set, overwrite) = keys(&mut line)?;
            Kubectl::Label { object, set, overwrite }
        }
        "delete" if line.options.contains_key("--filename") => Kubectl::DeleteFile { file: line.file()? },
        "delete" if line.options.contains_key("--selector") => delete_selected(&mut line)?,
        "delete" => Kubectl::Delete { object: line.object()?, wait: line.wait()? },
        "scale" => scale(&mut line)?,
        "rollout" => match line.next().as_deref() {
            Some("restart") => Kubectl::RolloutRestart { object: line.object()? },
            _ => return Err("kubectl rollout: expected restart".to_owned()),
        },
        "set" => match line.next().as_deref() {
            Some("image") => set_image(&mut line)?,
            _ => return Err("kubectl set: expected image".to_owned()),
        },
        "drain" => Kubectl::Drain {
            node: line.name("a node")?,
            ignore_daemonsets: line.take("--ignore-daemonsets").is_some(),
            delete_emptydir_data: line.take("--delete-emptydir-data").is_some(),
            force: line.take("--force").is_some(),
        },
        "patch" => patch(&mut line)?,
        "cordon" => Kubectl::Cordon { node: line.name("a node")? },
        "uncordon" => Kubectl::Uncordon { node: line.name("a node")? },
        other => return Err(format!("kubectl {other} is not a verb that scenarios know: {VERBS}")),
    };
    line.end(&verb)?;
    Ok(command)
}

/// `get RESOURCE [NAME] [-o wide] [-n NAMESPACE] [-A]`.
fn get(line: &mut Line) -> Result<Kubectl, String> {
    let (resource, name) = line.resource_and_name()?;
    let wide = match line.take("--output").as_deref() {
        None => false,
        Some("wide") => true,
        Some(other) => return Err(format!("kubectl get -o {other}: expected -o wide, or no -o")),
    };
    let namespace = line.take("--namespace");
    let scope = if line.take("--all-namespaces").is_some() { Scope::All } else { Scope::Namespace(namespace) };
    Ok(Kubectl::Get { resource, name, wide, scope })
}

/// The object and the keys of `annotate` and `label`.
type Keys = (ObjectRef, Vec<(String, Option<String>)>, bool);

/// `RESOURCE NAME KEY=VALUE… KEY-… [--overwrite]`.
fn keys(line: &mut Line) -> Result<Keys, String> {
    let object = line.object()?;
    let mut set = Vec::new();
    while let Some(word) = line.next() {
        set.push(match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => (key.to_owned(), Some(value.to_owned())),
            (None, Some(key)) if !key.is_empty() => (key.to_owned(), None),
            _ => return Err(format!("kubectl: `{word}`: expected KEY=VALUE or KEY-")),
        });
    }
    if set.is_empty() {
        return Err("kubectl: expected KEY=VALUE or KEY- after the object".to_owned());
    }
    Ok((object, set, line.take("--overwrite").is_some()))
}

/// `scale RESOURCE NAME --replicas=N`.
fn scale(line: &mut Line) -> Result<Kubectl, String> {
    let object = line.object()?;
    let replicas = line.take("--replicas").and_then(|text| text.parse().ok()).filter(|replicas| *replicas <= 1000);
    Ok(Kubectl::Scale { object, replicas: replicas.ok_or("kubectl scale: expected --replicas=N, at most 1000")? })
}

/// `delete RESOURCE -l KEY=VALUE,…`.
fn delete_selected(line: &mut Line) -> Result<Kubectl, String> {
    let resource = line.name("a resource, as in pods")?;
    let selector = line.take("--selector").unwrap_or_default();
    let is_key = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c));
    let fits = |part: &str| part.split_once('=').is_some_and(|(key, value)| is_key(key) && (value.is_empty() || is_key(value)));
    if !selector.split(',').all(fits) {
        return Err(format!("kubectl delete -l {selector}: expected KEY=VALUE, or several with commas between"));
    }
    Ok(Kubectl::DeleteSelected { resource, selector, namespace: line.take("--namespace") })
}

/// `set image RESOURCE/NAME CONTAINER=IMAGE…`.
fn set_image(line: &mut Line) -> Result<Kubectl, String> {
    let object = line.object()?;
    let mut images = Vec::new();
    while let Some(word) = line.next() {
        let pair = word.split_once('=').filter(|(container, image)| !container.is_empty() && !image.is_empty() && *container != "*");
        let (container, image) = pair.ok_or_else(|| format!("kubectl set image: `{word}`: expected CONTAINER=IMAGE"))?;
        images.push((container.to_owned(), image.to_owned()));
    }
    if images.is_empty() { Err("kubectl set image: expected CONTAINER=IMAGE".to_owned()) } else { Ok(Kubectl::SetImage { object, images }) }
}

/// `patch RESOURCE NAME [--type=…] -p PATCH`.
fn patch(line: &mut Line) -> Result<Kubectl, String> {
    let object = line.object()?;
    let patch_type = match line.take("--type").as_deref() {
        None | Some("strategic") => PatchType::Strategic,
        Some("merge") => PatchType::Merge,
        Some("json") => PatchType::Json,
        Some(other) => return Err(format!("kubectl patch --type={other}: expected strategic, merge or json")),
    };
    let text = line.take("--patch").ok_or("kubectl patch: expected -p and a patch")?;
    let patch = serde_json::from_str(&text).map_err(|error| format!("kubectl patch -p: expected JSON: {error}"))?;
    let status = match line.take("--subresource").as_deref() {
        None => false,
        Some("status") => true,
        Some(other) => return Err(format!("kubectl patch --subresource={other}: expected status")),
    };
    Ok(Kubectl::Patch { object, patch_type, patch, status })
}

/// kubectl's arguments, taken one by one.
struct Line {
    /// Arguments that are no options, in order.
    words: std::vec::IntoIter<String>,
    /// Options by their long form; a switch has an empty value.
    options: BTreeMap<&'static str, String>,
}

impl Line {
    fn read(arguments: &[&str]) -> Result<Self, String> {
        let (mut words, mut options) = (Vec::new(), BTreeMap::new());
        let mut rest = arguments.iter().copied();
        while let Some(argument) = rest.next() {
            if !argument.starts_with('-') || argument == "-" {
                words.push(argument.to_owned());
                continue;
            }
            let (name, value) = argument.split_once('=').map_or((argument, None), |(name, value)| (name, Some(value)));
            let matches = |(short, long): &&(&str, &str)| *short == name || *long == name;
            let (long, value) = if let Some((_, long)) = VALUED.iter().find(matches) {
                (*long, value.or_else(|| rest.next()).ok_or_else(|| format!("kubectl: {name} needs a value"))?)
            } else if let Some((_, long)) = SWITCHES.iter().find(matches) {
                (*long, "")
            } else {
                return Err(format!("kubectl: `{name}` is not an option that scenarios know"));
            };
            if options.insert(long, value.to_owned()).is_some() {
                return Err(format!("kubectl: {name} is given twice"));
            }
        }
        Ok(Self { words: words.into_iter(), options })
    }

    fn next(&mut self) -> Option<String> {
        self.words.next()
    }

    fn take(&mut self, option: &str) -> Option<String> {
        self.options.remove(option)
    }

    fn file(&mut self) -> Result<PathBuf, String> {
        self.take("--filename").map(PathBuf::from).ok_or_else(|| "kubectl: expected -f FILE".to_owned())
    }

    /// `RESOURCE/NAME`, `RESOURCE NAME` or `RESOURCE`.
    fn resource_and_name(&mut self) -> Result<(String, Option<String>), String> {
        let resource = self.name("a resource, as in svc")?;
        match resource.split_once('/') {
            Some((resource, name)) => Ok((resource.to_owned(), Some(name.to_owned()))),
            None => Ok((resource, self.next())),
        }
    }

    /// `--wait=false`; true unless said, as for kubectl.
    fn wait(&mut self) -> Result<bool, String> {
        match self.take("--wait").as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(format!("kubectl delete --wait={other}: expected true or false")),
        }
    }

    fn object(&mut self) -> Result<ObjectRef, String> {
        let (resource, name) = self.resource_and_name()?;
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| format!("kubectl: expected a name after {resource}"))?;
        Ok(ObjectRef { resource, name, namespace: self.take("--namespace") })
    }

    fn name(&mut self, what: &str) -> Result<String, String> {
        self.next().filter(|name| !name.is_empty()).ok_or_else(|| format!("kubectl: expected {what}"))
    }

    fn end(&mut self, verb: &str) -> Result<(), String> {
        if let Some(word) = self.next() {
            return Err(format!("kubectl {verb}: `{word}` is one argument too many"));
        }
        match self.options.keys().next() {
            Some(option) => Err(format!("kubectl {verb}: the option {option} does not belong here")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CommandLine, parse};
    use super::*;

    fn kubectl(line: &str) -> Result<Kubectl, String> {
        match parse(&format!("kubectl {line}"))?.what {
            CommandLine::Kubectl(kubectl) => Ok(kubectl),
            other => panic!("{other:?}"),
        }
    }

    fn object(resource: &str, name: &str, namespace: Option<&str>) -> ObjectRef {
        ObjectRef { resource: resource.to_owned(), name: name.to_owned(), namespace: namespace.map(str::to_owned) }
    }

    #[test]
    fn step_2_of_the_tutorial_sets_an_annotation() {
        let set = vec![("layer2.porter.kubesphere.io/v1alpha1".to_owned(), Some("192.168.0.2".to_owned()))];
        let expected = Kubectl::Annotate { object: object("nodes", "master1", None), set, overwrite: false };
        assert_eq!(kubectl(r#"annotate nodes master1 layer2.porter.kubesphere.io/v1alpha1="192.168.0.2""#), Ok(expected));
    }

    #[test]
    fn options_may_stand_anywhere() {
        let expected = Kubectl::RolloutRestart { object: object("daemonset", "kube-proxy", Some("kube-system")) };
        assert_eq!(kubectl("-n kube-system rollout restart daemonset/kube-proxy"), Ok(expected.clone()));
        assert_eq!(kubectl("rollout restart daemonset kube-proxy --namespace=kube-system"), Ok(expected));
    }

    #[test]
    fn get_knows_wide_and_all_namespaces() {
        let get = |name: Option<&str>, wide, scope| Kubectl::Get { resource: "po".into(), name: name.map(str::to_owned), wide, scope };
        assert_eq!(kubectl("get po"), Ok(get(None, false, Scope::Namespace(None))));
        assert_eq!(kubectl("get po -A -o wide"), Ok(get(None, true, Scope::All)));
        assert_eq!(kubectl("get po kubia -n default"), Ok(get(Some("kubia"), false, Scope::Namespace(Some("default".into())))));
    }

    #[test]
    fn what_operators_do_to_nodes_and_pods_is_understood() {
        let drain = Kubectl::Drain { node: "worker-p001".into(), ignore_daemonsets: true, delete_emptydir_data: true, force: false };
        assert_eq!(kubectl("drain worker-p001 --ignore-daemonsets --delete-emptydir-data"), Ok(drain));
        let images = vec![("kubia".to_owned(), "luksa/kubia:v2".to_owned())];
        let expected = Kubectl::SetImage { object: object("deployment", "porter-layer2", None), images };
        assert_eq!(kubectl("set image deployment/porter-layer2 kubia=luksa/kubia:v2"), Ok(expected));
        let expected = Kubectl::DeleteSelected { resource: "pods".into(), selector: "app=a,b=c".into(), namespace: Some("x".into()) };
        assert_eq!(kubectl("delete pods -l app=a,b=c -n x"), Ok(expected));
        let delete = |wait| Ok(Kubectl::Delete { object: object("eip", "porter-layer2-eip", None), wait });
        assert_eq!(kubectl("delete eip porter-layer2-eip"), delete(true));
        assert_eq!(kubectl("delete eip porter-layer2-eip --wait=false"), delete(false));
    }

    #[test]
    fn a_minus_at_the_end_of_a_key_removes_it() {
        let Ok(Kubectl::Label { set, overwrite, .. }) = kubectl("label node worker-p001 a- b=c --overwrite") else { panic!() };
        assert_eq!(set, [("a".to_owned(), None), ("b".to_owned(), Some("c".to_owned()))]);
        assert!(overwrite);
    }

    #[test]
    fn what_is_not_understood_says_what_was_expected() {
        for (line, part) in [
            ("", "no verb"),
            ("top nodes", "kubectl top"),
            ("drain", "a node"),
            ("drain worker-p001 --grace-period=5", "`--grace-period`"),
            ("get pods --force", "--force does not belong"),
            ("set env deploy kubia a=b", "expected image"),
            ("set image deploy kubia", "CONTAINER=IMAGE"),
            ("set image deploy kubia luksa/kubia", "CONTAINER=IMAGE"),
            ("delete pods -l app", "KEY=VALUE"),
            ("delete pods x -l app=x", "too many"),
            ("apply", "-f FILE"),
            ("get", "a resource"),
            ("get svc -o json", "-o wide"),
            ("get svc --watch", "`--watch`"),
            ("scale deploy kubia --replicas=many", "--replicas=N"),
            ("patch svc kubia -p {", "JSON"),
            ("delete svc", "a name after svc"),
            ("delete svc x --wait=no", "true or false"),
            ("cordon worker-p001 worker-p002", "too many"),
            ("cordon worker-p001 --overwrite", "--overwrite"),
            ("annotate svc kubia", "KEY=VALUE"),
        ] {
            let message = kubectl(line).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}

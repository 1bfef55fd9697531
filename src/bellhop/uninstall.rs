//! `bellhop uninstall`: takes everything away that an installation made, also when its program is long gone.
//!
//! The order is what it decides. The program first, and its permissions with it, so that nothing is put back; then what it left on Services, Eips and in
//! the Lease; then the rest of the installation; the kind `Eip`, and with it the user's pools, only when asked. Every step may be repeated: what is not
//! there is passed over. What is ours on an object is `traces`' to say.

mod traces;

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use bellhop_api::keys;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::install::{self, Choices};
use traces::Removal;

/// How long to wait for the replicas to end. They give the Lease back within 3 s; a pod on a dead node never ends.
const PODS_LIMIT: Duration = Duration::from_secs(60);

/// How long to wait for one object to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(30);

/// How often an object is read anew because somebody else wrote it in between.
const ATTEMPTS: u32 = 5;

/// What to take away.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where it is installed.
    pub namespace: String,
    /// Say what would go, and change nothing.
    pub dry_run: bool,
    /// The CustomResourceDefinition too, and all Eips with it.
    pub crds: bool,
}

/// Takes it away, and says each step in a line. The number of objects that were there and are gone or clean.
pub async fn run(client: &Client, options: &Options, out: &mut dyn Write) -> anyhow::Result<u32> {
    let choices = Choices { namespace: options.namespace.clone(), ..Choices::default() };
    let mut uninstall = Uninstall { client, options, out, done: 0 };
    uninstall.all(install::objects(&choices)?).await?;
    Ok(uninstall.done)
}

struct Uninstall<'a> {
    client: &'a Client,
    options: &'a Options,
    out: &'a mut dyn Write,
    done: u32,
}

impl Uninstall<'_> {
    async fn all(&mut self, mut objects: Vec<Value>) -> anyhow::Result<()> {
        self.refuse_helms().await?;
        // What was made last goes first.
        objects.reverse();
        let (program, rest): (Vec<Value>, Vec<Value>) = objects.into_iter().partition(|object| is_one_of(object, &PROGRAM));
        for object in &program {
            self.delete(object).await?;
        }
        self.wait_for_pods().await?;
        self.clean_services_and_eips().await?;
        self.delete(&lease(&self.options.namespace)).await?;
        for object in &rest {
            match object["kind"].as_str() {
                Some("CustomResourceDefinition") if !self.options.crds => {}
                Some("Namespace") => self.delete_namespace(object).await?,
                _ => self.delete(object).await?,
            }
        }
        Ok(())
    }

    /// Helm remembers what it installed, and would find it missing.
    async fn refuse_helms(&self) -> anyhow::Result<()> {
        let api = self.api("apps/v1", "Deployment", Some(&self.options.namespace));
        let deployment = api.get_opt("bellhop").await.context("failed to read the Deployment")?;
        let release = deployment.and_then(|deployment| deployment.annotations().get("meta.helm.sh/release-name").cloned());
        let namespace = &self.options.namespace;
        match release {
            Some(release) => anyhow::bail!(
                "Helm installed this as the release {release}: run `helm uninstall {release} --namespace {namespace}` first, then this again for what is left on Services and Eips"
            ),
            None => Ok(()),
        }
    }

    async fn delete(&mut self, object: &Value) -> anyhow::Result<()> {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let (kind, name) = (text("/kind").unwrap_or_default(), text("/metadata/name").unwrap_or_default());
        let namespace = text("/metadata/namespace");
        let api = self.api(text("/apiVersion").unwrap_or_default(), kind, namespace);
        let shown = namespace.map_or_else(|| format!("{kind} {name}"), |namespace| format!("{kind} {namespace}/{name}"));
        if api.get_opt(name).await.with_context(|| format!("failed to read the {shown}"))?.is_none() {
            return Ok(());
        }
        self.say(&shown, "deleted", "would be deleted")?;
        if self.options.dry_run {
            return Ok(());
        }
        let deleted = api.delete(name, &DeleteParams::background()).await;
        ignore_absent(deleted.map(drop)).with_context(|| format!("failed to delete the {shown}"))?;
        // A namespace and a kind are emptied first, which takes the API server a few seconds.
        for _ in 0..GONE_LIMIT.as_secs() * 2 {
            if api.get_opt(name).await.with_context(|| format!("failed to read the {shown}"))?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        writeln!(self.out, "  {shown} is still being deleted: something in it has a finalizer of its own").context("failed to print")
    }

    /// Only one that an installation made: it carries our label.
    async fn delete_namespace(&mut self, object: &Value) -> anyhow::Result<()> {
        let api = self.api("v1", "Namespace", None);
        let found = api.get_opt(&self.options.namespace).await.context("failed to read the Namespace")?;
        match found {
            Some(found) if found.labels().get("app.kubernetes.io/name").is_some_and(|name| name == "bellhop") => self.delete(object).await,
            _ => Ok(()),
        }
    }

    async fn wait_for_pods(&mut self) -> anyhow::Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        let api = self.api("v1", "Pod", Some(&self.options.namespace));
        let ours = ListParams::default().labels("app.kubernetes.io/name=bellhop");
        let mut left = Vec::new();
        for _ in 0..PODS_LIMIT.as_secs() * 2 {
            let pods = api.list_metadata(&ours).await.context("failed to list the replicas")?;
            left = pods.items.iter().map(ResourceExt::name_any).collect();
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        writeln!(
            self.out,
            "  {} does not end (is its node down?). It may answer for addresses until that machine is off; it can write nothing any more.",
            left.join(", ")
        )?;
        Ok(())
    }

    async fn clean_services_and_eips(&mut self) -> anyhow::Result<()> {
        let eips: Api<DynamicObject> = Api::all_with(self.client.clone(), &bellhop_api::eip_resource());
        let pools = match eips.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => return Err(error).context("failed to list the Eips"),
        };
        let given = traces::given(&pools);
        let services: Api<Service> = Api::all(self.client.clone());
        for service in services.list(&ListParams::default()).await.context("failed to list the Services")?.items {
            let api = Api::namespaced(self.client.clone(), &service.namespace().unwrap_or_default());
            let shown = format!("Service {}/{}", service.namespace().unwrap_or_default(), service.name_any());
            self.clean(&api, service, &shown, |service| traces::of_service(service, &given)).await?;
        }
        for eip in pools {
            let shown = format!("Eip {}", eip.name_any());
            self.clean(&eips, eip, &shown, traces::of_eip).await?;
        }
        Ok(())
    }

    /// Takes our traces off one object, which is read anew when somebody else writes it meanwhile.
    async fn clean<K>(&mut self, api: &Api<K>, mut object: K, shown: &str, traces: impl Fn(&K) -> Removal) -> anyhow::Result<()>
    where
        K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let name = object.name_any();
        let what = traces(&object).what.join(", ");
        if what.is_empty() {
            return Ok(());
        }
        self.say(shown, &format!("without {what}"), &format!("would lose {what}"))?;
        if self.options.dry_run {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            match send(api, &name, &traces(&object)).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                sent => return ignore_absent(sent).with_context(|| format!("failed to write the {shown}")),
            }
            match api.get_opt(&name).await.with_context(|| format!("failed to read the {shown}"))? {
                Some(newer) => object = newer,
                None => return Ok(()),
            }
        }
        anyhow::bail!("the {shown} is written by somebody else all the time: is a replica of Bellhop still running?")
    }

    fn say(&mut self, shown: &str, done: &str, would: &str) -> anyhow::Result<()> {
        self.done += 1;
        let word = if self.options.dry_run { would } else { done };
        writeln!(self.out, "  {shown:<55} {word}").context("failed to print")
    }

    fn api(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let types = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let gvk = GroupVersionKind::try_from(types).unwrap_or_else(|_| GroupVersionKind::gvk("", "v1", kind));
        let resource = ApiResource::from_gvk(&gvk);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

/// The program, and what lets it write.
const PROGRAM: [&str; 3] = ["Deployment", "ClusterRoleBinding", "RoleBinding"];

fn is_one_of(object: &Value, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| object["kind"] == *kind)
}

fn lease(namespace: &str) -> Value {
    serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": namespace, "name": keys::LEASE}})
}

async fn send<K>(api: &Api<K>, name: &str, removal: &Removal) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let parameters = PatchParams::default();
    if let Some(patch) = &removal.status {
        api.patch_status(name, &parameters, &Patch::Merge(patch)).await?;
    }
    if let Some(patch) = &removal.metadata {
        api.patch(name, &parameters, &Patch::Merge(patch)).await?;
    }
    Ok(())
}

fn ignore_absent(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

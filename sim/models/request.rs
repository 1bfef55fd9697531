//! Asking the API server, with an end to the patience.
//!
//! A connection that died without a word would hold a model for as long as TCP retransmits. What a refusal means is decided by who asked.

use std::time::Duration;

use bellhop::env::Env;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};

use crate::cached::Cached;

/// How long one request may take. The kubelet allows its Lease ten seconds; half of that leaves time for a second try.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a model waits after a failed pass before it tries again.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// No answer in time.
    #[error("no answer from the API server within {} s", PATIENCE.as_secs())]
    Late,
}

impl Failure {
    /// Whether the server answered with this status.
    pub(crate) fn is(&self, code: u16) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == code)
    }

    /// Whether the object is no longer as we knew it (404, 409): the next difference of the watch will tell.
    pub(crate) fn is_stale(&self) -> bool {
        self.is(404) || self.is(409)
    }
}

/// The answer to a write, or nothing when the object is no longer as we knew it: the watch will tell, and we decide anew.
pub(crate) fn unless_stale<T>(written: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match written {
        Ok(object) => Ok(Some(object)),
        Err(failure) if failure.is_stale() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Deletes a pod; a graceful deletion leaves it there, terminating, for its kubelet.
pub(crate) async fn delete_pod(env: &Env, pods: &mut Cached<Pod>, pod: &Pod, parameters: &DeleteParams) -> Result<(), Failure> {
    let api: Api<Pod> = Api::namespaced(env.client.clone(), &pod.namespace().unwrap_or_default());
    let deleted = unless_stale(answer(env, api.delete(&pod.name_any(), parameters)).await)?;
    match deleted.and_then(|answer| answer.left()) {
        Some(pod) if pod.metadata.deletion_timestamp.is_some() && parameters.grace_period_seconds != Some(0) => pods.wrote(pod),
        _ => pods.removed(pod),
    }
    Ok(())
}

/// Waits for the answer to `request`, but not for ever.
pub(crate) async fn answer<T>(env: &Env, request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    let late = env.clock.sleep_until(env.clock.now() + PATIENCE);
    tokio::select! {
        biased;
        answer = request.fuse() => Ok(answer?),
        () = late => Err(Failure::Late),
    }
}

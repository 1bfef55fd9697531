//! The Lease object: `coordination.k8s.io/v1` to the core's record and back.
//!
//! Times are written for people and for client-go's tools; nothing of ours compares them with a clock.

use std::time::Duration;

use bellhop_api::keys;
use bellhop_core::lease::{LeaseRecord, LeaseWrite};
use bellhop_core::object::Version;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

/// Reads a Lease of any content.
pub(crate) fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    LeaseRecord {
        version: Version(lease.metadata.resource_version.clone().unwrap_or_default()),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()).map(Into::into),
        duration: Duration::from_secs(seconds),
        acquire_time: spec.acquire_time.map(|time| time.0.as_microsecond()),
        renew_time: spec.renew_time.map(|time| time.0.as_microsecond()),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

/// The object to PUT (or, without a version, to POST).
pub(crate) fn object(write: &LeaseWrite, namespace: &str, now: Timestamp) -> Lease {
    let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let acquired = write.acquire_time.and_then(|time| Timestamp::from_microsecond(time).ok()).filter(|_| !write.acquired);
    Lease {
        metadata: ObjectMeta {
            name: Some(keys::LEASE.to_owned()),
            namespace: Some(namespace.to_owned()),
            resource_version: write.version.as_ref().map(|version| version.0.clone()),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(write.holder.as_ref().map(ToString::to_string).unwrap_or_default()),
            lease_duration_seconds: Some(i32::try_from(write.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(MicroTime(acquired.unwrap_or(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(write.transitions),
            ..Default::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_given_back_has_an_empty_holder() {
        let write = LeaseWrite {
            version: Some(Version("7".into())),
            holder: None,
            acquired: false,
            acquire_time: Some(5),
            transitions: 2,
            duration: Duration::from_secs(1),
        };
        let lease = object(&write, "bellhop-system", Timestamp::UNIX_EPOCH);
        assert_eq!(lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()), Some(""));
        let record = record(&lease);
        assert_eq!((record.holder, record.acquire_time, record.transitions), (None, Some(5), 2));
        assert_eq!(record.version, Version("7".into()));
    }

    #[test]
    fn an_empty_lease_is_nobodys() {
        assert_eq!(record(&Lease::default()), LeaseRecord::default());
    }
}

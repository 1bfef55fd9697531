//! How a Deployment gets from one template to the next without falling below what it must have available.
//!
//! Pure: a Deployment and its ReplicaSets with their pods counted, in; which ReplicaSet gets which size, out. The arithmetic is that of
//! k8s.io/kubernetes, pkg/controller/deployment/rolling.go, without proportional scaling in the middle of a roll-out.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::replicas::Counts;
use crate::part::{ALPHABET, fnv1a};

/// The label by which a ReplicaSet tells its pods from those of other templates.
pub(crate) const TEMPLATE_HASH: &str = "pod-template-hash";
/// The annotation that numbers the templates of a Deployment.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";

/// A ReplicaSet of the Deployment, and its pods.
#[derive(Clone, Copy)]
pub(crate) struct Set<'a> {
    /// The object.
    pub(crate) set: &'a ReplicaSet,
    /// Its pods.
    pub(crate) counts: Counts,
}

impl Set<'_> {
    /// The size that was written into it.
    pub(crate) fn size(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn revision(&self) -> i64 {
        self.set.annotations().get(REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
    }
}

/// One write towards the wanted state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A ReplicaSet for the Deployment's template.
    Create {
        /// Its size.
        size: i32,
        /// Its number.
        revision: i64,
    },
    /// A ReplicaSet gets another size.
    Resize {
        /// Its name.
        name: String,
        /// Its new size.
        size: i32,
    },
    /// An old template became the current one again and gets the next number.
    Revise {
        /// Its name.
        name: String,
        /// Its new number.
        revision: i64,
    },
    /// An old, empty ReplicaSet beyond the history that is kept.
    Remove {
        /// Its name.
        name: String,
    },
}

/// The hash of a template, as it stands in names and labels.
pub(crate) fn template_hash(template: &PodTemplateSpec) -> String {
    let json = serde_json::to_vec(template).unwrap_or_default();
    let hash = fnv1a(0, &json);
    // k8s.io/apimachinery, util/rand.SafeEncodeString over the decimal digits of 32 bits.
    let digits = ((hash >> 32) as u32 ^ hash as u32).to_string();
    digits.bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// How many pods a Deployment wants.
pub(crate) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The ReplicaSets of the current template and of the others, the latter oldest first.
pub(crate) fn split<'a>(deployment: &Deployment, sets: &[Set<'a>]) -> (Option<Set<'a>>, Vec<Set<'a>>) {
    let hash = deployment.spec.as_ref().map(|spec| template_hash(&spec.template)).unwrap_or_default();
    let current = |set: &Set<'_>| set.set.labels().get(TEMPLATE_HASH) == Some(&hash);
    let mut old: Vec<Set<'a>> = sets.iter().copied().filter(|set| !current(set)).collect();
    old.sort_by_key(|set| (set.revision(), set.set.name_any()));
    (sets.iter().copied().find(current), old)
}

/// The next writes for a Deployment; none when it is as it should be, or when it has to wait.
pub(crate) fn decide(deployment: &Deployment, sets: &[Set<'_>]) -> Vec<Step> {
    let Some(spec) = &deployment.spec else { return Vec::new() };
    let (new, old) = split(deployment, sets);
    let paused = spec.paused.unwrap_or(false);
    let recreate = spec.strategy.as_ref().is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"));
    let mut steps = if paused {
        resize_when_paused(deployment, new, &old)
    } else if recreate {
        recreated(deployment, new, &old)
    } else {
        rolled(deployment, new, &old)
    };
    let last = old.iter().map(Set::revision).max().unwrap_or(0);
    if let Some(new) = new.filter(|new| new.revision() <= last) {
        steps.push(Step::Revise { name: new.set.name_any(), revision: last + 1 });
    }
    steps.extend(outdated(spec.revision_history_limit.unwrap_or(10), &old));
    steps
}

/// How far the number of pods may be above and below what is wanted.
pub(crate) fn leeway(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref()?.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let wanted = wanted(deployment);
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
    let (surge, unavailable) = (share(surge, wanted, true), share(unavailable, wanted, false));
    // Both zero would never move: ResolveFenceposts makes one pod unavailable then.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a percentage of `whole`, rounded as told.
pub(super) fn share(value: &IntOrString, whole: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let scaled = percent.clamp(0, 100) * i64::from(whole.max(0)) + if up { 99 } else { 0 };
            i32::try_from(scaled / 100).unwrap_or(i32::MAX)
        }
    }
}

fn next_revision(old: &[Set<'_>]) -> i64 {
    old.iter().map(Set::revision).max().unwrap_or(0) + 1
}

fn resize(set: &Set<'_>, size: i32) -> Option<Step> {
    (set.size() != size).then(|| Step::Resize { name: set.set.name_any(), size })
}

/// A paused Deployment follows `replicas` and nothing else.
fn resize_when_paused(deployment: &Deployment, new: Option<Set<'_>>, old: &[Set<'_>]) -> Vec<Step> {
    let latest = new.or_else(|| old.iter().rfind(|set| set.size() > 0).copied());
    latest.and_then(|set| resize(&set, wanted(deployment))).into_iter().collect()
}

/// Recreate: the new ones come when the last of the old ones is gone.
fn recreated(deployment: &Deployment, new: Option<Set<'_>>, old: &[Set<'_>]) -> Vec<Step> {
    let shrinking: Vec<Step> = old.iter().filter_map(|set| resize(set, 0)).collect();
    if !shrinking.is_empty() || old.iter().any(|set| set.counts.present > 0) {
        return shrinking;
    }
    match new {
        Some(new) => resize(&new, wanted(deployment)).into_iter().collect(),
        None => vec![Step::Create { size: wanted(deployment), revision: next_revision(old) }],
    }
}

/// RollingUpdate: first the new ones as far as the surge allows, then the old ones as far as enough is available.
fn rolled(deployment: &Deployment, new: Option<Set<'_>>, old: &[Set<'_>]) -> Vec<Step> {
    let wanted = wanted(deployment);
    let (surge, unavailable) = leeway(deployment);
    let total: i32 = old.iter().chain(&new).map(Set::size).sum();
    let room = (wanted + surge - total).max(0);
    let Some(new) = new else {
        return vec![Step::Create { size: wanted.min(room), revision: next_revision(old) }];
    };
    let size = if new.size() > wanted { wanted } else { new.size() + room.min(wanted - new.size()) };
    if let Some(step) = resize(&new, size) {
        return vec![step];
    }
    let available: i32 = old.iter().chain([&new]).map(|set| set.counts.available).sum();
    let minimum = wanted - unavailable;
    let new_unavailable = (new.size() - new.counts.available).max(0);
    shrink(old, total - minimum - new_unavailable, available - minimum)
}

/// Takes `most` pods at the utmost from the old ReplicaSets: first those that serve nobody, then `spare` of those that do.
fn shrink(old: &[Set<'_>], most: i32, spare: i32) -> Vec<Step> {
    let (mut most, mut spare) = (most.max(0), spare.max(0));
    let mut sizes: Vec<i32> = old.iter().map(Set::size).collect();
    for (set, size) in old.iter().zip(&mut sizes) {
        let idle = (*size - set.counts.available).clamp(0, most);
        *size -= idle;
        most -= idle;
    }
    for size in &mut sizes {
        let taken = (*size).min(spare).min(most);
        *size -= taken;
        spare -= taken;
        most -= taken;
    }
    old.iter().zip(sizes).filter_map(|(set, size)| resize(set, size)).collect()
}

/// Old ReplicaSets without pods that nobody will roll back to.
fn outdated(keep: i32, old: &[Set<'_>]) -> Vec<Step> {
    let empty: Vec<&Set<'_>> = old.iter().filter(|set| set.size() == 0 && set.counts.present == 0).collect();
    let surplus = empty.len().saturating_sub(usize::try_from(keep).unwrap_or(0));
    empty[..surplus].iter().map(|set| Step::Remove { name: set.set.name_any() }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{deployment, replica_set};

    fn counted(set: &ReplicaSet, available: i32) -> Set<'_> {
        let size = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        Set { set, counts: Counts { replicas: size, ready: available, available, present: size, next: None } }
    }

    #[test]
    fn a_new_deployment_gets_its_replica_set_at_full_size() {
        let web = deployment("web", 2);
        assert_eq!(decide(&web, &[]), [Step::Create { size: 2, revision: 1 }]);
    }

    #[test]
    fn a_quarter_of_two_is_one_more_and_none_less() {
        assert_eq!(leeway(&deployment("web", 2)), (1, 0));
        assert_eq!(leeway(&deployment("web", 4)), (1, 1));
        assert_eq!(leeway(&deployment("web", 0)), (0, 1));
    }

    #[test]
    fn an_old_pod_goes_only_when_a_new_one_is_available() {
        let web = deployment("web", 2);
        let (old, new) = (
            replica_set("web", "old", 2, 1),
            replica_set("web", &template_hash(&web.spec.as_ref().expect("built with one").template), 1, 2),
        );
        assert_eq!(decide(&web, &[counted(&old, 2), counted(&new, 0)]), []);
        let shrunk = decide(&web, &[counted(&old, 2), counted(&new, 1)]);
        assert_eq!(shrunk, [Step::Resize { name: "web-old".into(), size: 1 }]);
    }

    #[test]
    fn recreate_waits_until_the_last_old_pod_is_gone() {
        let mut web = deployment("web", 2);
        web.spec.as_mut().expect("built with one").strategy.get_or_insert_default().type_ = Some("Recreate".into());
        let old = replica_set("web", "old", 0, 1);
        let leaving = Set { set: &old, counts: Counts { present: 1, ..Counts::default() } };
        assert_eq!(decide(&web, &[leaving]), []);
        assert_eq!(decide(&web, &[counted(&old, 0)]), [Step::Create { size: 2, revision: 2 }]);
    }

    #[test]
    fn a_template_that_comes_back_gets_the_next_revision() {
        let web = deployment("web", 0);
        let hash = template_hash(&web.spec.as_ref().expect("built with one").template);
        let (first, second) = (replica_set("web", &hash, 0, 1), replica_set("web", "second", 0, 2));
        assert_eq!(decide(&web, &[counted(&first, 0), counted(&second, 0)]), [Step::Revise { name: format!("web-{hash}"), revision: 3 }]);
    }

    proptest! {
        /// Played with pods that become available one at a time, or die, a roll-out ends and never asks for fewer than it must have.
        #[test]
        fn a_roll_out_ends_and_never_drops_below_what_must_be_available(wanted in 1..12i32, order in proptest::collection::vec(any::<bool>(), 50)) {
            let web = deployment("web", wanted);
            let (surge, unavailable) = leeway(&web);
            let hash = template_hash(&web.spec.as_ref().expect("built with one").template);
            let (mut old, mut new) = (replica_set("web", "old", wanted, 1), replica_set("web", &hash, 0, 2));
            let size = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            let mut ready = 0;
            // Enough patience at the end for the slowest: one pod at a time.
            for progress in order.into_iter().chain([true; 100]) {
                ready = (ready + i32::from(progress)).min(size(&new));
                for step in decide(&web, &[counted(&old, size(&old)), counted(&new, ready)]) {
                    let Step::Resize { name, size } = step else { continue };
                    let set = if name == "web-old" { &mut old } else { &mut new };
                    set.spec.as_mut().expect("built with one").replicas = Some(size);
                }
                prop_assert!(size(&old) + ready >= wanted - unavailable);
                prop_assert!(size(&old) + size(&new) <= wanted + surge);
            }
            prop_assert_eq!((size(&old), size(&new)), (0, wanted));
        }
    }
}

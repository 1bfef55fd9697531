//! Which node carries a Service's addresses. Services that share an address are carried by one node, together with all else that each of them has.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Carried, Controller, NodeName, ServiceKey, Subject, by_age};
use crate::object::Endpoint;
use crate::placement::{self, Candidates};
use crate::status::event;

impl Controller {
    /// Chooses the node that carries a Service's addresses. Returns those that are placed with it.
    pub(super) fn place(&mut self, key: &ServiceKey) -> Vec<ServiceKey> {
        let group = self.group(key);
        let before: Vec<Option<Carried>> = group.iter().map(|member| self.unplace(member)).collect();
        if group.is_empty() {
            self.unplace(key);
            return group;
        }
        let written = |member: &ServiceKey| self.services.get(member).and_then(|service| service.status.node.as_ref());
        let current_of =
            |(member, before): (&ServiceKey, &Option<Carried>)| before.as_ref().map_or_else(|| written(member), Carried::node).cloned();
        let currents: Vec<Option<NodeName>> = group.iter().zip(&before).map(current_of).collect();
        let current = currents.iter().flatten().next();
        let carried = self.carrier(&group, current);
        for ((member, before), current) in group.iter().zip(before).zip(&currents) {
            if let Some(node) = carried.node() {
                *self.load.entry(node.clone()).or_default() += 1;
            }
            if let Some((warning, reason, message)) = self.news_of(member, before.as_ref(), current.as_ref(), &carried, &group) {
                self.tell(Subject::Service(member.clone()), warning, reason, message);
            }
            self.carried.insert(member.clone(), carried.clone());
        }
        group
    }

    /// All that one node must carry together, the oldest first. Empty if the Service has no address.
    fn group(&self, key: &ServiceKey) -> Vec<ServiceKey> {
        let mut found: BTreeSet<&ServiceKey> = BTreeSet::new();
        let mut open = vec![key];
        while let Some(member) = open.pop() {
            let holding = self.allocation.held(member);
            let asks = self.services.get(member).is_some_and(|service| service.request.is_some());
            if !holding.is_empty() && asks && found.insert(member) {
                open.extend(holding.values().flat_map(|held| self.allocation.users(held.address)));
            }
        }
        by_age(found.into_iter().filter_map(|member| self.services.get(member))).into_iter().map(|service| service.key.clone()).collect()
    }

    /// Who carries a group: an endpoint of any of them will do, since under `Local` they select the same Pods.
    fn carrier(&mut self, group: &[ServiceKey], current: Option<&NodeName>) -> Carried {
        let endpoints: Vec<&Endpoint> = group.iter().flat_map(|member| self.endpoints(member)).collect();
        let oldest = group.first().and_then(|oldest| self.services.get(oldest)?.request.as_ref());
        let policy = oldest.map(|request| request.policy).unwrap_or_default();
        match placement::candidates(policy, &self.nodes, endpoints.into_iter(), self.ignore_exclude_label) {
            Candidates::NoEndpoint => Carried::NoEndpoint(current.cloned()),
            Candidates::Nodes(nodes) => {
                placement::choose(&nodes, current, &self.load, &mut self.rng).map_or_else(|| Carried::NoNode(current.cloned()), Carried::By)
            }
        }
    }

    /// The endpoints of a Service, slice by slice.
    fn endpoints(&self, key: &ServiceKey) -> impl Iterator<Item = &Endpoint> {
        let from_first = self.slices.range((key.clone(), Arc::default())..);
        from_first.take_while(move |((service, _), _)| service == key).flat_map(|(_, endpoints)| endpoints)
    }

    /// Takes a Service off the node that carries it.
    pub(super) fn unplace(&mut self, key: &ServiceKey) -> Option<Carried> {
        let before = self.carried.remove(key);
        if let Some(node) = before.as_ref().and_then(Carried::node) {
            let load = self.load.entry(node.clone()).or_default();
            *load = load.saturating_sub(1);
        }
        before
    }

    fn news_of(
        &self,
        key: &ServiceKey,
        before: Option<&Carried>,
        current: Option<&NodeName>,
        carried: &Carried,
        group: &[ServiceKey],
    ) -> Option<(bool, &'static str, String)> {
        let addresses = || self.held(key).iter().map(|held| held.address.to_string()).collect::<Vec<_>>().join(" and ");
        match (current, carried) {
            (Some(old), Carried::By(new)) if old != new => {
                let others = group.iter().any(|member| member != key && self.carried.get(member).and_then(Carried::node) == Some(new));
                let why = if others { "shares an address that is there" } else { self.why_not(old) };
                Some((false, event::NODE_CHANGED, format!("{new} carries {} instead of {old}: {old} {why}", addresses())))
            }
            (None, Carried::By(new)) => Some((false, event::NODE_ASSIGNED, format!("{new} carries {}", addresses()))),
            (_, Carried::NoNode(_)) if !matches!(before, Some(Carried::NoNode(_))) => {
                let message = format!(
                    "no node can carry {}: nodes must be Ready, not excluded by label and, under externalTrafficPolicy Local, run a ready endpoint",
                    addresses()
                );
                Some((true, event::NO_ELIGIBLE_NODE, message))
            }
            _ => None,
        }
    }

    /// Why a node is no candidate.
    fn why_not(&self, name: &NodeName) -> &'static str {
        match self.nodes.get(name) {
            None => "is gone",
            Some(node) if node.deleting => "is being deleted",
            Some(node) if !node.ready => "is not ready",
            Some(node) if node.excluded && !self.ignore_exclude_label => {
                "is labelled node.kubernetes.io/exclude-from-external-load-balancers"
            }
            Some(_) => "has no ready endpoint",
        }
    }
}

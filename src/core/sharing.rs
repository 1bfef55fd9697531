//! Which Services may have one address together (design §5).
//!
//! To come to share, both give the same key. To go on sharing, what they do must still be told apart on one address and one node: so a record that PorterLB left
//! without any key stands as long as nothing collides. Who gives way, where something does, is [`crate::controller`]'s business.

use std::fmt;

use crate::object::{Request, TrafficPolicy};

/// The rule that two Services break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One of them gives no key.
    NoKey,
    /// Their keys differ.
    OtherKey,
    /// Both want this protocol and port.
    SamePort(String, i32),
    /// One wants any node, the other only those with its endpoints.
    OtherPolicy,
    /// Under `Local` the address must be where the endpoints of both are: their selectors differ, or there is none.
    OtherSelector,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("both need the annotation bellhop.dev/allow-shared-ip with the same key"),
            Self::OtherKey => f.write_str("their keys in the annotation bellhop.dev/allow-shared-ip differ"),
            Self::SamePort(protocol, port) => write!(f, "both use port {port}/{protocol}"),
            Self::OtherPolicy => f.write_str("their spec.externalTrafficPolicy differs"),
            Self::OtherSelector => {
                f.write_str("under externalTrafficPolicy Local both need the same spec.selector, and it must not be empty")
            }
        }
    }
}

/// What keeps two Services from coming to share an address.
pub fn keeps_from_sharing(newcomer: &Request, holder: &Request) -> Option<Rule> {
    match (&newcomer.sharing_key, &holder.sharing_key) {
        (Some(one), Some(other)) if one != other => Some(Rule::OtherKey),
        (Some(_), Some(_)) => keeps_apart(newcomer, holder),
        _ => Some(Rule::NoKey),
    }
}

/// What keeps two Services from staying together on an address.
pub fn keeps_apart(one: &Request, other: &Request) -> Option<Rule> {
    if let Some((protocol, port)) = one.ports.iter().find(|port| other.ports.binary_search(port).is_ok()) {
        return Some(Rule::SamePort(protocol.clone(), *port));
    }
    if one.policy != other.policy {
        return Some(Rule::OtherPolicy);
    }
    let apart = one.policy == TrafficPolicy::Local && (one.selector != other.selector || one.selector.is_empty());
    apart.then_some(Rule::OtherSelector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(port: i32, key: Option<&str>) -> Request {
        Request { ports: vec![("TCP".to_owned(), port)], sharing_key: key.map(str::to_owned), ..Request::default() }
    }

    fn local(port: i32, app: Option<&str>) -> Request {
        let selector = app.map(|app| vec![("app".to_owned(), app.to_owned())]).unwrap_or_default();
        Request { policy: TrafficPolicy::Local, selector, ..on(port, Some("k")) }
    }

    #[test]
    fn both_must_give_the_same_key() {
        assert_eq!(keeps_from_sharing(&on(80, Some("k")), &on(443, Some("k"))), None);
        assert_eq!(keeps_from_sharing(&on(80, Some("k")), &on(443, Some("other"))), Some(Rule::OtherKey));
        assert_eq!(keeps_from_sharing(&on(80, Some("k")), &on(443, None)), Some(Rule::NoKey));
        assert_eq!(keeps_from_sharing(&on(80, None), &on(443, None)), Some(Rule::NoKey));
    }

    #[test]
    fn one_port_of_one_protocol_belongs_to_one_service() {
        assert_eq!(keeps_apart(&on(80, None), &on(80, None)), Some(Rule::SamePort("TCP".into(), 80)));
        let udp = Request { ports: vec![("UDP".to_owned(), 80)], ..Request::default() };
        assert_eq!(keeps_apart(&on(80, None), &udp), None);
    }

    #[test]
    fn the_policy_is_the_same_and_under_local_the_selector_too() {
        assert_eq!(keeps_apart(&local(80, Some("web")), &on(443, Some("k"))), Some(Rule::OtherPolicy));
        assert_eq!(keeps_apart(&local(80, Some("web")), &local(443, Some("web"))), None);
        assert_eq!(keeps_apart(&local(80, Some("web")), &local(443, Some("api"))), Some(Rule::OtherSelector));
        assert_eq!(keeps_apart(&local(80, None), &local(443, None)), Some(Rule::OtherSelector));
    }
}

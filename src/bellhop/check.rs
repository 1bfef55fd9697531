//! `bellhop check`: is the cluster fit for Bellhop, and is Bellhop well in it?
//!
//! First everything is read (`facts`), then judged without asking anything more (`rules`, `objects`), then printed (`report`). What may not be read is no
//! failure: it is said where it would have been judged. Each finding has a code, whose paragraph in docs/checks.md says what to do; codes never change.

mod facts;
mod objects;
pub mod report;
mod rules;

use kube::Client;

pub use report::Report;

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where Bellhop is, or is to be, installed.
    pub namespace: String,
    /// Before an installation: only what it needs of the cluster.
    pub before: bool,
}

/// Looks, and judges.
pub async fn run(client: &Client, options: &Options) -> Report {
    let facts = facts::gather(client, options).await;
    Report::new(rules::judge(&facts, options))
}

/// What was found for one code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub code: Code,
    /// How it is.
    pub verdict: Verdict,
}

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// √, with what was found, if that is worth a word.
    Fine(String),
    /// ‼, with what is odd or could not be read.
    Odd(String),
    /// ×, with what is wrong.
    Wrong(String),
}

/// Defines the codes, once, in the order in which they are printed.
macro_rules! codes {
    ($($name:ident = $code:literal, $group:literal, $title:literal;)*) => {
        /// What is looked at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each says its title")]
        pub enum Code { $($name,)* }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `BELLHOP0101`: for scripts, and the heading in docs/checks.md.
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Under which heading it is printed.
            pub fn group(self) -> &'static str {
                match self { $(Self::$name => $group,)* }
            }

            /// What is so, when all is well.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    ApiAnswers = "BELLHOP0101", "kubernetes-api", "the API server answers";
    ApiVersion = "BELLHOP0102", "kubernetes-api", "Kubernetes is 1.29 or newer";
    MayInstall = "BELLHOP0103", "kubernetes-api", "you may create what the installation consists of";
    NamespaceAdmits = "BELLHOP0201", "installation", "the namespace is there and admits the pods";
    CrdServed = "BELLHOP0202", "installation", "the kind Eip is served";
    CrdEqual = "BELLHOP0203", "installation", "the kind Eip is that of this version";
    Permissions = "BELLHOP0204", "installation", "the service account may do what the program does";
    ReplicasReady = "BELLHOP0205", "installation", "all replicas are ready";
    VersionEqual = "BELLHOP0206", "installation", "the replicas are of this version";
    LeaseFresh = "BELLHOP0301", "leader", "a leader holds the Lease and renews it";
    LeaderIsReplica = "BELLHOP0302", "leader", "the leader is one of the replicas";
    NodesCarry = "BELLHOP0401", "nodes", "nodes may carry addresses";
    ProxyArp = "BELLHOP0501", "kube-proxy", "kube-proxy leaves ARP for the addresses to Bellhop";
    PorterGone = "BELLHOP0601", "other-load-balancers", "neither PorterLB nor OpenELB runs";
    WebhooksGone = "BELLHOP0602", "other-load-balancers", "no webhook of theirs is left";
    NoOtherAnnouncer = "BELLHOP0603", "other-load-balancers", "no other load balancer for Layer 2 runs";
    PoolsReady = "BELLHOP0701", "pools", "the Eips hand out addresses on a NIC";
    PoolsNearNodes = "BELLHOP0702", "pools", "the Eips are on the nodes' subnet";
    ServicesAssigned = "BELLHOP0801", "services", "every Service that asks has its address";
    ServicesAnnounced = "BELLHOP0802", "services", "every address is answered for";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_paragraph_in_the_documents_and_no_paragraph_is_without_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/checks.md");
        let text = std::fs::read_to_string(path).expect("docs/checks.md");
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("### ")).filter(|line| line.starts_with("BELLHOP")).collect();
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
        assert_eq!(headings, codes, "left the headings of docs/checks.md, right the codes");
        for code in Code::ALL {
            let paragraph = text.split(&format!("### {}\n", code.id())).nth(1).expect("a heading");
            assert!(paragraph.contains(code.title()), "{}: its paragraph does not say: {}", code.id(), code.title());
        }
    }
}

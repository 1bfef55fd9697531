//! What can go wrong between a client and the server, and the chance of it.
//!
//! A [`Fault`] stands under a [`FaultId`], for one client or for everybody; any number of them may stand at once. What a client meets is all
//! that stand for it, merged ([`Fault::and`]). Chance is drawn from one stream per client and kind of fault, so that a fault that is taken
//! away leaves the draws of all others as they were. What becomes of a request then is `serve`'s business, of a watch `watch`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::ClientName;

/// Everything that a server does wrong for a client. What is absent is as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// It cannot be reached: connections are refused, requests under way and watches break.
    pub down: bool,
    /// Nothing comes through, in either direction, and nobody is told. What hung breaks when it is over.
    pub silent: bool,
    /// How long a request takes, and how late a watch tells.
    pub latency: Option<Latency>,
    /// Requests that are refused, by HTTP status (429, 500, 503), in millionths of each.
    pub refuse: BTreeMap<u16, u32>,
    /// Writes that take effect and whose connection then breaks in place of the answer, in millionths.
    pub lose_answers: u32,
    /// The server lags: reads and lists answer as of so long ago, watches tell so much later.
    pub stale: Option<Duration>,
    /// Every watch breaks after so long.
    pub cut_watches: Option<Duration>,
    /// A watch from a version that is not the newest is told 410, as if all history had been compacted.
    pub gone: Option<Gone>,
    /// What it may not do, as if a rule of RBAC had been taken away: verb and resource, as in `patch` and `eips/status.network.kubesphere.io`. A watch that runs
    /// goes on: the right to it is asked for when it begins.
    pub forbidden: BTreeSet<(String, String)>,
}

/// From the shortest to the longest; each length between is as likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
}

/// How 410 is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gone {
    /// As an ERROR event in the stream, as kube-apiserver does.
    Stream,
    /// As the response's status, as some proxies before it do.
    Http,
}

/// Which fault: whoever sets one names it, and ends it by that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub u64);

impl FaultId {
    /// The one behind [`crate::ApiServer::set_reachable`].
    pub(crate) const OUTAGE: Self = Self(u64::MAX);
}

/// Chances are in parts of this.
const CERTAIN: u32 = 1_000_000;

impl Fault {
    /// Both at once: what either does is done. Latencies add up, chances strike independently, the longest lag and the shortest cut count,
    /// and of the two ways to say 410 the one that clients handle worse.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.down |= other.down;
        self.silent |= other.silent;
        self.latency = match (self.latency, other.latency) {
            (Some(one), Some(two)) => Some(Latency { min: one.min + two.min, max: one.max + two.max }),
            (one, two) => one.or(two),
        };
        for (status, chance) in &other.refuse {
            let either = self.refuse.entry(*status).or_default();
            *either = union(*either, *chance);
        }
        self.lose_answers = union(self.lose_answers, other.lose_answers);
        self.stale = self.stale.max(other.stale);
        self.cut_watches = [self.cut_watches, other.cut_watches].into_iter().flatten().min();
        self.gone = self.gone.max(other.gone);
        self.forbidden.extend(other.forbidden.iter().cloned());
        self
    }
}

/// The chance that at least one of two independent ones strikes.
fn union(one: u32, two: u32) -> u32 {
    let [one, two, certain] = [one, two, CERTAIN].map(u64::from);
    u32::try_from(one + two - (one * two / certain).min(one + two)).map_or(CERTAIN, |chance| chance.min(CERTAIN))
}

/// The faults that stand, and the streams that they draw from.
pub(crate) struct Faults {
    seed: u64,
    standing: BTreeMap<(Option<ClientName>, FaultId), Fault>,
    streams: BTreeMap<(ClientName, Kind), ChaCha8Rng>,
}

/// What is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Latency,
    Lateness,
    Refuse(u16),
    LoseAnswer,
}

impl Kind {
    fn label(self) -> String {
        match self {
            Self::Latency => "latency".to_owned(),
            Self::Lateness => "lateness".to_owned(),
            Self::Refuse(status) => format!("refuse {status}"),
            Self::LoseAnswer => "lose-answer".to_owned(),
        }
    }
}

impl Faults {
    /// None.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, standing: BTreeMap::new(), streams: BTreeMap::new() }
    }

    /// Puts a fault in place of the one of the same client and id.
    pub(crate) fn set(&mut self, client: Option<&ClientName>, id: FaultId, fault: Fault) {
        self.standing.insert((client.cloned(), id), fault);
    }

    /// Ends the fault of this id; `false` if there was none.
    pub(crate) fn clear(&mut self, client: Option<&ClientName>, id: FaultId) -> bool {
        self.standing.remove(&(client.cloned(), id)).is_some()
    }

    /// All that stands for a client, merged; `None` if nothing does.
    pub(crate) fn of(&self, client: &ClientName) -> Option<Fault> {
        let concerns = |of: &Option<ClientName>| of.as_ref().is_none_or(|of| of == client);
        let standing = self.standing.iter().filter(|((of, _), _)| concerns(of)).map(|(_, fault)| fault);
        standing.fold(None, |merged: Option<Fault>, fault| Some(merged.unwrap_or_default().and(fault)))
    }

    /// How long a request of this client takes.
    pub(crate) fn draw_latency(&mut self, client: &ClientName, latency: Latency) -> Duration {
        self.between(client, Kind::Latency, latency)
    }

    /// How late a watch of this client tells a change.
    pub(crate) fn draw_lateness(&mut self, client: &ClientName, latency: Latency) -> Duration {
        self.between(client, Kind::Lateness, latency)
    }

    /// The status that a request of this client is refused with. Each has its own draw, also after one has struck.
    pub(crate) fn draw_refusal(&mut self, client: &ClientName, refuse: &BTreeMap<u16, u32>) -> Option<u16> {
        let struck: Vec<u16> = refuse
            .iter()
            .filter(|(status, chance)| self.strikes(client, Kind::Refuse(**status), **chance))
            .map(|(status, _)| *status)
            .collect();
        struck.first().copied()
    }

    /// Whether the answer to a write of this client is lost.
    pub(crate) fn draw_lost_answer(&mut self, client: &ClientName, chance: u32) -> bool {
        chance > 0 && self.strikes(client, Kind::LoseAnswer, chance)
    }

    fn strikes(&mut self, client: &ClientName, kind: Kind, chance: u32) -> bool {
        self.stream(client, kind).random_range(0..CERTAIN) < chance
    }

    fn between(&mut self, client: &ClientName, kind: Kind, latency: Latency) -> Duration {
        let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let (min, max) = (nanos(latency.min), nanos(latency.max));
        Duration::from_nanos(self.stream(client, kind).random_range(min..=max.max(min)))
    }

    fn stream(&mut self, client: &ClientName, kind: Kind) -> &mut ChaCha8Rng {
        let seed = self.seed;
        self.streams.entry((client.clone(), kind)).or_insert_with(|| {
            let mut stream = ChaCha8Rng::seed_from_u64(seed);
            stream.set_stream(fnv1a(format!("fault {} of {client}", kind.label()).as_bytes()));
            stream
        })
    }
}

/// FNV-1a in 64 bits (draft-eastlake-fnv §2): a fixed hash, so that a label is the same stream for ever.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(min: u64, max: u64) -> Option<Latency> {
        Some(Latency { min: Duration::from_millis(min), max: Duration::from_millis(max) })
    }

    #[test]
    fn two_faults_at_once_do_what_either_does() {
        let one = Fault { latency: latency(1, 2), refuse: BTreeMap::from([(500, 500_000)]), gone: Some(Gone::Stream), ..Fault::default() };
        let two = Fault {
            latency: latency(3, 4),
            refuse: BTreeMap::from([(500, 500_000), (429, CERTAIN)]),
            gone: Some(Gone::Http),
            ..Fault::default()
        };
        let both = one.clone().and(&two);
        assert_eq!(both, two.and(&one));
        assert_eq!((both.latency, both.gone), (latency(4, 6), Some(Gone::Http)));
        assert_eq!(both.refuse, BTreeMap::from([(429, CERTAIN), (500, 750_000)]));
        assert_eq!(union(CERTAIN, CERTAIN), CERTAIN);
    }

    #[test]
    fn a_fault_that_is_taken_away_leaves_the_other_draws_as_they_were() {
        let client = ClientName::from("bellhop master1");
        let refusals = |with_others: bool| {
            let mut faults = Faults::new(7);
            let draw = |_| {
                if with_others {
                    faults.draw_latency(&client, Latency { min: Duration::ZERO, max: Duration::from_secs(1) });
                    faults.draw_lost_answer(&client, 500_000);
                    faults.draw_refusal(&ClientName::from("somebody else"), &BTreeMap::from([(500, 500_000)]));
                }
                let refuse = if with_others { BTreeMap::from([(429, 1), (500, 500_000)]) } else { BTreeMap::from([(500, 500_000)]) };
                faults.draw_refusal(&client, &refuse) == Some(500)
            };
            (0..64).map(draw).collect::<Vec<bool>>()
        };
        assert_eq!(refusals(true), refusals(false));
        assert!(refusals(true).contains(&true) && refusals(true).contains(&false));
    }

    #[test]
    fn what_stands_for_everybody_and_for_one_client_is_merged_for_that_one() {
        let (one, other) = (ClientName::from("one"), ClientName::from("other"));
        let mut faults = Faults::new(1);
        faults.set(None, FaultId(1), Fault { down: true, ..Fault::default() });
        faults.set(Some(&one), FaultId(1), Fault { silent: true, ..Fault::default() });
        assert_eq!(faults.of(&one), Some(Fault { down: true, silent: true, ..Fault::default() }));
        assert_eq!(faults.of(&other), Some(Fault { down: true, ..Fault::default() }));
        assert!(faults.clear(None, FaultId(1)) && !faults.clear(None, FaultId(1)));
        assert_eq!(faults.of(&other), None);
    }
}

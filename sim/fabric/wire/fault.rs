//! What a cable can do to frames, as a value. It draws nothing: [`super::lane`] does.

use super::Latency;

/// What one direction of a cable does to frames. Everything absent is as it should be. Chances are of each frame by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireFault {
    /// Nothing passes. The ends keep their carrier unless both directions are cut.
    pub cut: bool,
    /// Frames that vanish.
    pub loss: Chance,
    /// How many frames in a row vanish once one does: the mean of a geometric distribution (Gilbert 1960). 0 and 1 are independent loss.
    pub burst: u32,
    /// Frames that come twice.
    pub duplicate: Chance,
    /// Frames that are held back by one to ten of the cable's longest latencies, so that others overtake them.
    pub reorder: Chance,
    /// Frames of which one bit flips. The receiver drops them for their check sequence, but one in a thousand gets through.
    pub corrupt: Chance,
    /// What is added to the cable's own latency.
    pub delay: Option<Latency>,
    /// Bits a second, with a queue of 100 frames before it. 0 is taken for 1.
    pub rate: Option<u64>,
}

impl WireFault {
    /// Nothing passes.
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// Frames vanish, each by itself.
    pub fn loss(chance: Chance) -> Self {
        Self { loss: chance, ..Self::default() }
    }
}

/// A probability in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(pub u32);

impl Chance {
    /// Always.
    pub const CERTAIN: Self = Self(1_000_000);

    /// So many in a hundred.
    pub const fn percent(percent: u32) -> Self {
        Self(percent.saturating_mul(10_000))
    }

    /// Whether a draw hits it.
    pub(super) fn hits(self, draw: u64) -> bool {
        crate::random::scale(draw, 1_000_000) < u64::from(self.0)
    }
}

/// A direction of a cable: seen from a NIC, or between two switches that were named in an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    Both,
    /// Frames that come to the NIC; from the second switch to the first.
    In,
    /// Frames that leave the NIC; from the first switch to the second.
    Out,
}

impl Direction {
    /// The lanes that it means, each by the end that it leads to, where `near` is the side of the NIC or of the first switch.
    pub(crate) fn lanes(self, near: usize) -> impl Iterator<Item = usize> {
        let (inward, outward) = (self != Self::Out, self != Self::In);
        [(inward, near), (outward, 1 - near)].into_iter().filter(|(meant, _)| *meant).map(|(_, side)| side)
    }
}

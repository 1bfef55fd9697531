//! Chance, one stream per label.
//!
//! Every cable, host and program draws from a stream of its own, made from the one seed and its own label: taking one of them out
//! leaves the draws of all others as they were. Nothing here knows what is drawn.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The stream of `label` under `seed`. The same two give the same stream, in every process.
pub fn stream(seed: u64, label: &str) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    for (part, number) in key[8..].chunks_exact_mut(8).zip(1_u64..) {
        part.copy_from_slice(&xxh3_64_with_seed(label.as_bytes(), number).to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number from `0..bound`, all about equally likely (the bias is below bound / 2⁶⁴); 0 where `bound` is 0.
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    scale(rng.next_u64(), bound)
}

/// Numbers of a stream that are had by their place in it, in any order: SplitMix64 (Steele, Lea, Flood 2014), whose n-th number needs none
/// before it. Cables and switches draw for the n-th frame, so that what is not drawn for one frame shifts nothing for the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered {
    /// Where it starts.
    key: u64,
}

impl Numbered {
    /// The numbers of `label` under `seed`.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        Self { key: stream(seed, label).next_u64() }
    }

    /// The n-th number.
    pub(crate) fn at(self, n: u64) -> u64 {
        let mut z = self.key.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A draw as a number from `0..bound`, all about equally likely.
pub(crate) fn scale(draw: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(draw) * u128::from(bound)) >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_seed_and_on_its_label() {
        let first = |seed, label| stream(seed, label).next_u64();
        assert_eq!(first(1, "cable a"), first(1, "cable a"));
        assert_ne!(first(1, "cable a"), first(2, "cable a"));
        assert_ne!(first(1, "cable a"), first(1, "cable b"));
    }

    #[test]
    fn numbered_draws_are_spread_evenly_and_differ_by_label() {
        let draws = Numbered::new(1, "cable a");
        let low = (0..10_000).filter(|n| scale(draws.at(*n), 10) == 0).count();
        assert!((900..1100).contains(&low), "{low} of 10,000 in the lowest tenth");
        assert_ne!(draws.at(3), Numbered::new(1, "cable b").at(3));
    }

    #[test]
    fn draws_stay_below_their_bound() {
        let mut rng = stream(1, "draws");
        assert!((0..1000).all(|_| below(&mut rng, 7) < 7));
        assert_eq!(below(&mut rng, 0), 0);
    }
}

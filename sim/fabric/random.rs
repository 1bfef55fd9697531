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
    let product = u128::from(rng.next_u64()) * u128::from(bound);
    u64::try_from(product >> 64).unwrap_or(0)
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
    fn draws_stay_below_their_bound() {
        let mut rng = stream(1, "draws");
        assert!((0..1000).all(|_| below(&mut rng, 7) < 7));
        assert_eq!(below(&mut rng, 0), 0);
    }
}

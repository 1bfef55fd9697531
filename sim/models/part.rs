//! A part of a program: the same world, and a stream of chance of its own.
//!
//! Every model gets its own stream by label, so that one more draw in one of them leaves all others as they were.

use bellhop::env::Env;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The same world for the part called `label`.
pub(crate) fn part(env: &Env, label: &str) -> Env {
    let mut rng = env.rng.clone();
    rng.set_stream(fnv1a(rng.get_stream(), label.as_bytes()));
    rng.set_word_pos(0);
    Env { clock: env.clock.clone(), rng, client: env.client.clone(), links: env.links.clone(), shutdown: env.shutdown.clone() }
}

/// FNV-1a in 64 bits: a fixed hash that everybody can compute.
pub(crate) fn fnv1a(start: u64, bytes: &[u8]) -> u64 {
    // Offset basis and prime: draft-eastlake-fnv §2.
    let basis = 0xcbf2_9ce4_8422_2325 ^ start;
    bytes.iter().fold(basis, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The letters of generated names: no vowels and nothing that looks like one (k8s.io/apimachinery, util/rand).
pub(crate) const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five letters as at the end of a pod's name.
pub(crate) fn suffix(rng: &mut ChaCha8Rng) -> String {
    (0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

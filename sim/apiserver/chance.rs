//! The uids and the name suffixes of objects, out of the seed.
//!
//! Each kind has a stream of its own, and only an object that is really made takes from it: one refused create, or one Event more or less, leaves the
//! identities of all else as they were. The n-th object of a kind has the n-th identity, so a stream is remembered as a count.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fault::fnv1a;
use crate::store::GroupResource;

/// Words of the stream that one identity takes: four for the uid, five for the suffix, rounded up to a block of ChaCha.
const WORDS: u128 = 16;

/// What the server makes up for a new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// A version 4 UUID.
    pub(crate) uid: String,
    /// The five characters that `generateName` appends.
    pub(crate) suffix: String,
}

/// How many objects of each kind were made so far: as many entries as there are kinds.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: u64,
    made: BTreeMap<GroupResource, u64>,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, made: BTreeMap::new() }
    }

    pub(crate) fn next(&self, resource: &GroupResource) -> Identity {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        stream.set_stream(fnv1a(resource.as_str().as_bytes()));
        stream.set_word_pos(u128::from(self.made.get(resource).copied().unwrap_or_default()) * WORDS);
        Identity { uid: uid(&mut stream), suffix: suffix(&mut stream) }
    }

    pub(crate) fn take(&mut self, resource: &GroupResource) {
        *self.made.entry(resource.clone()).or_default() += 1;
    }
}

fn uid(stream: &mut ChaCha8Rng) -> String {
    let (high, low) = (stream.next_u64(), stream.next_u64());
    let version = (high & 0xfff) | 0x4000;
    let variant = (low >> 48 & 0x3fff) | 0x8000;
    format!("{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}", high >> 32, high >> 16 & 0xffff, low & 0xffff_ffff_ffff)
}

/// apimachinery `util/rand`: no vowels, so no words.
fn suffix(stream: &mut ChaCha8Rng) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(ALPHABET[stream.next_u32() as usize % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_differ_by_kind_and_by_count_and_stay_until_they_are_taken() {
        let (pods, events) = (GroupResource::new("", "pods"), GroupResource::new("", "events"));
        let mut chance = Chance::new(1);
        let first = chance.next(&pods);
        assert_ne!(first, chance.next(&events));
        chance.take(&events);
        assert_eq!(first, chance.next(&pods));
        chance.take(&pods);
        assert_ne!(first.uid, chance.next(&pods).uid);
        assert_ne!(first.suffix, chance.next(&pods).suffix);
    }
}

//! Random numbers from a seed: `SplitMix64`.

use std::fs::File;
use std::io::Read;

/// A sequence of numbers that is determined by its seed.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn random_seed() -> u64 {
        let mut bytes = [0; 4];
        File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        u32::from_ne_bytes(bytes).into()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Fewer than `bound` random bytes.
    pub(super) fn bytes(&mut self, bound: u64) -> Vec<u8> {
        (0..self.below(bound)).map(|_| self.next().to_ne_bytes()[0]).collect()
    }

    /// Another sequence, for another thread.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

//! Who pays whom. This module must never know how payments travel.

use anyhow::{Context as _, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha12Rng};
use rand_distr::{Distribution as _, Zipf};

use crate::accounts::Accounts;

/// Draws until debtor and creditor fit before giving up: with two accounts on the right shards a few do.
const MOST_DRAWS: usize = 10_000;

/// How debtors and creditors are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// Every account as often as every other.
    Uniform,
    /// By Zipf's law with exponent 1.0: among 10 thousand accounts the hottest takes part in a fifth of all payments.
    Zipf,
    /// Debtors as above, and this percentage of creditors on another shard.
    Cross(u8),
}

/// Draws pairs, the same ones for the same seed.
#[derive(Debug)]
pub struct Pairs {
    accounts: Accounts,
    mix: Mix,
    zipf: Zipf<f64>,
    random: ChaCha12Rng,
}

impl Pairs {
    /// Pairs among `accounts`.
    ///
    /// # Errors
    /// Where there are fewer than two.
    pub fn new(accounts: Accounts, mix: Mix, seed: u64) -> anyhow::Result<Self> {
        ensure!(accounts.count >= 2, "payments need two accounts");
        #[expect(clippy::cast_precision_loss, reason = "accounts are far below 2^53")]
        let zipf = Zipf::new(accounts.count as f64, 1.0).map_err(|why| anyhow::anyhow!("{why}"))?;
        Ok(Self { accounts, mix, zipf, random: ChaCha12Rng::seed_from_u64(seed) })
    }

    /// The next debtor and creditor, by their ordinals.
    ///
    /// # Errors
    /// Where no two accounts are on the shards that the mix asks for.
    pub fn draw(&mut self) -> anyhow::Result<(u64, u64)> {
        let from = self.one();
        let wants_other = match self.mix {
            Mix::Cross(percent) => Some(self.random.random_range(0..100) < percent),
            Mix::Uniform | Mix::Zipf => None,
        };
        let accounts = self.accounts;
        let to = (0..MOST_DRAWS).map(|_| self.one()).find(|to| {
            let other = || accounts.shard(*to) != accounts.shard(from);
            *to != from && wants_other.is_none_or(|wanted| wanted == other())
        });
        Ok((from, to.context("no account lies on the shard that was asked for")?))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a whole number from 1 to the accounts")]
    fn one(&mut self) -> u64 {
        match self.mix {
            Mix::Uniform | Mix::Cross(_) => self.random.random_range(0..self.accounts.count),
            Mix::Zipf => (self.zipf.sample(&mut self.random) as u64 - 1).min(self.accounts.count - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(mix: Mix, shards: u16) -> (Accounts, Vec<(u64, u64)>) {
        let accounts = Accounts::new(1_000, shards).expect("accounts");
        let mut pairs = Pairs::new(accounts, mix, 1).expect("pairs");
        (accounts, (0..4_000).map(|_| pairs.draw().expect("a pair")).collect())
    }

    #[test]
    fn nobody_pays_themselves_and_a_seed_repeats() {
        let (_, pairs) = drawn(Mix::Zipf, 1);
        assert!(pairs.iter().all(|(from, to)| from != to));
        assert_eq!(pairs, drawn(Mix::Zipf, 1).1);
    }

    #[test]
    fn zipf_has_a_hot_account_and_uniform_has_none() {
        let hot = |mix| drawn(mix, 1).1.iter().filter(|(from, _)| *from == 0).count();
        // 1 / H(1000) is 13.4 percent.
        assert!((450..620).contains(&hot(Mix::Zipf)), "{}", hot(Mix::Zipf));
        assert!(hot(Mix::Uniform) < 30);
    }

    #[test]
    fn the_share_between_shards_is_what_was_asked_for() {
        for percent in [0, 25, 94] {
            let (accounts, pairs) = drawn(Mix::Cross(percent), 16);
            let between = pairs.iter().filter(|(from, to)| accounts.shard(*from) != accounts.shard(*to)).count();
            let asked = usize::from(percent) * 40;
            assert!(between.abs_diff(asked) <= 120, "{between} instead of {asked}");
        }
    }
}

//! Which URL is tried next, and when.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{Failure, FetchError, Settings, Try, Url};

/// The longest pause between rounds.
const BACKOFF_LIMIT: Duration = Duration::from_secs(10);

/// The longest pause that a server may ask for.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(30);

/// A server that cannot be reached is tried in this many rounds at most.
const UNREACHABLE_ROUNDS: u32 = 3;

/// A round that brought this many bytes was a good one.
pub(super) const GOOD_PIECE: u64 = 256 * 1024;

/// How often each server failed in this process since it last worked.
#[derive(Debug, Default)]
pub(super) struct MirrorHealth(Mutex<HashMap<String, u32>>);

impl MirrorHealth {
    fn note(&self, url: &Url, worked: bool) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(url.server()).or_default();
        *count = if worked { 0 } else { count.saturating_add(1) };
    }

    fn failures(&self, url: &Url) -> u32 {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&url.server()).copied().unwrap_or_default()
    }
}

/// The URLs of one file, and what became of each.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    settings: &'a Settings,
    health: &'a MirrorHealth,
    candidates: Vec<Candidate>,
    round: u32,
    is_good_round: bool,
}

#[derive(Debug)]
struct Candidate {
    url: Url,
    failure: Option<Failure>,
    tried: u32,
}

impl Candidate {
    fn is_open(&self) -> bool {
        match &self.failure {
            None => true,
            Some(Failure::Unreachable { .. }) => self.tried < UNREACHABLE_ROUNDS,
            Some(failure) => !failure.is_final(),
        }
    }
}

impl<'a> Attempts<'a> {
    pub(super) fn new(settings: &'a Settings, health: &'a MirrorHealth, urls: &[Url]) -> Self {
        let candidates = urls.iter().map(|url| Candidate { url: url.clone(), failure: None, tried: 0 }).collect();
        Self { settings, health, candidates, round: 0, is_good_round: false }
    }

    /// Returns the positions of the URLs to try in this round.
    pub(super) fn round(&self) -> Vec<usize> {
        let mut open: Vec<_> = (0..self.candidates.len()).filter(|at| self.candidates[*at].is_open()).collect();
        // Stable: mirrors that work alike stay in the order of the configuration.
        open.sort_by_key(|at| self.health.failures(&self.candidates[*at].url));
        open
    }

    pub(super) fn url(&self, at: usize) -> &Url {
        &self.candidates[at].url
    }

    pub(super) fn succeeded(&self, at: usize) {
        self.health.note(&self.candidates[at].url, true);
    }

    /// Notes a failure and how many bytes the attempt brought nevertheless.
    pub(super) fn failed(&mut self, at: usize, failure: Failure, brought: u64) {
        let candidate = &mut self.candidates[at];
        tracing::debug!(url = %candidate.url, %failure, "attempt failed");
        if failure.is_of_server() {
            self.health.note(&candidate.url, false);
        }
        candidate.failure = Some(failure);
        candidate.tried += 1;
        self.is_good_round |= brought >= GOOD_PIECE;
    }

    /// Ends a round in which nothing succeeded: returns the pause before the next one, none when there is no next one.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if self.is_good_round {
            self.round = 0;
            self.is_good_round = false;
        } else {
            self.round += 1;
        }
        if self.round >= self.settings.rounds || !self.candidates.iter().any(Candidate::is_open) {
            return None;
        }
        let doubled = self.settings.backoff.saturating_mul(1 << self.round.saturating_sub(1).min(16)).min(BACKOFF_LIMIT);
        let asked = self.candidates.iter().filter_map(Candidate::retry_after).min().unwrap_or_default().min(RETRY_AFTER_LIMIT);
        Some(doubled.mul_f64(1.0 + 0.5 * random_fraction()).max(asked))
    }

    /// Returns the error for a file of which no URL worked.
    pub(super) fn into_error(self, what: &str) -> FetchError {
        let tries = self.candidates.into_iter().filter_map(|Candidate { url, failure, .. }| Some(Try { url, failure: failure? }));
        FetchError::Failed { what: what.to_owned(), tries: tries.collect() }
    }
}

impl Candidate {
    fn retry_after(&self) -> Option<Duration> {
        match self.failure {
            Some(Failure::Server { retry_after, .. }) => retry_after,
            _ => None,
        }
    }
}

/// Returns a number from 0 to 1 that differs between processes, so that they do not all come back at the same moment.
fn random_fraction() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn interrupted() -> Failure {
        Failure::Interrupted { received: 0, reason: String::new() }
    }

    #[test]
    fn rounds_are_bounded_and_good_ones_free() {
        let (settings, health) = (Settings { rounds: 3, ..Settings::default() }, MirrorHealth::default());
        let mut attempts = Attempts::new(&settings, &health, &[url("http://a/")]);
        for brought in [0, 0, GOOD_PIECE, 0, 0] {
            assert_eq!(attempts.round(), [0]);
            attempts.failed(0, interrupted(), brought);
            assert!(attempts.pause().is_some());
        }
        attempts.failed(0, interrupted(), GOOD_PIECE - 1);
        assert!(attempts.pause().is_none());
    }

    #[test]
    fn pauses_double_and_respect_the_server() {
        let (settings, health) = (Settings::default(), MirrorHealth::default());
        let mut attempts = Attempts::new(&settings, &health, &[url("http://a/")]);
        attempts.failed(0, interrupted(), 0);
        let first = attempts.pause().unwrap();
        assert!((500..=750).contains(&first.as_millis()), "{first:?}");
        attempts.failed(0, interrupted(), 0);
        let second = attempts.pause().unwrap();
        assert!((1000..=1500).contains(&second.as_millis()), "{second:?}");
        attempts.failed(0, Failure::Server { status: 503, retry_after: Some(Duration::from_secs(3600)) }, 0);
        assert_eq!(attempts.pause().unwrap(), RETRY_AFTER_LIMIT);
    }

    #[test]
    fn a_server_that_failed_comes_last_for_the_next_file() {
        let (settings, health) = (Settings::default(), MirrorHealth::default());
        let urls = [url("http://a/1"), url("http://b/1")];
        let mut attempts = Attempts::new(&settings, &health, &urls);
        attempts.failed(0, Failure::Unreachable { reason: String::new() }, 0);
        assert_eq!(attempts.round(), [1, 0]);
        assert_eq!(Attempts::new(&settings, &health, &urls).round(), [1, 0]);
        attempts.succeeded(0);
        assert_eq!(attempts.round(), [0, 1]);
    }

    #[test]
    fn final_failures_and_dead_servers_are_not_tried_again() {
        let (settings, health) = (Settings::default(), MirrorHealth::default());
        let mut attempts = Attempts::new(&settings, &health, &[url("http://a/"), url("http://b/")]);
        attempts.failed(0, Failure::NotFound { status: Some(404) }, 0);
        for _ in 0..UNREACHABLE_ROUNDS {
            assert_eq!(attempts.round(), [1]);
            attempts.failed(1, Failure::Unreachable { reason: String::new() }, 0);
        }
        assert!(attempts.round().is_empty());
        assert!(attempts.pause().is_none());
    }
}

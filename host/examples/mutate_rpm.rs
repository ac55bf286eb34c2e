//! Feeds damaged RPM packages, `repomd.xml` and `primary.xml` to their readers for some time: `mutate_rpm SECONDS FILE…`.
//!
//! What a file is goes by its name. Each is damaged in ways that are the same in every run; a reader that panics ends it.

#![expect(clippy::print_stdout, reason = "a chore for developers")]

use std::time::{Duration, Instant};

use oic::{
    repository::rpm::{PackageHeader, Repomd},
    solve::rpm::PackageIndex,
};

/// Numbers that look random (a linear congruential generator).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }

    /// Flips, cuts, doubles and overwrites bytes.
    fn damage(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = u8::try_from(self.below(256)).unwrap_or(0),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.extend_from_within(at..end),
                4 => drop(bytes.drain(at..end)),
                _ => bytes[at..end].fill(if self.below(2) == 0 { 0 } else { 0xff }),
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    }
}

/// Reads all that is read of untrusted bytes; returns whether they were understood.
fn read(name: &str, bytes: &[u8]) -> bool {
    if name.ends_with("repomd.xml") {
        return Repomd::parse(bytes).is_ok();
    }
    if name.ends_with(".xml") {
        return PackageIndex::parse(bytes).is_ok();
    }
    let Ok(package) = PackageHeader::read(&mut &*bytes) else { return false };
    let _ = (package.id(), package.license(), package.source_package(), package.provides(), package.requires());
    (0..6000).filter_map(|tag| package.header().texts(tag).map(Iterator::count)).count() > 0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(10);
    let files: Vec<(String, Vec<u8>)> =
        arguments.iter().skip(1).filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?))).collect();
    let (mut noise, mut runs, mut understood) = (Noise(42), 0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end && !files.is_empty() {
        let (name, good) = &files[noise.below(files.len())];
        let bytes = noise.damage(good);
        understood += u64::from(read(name, &bytes));
        runs += 1;
    }
    println!("{runs} damaged inputs of {} files, {understood} of them understood, none too much", files.len());
}

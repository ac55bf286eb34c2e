//! The memory of a program and all that it has started, beside the memory of guests.
//!
//! The memory of a guest is one mapping as large as the guest's machine, in the emulator and in whatever shares it; everything else counts,
//! a page that several processes share once (`Pss` in `proc_pid_smaps(5)`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Mappings of this size and more are a guest's memory.
const GUEST: u64 = 1 << 30;
/// The name under which the sum stands.
const TOGETHER: &str = "all together";

/// Takes down the memory of a process and those below it where it is more than before.
pub(super) fn sample(parent: u32, peaks: &mut BTreeMap<String, u64>) {
    let mut together = 0;
    for process in family(parent) {
        let text = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        let bytes = own_memory(&text("smaps"));
        together += bytes;
        let command = text("cmdline");
        let verb = command.split('\0').nth(1).filter(|word| word.starts_with("__")).map(|word| format!(" {word}")).unwrap_or_default();
        note(peaks, format!("`{}{verb}`", text("comm").trim()), bytes);
    }
    note(peaks, TOGETHER.to_owned(), together);
}

fn note(peaks: &mut BTreeMap<String, u64>, name: String, bytes: u64) {
    let known = peaks.entry(name).or_default();
    *known = (*known).max(bytes);
}

/// Returns a process and those below it.
fn family(parent: u32) -> BTreeSet<u32> {
    let processes =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = processes
        .filter_map(|process| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // The name in parentheses may have spaces; the parent is the second field after it.
            Some((process, stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut family = BTreeSet::from([parent]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(process, parent)| family.contains(parent) && !family.contains(process))
            .map(|(process, _)| *process)
            .collect();
        if more.is_empty() {
            return family;
        }
        family.extend(more);
    }
}

/// Adds up the mappings that are no guest's memory.
fn own_memory(smaps: &str) -> u64 {
    let (mut counts, mut sum) = (true, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Pss:"), Some(kibibytes)) if counts => sum += kibibytes.parse::<u64>().unwrap_or(0) * 1024,
            (Some(range), _) => {
                let range = range.split_once('-').map(|(start, end)| (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)));
                if let Some((Ok(start), Ok(end))) = range {
                    counts = end - start < GUEST;
                }
            }
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_does_not_count() {
        let smaps = "7f0000000000-7f0040000000 rw-s 00000000 00:01 1 /memfd:memory-backend-memfd (deleted)\nSize: 1048576 kB\nPss: 700000 kB\n\
                     7f0050000000-7f0050002000 rw-p 00000000 00:00 0\nRss: 8 kB\nPss: 6 kB\nPss_Dirty: 5 kB\n\
                     7f0060000000-7f0060001000 r-xp 00000000 00:00 0 /usr/bin/x\nPss: 1 kB\nVmFlags: rd ex\n";
        assert_eq!(own_memory(smaps), 7 * 1024);
        assert!(family(std::process::id()).contains(&std::process::id()));
    }
}

//! The memory of a program and all that it has started, beside the memory of guests.
//!
//! The memory of a guest is a shared file of the name that QEMU gives it, in the emulator and in whatever shares it, or else the emulator's
//! one mapping that is at least as large as its `-m` says. Everything else counts, a page that several processes share once (`Pss` in
//! `proc_pid_smaps(5)`): also pages of files that a process maps, which the machine may drop whenever it needs the room.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// What the name of a guest's memory has in it when it is shared.
const SHARED_GUEST: &str = "memfd:memory-backend";
/// The name under which the sum stands.
const TOGETHER: &str = "all together";

/// Takes down the memory of a process and those below it where it is more than before.
pub(super) fn sample(parent: u32, peaks: &mut BTreeMap<String, u64>) {
    let mut together = 0;
    for process in family(parent) {
        let text = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        let command = text("cmdline");
        let bytes = own_memory(&text("smaps"), guest_memory(&command));
        together += bytes;
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

/// Returns how much memory an emulator gives its guest, from its command line; none for any other program.
fn guest_memory(command: &str) -> Option<u64> {
    let mut words = command.split('\0');
    // The emulator may be started by a dynamic linker, but has its machine's options in any case.
    words.clone().find(|word| *word == "-machine")?;
    words.find(|word| *word == "-m")?;
    let mebibytes: u64 = words.next()?.strip_suffix('M')?.parse().ok()?;
    Some(mebibytes << 20)
}

/// Adds up the mappings that are no guest's memory.
fn own_memory(smaps: &str, guest: Option<u64>) -> u64 {
    let (mut counts, mut sum) = (true, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Pss:"), Some(kibibytes)) if counts => sum += kibibytes.parse::<u64>().unwrap_or(0) * 1024,
            (Some(range), _) => {
                let range = range.split_once('-').map(|(start, end)| (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)));
                if let Some((Ok(start), Ok(end))) = range {
                    // Anonymous memory has no name in the sixth column.
                    let is_guest = line.contains(SHARED_GUEST)
                        || guest.is_some_and(|guest| end - start >= guest && line.split_whitespace().nth(5).is_none());
                    counts = !is_guest;
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
        let shared = "7f0000000000-7f0020000000 rw-s 00000000 00:01 1 /memfd:memory-backend-memfd (deleted)\nPss: 300000 kB\n";
        let large = "7e0000000000-7e0020000000 rw-p 00000000 00:00 0 \nPss: 200000 kB\n";
        let rest = "7f0050000000-7f0050002000 rw-p 00000000 00:00 0\nRss: 8 kB\nPss: 6 kB\nPss_Dirty: 5 kB\n\
                    7f0060000000-7f00a0000000 r-xp 00000000 00:00 0 /usr/bin/x\nPss: 1 kB\nVmFlags: rd ex\n";
        let smaps = [shared, large, rest].concat();
        let guest = guest_memory("ld.so\0qemu-system-x86_64\0-machine\0q35\0-m\x00512M\0-cpu\0max\0");
        assert_eq!(guest, Some(512 << 20));
        assert_eq!(own_memory(&smaps, guest), 7 * 1024);
        // The same memory in a program that is no emulator is its own, and so is all of it beside a larger guest.
        assert_eq!(guest_memory("mke2fs\0-m\x000\0disk\0"), None);
        assert_eq!(own_memory(&smaps, None), (200_000 + 7) * 1024);
        assert_eq!(own_memory(&smaps, Some(1 << 30)), (200_000 + 7) * 1024);
        assert!(family(std::process::id()).contains(&std::process::id()));
    }
}

//! The checks themselves: each a function from the settings to a [`Check`].

use std::{
    fs,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use oic_config::spec::Arch;

use super::Check;
use crate::{
    cli::{
        progress::text,
        settings::{DoctorSettings, GlobalSettings},
    },
    env, exec,
    fetch::{DocumentRequest, Fetcher, Settings as FetchSettings, Url},
    repository::MirrorTable,
};

/// Free space below which a build cannot work, and below which it may not.
const SPACE_NEEDED: u64 = 1 << 30;
const SPACE_WANTED: u64 = 5 << 30;

/// Available memory below which a build cannot work, and below which it is tight.
const MEMORY_NEEDED: u64 = 768 << 20;
const MEMORY_WANTED: u64 = 2 << 30;

/// The oldest QEMU that is used.
const QEMU_OLDEST: (u32, u32) = (7, 2);

/// The archive that the builder's own tools come from, the key of its mirror, and a file that it always has.
const BUILDER_ARCHIVE: (&str, &str, &str) = ("debian", "https://mirrors.kernel.org/debian", "dists/trixie/InRelease");

/// A signed Release file is never larger.
const RELEASE_LIMIT: u64 = 4 << 20;

/// How long a mirror may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs all checks.
pub(super) fn run(settings: &DoctorSettings, global: &GlobalSettings) -> Vec<Check> {
    let mut checks = vec![configuration(global), processors(global), memory(), qemu(), vsock()];
    checks.push(folder("cache", &global.cache_dir.value, "choose another folder with `--cache-dir`"));
    checks.push(folder("work", &global.work_dir.value, "choose another folder with `--work-dir`"));
    if !settings.offline {
        checks.extend(mirrors(global));
    }
    checks
}

fn configuration(global: &GlobalSettings) -> Check {
    let files: Vec<_> = global.config_files.iter().map(|file| file.display().to_string()).collect();
    let finding = if files.is_empty() { "defaults, no file".to_owned() } else { files.join(", ") };
    Check::good("settings", finding)
}

fn processors(global: &GlobalSettings) -> Check {
    let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Check::good("processors", format!("{count} ({}), {} workers", Arch::host(), global.workers.value))
}

fn memory() -> Check {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available_memory(&text) {
        None => Check::good("memory", "unknown: /proc/meminfo does not say"),
        Some(bytes) => {
            let finding = format!("{} available", text::bytes(bytes));
            match bytes {
                bytes if bytes < MEMORY_NEEDED => {
                    Check::missing("memory", finding, "end other programs: the builder VM alone takes 512 MiB")
                }
                bytes if bytes < MEMORY_WANTED => {
                    Check::lack("memory", finding, "give the builder VM less with `builder.memory` in the template")
                }
                _ => Check::good("memory", finding),
            }
        }
    }
}

/// Returns the available memory that the text of `/proc/meminfo` states.
fn available_memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn qemu() -> Check {
    let program = format!("qemu-system-{}", Arch::host());
    let own = env::get(env::OIC_QEMU).map(PathBuf::from);
    let Some(path) = own.clone().or_else(|| in_path(&program)) else {
        return Check::good("QEMU", "none on this machine; a private one is fetched when it is needed");
    };
    let version = exec::run(Command::new(&path).arg("--version")).ok().and_then(|output| qemu_version(&String::from_utf8_lossy(&output)));
    let (oldest_major, oldest_minor) = QEMU_OLDEST;
    match (version, own) {
        (Some(version), _) if version >= QEMU_OLDEST => Check::good("QEMU", format!("{}.{} in {}", version.0, version.1, path.display())),
        (Some((major, minor)), None) => {
            Check::good("QEMU", format!("{major}.{minor} in {} is too old; a private one is fetched when it is needed", path.display()))
        }
        (Some((major, minor)), Some(_)) => {
            let finding = format!("{} from OIC_QEMU is {major}.{minor}", path.display());
            Check::missing("QEMU", finding, format!("name one that is {oldest_major}.{oldest_minor} or newer, or unset OIC_QEMU"))
        }
        (None, None) => Check::good("QEMU", format!("{} does not run; a private one is fetched when it is needed", path.display())),
        (None, Some(_)) => {
            Check::missing("QEMU", format!("{} from OIC_QEMU does not run", path.display()), "name a working one, or unset OIC_QEMU")
        }
    }
}

/// Returns the version in what `qemu-system-… --version` prints.
fn qemu_version(text: &str) -> Option<(u32, u32)> {
    let mut words = text.split_whitespace();
    let version = words.find(|word| *word == "version").and_then(|_| words.next())?;
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Returns where a program is found.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::get(env::PATH)?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| fs::metadata(candidate).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0))
}

fn vsock() -> Check {
    let open = fs::OpenOptions::new().read(true).write(true).open("/dev/vhost-vsock");
    let finding = if open.is_ok() { "usable" } else { "not usable; virtio-serial works for everybody" };
    Check::good("vsock", finding)
}

/// Looks at the space in a folder, which need not exist yet.
fn folder(name: &'static str, path: &Path, fix: &str) -> Check {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(existing) = absolute.ancestors().find(|ancestor| ancestor.is_dir()) else {
        return Check::missing(name, format!("{} cannot be made", path.display()), fix);
    };
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() {
        return Check::missing(name, format!("{} cannot be written", existing.display()), fix);
    }
    let free = rustix::fs::statvfs(existing).map(|status| status.f_bavail.saturating_mul(status.f_frsize));
    match free {
        Err(_) => Check::good(name, format!("{}: free space unknown", path.display())),
        Ok(free) => {
            let finding = format!("{}: {} free", path.display(), text::bytes(free));
            match free {
                free if free < SPACE_NEEDED => Check::missing(name, finding, format!("free some space, or {fix}")),
                free if free < SPACE_WANTED => Check::lack(name, finding, format!("larger images need more: free some space, or {fix}")),
                _ => Check::good(name, finding),
            }
        }
    }
}

/// Asks the archive of the builder's tools, and every mirror that the user has configured.
fn mirrors(global: &GlobalSettings) -> Vec<Check> {
    let (own_key, canonical, file) = BUILDER_ARCHIVE;
    let configured = global.mirrors.iter().map(|(name, url)| (name.clone(), url.value.clone())).collect();
    let settings = FetchSettings { stall: PATIENCE, rounds: 1, ..FetchSettings::default() };
    let (canonical, fetcher) = match Url::parse(canonical).and_then(|url| Ok((url, Fetcher::new(settings)?))) {
        Ok(ready) => ready,
        Err(error) => return vec![Check::lack("mirror", error.to_string(), "downloads do not work; builds from the cache may")],
    };
    let places = MirrorTable::load(&configured, Path::new("/")).urls(own_key, &canonical);
    let mut checks = vec![mirror(&fetcher, places.iter().map(|place| place.below(file)).collect(), true)];
    for (_, url) in global.mirrors.iter().filter(|(name, _)| *name != own_key) {
        checks.push(mirror(&fetcher, vec![url.value.clone()], false));
    }
    checks
}

/// Asks for one file. A mirror that answers without having it is reachable; the builder's archive must have it.
fn mirror(fetcher: &Fetcher, urls: Vec<Url>, needed: bool) -> Check {
    let start = Instant::now();
    let name = urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let request = DocumentRequest { what: "a file of the mirror".to_owned(), urls, limit: RELEASE_LIMIT, known: None };
    let elapsed = |start: Instant| text::duration(start.elapsed());
    match fetcher.document(&request) {
        Ok(document) => Check::good("mirror", format!("{} answers in {}", document.url, elapsed(start))),
        Err(error) if error.is_not_found() && !needed => Check::good("mirror", format!("{name} answers in {}", elapsed(start))),
        Err(error) => {
            let fix = error.hint().unwrap_or_else(|| "choose another mirror with OIC_MIRROR_<DISTRIBUTION>".to_owned());
            // What is in the cache can still be built from.
            Check::lack("mirror", error.to_string(), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_qemu() {
        for (text, version) in [
            ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright", Some((10, 0))),
            ("QEMU emulator version 7.2.17\n", Some((7, 2))),
            ("QEMU emulator version x\n", None),
            ("", None),
        ] {
            assert_eq!(qemu_version(text), version, "{text}");
        }
    }

    #[test]
    fn available_memory_is_in_bytes() {
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available_memory("MemAvailable: 99999999999999999999 kB\n"), None);
        assert_eq!(available_memory(""), None);
    }

    #[test]
    fn a_folder_that_is_not_there_is_judged_by_the_one_above() {
        let folder_above = tempfile::tempdir().unwrap();
        let check = folder("cache", &folder_above.path().join("a/b"), "fix");
        assert!(check.finding.contains("free"), "{check:?}");
        let check = folder("cache", Path::new("/proc/oic/cache"), "fix");
        assert_eq!(check.status, super::super::Status::Missing, "{check:?}");
    }
}

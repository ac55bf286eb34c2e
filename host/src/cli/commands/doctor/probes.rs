//! The checks themselves: each a function from the settings to a [`Check`].

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use oic_builder_vm::{Cancel, KvmVerdict, probe_kvm};
use oic_config::spec::Arch;

use super::Check;
use crate::{
    cli::{
        machine,
        progress::text,
        settings::{DoctorSettings, GlobalSettings},
    },
    env,
    fetch::{DocumentRequest, Fetcher, Settings as FetchSettings, Url},
    repository::MirrorTable,
    toolchain::{Emulator, guest_arch, host_emulator},
};

/// Free space below which a build cannot work, and below which it may not.
const SPACE_NEEDED: u64 = 1 << 30;
const SPACE_WANTED: u64 = 5 << 30;

/// Available memory below which a build cannot work, and below which it is tight.
const MEMORY_NEEDED: u64 = 768 << 20;
const MEMORY_WANTED: u64 = 2 << 30;

/// The archive that the builder's own tools come from, the key of its mirror, and a file that it always has.
const BUILDER_ARCHIVE: (&str, &str, &str) = ("debian", "https://mirrors.kernel.org/debian", "dists/trixie/InRelease");

/// A signed Release file is never larger.
const RELEASE_LIMIT: u64 = 4 << 20;

/// How long a mirror may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs all checks.
pub(super) fn run(settings: &DoctorSettings, global: &GlobalSettings, cancel: &Cancel) -> Vec<Check> {
    let emulator = host_emulator(Arch::host());
    let mut checks = vec![configuration(global), processors(global), memory(), qemu(emulator.as_ref())];
    checks.extend([accelerator(emulator.as_ref(), global, cancel), virtiofs(), vsock()]);
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
    Check::good("processors", format!("{} ({}), {} workers", machine::processors(), Arch::host(), global.workers.value))
}

fn memory() -> Check {
    match machine::available_memory() {
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

/// Looks for an emulator of this machine's architecture. That there is none is no lack: a private one is fetched.
fn qemu(found: Option<&Emulator>) -> Check {
    let own = env::get(env::OIC_QEMU).map(PathBuf::from);
    match (found, own) {
        (Some(emulator), _) => Check::good("QEMU", emulator.description.clone()),
        (None, None) => Check::good("QEMU", "none on this machine that is new enough; a private one is fetched when it is needed"),
        (None, Some(path)) => {
            let finding = format!("{} from OIC_QEMU is not used: it does not run, or is too old", path.display());
            Check::lack("QEMU", finding, "name an emulator that is 7.2 or newer, or unset OIC_QEMU")
        }
    }
}

/// Runs a few instructions in a guest: a `/dev/kvm` that opens may still not run any.
fn accelerator(found: Option<&Emulator>, global: &GlobalSettings, cancel: &Cancel) -> Check {
    const SLOWER: &str = "TCG, software emulation: works, and is some ten times slower";
    let Some(emulator) = found else {
        return Check::lack("accelerator", format!("{SLOWER}; KVM not probed: there is no QEMU yet"), "build once, then look again");
    };
    match probe_kvm(&emulator.qemu, guest_arch(Arch::host()), &global.temp_dir.value, cancel) {
        KvmVerdict::Usable => Check::good("accelerator", "KVM, proven by running a guest"),
        KvmVerdict::Unusable { reason, fix, .. } => {
            let fix =
                fix.unwrap_or_else(|| "nothing to do here: on another machine, or outside this virtual machine, KVM may work".to_owned());
            Check::lack("accelerator", format!("{SLOWER}; no KVM: {reason}"), fix)
        }
    }
}

/// Shares need no privilege: the file server is this program itself.
fn virtiofs() -> Check {
    Check::good("virtiofs", "built in")
}

fn vsock() -> Check {
    let open = fs::OpenOptions::new().read(true).write(true).open("/dev/vhost-vsock");
    let finding = if open.is_ok() { "usable" } else { "not usable; virtio-serial works for everybody" };
    Check::good("vsock", finding)
}

/// Looks at the space in a folder, which need not exist yet.
fn folder(name: &'static str, path: &Path, fix: &str) -> Check {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        return Check::missing(name, format!("{} cannot be made: {} is no folder", path.display(), existing.display()), fix);
    }
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
    fn a_folder_that_is_not_there_is_judged_by_the_one_above() {
        let folder_above = tempfile::tempdir().unwrap();
        let check = folder("cache", &folder_above.path().join("a/b"), "fix");
        assert!(check.finding.contains("free"), "{check:?}");
        let check = folder("cache", Path::new("/proc/oic/cache"), "fix");
        assert_eq!(check.status, super::super::Status::Missing, "{check:?}");
    }
}

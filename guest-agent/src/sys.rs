//! Questions to the kernel and the few orders that need root: facts, modules, processes, power.
//!
//! With the feature `unwind-stub` it also defines two symbols that std refers to although the agent aborts on panic; musl
//! has no unwinder to take them from. They are the only code here that the compiler cannot check.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, WaitOptions, WaitStatus},
    time::{ClockId, Timespec, clock_gettime, clock_settime},
};

#[cfg(feature = "unwind-stub")]
#[expect(unsafe_code, reason = "std's backtrace code refers to these symbols; nothing calls them when panics abort")]
mod unwind_stub {
    /// Ends every walk over the stack at once: 5 is the unwinder's "end of stack".
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace() -> i32 {
        5
    }

    /// Knows no instruction pointer.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetIP() -> usize {
        0
    }
}

/// Returns the time since the kernel started.
#[must_use]
pub fn uptime() -> Duration {
    since_zero(clock_gettime(ClockId::Boottime))
}

/// Returns the monotonic clock.
#[must_use]
pub fn monotonic() -> Duration {
    since_zero(clock_gettime(ClockId::Monotonic))
}

/// Turns a clock's value into a duration; a clock before its own zero counts as zero.
fn since_zero(time: Timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Sets the wall clock.
///
/// # Errors
/// Fails without privilege, and for a time that the kernel cannot hold.
pub fn set_wall_clock(seconds: u64) -> io::Result<()> {
    let tv_sec = i64::try_from(seconds).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: 0 })?;
    Ok(())
}

/// Returns the memory of the machine in bytes.
#[must_use]
pub fn memory_bytes() -> u64 {
    memory_field("MemTotal:")
}

/// Returns how much memory programs can still get, in bytes.
#[must_use]
pub fn memory_available_bytes() -> u64 {
    memory_field("MemAvailable:")
}

/// Returns one line of `/proc/meminfo` in bytes; 0 when it is not there.
fn memory_field(label: &str) -> u64 {
    fs::read_to_string("/proc/meminfo").map_or(0, |text| parse_memory_field(&text, label))
}

/// Finds a line of `/proc/meminfo`.
fn parse_memory_field(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib.saturating_mul(1024))
}

/// Loads every `*.ko` of a folder in the order of the names.
///
/// A module that is built in or loaded already is not an error.
///
/// # Errors
/// Fails with the module's path and the kernel's reason.
pub fn load_modules(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let mut modules: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    modules.retain(|path| path.extension().is_some_and(|extension| extension == "ko"));
    modules.sort();
    for path in modules {
        let loaded = fs::File::open(&path).and_then(|file| Ok(rustix::system::finit_module(&file, c"", 0)?));
        match loaded {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::EXIST.raw_os_error()) => return Err((path, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Reaps every child that has ended and returns the status of `wanted` if it is among them.
#[must_use]
pub fn reap(wanted: Option<Pid>) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(pid) == wanted {
            found = Some(status);
        }
    }
    found
}

/// Kills every process but this one and the kernel's own, until none is left.
///
/// Does nothing unless this process is PID 1: everywhere else there are others to be considerate of.
pub fn kill_everything() {
    if std::process::id() != 1 {
        return;
    }
    for _ in 0..200 {
        let victims = user_processes();
        if victims.is_empty() {
            return;
        }
        for pid in victims {
            // One that has just ended is what we want.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = reap(None);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lists all processes but PID 1, the kernel's threads and those that only wait to be reaped.
fn user_processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| pid > 1 && is_user_process(pid)).filter_map(Pid::from_raw).collect()
}

/// Tells a running user process by its `stat` line.
fn is_user_process(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|line| stat_is_user_process(&line))
}

/// Reads state and flags behind the command name, which may hold anything, even `)`.
fn stat_is_user_process(line: &str) -> bool {
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let Some((_, rest)) = line.rsplit_once(')') else { return false };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let flags = fields.get(6).and_then(|text| text.parse::<u64>().ok()).unwrap_or(KERNEL_THREAD);
    fields.first().is_some_and(|state| *state != "Z" && *state != "X") && flags & KERNEL_THREAD == 0
}

/// Returns the program that the kernel killed for lack of memory after `since`, if any.
#[must_use]
pub fn out_of_memory_victim(since: Duration) -> Option<String> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let mut records = fs::File::from(rustix::fs::open("/dev/kmsg", flags, rustix::fs::Mode::empty()).ok()?);
    let mut victim = None;
    let mut buffer = [0; 8192];
    // One record per read. EPIPE says that records were lost before the next one.
    for _ in 0..100_000 {
        match records.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => victim = parse_oom_record(&String::from_utf8_lossy(&buffer[..length]), since).or(victim),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    victim
}

/// Reads `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;Out of memory: Killed process 12 (name) …`.
fn parse_oom_record(record: &str, since: Duration) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let microseconds = head.split(',').nth(2)?.parse().ok()?;
    if Duration::from_micros(microseconds) < since {
        return None;
    }
    let (_, rest) = text.lines().next()?.split_once("Out of memory: Killed process ")?;
    let (_, name) = rest.split_once('(')?;
    Some(name.split_once(')')?.0.to_owned())
}

/// Switches the machine off; returns only when the kernel refuses.
pub fn power_off() {
    rustix::fs::sync();
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_lines_are_kibibytes() {
        let text = "MemTotal:         985364 kB\nMemFree:  1 kB\nMemAvailable:     842120 kB\n";
        assert_eq!(parse_memory_field(text, "MemTotal:"), 985_364 * 1024);
        assert_eq!(parse_memory_field(text, "MemAvailable:"), 842_120 * 1024);
        assert_eq!(parse_memory_field(text, "Missing:"), 0);
        assert_eq!(parse_memory_field("MemTotal: 99999999999999999999 kB", "MemTotal:"), 0);
    }

    #[test]
    fn kernel_threads_and_zombies_are_left_alone() {
        assert!(stat_is_user_process("812 (sh) S 1 812 812 0 -1 4194304 1 0"));
        assert!(stat_is_user_process("812 (a) Z 2) R 1 812 812 0 -1 4194304 1 0"));
        assert!(!stat_is_user_process("12 (kworker/0:1) I 2 0 0 0 -1 69238880 0 0"));
        assert!(!stat_is_user_process("812 (sh) Z 1 812 812 0 -1 4194316 1 0"));
        assert!(!stat_is_user_process("nonsense"));
    }

    #[test]
    fn the_victim_of_the_kernel_is_named() {
        let record = "3,812,25000000,-;Out of memory: Killed process 131 (mkinitramfs) total-vm:9kB, anon-rss:1kB\n SUBSYSTEM=x\n";
        assert_eq!(parse_oom_record(record, Duration::from_secs(20)).as_deref(), Some("mkinitramfs"));
        assert_eq!(parse_oom_record(record, Duration::from_secs(26)), None);
        assert_eq!(parse_oom_record("6,1,2,-;Linux version 6.12", Duration::ZERO), None);
        assert_eq!(parse_oom_record(";;;", Duration::ZERO), None);
    }
}

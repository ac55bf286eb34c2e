//! The server of one shared folder: `virtiofsd` as a library, in a process of its own.
//!
//! A process of its own because the library ends the process on some errors, and because its sandbox is one of the whole
//! process. The caller executes itself with a hidden subcommand that calls [`virtiofs_main`] before anything starts a thread.
//!
//! Read-only, and meant for folders that anybody may read: the sandbox is a second line of defence behind the library's
//! own path checks. It is made of namespaces where the kernel lets an unprivileged user have them; where it does not the server
//! goes without, as it must work for everybody.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use rustix::thread::{CapabilitySet, CapabilitySets};
use vhost::vhost_user::{Error as VhostError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserDaemon};
use virtiofsd::{
    limits,
    passthrough::{CachePolicy, Config, read_only::PassthroughFsRo},
    sandbox::{Sandbox, SandboxMode},
    vhost_user::VhostUserFsBackendBuilder,
};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// Descriptors that the server needs besides those of files that the guest knows.
const OWN_DESCRIPTORS: u64 = 640;
/// Entries of the store never change, so the guest may believe what it has seen for as long as it lives.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("expected `--shared-dir FOLDER`, found `{0}`")]
    Arguments(String),
    #[error("cannot take the listening socket from standard input")]
    Listener(#[source] io::Error),
    #[error("the limit of open files is too small: {0}")]
    Descriptors(String),
    #[error("cannot share `{path}`: {reason}")]
    Folder { path: PathBuf, reason: String },
    #[error("the connection with QEMU failed: {0}")]
    Connection(String),
}

/// Serves a folder until QEMU hangs up. `args` are `--shared-dir FOLDER`; standard input is the listening socket.
///
/// Must be called while the process has one thread.
#[must_use]
pub fn virtiofs_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args).and_then(|folder| serve(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Read by the process that started this one, which words it for the user.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the folder that the arguments name.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<PathBuf, ServeError> {
    let args: Vec<_> = args.into_iter().collect();
    match args.as_slice() {
        [option, folder] if option == "--shared-dir" => Ok(folder.into()),
        other => Err(ServeError::Arguments(other.join(" ".as_ref()).to_string_lossy().into_owned())),
    }
}

/// Returns the listening socket that this process was started with.
fn listener() -> Result<Listener, ServeError> {
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(ServeError::Listener)?;
    Ok(UnixListener::from(socket).into())
}

/// Enters a sandbox as strict as the machine allows and serves.
fn serve(folder: &Path) -> Result<(), ServeError> {
    let failed = |reason: String| ServeError::Folder { path: folder.to_owned(), reason };
    let name = folder.to_str().ok_or_else(|| failed("its name is not UTF-8".to_owned()))?;
    let limit = limits::setup_rlimit_nofile(None).map_err(ServeError::Descriptors)?;
    let guest_fd_limit =
        limit.checked_sub(OWN_DESCRIPTORS).filter(|left| *left > 0).ok_or_else(|| ServeError::Descriptors(limit.to_string()))?;
    let (mut sandbox, mut listener) = enter_sandbox(name)?;
    let config = Config {
        entry_timeout: FOREVER,
        attr_timeout: FOREVER,
        cache_policy: CachePolicy::Always,
        root_dir: sandbox.get_root_dir(),
        proc_sfd_rawfd: sandbox.get_proc_self_fd(),
        proc_mountinfo_rawfd: sandbox.get_mountinfo_fd(),
        readdirplus: true,
        // Access times of the store are nobody's business, and keeping them still needs ownership of the file.
        clean_noatime: true,
        guest_fd_limit,
        ..Config::default()
    };
    drop_capabilities().map_err(|error| failed(error.to_string()))?;
    let filesystem = PassthroughFsRo::new(config).map_err(|error| failed(error.to_string()))?;
    let backend = VhostUserFsBackendBuilder::default().build(filesystem).map_err(|error| failed(error.to_string()))?;
    let connection = |error: DaemonError| ServeError::Connection(error.to_string());
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let mut daemon = VhostUserDaemon::new("oic-virtiofs".to_owned(), Arc::new(backend), memory).map_err(connection)?;
    daemon.start(&mut listener).map_err(connection)?;
    match daemon.wait() {
        // How a session ends: QEMU exits or is killed.
        Ok(()) | Err(DaemonError::HandleRequest(VhostError::Disconnected | VhostError::PartialMessage)) => Ok(()),
        Err(error) => Err(connection(error)),
    }
}

/// Isolates this process and returns the sandbox with the listener.
fn enter_sandbox(folder: &str) -> Result<(Sandbox, Listener), ServeError> {
    if namespaces_allowed() {
        let mut sandbox = Sandbox::new(folder.to_owned(), SandboxMode::Namespace, Vec::new(), Vec::new());
        if let Ok(listener) = sandbox.enter(listener()?) {
            return Ok((sandbox, listener));
        }
    }
    Ok((Sandbox::new(folder.to_owned(), SandboxMode::None, Vec::new(), Vec::new()), listener()?))
}

/// Returns whether this process can be expected to get namespaces. Trying alone would not do: where the kernel refuses
/// late, processes and messages of the attempt are left behind.
fn namespaces_allowed() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let setting = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    setting("/proc/sys/user/max_user_namespaces") != Some(0)
        && setting("/proc/sys/kernel/unprivileged_userns_clone") != Some(0)
        && !matches!(setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"), Some(1..))
}

/// Gives up every capability: reading files that anybody may read takes none.
fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_one_folder() {
        let parse = |args: &[&str]| parse(args.iter().map(OsString::from)).ok();
        assert_eq!(parse(&["--shared-dir", "/a b"]), Some("/a b".into()));
        for wrong in [&[][..], &["--shared-dir"], &["/a"], &["--shared-dir", "/a", "/b"]] {
            assert_eq!(parse(wrong), None);
        }
    }
}

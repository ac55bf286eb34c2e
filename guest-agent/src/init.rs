//! The life of PID 1: the least that the handshake needs, the session, the end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    mount::{MountFlags, mount},
};

use crate::{serve, sys};

/// The name of the virtio-serial port that leads to the host.
pub const PORT_NAME: &str = "org.oic.agent.0";
/// The kernel modules that the host put into the initramfs, loaded in the order of their names.
pub const MODULES: &str = "/modules";

/// How long the port may take to appear: kernels announce it some time after its driver is there.
const PORT_DEADLINE: Duration = Duration::from_secs(60);

/// Runs one session and switches the machine off. Does not return in a virtual machine.
#[must_use]
pub fn run() -> ExitCode {
    if let Err(reason) = live() {
        // The serial console is captured by the host and ends up in its error.
        let _ = writeln!(io::stderr(), "oic-guest-agent: {reason}");
    }
    sys::power_off();
    ExitCode::FAILURE
}

/// Mounts, finds the port and serves.
fn live() -> Result<(), String> {
    mount_api_filesystems()?;
    let mut modules_loaded = false;
    let mut port = match find_port() {
        Some(port) => port,
        None => {
            load_modules()?;
            modules_loaded = true;
            wait_for_port()?
        }
    };
    let session = serve::greet(&mut port).map_err(|error| format!("cannot agree with the host: {}", chain(&error)))?;
    // Only now: the host is told as soon as can be that the guest lives.
    start_processors();
    if !modules_loaded {
        load_modules()?;
    }
    serve::run(&mut port, session).map_err(|error| format!("the session broke: {}", chain(&error)))
}

/// Words an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Mounts what the agent itself needs.
fn mount_api_filesystems() -> Result<(), String> {
    let plain = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (kind, folder, flags) in [
        ("devtmpfs", "/dev", MountFlags::NOSUID),
        ("proc", "/proc", plain | MountFlags::NODEV),
        ("sysfs", "/sys", plain | MountFlags::NODEV),
    ] {
        let made = fs::create_dir_all(folder).and_then(|()| Ok(mount(kind, folder, kind, flags, None::<&std::ffi::CStr>)?));
        match made {
            // Some kernels mount their devtmpfs themselves.
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                return Err(format!("cannot mount {folder}: {error}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Starts the processors that the kernel was told to leave alone (`maxcpus=1`): booting with one is faster, working with all is.
/// In a thread of its own, because each takes the kernel a moment; one that does not start is only not there.
fn start_processors() {
    let start = || {
        let Ok(entries) = fs::read_dir("/sys/devices/system/cpu") else { return };
        for entry in entries.filter_map(Result::ok) {
            // Those that run, or cannot be stopped, need nothing.
            let switch = entry.path().join("online");
            if fs::read_to_string(&switch).is_ok_and(|state| state.trim_end() == "0") {
                let _ = fs::write(&switch, "1");
            }
        }
    };
    let _ = std::thread::Builder::new().name("processors".to_owned()).spawn(start);
}

/// Loads the modules of the initramfs.
fn load_modules() -> Result<(), String> {
    sys::load_modules(Path::new(MODULES)).map_err(|(path, error)| format!("cannot load {}: {error}", path.display()))
}

/// Waits until the port is there.
fn wait_for_port() -> Result<File, String> {
    let deadline = sys::monotonic() + PORT_DEADLINE;
    while sys::monotonic() < deadline {
        if let Some(port) = find_port() {
            return Ok(port);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("no virtio-serial port is named {PORT_NAME}"))
}

/// Opens the port by its name, if it is there.
fn find_port() -> Option<File> {
    let node = port_node(Path::new("/sys/class/virtio-ports"))?;
    let port = OpenOptions::new().read(true).write(true).open(Path::new("/dev").join(node)).ok()?;
    wait_for_host(&port);
    Some(port)
}

/// Returns the name of the device that carries the port's name.
fn port_node(class: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(class).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == PORT_NAME).then(|| entry.file_name().into())
    })
}

/// Waits until the host's side is open: before that, reading looks like the end of the channel.
fn wait_for_host(port: &File) {
    let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    loop {
        let mut source = [PollFd::new(port, PollFlags::OUT)];
        match poll(&mut source, Some(&pause)) {
            Ok(_) if source[0].revents().intersects(PollFlags::HUP) => std::thread::sleep(Duration::from_millis(2)),
            Ok(0) | Err(_) => {}
            Ok(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let class = tempfile::tempdir().unwrap();
        for (node, name) in [("vport1p1", "com.example.other\n"), ("vport2p3", "org.oic.agent.0\n")] {
            fs::create_dir(class.path().join(node)).unwrap();
            fs::write(class.path().join(node).join("name"), name).unwrap();
        }
        fs::create_dir(class.path().join("vport3p1")).unwrap();
        assert_eq!(port_node(class.path()).as_deref(), Some(Path::new("vport2p3")));
        assert_eq!(port_node(Path::new("/no/such/class")), None);
    }
}

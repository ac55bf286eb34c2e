//! Interfaces: `lo` always, `eth0` with the fixed addresses of QEMU's user network when the plan allows a network.
//!
//! Three netlink requests are all it takes; they are put together here.

use std::{fs, io, path::Path};

use oic_protocol::AgentError;
use rustix::{
    mount::mount_bind,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};

use crate::{failure, rootfs::Rootfs};

const GUEST: [u8; 4] = [10, 0, 2, 15];
const GATEWAY: [u8; 4] = [10, 0, 2, 2];
const NAME_SERVER: &str = "nameserver 10.0.2.3\n";

/// Brings `lo` up; programs that talk to themselves need it. A guest without it still builds most images.
pub fn bring_up_loopback() {
    let _ = index_of("lo").and_then(|index| request(&link_up(index)));
}

/// Brings the network up and lets the target resolve names for as long as it is mounted.
///
/// # Errors
/// Fails when there is no network device or the kernel refuses.
pub fn bring_up(rootfs: &Rootfs) -> Result<(), AgentError> {
    let index = index_of("eth0").map_err(|error| failure::system("find", "network device eth0", error))?;
    let configured = request(&link_up(index)).and_then(|()| request(&address(index))).and_then(|()| request(&default_route(index)));
    configured.map_err(|error| failure::system("configure", "network device eth0", error))?;
    offer_name_server(rootfs)
}

/// Mounts a resolver configuration over the target's, if it has a file there.
fn offer_name_server(rootfs: &Rootfs) -> Result<(), AgentError> {
    const CONFIGURATION: &str = "/etc/resolv.conf";
    const OURS: &str = "/resolv.conf";
    fs::write(OURS, NAME_SERVER).map_err(|error| failure::system("write", OURS, error))?;
    // A link into /run leads to a tmpfs of this session: a file made there is gone afterwards.
    let place = match rootfs.handle(CONFIGURATION) {
        Ok(place) => place,
        Err(_) => {
            make_resolver_link_target(rootfs)?;
            rootfs.handle(CONFIGURATION)?
        }
    };
    mount_bind(OURS, place.path()).map_err(|error| failure::system("mount", CONFIGURATION, error))
}

/// Makes the file that `/etc/resolv.conf` leads to, when it leads into a folder of this session; else an empty file.
fn make_resolver_link_target(rootfs: &Rootfs) -> Result<(), AgentError> {
    let path = match rootfs.read_link("/etc/resolv.conf") {
        Some(target) if target.starts_with("/run/") => target,
        Some(target) if target.starts_with("../run/") => target[2..].to_owned(),
        _ => "/etc/resolv.conf".to_owned(),
    };
    rootfs.write_file(&path, 0o644, crate::rootfs::Ownership::ROOT, &mut io::empty()).map(drop)
}

/// Returns an interface's number.
fn index_of(name: &str) -> io::Result<u32> {
    let path = Path::new("/sys/class/net").join(name).join("ifindex");
    fs::read_to_string(path)?.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A request that wants a verdict.
const CHANGE: u16 = 0x1 | 0x4;
/// The same for something that must not exist yet.
const CREATE: u16 = CHANGE | 0x400 | 0x200;

/// Puts the netlink header before a request.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 16).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(body.len() + 16);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    // Sequence number and port, which a single request on its own socket does not need.
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(body);
    bytes
}

/// Returns an attribute of four bytes.
fn attribute(kind: u16, value: [u8; 4]) -> Vec<u8> {
    [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value].concat()
}

/// `RTM_NEWLINK` with `IFF_UP`.
fn link_up(index: u32) -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    const UP: [u8; 4] = 1_u32.to_ne_bytes();
    message(RTM_NEWLINK, CHANGE, &[&[0_u8; 4][..], &index.to_ne_bytes(), &UP, &UP].concat())
}

/// `RTM_NEWADDR`: the guest's address, /24, on the interface.
fn address(index: u32) -> Vec<u8> {
    const RTM_NEWADDR: u16 = 20;
    let head = [2, 24, 0, 0];
    message(RTM_NEWADDR, CREATE, &[&head[..], &index.to_ne_bytes(), &attribute(2, GUEST), &attribute(1, GUEST)].concat())
}

/// `RTM_NEWROUTE`: everything else by the gateway. Main table, set at boot, universe, unicast.
fn default_route(index: u32) -> Vec<u8> {
    const RTM_NEWROUTE: u16 = 24;
    let head = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    message(RTM_NEWROUTE, CREATE, &[&head[..], &attribute(5, GATEWAY), &attribute(4, index.to_ne_bytes())].concat())
}

/// Sends a request to the kernel and reads its verdict.
fn request(message: &[u8]) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    verdict(&answer[..length.min(answer.len())])
}

/// Reads `NLMSG_ERROR`: 0 or a negated error number.
fn verdict(answer: &[u8]) -> io::Result<()> {
    const NLMSG_ERROR: u16 = 2;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_say_their_own_length() {
        for message in [link_up(2), address(2), default_route(2)] {
            assert_eq!(u32::from_ne_bytes(message[..4].try_into().unwrap()) as usize, message.len());
            assert_eq!(message.len() % 4, 0);
        }
    }

    /// `lo` is up wherever tests run: root may ask for that again, everybody else is refused and not misunderstood.
    #[test]
    fn the_kernel_understands_a_request() {
        let asked = index_of("lo").and_then(|index| request(&link_up(index)));
        let refused = asked.err().and_then(|error| error.raw_os_error());
        assert!([None, Some(rustix::io::Errno::PERM.raw_os_error())].contains(&refused), "{refused:?}");
    }

    #[test]
    fn a_verdict_is_zero_or_an_error() {
        let answer = |code: i32| [&[0; 4][..], &2_u16.to_ne_bytes(), &[0; 10], &code.to_ne_bytes()].concat();
        assert!(verdict(&answer(0)).is_ok());
        assert_eq!(verdict(&answer(-19)).unwrap_err().raw_os_error(), Some(19));
        assert!(verdict(&[]).is_err());
    }
}

//! Starting the servers of shared folders.
//!
//! ```text
//! this process                       share server                    QEMU
//!   bind, listen, connect, unlink
//!   listener ──────────────────────► standard input
//!   connected socket ──────────────────────────────────────────────► chardev
//!                                    accept ◄── vhost-user ────────►
//! ```
//!
//! The connection exists before either program runs, so neither waits for the other to appear and there is nothing to poll.
//! When one of the two dies the other sees the connection end.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use crate::{
    Share,
    process::{Child, Launch},
};

/// A folder's server and the socket for QEMU.
#[derive(Debug)]
pub(crate) struct ShareServer {
    /// The server.
    pub(crate) child: Child,
    /// The other end of its connection.
    pub(crate) socket: OwnedFd,
}

/// Starts the server of a folder. `folder` is private to this run.
pub(crate) fn serve(share: &Share, server: &[OsString], folder: &Path) -> io::Result<ShareServer> {
    let name = folder.join("share");
    let listener = UnixListener::bind(&name)?;
    let socket = UnixStream::connect(&name)?;
    std::fs::remove_file(&name)?;
    let mut argv = server.to_vec();
    argv.extend(["--shared-dir".into(), share.path.clone().into_os_string()]);
    let launch = Launch {
        name: format!("the server of share `{}`", share.tag),
        argv,
        env: Vec::new(),
        inherited: Vec::new(),
        stdin: Some(listener.into()),
    };
    Ok(ShareServer { child: Child::start(launch)?, socket: socket.into() })
}

//! The builder VM's only program of ours: PID 1, agent of the host, and stand-in for a few programs of the target.
//!
//! # A session
//!
//! ```text
//! init     devtmpfs, proc, sysfs, tmpfs; modules; the port `org.oic.agent.0`
//!    │
//! serve    Hello → HelloAck → Plan          (the rules are in `oic-protocol`)
//!    │
//! target   /dev/vda on /target with its API filesystems, the store on /store
//!    │
//! runner   step after step, stops at the first failure; every step's programs are dead before the next one starts
//!    │
//! target   unmounts what is left below /target, syncs
//!    │
//! serve    Report, power off
//! ```
//!
//! # One binary, several names
//!
//! The agent starts programs through itself: `oic-enter PROGRAM…` changes the root and executes, so that no code of ours
//! runs between fork and exec. Bind mounted over a program of the target it is a stand-in for that program; which one it
//! plays is a matter of the name it is called by (see [`applet`]).
//!
//! # Rules
//!
//! One thread, blocking calls and `poll`. Only [`exec`] starts programs. Every path inside the target is resolved by
//! [`rootfs`], never by joining strings: links of the target cannot lead into the agent's own tree. There is no unsafe
//! code except two linker stubs in [`sys`].

#![deny(missing_docs)]

pub mod applet;
pub mod archive;
pub mod certificates;
pub mod copy;
pub mod events;
pub mod exec;
pub mod failure;
pub mod init;
pub mod known;
pub mod libraries;
pub mod network;
pub mod rootfs;
pub mod runner;
pub mod serve;
pub mod shortcut;
pub mod standin;
pub mod step;
pub mod sys;
pub mod target;
pub mod units;

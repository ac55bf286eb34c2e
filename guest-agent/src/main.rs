//! Starts the agent in the role that its name and its process id give it.

use std::process::ExitCode;

use oic_guest_agent::{applet, init};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if std::process::id() == 1 {
        return init::run();
    }
    applet::run(&name, &words.collect::<Vec<_>>())
}

//! dpkg as the agent runs it, and what it says on its status descriptor.
//!
//! ```text
//! processing: configure: libc6:amd64
//! status: libc6:amd64: half-configured
//! status: libc6:amd64: installed
//! processing: trigproc: man-db
//! status: man-db : error : installed man-db package post-installation script subprocess returned error exit status 1
//! ```

use std::collections::BTreeSet;

use oic_protocol::{AgentError, AgentErrorKind};

use crate::{
    events::Events,
    exec::{Ended, Program, Shell},
};

/// One run of dpkg.
#[derive(Debug)]
pub(super) struct Dpkg {
    /// What errors call it: the operands may be thousands.
    name: [String; 2],
    program: Program,
}

impl Dpkg {
    /// Returns dpkg with an action; `{status}` is filled in when it is started.
    pub(super) fn new(action: &str) -> Self {
        let options = [
            "dpkg",
            "--status-fd",
            "{status}",
            // Nobody answers questions; new conffiles are installed, changed ones kept.
            "--force-confdef,confold",
            // The disk is scratch until the session has ended well.
            "--force-unsafe-io",
            // The first failure is the one to tell, with its output last.
            "--abort-after=1",
            "--no-pager",
        ];
        let program = Program::new(options).env("DPKG_COLORS", "never");
        Self { name: ["dpkg".into(), action.into()], program: program.args([action]) }
    }

    /// Adds options or operands. Options may follow the action.
    pub(super) fn args<'a>(self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        Self { name: self.name, program: self.program.args(arguments) }
    }

    /// Runs it, tells the progress and names the package and the script when one fails.
    pub(super) fn run(self, shell: &mut Shell<'_, '_>, progress: &mut Progress) -> Result<(), AgentError> {
        let mut failed = None;
        let mut note = |line: &str, events: &mut Events<'_>| match parse_status(line) {
            Some(Status::Processing { action, package }) => progress.processing(&action, &package, events),
            Some(Status::Error { package, message }) if failed.is_none() => failed = Some((package, message)),
            Some(Status::Error { .. }) | None => {}
        };
        let ended = shell.run(&self.program, Some(&mut note))?;
        if ended.succeeded() {
            return Ok(());
        }
        Err(blame(failed, progress, ended, self.name.into()))
    }
}

/// Words dpkg's failure: by the package that it named, else as a program that failed.
fn blame(failed: Option<(String, String)>, progress: &Progress, ended: Ended, argv: Vec<String>) -> AgentError {
    let Some((package, message)) = failed else {
        return ended.program_failed(argv);
    };
    let Some(script) = script_of(&message, progress.in_trigger(&package)) else {
        let mut error = ended.program_failed(argv);
        error.output.push(format!("{package}: {message}"));
        return error;
    };
    let kind = AgentErrorKind::PackageScript { package, script: script.to_owned(), exit_code: exit_code_of(&message) };
    AgentError { kind, output: ended.output }
}

/// What a status line says that matters here.
#[derive(Debug, PartialEq, Eq)]
enum Status {
    Processing { action: String, package: String },
    Error { package: String, message: String },
}

/// Reads a status line. Fields are separated by `: ` or ` : ` by the kind of line; names may carry `:arch`.
fn parse_status(line: &str) -> Option<Status> {
    if let Some(rest) = line.strip_prefix("processing: ") {
        let (action, package) = rest.split_once(": ")?;
        return Some(Status::Processing { action: action.trim().to_owned(), package: package.trim().to_owned() });
    }
    let mut fields = line.strip_prefix("status: ")?.splitn(3, " : ");
    let package = fields.next()?.trim();
    (fields.next()?.trim() == "error").then_some(())?;
    Some(Status::Error { package: package.to_owned(), message: fields.next()?.trim().to_owned() })
}

/// Returns which script a message of dpkg is about; the words changed between its versions.
fn script_of(message: &str, in_trigger: bool) -> Option<&'static str> {
    if !message.contains("script") {
        return None;
    }
    if message.contains("pre-installation") || message.contains("preinst") {
        return Some("preinst");
    }
    (message.contains("post-installation") || message.contains("postinst")).then_some(if in_trigger { "trigger" } else { "postinst" })
}

/// Returns the exit status at the end of a message, as in "… error exit status 10".
fn exit_code_of(message: &str) -> Option<i32> {
    let (_, status) = message.rsplit_once("status ")?;
    status.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// How many packages are configured. One counter for all runs of dpkg in a step.
#[derive(Debug)]
pub(super) struct Progress {
    total: usize,
    begun: BTreeSet<String>,
    current: Option<(String, String)>,
}

impl Progress {
    /// Returns a counter that ends at `total`.
    pub(super) fn new(total: usize) -> Self {
        Self { total, begun: BTreeSet::new(), current: None }
    }

    /// Takes note that dpkg turns to a package and tells the host; packages begun before this one are done.
    fn processing(&mut self, action: &str, package: &str, events: &mut Events<'_>) {
        let done = self.begun.len().min(self.total);
        match action {
            "configure" => {
                let again = !self.begun.insert(package.to_owned());
                events.progress(if again { done.saturating_sub(1) } else { done }, self.total, package);
            }
            "trigproc" => events.progress(done, self.total, &format!("triggers of {package}")),
            _ => events.progress(done, self.total, package),
        }
        self.current = Some((action.to_owned(), package.to_owned()));
    }

    /// Returns whether dpkg was processing triggers of this package last.
    fn in_trigger(&self, package: &str) -> bool {
        self.current.as_ref().is_some_and(|(action, current)| action == "trigproc" && current == package)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use oic_protocol::{AgentEvent, AgentMessage, codec};

    use super::*;

    fn ended() -> Ended {
        Ended { exit_code: Some(1), signal: None, output: vec!["tail".into()] }
    }

    #[test]
    fn status_lines_are_told_apart() {
        let processing = |action: &str, package: &str| Some(Status::Processing { action: action.into(), package: package.into() });
        assert_eq!(parse_status("processing: configure: libc6:amd64"), processing("configure", "libc6:amd64"));
        assert_eq!(parse_status("processing: trigproc: man-db"), processing("trigproc", "man-db"));
        assert_eq!(parse_status("status: libc6:amd64: half-configured"), None);
        assert_eq!(
            parse_status("status: foo:amd64 : error : installed foo:amd64 package : odd"),
            Some(Status::Error { package: "foo:amd64".into(), message: "installed foo:amd64 package : odd".into() })
        );
        assert_eq!(parse_status("status: /etc/x : conffile-prompt : '/etc/x' '/etc/x.dpkg-new' 1 1"), None);
        for line in ["", "status:", "processing: ", "status: x :", "status: x : error"] {
            assert_eq!(parse_status(line), None, "{line}");
        }
    }

    #[test]
    fn the_script_and_its_status_are_read_from_old_and_new_words() {
        let cases = [
            ("installed foo package post-installation script subprocess returned error exit status 3", false, Some("postinst"), Some(3)),
            ("old foo package postinst maintainer script subprocess failed with exit status 127", false, Some("postinst"), Some(127)),
            ("installed man-db package post-installation script subprocess returned error exit status 1", true, Some("trigger"), Some(1)),
            ("new bar package pre-installation script subprocess returned error exit status 2", false, Some("preinst"), Some(2)),
            ("installed foo package post-installation script subprocess was killed by signal (Killed)", false, Some("postinst"), None),
            ("dependency problems - leaving unconfigured", false, None, None),
        ];
        for (message, in_trigger, script, exit_code) in cases {
            assert_eq!(script_of(message, in_trigger), script, "{message}");
            assert_eq!(exit_code_of(message), exit_code, "{message}");
        }
    }

    #[test]
    fn a_failed_script_names_its_package_and_anything_else_the_program() {
        let argv = || vec!["dpkg".to_owned(), "--configure".to_owned()];
        let message = "installed foo package post-installation script subprocess returned error exit status 3";
        let error = blame(Some(("foo".into(), message.into())), &Progress::new(1), ended(), argv());
        assert_eq!(error.kind, AgentErrorKind::PackageScript { package: "foo".into(), script: "postinst".into(), exit_code: Some(3) });
        assert_eq!(error.output, ["tail"]);

        let error = blame(Some(("foo".into(), "dependency problems - leaving unconfigured".into())), &Progress::new(1), ended(), argv());
        assert!(matches!(error.kind, AgentErrorKind::ProgramFailed { exit_code: Some(1), .. }));
        assert_eq!(error.output.last().unwrap(), "foo: dependency problems - leaving unconfigured");
        assert!(matches!(blame(None, &Progress::new(1), ended(), argv()).kind, AgentErrorKind::ProgramFailed { .. }));
    }

    #[test]
    fn progress_counts_each_package_once() {
        let mut channel = Cursor::new(Vec::new());
        let mut events = Events::new(&mut channel);
        let mut progress = Progress::new(2);
        for (action, package) in [("configure", "a"), ("configure", "b"), ("configure", "b"), ("trigproc", "a"), ("configure", "unasked")] {
            progress.processing(action, package, &mut events);
        }
        let mut wire = &channel.get_ref()[..];
        let seen: Vec<_> = std::iter::from_fn(|| match codec::read_message(&mut wire).ok()? {
            AgentMessage::Event(AgentEvent::Progress { done, total, item, .. }) => Some((done, total, item)),
            _ => None,
        })
        .collect();
        let expected = [(0, 2, "a"), (1, 2, "b"), (1, 2, "b"), (2, 2, "triggers of a"), (2, 2, "unasked")];
        assert_eq!(seen, expected.map(|(done, total, item)| (done, total, item.to_owned())));
    }
}

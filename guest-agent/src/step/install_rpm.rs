//! Installs packages with rpm, in one transaction.
//!
//! ```text
//! tools disk  mounted on /tools, with the target and the store inside
//! rpm         runs with /tools as its root; installs into /target, where it changes its root for every script
//! check       the database is where the distribution has it and lists every package
//! ```
//!
//! rpm takes more for a warning than an image can take. A script that fails after its package is in place is one; so is an owner
//! that does not exist, whose files then belong to root. rpm ends well with both, so the agent reads what it prints: the first of
//! them ends the step, with the lines before it as the reason.
//!
//! The host has verified every package, so rpm checks no digest or signature again, and no file's digest: that would be most of
//! what it does, emulated. While scripts run, dracut does nothing: a step of its own makes the initramfs once, when everything is
//! there. rpm replaces files by renaming, which a mount on dracut would refuse, so a configuration file stands in its way.

use std::collections::BTreeSet;

use oic_protocol::{AgentError, AgentErrorKind, RpmInstall};

use super::rpm::{self, Complaint};
use crate::{
    events::Events,
    exec::{Program, Verdict},
    failure::{self, TAIL_LINES},
    rootfs::Ownership,
    runner::Context,
    target::{MOUNT_POINT, STORE, ToolsDisk},
};

/// Where dracut looks for configuration, and a file there that ends it before it does anything: it takes them for its own code.
const DRACUT_FOLDER: &str = "/etc/dracut.conf.d";
const DRACUT_LATER: &str = "/etc/dracut.conf.d/00-later.conf";
const END: &str = "exit 0\n";

/// What sqlite writes before it changes the database. rpm keeps the file, empty, since users who may not write read with it.
const WRITE_AHEAD_LOG: &str = "rpmdb.sqlite-wal";

/// Installs.
///
/// # Errors
/// Fails with the package and the script, with what rpm says, or with what is wrong with the database afterwards.
pub fn run(install: &RpmInstall, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    if context.target.store.is_none() {
        return Err(failure::invalid_plan("packages are to be installed, and the plan has no store"));
    }
    let _tools = ToolsDisk::mount()?;
    context.target.rootfs.write_file(DRACUT_LATER, 0o644, Ownership::ROOT, &mut END.as_bytes())?;
    transaction(install, context)?;
    let rootfs = &context.target.rootfs;
    rootfs.remove(DRACUT_LATER)?;
    if rootfs.list(DRACUT_FOLDER)?.is_empty() {
        rootfs.remove(DRACUT_FOLDER)?;
    }
    let database = database_folder(context)?;
    check_database(install, &database, context)
}

/// Returns rpm with what every run of it needs.
fn rpm_on_target() -> Program {
    Program::new(["rpm", "--root", MOUNT_POINT]).in_tools()
}

/// Runs the transaction and tells how far it is.
fn transaction(install: &RpmInstall, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let paths: Vec<String> = install.packages.iter().map(|package| format!("{STORE}/{}", package.path)).collect();
    let options = [
        "--upgrade",
        "--verbose",
        "--nodigest",
        "--nosignature",
        "--nofiledigest",
        // The disk is scratch until the session has ended well.
        "--define=_flush_io 0",
        "--define=_pkgverify_level none",
    ];
    let languages = install.languages.as_ref().map(|languages| format!("--define=_install_langs {languages}"));
    let docs = (!install.docs).then_some("--excludedocs");
    let program = rpm_on_target().args(options).args(docs).args(languages.as_deref()).args(paths.iter().map(String::as_str));
    let mut progress = Progress::new(install);
    let mut lookout = |line: &str, events: &mut Events<'_>| progress.line(line, events);
    let ended = context.shell.watch(&program, &mut lookout)?;
    if let Some((complaint, output)) = progress.failed {
        return Err(blame(complaint, &progress.current, output));
    }
    if ended.succeeded() {
        return Ok(());
    }
    // The operands are as many as the packages: rpm's own words say which of them matters.
    Err(ended.program_failed(vec!["rpm".into(), "--upgrade".into()]))
}

/// Words what rpm complained about while it was at a package.
fn blame(complaint: Complaint, current: &str, output: Vec<String>) -> AgentError {
    let kind = match complaint {
        Complaint::Script { package, script, exit_code } => AgentErrorKind::PackageScript { package, script, exit_code },
        Complaint::Owner { kind, name } => AgentErrorKind::PostCondition {
            expected: format!("the {kind} `{name}` exists when files of {current} are written that belong to it"),
            found: "it does not, and rpm gave the files to root".into(),
        },
    };
    AgentError { kind, output }
}

/// What rpm has said so far.
struct Progress {
    names: BTreeSet<String>,
    total: usize,
    done: usize,
    /// The package that rpm turned to last.
    current: String,
    /// The last lines, for the case that one of them is the reason.
    recent: Vec<String>,
    failed: Option<(Complaint, Vec<String>)>,
}

impl Progress {
    fn new(install: &RpmInstall) -> Self {
        let names: BTreeSet<String> = install.packages.iter().map(|package| package.name.clone()).collect();
        Self { total: names.len(), names, done: 0, current: String::new(), recent: Vec::new(), failed: None }
    }

    /// Takes note of a line: the name of a package that rpm turns to, or what a script prints, or a complaint.
    fn line(&mut self, line: &str, events: &mut Events<'_>) -> Verdict {
        if self.names.remove(line) {
            events.progress(self.done, self.total, line);
            self.done += 1;
            line.clone_into(&mut self.current);
            return Verdict::Show;
        }
        if self.recent.len() == TAIL_LINES {
            self.recent.remove(0);
        }
        self.recent.push(line.to_owned());
        let Some(complaint) = rpm::complaint(line) else { return Verdict::Show };
        self.failed = Some((complaint, std::mem::take(&mut self.recent)));
        Verdict::Stop
    }
}

/// Asks the distribution's rpm where it has its database.
fn database_folder(context: &mut Context<'_, '_, '_>) -> Result<String, AgentError> {
    let mut folder = String::new();
    let program = Program::new(["rpm", "--eval", "%{_dbpath}"]).in_tools();
    let mut lookout = |line: &str, _: &mut Events<'_>| {
        folder = line.trim_end_matches('/').to_owned();
        Verdict::Hide
    };
    let ended = context.shell.watch(&program, &mut lookout)?;
    if !ended.succeeded() {
        return Err(ended.program_failed(program.argv().to_vec()));
    }
    rpm::check_database_folder(&folder)?;
    Ok(folder)
}

/// Checks that the database is there and lists what was installed: asked of the image's own rpm where it has one.
fn check_database(install: &RpmInstall, folder: &str, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let rootfs = &context.target.rootfs;
    if rootfs.list(folder)?.is_empty() {
        return Err(failure::post_condition(format!("rpm's database is in {folder}"), "there is none"));
    }
    let query = ["--query", "--all", "--queryformat", rpm::QUERY_FORMAT, "--nodigest", "--nosignature"];
    let own = rootfs.exists("/usr/bin/rpm") || rootfs.exists("/bin/rpm");
    let program = if own { Program::new(["rpm"]) } else { rpm_on_target() }.args(query);
    let mut listed = BTreeSet::new();
    let mut lookout = |line: &str, _: &mut Events<'_>| {
        listed.insert(line.to_owned());
        Verdict::Hide
    };
    let ended = context.shell.watch(&program, &mut lookout)?;
    if !ended.succeeded() {
        return Err(ended.program_failed(vec!["rpm".into(), "--query".into(), "--all".into()]));
    }
    let wanted: BTreeSet<String> = install.packages.iter().map(|package| package.name.clone()).collect();
    rpm::check_listed(&wanted, &listed)?;
    if rootfs.stat(&format!("{folder}/{WRITE_AHEAD_LOG}")).is_some_and(|facts| facts.st_size > 0) {
        return Err(failure::post_condition(format!("rpm's database in {folder} is closed"), format!("{WRITE_AHEAD_LOG} is not empty")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use oic_protocol::{AgentEvent, AgentMessage, StoreBlob, codec};

    use super::*;

    fn install(names: &[&str]) -> RpmInstall {
        let blob = |name: &&str| StoreBlob { name: (*name).to_owned(), path: format!("unpacked/{name}"), size: 1 };
        RpmInstall { packages: names.iter().map(blob).collect(), docs: true, languages: None }
    }

    #[test]
    fn the_first_complaint_ends_the_run_with_what_was_said_before() {
        let mut channel = Cursor::new(Vec::new());
        let mut events = Events::new(&mut channel);
        let mut progress = Progress::new(&install(&["bash-5.2-1.x86_64", "foo-1-1.noarch"]));
        for line in ["Preparing packages...", "bash-5.2-1.x86_64", "foo-1-1.noarch", "cannot find the moon", "foo-1-1.noarch"] {
            assert_eq!(progress.line(line, &mut events), Verdict::Show, "{line}");
        }
        let line = "warning: %post(foo-1-1.noarch) scriptlet failed, exit status 3";
        assert_eq!(progress.line(line, &mut events), Verdict::Stop);
        let (complaint, output) = progress.failed.unwrap();
        let error = blame(complaint, &progress.current, output);
        let kind = AgentErrorKind::PackageScript { package: "foo-1-1.noarch".into(), script: "%post".into(), exit_code: Some(3) };
        assert_eq!(error.kind, kind);
        assert_eq!(error.output.last().map(String::as_str), Some(line));
        assert!(error.output.contains(&"cannot find the moon".to_owned()));

        let mut wire = &channel.into_inner()[..];
        let events: Vec<AgentMessage> = std::iter::from_fn(|| codec::read_message(&mut wire).ok()).collect();
        let progress = |done: u64, item: &str| AgentMessage::Event(AgentEvent::Progress { step: 0, done, total: 2, item: item.into() });
        assert_eq!(events, [progress(0, "bash-5.2-1.x86_64"), progress(1, "foo-1-1.noarch")]);
    }
}

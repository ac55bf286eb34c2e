//! Builds that are stopped at some moment, and builds side by side: nothing stays, and the next build succeeds.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use oic_tests::{Tiny, Turn, skip};

/// The moments: a stage, and how many milliseconds after its start. Fixed, so that a failure can be seen again.
const MOMENTS: [(&str, u64); 3] = [("resolve", 120), ("unpack", 300), ("compose", 2500)];

/// How long a program may take to end after Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_build_stopped_at_any_moment_leaves_nothing_and_builds_side_by_side_succeed_after_it() {
    let test = "a_build_stopped_at_any_moment_leaves_nothing_and_builds_side_by_side_succeed_after_it";
    if !Tiny::is_possible(test) {
        return;
    }
    // Something that no earlier run has left in the shared cache, and that takes a while.
    let own = format!("  configurations:\n    - cmd: 'sleep 5 # {}'\n", std::process::id());
    let tiny = Tiny::new(true, None, "", &own);
    {
        let _turn = Turn::wait();
        for (signal, moments) in [("INT", MOMENTS), ("KILL", MOMENTS)] {
            for (stage, after) in moments {
                interrupt(&tiny, signal, stage, Duration::from_millis(after));
            }
        }
    }
    // Both use the cache and the work folder that the stopped ones have left.
    let _turns = (Turn::wait(), Turn::wait());
    let mut builds = ["one", "two"].map(|folder| start(build(&tiny, folder)));
    for (build, folder) in builds.iter_mut().zip(["one", "two"]) {
        let output = tiny.sandbox().cwd().join(folder);
        let status = build.wait().expect("a child can be waited for");
        let log = fs::read_to_string(output.join("build.log")).unwrap_or_default();
        assert!(status.success(), "{status}: {log}");
        assert!(output.join("SHA256SUMS").exists());
    }
    assert!(
        fs::read(tiny.sandbox().cwd().join("one/SHA256SUMS")).unwrap() == fs::read(tiny.sandbox().cwd().join("two/SHA256SUMS")).unwrap()
    );
    assert_eq!(names(&tiny.sandbox().cwd().join("work")), [""; 0], "what killed builds left is removed by the next");
    assert_eq!(names(&tiny.sandbox().root().join("tmp")), [""; 0], "what killed builds left is removed by the next");
}

/// Returns a build into a folder.
fn build(tiny: &Tiny, folder: &str) -> Command {
    tiny.oic(&["build", "--progress", "json", "--work-dir", "work", "-o", folder, "template.yml"]).into_command()
}

#[expect(clippy::disallowed_methods, reason = "the program under test runs while the test looks on")]
fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program under test starts");
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || BufReader::new(stdout).lines().for_each(drop));
    }
    child
}

/// Stops a build some time after the start of a stage, and looks at what is left.
#[expect(clippy::disallowed_methods, reason = "the program under test runs while the test looks on")]
fn interrupt(tiny: &Tiny, signal: &str, stage: &str, after: Duration) {
    if stage == "resolve" {
        let _ = fs::remove_file(tiny.sandbox().cwd().join("oic.lock"));
    }
    let mut child = build(tiny, "out").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program under test starts");
    let id = child.id();
    let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines().map_while(Result::ok);
    let began = lines.any(|line| line.contains("\"stage-started\"") && line.contains(&format!("\"{stage}\"")));
    assert!(began, "the build ended before {stage}");
    std::thread::sleep(after);
    let stopped = Instant::now();
    let sent = Command::new("kill").args([format!("-{signal}"), id.to_string()]).status().expect("there is a `kill`");
    if !sent.success() {
        skip("interrupt", &format!("the build had ended {} ms after the start of {stage}", after.as_millis()));
    }
    lines.for_each(drop);
    let status = child.wait().expect("a child can be waited for");
    let took = stopped.elapsed();
    let moment = format!("SIG{signal} {} ms after the start of {stage}: {status} after {took:?}", after.as_millis());
    if signal == "INT" {
        assert_eq!(status.code(), Some(130), "{moment}");
        assert!(took < PATIENCE, "{moment}");
    }
    // The kernel kills the children of a killed process; they may need a moment to be gone.
    let deadline = Instant::now() + PATIENCE;
    while !processes(tiny).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(processes(tiny), [""; 0], "{moment}");
    assert!(!fs::read_to_string("/proc/net/unix").unwrap_or_default().contains(&*tiny.sandbox().root().to_string_lossy()), "{moment}");
    let output = names(&tiny.sandbox().cwd().join("out"));
    assert!(output.iter().all(|name| name == "build.log"), "{moment}: {output:?}");
    if signal == "INT" {
        assert_eq!(names(&tiny.sandbox().cwd().join("work")), [""; 0], "{moment}");
        assert_eq!(names(&tiny.sandbox().root().join("tmp")), [""; 0], "{moment}");
    }
}

/// Returns the command lines of processes that the sandbox is mentioned in.
fn processes(tiny: &Tiny) -> Vec<String> {
    let root = tiny.sandbox().root().to_string_lossy().into_owned();
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten().filter(|entry| *entry.file_name() != *own) {
        // What runs in the sandbox has its folder among its arguments or in its environment.
        let of = |file: &str| {
            fs::read(entry.path().join(file)).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ")).unwrap_or_default()
        };
        let line = of("cmdline");
        if line.contains(&root) || of("environ").contains(&root) {
            found.push(line);
        }
    }
    found
}

/// Returns the names of the files in a folder; none when it is not there.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

//! Several repositories in one image of the Debian family: a folder of bare packages and a served repository beside Debian's.

use std::{fs, path::Path, process::Command};

use oic_tests::{
    Sandbox,
    archive::{self, Key, Package, deb},
    server::{Manner, Server},
    skip,
};

use super::{build, lab};

const TEMPLATE: &str = r#"
image: {name: mixed, version: 1.0.0}
target: {os: debian, dist: debian13, arch: x86_64, imageType: container}
disk: {artifacts: [{type: tar}]}
packageRepositories:
  - {codename: own, path: own, pkey: "[trusted=yes]"}
  - {codename: test, url: "http://SERVER/debian", pkey: "KEY", priority: 600, allowPackages: ["own-*"], excludes: [own-not]}
systemConfig:
  name: mixed
  packages: [apt, netbase >= 90, own-served]
"#;

fn package(name: &'static str, version: &'static str) -> Package {
    Package { name, version, script: "#!/bin/sh\n" }
}

#[expect(clippy::disallowed_methods, reason = "what outputs are looked at with is not ours")]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn a_folder_and_a_served_repository_are_mixed_with_the_archive() {
    let Some(lab) = lab("mixed::a_folder_and_a_served_repository_are_mixed_with_the_archive") else { return };
    let (server, key, sandbox) = (Server::start(Manner::Good), Key::new(), Sandbox::new());
    // Of the served ones one is newer than the folder's and not allowed, and one is kept out.
    archive::put(&server, &key, "amd64", "", &[package("own-served", "1.0"), package("netbase", "99:2.0"), package("own-not", "1.0")]);
    fs::create_dir(sandbox.cwd().join("own")).unwrap();
    for package in [package("netbase", "99:1.0"), package("own-unused", "1.0")] {
        fs::write(sandbox.cwd().join(format!("own/{}.deb", package.name)), deb(&package).1).unwrap();
    }
    fs::write(sandbox.cwd().join("key.asc"), key.public()).unwrap();
    let path = sandbox.cwd().join("key.asc").display().to_string();
    let template = TEMPLATE.replace("SERVER", &server.address()).replace("KEY", &path);
    sandbox.write("template.yml", &template.replace("own-served]", "own-not]"));
    let output = sandbox.oic(&["lock", "--progress", "none", "template.yml"]).env("OIC_CACHE_DIR", lab.cache()).run();
    assert_eq!(output.code, Some(4), "{output}");
    assert!(output.stderr.contains("and `own-not` of excludes (template.yml:7:"), "{output}");

    sandbox.write("template.yml", &template);
    build(&sandbox, lab.cache(), &[]);
    let lock = sandbox.read("oic.lock");
    for expected in ["name = \"netbase\"\nversion = \"99:1.0\"", "name = \"own-served\"\nversion = \"1.0\""] {
        assert!(lock.contains(expected), "{expected} is not in\n{lock}");
    }
    assert!(!lock.contains("own-unused") && !lock.contains(&sandbox.cwd().display().to_string()), "{lock}");

    let image = sandbox.cwd().join("out/mixed-1.0.0.tar");
    fs::create_dir(sandbox.cwd().join("root")).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&image).arg("-C").arg(sandbox.cwd().join("root"));
    run(tar.args(["./etc/apt", "./var/lib/dpkg/status", "./usr/share/doc/netbase", "./usr/share/doc/own-served"]));
    let status = sandbox.read("root/var/lib/dpkg/status");
    assert!(status.contains("Package: netbase\nStatus: install ok installed\n"), "{status}");
    assert!(status.contains("Version: 99:1.0\n"), "{status}");
    assert_eq!(sandbox.read("root/usr/share/doc/netbase/copyright"), "public domain\n");
    let stem = format!("{}-debian-test", server.address().replace(['.', ':'], "-"));
    let source = sandbox.read(&format!("root/etc/apt/sources.list.d/{stem}.sources"));
    assert_eq!(
        source,
        format!(
            "Types: deb\nURIs: http://{}/debian\nSuites: test\nComponents: main\nSigned-By: /etc/apt/keyrings/{stem}.asc\n",
            server.address()
        )
    );
    assert_eq!(fs::read(sandbox.cwd().join(format!("root/etc/apt/keyrings/{stem}.asc"))).unwrap(), key.public());
    let pins = sandbox.read(&format!("root/etc/apt/preferences.d/{stem}.pref"));
    assert_eq!(
        pins,
        "Package: own-not\nPin: origin \"127.0.0.1\"\nPin-Priority: -1\n\nPackage: own-*\nPin: origin \"127.0.0.1\"\nPin-Priority: 600\n\n\
         Package: *\nPin: origin \"127.0.0.1\"\nPin-Priority: -1\n"
    );
    let sources = fs::read_dir(sandbox.cwd().join("root/etc/apt/sources.list.d")).unwrap();
    for entry in sources.map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains("file:") && !text.contains(&sandbox.cwd().display().to_string()), "{text}");
    }
    apt_agrees(&sandbox, &stem);
}

/// Has apt read the source with its key and its pins as they are in the image.
fn apt_agrees(sandbox: &Sandbox, stem: &str) {
    if !Path::new("/usr/bin/apt-get").exists() {
        return skip("mixed::apt_agrees", "there is no apt-get");
    }
    let root = sandbox.cwd().join("root");
    // The source says where the key is in the image.
    let path = format!("root/etc/apt/sources.list.d/{stem}.sources");
    let source = sandbox.read(&path).replace("/etc/apt/keyrings", &root.join("etc/apt/keyrings").display().to_string());
    sandbox.write(&path, &source);
    for folder in ["state/lists/partial", "cache/archives/partial", "none"] {
        fs::create_dir_all(sandbox.cwd().join(folder)).unwrap();
    }
    fs::write(sandbox.cwd().join("state/status"), "").unwrap();
    let at = |folder: &str| sandbox.cwd().join(folder).display().to_string();
    let options = [
        format!("Dir::Etc={}", root.join("etc/apt").display()),
        format!("Dir::Etc::SourceList={}", at("root/etc/apt/sources.list.d") + &format!("/{stem}.sources")),
        format!("Dir::Etc::SourceParts={}", at("none")),
        format!("Dir::State={}", at("state")),
        format!("Dir::State::Status={}", at("state/status")),
        format!("Dir::Cache={}", at("cache")),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "APT::Sandbox::User=".to_owned(),
    ];
    let apt = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(options.iter().flat_map(|option| ["-o", option]));
        run(command.args(arguments).env("LC_ALL", "C"))
    };
    let update = apt("apt-get", &["update", "--error-on=any"]);
    assert!(!update.contains("W:"), "{update}");
    let policy = apt("apt-cache", &["policy", "own-served", "own-not", "netbase"]);
    let candidates: Vec<&str> = policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate: ")).collect();
    assert_eq!(candidates, ["1.0", "(none)", "(none)"], "{policy}");
    // Another key than the one in the image is not enough.
    fs::write(root.join(format!("etc/apt/keyrings/{stem}.asc")), Key::new().public()).unwrap();
    let mut command = Command::new("apt-get");
    command.args(options.iter().flat_map(|option| ["-o", option]));
    #[expect(clippy::disallowed_methods, reason = "what sources are read with is not ours")]
    let refused = command.args(["update", "--error-on=any"]).env("LC_ALL", "C").output().unwrap();
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
}

//! Several repositories in one image: which packages come from which, and what the image lists afterwards.

use std::{fs, path::Path};

use oic_tests::{
    Lab, Sandbox, TestOs, build_rpm,
    server::{Manner, Server},
};

use super::{build, folder};

/// A package manager, one package of a folder, and what a served repository of updates has and may give.
const TEMPLATE: &str = r#"
image: {name: mixed, version: 1.0.0}
target: {os: testos, dist: testos1, arch: x86_64, imageType: container}
disk: {artifacts: [{type: tar}]}
packageRepositories:
  - {codename: own, path: own, pkey: "[trusted=yes]", excludes: [own-not]}
  - {codename: updates, url: "http://SERVER/updates", pkey: KEY, priority: 50, allowPackages: [bash, "openssl*"], excludes: ["openssl*"]}
systemConfig:
  name: mixed
  packages: [tdnf, bash, openssl, own-note >= 1]
  excludes: [nano]
"#;

/// Returns a file of a tar archive.
#[expect(clippy::disallowed_methods, reason = "what outputs are looked at with is not ours")]
fn of_archive(archive: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new("tar").arg("-xOf").arg(archive).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn repositories_are_mixed_and_those_that_can_be_reached_are_in_the_image() {
    let test = "mixed::repositories_are_mixed_and_those_that_can_be_reached_are_in_the_image";
    let Some(lab) = Lab::open(test, "x86_64", folder()) else { return };
    let Some(testos) = TestOs::obtain(test, "x86_64", folder()) else { return };
    let server = Server::start(Manner::Good);
    server.put_folder("/updates", &testos.updates());
    let sandbox = Sandbox::new();
    testos.install(&sandbox);
    for name in ["own-note", "own-not"] {
        let body = "%description\nA note.\n%install\ninstall -D /dev/null %{buildroot}/srv/NAME\n%files\n/srv/NAME\n";
        build_rpm(&sandbox.cwd().join("own"), name, &body.replace("NAME", name));
    }
    let key = testos.repository().join("RPM-GPG-KEY-testos");
    let template = TEMPLATE.replace("SERVER", &server.address()).replace("KEY", &key.display().to_string());
    sandbox.write("template.yml", &template);

    // What is kept out is named where it is asked for.
    let told = |from: &str, to: &str| {
        assert!(template.contains(from));
        sandbox.write("template.yml", &template.replace(from, to));
        let output = sandbox.oic(&["lock", "--progress", "none", "template.yml"]).env("OIC_CACHE_DIR", lab.cache()).run();
        assert_eq!(output.code, Some(4), "{output}");
        output.stderr
    };
    let not = told("own-note >= 1", "own-not");
    assert!(not.contains("repository") && not.contains("has it, but `own-not` of excludes (template.yml:6:"), "{not}");
    let nano = told("own-note >= 1", "nano");
    assert!(nano.contains("has it, but `nano` of excludes (template.yml:11:"), "{nano}");
    let newer = told("own-note >= 1", "own-note > 1");
    assert!(newer.contains("own-note > 1 does not exist in this version"), "{newer}");

    sandbox.write("template.yml", &template);
    build(&sandbox, lab.cache(), "out", &[]);
    let lock = sandbox.read("oic.lock");
    let from = |name: &str| {
        let entry = lock.split("[[image.package]]").find(|entry| entry.contains(&format!("\nname = \"{name}\"\n")));
        let entry = entry.unwrap_or_else(|| panic!("{name} is not locked"));
        let repository = entry.lines().find_map(|line| line.strip_prefix("repository = ")).unwrap();
        repository.trim_matches('"').to_owned()
    };
    let stem = format!("{}-updates-updates", server.address().replace(['.', ':'], "-"));
    let updates = from("bash").replace(['.', '/', ':'], "-");
    assert_eq!(updates, stem, "the update, for its repository comes first");
    assert_eq!(from("openssl"), "testos1", "kept out of the updates");
    assert_eq!(from("own-note"), "own-own", "as the template calls the folder");

    let image = sandbox.cwd().join("out/mixed-1.0.0.tar");
    let repo = of_archive(&image, &[&format!("./etc/yum.repos.d/{stem}.repo")]);
    let gpgkey = format!("/etc/pki/rpm-gpg/RPM-GPG-KEY-{stem}");
    assert_eq!(
        repo,
        format!(
            "[{stem}]\nname={stem}\nbaseurl=http://{}/updates\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://{gpgkey}\n\
             priority=50\nincludepkgs=bash openssl*\nexcludepkgs=openssl*\n",
            server.address()
        )
    );
    assert_eq!(of_archive(&image, &[&format!(".{gpgkey}")]), fs::read_to_string(&key).unwrap());
    // The distribution's own file is its package's; the folder is of this machine, and nowhere in the image.
    let all = of_archive(&image, &["--wildcards", "./etc/yum.repos.d/*"]);
    assert_eq!(all.matches("baseurl=").count(), 2, "{all}");
    assert!(!all.contains(&sandbox.cwd().display().to_string()), "{all}");
}

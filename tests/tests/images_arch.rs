//! An image of a foreign architecture: the x86_64 template, built with `--arch aarch64` in a builder VM that is emulated
//! instruction by instruction, booted by its own firmware and looked at from inside.
//!
//! It needs a mirror and nothing else: what is missing is said. It takes some three minutes.

use std::{fs, path::Path};

use oic_builder_vm::DiskFormat;
use oic_config::spec::Arch;
use oic_tests::{Guest, Lab, Sandbox, Turn};

const PASSWORD: &str = "correct horse";

/// What the test asks for beyond a template that users start from.
const MORE: &str = r#"
  users:
    - {name: ada, password: correct horse, sudo: true}
  packages: [sudo]
  additionalFiles:
    - {local: greeting, final: /etc/workbench/greeting, mode: "0644"}
  configurations:
    - cmd: uname -m > /etc/workbench/made-on
"#;

/// Returns a sandbox with the x86_64 template of a distribution, extended.
fn sandbox(template: &str) -> Sandbox {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates").join(template);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let sandbox = Sandbox::new();
    sandbox.write("template.yml", &format!("{}{MORE}", text.trim_end()));
    sandbox.write("greeting", "Hello from a file.\n");
    sandbox
}

#[test]
fn an_aarch64_image_is_built_from_the_x86_64_template_and_boots() {
    let test = "an_aarch64_image_is_built_from_the_x86_64_template_and_boots";
    let Some(lab) = Lab::open(test, "aarch64", Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    let sandbox = sandbox("debian13-x86_64-minimal-raw.yml");
    let turn = Turn::wait();
    let arguments = ["build", "--arch", "aarch64", "--progress", "plain", "-o", "out", "template.yml"];
    let output = sandbox.oic(&arguments).env("OIC_CACHE_DIR", lab.cache()).run();
    drop(turn);
    assert_eq!(output.code, Some(0), "{output}");

    let lock = sandbox.read("oic.lock");
    assert!(lock.contains("[[image]]\narch = \"aarch64\"\n"), "{}", &lock[..400]);
    assert!(lock.contains("name = \"linux-image-cloud-arm64\"") && !lock.contains("name = \"linux-image-cloud-amd64\""));
    let manifest: serde_json::Value = serde_json::from_str(&sandbox.read("out/manifest.json")).unwrap();
    assert_eq!(manifest["image"]["arch"], "aarch64");

    // What the firmware starts, from a name and a folder that tell nothing of the architecture.
    let image = sandbox.cwd().join("disk");
    fs::rename(sandbox.cwd().join("out/debian13-minimal-13.0.raw"), &image).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _turn = Turn::wait();
            let output = sandbox.oic(&["boot", "--check", "--progress", "plain", "disk"]).env("OIC_CACHE_DIR", lab.cache()).run();
            assert_eq!(output.code, Some(0), "{output}");
            assert!(output.stdout.contains("asks for a login"), "{output}");
        });
        look_around(&lab, &sandbox, &image);
    });
}

/// Logs in and looks at what the template asked for.
fn look_around(lab: &Lab, sandbox: &Sandbox, image: &Path) {
    let _turn = Turn::wait();
    let mut guest = Guest::boot(lab, sandbox, image, DiskFormat::Raw, Arch::Aarch64).unwrap();
    guest.log_in("ada", PASSWORD).unwrap();
    let mut wrong = Vec::new();
    for (command, expected) in [
        (format!("echo '{PASSWORD}' | sudo -S -p '' dmesg --console-level emerg"), ""),
        ("uname -m".to_owned(), "aarch64"),
        ("systemctl is-system-running".to_owned(), "running"),
        ("systemctl --failed --no-legend --plain".to_owned(), ""),
        ("whoami".to_owned(), "ada"),
        ("cat /etc/workbench/greeting".to_owned(), "Hello from a file."),
        ("cat /etc/workbench/made-on".to_owned(), "aarch64"),
        ("dpkg --print-architecture".to_owned(), "arm64"),
        ("dpkg-query -W -f '${Status}' sudo".to_owned(), "install ok installed"),
        ("grep -o console=ttyAMA0 /proc/cmdline".to_owned(), "console=ttyAMA0"),
    ] {
        let answer = guest.run(&command).unwrap();
        if answer.text != expected {
            wrong.push(format!("`{command}` gives {answer}\n  instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n--- the console\n{}", wrong.join("\n"), guest.console());
}

/// Two architectures that cannot both be built: the one that can has its outputs, and the exit status tells.
#[test]
fn one_that_fails_does_not_spoil_the_other() {
    let test = "one_that_fails_does_not_spoil_the_other";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (Some(lab), Some(_)) = (Lab::open(test, "aarch64", folder), Lab::open(test, "x86_64", folder)) else { return };
    let sandbox = sandbox("debian13-x86_64-minimal-raw.yml");
    let template = sandbox.read("template.yml").replace("uname -m >", "test $(uname -m) = x86_64 && uname -m >");
    sandbox.write("template.yml", &template);
    let _turns = (Turn::wait(), Turn::wait());
    let arguments = ["build", "--arch", "x86_64,aarch64", "--progress", "plain", "-o", "out", "template.yml"];
    let output = sandbox.oic(&arguments).env("OIC_CACHE_DIR", lab.cache()).run();
    assert_eq!(output.code, Some(7), "{output}");
    assert_eq!(output.stdout.trim(), "out/debian13-minimal-13.0-x86_64", "{output}");
    assert!(output.stderr.contains("1 of 2 images not built"), "{output}");
    assert!(sandbox.cwd().join("out/debian13-minimal-13.0-x86_64/debian13-minimal-13.0.raw").exists());
    assert!(!sandbox.cwd().join("out/debian13-minimal-13.0-aarch64/debian13-minimal-13.0.raw").exists());
    let lock = sandbox.read("oic.lock");
    for arch in ["aarch64", "x86_64"] {
        assert!(lock.contains(&format!("[[image]]\narch = \"{arch}\"\n")), "the lock lacks {arch}");
    }
}

//! Real templates: ours, and those of Image Composer Tool's users.

use std::path::{Path, PathBuf};

use oic_config::{LoadRequest, Report, Severity, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn templates_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            templates_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            found.push(path);
        }
    }
    found.sort();
}

#[test]
fn dump() {
    let mut found = Vec::new();
    templates_below(&root().join("image-templates"), &mut found);
    if let Ok(p) = std::fs::canonicalize(root().join("../../shared/corpus/ict-templates")) {
        templates_below(&p, &mut found);
    }
    for path in found {
        let request =
            LoadRequest { template: path.clone(), vars: vec![("SSH_KEY".into(), "ssh-ed25519 AAAA me".into())], ..Default::default() };
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match load(&request) {
            Ok(loaded) => {
                println!(
                    "=== OK {name} pkgs={} repos={} warnings={}",
                    loaded.spec.system.packages.len(),
                    loaded.spec.repositories.len(),
                    loaded.warnings.len()
                );
                for w in &loaded.warnings {
                    println!("{w}");
                }
                for u in &loaded.spec.unsupported {
                    println!("   U {} | {} | {}", u.field, u.reason, u.origin);
                }
                if name.contains("server-raw") {
                    println!("{}", loaded.merged.to_yaml_with_origins());
                    println!("{:#?}", loaded.spec.system);
                }
            }
            Err(report) => println!("=== BAD {name}\n{report}"),
        }
    }
}

//! Tests of the solver as a whole: dnf's answers on real metadata.

use std::{
    collections::BTreeSet,
    io::BufReader,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use flate2::read::GzDecoder;
use oic_config::spec::Arch;
use serde_json::Value;

use super::*;

fn corpus(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/rpm").join(path);
    if !found.exists() {
        eprintln!("skipped: {} is not here", found.display());
    }
    found.exists().then_some(found)
}

fn document(repository: &str, kind: &str) -> Option<Vec<u8>> {
    let folder = corpus(repository)?.join("repodata");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let path = names.into_iter().find(|path| path.to_str().unwrap().contains(kind))?;
    let bytes = std::fs::read(&path).unwrap();
    let mut text = Vec::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => drop(std::io::Read::read_to_end(&mut GzDecoder::new(&bytes[..]), &mut text).unwrap()),
        _ => text = bytes,
    }
    Some(text)
}

fn repository(id: &str, folder: &str) -> Option<IndexedRepository> {
    let index = Arc::new(PackageIndex::parse(BufReader::new(&document(folder, "primary.xml")?[..])).unwrap());
    let comps = Some(Arc::new(Comps::parse(&document(folder, "comps-")?[..]).unwrap()));
    Some(IndexedRepository {
        id: id.to_owned(),
        priority: DEFAULT_PRIORITY,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        index,
        comps,
        files: Vec::new(),
    })
}

/// CentOS Stream 9: BaseOS, and both.
static CENTOS: LazyLock<Option<[Universe; 2]>> = LazyLock::new(|| {
    let mut base = repository("baseos", "centos9-baseos-2022")?;
    let universe = Universe::new(Arch::X86_64, vec![base.clone()]).unwrap();
    let wanted = universe.unknown_files(&[]);
    base.files = filelists::find_owners(&document("centos9-baseos-2022", "filelists")?[..], &wanted).unwrap();
    let app = repository("appstream", "centos9-appstream-2025")?;
    Some([vec![base.clone()], vec![base, app]].map(|all| Universe::new(Arch::X86_64, all).unwrap()))
});

#[test]
fn solutions_are_those_of_dnf() {
    let (Some(golden), Some(universes)) = (corpus("golden-dnf4-centos9.json"), &*CENTOS) else {
        return;
    };
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let mut differences = Vec::new();
    for case in &cases {
        let specs = case["specs"].as_array().unwrap().iter().map(|spec| spec.as_str().unwrap().to_owned()).collect();
        let weak = case["weak"].as_bool().unwrap();
        let universe = &universes[case["repos"].as_array().unwrap().len() - 1];
        let label = format!("{} weak={weak}", case["case"].as_str().unwrap());
        match (solve(universe, &SolveRequest { specs, weak, best: true }), case["ok"].as_bool().unwrap()) {
            (Ok(solution), true) => {
                let ours: BTreeSet<_> = solution.packages.iter().map(SolvedPackage::nevra).collect();
                let theirs: BTreeSet<_> = case["packages"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect();
                if ours != theirs {
                    let more: Vec<_> = ours.difference(&theirs).collect();
                    let less: Vec<_> = theirs.difference(&ours).collect();
                    differences.push(format!("{label}: {} packages; more: {more:?}; less: {less:?}", theirs.len()));
                }
            }
            (Err(error), false) => eprintln!("{label}: refused by both:\n{error}\n{}", case["error"].as_str().unwrap_or_default()),
            (Ok(solution), false) => {
                differences.push(format!("{label}: we found {} packages, dnf none: {}", solution.packages.len(), case["error"]));
            }
            (Err(error), true) => differences.push(format!("{label}: {error}")),
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), cases.len(), differences.join("\n"));
}

//! `primary.xml` of an RPM repository: parsing, the stored form, and a solve for each of its first packages.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use oic::solve::{
    StoredIndex as _,
    rpm::{DEFAULT_PRIORITY, IndexedRepository, PackageIndex, SolveError, SolveRequest, Universe, solve},
};
use oic_config::spec::Arch;

fuzz_target!(|document: &[u8]| {
    let Ok(index) = PackageIndex::parse(document) else {
        return;
    };
    let mut stored = Vec::new();
    index.write(&mut stored).expect("memory takes it");
    assert_eq!(PackageIndex::read(&stored).expect("it was just written"), index);
    let specs: Vec<_> = index.packages().map(|package| package.name().to_owned()).take(4).collect();
    let repository = IndexedRepository {
        id: "fuzz".to_owned(),
        priority: DEFAULT_PRIORITY,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        index: Arc::new(index),
        comps: None,
        files: Vec::new(),
    };
    let universe = Universe::new(Arch::X86_64, vec![repository]).expect("it is small");
    drop(universe.unknown_files(&specs));
    for spec in specs {
        for weak in [false, true] {
            let request = SolveRequest { specs: vec![spec.clone()], weak, best: false };
            if let Err(error @ SolveError::Unsound(_)) = solve(&universe, &request) {
                panic!("{error}");
            }
        }
    }
});

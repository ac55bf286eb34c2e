//! `comps.xml` and `filelists.xml` of an RPM repository.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oic::solve::rpm::{Comps, filelists};

fuzz_target!(|document: &[u8]| {
    if let Ok(comps) = Comps::parse(document) {
        assert!(comps.groups.keys().chain(comps.environments.keys()).all(|id| !id.is_empty()));
    }
    let wanted = ["/usr/share/x".to_owned()].into();
    if let Ok(owners) = filelists::find_owners(document, &wanted) {
        assert!(owners.iter().all(|owner| wanted.contains(&owner.path)));
    }
});

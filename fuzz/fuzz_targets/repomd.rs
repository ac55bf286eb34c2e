//! `repomd.xml` of an RPM repository.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oic::repository::rpm::repomd::Repomd;

fuzz_target!(|document: &[u8]| {
    drop(Repomd::parse(document));
});

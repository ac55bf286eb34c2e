//! What comes before the payload of an RPM package: lead, signature header, header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oic::repository::rpm::package::PackageHeader;

fuzz_target!(|bytes: &[u8]| {
    let Ok(package) = PackageHeader::read(&mut &bytes[..]) else {
        return;
    };
    let texts = [package.license(), package.source_package()];
    let names = package.requires().len() + package.provides().len() + texts.iter().flatten().count();
    assert!(names <= bytes.len(), "more was read than there is");
    drop(package.id());
});

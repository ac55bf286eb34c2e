//! A disk image of any format: its table, its filesystems and what `oic inspect` reads of them.
#![no_main]

use std::{env, fs, path::PathBuf, process, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use oic::{artifact::open::OpenedImage, inspect};

/// One file for the whole run: images are opened by name.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = env::temp_dir().join(format!("oic-fuzz-{}", process::id()));
    fs::create_dir_all(&place).expect("the folder for temporary files can be written");
    place
});

fuzz_target!(|bytes: &[u8]| {
    let file = PLACE.join("image");
    fs::write(&file, bytes).expect("the folder for temporary files can be written");
    if let Ok(image) = OpenedImage::open(&file, &PLACE) {
        drop(inspect::inspect(&image));
    }
});

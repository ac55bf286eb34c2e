//! `oic convert`.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn an_image_in_another_format() {
    let sandbox = Sandbox::new();
    sandbox.write("disk.raw", &"x".repeat(100_000));
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", "disk.vmdk.zst", "--format", "vmdk-stream"]).run(), @"
    exit 0
    --- stdout
    wrote disk.vmdk.zst: vmdk-stream in zstd, 470 bytes, a disk of 97.7 KiB from raw
    --- stderr
    artifacts  started
    artifacts  done in [TIME] s
    ");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.vmdk.zst", "-o", "back.raw", "--compress", "none"]).run(), @"
    exit 0
    --- stdout
    wrote back.raw: raw, 98 KiB, a disk of 98 KiB from vmdk-stream
    --- stderr
    artifacts  started
    artifacts  done in [TIME] s
    ");
    let read = |name: &str| std::fs::read(sandbox.cwd().join(name)).unwrap();
    assert!(read("back.raw").starts_with(&read("disk.raw")));
}

#[test]
fn from_every_format_to_every_other() {
    let sandbox = Sandbox::new();
    // A little of everything: content, holes, and an end in the middle of every kind of block.
    let mut disk = vec![0; (3 << 20) + 5 * 512];
    for (at, byte) in disk.iter_mut().enumerate().filter(|(at, _)| at >> 16 & 3 != 1) {
        *byte = (at >> 9) as u8;
    }
    std::fs::write(sandbox.cwd().join("disk.raw"), &disk).unwrap();
    let formats = ["raw", "qcow2", "vhd", "vhd-dynamic", "vhdx", "vmdk", "vmdk-stream", "vdi"];
    let compressions = ["none", "gz", "xz", "zstd", "bz2"];
    let convert = |input: &str, output: &str, format: &str, compression: &str| {
        let arguments = ["convert", "-i", input, "-o", output, "--format", format, "--compress", compression, "--progress", "none"];
        let said = sandbox.oic(&arguments).run();
        assert_eq!(said.code, Some(0), "{arguments:?}: {said}");
    };
    for (index, from) in formats.iter().enumerate() {
        // Every compression is read.
        let first = format!("first-{from}");
        convert("disk.raw", &first, from, compressions[index % compressions.len()]);
        for to in formats {
            convert(&first, "second", to, "none");
            convert("second", "back.raw", "raw", "none");
            let back = std::fs::read(sandbox.cwd().join("back.raw")).unwrap();
            // VHDs are of whole MiB, and what was one stays so long.
            assert!(back.len() < disk.len() + (4 << 20), "{from} to {to}: {} bytes", back.len());
            assert!(back.starts_with(&disk) && back[disk.len()..].iter().all(|byte| *byte == 0), "{from} to {to} is another disk");
        }
    }
}

#[test]
fn what_cannot_be_converted() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["convert", "-i", "missing.raw", "-o", "disk.vhd"]).run(), @"
    exit 2
    --- stderr
    artifacts  started
    error: cannot read the image `missing.raw`
      caused by: No such file or directory (os error 2)
    ");
    sandbox.write("disk.raw", "x");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", "disk.img"]).run(), @"
    exit 2
    --- stderr
    error: the name `disk.img` does not say which format to write
    hint: name it with `--format`: raw, qcow2, vhd, vhd-dynamic, vhdx, vmdk, vmdk-stream, vdi, ova
    ");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", "disk.vhd", "--format", "iso"]).run(), @"
    exit 2
    --- stderr
    error: invalid value 'iso' for '--format <FORMAT>'
      [possible values: raw, qcow2, vhd, vhd-dynamic, vhdx, vmdk, vmdk-stream, vdi, ova]

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", ".", "--format", "raw"]).run(), @"
    exit 8
    --- stderr
    artifacts  started
    error: `.` is not a regular file, and is not replaced
    hint: name a file with `--output`; `dd` writes an image to a disk
    ");
    std::fs::write(sandbox.cwd().join("cut.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    assert_snapshot!(sandbox.oic(&["convert", "-i", "cut.qcow2", "-o", "disk.vhd"]).run(), @"
    exit 2
    --- stderr
    artifacts  started
    error: cannot open the image `cut.qcow2`
      caused by: the image is damaged: its clusters have no possible size
    ");
    std::fs::write(sandbox.cwd().join("cut.raw.xz"), b"\xfd7zXZ\0\0").unwrap();
    assert_snapshot!(sandbox.oic(&["convert", "-i", "cut.raw.xz", "-o", "disk.vhd"]).run(), @"
    exit 2
    --- stderr
    artifacts  started
    error: cannot decompress the image `cut.raw.xz`
      caused by: premature eof
    ");
}

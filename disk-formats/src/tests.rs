//! Every container, written and read by us and by another program.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;

const TIME: u64 = 1_700_000_000;

/// Writes a disk of `size` bytes with data here and there.
fn disk(path: &Path, size: u64) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let mut state = 1_u32;
    for (offset, length) in [(0, 5000), ((20 << 20) - 700, 1400), (33 << 20, 3 << 20), (size - 512, 512)] {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
                (state >> 20) as u8 & 0x3f
            })
            .collect();
        file.write_all_at(&bytes, offset).unwrap();
    }
    // Zeros that are written, not a hole.
    file.write_all_at(&vec![0; 1 << 20], 50 << 20).unwrap();
}

/// Writes the disk in a format and returns the file.
fn written(source: &Path, format: Format, folder: &Path, threads: usize) -> PathBuf {
    let disk = SparseFile::open(source).unwrap();
    let stamp = Stamp::new(&disk, TIME, "disk.vmdk").unwrap();
    let path = folder.join(format!("{threads}-{}.{}", format.name(), format.extension()));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| write(&disk, format, &stamp, &File::create(&path).unwrap())).unwrap();
    path
}

fn read_all(disk: &dyn DiskReader) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Returns whether QEMU's program is there, and says so where it is not.
#[expect(clippy::disallowed_methods, reason = "tests ask another program, and say what they skip")]
fn qemu_img(arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("qemu-img").args(arguments).output() else {
        eprintln!("SKIPPED: there is no qemu-img to read the images");
        return None;
    };
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "qemu-img {arguments:?}: {text}");
    Some(text)
}

/// What QEMU calls a format.
fn foreign_name(format: Format) -> &'static str {
    match format {
        Format::Vhd | Format::VhdDynamic => "vpc",
        Format::Vmdk | Format::VmdkStream | Format::Ova => "vmdk",
        other => other.name(),
    }
}

/// Unpacks a package with the system's tar, checks its sums and description with other programs, and returns its disk.
#[expect(clippy::disallowed_methods, reason = "tests ask another program")]
fn unpacked(package: &Path, folder: &Path) -> PathBuf {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let names = run("tar", &["-xvf", package.to_str().unwrap()]);
    assert_eq!(names, "disk.vmdk.ovf\ndisk.vmdk.mf\ndisk.vmdk-disk1.vmdk\n");
    let sums = fs::read_to_string(folder.join("disk.vmdk.mf")).unwrap();
    let lines: Vec<String> = sums
        .lines()
        .map(|line| line.strip_prefix("SHA256(").unwrap().split_once(")= ").map(|(name, sum)| format!("{sum}  {name}\n")).unwrap())
        .collect();
    fs::write(folder.join("sums"), lines.concat()).unwrap();
    assert_eq!(run("sha256sum", &["-c", "--strict", "sums"]).lines().count(), 2);
    folder.join("disk.vmdk-disk1.vmdk")
}

#[test]
fn a_damaged_package_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("disk");
    disk(&source, 8 << 20 | 40 << 20);
    let path = written(&source, Format::Ova, folder.path(), 1);
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        let path = folder.path().join("bad.ova");
        fs::write(&path, bytes).unwrap();
        open(&path).unwrap_err().to_string()
    };
    let sum = "the image is damaged: a file of the package is cut off";
    assert_eq!(refused(&good[..20_000]), sum);
    let mut huge = good.clone();
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(refused(&huge), sum);
    let mut without = good;
    let name = without.windows(5).rposition(|part| part == b".vmdk").unwrap();
    assert!(name > 0);
    for at in 0..without.len() - 5 {
        if &without[at..at + 5] == b".vmdk" {
            without[at + 1] = b'x';
        }
    }
    assert_eq!(refused(&without), "the image is damaged: the package has no disk");
}

/// Returns the disk as a format holds it: some round its size up.
fn expected(bytes: &[u8], format: Format) -> Vec<u8> {
    let alignment = match format {
        Format::Raw => 1,
        Format::Vhd | Format::VhdDynamic => 1 << 20,
        _ => 512,
    };
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
    bytes
}

#[test]
fn every_format_is_the_same_twice_and_gives_the_disk_back() {
    let folder = tempfile::tempdir().unwrap();
    // Whole MiB as images are, and not even whole sectors.
    for size in [(70 << 20) + 512, (70 << 20) + 700] {
        let source = folder.path().join("disk");
        disk(&source, size);
        let bytes = fs::read(&source).unwrap();
        for format in Format::ALL {
            let (first, second) = (written(&source, format, folder.path(), 1), written(&source, format, folder.path(), 3));
            assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "{format}");
            let opened = open(&first).unwrap();
            assert_eq!(opened.format, format);
            assert!(read_all(&*opened.disk) == expected(&bytes, format), "{format} of {size}");
            if !matches!(format, Format::Raw | Format::Vhd) {
                assert!(fs::metadata(&first).unwrap().len() < 20 << 20, "{format}");
                assert!(opened.disk.is_hole(24 << 20, 4 << 20), "{format}");
            }
            assert!(!opened.disk.is_hole(20 << 20, 512), "{format}");
        }
    }
}

#[test]
fn another_program_reads_what_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("disk");
    disk(&source, (70 << 20) + 512);
    let bytes = fs::read(&source).unwrap();
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Raw) {
        let path = written(&source, format, folder.path(), 2);
        let path = if format == Format::Ova { unpacked(&path, folder.path()) } else { path };
        let (path, back) = (path.to_str().unwrap(), folder.path().join("back"));
        let name = foreign_name(format);
        if qemu_img(&["convert", "-f", name, "-O", "raw", path, back.to_str().unwrap()]).is_none() {
            return;
        }
        let mut read = fs::read(&back).unwrap();
        let expected = expected(&bytes, format);
        assert!(read.len() >= expected.len(), "{format}: {}", read.len());
        assert!(read.split_off(expected.len()).iter().all(|byte| *byte == 0), "{format}");
        assert!(read == expected, "{format}");
        if !matches!(name, "vpc") {
            let said = qemu_img(&["check", "-f", name, path]).unwrap();
            assert!(said.contains("No errors were found"), "{format}: {said}");
        }
        let said = qemu_img(&["info", "-f", name, path]).unwrap();
        assert!(said.contains(&format!("file format: {name}")), "{said}");
    }
}

#[test]
fn we_read_what_another_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("disk");
    disk(&source, 70 << 20);
    let bytes = fs::read(&source).unwrap();
    let cases: [(&str, &str, &[&str]); 11] = [
        ("qcow2", "", &[]),
        ("qcow2", "compat=0.10,cluster_size=4096", &[]),
        ("qcow2", "", &["-c"]),
        ("qcow2", "compression_type=zstd,cluster_size=2M", &["-c"]),
        ("vpc", "subformat=fixed,force_size=on", &[]),
        ("vpc", "subformat=dynamic,force_size=on", &[]),
        ("vhdx", "block_size=16M", &[]),
        ("vhdx", "subformat=fixed", &[]),
        ("vmdk", "subformat=monolithicSparse", &[]),
        ("vmdk", "subformat=streamOptimized", &[]),
        ("vdi", "", &[]),
    ];
    for (format, options, more) in cases {
        let path = folder.path().join("image");
        let mut arguments = vec!["convert", "-f", "raw", "-O", format];
        arguments.extend_from_slice(more);
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        arguments.extend([source.to_str().unwrap(), path.to_str().unwrap()]);
        if qemu_img(&arguments).is_none() {
            return;
        }
        let opened = open(&path).unwrap();
        assert_eq!(foreign_name(opened.format), format);
        assert!(read_all(&*opened.disk) == bytes, "{format} {options}");
    }
}

#[test]
fn what_needs_other_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("disk"), folder.path().join("image"));
    disk(&source, 70 << 20);
    let (source, image) = (source.to_str().unwrap(), path.to_str().unwrap());
    if qemu_img(&["create", "-f", "qcow2", "-b", source, "-F", "raw", image]).is_none() {
        return;
    }
    let refused = |path: &Path| open(path).unwrap_err().to_string();
    assert!(refused(&path).contains("backing file"), "{}", refused(&path));
    qemu_img(&["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", source, image]);
    assert!(refused(&path).contains("in other files"), "{}", refused(&path));
}

#[test]
fn compressed_files_are_the_same_for_any_number_of_threads_and_unpack_to_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    disk(&path, (70 << 20) + 512);
    let bytes = fs::read(&path).unwrap();
    for compression in Compression::ALL {
        let compressed = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut output = Vec::new();
            pool.install(|| compress(&SparseFile::open(&path).unwrap(), compression, &mut output)).unwrap();
            output
        };
        let one = compressed(1);
        assert!(one == compressed(3), "{compression}");
        assert!(one.len() < 4 << 20, "{compression}: {}", one.len());
        assert_eq!(Compression::detect(&one), Some(compression));
        let (packed, unpacked) = (folder.path().join("packed"), folder.path().join("unpacked"));
        fs::write(&packed, &one).unwrap();
        let run = |limit| decompress(&File::open(&packed).unwrap(), compression, &File::create(&unpacked).unwrap(), limit);
        assert_eq!(run(1 << 30).unwrap(), bytes.len() as u64);
        assert!(fs::read(&unpacked).unwrap() == bytes, "{compression}");
        assert!(run(60 << 20).unwrap_err().to_string().contains("more than"));
        let program = if compression == Compression::Zstd { "zstd" } else { ["gzip", "xz", "", "bzip2"][compression as usize] };
        said_by(program, &packed, &bytes);
    }
}

/// Decompresses a file with another program.
#[expect(clippy::disallowed_methods, reason = "tests ask another program, and say what they skip")]
fn said_by(program: &str, packed: &Path, expected: &[u8]) {
    match Command::new(program).arg("-dc").stdin(File::open(packed).unwrap()).output() {
        Ok(output) => assert!(output.stdout == expected, "{program}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => eprintln!("SKIPPED: there is no {program} to read its format"),
    }
}

/// Damaged containers are refused or read as something, in bounded time and memory.
#[test]
fn no_damage_makes_a_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("disk");
    disk(&source, 70 << 20);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Raw) {
        let path = written(&source, format, folder.path(), 2);
        let length = fs::metadata(&path).unwrap().len();
        // Where the numbers are: the first MiB, the tables of VHDX, and the last sectors.
        let mut places = Vec::new();
        File::open(&path).unwrap().take(4 << 20).read_to_end(&mut places).unwrap();
        let filled: Vec<u64> =
            (0..).zip(&places).filter(|(at, byte)| (*at < 90_000 || *at >> 20 > 1) && **byte != 0).map(|(at, _)| at).take(20_000).collect();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        for _ in 0..150 {
            let at = match random() % 4 {
                0 => random() % 4096,
                1 => length - 1 - random() % 2048.min(length),
                _ => filled[(random() % filled.len() as u64) as usize],
            };
            let mut before = [0; 8];
            let count = 8.min(length - at) as usize;
            file.read_exact_at(&mut before[..count], at).unwrap();
            let value = [0, u64::MAX, random(), 1 << (random() % 64)][(random() % 4) as usize].to_le_bytes();
            let changed = 1 + (random() % count as u64) as usize;
            file.write_all_at(&value[..changed], at).unwrap();
            if let Ok(opened) = open(&path) {
                let mut buffer = vec![0; 256 << 10];
                for offset in [0, (20 << 20) - 700, 34 << 20, opened.disk.size().saturating_sub(1000)] {
                    // Damage may show only here.
                    let _ = opened.disk.read_at(&mut buffer, offset);
                    let _ = opened.disk.is_hole(offset, 1 << 20);
                }
            }
            file.write_all_at(&before[..count], at).unwrap();
        }
    }
}

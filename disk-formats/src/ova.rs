//! Open Virtualization Format packages in one file (DSP0243): a description, checksums and a streamed VMware disk in a tar archive.
//!
//! ```text
//! NAME.ovf  what machine to make, padded to a fixed size │ NAME.mf  SHA-256 of the others │ NAME-disk1.vmdk │ two empty blocks
//! ```
//!
//! The disk is written first, behind the place of the other two, which have its size and digest. The description asks for what
//! VMware and VirtualBox both have: an AHCI controller and an E1000 card; and for UEFI where the first sector has no boot code.
//! Reading takes the first `.vmdk` of an archive that begins with an `.ovf`; the description is not read.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write},
    os::unix::fs::FileExt as _,
};

use sha2::{Digest as _, Sha256};

use crate::{
    DiskReader, OpenError, SparseFile, Stamp,
    open::{Head, damaged},
    table::TableReader,
    vmdk::{self, Grains},
};

const BLOCK: u64 = 512;
/// Size of the description with what fills it up.
const DESCRIPTION: u64 = 6144;
/// Where the disk's bytes begin: behind three headers, the description and one block of checksums.
const DISK: u64 = 3 * BLOCK + DESCRIPTION + BLOCK;
/// The longest name of a file in the archive.
const MAX_NAME: usize = 80;
/// Most files of an archive that are looked at.
const MAX_FILES: usize = 64;

/// Writes a package.
pub(crate) fn write(disk: &dyn DiskReader, stamp: &Stamp, mut output: &File) -> io::Result<()> {
    let name = base_name(&stamp.name);
    let (ovf, mf, vmdk) = (format!("{name}.ovf"), format!("{name}.mf"), format!("{name}-disk1.vmdk"));
    output.seek(SeekFrom::Start(DISK))?;
    let mut summed = Summed { file: output, sha256: Sha256::new(), size: 0 };
    vmdk::write_stream(disk, &stamp.named(&vmdk), &mut summed)?;
    let Summed { sha256, size, .. } = summed;
    output.set_len((DISK + size).next_multiple_of(BLOCK) + 2 * BLOCK)?;
    let description = description(disk, &name, &vmdk, size)?;
    let sums = format!("SHA256({ovf})= {}\nSHA256({vmdk})= {}\n", hex(&Sha256::digest(&description)), hex(&sha256.finalize()));
    let mut at = 0;
    for (name, content) in [(&ovf, description.as_slice()), (&mf, sums.as_bytes())] {
        output.write_all_at(&header(name, content.len() as u64, stamp.time), at)?;
        output.write_all_at(content, at + BLOCK)?;
        at += BLOCK + (content.len() as u64).next_multiple_of(BLOCK);
    }
    debug_assert_eq!(at + BLOCK, DISK);
    output.write_all_at(&header(&vmdk, size, stamp.time), at)
}

/// Returns what the files of a package are called before their endings.
fn base_name(name: &str) -> String {
    let name = name.strip_suffix(".ova").unwrap_or(name);
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' });
    let name: String = plain.take(MAX_NAME).collect();
    if name.is_empty() { "disk".to_owned() } else { name }
}

/// Returns the header of a file (POSIX.1-1988 ustar). Sizes beyond 8 GiB are in base 256, as GNU and BSD tar write them.
fn header(name: &str, size: u64, time: u64) -> [u8; BLOCK as usize] {
    let mut header = [0; BLOCK as usize];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, format!("{:011o}\0", time & ((1 << 33) - 1)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file whose size and digest are known when it is written.
struct Summed<'a> {
    file: &'a File,
    sha256: Sha256,
    size: u64,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns the description of a machine with the disk.
fn description(disk: &dyn DiskReader, name: &str, vmdk: &str, size: u64) -> io::Result<Vec<u8>> {
    let mut sector = [0; BLOCK as usize];
    disk.read_at(&mut sector, 0)?;
    let firmware = if sector[..440].iter().all(|byte| *byte == 0) { "efi" } else { "bios" };
    let capacity = disk.size().next_multiple_of(BLOCK);
    let hardware = hardware();
    let mut text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="file1" ovf:href="{vmdk}" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{capacity}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="network"><Description>The network of the machine</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="101">
      <Info>The operating system</Info>
      <Description>Linux, 64 bits</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System><vssd:ElementName>Virtual hardware</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier><vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType></System>
{hardware}      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{firmware}"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
    );
    let room = DESCRIPTION as usize;
    if text.len() > room {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the description of the machine is too long"));
    }
    // White space behind the last element means nothing.
    text.extend(std::iter::repeat_n(' ', room - text.len() - 1));
    text.push('\n');
    Ok(text.into_bytes())
}

/// Returns the parts of the machine.
fn hardware() -> String {
    let item = |fields: &[(&str, &str)]| -> String {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("<rasd:{name}>{value}</rasd:{name}>")).collect();
        format!("      <Item>{}</Item>\n", fields.concat())
    };
    // The order of the fields is that of the standard's schema.
    [
        item(&[
            ("AllocationUnits", "hertz * 10^6"),
            ("Description", "Processors"),
            ("ElementName", "2 processors"),
            ("InstanceID", "1"),
            ("ResourceType", "3"),
            ("VirtualQuantity", "2"),
        ]),
        item(&[
            ("AllocationUnits", "byte * 2^20"),
            ("Description", "Memory"),
            ("ElementName", "2048 MiB of memory"),
            ("InstanceID", "2"),
            ("ResourceType", "4"),
            ("VirtualQuantity", "2048"),
        ]),
        item(&[
            ("Address", "0"),
            ("Description", "SATA controller"),
            ("ElementName", "sata0"),
            ("InstanceID", "3"),
            ("ResourceSubType", "vmware.sata.ahci"),
            ("ResourceType", "20"),
        ]),
        item(&[
            ("AddressOnParent", "0"),
            ("ElementName", "disk1"),
            ("HostResource", "ovf:/disk/disk1"),
            ("InstanceID", "4"),
            ("Parent", "3"),
            ("ResourceType", "17"),
        ]),
        item(&[
            ("AddressOnParent", "1"),
            ("AutomaticAllocation", "true"),
            ("Connection", "network"),
            ("ElementName", "ethernet0"),
            ("InstanceID", "5"),
            ("ResourceSubType", "E1000"),
            ("ResourceType", "10"),
        ]),
    ]
    .concat()
}

/// Tells whether a file is a package: a tar archive whose first file is a description.
pub(crate) fn is_one(head: &Head) -> bool {
    head.bytes(257, 5) == *b"ustar" && file_name(head).ends_with(b".ovf")
}

/// Returns the name of a file by its header.
fn file_name(header: &Head) -> Vec<u8> {
    header.bytes(0, 100).into_iter().take_while(|byte| *byte != 0).collect()
}

/// Opens the disk of a package.
pub(crate) fn open(file: SparseFile) -> Result<TableReader<Grains>, OpenError> {
    let mut at = 0_u64;
    for _ in 0..MAX_FILES {
        let header = Head::new(file.read_table(at, BLOCK)?);
        let name = file_name(&header);
        let size = number(&header.bytes(124, 12)).ok_or_else(|| damaged("a file of the package has no size"))?;
        let content = at + BLOCK;
        let end = content.checked_add(size).filter(|end| *end <= file.size());
        let end = end.ok_or_else(|| damaged("a file of the package is cut off"))?;
        if name.ends_with(b".vmdk") {
            let disk = file.part(content, size);
            let mut head = vec![0; 4096];
            disk.read_at(&mut head, 0)?;
            let head = Head::new(head);
            if !vmdk::is_one(&head) {
                return Err(damaged("the disk of the package is no VMware disk"));
            }
            return vmdk::open(disk, &head);
        }
        if name.is_empty() {
            break;
        }
        at = end.next_multiple_of(BLOCK);
    }
    Err(damaged("the package has no disk"))
}

/// Reads a number of a header: octal digits, or base 256.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        return (field[..4] == [0x80, 0, 0, 0]).then(|| field[4..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| (b'0'..=b'7').contains(*byte));
    Some(digits.fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
}

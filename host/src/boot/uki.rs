//! Unified kernel images: an EFI stub with kernel, initramfs, command line and identity as further sections of its PE file
//! (UAPI Group specification 5).
//!
//! The stub is the target's own (`linuxx64.efi.stub` of systemd). Its sections stay as they are; the new ones follow behind
//! them, in memory and in the file. The kernel is the last one, because it may use memory behind its own end.
//!
//! ```text
//! headers (more room is made when the section table does not fit) | stub's sections | .osrel .cmdline .uname .initrd .linux
//! ```

use std::io::{self, Read, Write};

use crate::rootfs::content::Content;

/// Readable data.
const DATA: u32 = 0x4000_0040;
/// Readable and executable code: kernels without PE entry are started where they are.
const CODE: u32 = 0x6000_0020;
/// Size of an entry of the section table.
const SECTION_HEADER: usize = 40;

/// Why an image cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// The stub is not a program that sections can be added to.
    #[error("the stub is not a usable EFI program: {0}")]
    Stub(&'static str),
    /// The sections are too large.
    #[error("the sections are too large for an EFI program: 4 GiB are possible")]
    TooLarge,
    /// A content cannot be read, or the image cannot be written.
    #[error("cannot write the unified kernel image")]
    Io(#[from] io::Error),
}

/// What goes into an image.
#[derive(Debug, Clone)]
pub struct UkiInput {
    /// `os-release` of the target.
    pub os_release: Vec<u8>,
    /// The kernel command line.
    pub cmdline: String,
    /// The kernel's release.
    pub release: String,
    /// The initramfs, when there is one.
    pub initramfs: Option<Content>,
    /// The kernel.
    pub kernel: Content,
}

/// A section to add.
struct NewSection {
    name: [u8; 8],
    content: Content,
    /// Size in memory when that is more than the content.
    memory: u64,
    characteristics: u32,
}

/// Writes an image made of a stub and its payload.
///
/// # Errors
/// Fails when the stub is no PE file with room for sections, or reading or writing fails.
pub fn assemble(stub: &[u8], input: &UkiInput, output: &mut impl Write) -> Result<(), UkiError> {
    let pe = Pe::parse(stub)?;
    let sections = sections(input)?;
    let (header, raw_start) = pe.with_sections(&sections)?;
    output.write_all(&header)?;
    let mut written = header.len() as u64;
    debug_assert!(written == raw_start);
    for section in &sections {
        let copied = io::copy(&mut section.content.reader().take(section.content.size()), output)?;
        written += copied;
        let padding = written.next_multiple_of(u64::from(pe.file_alignment)) - written;
        output.write_all(&vec![0; padding as usize])?;
        written += padding;
    }
    Ok(())
}

fn sections(input: &UkiInput) -> Result<Vec<NewSection>, UkiError> {
    let section = |name: &str, content: Content, memory, characteristics| {
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        NewSection { name: padded, content, memory, characteristics }
    };
    let text = |text: &str| Content::bytes(text.as_bytes().to_vec());
    let mut sections = vec![
        section(".osrel", Content::bytes(input.os_release.clone()), 0, DATA),
        section(".cmdline", text(&input.cmdline), 0, DATA),
        section(".uname", text(&input.release), 0, DATA),
    ];
    if let Some(initramfs) = &input.initramfs {
        sections.push(section(".initrd", initramfs.clone(), 0, DATA));
    }
    // A kernel states how much memory it needs from its start on; the next thing must not be there.
    let mut head = vec![0; input.kernel.size().min(4096) as usize];
    input.kernel.read_exact_at(&mut head, 0)?;
    let memory = Pe::headers(&head).map_or(0, |headers| headers.u32_at(headers.optional + 56).map_or(0, u64::from));
    sections.push(section(".linux", input.kernel.clone(), memory.min(input.kernel.size() + (256 << 20)), CODE));
    sections.retain(|section| section.content.size() > 0);
    Ok(sections)
}

/// A PE file's headers, all numbers checked.
struct Pe<'a> {
    headers: Headers<'a>,
    file_alignment: u32,
    section_alignment: u32,
    count: u16,
    /// Where the section table is.
    table: usize,
    /// End of the headers in the file.
    size_of_headers: u32,
    /// First byte behind all sections, in memory.
    memory_end: u64,
    /// First byte of any section, in memory and in the file.
    memory_start: u32,
    raw_start: u32,
}

/// Bytes with the offsets of their PE and optional header.
struct Headers<'a> {
    bytes: &'a [u8],
    pe: usize,
    optional: usize,
}

impl Headers<'_> {
    fn u16_at(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes.get(at..at + 2)?.try_into().ok()?))
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?))
    }
}

impl<'a> Pe<'a> {
    /// Finds the headers of a 64-bit PE file.
    fn headers(bytes: &'a [u8]) -> Option<Headers<'a>> {
        let pe = u32::from_le_bytes(bytes.get(0x3c..0x40)?.try_into().ok()?) as usize;
        let headers = Headers { bytes, pe, optional: pe.checked_add(24)? };
        let is_pe = bytes.starts_with(b"MZ") && bytes.get(pe..pe + 4)? == b"PE\0\0" && headers.u16_at(headers.optional)? == 0x20b;
        is_pe.then_some(headers)
    }

    fn parse(bytes: &'a [u8]) -> Result<Self, UkiError> {
        let headers = Self::headers(bytes).ok_or(UkiError::Stub("it is not a 64-bit PE file"))?;
        let cut = UkiError::Stub("it is cut short");
        let field = |at: usize| headers.u32_at(at).ok_or(UkiError::Stub("it is cut short"));
        let count = headers.u16_at(headers.pe + 6).ok_or(cut)?;
        let optional_size = headers.u16_at(headers.pe + 20).ok_or(UkiError::Stub("it is cut short"))?;
        let table = headers.optional + usize::from(optional_size);
        let (section_alignment, file_alignment) = (field(headers.optional + 32)?, field(headers.optional + 36)?);
        let size_of_headers = field(headers.optional + 60)?;
        let is_aligned = |alignment: u32| alignment.is_power_of_two() && (16..=1 << 20).contains(&alignment);
        if !is_aligned(section_alignment) || !is_aligned(file_alignment) || count == 0 || count > 96 || optional_size < 112 {
            return Err(UkiError::Stub("its headers are impossible"));
        }
        // The fifth data directory is a signature's, which sections would break.
        if field(headers.optional + 108)? > 4 && field(headers.optional + 112 + 4 * 8 + 4)? != 0 {
            return Err(UkiError::Stub("it is signed"));
        }
        let (mut memory_end, mut memory_start, mut raw_start) = (0, u32::MAX, u32::MAX);
        for index in 0..usize::from(count) {
            let at = table + index * SECTION_HEADER;
            let (memory, address, raw, offset) = (field(at + 8)?, field(at + 12)?, field(at + 16)?, field(at + 20)?);
            if u64::from(offset) + u64::from(raw) > bytes.len() as u64 {
                return Err(UkiError::Stub("it is cut short"));
            }
            memory_end = memory_end.max(u64::from(address) + u64::from(memory.max(raw)));
            memory_start = memory_start.min(address);
            if raw > 0 {
                raw_start = raw_start.min(offset);
            }
        }
        if raw_start as usize > bytes.len() || (raw_start as usize) < table + usize::from(count) * SECTION_HEADER {
            return Err(UkiError::Stub("its sections overlap its headers"));
        }
        Ok(Self { headers, file_alignment, section_alignment, count, table, size_of_headers, memory_end, memory_start, raw_start })
    }

    /// Returns the stub with the entries of further sections, padded to where their contents begin, and that place.
    fn with_sections(&self, sections: &[NewSection]) -> Result<(Vec<u8>, u64), UkiError> {
        let count = usize::from(self.count) + sections.len();
        let table_end = self.table + count * SECTION_HEADER;
        // Move the sections' contents in the file when the table needs the room; in memory there is a page for it.
        let missing = table_end.saturating_sub(self.raw_start as usize) as u32;
        let shift = missing.next_multiple_of(self.file_alignment);
        let size_of_headers = self.size_of_headers.max((table_end as u32).next_multiple_of(self.file_alignment));
        if size_of_headers > self.memory_start {
            return Err(UkiError::Stub("its section table has no room"));
        }
        let mut image = self.headers.bytes[..self.raw_start as usize].to_vec();
        image.resize(self.raw_start as usize + shift as usize, 0);
        image.extend_from_slice(&self.headers.bytes[self.raw_start as usize..]);
        image.resize(image.len().next_multiple_of(self.file_alignment as usize), 0);
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        if shift > 0 {
            for index in 0..usize::from(self.count) {
                let at = self.table + index * SECTION_HEADER + 20;
                let offset = self.headers.u32_at(at).unwrap_or(0);
                put(at, &(if offset == 0 { 0 } else { offset + shift }).to_le_bytes());
            }
        }
        let raw_start = (self.headers.bytes.len() as u64 + u64::from(shift)).next_multiple_of(u64::from(self.file_alignment));
        let (mut raw, mut address, mut initialized) = (raw_start, self.memory_end, 0_u64);
        let narrow = |value: u64| u32::try_from(value).map_err(|_| UkiError::TooLarge);
        for (index, section) in sections.iter().enumerate() {
            address = address.next_multiple_of(u64::from(self.section_alignment));
            let size = section.content.size().next_multiple_of(u64::from(self.file_alignment));
            let memory = section.content.size().max(section.memory);
            let at = self.table + (usize::from(self.count) + index) * SECTION_HEADER;
            put(at, &[0; SECTION_HEADER]);
            put(at, &section.name);
            for (field, value) in [(8, memory), (12, address), (16, size), (20, raw)] {
                put(at + field, &narrow(value)?.to_le_bytes());
            }
            put(at + 36, &section.characteristics.to_le_bytes());
            raw += size;
            address += memory;
            initialized += size;
        }
        let optional = self.headers.optional;
        let initialized = initialized + u64::from(self.headers.u32_at(optional + 8).unwrap_or(0));
        put(self.headers.pe + 6, &(count as u16).to_le_bytes());
        // The symbol table is for debuggers and would be in the wrong place now.
        put(self.headers.pe + 12, &[0; 8]);
        put(optional + 8, &narrow(initialized)?.to_le_bytes());
        put(optional + 56, &narrow(address.next_multiple_of(u64::from(self.section_alignment)))?.to_le_bytes());
        put(optional + 60, &size_of_headers.to_le_bytes());
        put(optional + 64, &[0; 4]);
        Ok((image, raw_start))
    }
}

#[cfg(test)]
mod tests {
    use object::{Object, ObjectSection, read::pe::PeFile64};
    use proptest::prelude::*;

    use super::*;

    /// A stub with one section and as little room in its headers as there can be.
    fn stub(room: usize) -> Vec<u8> {
        let mut bytes = vec![0; 0x200 + room];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x44..0x46].copy_from_slice(&0x8664_u16.to_le_bytes());
        bytes[0x46] = 1;
        bytes[0x54..0x56].copy_from_slice(&240_u16.to_le_bytes());
        bytes[0x56..0x58].copy_from_slice(&0x22_u16.to_le_bytes());
        let optional = 0x58;
        let raw = (0x200 + room) as u32;
        for (at, value) in [(32, 0x1000), (36, 0x200), (56, 0x2000), (60, raw), (108, 16)] {
            bytes[optional + at..optional + at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        bytes[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
        let table = optional + 240;
        bytes[table..table + 5].copy_from_slice(b".text");
        for (at, value) in [(8, 0x180), (12, 0x1000), (16, 0x200), (20, raw), (36, CODE)] {
            bytes[table + at..table + at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        bytes.extend_from_slice(&[0xc3; 0x200]);
        bytes
    }

    fn input() -> UkiInput {
        UkiInput {
            os_release: b"ID=test\n".to_vec(),
            cmdline: "root=PARTUUID=1234 rw".to_owned(),
            release: "6.1.0-test".to_owned(),
            initramfs: Some(Content::bytes(vec![7; 12345])),
            kernel: Content::bytes(vec![9; 54321]),
        }
    }

    fn check(stub: &[u8]) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assemble(stub, &input(), &mut first).unwrap();
        assemble(stub, &input(), &mut second).unwrap();
        assert!(first == second);
        let file = PeFile64::parse(&*first).unwrap();
        let data = |name: &str| file.section_by_name(name).unwrap().data().unwrap().to_vec();
        assert_eq!(data(".osrel"), b"ID=test\n");
        assert_eq!(data(".cmdline"), b"root=PARTUUID=1234 rw");
        assert_eq!(data(".uname"), b"6.1.0-test");
        assert_eq!(data(".initrd"), vec![7; 12345]);
        assert_eq!(data(".linux"), vec![9; 54321]);
        let mut end = 0;
        for section in file.sections() {
            assert!(section.address() >= end && section.address() % 0x1000 == 0, "{}", section.name().unwrap());
            end = section.address() + section.size();
            assert!(section.file_range().unwrap().0 % 0x200 == 0);
        }
        let original = PeFile64::parse(stub).unwrap();
        for section in original.sections() {
            assert_eq!(data(section.name().unwrap()), section.data().unwrap());
        }
    }

    #[test]
    fn the_sections_of_an_image_are_what_went_in() {
        check(&stub(0x200));
        check(&stub(0));
    }

    #[test]
    fn signed_or_damaged_stubs_are_refused() {
        let mut signed = stub(0);
        signed[0x58 + 112 + 4 * 8 + 4] = 1;
        assert!(assemble(&signed, &input(), &mut Vec::new()).unwrap_err().to_string().contains("signed"));
        for length in [0, 0x40, 0x58, 0x150, 0x3ff] {
            assert!(assemble(&stub(0)[..length], &input(), &mut Vec::new()).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_stub_makes_it_panic(changes in prop::collection::vec((0_usize..0x200, any::<u8>()), 1..20)) {
            let mut bytes = stub(0);
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = assemble(&bytes, &input(), &mut Vec::new());
        }
    }
}

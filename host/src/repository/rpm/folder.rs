//! A local folder of package files as a repository: its `primary.xml` is made from the packages' own headers.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use oic_config::spec::RepositoryLocation;
use rayon::prelude::*;

use super::{Header, PackageHeader};
use crate::{
    digest::Sha256Digest,
    repository::{RepositoryProblem, folder},
};

/// Tags of names, flags and versions of each relation, with its element in `primary.xml`.
const RELATIONS: [(&str, u32, u32, u32); 8] = [
    ("provides", 1047, 1112, 1113),
    ("requires", 1049, 1048, 1050),
    ("conflicts", 1054, 1053, 1055),
    ("obsoletes", 1090, 1114, 1115),
    ("recommends", 5046, 5048, 5047),
    ("suggests", 5049, 5051, 5050),
    ("supplements", 5052, 5054, 5053),
    ("enhances", 5055, 5057, 5056),
];

const SUMMARY: u32 = 1004;
const BUILD_TIME: u32 = 1006;
const SIZE: u32 = 1009;
const LONG_SIZE: u32 = 5009;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;

/// What was made of a folder.
#[derive(Debug)]
pub(super) struct Made {
    /// The text of `primary.xml`.
    pub(super) xml: Vec<u8>,
    /// When the newest package was built, seconds since 1970-01-01 UTC.
    pub(super) date: u64,
}

/// Returns the folder of a repository that has no metadata of its own.
pub(super) fn packages_folder(location: &RepositoryLocation) -> Option<&Path> {
    match location {
        RepositoryLocation::Path(path) if !path.join("repodata/repomd.xml").exists() => Some(path),
        _ => None,
    }
}

/// Makes the `primary.xml` of all packages in a folder and those below it. Source packages are passed over.
pub(super) fn primary(path: &Path) -> Result<Made, RepositoryProblem> {
    let files = folder::files(path, "rpm")?;
    let described = files.par_iter().map(|file| describe(path, file)).collect::<Result<Vec<_>, _>>()?;
    let described: Vec<_> = described.into_iter().flatten().collect();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{}\">\n",
        described.len()
    );
    described.iter().for_each(|(text, _)| xml.push_str(text));
    xml.push_str("</metadata>\n");
    Ok(Made { xml: xml.into_bytes(), date: described.iter().map(|(_, date)| *date).max().unwrap_or_default() })
}

/// Returns the element of one package and when it was built.
fn describe(root: &Path, below: &PathBuf) -> Result<Option<(String, u64)>, RepositoryProblem> {
    let path = root.join(below);
    let failed = |reason: String| RepositoryProblem::FolderPackage { path: path.display().to_string(), reason };
    let mut file = BufReader::new(File::open(&path).map_err(|error| failed(error.to_string()))?);
    let package = PackageHeader::read(&mut file).map_err(|error| failed(folder::words(&error)))?;
    let id = package.id().map_err(|error| failed(error.to_string()))?;
    if id.arch == "src" {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| failed(error.to_string()))?;
    let sha256 = Sha256Digest::of_reader(&mut file).map_err(|error| failed(error.to_string()))?;
    let size = fs::metadata(&path).map_err(|error| failed(error.to_string()))?.len();
    let location = below.to_str().ok_or_else(|| failed("its name is not UTF-8".to_owned()))?;
    let header = package.header();
    let installed = header.number(LONG_SIZE).or_else(|| header.number(SIZE)).unwrap_or_default();
    let built = header.number(BUILD_TIME).unwrap_or_default();
    let mut text = format!("<package type=\"rpm\"><name>{}</name><arch>{}</arch>", escaped(&id.name), escaped(&id.arch));
    let _ = write!(text, "<version {}/>", version_attributes(&id.version));
    let _ = write!(text, "<checksum type=\"sha256\" pkgid=\"YES\">{sha256}</checksum>");
    let _ = write!(text, "<summary>{}</summary>", escaped(header.text(SUMMARY).unwrap_or_default()));
    let _ = write!(text, "<time file=\"{built}\" build=\"{built}\"/><size package=\"{size}\" installed=\"{installed}\" archive=\"0\"/>");
    let _ = write!(text, "<location href=\"{}\"/><format>", escaped(location));
    let _ = write!(text, "<rpm:license>{}</rpm:license>", escaped(package.license().unwrap_or_default()));
    let _ = write!(text, "<rpm:sourcerpm>{}</rpm:sourcerpm>", escaped(package.source_package().unwrap_or_default()));
    for relation in RELATIONS {
        relations(&mut text, header, relation);
    }
    for file in files_of(header) {
        let _ = write!(text, "<file>{}</file>", escaped(&file));
    }
    text.push_str("</format></package>\n");
    Ok(Some((text, built)))
}

/// Writes the relations of one kind.
fn relations(text: &mut String, header: &Header, (element, names, flags, versions): (&str, u32, u32, u32)) {
    let (Some(names), Some(flags), Some(versions)) = (header.texts(names), header.numbers(flags), header.texts(versions)) else { return };
    let _ = write!(text, "<rpm:{element}>");
    for ((name, flags), version) in names.zip(flags).zip(versions) {
        if name.is_empty() || name.starts_with("rpmlib(") {
            continue;
        }
        let sense = match flags >> 1 & 7 {
            1 => " flags=\"LT\"",
            2 => " flags=\"GT\"",
            4 => " flags=\"EQ\"",
            5 => " flags=\"LE\"",
            6 => " flags=\"GE\"",
            _ => "",
        };
        let _ = write!(text, "<rpm:entry name=\"{}\"", escaped(name));
        if !sense.is_empty() && !version.is_empty() {
            let _ = write!(text, "{sense} {}", version_attributes(version));
        }
        text.push_str("/>");
    }
    let _ = write!(text, "</rpm:{element}>");
}

fn version_attributes(evr: &str) -> String {
    let (epoch, rest) = evr.split_once(':').unwrap_or(("0", evr));
    match rest.rsplit_once('-') {
        Some((version, release)) => format!("epoch=\"{}\" ver=\"{}\" rel=\"{}\"", escaped(epoch), escaped(version), escaped(release)),
        None => format!("epoch=\"{}\" ver=\"{}\"", escaped(epoch), escaped(rest)),
    }
}

/// Returns the paths of all files.
fn files_of(header: &Header) -> Vec<String> {
    let folders: Vec<&str> = header.texts(DIR_NAMES).into_iter().flatten().collect();
    let names = header.texts(BASE_NAMES).into_iter().flatten();
    let indexes = header.numbers(DIR_INDEXES).into_iter().flatten();
    let path = |(name, index): (&str, u64)| Some(format!("{}{name}", folders.get(usize::try_from(index).ok()?)?));
    names.zip(indexes).filter_map(path).collect()
}

/// Returns text as it stands in XML; characters that XML cannot have are left out.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            c if c.is_control() && !c.is_ascii_whitespace() => {}
            c => result.push(c),
        }
    }
    result
}

//! Packages and the repositories that they come from.

use std::path::PathBuf;

use super::{Context, placeholder};
use crate::diagnostic::{Code, Finding};
use crate::layer::{Layer, Located, PackageRepository};
use crate::merge::split_package;
use crate::source::Origin;
use crate::spec::{
    Ecosystem, Exclude, PackageRequest, Repository, RepositoryFormat, RepositoryKey, RepositoryLocation, VersionPin, VersionRelation,
};

/// The key that says that nothing is verified.
const TRUSTED: &str = "[trusted=yes]";

/// Returns the priority of a repository that says nothing: apt's or dnf's.
pub(crate) fn default_priority(ecosystem: Ecosystem) -> i32 {
    match ecosystem {
        Ecosystem::Deb => 500,
        Ecosystem::Rpm => 99,
    }
}

/// Parses one entry of a package list.
pub(crate) fn request(entry: &str, origin: Origin, field: &str, cx: &mut Context<'_>) -> Option<PackageRequest> {
    let is_rpm = cx.provider.facts.ecosystem == Ecosystem::Rpm;
    let mut entry = entry.trim();
    // A file's name is the package's, version and architecture with it.
    if let Some(package) = entry.strip_suffix(".rpm").filter(|package| is_rpm && !package.contains('/')) {
        cx.warn(origin, field, format!("`{entry}` is the name of a file, and is taken as the package `{package}`"));
        entry = package;
    }
    let (name, version) = split_package(entry, cx.provider.facts.ecosystem);
    // A group, an environment, a file, or what packages provide: `@core`, `@^minimal`, `/usr/bin/awk`, `pkgconfig(zlib)`.
    let more = if is_rpm { "()/" } else { "" };
    let plain = if is_rpm { name.strip_prefix("@^").or_else(|| name.strip_prefix('@')).unwrap_or(name) } else { name };
    let name_ok = plain.starts_with(|c: char| c.is_ascii_alphanumeric() || "*?[_".contains(c) || (is_rpm && c == '/'))
        && plain.chars().all(|c| c.is_ascii_alphanumeric() || "+_.:~*?[]-^".contains(c) || more.contains(c));
    let pin = version.map(|(relation, version)| version_pin(relation, version, cx.provider.facts.ecosystem));
    let glob = name.contains(['*', '?', '[']);
    if name_ok && !matches!(pin, Some(None)) && !(glob && version.is_some()) {
        let version = pin.flatten();
        return Some(PackageRequest { name: name.to_owned(), version, origin: cx.origin(origin) });
    }
    if !cx.is_placeholder(entry, origin, field) {
        let finding = Finding::error(Code::InvalidValue, "not a package").found(format!("`{entry}`"));
        let allowed = match cx.provider.facts.ecosystem {
            Ecosystem::Deb => ["name", "glob*", "name_version", "name=version", "name >= version"].as_slice(),
            Ecosystem::Rpm => ["name", "glob*", "name-version", "name = version", "name >= version", "@group"].as_slice(),
        };
        cx.report(finding.allowed(allowed.iter().copied()), origin, field);
    }
    None
}

/// Returns the version that a package entry asks for, none if what is written is not one.
fn version_pin(relation: &str, version: &str, ecosystem: Ecosystem) -> Option<VersionPin> {
    let well_formed = !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-:~^_".contains(c));
    let bound = |relation| Some(VersionPin::Bound(relation, version.to_owned()));
    match (relation, ecosystem) {
        _ if !well_formed => None,
        ("=", _) => Some(VersionPin::Exact(version.to_owned())),
        ("<", _) | ("<<", Ecosystem::Deb) => bound(VersionRelation::Earlier),
        ("<=", _) => bound(VersionRelation::EarlierOrEqual),
        (">=", _) => bound(VersionRelation::LaterOrEqual),
        (">", _) | (">>", Ecosystem::Deb) => bound(VersionRelation::Later),
        _ => None,
    }
}

/// Returns the packages that a list of `excludes` keeps out.
pub(crate) fn excludes(entries: Option<&Vec<Located<String>>>, field: &str, cx: &mut Context<'_>) -> Vec<Exclude> {
    let mut excludes = Vec::new();
    for entry in entries.into_iter().flatten() {
        let glob = entry.value().trim();
        let well_formed = glob.starts_with(|c: char| c.is_ascii_alphanumeric() || "*?[_".contains(c))
            && glob.chars().all(|c| c.is_ascii_alphanumeric() || "+_.:~*?[]-^!".contains(c));
        if well_formed {
            excludes.push(Exclude { glob: glob.to_owned(), origin: cx.origin(entry.origin) });
        } else if !cx.is_placeholder(glob, entry.origin, field) {
            let finding = Finding::error(Code::InvalidValue, "not a name or a glob over names").found(format!("`{glob}`"));
            cx.report(finding.allowed(["name", "glob*"]), entry.origin, field);
        }
    }
    excludes
}

/// Returns all repositories: the distribution's, then the template's.
pub(crate) fn repositories(layer: &Layer, cx: &mut Context<'_>) -> Vec<Repository> {
    let mut all = cx.provider.repositories.clone();
    for fact in layer.package_repositories.iter().flat_map(|list| &list.0) {
        let Some(mut repository) = repository(fact, cx) else { continue };
        let base = repository.id.clone();
        let mut number = 2;
        while all.iter().any(|other| other.id == repository.id) {
            repository.id = format!("{base}-{number}");
            number += 1;
        }
        all.push(repository);
    }
    all
}

fn repository(fact: &Located<PackageRepository>, cx: &mut Context<'_>) -> Option<Repository> {
    let codename = fact.codename.as_ref()?;
    let field = format!("packageRepositories[{}]", codename.value.0);
    if let Some(url) = fact.url.as_ref().filter(|url| placeholder(url.value())) {
        cx.warn(url.origin, &format!("{field}.url"), format!("repository skipped: its url is the placeholder `{}`", url.value()));
        return None;
    }
    let location = location(fact, &field, cx);
    let (keys, trusted) = keys(fact, &field, cx);
    let require_metadata_signature = metadata_signature(fact, &field, cx) && !trusted;
    let priority = priority(fact, &field, cx);
    if let Some(skip) = fact.insecure_skip_verify.as_ref().filter(|skip| *skip.value()) {
        let reason = "server certificates are always checked; add the server's authority to the host instead";
        cx.unsupported(skip.origin, format!("{field}.insecureSkipVerify"), reason);
    }
    let format = match cx.provider.facts.ecosystem {
        Ecosystem::Deb => RepositoryFormat::Deb,
        Ecosystem::Rpm => RepositoryFormat::Rpm,
    };
    let suite = codename.value.0.trim().to_owned();
    if suite.is_empty()
        || suite.starts_with('/')
        || suite.chars().any(|c| c.is_whitespace() || c.is_control())
        || suite.split('/').any(|part| part == "..")
    {
        let finding = Finding::error(Code::InvalidValue, "not a codename").found(format!("`{suite}`"));
        cx.report(finding.allowed(["a word such as `trixie`"]), codename.origin, &format!("{field}.codename"));
    }
    let components = fact.component.as_ref().map_or("main", |text| text.value.0.as_str());
    let mut components: Vec<String> = components.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if components.is_empty() {
        components.push("main".to_owned());
    }
    let allow_packages = fact.allow_packages.iter().flatten().map(|entry| entry.value().trim().to_owned()).collect();
    let excludes = excludes(fact.excludes.as_ref(), &format!("{field}.excludes"), cx);
    let location = location?;
    // A folder goes by what the template calls it: locks hold the same on every machine.
    let place = fact.url.as_ref().or(fact.path.as_ref()).map_or("", |place| place.value().as_str());
    Some(Repository {
        id: identifier(&suite, place),
        format,
        location,
        suite,
        components,
        keys,
        trusted,
        require_metadata_signature,
        priority,
        allow_packages,
        excludes,
        upgrades: true,
        in_image: true,
        mirror_key: String::new(),
        is_base: false,
        origin: cx.origin(fact.origin),
    })
}

/// Returns a stable name made of codename and address.
fn identifier(suite: &str, place: &str) -> String {
    let place = place.trim();
    let place = place.split_once("://").map_or(place, |(_, rest)| rest);
    let mut id = String::new();
    for c in format!("{place}-{suite}").chars() {
        let c = if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
        if c != '-' || !id.ends_with('-') {
            id.push(c);
        }
    }
    id.trim_matches('-').to_owned()
}

fn location(fact: &Located<PackageRepository>, field: &str, cx: &mut Context<'_>) -> Option<RepositoryLocation> {
    if let Some(packages) = &fact.packages {
        let reason = "a repository cannot be made of single packages yet; serve them as a repository and give its `url`";
        cx.unsupported(packages.origin, format!("{field}.packages"), reason);
    }
    match (&fact.url, &fact.path) {
        (Some(url), Some(_)) => {
            cx.error(Code::Contradiction, url.origin, field, "a repository has either `url` or `path`, and here are both");
            None
        }
        (Some(url), None) => {
            let text = url.value().trim().trim_end_matches('/');
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) && !text.contains(char::is_whitespace) {
                return Some(RepositoryLocation::Url(text.to_owned()));
            }
            let finding = Finding::error(Code::InvalidValue, "not the URL of a repository").found(format!("`{}`", url.value()));
            cx.report(finding.allowed(["https://…", "http://…"]), url.origin, &format!("{field}.url"));
            None
        }
        (None, Some(path)) => {
            let folder = cx.sources.resolve_path(path.origin, path.value());
            if !folder.is_dir() {
                missing_file(&folder, path.origin, &format!("{field}.path"), cx);
            }
            Some(RepositoryLocation::Path(std::path::absolute(&folder).unwrap_or(folder)))
        }
        (None, None) if fact.packages.is_some() => Some(RepositoryLocation::Path(PathBuf::new())),
        (None, None) => {
            cx.error(Code::MissingField, fact.origin, field, "a repository needs `url` or `path`");
            None
        }
    }
}

fn keys(fact: &Located<PackageRepository>, field: &str, cx: &mut Context<'_>) -> (Vec<RepositoryKey>, bool) {
    let given: Vec<(&Located<String>, String)> = fact
        .pkey
        .iter()
        .map(|key| (key, format!("{field}.pkey")))
        .chain(fact.pkeys.iter().flat_map(|keys| keys.value()).map(|key| (key, format!("{field}.pkeys"))))
        .collect();
    let mut keys = Vec::new();
    let mut trusted = false;
    if given.is_empty() {
        let finding = Finding::error(Code::MissingField, "a repository needs the key that signs it, and none is given");
        let finding = finding.hint(format!("give `pkey` or `pkeys`; `pkey: \"{TRUSTED}\"` takes packages that nobody has signed"));
        cx.report(finding, fact.origin, field);
    }
    for (key, field) in given {
        let text = key.value().trim();
        let path = text.strip_prefix("file://").unwrap_or(text);
        if text == TRUSTED {
            trusted = true;
            cx.warn(key.origin, &field, "packages of this repository are taken unverified");
        } else if text.starts_with("https://") || text.starts_with("http://") {
            keys.push(RepositoryKey::Url(text.to_owned()));
        } else if path.starts_with('/') {
            let path = PathBuf::from(path);
            if !path.is_file() {
                missing_file(&path, key.origin, &field, cx);
            }
            keys.push(RepositoryKey::File(path));
        } else if !cx.is_placeholder(text, key.origin, &field) {
            let finding = Finding::error(Code::InvalidValue, "not a key").found(format!("`{text}`"));
            cx.report(finding.allowed(["https://…", "/absolute/path", TRUSTED]), key.origin, &field);
        }
    }
    (keys, trusted)
}

/// Returns whether the repository's metadata must be signed, which only RPM repositories can be without.
fn metadata_signature(fact: &Located<PackageRepository>, field: &str, cx: &mut Context<'_>) -> bool {
    let Some(check) = &fact.repo_gpg_check else { return true };
    let field = format!("{field}.repoGPGCheck");
    if cx.provider.facts.ecosystem == Ecosystem::Deb {
        let message = "only RPM repositories have it: the metadata of Debian repositories is always verified";
        cx.error(Code::Contradiction, check.origin, &field, message);
    } else if !*check.value() {
        let message = "the metadata of this repository is taken without a signature; its packages are still verified";
        cx.warn(check.origin, &field, message);
    }
    *check.value()
}

fn priority(fact: &Located<PackageRepository>, field: &str, cx: &mut Context<'_>) -> i32 {
    let ecosystem = cx.provider.facts.ecosystem;
    let default = default_priority(ecosystem);
    let Some(priority) = &fact.priority else { return default };
    let (range, words) = match ecosystem {
        Ecosystem::Deb => (-9999..=9999, "-9999 to 9999, the highest wins"),
        Ecosystem::Rpm => (0..=9999, "1 to 9999, the lowest wins"),
    };
    if !range.contains(priority.value()) {
        let finding = Finding::error(Code::InvalidValue, "not a priority").found(priority.to_string());
        cx.report(finding.allowed([words]), priority.origin, &format!("{field}.priority"));
    }
    if *priority.value() == 0 { default } else { *priority.value() }
}

/// Reports a local file that is not there: an error, or a warning when files are not to be checked.
pub(crate) fn missing_file(path: &std::path::Path, origin: Origin, field: &str, cx: &mut Context<'_>) {
    let message = format!("local file {} does not exist", path.display());
    let finding = if cx.check_files { Finding::error(Code::MissingFile, message) } else { Finding::warning(Code::MissingFile, message) };
    cx.report(finding.hint("relative paths start from the folder of the template that has them"), origin, field);
}

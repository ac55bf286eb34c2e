//! From a template's path to an [`ImageSpec`]: the flow of this crate.
//!
//! ```text
//! read and parse      every file of the `extends` chain, the template last
//! fill and check      `${NAME}`, then the shape of each file against the schema
//! find the target     os, dist, arch and image type name the distribution's data
//! retarget            a template of another architecture gets the names of the one to build for
//! merge               distribution default <- extends chain <- template <- command line
//! validate            merged tree -> typed layer -> ImageSpec
//! ```
//!
//! Findings are collected all the way. Only what cannot be gone on without ends the flow early: a template that cannot be read
//! or parsed, and a target for which there is no data.

use std::path::{Path, PathBuf};

use crate::assign::{Assignment, Variables, parse_set};
use crate::azl;
use crate::decode;
use crate::diagnostic::{Code, Finding, Findings, Report};
use crate::emit;
use crate::layer::{ArchName, ImageTypeName, Layer};
use crate::merge::{Merger, insert};
use crate::node::{Node, Value};
use crate::provider::{Catalog, Provider};
use crate::shape::Shape;
use crate::source::{COMMAND_LINE, Origin, SourceMap, read_template, read_text};
use crate::spec::{Arch, ImageSpec, Repository, UnsupportedField};
use crate::suggest::closest;
use crate::validate;
use crate::yaml;

/// What older templates of Image Composer Tool and other tools call a target, and what it is called here.
const FORMER_NAMES: [(&str, &str); 5] = [
    ("emt", "Edge Microvisor Toolkit is `os: edge-microvisor-toolkit`, `dist: emt3`"),
    ("rcd10", "the distributions compatible with Red Hat Enterprise Linux 10 are `dist: el10`"),
    (
        "rhel10",
        "CentOS Stream 10 is `os: redhat-compatible-distro`, `dist: el10`; the archives of Red Hat Enterprise Linux are open to subscribers only, and can be added as data below `osv/` in the folder that `config_dir` names",
    ),
    ("mariner", "Azure Linux is `os: azure-linux`, `dist: azl3`"),
    ("cbl-mariner", "Azure Linux is `os: azure-linux`, `dist: azl3`"),
];

/// Longest `extends` chain.
const MAX_EXTENDS: usize = 16;

/// What to load, and what the command line says about it.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// The template.
    pub template: PathBuf,
    /// A folder of which `osv/` replaces built-in distributions and adds new ones.
    pub config_dir: Option<PathBuf>,
    /// `--set path=value`, in order.
    pub sets: Vec<String>,
    /// `--var NAME=value`, in order; of the same name the last one counts.
    pub vars: Vec<(String, String)>,
    /// `--arch`.
    pub arch: Option<Arch>,
    /// `--no-file-checks`: local files that are missing are warnings.
    pub no_file_checks: bool,
}

/// A template that is fit to be built.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The template with everything it inherits.
    pub merged: MergedTemplate,
    /// What it means.
    pub spec: ImageSpec,
    /// What is worth knowing about it.
    pub warnings: Vec<Finding>,
}

/// All layers of a template as one, each value with its place.
#[derive(Debug, Clone)]
pub struct MergedTemplate {
    root: Node,
    sources: SourceMap,
}

impl MergedTemplate {
    /// Returns it as YAML in which a comment behind each value names its place. Secrets are left out.
    #[must_use]
    pub fn to_yaml_with_origins(&self) -> String {
        emit::to_yaml(&self.root, &self.sources, true)
    }

    /// Returns it as YAML. Secrets are left out.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        emit::to_yaml(&self.root, &self.sources, false)
    }
}

/// Loads a template.
///
/// # Errors
/// Returns everything that is wrong with it, and the warnings.
pub fn load(request: &LoadRequest) -> Result<Loaded, Report> {
    let mut findings = Findings::default();
    match load_into(request, &mut findings) {
        Some((merged, spec)) if !findings.has_errors() => Ok(Loaded { merged, spec, warnings: findings.into_vec() }),
        _ => Err(findings.into_report()),
    }
}

/// Returns the repositories of a distribution for an architecture, none when there is no data for it. `oic` takes its own
/// tools from there.
///
/// # Errors
/// Returns what is wrong with the distribution's data, which only a `config_dir` can bring about.
pub fn distribution_repositories(config_dir: Option<&Path>, os: &str, dist: &str, arch: Arch) -> Result<Option<Vec<Repository>>, Report> {
    let mut findings = Findings::default();
    let repositories = Catalog { config_dir }.repositories((os, dist), arch, &mut findings);
    let report = findings.into_report();
    if report.error_count() > 0 { Err(report) } else { Ok(repositories) }
}

/// Merges a template without giving it a meaning, for printing what does not validate.
///
/// # Errors
/// Returns what kept it from being merged.
pub fn merge(request: &LoadRequest) -> Result<MergedTemplate, Report> {
    let mut findings = Findings::default();
    match merge_into(request, &mut findings) {
        Some(merging) => Ok(MergedTemplate { root: merging.root, sources: merging.sources }),
        None => Err(findings.into_report()),
    }
}

/// A merged tree and what is needed to validate it.
struct Merging {
    root: Node,
    sources: SourceMap,
    provider: Provider,
    files: Vec<PathBuf>,
    /// What a config of the Azure Linux toolkit has and cannot be built.
    unsupported: Vec<azl::Unsupported>,
}

fn load_into(request: &LoadRequest, findings: &mut Findings) -> Option<(MergedTemplate, ImageSpec)> {
    let Merging { root, sources, provider, files, unsupported } = merge_into(request, findings)?;
    let layer: Layer = match decode::decode(&root) {
        Ok(layer) => layer,
        Err(error) => {
            findings.push(Finding::error(Code::InvalidValue, format!("the merged template does not fit the format: {error}")));
            return None;
        }
    };
    let mut spec = validate::validate(&layer, &root, &provider, files, &sources, !request.no_file_checks, findings)?;
    spec.unsupported.extend(unsupported.into_iter().map(|(origin, field, reason)| UnsupportedField {
        field,
        reason,
        origin: sources.location(origin).to_string(),
    }));
    Some((MergedTemplate { root, sources }, spec))
}

fn merge_into(request: &LoadRequest, findings: &mut Findings) -> Option<Merging> {
    let mut sources = SourceMap::default();
    let mut variables = Variables::new(&request.vars);
    let mut unsupported = Vec::new();
    let mut chain = if azl::is_config(&request.template) {
        vec![read_config(&request.template, &mut sources, findings, &mut unsupported)?]
    } else {
        read_chain(&request.template, &mut variables, &mut sources, findings)?
    };
    variables.report_unused(findings);
    let assignments: Vec<Assignment> = request.sets.iter().filter_map(|text| parse_set(text, &mut sources, findings)).collect();
    let mut upper: Vec<Node> = assignments.iter().filter_map(Assignment::as_layer).collect();
    if let Some(arch) = request.arch {
        let source = sources.add(COMMAND_LINE, None, "");
        let mut layer = Node::empty(Origin::whole(source));
        insert(&mut layer, &["target", "arch"], Node::text(Origin::whole(source), arch.name()));
        upper.push(layer);
    }
    for layer in &mut upper {
        Shape { schema: crate::schema::value(), sources: &sources, complete: false, findings }.check(layer);
    }
    let target = find_target(chain.iter().map(|file| &file.root).chain(&upper), &sources, findings)?;
    check_chain_targets(&chain, &sources, findings);

    let catalog = Catalog { config_dir: request.config_dir.as_deref() };
    check_distribution(&catalog, &target, &sources, findings)?;
    retarget(&mut chain, &catalog, &target);
    let provider = catalog.load((&target.os, &target.dist), target.arch, target.image_type, &mut sources, findings)?;

    // A config of the toolkit says everything by itself.
    let default_layer = if azl::is_config(&request.template) { None } else { Some(provider.default_layer.clone()) };
    let default_name = default_layer.as_ref().and_then(|layer| sources.get(layer.origin.source)).map(|source| source.name.clone());
    let mut files: Vec<PathBuf> = default_name.map(PathBuf::from).into_iter().collect();
    files.extend(chain.iter().map(|file| file.path.clone()));
    let mut merger = Merger { ecosystem: provider.facts.ecosystem, sources: &sources, findings };
    let mut root = merger.normalize(default_layer.unwrap_or_else(|| Node::empty(provider.default_layer.origin)));
    for layer in chain.drain(..).map(|file| file.root).chain(upper) {
        root = merger.merge(root, layer);
    }
    for assignment in assignments.iter().filter(|assignment| assignment.as_layer().is_none()) {
        assignment.apply(&mut root, &sources, findings);
    }
    Shape { schema: crate::schema::value(), sources: &sources, complete: false, findings }.check(&mut root);
    arrange(&mut root);
    Some(Merging { root, sources, provider, files, unsupported })
}

/// Rewrites templates that are for another architecture than the one to build for.
fn retarget(chain: &mut [ChainFile], catalog: &Catalog<'_>, target: &TargetNames) {
    let own = chain.last().and_then(|file| Arch::from_name(file.root.at(&["target", "arch"])?.as_text()?));
    let Some(own) = own.filter(|own| *own != target.arch.0) else { return };
    if let Some(dictionary) = catalog.dictionary((&target.os, &target.dist), (own, target.arch.0)) {
        chain.iter_mut().for_each(|file| dictionary.apply(&mut file.root));
    }
}

/// Puts the sections in the order of the format, and leaves out `extends`, which has been followed.
fn arrange(root: &mut Node) {
    let order: Vec<&String> =
        crate::schema::value().get("properties").and_then(|all| all.as_object()).into_iter().flat_map(|all| all.keys()).collect();
    if let Some(map) = root.as_map_mut() {
        map.remove("extends");
        map.0.sort_by_key(|field| order.iter().position(|key| **key == field.key));
    }
}

/// One file of an `extends` chain.
struct ChainFile {
    path: PathBuf,
    root: Node,
}

/// Reads the template and everything it extends; the outermost parent comes first.
fn read_chain(template: &Path, variables: &mut Variables<'_>, sources: &mut SourceMap, findings: &mut Findings) -> Option<Vec<ChainFile>> {
    let mut chain: Vec<ChainFile> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut path = template.to_owned();
    let mut asked_by: Option<Origin> = None;
    loop {
        let place = |finding: Finding, sources: &SourceMap| match asked_by {
            Some(origin) => finding.at(sources.location(origin)).field("extends"),
            None => finding,
        };
        let text = match read_template(&path) {
            Ok(text) => text,
            Err(mut finding) => {
                if asked_by.is_some() {
                    finding.code = Code::Extends;
                }
                findings.push(place(*finding, sources));
                return None;
            }
        };
        let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
        if seen.contains(&identity) {
            findings.push(place(Finding::error(Code::Extends, format!("{} extends itself through this", path.display())), sources));
            return None;
        }
        seen.push(identity);
        if seen.len() > MAX_EXTENDS {
            findings.push(place(Finding::error(Code::Extends, format!("more than {MAX_EXTENDS} templates extend each other")), sources));
            return None;
        }
        let folder = std::path::absolute(path.parent().unwrap_or(Path::new(""))).ok();
        let source = sources.add(path.display().to_string(), folder, &text);
        let mut root = yaml::parse(&text, source, sources, findings)?;
        variables.fill(&mut root, "", sources, findings);
        Shape { schema: crate::schema::value(), sources, complete: true, findings }.check(&mut root);
        validate::check_duplicates(&root, sources, findings);
        let parent = root.at(&["extends"]).and_then(|node| Some((node.as_text()?.to_owned(), node.origin)));
        chain.insert(0, ChainFile { path: path.clone(), root });
        match parent {
            Some((name, origin)) => {
                path = path.parent().unwrap_or(Path::new("")).join(name);
                asked_by = Some(origin);
            }
            None => return Some(chain),
        }
    }
}

/// Reads a config of the Azure Linux toolkit as a template.
fn read_config(
    path: &Path,
    sources: &mut SourceMap,
    findings: &mut Findings,
    unsupported: &mut Vec<azl::Unsupported>,
) -> Option<ChainFile> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(finding) => {
            findings.push(*finding);
            return None;
        }
    };
    let folder = std::path::absolute(path.parent().unwrap_or(Path::new(""))).ok();
    let source = sources.add(path.display().to_string(), folder, &text);
    let config = yaml::parse(&text, source, sources, findings)?;
    let mut root = azl::translate(&config, path, &mut azl::Reader { sources, findings, unsupported });
    Shape { schema: crate::schema::value(), sources, complete: true, findings }.check(&mut root);
    validate::check_duplicates(&root, sources, findings);
    Some(ChainFile { path: path.to_owned(), root })
}

/// What names the distribution's data.
struct TargetNames {
    os: String,
    os_origin: Origin,
    dist: String,
    dist_origin: Origin,
    arch: (Arch, Origin),
    image_type: (ImageTypeName, Origin),
}

/// Finds the target that the layers come to, the last one counting. What is missing was reported when the files were checked.
fn find_target<'a>(layers: impl Iterator<Item = &'a Node>, sources: &SourceMap, findings: &mut Findings) -> Option<TargetNames> {
    let (mut os, mut dist, mut arch, mut image_type) = (None, None, None, None);
    for layer in layers {
        let get = |key: &str| layer.at(&["target", key]).filter(|node| node.value != Value::Null);
        os = get("os").or(os);
        dist = get("dist").or(dist);
        arch = get("arch").or(arch);
        image_type = get("imageType").or(image_type);
    }
    let (os, dist, arch, image_type) = (os?, dist?, arch?, image_type?);
    let arch_value = match decode::decode::<ArchName>(arch).ok()? {
        ArchName::X86_64 => Arch::X86_64,
        ArchName::Aarch64 => Arch::Aarch64,
        ArchName::Riscv64 => Arch::Riscv64,
        ArchName::Armv7hl => {
            let finding = Finding::error(Code::Target, "no distribution has data for armv7hl").at(sources.location(arch.origin));
            findings.push(finding.field("target.arch").found("`armv7hl`").allowed(Arch::ALL.map(Arch::name)));
            return None;
        }
    };
    Some(TargetNames {
        os: os.as_text()?.to_owned(),
        os_origin: os.origin,
        dist: dist.as_text()?.to_owned(),
        dist_origin: dist.origin,
        arch: (arch_value, arch.origin),
        image_type: (decode::decode(image_type).ok()?, image_type.origin),
    })
}

/// A parent must be for the same distribution and image type: its disk and packages make no sense elsewhere.
fn check_chain_targets(chain: &[ChainFile], sources: &SourceMap, findings: &mut Findings) {
    for pair in chain.windows(2) {
        let [parent, child] = pair else { continue };
        for key in ["os", "dist", "arch", "imageType"] {
            let get = |file: &ChainFile| file.root.at(&["target", key]).cloned();
            let (Some(theirs), Some(ours)) = (get(parent), get(child)) else { continue };
            if theirs.as_text() != ours.as_text() {
                let text = |node: &Node| node.as_text().unwrap_or_default().to_owned();
                let message = format!("{} is for another {key} than the template that extends it", parent.path.display());
                let finding = Finding::error(Code::Extends, message).at(sources.location(ours.origin)).field(format!("target.{key}"));
                findings.push(finding.found(format!("`{}`", text(&ours))).allowed([text(&theirs)]));
            }
        }
    }
}

/// Reports an os or dist that there is no data for.
fn check_distribution(catalog: &Catalog<'_>, target: &TargetNames, sources: &SourceMap, findings: &mut Findings) -> Option<()> {
    let known = catalog.distributions();
    if known.iter().any(|(os, dist)| *os == target.os && *dist == target.dist) {
        return Some(());
    }
    let former = FORMER_NAMES.iter().find(|(name, _)| *name == target.os || *name == target.dist).map(|(_, hint)| *hint);
    let of_os: Vec<&str> = known.iter().filter(|(os, _)| *os == target.os).map(|(_, dist)| dist.as_str()).collect();
    let finding = if of_os.is_empty() {
        let mut names: Vec<&str> = known.iter().map(|(os, _)| os.as_str()).collect();
        names.dedup();
        let finding = Finding::error(Code::Target, "there is no data for this operating system").at(sources.location(target.os_origin));
        let finding = finding.field("target.os").found(format!("`{}`", target.os)).allowed(names.clone());
        suggest(finding, closest(&target.os, names), former)
    } else {
        let message = format!("there is no data for this distribution of {}", target.os);
        let finding = Finding::error(Code::Target, message).at(sources.location(target.dist_origin));
        let finding = finding.field("target.dist").found(format!("`{}`", target.dist)).allowed(of_os.clone());
        suggest(finding, closest(&target.dist, of_os), former)
    };
    findings.push(finding);
    None
}

fn suggest(finding: Finding, meant: Option<&str>, former: Option<&str>) -> Finding {
    match (meant, former) {
        (_, Some(former)) => finding.hint(former),
        (Some(meant), None) => finding.hint(format!("did you mean `{meant}`?")),
        (None, None) => finding.hint("a distribution is added as data, below `osv/` in the folder that `config_dir` names"),
    }
}

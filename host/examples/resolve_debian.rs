//! Resolves the packages of templates against real mirrors and fetches them, and says how long each part took.
//!
//! `cargo run -p oic --example resolve_debian -- CACHE TEMPLATE…`
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::{collections::BTreeMap, path::Path, time::Instant};

use oic::{
    build::{
        LockUse,
        progress::{Silent, Stage},
        resolve,
    },
    clock,
    fetch::{Fetcher, Settings},
    repository::{Access, MirrorTable},
    store::Store,
};
use oic_config::LoadRequest;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, cache, templates @ ..] = &arguments[..] else { return Err("usage: resolve_debian CACHE TEMPLATE…".into()) };
    let store = Store::open(Path::new(cache))?;
    let fetcher = Fetcher::new(Settings::default())?;
    let mirrors = MirrorTable::load(&BTreeMap::new(), Path::new("/"));
    let access = Access {
        store: &store,
        fetcher: &fetcher,
        mirrors: &mirrors,
        stage: Stage::Resolve,
        observer: &Silent,
        now: clock::unix_now(),
        allow_expired: false,
        without: &[],
    };
    for template in templates {
        let loaded =
            oic_config::load(&LoadRequest { template: template.into(), ..LoadRequest::default() }).map_err(|report| report.to_string())?;
        let start = Instant::now();
        let image = resolve::resolve(&access, &loaded.spec, LockUse::Renew, None)?.section;
        let resolved = start.elapsed();
        let start = Instant::now();
        let packages = resolve::fetch_all(&access, &loaded.spec.repositories, &image.packages)?;
        let fetched = start.elapsed();
        let bytes: u64 = packages.iter().map(|(package, _)| package.size).sum();
        println!("{template}: {} packages, {bytes} bytes; resolved in {resolved:.2?}, fetched in {fetched:.2?}", packages.len());
        for repository in &image.repositories {
            println!("  {} {} of {} signed by {}", repository.id, repository.metadata, repository.date, repository.signed_by);
        }
        if template == &templates[0] {
            let start = Instant::now();
            let tools =
                resolve::resolve_tools(&access, "disk", loaded.spec.target.arch, &["e2fsprogs", "dosfstools"], LockUse::Renew, None)?
                    .section;
            println!("  tools: {} packages in {:.2?}", tools.packages.len(), start.elapsed());
        }
    }
    Ok(())
}

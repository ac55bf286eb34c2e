//! `oic cache`: what the cache holds, and what of it may go.

use std::collections::BTreeMap;

use oic_config::units::ByteSize;
use serde::Serialize;

use crate::{
    cli::{
        Context,
        command_error::CommandError,
        exit_code::ExitCode,
        printer::Printer,
        progress::text,
        settings::{CacheCleanSettings, CacheGcSettings, CacheListSettings, GlobalSettings},
    },
    clock,
    store::{Bucket, Limits, Removal, Store, StoreError, StoredEntry},
};

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::new(ExitCode::Host, error)
    }
}

/// One kind of entries, as the list has it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    entries: usize,
    bytes: u64,
    last_use: u64,
}

impl Line {
    fn add(&mut self, entry: &StoredEntry) {
        self.entries += 1;
        self.bytes += entry.size;
        self.last_use = self.last_use.max(entry.used);
    }
}

/// Lists what the cache holds.
pub(crate) fn cache_list(settings: CacheListSettings, context: &Context) -> Result<(), CommandError> {
    let store = open(context)?;
    let mut lines: BTreeMap<&str, Line> = Bucket::ALL.into_iter().map(|bucket| (bucket.name(), Line::default())).collect();
    let mut total = Line::default();
    for entry in store.entries() {
        lines.entry(entry.bucket.name()).or_default().add(&entry);
        total.add(&entry);
    }
    if settings.json {
        let list: Vec<_> = lines.iter().map(|(name, line)| serde_json::json!({ "bucket": name, "content": line })).collect();
        let limit = context.settings.cache_max_size.value.map(|size| size.0);
        let report = serde_json::json!({ "version": 1, "folder": store.root().to_string_lossy(), "maxBytes": limit, "buckets": list });
        return Ok(context.printer.result(&report.to_string())?);
    }
    let now = clock::unix_now();
    let row = |name: &str, line: &Line| {
        let used = if line.entries == 0 { "-".to_owned() } else { ago(now.saturating_sub(line.last_use)) };
        format!("{name:<10} {:>8} {:>10}  {used}", line.entries, text::bytes(line.bytes))
    };
    context.printer.result(&format!("{:<10} {:>8} {:>10}  last use", "bucket", "entries", "size"))?;
    for (name, line) in &lines {
        context.printer.result(&row(name, line))?;
    }
    context.printer.result(&row("total", &total))?;
    Ok(())
}

/// Removes what is too old or too much.
pub(crate) fn cache_gc(settings: CacheGcSettings, context: &Context) -> Result<(), CommandError> {
    let size = settings.max_size.or(context.settings.cache_max_size.value);
    let limits = Limits { size, age: settings.max_age };
    let store = open(context)?;
    store.sweep();
    tell(&store.trim(limits, settings.dry_run)?, settings.dry_run, &context.printer)
}

/// Removes whole buckets.
pub(crate) fn cache_clean(settings: &CacheCleanSettings, context: &Context) -> Result<(), CommandError> {
    let store = open(context)?;
    let removal = store.clean(&settings.buckets, settings.dry_run)?;
    if settings.forget && !settings.dry_run {
        store.forget()?;
    }
    tell(&removal, settings.dry_run, &context.printer)
}

/// Checks entries against their digests.
pub(crate) fn cache_verify(context: &Context) -> Result<(), CommandError> {
    let (checked, damaged) = open(context)?.verify()?;
    for entry in &damaged {
        context.printer.result(&format!("damaged, removed: {}", entry.path.display()))?;
    }
    context.printer.note(&format!("{} checked against their digests", entries(checked)));
    if damaged.is_empty() {
        return Ok(());
    }
    Err(CommandError::message(ExitCode::Differences, format!("{} of {checked} entries were damaged", damaged.len()))
        .with_hint("the next build fetches or makes them again"))
}

/// Makes the cache as small as the configuration asks for. What cannot be removed now is removed later.
pub(super) fn trim_after_build(settings: &GlobalSettings) {
    let Some(size) = settings.cache_max_size.value else { return };
    let limits = Limits { size: Some(size), age: None };
    let trimmed = Store::open(&settings.cache_dir.value).and_then(|store| store.trim(limits, false));
    match trimmed {
        Ok(removal) if removal.removed.is_empty() => {}
        Ok(removal) => tracing::info!("{} of the cache were not used for long and are removed", removal.size()),
        Err(error) => tracing::warn!(%error, "the cache is larger than it should be"),
    }
}

fn open(context: &Context) -> Result<Store, CommandError> {
    Ok(Store::open(&context.settings.cache_dir.value)?)
}

/// Tells what was removed.
fn tell(removal: &Removal, dry_run: bool, printer: &Printer) -> Result<(), CommandError> {
    let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
    removal.removed.iter().for_each(|entry| lines.entry(entry.bucket.name()).or_default().add(entry));
    let verb = if dry_run { "would remove" } else { "removed" };
    for (name, line) in &lines {
        printer.result(&format!("{verb} {} from {name}, {}", entries(line.entries), text::bytes(line.bytes)))?;
    }
    let total: ByteSize = removal.size();
    printer.result(&format!("{verb} {}, {}", entries(removal.removed.len()), text::bytes(total.0)))?;
    if removal.in_use > 0 {
        printer.note(&format!("{} may be in use by builds that run now, and stay", entries(removal.in_use)));
    }
    Ok(())
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// Returns how long something is ago.
fn ago(seconds: u64) -> String {
    match seconds {
        0..7200 => "within the last two hours".to_owned(),
        7200..172_800 => format!("{} hours ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86400),
    }
}

//! The machine: disk space, clock, and the lock of another execution.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Sheet;
use super::databases::local_archive;
use super::files::existing_above;
use crate::clock;
use crate::config::Config;
use crate::disk::{self, Level, Usage};
use crate::faults;
use crate::faults::fs;
use crate::lock::observe::{Seen, observe};

/// No clock that is right shows less: this program did not exist.
const EARLIEST: &str = "2025-01-01T00:00:00Z";

/// How far files may be ahead of the clock: those on a server have its time.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(120);

/// After how long the operations manual takes a lock for a sign of trouble.
const LONG: SignedDuration = SignedDuration::from_hours(2);

/// The file systems that are written to have space.
pub(super) fn disk_space(config: &Config, sheet: &mut Sheet<'_>) {
    let mut places: Vec<(&str, PathBuf)> = vec![("work directory", config.app.work_dir.clone())];
    if let Some(db) = local_archive(&config.artdaq_db) {
        places.push(("artdaqDB", db.root().to_path_buf()));
    }
    if let Some(path) = config.ucon_db.server_url.directory() {
        places.push(("UconDB", path.to_path_buf()));
    }
    if config.artdaq_db.use_tools {
        places.push(("temporary files", std::env::temp_dir()));
    }

    // One line for each file system.
    let mut file_systems: BTreeMap<u64, (PathBuf, Vec<&str>)> = BTreeMap::new();
    for (what, path) in places {
        let existing = match path.exists() {
            true => path.as_path(),
            false => existing_above(&path),
        };
        if let Ok(found) = fs::metadata(existing) {
            let entry = file_systems
                .entry(found.dev())
                .or_insert_with(|| (existing.to_path_buf(), Vec::new()));
            entry.1.push(what);
        }
    }
    for (path, what) in file_systems.into_values() {
        let name = format!("Disk space ({}) in {}", what.join(", "), path.display());
        match Usage::of(&path) {
            Err(error) => sheet.fail(format!("{name}: {error}")),
            Ok(usage) => match usage.level() {
                Level::Critical => sheet.fail(format!(
                    "{name}: {usage}; below {}%: free space there at once",
                    disk::CRITICAL
                )),
                Level::Low => sheet.doubt(format!(
                    "{name}: {usage}; below {}%: plan a cleanup or more space",
                    disk::LOW
                )),
                Level::Enough => sheet.good(format!("{name}: {usage}")),
            },
        }
    }
}

/// The clock is not behind what it wrote itself.
pub(super) fn clock(work_dir: &Path, sheet: &mut Sheet<'_>) {
    let now = clock::actual();
    let shown = now.to_zoned_datetime(TimeZone::system());
    let shown = shown.strftime("%Y-%m-%d %H:%M:%S %Z");
    let advice = "check the time service; wrong times go into documents and blobs";
    if EARLIEST
        .parse()
        .is_ok_and(|earliest: Timestamp| now < earliest)
    {
        return sheet.fail(format!("Clock: {shown} can't be: {advice}"));
    }
    match newest(work_dir) {
        Some((path, time)) if time.duration_since(now) > TOLERANCE => sheet.fail(format!(
            "Clock: {shown} is before {} was written ({}): {advice}",
            path.display(),
            time.to_zoned_datetime(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S %Z")
        )),
        _ => sheet.good(format!("Clock: {shown}")),
    }
}

/// The file of the work directory that was written last.
fn newest(work_dir: &Path) -> Option<(PathBuf, Timestamp)> {
    faults::read_dir(work_dir)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            let time = Timestamp::try_from(found.modified().ok()?).ok()?;
            Some((entry.path(), time))
        })
        .max_by_key(|(_, time)| *time)
}

/// No other execution, and nothing left by a dead one.
pub(super) fn lock(lock_file: &Path, sheet: &mut Sheet<'_>) {
    let path = lock_file.display();
    let seen = match observe(lock_file) {
        Ok(seen) => seen,
        Err(error) => return sheet.fail(format!("Lock: {error}")),
    };
    match seen {
        Seen::Free => sheet.good("Lock: free, no execution is under way"),
        Seen::Held { pid, host, since } => {
            let who = pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
            let who = host.map_or_else(|| who.clone(), |host| format!("{who} on host {host}"));
            let since = since.map_or_else(String::new, |since| {
                let long = clock::actual().duration_since(since) > LONG;
                let shown = since.to_zoned_datetime(TimeZone::system());
                let shown = shown.strftime("%Y-%m-%d %H:%M:%S");
                match long {
                    true => format!(
                        " since {shown}, for more than 2 hours: see whether it still makes progress"
                    ),
                    false => format!(" since {shown}"),
                }
            });
            sheet.doubt(format!(
                "Lock: {who} holds {path}{since}: an execution is under way"
            ));
        }
        Seen::Elsewhere(holder) => sheet.doubt(format!(
            "Lock: process {pid} on host {host} took {path} at {since}, and this host can't see \
             whether it lives: look at it with `ps -fp {pid}` on {host}. The next execution here \
             takes the lock over unless it is held",
            pid = holder.pid,
            host = holder.host,
            since = holder.since()
        )),
        Seen::Stale { pid: Some(pid), .. } => sheet.doubt(format!(
            "Lock: {path} is stale: process {pid} left it and holds it no more; the next execution \
             takes it over"
        )),
        Seen::Stale { pid: None, .. } => sheet.doubt(format!(
            "Lock: nobody holds {path}, and it names no process: something else made it; the next \
             execution takes it over"
        )),
        Seen::Doubtful { pid } => sheet.doubt(format!(
            "Lock: process {pid} runs, but does not hold {path} as far as this machine can tell: \
             look at it with `ps -fp {pid}`"
        )),
    }
}

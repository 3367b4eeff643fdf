//! Reads one run record.

mod decode;
mod listing;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::regular_file;
use crate::run::{FclFile, Run};

use super::Generated;
use super::convert::{self, Converted, Facts};
use decode::decode;
use listing::Listing;

/// The configuration name of a run record that has none.
pub const DEFAULT_CONFIGURATION: &str = "standard";

/// The largest file that is read unless the configuration says otherwise, in bytes.
/// The largest known .fcl is a thousandth of this.
pub const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// How a run record is read.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Which files to make, `fhiclize_generate` of the configuration.
    pub generate: &'a BTreeSet<Generated>,
    /// The largest file that is read, in bytes.
    pub max_file_bytes: u64,
}

/// A run record, ready to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The run.
    pub run: Run,
    /// The directory from which it was read.
    pub path: PathBuf,
    /// The configuration name, with `/` made `_`; several sub-configurations
    /// are separated by a space.
    pub configuration: String,
    /// The first load: the record's own .fcl files and the ones made from its
    /// .txt files, in the order of their names. The schema is not among them.
    pub files: Vec<FclFile>,
    /// Which of them the archiver made itself.
    pub generated: BTreeSet<Generated>,
    /// The second load.
    pub update: Update,
}

/// What becomes known of a run only while it goes on: its second load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// RunHistory2, or nothing while there are no times (or when
    /// `fhiclize_generate` does not name it).
    pub files: Vec<FclFile>,
    /// Whether metadata.txt has the stop time. A run without it is still going,
    /// or never ended properly.
    pub has_stop_time: bool,
    /// Whether it may come: there is a metadata.txt, and no stop time in it.
    pub awaits_stop_time: bool,
}

impl RunRecord {
    /// Reads the run record of `run` in the directory `path`.
    ///
    /// Whatever is left out or read in an unusual way is logged with the run
    /// and the file.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file if one can't be read, [`Error::RunRecord`]
    /// if there is no .fcl file or one is too large.
    pub fn read(run: Run, path: &Path, options: &Options) -> Result<RunRecord> {
        let listing = Listing::read(run, path)?;
        if listing.fcl.is_empty() {
            return Err(Error::RunRecord {
                path: path.to_path_buf(),
                problem: format!(
                    "run {run} has no .fcl file, {}; restore the record or remove the directory",
                    listing.found()
                ),
            });
        }
        let mut files = Vec::with_capacity(listing.fcl.len() + Generated::ALL.len());
        for (entity, file) in &listing.fcl {
            let text = read_text(run, options.max_file_bytes, &path.join(file))?;
            if text.trim().is_empty() {
                log::warn!("run {run}: {} is empty", Path::new(file).display());
            }
            files.push(FclFile {
                entity: entity.clone(),
                text,
            });
        }

        let wanted = listing.wanted(options.generate);
        let metadata = listing
            .txt
            .contains("metadata.txt")
            .then(|| read_text(run, options.max_file_bytes, &path.join("metadata.txt")))
            .transpose()?;
        let mut made = BTreeSet::new();
        for generated in wanted {
            let text = match (generated.source(), &metadata) {
                ("metadata.txt", None) => continue,
                ("metadata.txt", Some(text)) => text.clone(),
                (source, _) => read_text(run, options.max_file_bytes, &path.join(source))?,
            };
            let Some(converted) = generate(generated, run, &text) else {
                continue;
            };
            for note in &converted.notes {
                log::log!(
                    note.level,
                    "run {run}: {}: {}",
                    generated.source(),
                    note.text
                );
            }
            made.insert(generated);
            files.push(FclFile {
                entity: generated.entity().to_string(),
                text: converted.text,
            });
        }
        files.sort_by(|a, b| a.entity.cmp(&b.entity));

        Ok(RunRecord {
            run,
            path: path.to_path_buf(),
            configuration: configuration(run, metadata.as_deref()),
            files,
            generated: made,
            update: update(metadata.as_deref().unwrap_or_default(), &listing, options),
        })
    }

    /// Reads again only what may have become known since the run record was
    /// archived.
    ///
    /// # Errors
    /// Those of [`RunRecord::read`].
    pub fn read_update(run: Run, path: &Path, options: &Options) -> Result<Update> {
        let listing = Listing::read(run, path)?;
        if !listing.txt.contains("metadata.txt") {
            return Ok(Update::default());
        }
        let metadata = read_text(run, options.max_file_bytes, &path.join("metadata.txt"))?;
        Ok(update(&metadata, &listing, options))
    }
}

/// Makes a file of the first load; RunHistory2 is none.
fn generate(generated: Generated, run: Run, text: &str) -> Option<Converted> {
    Some(match generated {
        Generated::Metadata => convert::metadata::convert(text),
        Generated::Boot => convert::boot::convert(text),
        Generated::Settings => convert::settings::convert(text),
        Generated::Setup => convert::setup::convert(text),
        Generated::Environment => convert::environment::convert(text),
        Generated::Ranks => convert::ranks::convert(text),
        Generated::KnownBoardreadersList => convert::known_boardreaders_list::convert(text),
        Generated::RunHistory => convert::run_history::convert(text, run),
        Generated::RunHistory2 => return None,
    })
}

fn update(metadata: &str, listing: &Listing, options: &Options) -> Update {
    let entity = Generated::RunHistory2.entity();
    let mut files = Vec::new();
    if options.generate.contains(&Generated::RunHistory2) && !listing.fcl.contains_key(entity) {
        let text = convert::run_history2::convert(metadata).text;
        if !text.is_empty() {
            files.push(FclFile {
                entity: entity.to_string(),
                text,
            });
        }
    }
    let has_stop_time = Facts::read(metadata).has_stop_time();
    Update {
        files,
        has_stop_time,
        awaits_stop_time: !has_stop_time && listing.txt.contains("metadata.txt"),
    }
}

/// The name under which the run is archived in artdaqDB, behind `<run>/`.
fn configuration(run: Run, metadata: Option<&str>) -> String {
    let named = metadata.and_then(|text| Facts::read(text).config_name);
    if let Some(name) = named {
        return name.replace(|c: char| c == '/' || c.is_control(), "_");
    }
    if metadata.is_some() {
        log::warn!(
            "run {run}: no \"Config name:\" in metadata.txt, archived as {DEFAULT_CONFIGURATION:?}"
        );
    } else {
        log::info!("run {run}: no metadata.txt, archived as {DEFAULT_CONFIGURATION:?}");
    }
    DEFAULT_CONFIGURATION.to_string()
}

/// Reads a regular file of a run record as text.
fn read_text(run: Run, limit: u64, path: &Path) -> Result<String> {
    let failed = |source| Error::io("read", path, source);
    let file = regular_file::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::new();
    if size <= limit {
        bytes.reserve_exact(usize::try_from(size).unwrap_or_default() + 1);
        // A file may grow while it is read: never past the limit.
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    let size = size.max(bytes.len() as u64);
    if size > limit {
        return Err(Error::RunRecord {
            path: path.to_path_buf(),
            problem: format!(
                "has {size} bytes, more than the {} MiB of app.max_file_mb; if it is a \
                 configuration, raise that",
                limit / 1024 / 1024
            ),
        });
    }
    let decoded = decode(bytes);
    for remark in &decoded.remarks {
        log::warn!("run {run}: {}: {remark}", path.display());
    }
    Ok(decoded.text)
}

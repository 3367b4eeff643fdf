//! Reads one run record.

mod decode;
mod labels;
mod listing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use log::Level;
use md5::{Digest, Md5};

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
    /// Files that are not there though something names them: the .fcl files of
    /// processes that ranks.txt, boot.txt or metadata.txt list, and the sources of
    /// files that `fhiclize_generate` asks for. Sources first.
    pub missing: Vec<String>,
    /// What tells whether the .txt files are others.
    pub sources: SourceDigests,
}

/// A number for each .txt file from which files are made, in the order of
/// [`Generated::ALL`]: another one if the file is another. Times do not count, as they
/// are added to metadata.txt while the run goes on. 0 where there is no file.
pub type SourceDigests = [u32; 7];

/// How what is odd about a record is told: to the log, or not at all where it was
/// told before.
#[derive(Debug, Clone, Copy)]
struct Voice {
    run: Run,
    is_quiet: bool,
}

impl Voice {
    fn say(self, level: Level, text: fmt::Arguments<'_>) {
        if !self.is_quiet {
            log::log!(level, "run {}: {text}", self.run);
        }
    }
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
        let is_quiet = false;
        RunRecord::read_with(Voice { run, is_quiet }, path, options)
    }

    /// Reads a run record that was read before: what is odd about it was logged then.
    ///
    /// # Errors
    /// Those of [`RunRecord::read`].
    pub fn read_again(run: Run, path: &Path, options: &Options) -> Result<RunRecord> {
        let is_quiet = true;
        RunRecord::read_with(Voice { run, is_quiet }, path, options)
    }

    fn read_with(voice: Voice, path: &Path, options: &Options) -> Result<RunRecord> {
        let run = voice.run;
        let listing = Listing::read(voice, path)?;
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
            let text = read_text(voice, options.max_file_bytes, &path.join(file))?;
            if text.trim().is_empty() {
                let file = Path::new(file).display();
                voice.say(Level::Warn, format_args!("{file} is empty"));
            }
            files.push(FclFile {
                entity: entity.clone(),
                text,
            });
        }

        let sources = Sources::read(voice, path, &listing, options)?;
        let generated: BTreeSet<Generated> = listing.wanted(options.generate).into_iter().collect();
        for generated in &generated {
            let generated = *generated;
            let Some(text) = sources.text(generated.source()) else {
                continue;
            };
            let Some(converted) = generate(generated, run, text) else {
                continue;
            };
            for note in &converted.notes {
                let source = generated.source();
                voice.say(note.level, format_args!("{source}: {}", note.text));
            }
            files.push(FclFile {
                entity: generated.entity().to_string(),
                text: converted.text,
            });
        }
        files.sort_by(|a, b| a.entity.cmp(&b.entity));

        let missing = sources.missing(&listing, options);
        if !missing.is_empty() {
            let missing = missing.join(", ");
            voice.say(
                Level::Warn,
                format_args!("not there, and so not archived: {missing}"),
            );
        }
        let metadata = sources.text("metadata.txt");
        Ok(RunRecord {
            run,
            path: path.to_path_buf(),
            configuration: configuration(voice, metadata),
            sources: sources.digests(),
            generated,
            files,
            update: update(metadata.unwrap_or_default(), &listing, options),
            missing,
        })
    }

    /// Whether artdaqDB should have a stop time of the run, now or later.
    #[must_use]
    pub fn may_have_stop_time(&self, options: &Options) -> bool {
        let is_made = options.generate.contains(&Generated::RunHistory2);
        match is_made {
            true => self.update.has_stop_time || self.update.awaits_stop_time,
            false => self.update.awaits_stop_time,
        }
    }

    /// Reads again only what may have become known since the run record was
    /// archived.
    ///
    /// # Errors
    /// Those of [`RunRecord::read`].
    pub fn read_update(run: Run, path: &Path, options: &Options) -> Result<Update> {
        let is_quiet = true;
        let voice = Voice { run, is_quiet };
        let listing = Listing::read(voice, path)?;
        if !listing.txt.contains("metadata.txt") {
            return Ok(Update::default());
        }
        let metadata = read_text(voice, options.max_file_bytes, &path.join("metadata.txt"))?;
        Ok(update(&metadata, &listing, options))
    }
}

/// The texts of a record's .txt files, by name.
struct Sources(BTreeMap<&'static str, String>);

impl Sources {
    /// Reads the sources of what is to be made, and those that name the processes.
    fn read(voice: Voice, path: &Path, listing: &Listing, options: &Options) -> Result<Sources> {
        let mut texts = BTreeMap::new();
        for generated in Generated::ALL {
            let source = generated.source();
            let is_needed = options.generate.contains(&generated) || source == "metadata.txt";
            let is_known = texts.contains_key(source) || !listing.txt.contains(source);
            if is_known || !(is_needed || labels::SOURCES.contains(&source)) {
                continue;
            }
            match read_text(voice, options.max_file_bytes, &path.join(source)) {
                Ok(text) => drop(texts.insert(source, text)),
                Err(error) if is_needed => return Err(error),
                // Nothing is made of it.
                Err(_) => {}
            }
        }
        Ok(Sources(texts))
    }

    fn text(&self, source: &str) -> Option<&str> {
        self.0.get(source).map(String::as_str)
    }

    /// A number for each source.
    fn digests(&self) -> SourceDigests {
        let mut digests = SourceDigests::default();
        let mut sources: Vec<&str> = Vec::new();
        for source in Generated::ALL.iter().map(|one| one.source()) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        for (digest, source) in digests.iter_mut().zip(sources) {
            if let Some(text) = self.text(source) {
                let mut md5 = Md5::new();
                let lines = text.lines().map(str::trim_end);
                let is_counted = |line: &&str| !line.is_empty() && !convert::is_time(line);
                for line in lines.filter(is_counted) {
                    md5.update(line.as_bytes());
                    md5.update(b"\n");
                }
                let all: [u8; 16] = md5.finalize().into();
                let [a, b, c, d, ..] = all;
                *digest = u32::from_le_bytes([a, b, c, d]).max(1);
            }
        }
        digests
    }

    /// The names of the files that should be there and are not.
    fn missing(&self, listing: &Listing, options: &Options) -> Vec<String> {
        let sources = listing.missing_sources(options.generate);
        let labels = labels::named(|source| self.text(source));
        let labels = labels
            .into_iter()
            .filter(|label| !listing.fcl.contains_key(label));
        let sources = sources.into_iter().map(str::to_owned);
        sources
            .chain(labels.map(|label| format!("{label}.fcl")))
            .collect()
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
fn configuration(voice: Voice, metadata: Option<&str>) -> String {
    let named = metadata.and_then(|text| Facts::read(text).config_name);
    if let Some(name) = named {
        return name.replace(|c: char| c == '/' || c.is_control(), "_");
    }
    if metadata.is_some() {
        voice.say(
            Level::Warn,
            format_args!(
                "no \"Config name:\" in metadata.txt, archived as {DEFAULT_CONFIGURATION:?}"
            ),
        );
    } else {
        voice.say(
            Level::Info,
            format_args!("no metadata.txt, archived as {DEFAULT_CONFIGURATION:?}"),
        );
    }
    DEFAULT_CONFIGURATION.to_string()
}

/// Reads a regular file of a run record as text.
fn read_text(voice: Voice, limit: u64, path: &Path) -> Result<String> {
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
        voice.say(Level::Warn, format_args!("{}: {remark}", path.display()));
    }
    Ok(decoded.text)
}

//! Looks again at the records of archived runs: what they gained since, and whether
//! they are others than those that were archived.
//!
//! A record that looks as it did when it was compared for the last time is not read,
//! and neither is the run in artdaqDB while its stamp is the same. Records of runs that
//! have no stop time or are recent are listed; of the others only the directory is
//! looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::Journal;
use super::compare::Difference;
use super::journal::RecordNote;
use super::settle::{Noted, Patience, Readiness};
use crate::artdaqdb::{ArtdaqDb, Inspection};
use crate::clock;
use crate::error::{Disposition, Error, Result};
use crate::run::{Run, StageKind};
use crate::run_record::{self, Options, RunRecord, Snapshot};
use crate::run_set::RunSet;

/// The log's module name for the stage.
const TARGET: &str = StageKind::Import.target();

/// How long records are compared in one execution of which nothing is known, as after
/// an upgrade: the others are for the next one.
const TIME_FOR_UNKNOWN: Duration = Duration::from_secs(60);

/// Loads of a run that are further apart are not of one import.
const ONE_IMPORT: SignedDuration = SignedDuration::from_mins(10);

/// What a look at the records of archived runs brought.
#[derive(Debug, Clone, Default)]
pub struct Recheck {
    /// What is known of records now.
    pub notes: BTreeMap<Run, RecordNote>,
    /// How records look that are being written to.
    pub looks: BTreeMap<Run, Noted>,
    /// Runs that have no stop time in artdaqDB, each with the time of its import.
    pub without_stop_time: BTreeMap<Run, Timestamp>,
    /// Runs that got it in artdaqDB, or something else, while it was not noted that
    /// UconDB lacks it.
    pub with_stop_time: BTreeSet<Run>,
    /// Runs without a stop time of which artdaqDB may have more than UconDB.
    pub grown: BTreeSet<Run>,
    /// Records that are seen for the first time to be others than those that were
    /// archived, each with the files.
    pub changed: BTreeMap<Run, Vec<String>>,
    /// Runs that get now what artdaqDB lacks of their records.
    pub to_complete: BTreeSet<Run>,
    /// Whether every record was looked at.
    pub is_finished: bool,
}

/// What is needed to look at records.
pub(super) struct Inspector<'a> {
    pub(super) artdaqdb: &'a dyn ArtdaqDb,
    pub(super) journal: &'a Journal,
    pub(super) options: Options<'a>,
    pub(super) patience: Patience,
    pub(super) is_local: bool,
    /// For how long after its import or its last change a record is recent.
    pub(super) recent: Duration,
    pub(super) workers: usize,
    /// Only these runs.
    pub(super) only: Option<&'a RunSet>,
}

/// A record that has to be compared with artdaqDB.
struct Suspect<'r> {
    run: Run,
    record: &'r Path,
    /// What was known of it; `None` if nothing was.
    before: Option<RecordNote>,
    look: Look,
}

/// How a record looks.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) directory: run_record::DirectoryStamp,
    pub(super) snapshot: Snapshot,
}

impl Look {
    /// Looks at a record.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn at(record: &Path) -> Result<Look> {
        // Before its files: what comes between the two is seen the next time.
        let directory = run_record::directory_stamp(record)?;
        let snapshot = Snapshot::take(record)?;
        Ok(Look {
            directory,
            snapshot,
        })
    }
}

impl RecordNote {
    /// The note on a run that is compared now.
    pub(super) fn of(look: &Look, record: &RunRecord, now: Timestamp) -> RecordNote {
        RecordNote {
            imported: now.as_second(),
            changed: now.as_second(),
            look: look.snapshot.short_digests(),
            directory: look.directory,
            sources: record.sources,
            missing: record.missing.clone(),
            ..RecordNote::default()
        }
    }

    /// Takes over what is known of the import: when it was, and from which .txt files.
    pub(super) fn imported_as(&mut self, before: Option<&RecordNote>, inspection: &Inspection) {
        let Some(before) = before else {
            self.imported = inspection.first.map_or(0, Timestamp::as_second);
            return;
        };
        self.imported = before.imported;
        for (source, at_import) in self.sources.iter_mut().zip(before.sources) {
            if at_import != 0 {
                *source = at_import;
            }
        }
    }
}

impl Inspector<'_> {
    /// Looks at the records of archived runs.
    ///
    /// # Errors
    /// artdaqDB cannot be read at all. What is wrong with one run or record is logged.
    pub(super) fn look(
        &self,
        records: &BTreeMap<Run, PathBuf>,
        archived: &BTreeSet<Run>,
    ) -> Result<Recheck> {
        let now = clock::now();
        let recent_from = self.recent_from(now);
        let stamps = self.artdaqdb.stamps()?;
        let going = self.journal.incomplete().going();
        let mut recheck = Recheck {
            is_finished: self.only.is_none(),
            ..Recheck::default()
        };
        let mut suspects = Vec::new();
        let mut unknown = Vec::new();
        let is_asked = |run: &Run| self.only.is_none_or(|only| only.contains(*run));
        for run in archived.iter().rev().copied().filter(is_asked) {
            let before = self.journal.record_note(run);
            let Some(record) = records.get(&run) else {
                // What became of a record that is gone is no fault.
                if let Some(before) =
                    before.filter(|it| !it.lacks.is_empty() || !it.differs.is_empty())
                {
                    recheck.notes.insert(run, without_findings(before));
                }
                continue;
            };
            let stamp = stamps.as_ref().and_then(|stamps| stamps.get(&run).copied());
            let Some(before) = before else {
                unknown.push((run, record.as_path()));
                continue;
            };
            let is_same_run = stamp.is_none() || before.documents == stamp;
            match self.changed_look(&before, record, recent_from) {
                Err(error) => {
                    log::debug!(target: TARGET, "Run {run}: its record is not looked at: {error}");
                    recheck.is_finished = false;
                    // The job finds the same, and says so.
                    if self.is_recent(&before, recent_from) {
                        recheck.to_complete.insert(run);
                    }
                }
                Ok(None) if is_same_run => {
                    note_stop_time(&mut recheck, run, &before, &going, now);
                    if before.adds && !before.lacks.is_empty() {
                        recheck.to_complete.insert(run);
                    }
                }
                Ok(look) => {
                    let look = match look {
                        Some(look) => Ok(look),
                        None => Look::at(record),
                    };
                    let Ok(look) = look else {
                        recheck.to_complete.insert(run);
                        continue;
                    };
                    let is_as_before = before.look == look.snapshot.short_digests();
                    suspects.extend(
                        self.settled(run, record, look, &mut recheck, now, is_as_before)
                            .map(|look| Suspect {
                                run,
                                record,
                                before: Some(before),
                                look,
                            }),
                    );
                }
            }
        }
        self.compare_all(suspects, recent_from, &going, now, &mut recheck)?;
        self.compare_unknown(unknown, recent_from, &going, now, &mut recheck)?;
        Ok(recheck)
    }

    /// From when on runs are recent.
    fn recent_from(&self, now: Timestamp) -> i64 {
        let recent = i64::try_from(self.recent.as_secs()).unwrap_or(i64::MAX);
        let by_days = now.as_second().saturating_sub(recent);
        match self.journal.rechecked() {
            Some(last) => by_days.min(last.as_second()),
            None => by_days,
        }
    }

    /// Whether the whole record is listed.
    fn is_recent(&self, note: &RecordNote, recent_from: i64) -> bool {
        note.is_open || note.imported.max(note.changed) >= recent_from
    }

    /// How a record looks, if it does not look as before.
    fn changed_look(
        &self,
        before: &RecordNote,
        record: &Path,
        recent_from: i64,
    ) -> Result<Option<Look>> {
        if !self.is_recent(before, recent_from)
            && run_record::directory_stamp(record)? == before.directory
        {
            return Ok(None);
        }
        let look = Look::at(record)?;
        let is_same =
            look.snapshot.short_digests() == before.look && look.directory == before.directory;
        Ok(Some(look).filter(|_| !is_same))
    }

    /// Returns the look of a record that has settled; notes it otherwise.
    fn settled(
        &self,
        run: Run,
        record: &Path,
        look: Look,
        recheck: &mut Recheck,
        now: Timestamp,
        is_as_before: bool,
    ) -> Option<Look> {
        if is_as_before {
            return Some(look);
        }
        let noted = self.journal.noted(run);
        match self
            .patience
            .look(&look.snapshot, noted.as_ref(), self.is_local, now)
        {
            Readiness::Ready | Readiness::Restless => Some(look),
            Readiness::Waits(noted) => {
                log::debug!(
                    target: TARGET,
                    "Run {run}: {} is being written to, and is looked at later",
                    record.display()
                );
                recheck.looks.insert(run, noted);
                None
            }
        }
    }

    /// Compares the records of runs of which nothing is known, the newest first, for as
    /// long as there is time.
    fn compare_unknown(
        &self,
        unknown: Vec<(Run, &Path)>,
        recent_from: i64,
        going: &BTreeSet<Run>,
        now: Timestamp,
        recheck: &mut Recheck,
    ) -> Result<()> {
        let started = Instant::now();
        let mut left = unknown.len();
        if left > 100 {
            log::info!(
                target: TARGET,
                "{left} archived runs are compared with their records, as nothing is known of these"
            );
        }
        for share in unknown.chunks(64) {
            if started.elapsed() >= TIME_FOR_UNKNOWN {
                recheck.is_finished = false;
                log::info!(
                    target: TARGET,
                    "{left} archived runs are compared with their records by the next executions"
                );
                break;
            }
            left -= share.len();
            let mut suspects = Vec::new();
            for (run, record) in share.iter().copied() {
                let Ok(look) = Look::at(record) else { continue };
                let look = self.settled(run, record, look, recheck, now, false);
                suspects.extend(look.map(|look| Suspect {
                    run,
                    record,
                    before: None,
                    look,
                }));
            }
            self.compare_all(suspects, recent_from, going, now, recheck)?;
        }
        Ok(())
    }

    fn compare_all(
        &self,
        suspects: Vec<Suspect<'_>>,
        recent_from: i64,
        going: &BTreeSet<Run>,
        now: Timestamp,
        recheck: &mut Recheck,
    ) -> Result<()> {
        if suspects.is_empty() {
            return Ok(());
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.workers.clamp(1, suspects.len()))
            .build()
            .map_err(|error| Error::Unexpected(format!("cannot start workers: {error}")))?;
        let found: Vec<_> = pool.install(|| {
            let suspects = suspects.par_iter();
            suspects.map(|suspect| self.compare(suspect, now)).collect()
        });
        for (suspect, found) in suspects.into_iter().zip(found) {
            match found {
                Ok(Some(compared)) => {
                    let is_going = going.contains(&suspect.run);
                    self.take(suspect, *compared, recent_from, is_going, now, recheck);
                }
                Ok(None) => recheck.is_finished = false,
                Err(error) if suspect.before.is_some() => {
                    log::debug!(
                        target: TARGET,
                        "Run {}: not compared with its record: {error}",
                        suspect.run
                    );
                    // The job finds the same, and says so.
                    recheck.to_complete.insert(suspect.run);
                }
                Err(error) if error.disposition() == Disposition::StopStage => return Err(error),
                Err(error) => {
                    log::warn!(
                        target: TARGET,
                        "Run {}: it cannot be compared with its record: {error}",
                        suspect.run
                    );
                    recheck.is_finished = false;
                }
            }
        }
        Ok(())
    }

    /// Compares a record with what artdaqDB has, twice where it seems to be another one:
    /// what was read wrong once is not to be told. `None` if the record is written to.
    fn compare(&self, suspect: &Suspect<'_>, now: Timestamp) -> Result<Option<Box<Compared>>> {
        let first = self.compare_once(suspect, now)?;
        let known = suspect.before.as_ref().map(|note| note.differs.as_slice());
        match &first {
            Some(compared)
                if !compared.note.differs.is_empty()
                    && known != Some(compared.note.differs.as_slice()) =>
            {
                self.compare_once(suspect, now)
            }
            _ => Ok(first),
        }
    }

    fn compare_once(&self, suspect: &Suspect<'_>, now: Timestamp) -> Result<Option<Box<Compared>>> {
        let run = suspect.run;
        // What is wrong with a record is no sign of the store.
        let of_record = |error: Error| Error::RunRecord {
            path: suspect.record.to_path_buf(),
            problem: error.to_string(),
        };
        let record = match RunRecord::read_again(run, suspect.record, &self.options) {
            // A record without files is as good as gone.
            Err(Error::RunRecord { problem, .. }) => {
                log::debug!(target: TARGET, "Run {run}: its record is not compared: {problem}");
                return Ok(Some(Box::new(Compared::gone(suspect))));
            }
            record => record.map_err(of_record)?,
        };
        let inspection = self.artdaqdb.inspect(run)?;
        let after = Snapshot::take(suspect.record).map_err(of_record)?;
        if after != suspect.look.snapshot {
            // It is being written to, and looked at by the next execution.
            return Ok(None);
        }
        let before = suspect.before.as_ref();
        let difference = Difference::of(
            &record,
            &inspection.configuration,
            before.map(|note| &note.sources),
        );
        let mut note = RecordNote::of(&suspect.look, &record, now);
        note.imported_as(before, &inspection);
        note.changed = match before {
            Some(before) if before.look.1 == note.look.1 => before.changed,
            Some(_) => now.as_second(),
            None => note.imported,
        };
        note.documents = self.artdaqdb.stamp(run)?;
        note.is_open = !difference.has_stop_time && record.may_have_stop_time(&self.options);
        note.lacks = difference.lacking();
        note.differs.clone_from(&difference.changed);
        if !difference.converted.is_empty() {
            log::info!(
                target: TARGET,
                "Run {run}: converted differently from the same source, and left as it is: {}",
                difference.converted.join(", ")
            );
        }
        Ok(Some(Box::new(Compared {
            note,
            inspection: Some(inspection),
            has_stop_time: difference.has_stop_time,
        })))
    }

    /// Takes in what a comparison found.
    fn take(
        &self,
        suspect: Suspect<'_>,
        compared: Compared,
        recent_from: i64,
        is_going: bool,
        now: Timestamp,
        recheck: &mut Recheck,
    ) {
        let Suspect { run, before, .. } = suspect;
        let Compared {
            mut note,
            inspection,
            has_stop_time,
        } = compared;
        if !note.lacks.is_empty() {
            let gained = match &before {
                Some(before) => before.adds || before.look.1 != note.look.1,
                None => is_going,
            };
            note.adds = gained || note.imported >= recent_from;
            match note.adds {
                true => drop(recheck.to_complete.insert(run)),
                false => log::warn!(
                    target: TARGET,
                    "Run {run}: artdaqDB lacks what its record has, and the run is too old to be \
                     changed by itself: {}. Add it with --reimport {run}",
                    note.lacks.join(", ")
                ),
            }
        }
        let known = before.as_ref().map(|before| &before.differs);
        if !note.differs.is_empty() && known != Some(&note.differs) {
            log::error!(
                target: TARGET,
                "Run {run}: its record is another one than was archived; nothing was changed: {}. \
                 If the record is right: --reimport {run}",
                note.differs.join(", ")
            );
            recheck.changed.insert(run, note.differs.clone());
        }
        if note.is_open {
            recheck.without_stop_time.insert(run, since(&note, now));
        } else if has_stop_time && (is_going || before.as_ref().is_some_and(|it| it.is_open)) {
            recheck.with_stop_time.insert(run);
        }
        // A run that was added to and is new to this archiver: whether UconDB has all
        // of it is not known.
        let has_grown = inspection.is_some_and(|it| {
            let span = it
                .first
                .zip(it.last)
                .map(|(first, last)| last.duration_since(first));
            !it.superseded.is_empty() || span.is_some_and(|span| span > ONE_IMPORT)
        });
        if before.is_none() && has_grown && note.imported >= recent_from {
            match note.is_open {
                true => recheck.grown.insert(run),
                false => recheck.with_stop_time.insert(run),
            };
        }
        recheck.notes.insert(run, note);
    }
}

/// What a comparison found.
struct Compared {
    note: RecordNote,
    inspection: Option<Inspection>,
    has_stop_time: bool,
}

impl Compared {
    /// A record without files.
    fn gone(suspect: &Suspect<'_>) -> Compared {
        let note = suspect.before.clone().unwrap_or_default();
        Compared {
            note: RecordNote {
                look: suspect.look.snapshot.short_digests(),
                directory: suspect.look.directory,
                ..without_findings(note)
            },
            inspection: None,
            has_stop_time: false,
        }
    }
}

fn without_findings(note: RecordNote) -> RecordNote {
    RecordNote {
        lacks: Vec::new(),
        differs: Vec::new(),
        adds: false,
        ..note
    }
}

/// Compares what is known of a run's stop time with the list of those that have none.
fn note_stop_time(
    recheck: &mut Recheck,
    run: Run,
    note: &RecordNote,
    going: &BTreeSet<Run>,
    now: Timestamp,
) {
    match (note.is_open, going.contains(&run)) {
        (true, false) => {
            recheck.without_stop_time.insert(run, since(note, now));
        }
        (false, true) => drop(recheck.with_stop_time.insert(run)),
        _ => {}
    }
}

/// Since when a run has had no stop time.
fn since(note: &RecordNote, now: Timestamp) -> Timestamp {
    let imported = Timestamp::from_second(note.imported).ok();
    imported.filter(|_| note.imported != 0).unwrap_or(now)
}

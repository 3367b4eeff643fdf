//! `--verify`: record, artdaqDB and UconDB, run by run and file by file.

use std::path::Path;
use std::slice;
use std::time::{Duration, Instant};

use crate::app::commands::reports;
use crate::app::parts;
use crate::app::session::Session;
use crate::cli::Format;
use crate::error::Result;
use crate::pipeline::Store;
use crate::reporter::summary::Summary;
use crate::reporter::text::local;
use crate::reporter::verification;
use crate::run::Run;
use crate::verify::{self, ComparedRun, Memory, Options, Selection, Stores, Trees};

/// How long `--verify --incremental` compares.
const SHARE: Duration = Duration::from_secs(30 * 60);

/// How often the position is kept, and told.
const KEPT_EVERY: Duration = Duration::from_secs(60);

/// Compares the runs; with --incremental for half an hour, from where the last
/// execution ended.
pub(in crate::app) fn verify(session: &Session) -> Result<Summary> {
    let command = session.command;
    let work_dir = &session.config.app.work_dir;
    let is_share = command.incremental;
    let trees = command.output.as_deref().map(Trees::create).transpose()?;
    let folders = session.folders()?;
    let address = session.journal.address(Store::Ucondb);
    let memory = Memory::read(work_dir, &address)?;
    let left_out = parts::kept_apart(session.config, session.journal.incomplete());
    let selection = Selection {
        runs: command.runs.clone(),
        left_out: session
            .journal
            .ignored()
            .union(&left_out.into_iter().collect()),
        after: memory.position.filter(|_| is_share).map(Run),
    };
    let options = Options {
        strict: command.strict,
        validate: command.validate,
        trees: trees.as_ref(),
        workers: session.config.app.parallel_workers,
        deadline: is_share.then(|| Instant::now() + SHARE),
    };
    let stores = Stores {
        run_records_dir: &session.config.source_files.run_records_dir,
        generate: session.generate(),
        max_file_bytes: session.config.app.max_file,
        artdaqdb: session.artdaqdb.as_ref(),
        ucondb: folders.finished.as_ref(),
        sources: &|run| Some(session.journal.record_note(run)?.sources),
    };
    let mut kept = Kept {
        memory,
        work_dir,
        is_share,
        untold: 0,
        written: Instant::now(),
    };
    let report = verify::verify(
        &stores,
        &selection,
        &options,
        session.shutdown,
        &mut |compared| {
            verification::log_run(compared, is_share);
            kept.note(compared)
        },
    );
    // What was compared before a failure was compared.
    let report = report.inspect_err(|_| {
        if let Err(error) = kept.write() {
            log::warn!("The position is not kept: {error}");
        }
    })?;
    if is_share && report.left == 0 {
        kept.finish_round(report.compared);
    }
    kept.write()?;
    if command.format == Format::Json {
        reports::print(&verify::json::render(&report)?)?;
    }
    let mut summary = Summary::default();
    summary.add_verification(report);
    Ok(summary)
}

/// What is remembered, written now and then.
struct Kept<'a> {
    memory: Memory,
    work_dir: &'a Path,
    is_share: bool,
    /// How many runs were compared since.
    untold: usize,
    written: Instant,
}

impl Kept<'_> {
    fn note(&mut self, compared: &ComparedRun) -> Result<()> {
        self.memory.note(slice::from_ref(compared));
        if self.is_share {
            self.memory.advance(compared.run);
        }
        self.untold += 1;
        if self.written.elapsed() < KEPT_EVERY {
            return Ok(());
        }
        log::info!("{} run(s) compared, up to {}", self.untold, compared.run);
        self.write()
    }

    /// Says that a round is finished, and begins with the first run again.
    fn finish_round(&mut self, compared: usize) {
        let round = self.memory.compared;
        let began = self.memory.finish_round();
        let since = began.map_or_else(String::new, |time| format!(" since {}", local(time)));
        log::info!(
            "✓ Round finished: all runs were compared{since}, {round} in all, {compared} by this \
             execution; the next --verify --incremental begins with the first run"
        );
        let not_well = &self.memory.not_well;
        if !not_well.is_empty() {
            log::warn!(
                "{} run(s) were not well when they were last compared: {not_well}",
                not_well.len()
            );
        }
    }

    fn write(&mut self) -> Result<()> {
        self.written = Instant::now();
        self.memory.write(self.work_dir)
    }
}

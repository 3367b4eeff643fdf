//! artdaqDB written and read by the real tools, `bulkloader` and
//! `bulkdownloader`, here or on another host, and checked by the archiver's own
//! client after each step. `docs/tools-mode.md` says what that means.
//!
//! The tools make each document visible as they load it, exit with 0 when files
//! failed, and add documents where there are some already. Therefore: the schema
//! document goes last, with [`publish`](ArtdaqDb::publish), so that a run is
//! whole only when all of it is there; documents are counted before and after
//! each load; and a run that is there in part gets only what it lacks.

mod files;
mod fitness;
mod local;
mod process;
mod remote;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use super::filesystem::FilesystemDb;
use super::filesystem::lock::{ArchiveLock, Held};
use super::{
    ArtdaqDb, Configuration, Documents, Inserted, Inspection, NativeDb, Presence, address, choice,
};
use crate::error::{Disposition, Error, Remedy, Result};
use crate::run::{FclFile, Run, SCHEMA_ENTITY};
use crate::shutdown::Shutdown;
use crate::sys::patience::Patience;
use process::{Ended, Exit};
use view::{Indexes, View};

/// Where the tools are and how long they may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Their directory on the host where they run; `None`: they are in its `PATH`.
    pub tools_dir: Option<PathBuf>,
    /// The host where they run, `host` or `user@host`; `None`: this one.
    pub remote_host: Option<String>,
    /// Further arguments for ssh.
    pub ssh_options: Vec<String>,
    /// How long one tool may work; at least a second.
    pub limit: Duration,
    /// Whether the work is to end: no run is begun then that waited for its turn.
    pub shutdown: Shutdown,
}

/// An artdaqDB behind the real tools.
pub struct ToolsDb {
    location: String,
    uri: SecretString,
    place: Box<dyn Place>,
    /// The database, where it is a server that is reached from here.
    server: Option<Arc<dyn NativeDb>>,
    limit: Duration,
    shutdown: Shutdown,
    /// Taken while a tool works on a FilesystemDB.
    one_at_a_time: OneAtATime,
    /// Runs inserted but not published: their names and schemas.
    pending: Mutex<BTreeMap<Run, (String, FclFile)>>,
    /// The database as the archiver writes it itself where the tools must not; on
    /// another host, a FilesystemDB has none.
    native: Option<Arc<dyn NativeDb>>,
    /// Runs that it has and that are not published.
    pending_natively: Mutex<BTreeSet<Run>>,
    /// Why the tools must not be given a path, if so.
    unfit_path: Option<String>,
}

/// One of the tools.
#[derive(Debug, Clone, Copy)]
enum Tool {
    Loader,
    Downloader,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Loader => "bulkloader",
            Tool::Downloader => "bulkdownloader",
        }
    }
}

/// What a tool is to work on.
struct Job<'a> {
    run: Run,
    /// The configuration's name without the run.
    name: &'a str,
}

/// Starts each tool where an execution would, with `--help`: that connects to no
/// database, which would write into it. Returns what is wrong with each, by its name.
pub fn try_out(settings: Settings) -> Vec<(&'static str, Result<()>)> {
    let limit = settings.limit.min(HELP_LIMIT);
    let settings = Settings { limit, ..settings };
    let db = ToolsDb::new("", None, None, settings);
    let tools = [Tool::Loader, Tool::Downloader];
    tools
        .map(|tool| (tool.name(), db.try_out(tool)))
        .into_iter()
        .collect()
}

/// How long a tool may take to say what it is for.
const HELP_LIMIT: Duration = Duration::from_secs(30);

/// The right to work on a FilesystemDB, as far as it is held on this machine.
#[derive(Default)]
struct Turn {
    /// The tools inherit this one.
    index: Option<Held>,
    #[allow(dead_code, reason = "held, not read")]
    documents: Option<Held>,
}

/// Lets one thread at a time use the tools.
#[derive(Default)]
struct OneAtATime {
    is_busy: Mutex<bool>,
    changed: Condvar,
}

/// The right to use the tools among the threads. It ends with this.
struct Alone<'a>(&'a OneAtATime);

impl OneAtATime {
    /// How often a thread that waits looks for the shutdown.
    const STEP: Duration = Duration::from_millis(50);

    /// Waits for the right to use the tools; after a shutdown, only if the caller
    /// has work under way that is to be finished.
    ///
    /// # Errors
    /// The execution is to end.
    fn enter(&self, shutdown: &Shutdown, to_finish: bool) -> Result<Alone<'_>> {
        let mut is_busy = lock(&self.is_busy);
        while *is_busy {
            if !to_finish {
                shutdown.check()?;
            }
            let waited = self.changed.wait_timeout(is_busy, OneAtATime::STEP);
            (is_busy, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *is_busy = true;
        Ok(Alone(self))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        *lock(&self.0.is_busy) = false;
        self.0.changed.notify_one();
    }
}

/// What is to be done with the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To read. Nothing is begun after a shutdown.
    Read,
    /// To load a run. Nothing is begun after a shutdown.
    Begin,
    /// To add to a run that was begun, also after a shutdown.
    Finish,
}

/// Where the tools run.
trait Place: Send + Sync {
    /// Waits until no other process of ours works on the archive.
    fn turn(&self, to_write: bool) -> Result<Turn>;

    /// A FilesystemDB as it is.
    fn look(&self) -> Result<View>;

    /// Runs bulkloader on these files. With a FilesystemDB, also says how that
    /// looks afterwards.
    fn load(&self, job: &Job, files: &[&FclFile], turn: &Turn) -> Result<(Ended, Option<View>)>;

    /// Runs a tool with `--help`.
    fn help(&self, tool: Tool) -> Result<Ended>;

    /// Runs bulkdownloader, which leaves its files below `into`.
    fn download(&self, job: &Job, into: &Path, turn: &Turn) -> Result<Ended>;

    /// Sees to it that `view` has the documents of a run, not only the indexes.
    fn fetch_documents(&self, view: &View, job: &Job) -> Result<()>;

    /// Puts indexes back into a FilesystemDB.
    fn restore(&self, indexes: &Indexes) -> Result<()>;

    /// The database without the tools, if it is a FilesystemDB of this machine.
    fn native(&self, shutdown: &Shutdown) -> Option<FilesystemDb> {
        let _ = shutdown;
        None
    }

    /// After a tool has failed: an error if there is no space for what it writes,
    /// which is not the run's fault. What another host has is not known.
    fn check_room(&self) -> Result<()> {
        Ok(())
    }
}

impl ToolsDb {
    /// The FilesystemDB of that URI: on the remote host if there is one, else on
    /// this. Nothing is read or created yet.
    ///
    /// # Errors
    /// A URI that names no absolute path.
    pub fn filesystem(uri: &str, settings: Settings) -> Result<ToolsDb> {
        Ok(ToolsDb::directory(FilesystemDb::new(uri)?.root(), settings))
    }

    /// The same, of a directory.
    #[must_use]
    pub fn directory(root: &Path, settings: Settings) -> ToolsDb {
        let uri = address::location(root);
        ToolsDb::new(&uri, Some(root.to_path_buf()), None, settings)
    }

    /// The database server of that URI, which `native` reaches from here. The
    /// URI may hold a password.
    #[must_use]
    pub fn server(uri: &str, native: Box<dyn NativeDb>, settings: Settings) -> ToolsDb {
        ToolsDb::new(uri, None, Some(native.into()), settings)
    }

    fn new(
        uri: &str,
        archive: Option<PathBuf>,
        server: Option<Arc<dyn NativeDb>>,
        settings: Settings,
    ) -> ToolsDb {
        let Settings {
            tools_dir,
            remote_host,
            ssh_options: options,
            limit,
            shutdown,
        } = settings;
        let mut location = match &server {
            Some(server) => server.location().to_owned(),
            None => uri.to_owned(),
        };
        let uri = SecretString::from(uri);
        let archive_lock = |root: &PathBuf| ArchiveLock::within(root, limit, &shutdown);
        let native = match (&server, &archive, &remote_host) {
            (Some(server), ..) => Some(Arc::clone(server)),
            (None, Some(root), None) => {
                let native = FilesystemDb::at(root).heeding(&shutdown);
                Some(Arc::new(native) as Arc<dyn NativeDb>)
            }
            (None, ..) => None,
        };
        let temporary = std::env::temp_dir();
        let unfit_path = archive
            .as_ref()
            .and_then(|root| fitness::of_path("the archive's path", root))
            .or_else(|| match remote_host {
                // The other side sees to it.
                Some(_) => None,
                None => fitness::of_path("TMPDIR", &temporary),
            });
        let place: Box<dyn Place> = match remote_host {
            Some(host) => {
                if server.is_none() {
                    location = format!("{location} on {host}");
                }
                Box::new(remote::Remote {
                    host,
                    options,
                    uri: uri.clone(),
                    archive,
                    tools_dir,
                    limit,
                    patience: Patience::new(Duration::MAX, &shutdown),
                })
            }
            None => Box::new(local::Local {
                uri: uri.clone(),
                locks: archive.as_ref().map(archive_lock),
                archive,
                tools_dir,
                limit,
            }),
        };
        ToolsDb {
            location,
            uri,
            place,
            server,
            limit,
            shutdown,
            one_at_a_time: OneAtATime::default(),
            pending: Mutex::default(),
            native,
            pending_natively: Mutex::default(),
            unfit_path,
        }
    }

    /// Why the tools must not work on a configuration of this name, if so.
    fn unfit(&self, name: &str) -> Option<String> {
        self.unfit_path.clone().or_else(|| fitness::of_name(name))
    }

    /// Why bulkloader must not store a configuration of this name, if so. Where nothing
    /// else can, it is given what a shell acts on: it starts none.
    fn unfit_to_load(&self, name: &str) -> Option<String> {
        match self.native {
            Some(_) => self.unfit(name),
            None => self.unfit_path.clone().or_else(|| fitness::to_load(name)),
        }
    }

    /// The database as the archiver writes it itself, with the reason for it.
    fn natively(&self, run: Run, reason: &str) -> Result<&dyn NativeDb> {
        if let Some(native) = &self.native {
            log::info!("Run {run}: stored without the tools, because {reason}");
            return Ok(native.as_ref());
        }
        let disposition = match self.unfit_path {
            Some(_) => Disposition::StopStage,
            None => Disposition::FailRun,
        };
        let problem = format!("run {run}: {reason}. Only they write on that host.");
        Err(self
            .error(problem, disposition)
            .with_remedy(Remedy::ImportWithoutTools))
    }

    /// The right to use the tools: of all threads and processes, if the database
    /// is a FilesystemDB, which they ruin when several write to it.
    fn turn(&self, purpose: Purpose) -> Result<(Option<Alone<'_>>, Turn)> {
        let alone = match self.server {
            Some(_) => None,
            None => {
                let to_finish = purpose == Purpose::Finish;
                Some(self.one_at_a_time.enter(&self.shutdown, to_finish)?)
            }
        };
        let turn = self.place.turn(purpose != Purpose::Read)?;
        Ok((alone, turn))
    }

    fn look(&self) -> Result<View> {
        match &self.server {
            Some(server) => Ok(View::server(Arc::clone(server))),
            None => self.place.look(),
        }
    }

    fn try_out(&self, tool: Tool) -> Result<()> {
        let ended = self.place.help(tool)?;
        match ended.exit {
            // 126 and 127 are the loader's and the shell's, of what can't be executed.
            Exit::Code(code) if !matches!(code, 126 | 127) => Ok(()),
            exit => {
                let (name, ending) = (tool.name(), self.ending(exit));
                let problem = format!("{name} --help {ending}{}", self.words(&ended));
                Err(unreachable("the tools of artdaq_database", problem))
            }
        }
    }

    /// Has bulkloader load files into a run that has the documents `before`, and
    /// counts. `whole` is all that the run is to have, as far as it is known.
    fn load(
        &self,
        job: &Job,
        files: &[&FclFile],
        whole: &BTreeSet<&str>,
        before: &View,
        turn: &Turn,
    ) -> Result<()> {
        let Job { run, name } = job;
        let documents = before.ask(|db| db.documents(*run))?.unwrap_or_default();
        let indexes = before.root().map(Indexes::read).transpose()?;
        log::debug!(
            "Run {run}: bulkloader is to load {} files as {run}/{name}",
            files.len()
        );
        let started = Instant::now();
        let (ended, after) = self.place.load(job, files, turn)?;
        let after = match after {
            Some(view) => view,
            None => self.look()?,
        };
        let now = match after.ask(|db| db.documents(*run)) {
            Ok(now) => now.unwrap_or_default(),
            Err(error) => return Err(self.mend(*run, &ended, indexes, &after, error)),
        };
        let count = |documents: &Documents, file: &FclFile| {
            documents
                .entities
                .get(&file.entity)
                .copied()
                .unwrap_or_default()
        };
        let missing: Vec<&str> = files
            .iter()
            .filter(|file| count(&now, file) <= count(&documents, file))
            .map(|file| file.entity.as_str())
            .collect();
        let loaded = files.len() - missing.len();
        let is_there =
            |entity: &&&str| now.entities.contains_key(**entity) && !missing.contains(*entity);
        let there = whole.iter().filter(is_there).count();
        let remark = format!(
            "{there} of {} documents are in the database; the next attempt adds what is missing",
            whole.len()
        );
        self.judge(*run, Tool::Loader, &ended, &remark)?;
        if !missing.is_empty() {
            return Err(self.error(
                format!(
                    "run {run}: bulkloader ended without an error, but documents are not in the \
                     database: {}. {remark}{}",
                    files::list(&missing),
                    self.words(&ended)
                ),
                Disposition::RetryRun,
            ));
        }
        log::debug!(
            "Run {run}: bulkloader has loaded {loaded} files in {:.1} s{}",
            started.elapsed().as_secs_f64(),
            self.words(&ended)
        );
        Ok(())
    }

    /// After a load the database can't be read: puts the index back if the tool
    /// has left a torn one. Gives the error to report.
    fn mend(
        &self,
        run: Run,
        ended: &Ended,
        before: Option<Indexes>,
        after: &View,
        error: Error,
    ) -> Error {
        let (Some(before), Some(root)) = (before, after.root()) else {
            return error;
        };
        let mended = Indexes::read(root).and_then(|now| {
            let torn = before.to_restore(&now);
            if torn.is_empty() {
                return Ok(false);
            }
            self.place.restore(&torn)?;
            Ok(true)
        });
        if let (Ok(true), Err(full)) = (&mended, self.place.check_room()) {
            return full;
        }
        match mended {
            Ok(true) => self.error(
                format!(
                    "run {run}: bulkloader {} and left a torn index. The index was put back as it \
                     was before, so that the archive can be read; the run is loaded again{}",
                    self.ending(ended.exit),
                    self.words(ended)
                ),
                Disposition::RetryRun,
            ),
            Ok(false) => error,
            Err(cause) => self.error(
                format!("{error}. It could not be put back as it was before: {cause}"),
                Disposition::StopStage,
            ),
        }
    }

    /// An error if a tool did not end as it should.
    fn judge(&self, run: Run, tool: Tool, ended: &Ended, remark: &str) -> Result<()> {
        if ended.exit != Exit::Code(0) {
            self.place.check_room()?;
        }
        let (more, remedy, disposition) = match ended.exit {
            Exit::Code(0) => return Ok(()),
            Exit::TimedOut => (".", Some(Remedy::RaiseToolsTimeout), Disposition::RetryRun),
            // The archiver's own parser has accepted the files.
            Exit::Code(_) if ended.said.contains("Parse error") => (
                ". The tools can't store such a file, though it is FHiCL.",
                Some(Remedy::ImportWithoutTools),
                Disposition::FailRun,
            ),
            Exit::Code(_) | Exit::Signal(_) => ("", None, Disposition::RetryRun),
        };
        let error = self.error(
            format!(
                "run {run}: {} {}. {remark}{}{more}",
                tool.name(),
                self.ending(ended.exit),
                self.words(ended)
            ),
            disposition,
        );
        Err(match remedy {
            Some(remedy) => error.with_remedy(remedy),
            None => error,
        })
    }

    fn ending(&self, exit: Exit) -> String {
        match exit {
            Exit::Code(code) => format!("ended with exit code {code}"),
            Exit::Signal(signal) => format!("crashed (signal {signal})"),
            Exit::TimedOut => format!(
                "did not end within {} s and was stopped",
                self.limit.as_secs_f64()
            ),
        }
    }

    /// The last words of a tool for a message, without the database's password.
    fn words(&self, ended: &Ended) -> String {
        let words = last_words(&ended.said);
        if words.is_empty() {
            return String::new();
        }
        let uri = self.uri.expose_secret();
        let mut words = words.replace(uri, &self.location);
        for secret in passwords(uri) {
            words = words.replace(&secret, "***");
        }
        format!(". It said: {words}")
    }

    /// Reads a run with the archiver's own client.
    fn read_natively(&self, view: &View, job: &Job) -> Result<Configuration> {
        self.place.fetch_documents(view, job)?;
        view.ask(|db| db.read(job.run))
    }

    /// The view in which a run's documents can be read, with its whole run.
    fn view_of(&self, run: Run) -> Result<View> {
        let view = self.look()?;
        let documents = view.ask(|db| db.documents(run))?.unwrap_or_default();
        let name = documents.name();
        self.place.fetch_documents(&view, &Job { run, name })?;
        Ok(view)
    }

    fn refuse(&self, problem: String) -> Error {
        self.error(problem, Disposition::FailRun)
    }

    fn error(&self, problem: String, disposition: Disposition) -> Error {
        Error::artdaqdb(self.location.clone(), problem, disposition)
    }

    fn check(&self, run: Run, files: &[FclFile]) -> Result<()> {
        files::check_syntax(run, files)?;
        match files::refusal(files) {
            None => Ok(()),
            Some(problem) => Err(self
                .refuse(format!("run {run}: {problem}"))
                .with_remedy(Remedy::ImportWithoutTools)),
        }
    }
}

impl ArtdaqDb for ToolsDb {
    fn location(&self) -> &str {
        &self.location
    }

    fn runs(&self) -> Result<BTreeMap<Run, Presence>> {
        let _turn = self.turn(Purpose::Read)?;
        self.look()?.ask(|db| db.runs())
    }

    fn insert(&self, run: Run, name: &str, files: &[FclFile]) -> Result<Inserted> {
        self.check(run, files)?;
        let (alone, turn) = self.turn(Purpose::Begin)?;
        self.shutdown.check()?;
        let view = self.look()?;
        let documents = view.ask(|db| db.documents(run))?;
        if let Some(documents) = &documents
            && documents.presence() == Presence::Whole
        {
            let name = documents.name();
            let stored = self.read_natively(&view, &Job { run, name })?;
            let differing = choice::differing_files(files, &stored.texts());
            if differing.is_empty() {
                choice::note_archived_meanwhile(run);
                return Ok(Inserted::Before);
            }
            let version = documents.configurations.join(" and ");
            return Err(self.refuse(choice::conflict(run, &version, &differing)));
        }
        let documents = documents.unwrap_or_default();
        let name = match documents.configurations.is_empty() {
            true => name,
            false => documents.name(),
        };
        if let Some(reason) = self.unfit_to_load(name) {
            // It has locks of its own.
            drop((turn, alone));
            let inserted = self.natively(run, &reason)?.insert(run, name, files)?;
            lock(&self.pending_natively).insert(run);
            return Ok(inserted);
        }
        let missing: Vec<&FclFile> = files
            .iter()
            .filter(|file| file.entity != SCHEMA_ENTITY)
            .filter(|file| !documents.entities.contains_key(&file.entity))
            .collect();
        if !missing.is_empty() {
            let whole = entities(files, &documents);
            self.load(&Job { run, name }, &missing, &whole, &view, &turn)?;
        }
        if let Some(schema) = files.iter().find(|file| file.entity == SCHEMA_ENTITY) {
            let schema = (name.to_owned(), schema.clone());
            lock(&self.pending).insert(run, schema);
        }
        Ok(Inserted::Now)
    }

    fn update(&self, run: Run, files: &[FclFile]) -> Result<()> {
        self.check(run, files)?;
        if lock(&self.pending_natively).contains(&run)
            && let Some(native) = &self.native
        {
            return native.update(run, files);
        }
        let (alone, turn) = self.turn(Purpose::Finish)?;
        let view = self.look()?;
        let documents = view.ask(|db| db.documents(run))?;
        let name = match &documents {
            Some(documents) => Some(documents.name().to_owned()),
            // All that was inserted is the schema, which waits.
            None => lock(&self.pending).get(&run).map(|(name, _)| name.clone()),
        };
        let name = name.ok_or_else(|| {
            self.refuse(format!("run {run} is not archived, so it can't be updated"))
        })?;
        if files.is_empty() {
            return Ok(());
        }
        if let Some(reason) = self.unfit_to_load(&name) {
            drop((turn, alone));
            self.natively(run, &reason)?.update(run, files)?;
            lock(&self.pending_natively).insert(run);
            return Ok(());
        }
        let documents = documents.unwrap_or_default();
        let whole = entities(files, &documents);
        let files: Vec<&FclFile> = files.iter().collect();
        self.load(&Job { run, name: &name }, &files, &whole, &view, &turn)
    }

    /// The tools can only add documents, of which they then read any. What is there
    /// already is therefore superseded without them, where the database is reached
    /// from here.
    fn supersede(&self, run: Run, files: &[FclFile], keep: &Path) -> Result<()> {
        let view = self.look()?;
        let documents = view.ask(|db| db.documents(run))?.unwrap_or_default();
        let is_there = |file: &&FclFile| documents.entities.contains_key(&file.entity);
        let (there, new): (Vec<&FclFile>, Vec<&FclFile>) = files.iter().partition(is_there);
        let there: Vec<FclFile> = there.into_iter().cloned().collect();
        let mut new: Vec<FclFile> = new.into_iter().cloned().collect();
        if !there.is_empty() {
            match (&self.server, self.place.native(&self.shutdown)) {
                (Some(server), _) => server.supersede(run, &there, keep)?,
                (None, Some(native)) => {
                    let _alone = self.one_at_a_time.enter(&self.shutdown, true)?;
                    native.supersede(run, &there, keep)?;
                    native.publish()?;
                }
                (None, None) => new.extend(there),
            }
        }
        match new.is_empty() {
            true => Ok(()),
            false => self.update(run, &new),
        }
    }

    fn publish(&self) -> Result<Vec<(Run, Error)>> {
        let natively = std::mem::take(&mut *lock(&self.pending_natively));
        let refused = match &self.native {
            Some(native) if !natively.is_empty() => native.publish()?,
            _ => Vec::new(),
        };
        let pending = std::mem::take(&mut *lock(&self.pending));
        for (run, (name, schema)) in pending {
            let (_alone, turn) = self.turn(Purpose::Finish)?;
            let view = self.look()?;
            let documents = view.ask(|db| db.documents(run))?.unwrap_or_default();
            if !documents.entities.contains_key(SCHEMA_ENTITY) {
                let whole = entities(std::slice::from_ref(&schema), &documents);
                self.load(&Job { run, name: &name }, &[&schema], &whole, &view, &turn)?;
            }
        }
        Ok(refused)
    }

    /// Without the tools, which do not tell when a document was stored.
    fn inspect(&self, run: Run) -> Result<Inspection> {
        let (_alone, _turn) = self.turn(Purpose::Read)?;
        self.view_of(run)?.ask(|db| db.inspect(run))
    }

    fn read(&self, run: Run) -> Result<Configuration> {
        let (_alone, turn) = self.turn(Purpose::Read)?;
        self.shutdown.check()?;
        let view = self.look()?;
        let documents = view.ask(|db| db.documents(run))?.unwrap_or_default();
        let name = documents.name();
        let job = Job { run, name };
        if documents.presence() != Presence::Whole {
            // It says why not.
            return view.ask(|db| db.read(run));
        }
        let reason = beyond_the_downloader(&documents).map(str::to_owned);
        if let Some(reason) = reason.or_else(|| self.unfit(name)) {
            log::debug!("Run {run}: read without bulkdownloader, because {reason}");
            return self.read_natively(&view, &job);
        }
        let directory = files::temporary_directory()?;
        let ended = self.place.download(&job, directory.path(), &turn)?;
        self.judge(run, Tool::Downloader, &ended, "Nothing was changed")?;
        let files = files::read(directory.path())?;
        let files = files::complete(files, &documents).map_err(|problem| {
            self.error(
                format!(
                    "run {run}: bulkdownloader ended without an error, but {problem}{}",
                    self.words(&ended)
                ),
                Disposition::RetryRun,
            )
        })?;
        Ok(Configuration {
            name: name.to_owned(),
            files,
        })
    }
}

/// The entities of files and of documents that there are.
fn entities<'a>(files: &'a [FclFile], documents: &'a Documents) -> BTreeSet<&'a str> {
    let there = documents.entities.keys().map(String::as_str);
    let files = files.iter().map(|file| file.entity.as_str());
    files.chain(there).collect()
}

/// Why bulkdownloader would not give a run back as it is.
fn beyond_the_downloader(documents: &Documents) -> Option<&'static str> {
    let name = documents.name();
    let repeated = |(entity, count): (&String, &usize)| entity != SCHEMA_ENTITY && *count > 1;
    if name.contains(char::is_whitespace) {
        Some("it finds no configuration with a space in its name")
    } else if documents.configurations.len() > 1 {
        Some("the run has several configurations")
    } else if documents.entities.iter().any(repeated) {
        Some("it takes any of several documents of one entity, not the latest")
    } else {
        None
    }
}

/// The end of what a program said, as one line.
fn last_words(said: &str) -> String {
    const LINES: usize = 5;
    const CHARACTERS: usize = 400;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].iter();
    last.map(|line| line.chars().take(CHARACTERS).collect())
        .collect::<Vec<String>>()
        .join(" | ")
}

/// The password of a URI, as it stands there and decoded.
fn passwords(uri: &str) -> Vec<String> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    let password = user.split_once(':').map_or("", |(_, password)| password);
    let decoded = percent_decode_str(password).decode_utf8_lossy();
    let mut passwords = vec![password.to_owned(), decoded.into_owned()];
    passwords.retain(|password| !password.is_empty());
    passwords
}

/// An error that no run can help.
fn unreachable(location: &str, problem: String) -> Error {
    Error::artdaqdb(location.to_owned(), problem, Disposition::StopStage)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is whole whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_in_a_uri() {
        assert_eq!(passwords("mongodb://u:s%40t@h/db"), ["s%40t", "s@t"]);
        assert_eq!(passwords("mongodb://h/db"), [""; 0]);
        assert_eq!(passwords("filesystemdb:///data/x@y:z"), [""; 0]);
    }

    #[test]
    fn last_words_are_short() {
        assert_eq!(last_words("a\n\n b\r\nc\nd\ne\nf\n"), "b | c | d | e | f");
        assert_eq!(last_words(""), "");
        assert!(last_words(&"x".repeat(10_000)).len() < 500);
    }
}

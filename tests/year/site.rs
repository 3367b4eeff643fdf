//! The site that the archiver works for: run records, artdaqDB, UconDB, what fails
//! of them, and what can be seen of them from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::{ArtdaqDb, Presence};

use super::schedule::{Damage, Kind, Outage, Store, Stray};
use crate::support::archiver::Test;
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, Reply, Transport, USER, UconDbServer,
};

/// The time limit of UconDB where it is not frozen, in seconds: never reached.
const PATIENCE: &str = "20";
/// The file that comes late in a record that is copied slowly.
pub const LATE_FILE: &str = "crt01.fcl";
/// The line that a record gets when its run ends.
const STOP_LINE: &str = "DAQInterface stop time: Wed Mar 18 19:02:11 UTC 2026\n";
/// Where it is.
const NO_PATIENCE: &str = "0.2";

/// Records, databases and what fails of them.
pub struct Site {
    pub test: Test,
    pub server: UconDbServer,
    outages: Vec<Outage>,
}

/// What the databases and the work directory hold.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// The runs that artdaqDB has whole.
    pub imported: BTreeSet<u64>,
    /// The runs that UconDB has.
    pub migrated: BTreeSet<u64>,
    /// The import failure log, with the reasons.
    pub import_failures: BTreeMap<u64, String>,
    /// The migrate failure log, with the reasons.
    pub migrate_failures: BTreeMap<u64, String>,
    /// Runs that UconDB may have without having been compared.
    pub unverified: BTreeSet<u64>,
    /// `last_attempted_run` of the import.
    pub attempted: u64,
    /// Runs whose record was seen to be another one, with the files.
    pub differing: BTreeMap<u64, Vec<String>>,
}

impl Site {
    /// A site without runs.
    pub fn new(batch_size: usize) -> Site {
        let server = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            ..Options::default()
        });
        server.keep_no_requests();
        let test = Test::in_memory()
            .set("ucon_db.server_url", &server.url())
            .set("ucon_db.folder_name", FOLDER)
            .set("ucon_db.object_name", OBJECT)
            .set("ucon_db.writer_user", USER)
            .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
            .set(
                "ucon_db.timeout_seconds",
                &format!("\"${{UCONDB_TIMEOUT:-{PATIENCE}}}\""),
            )
            .set("app.batch_size", &batch_size.to_string())
            .set("app.parallel_workers", "2");
        Site {
            test,
            server,
            outages: Vec::new(),
        }
    }

    /// What fails now.
    pub fn outages(&self) -> &[Outage] {
        &self.outages
    }

    /// Whether a store does not do what it is asked for.
    pub fn is_disturbed(&self) -> bool {
        self.outages.iter().any(|it| !it.kind.is_slow_only())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.test.path().join(name)
    }

    /// Where a directory is while something else is in its place.
    fn away(&self, name: &str) -> PathBuf {
        self.place(&format!("{name}_away"))
    }

    fn real(&self, name: &str) -> PathBuf {
        let away = self.away(name);
        match away.exists() {
            true => away,
            false => self.place(name),
        }
    }

    fn record(&self, run: u64) -> PathBuf {
        self.real("run_records").join(run.to_string())
    }

    /// Puts a whole record in its place, in one step.
    pub fn add_record(&self, run: u64) {
        let staging = self.place("staging");
        write_record(&staging, run);
        fs::rename(staging, self.record(run)).unwrap();
    }

    /// Puts a record in its place that has not all of its files yet.
    pub fn add_part_of_record(&self, run: u64) {
        let staging = self.place("staging");
        write_record(&staging, run);
        fs::remove_file(staging.join(LATE_FILE)).unwrap();
        fs::rename(staging, self.record(run)).unwrap();
    }

    /// Adds the others.
    pub fn complete_record(&self, run: u64) {
        let staging = self.place("staging");
        write_record(&staging, run);
        fs::rename(staging.join(LATE_FILE), self.record(run).join(LATE_FILE)).unwrap();
        fs::remove_dir_all(staging).unwrap();
    }

    /// Puts the record of a run in its place that goes on.
    pub fn add_going_record(&self, run: u64) {
        let staging = self.place("staging");
        write_record(&staging, run);
        let metadata = staging.join("metadata.txt");
        let text = fs::read_to_string(&metadata).unwrap();
        fs::write(&metadata, text.replace(STOP_LINE, "")).unwrap();
        fs::rename(staging, self.record(run)).unwrap();
    }

    /// Ends the run.
    pub fn stop_run(&self, run: u64) {
        let metadata = self.record(run).join("metadata.txt");
        let text = fs::read_to_string(&metadata).unwrap();
        fs::write(&metadata, text + STOP_LINE).unwrap();
    }

    /// Changes a file of a record.
    pub fn change_record(&self, run: u64) {
        let file = self.record(run).join("tpc01.fcl");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("mark: ", "mark: 7")).unwrap();
    }

    /// Copies a record to another directory of records.
    pub fn copy_record(&self, run: u64, records: &Path) {
        crate::support::copy_tree(&self.record(run), &records.join(run.to_string()));
    }

    /// Puts a record in its place that cannot be archived.
    pub fn add_broken_record(&self, run: u64, damage: Damage) {
        let staging = self.place("staging");
        match damage {
            Damage::Empty => fs::create_dir(&staging).unwrap(),
            Damage::Syntax => {
                write_record(&staging, run);
                fs::write(staging.join("crt01.fcl"), "hosts: [\n").unwrap();
            }
        }
        fs::rename(staging, self.record(run)).unwrap();
    }

    /// Puts a directory among the records that is none.
    pub fn add_stray(&self, number: u64, stray: Stray) {
        match stray {
            Stray::Copy => self.add_record(number),
            Stray::Empty => fs::create_dir(self.record(number)).unwrap(),
        }
    }

    /// Removes what is there under a number.
    pub fn remove(&self, number: u64) {
        fs::remove_dir_all(self.record(number)).unwrap();
    }

    /// Deletes the work directory.
    pub fn lose_work_directory(&self) {
        fs::remove_dir_all(self.place("work")).unwrap();
    }

    /// Lets a store fail. `after` is how many requests or operations still succeed.
    pub fn begin(&mut self, outage: Outage, after: u64) {
        self.outages.push(outage);
        let requests = u32::try_from(after).unwrap();
        let always = |fault: Fault, action| {
            let fault = fault.after(requests).always();
            self.server.fault(fault.then(action));
        };
        let any = || Fault::on("", "");
        let uploads = || Fault::on("POST", "/data/");
        match outage.kind {
            Kind::RecordsAway => self.take_away("run_records"),
            Kind::RecordsEmpty => self.unmount("run_records"),
            Kind::ArtdaqdbAway => self.take_away("archive"),
            Kind::ArtdaqdbEmpty => self.unmount("archive"),
            Kind::ArtdaqdbDamaged => {
                self.take_away("archive/RunHistory");
                // An archiver that is at work may have made a directory there.
                let _ = fs::write(self.place("archive/RunHistory"), "");
            }
            Kind::UcondbStopped => self.server.go_down(),
            Kind::UcondbDatabaseDown => self.server.set_database_down(true),
            Kind::UcondbAnswers(status) => {
                always(any(), Action::Answer(Reply::html(status, "Server Error")));
            }
            Kind::UcondbReadOnly => {
                let reply = Reply::text(405, "Read-only instance");
                always(uploads(), Action::Answer(reply));
            }
            Kind::UcondbFull => {
                let reply = Reply::text(507, "Insufficient Storage");
                always(uploads(), Action::Answer(reply));
            }
            Kind::UcondbRefusesToStore => {
                let reply = Reply::html(500, "cannot execute INSERT in a read-only transaction");
                always(uploads(), Action::Answer(reply));
            }
            Kind::UcondbFrozen => always(any(), Action::StallRequestAfter(0)),
            Kind::UcondbFreezesUploads => always(uploads(), Action::StallRequestAfter(100)),
            Kind::UcondbEmpty => {
                let reply = Reply::new(200, "text/json; charset=UTF-8", "[]");
                always(Fault::on("GET", "/versions"), Action::Answer(reply));
            }
            Kind::UcondbSlow => always(any(), Action::Delay(Duration::from_millis(30))),
            // These are the business of an execution's environment.
            Kind::RecordsDead
            | Kind::RecordsStale
            | Kind::ArtdaqdbReadOnly
            | Kind::ArtdaqdbWithoutRights
            | Kind::ArtdaqdbDead
            | Kind::ArtdaqdbSlow => {}
        }
    }

    /// Lets it work again.
    pub fn end(&mut self, kind: Kind) {
        self.outages.retain(|it| it.kind != kind);
        match kind {
            Kind::RecordsAway | Kind::RecordsEmpty => self.give_back("run_records"),
            Kind::ArtdaqdbAway | Kind::ArtdaqdbEmpty => self.give_back("archive"),
            Kind::ArtdaqdbDamaged => {
                let _ = fs::remove_file(self.place("archive/RunHistory"));
                self.give_back("archive/RunHistory");
            }
            Kind::UcondbStopped => self.server.come_back(),
            Kind::UcondbDatabaseDown => self.server.set_database_down(false),
            _ if kind.store() == Store::Ucondb => self.server.no_faults(),
            _ => {}
        }
        if kind.takes_time() {
            // Ends the connections that are frozen.
            self.server.go_down();
            thread::sleep(Duration::from_millis(50));
            self.server.come_back();
        }
    }

    /// Lets a store that began to fail within an execution fail from the start of
    /// the next one on.
    pub fn go_on(&mut self, outage: Outage) {
        let is_on = |it: &Outage| it.kind == outage.kind;
        if !self.outages.iter().any(is_on) {
            self.begin(outage, 0);
        } else if is_counted(outage.kind) {
            self.outages.retain(|it| !is_on(it));
            if outage.kind.store() == Store::Ucondb {
                self.server.no_faults();
            }
            self.begin(outage, 0);
        }
    }

    fn take_away(&self, name: &str) {
        fs::rename(self.place(name), self.away(name)).unwrap();
    }

    fn unmount(&self, name: &str) {
        self.take_away(name);
        // An archiver that is at work may have been quicker.
        fs::create_dir_all(self.place(name)).unwrap();
    }

    /// Mounts again what was away, over what is in its place.
    fn give_back(&self, name: &str) {
        let _ = fs::remove_dir_all(self.place(name));
        fs::rename(self.away(name), self.place(name)).unwrap();
    }

    /// Whether there is an archive in the place of the one that is away.
    pub fn has_new_archive(&self) -> bool {
        self.away("archive").exists()
            && ["RunHistory", "SystemLayout"]
                .iter()
                .any(|name| self.place("archive").join(name).join("index.json").exists())
    }

    /// The environment of an execution. `after` is how many operations still
    /// succeed where an outage begins within it.
    pub fn environment(&self, now: u64, after: u64) -> Vec<(&'static str, String)> {
        let archive = self.place("archive").display().to_string();
        let records = self.place("run_records").display().to_string();
        let outages: Vec<String> = self
            .outages
            .iter()
            .filter_map(|outage| {
                let (kind, path) = match outage.kind {
                    Kind::RecordsDead => ("dead", &records),
                    Kind::RecordsStale => ("stale", &records),
                    Kind::ArtdaqdbReadOnly => ("read-only", &archive),
                    Kind::ArtdaqdbWithoutRights => ("no-rights", &archive),
                    Kind::ArtdaqdbDead => ("dead", &archive),
                    _ => return None,
                };
                Some(format!("{kind}:{after}:{path}"))
            })
            .collect();
        let is_frozen = self.outages.iter().any(|it| it.kind.takes_time());
        vec![
            ("RUN_RECORD_ARCHIVER_NOW", now.to_string()),
            ("RUN_RECORD_ARCHIVER_OUTAGES", outages.join(";")),
            (
                "UCONDB_TIMEOUT",
                match is_frozen {
                    true => NO_PATIENCE,
                    false => PATIENCE,
                }
                .to_owned(),
            ),
        ]
    }

    /// The lock of the archive, held for as long as another program writes, where
    /// artdaqDB is slow.
    pub fn foreign_lock(&self) -> Option<File> {
        let is_slow = |it: &Outage| it.kind == Kind::ArtdaqdbSlow;
        if !self.outages.iter().any(is_slow) {
            return None;
        }
        let path = self.place("archive/.run_record_archiver.lock");
        let file = File::create(path).unwrap();
        file.lock().unwrap();
        Some(file)
    }

    /// Reads what there is.
    pub fn books(&self) -> Books {
        let archive = self.real("archive");
        let imported = match self.away("archive/RunHistory").exists() {
            // What was imported before it went away is imported.
            true => {
                let view = self.place("view");
                fs::create_dir(&view).unwrap();
                symlink(self.away("archive/RunHistory"), view.join("RunHistory")).unwrap();
                symlink(
                    self.place("archive/SystemLayout"),
                    view.join("SystemLayout"),
                )
                .unwrap();
                let runs = runs_of(&view);
                fs::remove_dir_all(&view).unwrap();
                runs
            }
            false => runs_of(&archive),
        };
        // A version without a key was superseded.
        let keys: Vec<String> = self.server.keys(OBJECT).into_iter().flatten().collect();
        let migrated: BTreeSet<u64> = keys.iter().map(|key| key.parse().unwrap()).collect();
        assert_eq!(
            migrated.len(),
            keys.len(),
            "a run has more than one version in UconDB"
        );
        Books {
            imported,
            migrated,
            import_failures: self.failures("import_failures"),
            migrate_failures: self.failures("migrate_failures"),
            unverified: self
                .test
                .failures("unverified_runs.log")
                .into_iter()
                .collect(),
            attempted: self.attempted(),
            differing: self.differing(),
        }
    }

    fn differing(&self) -> BTreeMap<u64, Vec<String>> {
        let Ok(text) = fs::read_to_string(self.test.work("records.json")) else {
            return BTreeMap::new();
        };
        let records: BTreeMap<u64, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let files = |record: &serde_json::Value| {
            let files = record["differ"].as_array()?.iter();
            Some(files.map(|it| it.as_str().unwrap().to_owned()).collect())
        };
        let all = records.iter();
        all.filter_map(|(run, record)| Some((*run, files(record)?)))
            .collect()
    }

    fn failures(&self, name: &str) -> BTreeMap<u64, String> {
        let details = fs::read_to_string(self.test.work(&format!("{name}.json")));
        let details: BTreeMap<u64, serde_json::Value> = details
            .ok()
            .map(|text| serde_json::from_str(&text).unwrap())
            .unwrap_or_default();
        let runs = self.test.failures(&format!("{name}.log"));
        let reason = |run: &u64| {
            let reason = details.get(run).and_then(|it| it["reason"].as_str());
            reason.unwrap_or("none").to_owned()
        };
        runs.into_iter().map(|run| (run, reason(&run))).collect()
    }

    fn attempted(&self) -> u64 {
        let text = fs::read_to_string(self.test.work("importer_state.json"));
        let state: serde_json::Value = match text {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(_) => return 0,
        };
        state["last_attempted_run"].as_u64().unwrap_or(0)
    }
}

/// Whether an outage can begin after so many requests or operations.
pub fn is_counted(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::RecordsAway
            | Kind::RecordsEmpty
            | Kind::ArtdaqdbAway
            | Kind::ArtdaqdbEmpty
            | Kind::ArtdaqdbDamaged
            | Kind::UcondbStopped
            | Kind::UcondbDatabaseDown
    )
}

/// The runs that a FilesystemDB has whole.
fn runs_of(archive: &Path) -> BTreeSet<u64> {
    let db = FilesystemDb::new(&format!("filesystemdb://{}", archive.display())).unwrap();
    let runs = db.runs().unwrap().into_iter();
    runs.filter(|(_, presence)| *presence == Presence::Whole)
        .map(|(run, _)| run.0)
        .collect()
}

/// Writes a small record into a new directory.
fn write_record(directory: &Path, run: u64) {
    fs::create_dir(directory).unwrap();
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    write(
        "tpc01.fcl",
        &format!("mark: {run}\nboard: {{ id: 0x{run:x} }}\n"),
    );
    write("crt01.fcl", "hosts: [\"crt01\", \"crt02\"] # both\n");
    write(
        "metadata.txt",
        &format!(
            "Config name: test\nComponent #0: tpc01\nsbndaq commit/version: v{run} \"t\" \"b\"\n\n\
             DAQInterface start time: Wed Mar 18 18:02:11 UTC 2026\n\
             DAQInterface stop time: Wed Mar 18 19:02:11 UTC 2026\n"
        ),
    );
}

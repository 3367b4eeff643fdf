//! Two archivers at once: of one work directory, where the lock keeps them
//! apart, and of two work directories on one archive, where both may work.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::documents_in;
use crate::support::ucondb_server::{
    FOLDER, OBJECT, Options, PASSWORD, Transport, USER, UconDbServer,
};
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::blob;
use run_record_archiver::lock::holder::{Holder, path, this_host};
use run_record_archiver::run::Run;
use rustix::process::{Pid, Signal, kill_process};

/// How many rounds the overlapping archivers go.
fn rounds() -> u64 {
    match std::env::var_os("RUN_RECORD_ARCHIVER_LONG") {
        Some(_) => 50,
        None => 4,
    }
}

/// Writes what an execution leaves that was killed.
fn leave(test: &Test, pid: u32, host: Option<&str>) {
    let lock = test.work(".archiver.lock");
    fs::create_dir_all(test.work("")).unwrap();
    fs::write(&lock, format!("{pid}\n")).unwrap();
    if let Some(host) = host {
        let text =
            format!("{{\"host\":\"{host}\",\"pid\":{pid},\"start\":\"2026-02-10T12:00:00Z\"}}\n");
        fs::write(path(&lock), text).unwrap();
    }
}

/// A live process of another program.
struct Other(Child);

impl Other {
    fn start() -> Other {
        Other(Command::new("sleep").arg("600").spawn().unwrap())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An archiver that waits, holding its lock, to try a run again.
struct Busy(Child);

impl Busy {
    fn start(test: &Test) -> Busy {
        let busy = Busy(test.start(&[]));
        let started = Instant::now();
        let waits = || {
            fs::read_to_string(test.work("archiver.log"))
                .is_ok_and(|log| log.contains("Retrying run 1 in 600 seconds..."))
        };
        while !waits() {
            assert!(started.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        busy
    }

    fn ends(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A test whose archiver is busy for as long as it is let.
fn waiting() -> Test {
    Test::new()
        .record(1)
        .set("app.retry_delay_seconds", "600")
        .set("app_fuzz.random_error_percent", "100")
}

#[test]
fn a_lock_on_a_dead_pid_stops_nobody() {
    let mut dead = Other::start();
    let pid = dead.0.id();
    dead.0.kill().unwrap();
    dead.0.wait().unwrap();
    for host in [None, Some(this_host())] {
        let test = Test::new().record(1);
        leave(&test, pid, host.as_deref());
        let check = test.run(&["--check"]).exits(0);
        assert!(
            check.stdout.contains(&format!("is stale: process {pid}")),
            "{}",
            check.stdout
        );
        test.run(&[])
            .exits(0)
            .does_not_say("LockExistsError")
            .does_not_say("lock - WARNING");
        assert_eq!(test.migrated(), [1]);
        assert!(!path(&test.work(".archiver.lock")).exists());
    }
}

#[test]
fn a_lock_on_a_reused_pid_stops_nobody() {
    let other = Other::start();
    for host in [None, Some(this_host())] {
        let test = Test::new().record(1);
        leave(&test, other.0.id(), host.as_deref());
        test.run(&["--check"]).exits(0);
        test.run(&[])
            .exits(0)
            .does_not_say("LockExistsError")
            .does_not_say("lock - WARNING");
        assert_eq!(test.migrated(), [1]);
    }
}

#[test]
fn who_holds_the_lock_is_said_by_all() {
    let test = waiting();
    let busy = Busy::start(&test);
    let lock = test.work(".archiver.lock");
    let holder = Holder::read(&lock).unwrap().unwrap();
    let pid = busy.0.id();
    assert_eq!(holder.host, this_host());
    assert_eq!(u32::try_from(holder.pid).unwrap(), pid);
    let mode = fs::metadata(path(&lock)).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    // `kill $(cat .archiver.lock)` of the manual.
    assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{pid}\n"));

    let host = this_host();
    let since = holder.since();
    test.run(&[])
        .exits(1)
        .says(&format!("process {pid} holds the lock since {since}"))
        .says(&host)
        .says(&format!("kill -SIGINT {pid}"));
    let check = test.run(&["--check"]).exits(0).stdout;
    assert!(
        check.contains(&format!("process {pid} on host {host} holds")) && check.contains(&since),
        "{check}"
    );
    let dashboard = test.run(&["--dashboard"]).exits(0).stdout;
    assert!(
        dashboard.contains(&format!(
            "running, process {pid} since {since} on host {host}"
        )),
        "{dashboard}"
    );

    // The same, had the one that holds it been on another host.
    fs::write(
        path(&lock),
        format!(
            "{{\"host\":\"evb99\",\"pid\":{pid},\"start\":\"{}\"}}\n",
            holder.start
        ),
    )
    .unwrap();
    test.run(&[])
        .exits(1)
        .says(&format!(
            "process {pid} on host evb99 holds the lock since {since}, and this is host {host}"
        ))
        .says("log in to evb99 and stop it there")
        .does_not_say("kill ");
    kill_process(Pid::from_child(&busy.0), Signal::TERM).unwrap();
    assert_eq!(busy.ends(), Some(130));
    assert!(!lock.exists());
    assert!(
        path(&lock).exists(),
        "what names another is not ours to remove"
    );
    // Beside a lock file that is gone it means nothing.
    let test = test.set("app_fuzz.random_error_percent", "0");
    test.run(&[]).exits(0).does_not_say("taken over");
}

#[test]
fn the_lock_of_another_host_is_taken_over_with_a_warning() {
    let test = Test::new().record(1);
    // A number that is alive here is no sign of life over there.
    leave(&test, std::process::id(), Some("evb99"));
    let pid = std::process::id();
    let check = test.run(&["--check"]).exits(0).stdout;
    assert!(
        check.contains(&format!("! Lock: process {pid} on host evb99 took ")),
        "{check}"
    );
    let dashboard = test.run(&["--dashboard"]).exits(0).stdout;
    assert!(dashboard.contains("on host evb99"), "{dashboard}");
    test.run(&[])
        .exits(0)
        .says(" - WARNING - ")
        .says(&format!(
            "names process {pid} on host evb99, since 2026-02-10"
        ))
        .says("the lock is taken over")
        .says(&format!("`ps -fp {pid}` on evb99"));
    assert_eq!(test.migrated(), [1]);
    assert!(!test.work(".archiver.lock").exists());
    assert!(!path(&test.work(".archiver.lock")).exists());
    test.run(&[]).exits(0).does_not_say("taken over");
}

/// What a file system without locking makes of two hosts: the flock of the first
/// means nothing to the second. Here its file is copied, which loses the flock.
#[test]
fn one_that_lives_on_over_there_ends_when_its_lock_is_taken_over() {
    let test = waiting();
    let busy = Busy::start(&test);
    let pid = busy.0.id();
    let lock = test.work(".archiver.lock");
    fs::remove_file(&lock).unwrap();
    leave(&test, pid, Some("evb99"));
    let started = Instant::now();
    // On this host its work directory is still locked.
    test.run(&["--recover-import-state"])
        .exits(1)
        .says("LockExistsError");
    assert_eq!(busy.ends(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(10));
    // On another one, that lock is not seen.
    test.run(&["--recover-import-state"])
        .says("the lock is taken over");
    let log = fs::read_to_string(test.work("archiver.log")).unwrap();
    assert!(log.contains("LOCK FILE REMOVED - INITIATING GRACEFUL SHUTDOWN"));
}

#[test]
fn a_damaged_holders_file_is_named_and_stops_nobody() {
    for bytes in [&b""[..], b"{", b"\xff\xff", b"[1]", &[b'9'; 100_000]] {
        let test = Test::new().record(1);
        leave(&test, 1, None);
        let side = path(&test.work(".archiver.lock"));
        fs::write(&side, bytes).unwrap();
        test.run(&["--check"]).exits(0);
        test.run(&["--dashboard"]).exits(0);
        test.run(&[]).exits(0).says(".archiver.lock.holder");
        assert_eq!(test.migrated(), [1]);
        assert!(!side.exists());
    }
}

/// Every document of every run once, in the index as on disk.
#[track_caller]
fn assert_every_run_once(test: &Test, runs: &[u64]) {
    assert_eq!(test.imported(), runs);
    let db = test.artdaqdb();
    for run in runs {
        assert_eq!(db.read(Run(*run)).unwrap().files.len(), 6, "run {run}");
    }
    for (collection, documents) in [("RunHistory", 5), ("SystemLayout", 1)] {
        let directory = test.path().join("archive").join(collection);
        let text = fs::read_to_string(directory.join("index.json")).unwrap();
        assert_eq!(
            Index::parse(&text).unwrap().len(),
            runs.len() * documents,
            "{collection}"
        );
        assert_eq!(
            documents_in(&directory),
            runs.len() * documents,
            "{collection}"
        );
    }
}

/// Two archivers with work directories of their own, on the records, the
/// artdaqDB and the UconDB of the first, at the same time, again and again: each
/// finds the runs that the other has not brought yet.
#[test]
fn two_archivers_on_one_archive_lose_nothing_and_double_nothing() {
    for at_once in 0..rounds() {
        let server = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            ..Options::default()
        });
        let on_server = |test: Test| {
            test.set("ucon_db.server_url", &server.url())
                .set("ucon_db.folder_name", FOLDER)
                .set("ucon_db.object_name", OBJECT)
                .set("ucon_db.writer_user", USER)
                .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
                .set("app.parallel_workers", "2")
                .set("app.batch_size", "0")
        };
        let first = on_server(Test::new().records_in(1..=40));
        let uri = format!("filesystemdb://{}", first.path().join("archive").display());
        let second = on_server(Test::new())
            .records_of(&first.records())
            .set("artdaq_db.database_uri", &uri)
            .set(
                "artdaq_db.fcl_conf_dir",
                &first.path().join("schema").display().to_string(),
            );
        // In odd rounds the second has a share of its own and an overlap.
        let share: &[&str] = match at_once % 2 {
            0 => &[],
            _ => &["--runs", "15-40"],
        };
        let mut children = [
            ("first", first.command(&[]).spawn().unwrap()),
            ("second", second.command(share).spawn().unwrap()),
        ];
        for (name, child) in &mut children {
            assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
        }
        let runs: Vec<u64> = (1..=40).collect();
        assert_every_run_once(&first, &runs);
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for version in server.versions(OBJECT) {
            *counts
                .entry(version.key.unwrap().parse().unwrap())
                .or_default() += 1;
        }
        assert_eq!(counts, runs.iter().map(|run| (*run, 1)).collect());
        for stored in server.blobs(OBJECT).values() {
            assert_eq!(
                blob::unpack(std::str::from_utf8(stored).unwrap())
                    .unwrap()
                    .len(),
                6
            );
        }
        for test in [&first, &second] {
            assert_eq!(test.failures("import_failures.log"), [0; 0]);
            assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
        }
        // What each remembers lets the next executions find nothing to do.
        for test in [&first, &second] {
            test.run(&["--incremental"])
                .exits(0)
                .does_not_say("→ Processing");
            test.run(&["--verify"]).exits(0).says("40 of 40 run(s)");
        }
    }
}

/// The slower one finds runs that the other one stored since it began.
#[cfg(feature = "mongodb")]
#[test]
fn two_archivers_on_one_mongodb_book_no_failures() {
    use crate::support::mongod::{Kind, Mongod};

    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let first = Test::new().records_in(1..=40);
    let on_server = |test: Test| {
        test.set("artdaq_db.database_uri", &server.uri(""))
            .set("app.parallel_workers", "2")
            .set("app.batch_size", "0")
    };
    let second = on_server(Test::new().records_of(&first.records()));
    let first = on_server(first);
    let mut children = [&first, &second].map(|test| test.start(&["--import-only"]));
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    for test in [&first, &second] {
        assert_eq!(test.failures("import_failures.log"), [0; 0]);
        let log = fs::read_to_string(test.work("archiver.log")).unwrap();
        assert!(!log.contains("ERROR"), "{log}");
        test.run(&["--import-only"])
            .exits(0)
            .does_not_say("→ Processing");
    }
    for (collection, documents) in [("RunHistory", 5), ("SystemLayout", 1)] {
        let stored = server.documents(collection).len();
        assert_eq!(stored, 40 * documents, "{collection}");
    }
}

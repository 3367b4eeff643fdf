//! Every request to UconDB goes wrong once, in every way: the archiver ends in good
//! order, and what the manual has an operator do next brings what an undisturbed
//! migration brings.
//!
//! With `RUN_RECORD_ARCHIVER_LONG` set, also every request from the Nth on.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::faulty::snapshot::Snapshot;
use crate::faulty::{Ended, copy, execute, fresh, is_long};
use crate::support::archiver::Test;
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, Reply, Transport, USER, UconDbServer,
};
use run_record_archiver::blob;

/// How many cases are tried at the same time: they mostly wait to try again.
const THREADS: usize = 16;

const COMMAND: &[&str] = &["--incremental"];

/// What goes wrong with a request, by name.
fn actions() -> Vec<(&'static str, Action)> {
    vec![
        ("reset in the request", Action::ResetRequestAfter(100)),
        ("reset in the answer", Action::ResetAnswerAfter(10)),
        ("answer lost", Action::LoseAnswer),
        ("wrong bytes stored", Action::ChangeStored),
        ("wrong bytes answered", Action::ChangeAnswer),
        ("cut short", Action::CloseAnswerAfter(20)),
        ("headers dropped", Action::DropHeaders),
        (
            "500",
            Action::Answer(Reply::text(500, "Internal Server Error")),
        ),
        (
            "502 in HTML",
            Action::Answer(Reply::html(502, "Bad Gateway")),
        ),
        // A web server's page in the place of an answer, as a proxy gives it that
        // asks for a login.
        ("200 in HTML", Action::Answer(Reply::html(200, "Welcome"))),
    ]
}

/// The same archiver, with this server.
fn with(test: Test, server: &UconDbServer) -> Test {
    test.set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "10")
}

fn start(transport: Transport) -> UconDbServer {
    UconDbServer::start(Options {
        transport,
        ..Options::default()
    })
}

/// A migration of three runs to a server that has two already.
struct Migration {
    template: Test,
    transport: Transport,
    /// What the two runs became.
    versions: Vec<crate::support::ucondb_server::StoredVersion>,
    /// The blobs and the state of an undisturbed migration.
    blobs: BTreeMap<String, Vec<u8>>,
    after: Snapshot,
    requests: usize,
    /// How the disturbed executions ended.
    codes: Mutex<BTreeMap<String, usize>>,
}

impl Migration {
    fn new(transport: Transport) -> Migration {
        let template = fresh().records_in(1..=2);
        let server = start(transport);
        let template = with(template, &server);
        template.run(COMMAND).exits(0);
        let versions = server.versions(OBJECT);
        let template = template.records_in(3..=5);
        template.run(&["--import-only"]).exits(0);

        let test = with(copy(&template), &server);
        server.forget_requests();
        test.run(COMMAND).exits(0);
        Migration {
            transport,
            versions,
            blobs: server.blobs(OBJECT),
            after: Snapshot::take(&test),
            requests: server.requests().len(),
            template,
            codes: Mutex::default(),
        }
    }

    /// Whether there was an Nth request; what is wrong, if anything.
    fn case(
        &self,
        number: usize,
        name: &str,
        action: &Action,
        for_ever: bool,
        executions: &AtomicUsize,
    ) -> Result<bool, String> {
        let server = start(self.transport);
        server.set_versions(OBJECT, self.versions.clone());
        let test = with(copy(&self.template), &server);
        let fault = Fault::on("", "").after(u32::try_from(number - 1).unwrap());
        let fault = match for_ever {
            true => fault.always(),
            false => fault,
        };
        server.fault(fault.then(action.clone()));
        let mut said = String::new();
        let run = |arguments: &[&str], said: &mut String| {
            executions.fetch_add(1, Ordering::SeqCst);
            let ended = execute(&test, arguments, None);
            said.push_str(&format!("--- {arguments:?}\n{}", ended.stderr));
            ended
        };
        let disturbed = run(COMMAND, &mut said);
        let is_there = server.requests().len() >= number;
        if is_there {
            let code = disturbed.status.to_string();
            *self.codes.lock().unwrap().entry(code).or_default() += 1;
        }
        let how = match for_ever {
            true => "from it on",
            false => "once",
        };
        let described = |problem: String| {
            format!(
                "{:?}, request {number}, {name} {how}: {problem}\n{said}",
                self.transport
            )
        };
        self.judge(&test, &server, &disturbed).map_err(described)?;
        server.no_faults();
        let result = self.follow_up(&test, &server, &mut |arguments| run(arguments, &mut said));
        result
            .map(|()| is_there)
            .map_err(|problem| format!("{number} {name} {how}: {problem}\n{said}"))
    }

    fn judge(&self, test: &Test, server: &UconDbServer, ended: &Ended) -> Result<(), String> {
        if ended.stderr.contains("panicked") {
            return Err("it panicked".into());
        }
        match ended.status.code() {
            Some(1) => Ok(()),
            Some(0) => self
                .compare(test, server, 0)
                .map_err(|problem| format!("it ended with 0, but {problem}")),
            _ => Err(format!("it ended with {}", ended.status)),
        }
    }

    /// The same command again, and what it and the manual say of runs that failed.
    fn follow_up(
        &self,
        test: &Test,
        server: &UconDbServer,
        run: &mut dyn FnMut(&[&str]) -> Ended,
    ) -> Result<(), String> {
        let mut succeeds = |arguments: &[&str]| match run(arguments).status {
            status if status.success() => Ok(()),
            status => Err(format!("{arguments:?} ended with {status}")),
        };
        let failed = |test: &Test| test.failures("migrate_failures.log");
        if failed(test).is_empty() {
            succeeds(COMMAND)?;
            return self.compare(test, server, 0);
        }
        let mut replaced = 0;
        // Compares what was stored without having been read back.
        let compared = succeeds(COMMAND);
        if succeeds(&["--retry-failed-migrate"]).is_ok() {
            compared?;
        } else {
            // A blob that was stored wrong is never overwritten unasked.
            let runs: Vec<String> = failed(test).iter().map(u64::to_string).collect();
            let list = runs.join(",");
            succeeds(&["--migrate-only", "--override-existing", "--runs", &list])?;
            replaced = runs.len();
        }
        self.compare(test, server, replaced)
    }

    /// Whether everything is there once, beside what had to be replaced.
    fn compare(&self, test: &Test, server: &UconDbServer, replaced: usize) -> Result<(), String> {
        let blobs = server.blobs(OBJECT);
        let keys = |blobs: &BTreeMap<String, Vec<u8>>| blobs.keys().cloned().collect::<Vec<_>>();
        if keys(&blobs) != keys(&self.blobs) {
            return Err(format!("UconDB has the runs {:?}", keys(&blobs)));
        }
        for (run, stored) in &blobs {
            if !blob::same_record(stored, &self.blobs[run]) {
                return Err(format!("run {run} is stored wrong"));
            }
        }
        let all = server.versions(OBJECT).len();
        if all > blobs.len() + replaced {
            return Err(format!("there are {all} versions of {} runs", blobs.len()));
        }
        self.after.compare(&Snapshot::take(test))
    }

    /// Every request, every action.
    fn sweep(&self, for_ever: bool) {
        let started = Instant::now();
        let actions = actions();
        // The pauses of an archiver that tries again last longer than the work.
        let cases: Vec<(usize, usize)> = (0..actions.len())
            .flat_map(|action| (1..=self.requests + 3).map(move |number| (action, number)))
            .collect();
        let (next, tried) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let executions = AtomicUsize::new(0);
        let failed = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some((action, number)) =
                        cases.get(next.fetch_add(1, Ordering::SeqCst))
                    {
                        let (name, action) = &actions[*action];
                        match self.case(*number, name, action, for_ever, &executions) {
                            Ok(was_there) => {
                                tried.fetch_add(usize::from(was_there), Ordering::SeqCst);
                            }
                            Err(problem) => failed.lock().unwrap().push(problem),
                        }
                    }
                });
            }
        });
        println!(
            "{:?}{}: {} requests, {} actions; {} cases, {} executions in {:.0} s; the disturbed ones ended {:?}",
            self.transport,
            match for_ever {
                true => ", from the Nth request on",
                false => "",
            },
            self.requests,
            actions.len(),
            tried.load(Ordering::SeqCst),
            executions.load(Ordering::SeqCst),
            started.elapsed().as_secs_f64(),
            std::mem::take(&mut *self.codes.lock().unwrap())
        );
        let failed = failed.into_inner().unwrap();
        assert!(
            failed.is_empty(),
            "{} cases failed:\n\n{}",
            failed.len(),
            failed.join("\n\n")
        );
    }
}

#[test]
fn of_a_bare_server_goes_wrong() {
    let migration = Migration::new(Transport::Bare);
    migration.sweep(false);
    if is_long() {
        migration.sweep(true);
    }
}

#[test]
fn of_a_server_behind_another_goes_wrong() {
    let migration = Migration::new(Transport::KeepAlive);
    migration.sweep(false);
    if is_long() {
        migration.sweep(true);
        Migration::new(Transport::Chunked).sweep(false);
    }
}

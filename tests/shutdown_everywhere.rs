//! A signal in every stage of every kind of work, also where something hangs:
//! one ends it in good order and in time, three end it at once.

use std::any::Any;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::peer::spoil;
use crate::support::tools::StandIns;
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, USER, UconDbServer,
};
use rustix::process::{Pid, Signal, kill_process};

/// How long a silent server or another program is waited for once it is to end.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// How long the runs under way and the records take on a machine that is busy.
const IN_TIME: Duration = Duration::from_secs(4);

/// How long an end at once may take.
const AT_ONCE: Duration = Duration::from_secs(3);

/// An archiver that is busy with something.
struct Scene {
    test: Test,
    arguments: &'static [&'static str],
    /// Whether it is where the signal is to find it.
    is_there: Box<dyn Fn(&Test) -> bool>,
    /// How long it may go on, beyond [`IN_TIME`].
    limit: Duration,
    /// Whether it only looks: it takes no lock, and a signal ends it as any program.
    looks: bool,
    /// What makes it hang.
    _props: Vec<Box<dyn Any>>,
}

impl Scene {
    fn new(test: Test, arguments: &'static [&'static str]) -> Scene {
        Scene {
            test,
            arguments,
            is_there: Box::new(|_| true),
            limit: Duration::ZERO,
            looks: false,
            _props: Vec::new(),
        }
    }

    fn once_it_says(mut self, text: &'static str) -> Scene {
        self.is_there = Box::new(move |test| log_has(test, text));
        self
    }

    fn with(mut self, prop: impl Any) -> Scene {
        self._props.push(Box::new(prop));
        self
    }

    fn within(mut self, limit: Duration) -> Scene {
        self.limit = limit;
        self
    }
}

fn log_has(test: &Test, text: &str) -> bool {
    fs::read_to_string(test.work("archiver.log")).is_ok_and(|log| log.contains(text))
}

/// The ways in which it is told to end.
const WAYS: [(&str, &[Signal]); 3] = [
    ("Ctrl-C", &[Signal::INT]),
    ("SIGTERM", &[Signal::TERM]),
    ("Ctrl-C three times", &[Signal::INT; 3]),
];

/// Sets the scene for each way, all at the same time, and looks how it ends.
#[track_caller]
fn ends(set: fn() -> Option<Scene>) {
    let playing: Vec<_> = WAYS
        .into_iter()
        .map(|(way, signals)| (way, thread::spawn(move || play(set()?, way, signals))))
        .collect();
    let figures: Vec<_> = playing
        .into_iter()
        .map(|(way, thread)| (way, thread.join().expect(way)))
        .collect();
    println!("ended after {figures:?}");
}

fn play(scene: Scene, way: &str, signals: &[Signal]) -> Option<Duration> {
    let (mut child, words) = scene.test.start_and_listen(scene.arguments);
    let begun = Instant::now();
    while !(scene.is_there)(&scene.test) {
        assert!(begun.elapsed() < Duration::from_secs(90), "{way}: in vain");
        if let Some(status) = child.try_wait().unwrap() {
            panic!(
                "{way}: it ended ({status}) before: {}",
                words.join().unwrap()
            );
        }
        sleep(Duration::from_millis(2));
    }
    // A moment to get from the message to what it announces.
    sleep(Duration::from_millis(20));
    let signalled = Instant::now();
    for (signal, heard) in signals
        .iter()
        .zip(["SHUTDOWN REQUESTED", "pressed 2/3", ""])
    {
        // It may have ended already where the first one ends it.
        let _ = kill_process(Pid::from_child(&child), *signal);
        if signals.len() > 1 && !scene.looks {
            // The system makes one of two signals that it delivers at once.
            let sent = Instant::now();
            while !log_has(&scene.test, heard) && sent.elapsed() < Duration::from_secs(1) {
                sleep(Duration::from_millis(5));
            }
        }
    }
    let immediate = signals.len() > 1;
    let most = match immediate {
        true => AT_ONCE,
        false => scene.limit + IN_TIME,
    };
    let Some(status) = wait(&mut child, most) else {
        let _ = child.kill();
        panic!("{way}: not within {most:?}: {}", words.join().unwrap());
    };
    let took = signalled.elapsed();
    let words = words.join().unwrap();
    assert!(!words.contains("panicked"), "{way}: {words}");
    if scene.looks {
        let expected = signals[0].as_raw();
        assert_eq!(status.signal(), Some(expected), "{way}: {words}");
    } else {
        assert_eq!(status.code(), Some(130), "{way}: {words}");
    }
    if !immediate && !scene.looks {
        for text in ["GRACEFUL SHUTDOWN REQUESTED", "GRACEFUL SHUTDOWN COMPLETED"] {
            assert!(words.contains(text), "{way}: no {text:?} in {words}");
        }
        assert!(!scene.test.work(".archiver.lock").exists(), "{way}");
        assert!(!scene.test.work(".archiver.lock.holder").exists(), "{way}");
    }
    assert_memory_is_whole(&scene.test);
    Some(took)
}

fn wait(child: &mut Child, most: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < most {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        sleep(Duration::from_millis(5));
    }
    None
}

/// Whatever was written can be read, and no run that failed is forgotten.
fn assert_memory_is_whole(test: &Test) {
    for name in ["importer_state.json", "migrator_state.json"] {
        if test.work(name).exists() {
            let (contiguous, attempted) = test.state(name);
            assert!(contiguous <= attempted, "{name}");
        }
    }
    for name in ["import_failures.log", "migrate_failures.log"] {
        test.failures(name);
    }
    if test.path().join("archive").is_dir() {
        let imported = test.imported();
        if test.work("importer_state.json").exists() {
            let (_, attempted) = test.state("importer_state.json");
            let failed = test.failures("import_failures.log");
            for run in fs::read_dir(test.records()).unwrap() {
                let Ok(run) = run.unwrap().file_name().to_str().unwrap().parse() else {
                    continue;
                };
                let is_known = imported.contains(&run) || failed.contains(&run);
                assert!(run > attempted || is_known, "run {run} is forgotten");
            }
        }
    }
}

/// An archiver whose UconDB is this server, with its runs in artdaqDB.
fn on(server: &UconDbServer) -> Test {
    let test = Test::new()
        .records_in(1..=4)
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "600");
    test.run(&["--import-only"]).exits(0);
    test
}

/// A UconDB that does this to requests of this kind, and an archiver at it when
/// one has come.
fn stalled(method: &'static str, within: &'static str, action: Action) -> Scene {
    let server = UconDbServer::start(Options::default());
    server.put(OBJECT, Some("1000"), b"for the challenge");
    let test = on(&server);
    server.fault(Fault::on(method, within).always().then(action));
    server.forget_requests();
    let server = std::sync::Arc::new(server);
    let watched = std::sync::Arc::clone(&server);
    let mut scene = Scene::new(test, &["--migrate-only"])
        .within(LAST_PATIENCE)
        .with(server);
    scene.is_there = Box::new(move |_| watched.count(method, within) > 0);
    scene
}

/// A server that takes connections and says nothing.
fn silent() -> (u16, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

/// A server that does not even take connections: its queue is full.
fn deaf() -> (u16, Vec<Box<dyn Any>>) {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut props: Vec<Box<dyn Any>> = (0..4)
        .map(|_| {
            Box::new(TcpStream::connect_timeout(
                &address,
                Duration::from_millis(100),
            )) as Box<dyn Any>
        })
        .collect();
    props.push(Box::new(listener));
    (address.port(), props)
}

/// A test in which a run fails, so that somebody is told.
fn failing() -> Test {
    let test = Test::new().records_in([1, 2]);
    spoil(&test.records(), 2);
    test
}

#[test]
fn while_scanning() {
    ends(|| {
        let test = Test::new().set("app.batch_size", "0");
        for run in 1..=20_000 {
            fs::create_dir(test.records().join(run.to_string())).unwrap();
        }
        Some(Scene::new(test, &["--import-only"]).once_it_says("Import Stage: Fetching runs"))
    });
}

#[test]
fn while_importing() {
    ends(|| {
        let test = Test::new().records_in(1..=600).set("app.batch_size", "0");
        Some(Scene::new(test, &[]).once_it_says("→ Processing run 20 "))
    });
}

#[test]
fn while_another_program_keeps_the_archive_locked() {
    ends(|| {
        let test = Test::new().record(1);
        test.run(&["--import-only"]).exits(0);
        let lock = fs::File::open(test.path().join("archive/.run_record_archiver.lock")).unwrap();
        lock.lock().unwrap();
        Some(
            Scene::new(test.record(2), &["--import-only"])
                .once_it_says("→ Processing run 2 ")
                .within(LAST_PATIENCE)
                .with(lock),
        )
    });
}

#[test]
fn while_uploading() {
    ends(|| Some(stalled("POST", "/data/", Action::StallAnswer)));
    ends(|| Some(stalled("POST", "/data/", Action::StallRequestAfter(10))));
}

#[test]
fn while_reading_back() {
    ends(|| Some(stalled("GET", "/data/", Action::StallAnswer)));
    ends(|| Some(stalled("GET", "/data/", Action::StallAnswerAfter(10))));
}

#[test]
fn while_listing() {
    ends(|| Some(stalled("GET", "/versions", Action::StallAnswer)));
}

#[test]
fn while_a_listing_breaks_off_again_and_again() {
    ends(|| Some(stalled("GET", "/versions", Action::LoseAnswer)));
}

#[test]
fn while_verifying_and_recovering() {
    ends(|| {
        let scene = stalled("GET", "/data/", Action::StallAnswer);
        scene_with_blobs(scene, &["--verify"])
    });
    ends(|| {
        let scene = stalled("GET", "/versions", Action::StallAnswer);
        Some(Scene {
            arguments: &["--recover-migrate-state"],
            ..scene
        })
    });
}

/// The same, with the runs in UconDB, so that there is something to compare.
fn scene_with_blobs(scene: Scene, arguments: &'static [&'static str]) -> Option<Scene> {
    let server = scene._props[0].downcast_ref::<std::sync::Arc<UconDbServer>>();
    for run in 1..=4 {
        server?.put(OBJECT, Some(&run.to_string()), b"something else");
    }
    Some(Scene { arguments, ..scene })
}

#[test]
fn while_reporting() {
    ends(|| {
        Some(Scene {
            arguments: &["--report-status"],
            looks: true,
            ..stalled("GET", "/versions", Action::StallAnswer)
        })
    });
    ends(|| {
        Some(Scene {
            arguments: &["--check"],
            looks: true,
            ..stalled("GET", "/versions", Action::StallAnswer)
        })
    });
}

#[test]
fn while_extracting() {
    ends(|| {
        Some(Scene {
            arguments: &["--extract", "1", "--output", "/nonexistent/extracted"],
            ..stalled("GET", "/data/", Action::StallAnswer)
        })
    });
}

#[test]
fn while_waiting_to_try_a_run_again() {
    ends(|| {
        let test = Test::new()
            .records_in(1..=5)
            .set("app.retry_delay_seconds", "600")
            .set("app_fuzz.random_error_percent", "100");
        Some(Scene::new(test, &[]).once_it_says("Retrying run 1 in 600 seconds..."))
    });
}

#[test]
fn while_a_tool_hangs() {
    ends(|| {
        let test = Test::new()
            .records_in(1..=8)
            .set("app.parallel_workers", "4");
        let tools = StandIns::new(test.path().join("tools"));
        tools.set("bulkloader", "hang 1");
        let pids = tools.path().join("pids");
        let mut scene = Scene::new(
            test.set("artdaq_db.use_tools", "true")
                .set("artdaq_db.tools_dir", &tools.path().display().to_string())
                .set("artdaq_db.tools_timeout_seconds", "5"),
            &["--import-only"],
        );
        scene.is_there = Box::new(move |_| pids.exists());
        // The tool has its time, and the one that reads back what it did; the
        // other workers, which wait for their turn, don't.
        Some(scene.within(Duration::from_secs(5)).with(tools))
    });
}

#[cfg(feature = "mongodb")]
#[test]
fn while_connecting_to_a_mongodb_that_is_not_there() {
    ends(|| {
        let (port, listener) = silent();
        let uri = format!("mongodb://127.0.0.1:{port}/archive");
        let test = Test::new().record(1).set("artdaq_db.database_uri", &uri);
        // The driver looks for a server for 10 s, and is not waited for that long.
        Some(
            Scene::new(test, &[])
                .once_it_says("Querying artdaqDB")
                .within(LAST_PATIENCE)
                .with(listener),
        )
    });
    ends(|| {
        let (port, props) = deaf();
        let uri = format!("mongodb://127.0.0.1:{port}/archive");
        let test = Test::new().record(1).set("artdaq_db.database_uri", &uri);
        Some(
            Scene::new(test, &[])
                .once_it_says("Querying artdaqDB")
                .within(LAST_PATIENCE)
                .with(props),
        )
    });
}

#[test]
fn while_mail_hangs() {
    ends(|| {
        let (port, listener) = silent();
        let test = failing().set("reporting.timeout_seconds", "300").set(
            "reporting.email",
            &format!(
                "{{enabled: true, recipient_email: team@example.com, sender_email: \
                 archiver@example.com, smtp_host: 127.0.0.1, smtp_port: {port}}}"
            ),
        );
        Some(
            Scene::new(test, &[])
                .once_it_says("Sending a notification")
                .with(listener),
        )
    });
}

#[test]
fn while_slack_hangs() {
    ends(|| {
        let (port, listener) = silent();
        let test = failing().set("reporting.timeout_seconds", "300").set(
            "reporting.slack",
            &format!(
                "{{enabled: true, bot_token: xoxb-a, channel: \"#alerts\", api_url: \
                 \"http://127.0.0.1:{port}/api\"}}"
            ),
        );
        Some(
            Scene::new(test, &[])
                .once_it_says("Sending a notification")
                .with(listener),
        )
    });
}

#[test]
fn while_carbon_hangs() {
    ends(|| {
        let (port, props) = deaf();
        let test = failing()
            .set("carbon.enabled", "true")
            .set("carbon.host", "127.0.0.1")
            .set("carbon.port", &port.to_string())
            .set("carbon.metric_prefix", "a.b");
        Some(
            Scene::new(test, &["--import-only"])
                .once_it_says("Import Stage completed")
                .with(props),
        )
    });
}

/// None of the scenes leaves anything outside its own directory.
#[test]
fn nothing_is_written_where_extraction_was_stopped() {
    assert!(!Path::new("/nonexistent/extracted").exists());
}

//! The HTTP client against a server that answers as UconDB does: what it
//! sends, and what it makes of every answer. What goes wrong on the way is in
//! `ucondb_faults.rs`.

#[path = "support/ucondb_server/mod.rs"]
mod ucondb_server;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use run_record_archiver::error::{Error, ErrorKind};
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::http::{HttpSettings, HttpUconDb, RetryPolicy};
use run_record_archiver::ucondb::{Override, UconDb, Upload, Version};
use ucondb_server::{
    Action, Algorithm, Authentication, FOLDER, Fault, OBJECT, Options, PASSWORD, Reply, Tls,
    Transport, USER, UconDbServer,
};

const RUN: Run = Run(12500);

fn settings(url: impl Into<String>) -> HttpSettings {
    HttpSettings {
        timeout: Duration::from_secs(10),
        retry: RetryPolicy {
            attempts: 3,
            pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(5),
        },
        ..HttpSettings::new(url, FOLDER, OBJECT, USER, PASSWORD)
    }
}

fn client(server: &UconDbServer) -> HttpUconDb {
    HttpUconDb::new(settings(server.url())).unwrap()
}

fn start(transport: Transport, authentication: Authentication) -> UconDbServer {
    UconDbServer::start(Options {
        transport,
        authentication,
        ..Options::default()
    })
}

fn put(db: &HttpUconDb, run: Run, blob: &[u8]) -> Result<Upload, Error> {
    db.upload(run, Bytes::copy_from_slice(blob), Override::No)
}

/// Every request's failure must be of this kind and hold these words, and not
/// the password.
#[track_caller]
fn assert_failure<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
    assert!(!format!("{error:?}").contains("g\\\"heim"), "{error:?}");
}

/// The four requests of a client must all fail so.
#[track_caller]
fn assert_all_fail(db: &HttpUconDb, kind: ErrorKind, words: &[&str]) {
    assert_failure(db.runs(), kind, words);
    assert_failure(db.version(RUN), kind, words);
    assert_failure(db.download(RUN), kind, words);
    assert_failure(put(db, RUN, b"blob"), kind, words);
}

#[test]
fn an_upload_is_what_the_protocol_asks_for() {
    for transport in [Transport::Bare, Transport::KeepAlive] {
        let server = start(transport, Authentication::Digest);
        let db = client(&server);
        put(&db, Run(1), b"one").unwrap();
        server.forget_requests();
        put(&db, Run(2), b"two\r\n").unwrap();
        put(&db, Run(3), b"").unwrap();
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        for (request, (key, length, count)) in requests
            .iter()
            .zip([("2", "5", "nc=00000002"), ("3", "0", "nc=00000003")])
        {
            assert_eq!(
                request.target,
                format!(
                    "/instance/app/data/ev01/configuration\
                     ?full_meta=yes&tag={key}&key={key}&override=no"
                )
            );
            assert_eq!(request.headers["content-length"], length);
            assert!(!request.headers.contains_key("transfer-encoding"));
            assert!(!request.headers.contains_key("expect"));
            assert!(request.headers["user-agent"].starts_with("run_record_archiver/"));
            let authorization = &request.headers["authorization"];
            assert!(authorization.contains(count), "{authorization}");
            assert!(authorization.contains("nonce=\"b'"), "{authorization}");
            assert!(authorization.contains("realm=\"ucon_prd.ev01\""));
        }
        let version = &server.versions(OBJECT)[1];
        assert_eq!(version.tags, ["2"]);
        assert_eq!(version.key.as_deref(), Some("2"));
    }
}

#[test]
fn an_upload_sends_its_body_once() {
    const SIZE: u64 = 5_000_000;
    let blob = Bytes::from(vec![7; usize::try_from(SIZE).unwrap()]);
    for transport in [Transport::Bare, Transport::KeepAlive] {
        let server = start(transport, Authentication::Digest);
        let db = client(&server);
        put(&db, Run(1), b"the nonce is known with this").unwrap();
        for run in 2..5 {
            server.forget_requests();
            db.upload(Run(run), blob.clone(), Override::No).unwrap();
            assert_eq!(server.requests().len(), 1);
            let received = server.bytes_received();
            assert!((SIZE..=SIZE + 2048).contains(&received), "{received}");
        }
    }
}

#[test]
fn the_challenge_of_an_archive_with_runs_costs_no_body() {
    for learn in [
        |db: &HttpUconDb| drop(db.runs().unwrap()),
        |db: &HttpUconDb| assert!(db.version(Run(1)).unwrap().is_some()),
        |db: &HttpUconDb| drop(db.download(Run(1)).unwrap()),
    ] {
        for authentication in [Authentication::Digest, STRICT, Authentication::Off] {
            let server = start(Transport::Bare, authentication);
            server.put(OBJECT, Some("1"), b"there before");
            let db = client(&server);
            learn(&db);
            let blob = vec![1; 1_000_000];
            assert!(matches!(put(&db, RUN, &blob), Ok(Upload::Stored(_))));
            assert!(matches!(put(&db, Run(2), &blob), Ok(Upload::Stored(_))));
            assert_eq!(server.body_bytes_received(), 2_000_000);
            // And the question stored nothing.
            let blobs: Vec<usize> = server
                .versions(OBJECT)
                .iter()
                .map(|version| version.blob.len())
                .collect();
            assert_eq!(blobs, [12, 1_000_000, 1_000_000]);
        }
    }
}

#[test]
fn the_challenge_of_an_empty_archive_costs_one_body_of_one_worker() {
    for (authentication, bodies) in [(Authentication::Digest, 9), (Authentication::Off, 8)] {
        let server = start(Transport::Bare, authentication);
        let db = client(&server);
        assert!(db.runs().unwrap().is_empty());
        thread::scope(|scope| {
            for run in 1..=8 {
                let db = &db;
                scope.spawn(move || put(db, Run(run), &[1; 100_000]).unwrap());
            }
        });
        assert_eq!(server.body_bytes_received(), bodies * 100_000);
        let versions = server.versions(OBJECT);
        assert_eq!(versions.len(), 8);
        assert!(versions.iter().all(|version| version.blob.len() == 100_000));
    }
}

#[test]
fn a_known_run_that_is_gone_is_not_asked_with() {
    let server = start(Transport::Bare, Authentication::Off);
    server.put(OBJECT, Some("1"), b"there before");
    let db = client(&server);
    db.runs().unwrap();
    server.put(OBJECT, None, b"");
    server.fault(
        Fault::on("GET", "key=1&meta_only")
            .then(Action::Answer(Reply::text(404, "Version not found"))),
    );
    put(&db, RUN, b"blob").unwrap();
    assert_eq!(server.count("POST", "key=1&"), 0);
    assert_eq!(server.blobs(OBJECT)["12500"], b"blob");
}

const STRICT: Authentication = Authentication::Strict {
    algorithm: Algorithm::Sha256,
    uses: 5,
};

#[test]
fn an_expired_nonce_is_replaced_by_the_servers_next() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let server = start(
            Transport::KeepAlive,
            Authentication::Strict { algorithm, uses: 5 },
        );
        let db = client(&server);
        for run in 1..=20 {
            assert_eq!(
                put(&db, Run(run), b"blob").unwrap(),
                Upload::Stored(Version::of(b"blob"))
            );
        }
        // The first one, and one for every five uploads after that.
        assert_eq!(server.count("POST", "/data/"), 20 + 4);
    }
}

#[test]
fn refused_credentials_stop_the_stage_and_cost_no_body() {
    for authentication in [Authentication::Digest, STRICT] {
        for (user, password) in [(USER, "wrong"), ("stranger", PASSWORD), ("", "")] {
            let server = start(Transport::Bare, authentication);
            server.put(OBJECT, Some("1"), b"there before");
            let db = HttpUconDb::new(HttpSettings {
                user: user.into(),
                password: password.into(),
                ..settings(server.url())
            })
            .unwrap();
            db.runs().unwrap();
            let result = put(&db, RUN, &[0; 1_000_000]);
            let refused = format!("refused user {user:?} for folder \"ev01\"");
            let words = ["run 12500", &refused, "ucon_db.writer_user"];
            assert_failure(result, ErrorKind::Unreachable, &words);
            assert_failure(db.check(), ErrorKind::Unreachable, &[&refused]);
            assert_eq!(server.body_bytes_received(), 0);
            assert_eq!(server.versions(OBJECT).len(), 1);
        }
    }
}

#[test]
fn a_missing_folder_is_named() {
    for transport in [Transport::Bare, Transport::KeepAlive] {
        let server = start(transport, Authentication::Digest);
        let db = HttpUconDb::new(HttpSettings {
            folder: "elsewhere".into(),
            ..settings(server.url())
        })
        .unwrap();
        let words = ["no folder \"elsewhere\"", "ucon_db.folder_name"];
        assert_all_fail(&db, ErrorKind::Unreachable, &words);
        // So large that the server closes before it is sent.
        let result = put(&db, RUN, &vec![0; 25_000_000]);
        assert_failure(result, ErrorKind::Unreachable, &words);
    }
}

#[test]
fn a_wrong_url_is_no_ucondb() {
    for transport in [Transport::Bare, Transport::KeepAlive] {
        let server = start(transport, Authentication::Digest);
        let url = format!("http://{}/instance", server.address());
        let db = HttpUconDb::new(settings(url.as_str())).unwrap();
        let no_ucondb = format!("no UconDB at {url}");
        let words = [no_ucondb.as_str(), "ucon_db.server_url"];
        assert_all_fail(&db, ErrorKind::Unreachable, &words);
        // Once each: a wrong URL stays wrong.
        assert_eq!(server.requests().len(), 4);
    }
}

#[test]
fn pages_of_something_else_are_no_ucondb() {
    let server = start(Transport::KeepAlive, Authentication::Digest);
    let page = Reply::html(200, "Please sign in");
    server.fault(Fault::on("", "").always().then(Action::Answer(page)));
    let db = client(&server);
    assert_failure(db.runs(), ErrorKind::Unreachable, &["no UconDB at"]);
    assert_failure(db.version(RUN), ErrorKind::Unreachable, &["no UconDB at"]);
    assert_failure(db.download(RUN), ErrorKind::Unreachable, &["no UconDB at"]);
    let result = put(&db, RUN, b"blob");
    assert_failure(result, ErrorKind::Unreachable, &["no UconDB at"]);
}

#[test]
fn refusals_are_not_repeated() {
    for (status, kind, word) in [
        (400, ErrorKind::Unreachable, "HTTP 400"),
        (403, ErrorKind::Unreachable, "HTTP 403"),
        (404, ErrorKind::Unreachable, "no UconDB at"),
        (407, ErrorKind::Unreachable, "HTTPS_PROXY"),
        (429, ErrorKind::Transient, "HTTP 429"),
        (413, ErrorKind::Permanent, "client_max_body_size"),
        (401, ErrorKind::Unreachable, "refused user \"writer\""),
    ] {
        let server = start(Transport::KeepAlive, Authentication::Off);
        let reply = Reply::html(status, "Something");
        server.fault(Fault::on("", "").always().then(Action::Answer(reply)));
        assert_all_fail(&client(&server), kind, &[word]);
        assert_eq!(server.requests().len(), 4, "{status}");
    }
}

#[test]
fn a_read_only_instance_is_named() {
    let server = UconDbServer::start(Options {
        read_only: true,
        ..Options::default()
    });
    let db = client(&server);
    assert!(db.runs().unwrap().is_empty());
    let words = ["run 12500", "takes no uploads", "Read-only instance"];
    assert_failure(put(&db, RUN, b"blob"), ErrorKind::Unreachable, &words);
}

#[test]
fn a_front_end_may_take_less_than_ucondb() {
    for tls in [Tls::Off, Tls::On] {
        let server = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            tls,
            max_body: Some(1_000_000),
            ..Options::default()
        });
        let db = HttpUconDb::new(HttpSettings {
            verify_tls: false,
            ..settings(server.url())
        })
        .unwrap();
        put(&db, Run(1), b"small").unwrap();
        // It answers at once and closes, whether or not all was sent.
        for size in [1_000_001, 25_000_000] {
            let upload = format!("upload of {size} bytes");
            let words = ["run 12500", &upload, "client_max_body_size"];
            let result = put(&db, RUN, &vec![0; size]);
            assert_failure(result, ErrorKind::Permanent, &words);
        }
        // The others go on.
        put(&db, Run(2), b"small").unwrap();
    }
}

#[test]
fn no_redirect_is_followed() {
    let elsewhere = start(Transport::KeepAlive, Authentication::Digest);
    for status in [301, 302, 307, 308] {
        let server = start(Transport::KeepAlive, Authentication::Digest);
        let db = client(&server);
        put(&db, Run(1), b"the nonce is known with this").unwrap();
        let target = elsewhere.url().replace("http://", "http://me:pw@") + "/data?x=1";
        let reply = Reply::html(status, "Found").header("Location", &target);
        server.fault(Fault::on("", "").always().then(Action::Answer(reply)));
        let words = ["redirects to", &elsewhere.url(), "ucon_db.server_url"];
        assert_all_fail(&db, ErrorKind::Unreachable, &words);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn keys_that_are_no_runs_are_skipped() {
    for transport in [Transport::Bare, Transport::Chunked] {
        let server = start(transport, Authentication::Off);
        for key in ["5", "abc", "007", "-1", "1e3", "", "1.0", "12500"] {
            server.put(OBJECT, Some(key), key.as_bytes());
        }
        server.put(OBJECT, Some("5"), b"moves the key");
        server.put(OBJECT, None, b"never had one");
        let expected = BTreeSet::from([Run(5), RUN]);
        assert_eq!(client(&server).runs().unwrap(), expected);
    }
}

#[test]
fn only_version_says_which_version_exists() {
    // The server answers the identifier alone to those who want no more.
    let server = start(Transport::Bare, Authentication::Off);
    server.fault(Fault::on("POST", "/data/").then(Action::Answer(Reply::text(200, "7"))));
    server.put(OBJECT, Some("12500"), b"blob");
    let stored = put(&client(&server), RUN, b"blob").unwrap();
    assert_eq!(stored, Upload::Stored(Version::of(b"blob")));
}

#[test]
fn a_database_that_is_down_is_worth_a_later_attempt() {
    let server = start(Transport::Bare, Authentication::Off);
    server.set_database_down(true);
    let db = client(&server);
    let words = ["HTTP 500", "connection to server at"];
    assert_all_fail(&db, ErrorKind::Transient, &words);
    server.set_database_down(false);
    put(&db, RUN, b"blob").unwrap();
}

#[test]
fn nobody_who_listens_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for url in [
        format!("http://{port}/app"),
        format!("https://{port}/app"),
        "http://no-such-host.invalid/app".to_owned(),
    ] {
        let db = HttpUconDb::new(settings(url.as_str())).unwrap();
        assert_all_fail(&db, ErrorKind::Unreachable, &["can't be reached", &url]);
    }
}

#[test]
fn what_does_not_speak_http_is_no_ucondb() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/app", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
        }
    });
    let db = HttpUconDb::new(settings(url)).unwrap();
    assert_all_fail(&db, ErrorKind::Unreachable, &["no UconDB at", "not HTTP"]);
}

#[test]
fn a_server_is_trusted_by_its_ca_alone() {
    let directory = tempfile::tempdir().unwrap();
    for tls in [Tls::On, Tls::WithoutCloseNotify] {
        let server = UconDbServer::start(Options {
            tls,
            ..Options::default()
        });
        let ca = directory.path().join("ca.pem");
        server.write_ca(&ca);
        let trusting = HttpUconDb::new(HttpSettings {
            ca_file: Some(ca),
            ..settings(server.url())
        })
        .unwrap();
        put(&trusting, RUN, b"blob").unwrap();
        assert_eq!(trusting.download(RUN).unwrap(), b"blob");

        let strange = UconDbServer::start(Options {
            tls,
            ..Options::default()
        });
        let ca = directory.path().join("strange.pem");
        strange.write_ca(&ca);
        for ca_file in [None, Some(ca)] {
            let wary = HttpUconDb::new(HttpSettings {
                ca_file,
                ..settings(server.url())
            })
            .unwrap();
            server.forget_requests();
            let words = ["no trusted TLS connection", "ucon_db.ca_file"];
            assert_all_fail(&wary, ErrorKind::Unreachable, &words);
            assert_eq!(server.requests().len(), 0);
        }

        let careless = HttpUconDb::new(HttpSettings {
            verify_tls: false,
            ..settings(server.url())
        })
        .unwrap();
        assert_eq!(careless.runs().unwrap(), BTreeSet::from([RUN]));
    }
}

#[test]
fn http_and_https_are_told_apart() {
    let plain = start(Transport::Bare, Authentication::Digest);
    let encrypted = UconDbServer::start(Options {
        tls: Tls::On,
        ..Options::default()
    });
    let db = HttpUconDb::new(settings(plain.url().replace("http:", "https:"))).unwrap();
    assert_failure(db.runs(), ErrorKind::Unreachable, &["TLS"]);
    let db = HttpUconDb::new(settings(encrypted.url().replace("https:", "http:"))).unwrap();
    assert_failure(db.runs(), ErrorKind::Unreachable, &["https"]);
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let open = || {
        HttpUconDb::new(HttpSettings {
            ca_file: Some(file.clone()),
            ..settings("https://127.0.0.1:1/app")
        })
    };
    let name = file.to_str().unwrap();
    assert_failure(open(), ErrorKind::Unreachable, &[name, "can't be read"]);
    for content in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&file, content).unwrap();
        assert_failure(open(), ErrorKind::Unreachable, &[name, "certificate"]);
    }
}

#[test]
fn a_check_says_what_it_found() {
    for (authentication, empty, filled) in [
        (
            Authentication::Digest,
            "credentials not tried",
            "user \"writer\" may write",
        ),
        (
            Authentication::Off,
            "credentials not tried",
            "uploads need no credentials",
        ),
    ] {
        let server = start(Transport::Bare, authentication);
        let found = client(&server).check().unwrap();
        assert!(found.contains("UconDB 3.9.7 with 0 runs"), "{found}");
        assert!(found.contains(empty), "{found}");
        server.put(OBJECT, Some("1"), b"there before");
        let found = client(&server).check().unwrap();
        assert!(found.contains("UconDB 3.9.7 with 1 runs"), "{found}");
        assert!(found.contains(filled), "{found}");
        assert_eq!(server.versions(OBJECT).len(), 1);
    }
    let server = start(Transport::KeepAlive, Authentication::Off);
    let page = Reply::html(200, "Please sign in");
    server.fault(Fault::on("", "").always().then(Action::Answer(page)));
    let found = client(&server).check();
    assert_failure(found, ErrorKind::Unreachable, &["no UconDB at"]);
}

#[test]
fn debug_shows_no_password() {
    let settings = settings("http://127.0.0.1:1/app");
    let shown = format!("{settings:?} {:?}", HttpUconDb::new(settings.clone()));
    assert!(shown.contains(USER), "{shown}");
    assert!(!shown.contains("heim"), "{shown}");
}

#[test]
fn connections_are_kept_and_replaced() {
    let server = start(Transport::KeepAlive, Authentication::Digest);
    let db = client(&server);
    for run in 1..=10 {
        put(&db, Run(run), b"blob").unwrap();
    }
    // A connection goes back to the pool a moment after its answer.
    assert!(server.connections() < 5, "{}", server.connections());
    for run in 11..=20 {
        server.close_connections();
        put(&db, Run(run), b"blob").unwrap();
    }
    assert_eq!(server.versions(OBJECT).len(), 20);
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let server = start(Transport::KeepAlive, Authentication::Digest);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "behind_a_proxy"])
        .env("HTTP_PROXY", format!("http://{}", server.address()))
        .env("http_proxy", format!("http://{}", server.address()))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.blobs(OBJECT)["12500"], b"through the proxy");
}

#[test]
#[ignore = "run by a_proxy_of_the_environment_is_used"]
fn behind_a_proxy() {
    let url = "http://ucondb.invalid/instance/app";
    let db = HttpUconDb::new(settings(url)).unwrap();
    put(&db, RUN, b"through the proxy").unwrap();
}

#[test]
fn a_client_holds_one_copy_of_a_blob() {
    const SIZE: u64 = 100_000_000;
    for tls in [Tls::Off, Tls::On] {
        let server = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            tls,
            ..Options::default()
        });
        for (work, copies) in [("upload", 1), ("download", 1)] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "one_large_blob", "--nocapture"])
                .env("UCONDB_TEST_URL", server.url())
                .env("UCONDB_TEST_WORK", work)
                .env("UCONDB_TEST_SIZE", SIZE.to_string())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
            let peak: u64 = peak.unwrap().parse::<u64>().unwrap() * 1024;
            let most = copies * SIZE + 40_000_000;
            assert!(peak > SIZE && peak < most, "{work} {tls:?}: {peak}");
        }
    }
}

#[test]
#[ignore = "run by a_client_holds_one_copy_of_a_blob"]
fn one_large_blob() {
    let variable = |name| std::env::var(name).unwrap();
    let size = variable("UCONDB_TEST_SIZE").parse().unwrap();
    let db = HttpUconDb::new(HttpSettings {
        verify_tls: false,
        ..settings(variable("UCONDB_TEST_URL"))
    })
    .unwrap();
    if variable("UCONDB_TEST_WORK") == "upload" {
        db.upload(RUN, Bytes::from(vec![1; size]), Override::No)
            .unwrap();
    } else {
        assert_eq!(db.download(RUN).unwrap().len(), size);
    }
    print!(
        "\n{}",
        std::fs::read_to_string("/proc/self/status").unwrap()
    );
}

#[test]
fn a_large_archive_is_listed() {
    let server = start(Transport::Bare, Authentication::Off);
    for run in 0..10_000 {
        server.put("other", Some(&run.to_string()), b"");
    }
    let db = HttpUconDb::new(HttpSettings {
        object: "other".into(),
        ..settings(server.url())
    })
    .unwrap();
    assert_eq!(db.runs().unwrap().len(), 10_000);
}

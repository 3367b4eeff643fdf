//! The HTTP client against a server that answers as UconDB does: what it
//! sends, and what it makes of every answer. How it connects is in
//! `ucondb_connection.rs`, what goes wrong on the way in `ucondb_faults.rs`.

use std::collections::BTreeSet;
use std::thread;

use crate::support::ucondb_client::{RUN, assert_all_fail, assert_failure, client, put, settings};
use crate::support::ucondb_server::{
    Action, Algorithm, Authentication, Fault, OBJECT, Options, PASSWORD, Reply, Tls, Transport,
    USER, UconDbServer,
};
use bytes::Bytes;
use run_record_archiver::error::Disposition;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::http::{HttpSettings, HttpUconDb};
use run_record_archiver::ucondb::{Override, UconDb, Upload, Version};

fn start(transport: Transport, authentication: Authentication) -> UconDbServer {
    UconDbServer::start(Options {
        transport,
        authentication,
        ..Options::default()
    })
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
            assert_failure(result, Disposition::StopStage, &words);
            assert_failure(db.check(), Disposition::StopStage, &[&refused]);
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
        assert_all_fail(&db, Disposition::StopStage, &words);
        // So large that the server closes before it is sent.
        let result = put(&db, RUN, &vec![0; 25_000_000]);
        assert_failure(result, Disposition::StopStage, &words);
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
        assert_all_fail(&db, Disposition::StopStage, &words);
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
    assert_failure(db.runs(), Disposition::StopStage, &["no UconDB at"]);
    assert_failure(db.version(RUN), Disposition::StopStage, &["no UconDB at"]);
    assert_failure(db.download(RUN), Disposition::StopStage, &["no UconDB at"]);
    let result = put(&db, RUN, b"blob");
    assert_failure(result, Disposition::StopStage, &["no UconDB at"]);
}

#[test]
fn refusals_are_not_repeated() {
    for (status, kind, word) in [
        (400, Disposition::StopStage, "HTTP 400"),
        (403, Disposition::StopStage, "HTTP 403"),
        (404, Disposition::StopStage, "no UconDB at"),
        (407, Disposition::StopStage, "HTTPS_PROXY"),
        (429, Disposition::RetryRun, "HTTP 429"),
        (413, Disposition::FailRun, "client_max_body_size"),
        (401, Disposition::StopStage, "refused user \"writer\""),
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
    assert_failure(put(&db, RUN, b"blob"), Disposition::StopStage, &words);
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
            assert_failure(result, Disposition::FailRun, &words);
        }
        // The others go on.
        put(&db, Run(2), b"small").unwrap();
    }
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
    assert_all_fail(&db, Disposition::RetryRun, &words);
    server.set_database_down(false);
    put(&db, RUN, b"blob").unwrap();
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
    assert_failure(found, Disposition::StopStage, &["no UconDB at"]);
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

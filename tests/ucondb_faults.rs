//! The HTTP client when things go wrong on the way: connections that break,
//! answers that don't come, come late, or come changed.

use std::time::{Duration, Instant};

use crate::support::ucondb_client::{RUN, assert_failure, client, client_waiting, settings};
use crate::support::ucondb_server::{
    Action, Authentication, Fault, OBJECT, Options, Reply, Tls, Transport, UconDbServer,
};
use bytes::Bytes;
use run_record_archiver::error::{Disposition, Error, Remedy};
use run_record_archiver::ucondb::http::{HttpSettings, HttpUconDb, RetryPolicy};
use run_record_archiver::ucondb::{Override, UconDb, Upload, Version};

const MEGABYTES_25: usize = 25_000_000;

/// Every way in which connections and bodies end.
const KINDS: [(Transport, Tls); 5] = [
    (Transport::Bare, Tls::Off),
    (Transport::Bare, Tls::WithoutCloseNotify),
    (Transport::KeepAlive, Tls::Off),
    (Transport::KeepAlive, Tls::On),
    (Transport::Chunked, Tls::On),
];

fn start(transport: Transport, tls: Tls) -> UconDbServer {
    UconDbServer::start(Options {
        transport,
        tls,
        ..Options::default()
    })
}

fn bare() -> UconDbServer {
    start(Transport::Bare, Tls::Off)
}

fn put(db: &HttpUconDb, blob: &Bytes) -> Result<Upload, Error> {
    db.upload(RUN, blob.clone(), Override::No)
}

/// Bytes that no checksum confuses.
fn noise(size: usize) -> Bytes {
    let mut blob = vec![0; size];
    fastrand::Rng::with_seed(size as u64).fill(&mut blob);
    blob.into()
}

#[test]
fn an_upload_reset_after_any_eighth_is_sent_again() {
    let blob = noise(MEGABYTES_25);
    let stored = Upload::Stored(Version::of(&blob));
    for (transport, tls) in [KINDS[0], KINDS[4]] {
        for eighth in 0..=8 {
            let server = start(transport, tls);
            let db = client(&server);
            let reset = Action::ResetRequestAfter(eighth * MEGABYTES_25 as u64 / 8);
            server.fault(Fault::on("POST", "/data/").then(reset));
            assert_eq!(put(&db, &blob).unwrap(), stored, "{eighth}/8");
            assert_eq!(server.versions(OBJECT).len(), 1);
            assert!(server.blobs(OBJECT)["12500"] == blob);
        }
    }
}

#[test]
fn an_upload_that_is_always_reset_may_succeed_later() {
    let blob = noise(MEGABYTES_25);
    let server = bare();
    let db = client(&server);
    let reset = Action::ResetRequestAfter(1_000_000);
    server.fault(Fault::on("POST", "/data/").always().then(reset));
    let words = ["run 12500", "upload of 25000000 bytes", "connection broke"];
    assert_failure(put(&db, &blob), Disposition::RetryRun, &words);
    assert_eq!(server.count("POST", "/data/"), 3);
    server.no_faults();
    assert!(matches!(put(&db, &blob), Ok(Upload::Stored(_))));
}

#[test]
fn a_lost_answer_is_settled_by_asking() {
    let blob = noise(1_000_000);
    let version = Version::of(&blob);
    for (transport, tls) in KINDS {
        for (existing, outcome) in [
            (Override::No, Upload::Exists(version)),
            (Override::Yes, Upload::Stored(version)),
        ] {
            let server = start(transport, tls);
            server.put(OBJECT, Some("1"), b"for the challenge");
            let db = client(&server);
            db.runs().unwrap();
            let fault = Fault::on("POST", "key=12500").then(Action::LoseAnswer);
            server.fault(fault);
            assert_eq!(db.upload(RUN, blob.clone(), existing).unwrap(), outcome);
            assert_eq!(server.count("POST", "key=12500"), 1);
            assert_eq!(server.versions(OBJECT).len(), 2);
        }
    }
}

#[test]
fn a_lost_answer_may_turn_out_to_be_of_another_blob() {
    let server = bare();
    server.put(OBJECT, Some("12500"), b"other");
    let db = client(&server);
    server.fault(
        Fault::on("POST", "/data/")
            .always()
            .then(Action::LoseAnswer),
    );
    let other = Upload::Exists(Version::of(b"other"));
    assert_eq!(put(&db, &noise(1000)).unwrap(), other);
    assert_eq!(server.blobs(OBJECT)["12500"], b"other");
}

#[test]
fn answers_that_are_always_lost_are_settled_at_the_end() {
    let blob = noise(1000);
    let server = UconDbServer::start(Options {
        authentication: Authentication::Off,
        ..Options::default()
    });
    let db = client(&server);
    // Neither the uploads nor the questions between them get an answer.
    server.fault(
        Fault::on("POST", "/data/")
            .always()
            .then(Action::LoseAnswer),
    );
    server.fault(Fault::on("GET", "").times(2).then(Action::LoseAnswer));
    let outcome = put(&db, &blob).unwrap();
    assert_eq!(outcome, Upload::Exists(Version::of(&blob)));
    assert_eq!(server.versions(OBJECT).len(), 1);
    assert_eq!(server.count("POST", "/data/"), 1);
}

#[test]
fn an_answer_cut_short_is_settled_by_asking() {
    for (transport, tls) in KINDS {
        let blob = noise(1000);
        let server = start(transport, tls);
        server.fault(
            Fault::on("POST", "/data/")
                .always()
                .then(Action::CloseAnswerAfter(20)),
        );
        let db = client(&server);
        // The first answer is the challenge, whose headers arrive.
        let stored = Upload::Stored(Version::of(&blob));
        assert_eq!(put(&db, &blob).unwrap(), stored);
        assert_eq!(server.versions(OBJECT).len(), 1);
    }
}

#[test]
fn what_was_stored_is_compared_with_what_was_sent() {
    for transport in [Transport::Bare, Transport::KeepAlive] {
        let server = start(transport, Tls::Off);
        server.fault(
            Fault::on("POST", "/data/")
                .always()
                .then(Action::ChangeStored),
        );
        let blob = noise(1000);
        let checksum = format!("{:08x}", Version::of(&blob).adler32);
        let words = ["run 12500", "stored 1000 bytes", &checksum, "override"];
        assert_failure(put(&client(&server), &blob), Disposition::FailRun, &words);
    }
}

#[test]
fn a_download_cut_short_is_read_again() {
    let blob = noise(1_000_000);
    for (transport, tls) in KINDS {
        for bytes in [0, 1, 500_000, 999_999] {
            for cut in [
                Action::CloseAnswerAfter(bytes),
                Action::ResetAnswerAfter(bytes),
            ] {
                let server = start(transport, tls);
                server.put(OBJECT, Some("12500"), &blob);
                let db = client(&server);
                server.fault(Fault::on("GET", "/data/").times(2).then(cut.clone()));
                assert!(db.download(RUN).unwrap() == blob, "{transport:?} {cut:?}");
                server.fault(Fault::on("GET", "/data/").always().then(cut));
                let words = ["run 12500", "of 1000000 bytes arrived"];
                assert_failure(db.download(RUN), Disposition::RetryRun, &words);
            }
        }
    }
}

#[test]
fn a_download_that_is_whole_needs_no_proper_end() {
    // All of the body, and then a reset, or an end without notice.
    let blob = noise(100_000);
    for (transport, tls) in [KINDS[0], KINDS[1]] {
        let server = start(transport, tls);
        server.put(OBJECT, Some("12500"), &blob);
        let db = client(&server);
        server.fault(
            Fault::on("GET", "")
                .always()
                .then(Action::ResetAnswerAfter(100_000)),
        );
        assert!(db.download(RUN).unwrap() == blob);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_download_with_wrong_bytes_is_never_taken() {
    for (transport, tls) in KINDS {
        let blob = noise(100_000);
        let server = start(transport, tls);
        server.put(OBJECT, Some("12500"), &blob);
        let db = client(&server);
        server.fault(Fault::on("GET", "/data/").then(Action::ChangeAnswer));
        assert!(db.download(RUN).unwrap() == blob);
        assert_eq!(server.requests().len(), 2);
        server.fault(
            Fault::on("GET", "/data/")
                .always()
                .then(Action::ChangeAnswer),
        );
        let checksum = format!("{:08x}", Version::of(&blob).adler32);
        let words = ["run 12500", "100000 bytes", &checksum, "changed"];
        assert_failure(db.download(RUN), Disposition::RetryRun, &words);
    }
}

#[test]
fn a_front_end_may_drop_the_headers_that_prove_a_download() {
    for (transport, tls) in KINDS {
        let blob = noise(100_000);
        let server = start(transport, tls);
        server.put(OBJECT, Some("12500"), &blob);
        let db = client(&server);
        server.fault(Fault::on("GET", "").always().then(Action::DropHeaders));
        assert!(db.download(RUN).unwrap() == blob);
        assert_eq!(server.count("GET", "meta_only"), 1);
    }
}

#[test]
fn a_listing_cut_short_is_never_taken() {
    for (transport, tls) in KINDS {
        let server = start(transport, tls);
        for run in 1..=100 {
            server.put(OBJECT, Some(&run.to_string()), b"");
        }
        let db = client(&server);
        let listing = server.listing(OBJECT);
        let after = |what: &[u8]| {
            let found = listing.windows(what.len()).position(|part| part == what);
            (found.unwrap() + what.len()) as u64
        };
        let whole = listing.len() as u64;
        for bytes in [
            0,
            1,
            after(b"\"tags\":[]"),
            after(b"}"),
            after(b"}, {"),
            whole / 2,
            whole - 1,
        ] {
            for cut in [
                Action::CloseAnswerAfter(bytes),
                Action::ResetAnswerAfter(bytes),
            ] {
                server.no_faults();
                server.fault(Fault::on("GET", "/versions").times(2).then(cut.clone()));
                assert_eq!(db.runs().unwrap().len(), 100);
                server.fault(Fault::on("GET", "/versions").always().then(cut));
                assert_failure(db.runs(), Disposition::RetryRun, &["cut short"]);
            }
        }
    }
}

#[test]
fn a_server_that_is_overrun_is_asked_again() {
    let bare_503 = Action::Raw(b"HTTP/1.1 503 Service unavailable\n\n".to_vec());
    let replies = [
        bare_503,
        Action::AnswerEarly(Reply::html(503, "Service Unavailable")),
        Action::Answer(Reply::html(500, "Internal Server Error")),
        Action::Answer(Reply::html(502, "Bad Gateway")),
        Action::Answer(Reply::html(504, "Gateway Time-out")),
        Action::Raw(Vec::new()),
        Action::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
    ];
    for reply in replies {
        for (transport, tls) in KINDS {
            let server = start(transport, tls);
            let db = client(&server);
            let burst = || server.fault(Fault::on("", "").times(2).then(reply.clone()));
            burst();
            let blob = noise(1000);
            assert_eq!(
                put(&db, &blob).unwrap(),
                Upload::Stored(Version::of(&blob)),
                "{reply:?}"
            );
            burst();
            assert_eq!(db.version(RUN).unwrap(), Some(Version::of(&blob)));
            burst();
            assert_eq!(db.download(RUN).unwrap(), blob);
            burst();
            assert_eq!(db.runs().unwrap().len(), 1);
            server.no_faults();
            server.fault(Fault::on("", "").always().then(reply.clone()));
            server.forget_requests();
            assert_failure(db.runs(), Disposition::RetryRun, &["listing the versions"]);
            assert_eq!(server.requests().len(), 3);
        }
    }
}

#[test]
fn retry_after_is_waited_for() {
    let server = bare();
    server.put(OBJECT, Some("12500"), b"blob");
    let busy = Reply::text(503, "busy").header("Retry-After", "1");
    server.fault(Fault::on("GET", "").then(Action::Answer(busy)));
    let start = Instant::now();
    client(&server).download(RUN).unwrap();
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[test]
fn what_caused_a_failure_and_what_to_do_are_values() {
    // A port that is free, so nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let db = HttpUconDb::new(settings(format!("http://{address}/app"))).unwrap();
    let error = db.runs().unwrap_err();
    assert_eq!(error.remedy(), Some(&Remedy::CheckUconServer));
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.is::<reqwest::Error>(), "{cause:?}");
    let text = error.to_string();
    let end = "; check ucon_db.server_url, the network, and that UconDB is up";
    assert!(text.ends_with(end), "{text}");
}

/// The largest number that there is would overflow any sum with a time.
#[test]
fn a_retry_after_that_is_too_large_is_capped() {
    for asked in ["18446744073709551615", "99999999999999999999"] {
        let server = bare();
        server.put(OBJECT, Some("12500"), b"blob");
        let busy = Reply::text(503, "busy").header("Retry-After", asked);
        server.fault(Fault::on("GET", "").then(Action::Answer(busy)));
        let db = HttpUconDb::new(HttpSettings {
            retry: RetryPolicy {
                attempts: 2,
                pause: Duration::from_millis(20),
                longest_pause: Duration::from_millis(200),
            },
            ..settings(server.url())
        })
        .unwrap();
        let start = Instant::now();
        assert_eq!(db.download(RUN).unwrap(), b"blob");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

/// Runs a request that times out three times, and checks how long that took.
#[track_caller]
fn assert_times_out<T: std::fmt::Debug>(
    timeout: Duration,
    attempts: u32,
    request: impl FnOnce() -> Result<T, Error>,
) {
    let start = Instant::now();
    let words = ["timed out after", "ucon_db.timeout_seconds"];
    assert_failure(request(), Disposition::RetryRun, &words);
    let elapsed = start.elapsed();
    assert!(elapsed >= timeout * attempts, "{elapsed:?}");
    let most = timeout * attempts + Duration::from_secs(2);
    assert!(elapsed < most, "{elapsed:?}");
}

#[test]
fn a_stalled_server_is_waited_for_as_configured() {
    let timeout = Duration::from_millis(400);
    for (transport, tls) in [KINDS[0], KINDS[3]] {
        for stall in [Action::StallAnswer, Action::StallAnswerAfter(10)] {
            let server = start(transport, tls);
            server.put(OBJECT, Some("12500"), &noise(1000));
            server.fault(Fault::on("GET", "").always().then(stall));
            let db = client_waiting(&server, timeout);
            assert_times_out(timeout, 3, || db.runs());
            assert_times_out(timeout, 3, || db.version(RUN));
            assert_times_out(timeout, 3, || db.download(RUN));
        }
    }
}

#[test]
fn a_stalled_upload_is_waited_for_as_configured() {
    let timeout = Duration::from_millis(400);
    for (transport, tls) in [KINDS[0], KINDS[3]] {
        let server = start(transport, tls);
        server.put(OBJECT, Some("1"), b"for the challenge");
        let stall = Action::StallRequestAfter(100_000);
        server.fault(Fault::on("POST", "key=12500").always().then(stall));
        let db = client_waiting(&server, timeout);
        db.runs().unwrap();
        // So large that no buffer on the way holds it.
        let blob = noise(MEGABYTES_25);
        assert_times_out(timeout, 3, || put(&db, &blob));
        assert_eq!(server.count("POST", "key=12500"), 3);
        assert_eq!(server.versions(OBJECT).len(), 1);
    }
}

#[test]
fn an_upload_that_is_never_answered_is_settled_by_asking() {
    let server = bare();
    server.put(OBJECT, Some("1"), b"for the challenge");
    let db = client_waiting(&server, Duration::from_millis(700));
    db.runs().unwrap();
    server.fault(Fault::on("POST", "key=12500").then(Action::StallAnswer));
    let blob = noise(1000);
    assert_eq!(put(&db, &blob).unwrap(), Upload::Exists(Version::of(&blob)));
    assert_eq!(server.count("POST", "key=12500"), 1);
}

#[test]
fn a_slow_server_is_not_given_up() {
    let server = bare();
    let db = client_waiting(&server, Duration::from_millis(800));
    let slow = Action::Delay(Duration::from_millis(400));
    server.fault(Fault::on("", "").always().then(slow));
    let blob = noise(1000);
    put(&db, &blob).unwrap();
    assert_eq!(db.download(RUN).unwrap(), blob);
    assert_eq!(db.runs().unwrap().len(), 1);
    // The first body was refused with the challenge.
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_name_that_nobody_answers_at_is_given_up() {
    // A listener whose queue is full drops what comes.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = listener.unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<_> = (0..4)
        .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)))
        .collect();
    let db = HttpUconDb::new(HttpSettings {
        timeout: Duration::from_millis(500),
        retry: RetryPolicy {
            attempts: 2,
            pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(1),
        },
        ..settings(format!("http://{address}/app"))
    })
    .unwrap();
    let start = Instant::now();
    let words = ["can't be reached", "no connection within"];
    assert_failure(db.runs(), Disposition::StopStage, &words);
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[test]
fn a_404_cut_short_does_not_tell_what_is_missing() {
    let server = start(Transport::KeepAlive, Tls::Off);
    server.put(OBJECT, Some("1"), b"there before");
    for bytes in [0, 7, 16] {
        let cut = Action::CloseAnswerAfter(bytes);
        server.fault(Fault::on("GET", "/data/").then(cut));
        assert_eq!(client(&server).version(RUN).unwrap(), None);
    }
    assert_eq!(server.count("GET", "/data/"), 6);
}

#[test]
fn an_upload_whose_answer_was_changed_on_the_way_is_looked_up() {
    let server = UconDbServer::start(Options {
        authentication: Authentication::Off,
        ..Options::default()
    });
    let blob = noise(1000);
    server.put(OBJECT, Some("12500"), &blob);
    let changed = Reply::text(200, r#"{"data_size": 1001, "adler32": 7}"#);
    server.fault(Fault::on("POST", "/data/").then(Action::Answer(changed)));
    let outcome = put(&client(&server), &blob).unwrap();
    assert_eq!(outcome, Upload::Stored(Version::of(&blob)));
}

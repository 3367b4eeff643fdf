//! What every UconDB must do, whatever it stands on.

use std::collections::BTreeSet;
use std::thread;

use crate::support::ucondb_server::{
    Algorithm, Authentication, FOLDER, OBJECT, Options, PASSWORD, Tls, Transport, USER,
    UconDbServer,
};
use bytes::Bytes;
use run_record_archiver::error::Disposition;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::http::HttpSettings;
use run_record_archiver::ucondb::{self, MAX_BLOB, Override, UconDb, UconUrl, Upload, Version};

/// A UconDB, and what must live as long as it is used.
struct Subject {
    db: Box<dyn UconDb>,
    _keep: Box<dyn std::any::Any>,
}

fn over_http(options: Options) -> Subject {
    let server = UconDbServer::start(options);
    let directory = tempfile::tempdir().unwrap();
    let mut settings = HttpSettings::new(
        UconUrl::parse(&server.url()).unwrap(),
        FOLDER,
        OBJECT,
        USER,
        PASSWORD,
    );
    if server.url().starts_with("https") {
        let ca = directory.path().join("ca.pem");
        server.write_ca(&ca);
        settings.ca_file = Some(ca);
    }
    Subject {
        db: ucondb::open(settings).unwrap(),
        _keep: Box::new((server, directory)),
    }
}

fn in_a_directory() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/store", directory.path().display());
    Subject {
        db: ucondb::open(HttpSettings::new(
            UconUrl::parse(&url).unwrap(),
            FOLDER,
            OBJECT,
            USER,
            PASSWORD,
        ))
        .unwrap(),
        _keep: Box::new(directory),
    }
}

const STRICT: Authentication = Authentication::Strict {
    algorithm: Algorithm::Sha256,
    uses: 3,
};

fn subject(kind: &str) -> Subject {
    let with = |transport, tls, authentication| {
        over_http(Options {
            transport,
            tls,
            authentication,
            ..Options::default()
        })
    };
    match kind {
        "bare" => with(Transport::Bare, Tls::Off, Authentication::Digest),
        "bare_open" => with(Transport::Bare, Tls::Off, Authentication::Off),
        "bare_tls" => with(
            Transport::Bare,
            Tls::WithoutCloseNotify,
            Authentication::Digest,
        ),
        "keep_alive" => with(Transport::KeepAlive, Tls::Off, Authentication::Digest),
        "chunked_tls_strict" => with(Transport::Chunked, Tls::On, STRICT),
        "directory" => in_a_directory(),
        _ => panic!("{kind}"),
    }
}

const RUN: Run = Run(12500);

fn put(db: &dyn UconDb, run: Run, blob: &[u8]) -> Upload {
    db.upload(run, Bytes::copy_from_slice(blob), Override::No)
        .unwrap()
}

fn an_empty_object_has_no_runs(db: &dyn UconDb) {
    assert_eq!(db.runs().unwrap(), BTreeSet::new());
    assert_eq!(db.version(RUN).unwrap(), None);
    let error = db.download(RUN).unwrap_err();
    assert_eq!(error.disposition(), Disposition::FailRun, "{error}");
    assert!(error.to_string().contains("run 12500"), "{error}");
    assert!(error.to_string().contains("not migrated"), "{error}");
}

fn blobs_round_trip_byte_for_byte(db: &dyn UconDb) {
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let blobs: [&[u8]; 6] = [
        b"",
        b"\0",
        b"one\r\ntwo\r\n\r\nthree\nfour\r",
        "Zażółć gęślą jaźń \u{1f980}".as_bytes(),
        b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        &every_byte,
    ];
    for (blob, run) in blobs.iter().zip(1..) {
        let run = Run(run);
        assert_eq!(put(db, run, blob), Upload::Stored(Version::of(blob)));
        assert_eq!(db.version(run).unwrap(), Some(Version::of(blob)));
        assert_eq!(db.download(run).unwrap(), *blob);
    }
    assert_eq!(db.runs().unwrap(), (1..=6).map(Run).collect());
}

fn a_large_blob_round_trips(db: &dyn UconDb) {
    let mut blob = vec![0; 20_000_000];
    fastrand::Rng::with_seed(1).fill(&mut blob);
    assert_eq!(put(db, RUN, &blob), Upload::Stored(Version::of(&blob)));
    assert!(db.download(RUN).unwrap() == blob);
}

fn the_same_key_stores_nothing(db: &dyn UconDb) {
    let first = Version::of(b"first");
    assert_eq!(put(db, RUN, b"first"), Upload::Stored(first));
    assert_eq!(put(db, RUN, b"first"), Upload::Exists(first));
    assert_eq!(put(db, RUN, b"other bytes"), Upload::Exists(first));
    assert_eq!(put(db, RUN, b""), Upload::Exists(first));
    assert_eq!(db.download(RUN).unwrap(), b"first");
}

fn the_same_bytes_go_under_another_key(db: &dyn UconDb) {
    put(db, Run(1), b"bytes");
    assert_eq!(
        put(db, Run(2), b"bytes"),
        Upload::Stored(Version::of(b"bytes"))
    );
    assert_eq!(db.download(Run(2)).unwrap(), b"bytes");
    assert_eq!(db.runs().unwrap(), BTreeSet::from([Run(1), Run(2)]));
}

fn an_override_stores_a_new_version(db: &dyn UconDb) {
    for blob in [&b"first"[..], b"second", b"second", b"", b"third"] {
        let outcome = db.upload(RUN, Bytes::copy_from_slice(blob), Override::Yes);
        assert_eq!(outcome.unwrap(), Upload::Stored(Version::of(blob)));
        assert_eq!(db.version(RUN).unwrap(), Some(Version::of(blob)));
        assert_eq!(db.download(RUN).unwrap(), blob);
    }
    // The replaced versions have no key.
    assert_eq!(db.runs().unwrap(), BTreeSet::from([RUN]));
}

fn of_parallel_writers_of_one_key_one_wins(db: &dyn UconDb) {
    let blobs: Vec<Vec<u8>> = (0..8_u8).map(|writer| vec![writer; 100_000]).collect();
    let outcomes: Vec<Upload> = thread::scope(|scope| {
        let writers: Vec<_> = blobs
            .iter()
            .map(|blob| scope.spawn(|| put(db, RUN, blob)))
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    let stored: Vec<Version> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Upload::Stored(version) => Some(*version),
            Upload::Exists(_) => None,
        })
        .collect();
    let [winner] = stored[..] else {
        panic!("{} writers won: {outcomes:?}", stored.len());
    };
    for outcome in outcomes {
        assert!(matches!(outcome, Upload::Stored(v) | Upload::Exists(v) if v == winner));
    }
    assert_eq!(Version::of(&db.download(RUN).unwrap()), winner);
}

fn parallel_writers_of_many_keys_all_store(db: &dyn UconDb) {
    thread::scope(|scope| {
        for writer in 0..8_u64 {
            scope.spawn(move || {
                for run in (1..=40).filter(|run| run % 8 == writer) {
                    let blob = format!("blob of run {run}");
                    let stored = Upload::Stored(Version::of(blob.as_bytes()));
                    assert_eq!(put(db, Run(run), blob.as_bytes()), stored);
                    assert_eq!(db.download(Run(run)).unwrap(), blob.as_bytes());
                }
            });
        }
    });
    assert_eq!(db.runs().unwrap(), (1..=40).map(Run).collect());
}

fn a_blob_above_the_limit_is_refused(db: &dyn UconDb) {
    let blob = Bytes::from(vec![0; usize::try_from(MAX_BLOB).unwrap() + 1]);
    let error = db.upload(RUN, blob, Override::No).unwrap_err();
    assert_eq!(error.disposition(), Disposition::FailRun);
    assert!(error.to_string().contains("268435457"), "{error}");
    assert!(error.to_string().contains("run 12500"), "{error}");
    assert_eq!(db.version(RUN).unwrap(), None);
}

fn a_check_stores_nothing(db: &dyn UconDb) {
    assert!(db.check().unwrap().contains("0 runs"));
    put(db, RUN, b"blob");
    assert!(db.check().unwrap().contains("1 runs"));
    assert_eq!(db.version(RUN).unwrap(), Some(Version::of(b"blob")));
    assert_eq!(db.runs().unwrap(), BTreeSet::from([RUN]));
}

fn the_location_names_folder_and_object(db: &dyn UconDb) {
    let location = db.location();
    assert!(location.contains("(ev01/configuration)"), "{location}");
    assert!(!location.contains(PASSWORD), "{location}");
}

macro_rules! contract {
    ($($kind:ident: [$($test:ident),* $(,)?])*) => {
        $(mod $kind {
            $(#[test]
            fn $test() {
                let subject = super::subject(stringify!($kind));
                super::$test(&*subject.db);
            })*
        })*
    };
    ($($kind:ident),* $(,)?) => {
        contract! {
            $($kind: [
                an_empty_object_has_no_runs,
                blobs_round_trip_byte_for_byte,
                a_large_blob_round_trips,
                the_same_key_stores_nothing,
                the_same_bytes_go_under_another_key,
                an_override_stores_a_new_version,
                of_parallel_writers_of_one_key_one_wins,
                parallel_writers_of_many_keys_all_store,
                a_blob_above_the_limit_is_refused,
                a_check_stores_nothing,
                the_location_names_folder_and_object,
            ])*
        }
    };
}

contract!(
    bare,
    bare_open,
    bare_tls,
    keep_alive,
    chunked_tls_strict,
    directory,
);

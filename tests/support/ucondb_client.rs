//! What the tests of the HTTP client share.

#![allow(dead_code)]

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use run_record_archiver::error::{Disposition, Error};
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::http::{HttpSettings, HttpUconDb, RetryPolicy};
use run_record_archiver::ucondb::{Override, UconDb, UconUrl, Upload};

use super::ucondb_server::{FOLDER, OBJECT, PASSWORD, USER, UconDbServer};

pub const RUN: Run = Run(12500);

/// Of the user who may write; three attempts with short pauses.
pub fn settings(url: impl AsRef<str>) -> HttpSettings {
    let url = UconUrl::parse(url.as_ref()).unwrap();
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

/// A client that trusts every certificate.
pub fn client(server: &UconDbServer) -> HttpUconDb {
    client_waiting(server, Duration::from_secs(10))
}

/// A client with this time limit.
pub fn client_waiting(server: &UconDbServer, timeout: Duration) -> HttpUconDb {
    HttpUconDb::new(HttpSettings {
        timeout,
        verify_tls: false,
        ..settings(server.url())
    })
    .unwrap()
}

pub fn put(db: &HttpUconDb, run: Run, blob: &[u8]) -> Result<Upload, Error> {
    db.upload(run, Bytes::copy_from_slice(blob), Override::No)
}

/// The failure must be of this disposition and hold these words, and not the password.
#[track_caller]
pub fn assert_failure<T: Debug>(
    result: Result<T, Error>,
    disposition: Disposition,
    words: &[&str],
) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.disposition(), disposition, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
    assert!(!format!("{error:?}").contains("g\\\"heim"), "{error:?}");
}

/// Everything that a client asks for must fail so.
#[track_caller]
pub fn assert_all_fail(db: &HttpUconDb, disposition: Disposition, words: &[&str]) {
    assert_failure(db.runs(), disposition, words);
    assert_failure(db.version(RUN), disposition, words);
    assert_failure(db.download(RUN), disposition, words);
    assert_failure(put(db, RUN, b"blob"), disposition, words);
}

//! The listing that an incremental execution makes of an earlier one and of
//! what was recorded since, and when it does not trust it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::ucondb_client::{assert_failure, put, settings};
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, Reply, StoredVersion, Transport, UconDbServer,
};
use bytes::Bytes;
use run_record_archiver::error::Disposition;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::http::{HttpSettings, HttpUconDb, ListingCache};
use run_record_archiver::ucondb::{Override, UconDb};

/// A request for what was recorded since.
const SINCE: &str = "tr_since";

struct Subject {
    server: UconDbServer,
    directory: tempfile::TempDir,
}

impl Subject {
    /// A server with runs 1 to 1000, one a minute until now, and the listing of them.
    fn new() -> Subject {
        let subject = Subject {
            server: UconDbServer::start(Options::default()),
            directory: tempfile::tempdir().unwrap(),
        };
        subject.server.set_versions(OBJECT, stored(1000));
        assert_eq!(subject.full(), runs(1..=1000));
        subject.server.forget_requests();
        subject
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("listing.json")
    }

    /// A client as each execution makes one.
    fn client(&self, trusted: bool) -> HttpUconDb {
        HttpUconDb::new(HttpSettings {
            listing: Some(ListingCache {
                file: self.file(),
                trusted,
            }),
            ..settings(self.server.url())
        })
        .unwrap()
    }

    fn full(&self) -> BTreeSet<Run> {
        self.client(false).runs().unwrap()
    }

    fn incremental(&self) -> BTreeSet<Run> {
        self.client(true).runs().unwrap()
    }

    /// How many listings were asked for since this was last asked: of what was
    /// recorded since, and full ones.
    fn asked(&self) -> (usize, usize) {
        let since = self.server.count("GET", SINCE);
        let all = self.server.count("GET", "/versions?");
        self.server.forget_requests();
        (since, all - since)
    }

    /// Removes or changes versions of the server.
    fn change(&self, change: impl FnOnce(&mut Vec<StoredVersion>)) {
        let mut versions = self.server.versions(OBJECT);
        change(&mut versions);
        self.server.set_versions(OBJECT, versions);
    }

    /// An incremental execution must find out by itself, by a full listing.
    #[track_caller]
    fn assert_not_trusted(&self, expected: BTreeSet<Run>) {
        assert_eq!(self.incremental(), expected);
        assert_eq!(self.asked().1, 1);
        // That listing is the one that is kept.
        assert_eq!(self.incremental(), expected);
        let full = usize::from(expected.is_empty());
        assert_eq!(self.asked().1, full);
    }
}

fn runs(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<Run> {
    numbers.into_iter().map(Run).collect()
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs_f64()
}

/// Versions of the runs from 1, one a minute until now.
fn stored(count: u64) -> Vec<StoredVersion> {
    (1..=count)
        .map(|run| StoredVersion {
            id: run,
            key: Some(run.to_string()),
            tags: vec![run.to_string()],
            recorded: now() - 60.0 * (count - run) as f64,
            data_key: run,
            blob: run.to_string().into_bytes(),
        })
        .collect()
}

#[test]
fn what_was_recorded_since_is_enough() {
    for transport in [Transport::Bare, Transport::KeepAlive, Transport::Chunked] {
        let mut subject = Subject::new();
        subject.server = UconDbServer::start(Options {
            transport,
            ..Options::default()
        });
        subject.server.set_versions(OBJECT, stored(1000));
        assert_eq!(subject.incremental(), runs(1..=1000));
        assert_eq!(subject.asked(), (0, 1), "another server: not asked with");

        assert_eq!(subject.incremental(), runs(1..=1000));
        assert_eq!(subject.asked(), (1, 0));
        for run in [1001, 1002, 5000] {
            subject.server.put(OBJECT, Some(&run.to_string()), b"blob");
        }
        let expected = runs((1..=1002).chain([5000]));
        assert_eq!(subject.incremental(), expected);
        assert_eq!(subject.incremental(), expected);
        assert_eq!(subject.asked(), (2, 0));
        assert_eq!(subject.full(), expected);
        assert_eq!(subject.asked(), (0, 1), "a full listing is one");
    }
}

#[test]
fn it_costs_what_was_recorded_since() {
    let subject = Subject::new();
    let url = subject.server.url() + "/versions?object=configuration&folder=ev01";
    let size = |url: &str| {
        let answer = reqwest::blocking::get(url).unwrap();
        answer.bytes().unwrap().len()
    };
    let all = size(&url);
    assert_eq!(subject.incremental().len(), 1000);
    let target = subject
        .server
        .requests()
        .pop()
        .map(|seen| seen.target)
        .unwrap();
    let since = size(&format!("http://{}{target}", subject.server.address()));
    // The versions of the last five minutes.
    assert!(since * 100 < all, "{since} of {all}");
}

#[test]
fn overrides_change_nothing_that_matters() {
    let subject = Subject::new();
    for run in [1000, 999, 3] {
        let db = subject.client(true);
        let blob = Bytes::from_static(b"with its stop time");
        db.upload(Run(run), blob, Override::Yes).unwrap();
    }
    subject.asked();
    assert_eq!(subject.incremental(), runs(1..=1000));
    assert_eq!(subject.asked(), (1, 0));
}

#[test]
fn a_server_restored_from_a_backup_is_noticed() {
    // The last version is missing, or more.
    for keep in [999, 998, 500] {
        let subject = Subject::new();
        subject.change(|versions| versions.truncate(keep));
        subject.assert_not_trusted(runs(1..=keep as u64));
    }
    // A version that was committed later than one with a later time.
    let subject = Subject::new();
    subject.change(|versions| drop(versions.remove(997)));
    subject.assert_not_trusted(runs((1..=1000).filter(|run| *run != 998)));

    // Restored, and written to again since: even the same run with the same blob.
    let subject = Subject::new();
    subject.change(|versions| versions.truncate(999));
    put(&subject.client(false), Run(1000), b"1000").unwrap();
    subject.asked();
    subject.assert_not_trusted(runs(1..=1000));

    let subject = Subject::new();
    subject.change(Vec::clear);
    subject.assert_not_trusted(runs([]));
}

#[test]
fn an_object_that_is_gone_is_an_empty_archive() {
    let mut subject = Subject::new();
    subject.server.go_down();
    let address = subject.server.address();
    drop(std::mem::replace(
        &mut subject.server,
        UconDbServer::start_at(address, Options::default()),
    ));
    subject.assert_not_trusted(runs([]));
}

#[test]
fn a_listing_of_another_folder_or_object_is_not_used() {
    let subject = Subject::new();
    subject.server.put("other", Some("7"), b"blob");
    let other = HttpUconDb::new(HttpSettings {
        object: "other".into(),
        listing: Some(ListingCache {
            file: subject.file(),
            trusted: true,
        }),
        ..settings(subject.server.url())
    })
    .unwrap();
    assert_eq!(other.runs().unwrap(), runs([7]));
    subject.asked();
    subject.assert_not_trusted(runs(1..=1000));
}

#[test]
fn the_file_is_only_a_hint() {
    let subject = Subject::new();
    let mode = fs::metadata(subject.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o640, 0, "{mode:o}");
    let size = fs::metadata(subject.file()).unwrap().len();
    assert!(size < 1000, "{size}");

    fs::remove_file(subject.file()).unwrap();
    subject.assert_not_trusted(runs(1..=1000));
    for text in ["", "{}", "[", "null", "\u{0}\u{0}", "listing"] {
        fs::write(subject.file(), text).unwrap();
        subject.assert_not_trusted(runs(1..=1000));
    }
    let text = fs::read_to_string(subject.file()).unwrap();
    // By hand, to be rid of a run: that is not how.
    fs::write(subject.file(), text.replace("1-1000", "1-1001")).unwrap();
    subject.assert_not_trusted(runs(1..=1000));
    fs::write(subject.file(), &text[..text.len() / 2]).unwrap();
    subject.assert_not_trusted(runs(1..=1000));
}

#[test]
fn a_file_that_cannot_be_written_is_no_error() {
    let subject = Subject::new();
    fs::remove_file(subject.file()).unwrap();
    fs::create_dir(subject.file()).unwrap();
    for _ in 0..2 {
        assert_eq!(subject.incremental(), runs(1..=1000));
        assert_eq!(subject.asked(), (0, 1));
    }
}

#[test]
fn a_server_that_cannot_tell_what_is_new_is_asked_for_everything() {
    for reply in [
        Reply::text(400, "tr_since"),
        Reply::html(500, "Internal Server Error"),
        Reply::text(200, "OK"),
        Reply::new(200, "text/json", "[{\"key\": \"9999\""),
    ] {
        let subject = Subject::new();
        let broken = Fault::on("GET", SINCE).always();
        subject.server.fault(broken.then(Action::Answer(reply)));
        assert_eq!(subject.incremental(), runs(1..=1000));
        assert_eq!(subject.asked().1, 1);
    }
    // One that does not know tr_since gives everything, which is as good.
    let subject = Subject::new();
    let all = Reply::new(200, "text/json", subject.server.listing(OBJECT));
    subject
        .server
        .fault(Fault::on("GET", SINCE).then(Action::Answer(all)));
    assert_eq!(subject.incremental(), runs(1..=1000));
    assert_eq!(subject.asked(), (1, 0));
}

#[test]
fn a_passing_fault_costs_no_full_listing() {
    let subject = Subject::new();
    for action in [
        Action::LoseAnswer,
        Action::CloseAnswerAfter(300),
        Action::AnswerEarly(Reply::text(503, "Service unavailable")),
    ] {
        subject.server.fault(Fault::on("GET", SINCE).then(action));
        assert_eq!(subject.incremental(), runs(1..=1000));
        assert_eq!(subject.asked(), (2, 0));
    }
}

#[test]
fn what_is_refused_is_reported_as_ever() {
    let mut subject = Subject::new();
    let folder = Reply::text(404, &format!("Folder {FOLDER} not found"));
    subject.server.fault(
        Fault::on("GET", "/versions")
            .always()
            .then(Action::Answer(folder)),
    );
    let words = ["has no folder \"ev01\""];
    assert_failure(subject.client(true).runs(), Disposition::StopStage, &words);
    subject.server.go_down();
    let words = ["can't be reached"];
    assert_failure(subject.client(true).runs(), Disposition::StopStage, &words);
}

#[test]
fn a_clock_that_was_ahead_is_not_gone_by() {
    let subject = Subject::new();
    subject.change(|versions| {
        for version in versions.iter_mut().skip(990) {
            version.recorded += 3600.0;
        }
    });
    subject.full();
    subject.asked();
    // The server's clock is right again.
    subject.server.put(OBJECT, Some("1001"), b"blob");
    assert_eq!(subject.incremental(), runs(1..=1001));
    assert_eq!(subject.asked(), (0, 1));
}

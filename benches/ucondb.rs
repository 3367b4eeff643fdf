//! What archiving into UconDB costs: requests, bytes, time and memory, against
//! the test server over loopback: `cargo bench --bench ucondb`. Ends with an
//! error if a bound is not kept.

#[path = "../tests/support/ucondb_server/mod.rs"]
#[expect(
    clippy::unwrap_used,
    reason = "a bench without its server has nothing to measure"
)]
mod ucondb_server;

use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::http::{HttpSettings, HttpUconDb, ListingCache};
use run_record_archiver::ucondb::{Override, UconDb, UconUrl, Upload};
use ucondb_server::{
    FOLDER, OBJECT, Options, PASSWORD, StoredVersion, Tls, Transport, USER, UconDbServer,
};

/// What an upload may send beyond its blob, in bytes.
const MOST_BEYOND_BLOB: u64 = 2048;
/// What the client may need for each worker, in blobs: one to send, one that
/// comes back.
const MOST_BLOBS: f64 = 2.5;
/// What an incremental listing may take.
const MOST_LISTING: Duration = Duration::from_millis(500);

const WORKERS: u64 = 8;
const LARGE: usize = 25_000_000;
/// About the size of a blob of SBND.
const USUAL: usize = 1_500_000;
const ARCHIVED: u64 = 100_000;

/// The argument with which the bench starts itself to measure memory.
const MEMORY: &str = "--memory-with";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    let kept = match &arguments[..] {
        [_, flag, url] if flag == MEMORY => memory(url)?,
        _ => {
            let mut kept = sent()?;
            kept &= rate()?;
            kept &= memory_apart()?;
            kept & listing()?
        }
    };
    Ok(match kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn settings(url: &str) -> HttpSettings {
    let url = UconUrl::parse(url).expect("a URL");
    HttpSettings {
        verify_tls: false,
        ..HttpSettings::new(url, FOLDER, OBJECT, USER, PASSWORD)
    }
}

/// A blob of this size that no other run has.
fn blob(run: u64, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    fastrand::Rng::with_seed(run).fill(&mut bytes);
    Bytes::from(bytes)
}

/// Stores a run and reads it back.
fn archive(db: &HttpUconDb, run: u64, blob: &Bytes) -> Outcome<()> {
    match db.upload(Run(run), blob.clone(), Override::No)? {
        Upload::Stored(_) => {}
        Upload::Exists(_) => return Err(format!("run {run} was there").into()),
    }
    match db.download(Run(run))? == *blob {
        true => Ok(()),
        false => Err(format!("run {run} came back changed").into()),
    }
}

fn verdict(kept: bool) -> &'static str {
    if kept { "" } else { "  TOO MUCH" }
}

/// What is sent for a run.
fn sent() -> Outcome<bool> {
    println!("sent for each run, upload and reading back:");
    let mut all_kept = true;
    for transport in [Transport::Bare, Transport::KeepAlive] {
        let server = UconDbServer::start(Options {
            transport,
            ..Options::default()
        });
        let db = HttpUconDb::new(settings(&server.url()))?;
        archive(&db, 1, &blob(1, 100))?;
        for (run, size) in [(2, 0), (3, 10_000), (4, USUAL), (5, LARGE)] {
            server.forget_requests();
            archive(&db, run, &blob(run, size))?;
            let requests = server.requests();
            let upload: u64 = requests
                .iter()
                .filter(|seen| seen.method == "POST")
                .map(ucondb_server::Seen::bytes)
                .sum();
            let beyond = upload - size as u64;
            let kept = requests.len() == 2 && beyond <= MOST_BEYOND_BLOB;
            println!(
                "  {transport:?}: blob of {size:>8} bytes: {} requests, upload {upload} bytes \
                 (blob + {beyond}), in all {}{}",
                requests.len(),
                server.bytes_received(),
                verdict(kept)
            );
            all_kept &= kept;
        }
    }
    Ok(all_kept)
}

/// How many runs a second eight workers archive.
fn rate() -> Outcome<bool> {
    const RUNS: u64 = 200;
    println!(
        "{WORKERS} workers, {RUNS} runs of {:.1} MB, stored and read back:",
        USUAL as f64 / 1e6
    );
    for (transport, tls) in [
        (Transport::Bare, Tls::Off),
        (Transport::KeepAlive, Tls::Off),
        (Transport::KeepAlive, Tls::On),
    ] {
        let server = UconDbServer::start(Options {
            transport,
            tls,
            ..Options::default()
        });
        let db = HttpUconDb::new(settings(&server.url()))?;
        let blobs: Vec<Bytes> = (0..RUNS).map(|run| blob(run, USUAL)).collect();
        let start = Instant::now();
        let failed = work(&|next| {
            let Some(blob) = blobs.get(usize::try_from(next).unwrap_or(usize::MAX)) else {
                return Ok(false);
            };
            archive(&db, next, blob).map(|()| true)
        });
        let seconds = start.elapsed().as_secs_f64();
        if let Some(failed) = failed {
            return Err(failed.into());
        }
        println!(
            "  {transport:?}, TLS {tls:?}: {:.0} runs/s, {:.0} MB/s each way",
            RUNS as f64 / seconds,
            RUNS as f64 * USUAL as f64 / 1e6 / seconds
        );
    }
    Ok(true)
}

/// Has the workers take numbers from 0 until there are none; what failed.
fn work(take: &(dyn Fn(u64) -> Outcome<bool> + Sync)) -> Option<String> {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        match take(next.fetch_add(1, Ordering::Relaxed)) {
                            Ok(true) => {}
                            Ok(false) => return None,
                            Err(error) => return Some(error.to_string()),
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .find_map(|worker| worker.join().unwrap_or_else(|_| Some("a panic".to_owned())))
    })
}

/// Measures memory in a process that is the client alone.
fn memory_apart() -> Outcome<bool> {
    let mut kept = true;
    for tls in [Tls::Off, Tls::On] {
        let server = UconDbServer::start(Options {
            tls,
            ..Options::default()
        });
        let status = Command::new(std::env::current_exe()?)
            .args([MEMORY, &server.url()])
            .status()?;
        kept &= status.success();
    }
    Ok(kept)
}

fn memory(url: &str) -> Outcome<bool> {
    let db = HttpUconDb::new(settings(url))?;
    archive(&db, 0, &blob(0, 100))?;
    let before = resident("VmRSS").unwrap_or(0);
    let failed = work(&|next| {
        if next >= 2 * WORKERS {
            return Ok(false);
        }
        archive(&db, next + 1, &blob(next + 1, LARGE)).map(|()| true)
    });
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    let peak = resident("VmHWM").unwrap_or(0).saturating_sub(before);
    let blobs = peak as f64 / LARGE as f64 / WORKERS as f64;
    let kept = blobs <= MOST_BLOBS;
    println!(
        "{WORKERS} workers with {} MB each to {}: {:.0} MB at most, {blobs:.2} blobs for each{}",
        LARGE / 1_000_000,
        url.split(':').next().unwrap_or_default(),
        peak as f64 / 1e6,
        verdict(kept)
    );
    Ok(kept)
}

/// A size from the process's status, in bytes.
fn resident(field: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// What the listing of a large archive costs, in full and from the last one.
fn listing() -> Outcome<bool> {
    println!("listing of {ARCHIVED} versions, one a minute until now, and 100 new ones:");
    let server = UconDbServer::start(Options::default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    server.set_versions(
        OBJECT,
        (1..=ARCHIVED)
            .map(|run| StoredVersion {
                id: run,
                key: Some(run.to_string()),
                tags: vec![run.to_string()],
                recorded: now - 60.0 * (ARCHIVED - run) as f64,
                data_key: run,
                blob: run.to_string().into_bytes(),
            })
            .collect(),
    );
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("listing.json");
    let mut kept = true;
    for (name, trusted, expected) in [
        ("in full", false, ARCHIVED),
        ("incremental", true, ARCHIVED),
        ("incremental, 100 new", true, ARCHIVED + 100),
    ] {
        for run in server.blobs(OBJECT).len() as u64 + 1..=expected {
            server.put(OBJECT, Some(&run.to_string()), b"blob");
        }
        server.forget_requests();
        let start = Instant::now();
        let db = HttpUconDb::new(HttpSettings {
            listing: Some(ListingCache {
                file: file.clone(),
                trusted,
            }),
            ..settings(&server.url())
        })?;
        let runs = db.runs()?.len() as u64;
        let client = start.elapsed();
        let requests = server.requests();
        let [request] = &requests[..] else {
            return Err(format!("{} requests", requests.len()).into());
        };
        // The same again, for what it costs without the client's part.
        let start = Instant::now();
        let url = format!("http://{}{}", server.address(), request.target);
        let bytes = reqwest::blocking::get(url)?.bytes()?.len();
        let took = start.elapsed();
        let in_bounds = runs == expected && (!trusted || client < MOST_LISTING);
        println!(
            "  {name}: {bytes} bytes, {:.1} ms, of which {:.1} ms for the answer alone{}",
            client.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e3,
            verdict(in_bounds)
        );
        kept &= in_bounds;
    }
    println!("  the file: {} bytes", std::fs::metadata(&file)?.len());
    Ok(kept)
}

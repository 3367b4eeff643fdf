//! Programs of others that the tests run against.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A program in the place where it should be. Without it the test says how to
/// install it and passes, but never under CI.
pub fn peer(name: &str, place: Option<PathBuf>, install: &str) -> Option<PathBuf> {
    let found = place.filter(|place| place.is_file());
    if found.is_none() {
        let message = format!("{name} is missing: {install}");
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("{message}");
    }
    found
}

/// A program of a Debian package.
pub fn debian(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let place = std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file());
    let install = format!("apt-get install --no-install-recommends {package}");
    peer(program, place, &install)
}

/// A server, killed at the end of the test.
#[derive(Debug)]
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end and gives what it said.
#[track_caller]
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

/// Waits until something is there.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port of the loopback address on which nobody listens.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Spoils a run record so that its import fails for good.
pub fn spoil(records: &Path, run: u64) {
    std::fs::write(records.join(format!("{run}/tpc01.fcl")), "mark: [1, 2\n").unwrap();
}

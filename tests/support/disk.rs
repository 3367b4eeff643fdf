//! Disks of a test's own: a tmpfs that fills up, and mounts that go away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::test_name;

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "RUN_RECORD_ARCHIVER_INSIDE";

/// A tmpfs of a test's own. It goes with this, on a panic too.
pub struct Disk {
    directory: tempfile::TempDir,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is open on it keeps it from going, but not from vanishing.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

impl Disk {
    /// Mounts one with options such as `size=64k`; none if that is not allowed.
    pub fn mount(options: &str) -> Option<Disk> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        // Not a Disk unless there is something to unmount.
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Disk { directory })
    }

    pub fn new(options: &str) -> Disk {
        Disk::mount(options).unwrap()
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.path().join("filler")).unwrap();
        let copied = std::io::copy(&mut std::io::repeat(1), &mut filler);
        assert_eq!(copied.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    /// Takes all the inodes that are left.
    pub fn fill_inodes(&self) {
        let directory = self.path().join("fillers");
        fs::create_dir(&directory).unwrap();
        while fs::write(directory.join(fastrand::u64(..).to_string()), "").is_ok() {}
    }

    /// Makes it large.
    pub fn make_room(&self) {
        let status = Command::new("mount")
            // Named in full, or mount repeats options that a namespace does not allow.
            .args(["-t", "tmpfs", "-o", "remount,size=512m,nr_inodes=100000"])
            .arg("tmpfs")
            .arg(self.path())
            .status();
        assert!(status.unwrap().success());
    }

    /// Every file that is only there until it is whole.
    pub fn temporary(&self) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if name.ends_with(".tmp")
                    || name.starts_with(".upload")
                    || name.starts_with("run_record_archiver.")
                    || name == ".archiver.lock"
                {
                    found.push(path);
                } else if path.is_dir() {
                    walk(&path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.path(), &mut found);
        found
    }
}

/// Runs a test where it may mount: here, or in a namespace of its own. Where
/// neither is possible it says so and passes, but never under CI.
pub fn with_mounts(module: &str, name: &str, test: impl FnOnce()) {
    if Disk::mount("size=64k").is_some() {
        return test();
    }
    let inside = |command: &mut Command| command.stdin(Stdio::null()).status();
    let may_unshare = std::env::var_os(INSIDE).is_none()
        && inside(Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]))
            .is_ok_and(|status| status.success());
    if !may_unshare {
        let message = "no tmpfs can be mounted: neither as this user nor with unshare -rm";
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("{message}");
        return;
    }
    let status = inside(
        Command::new("unshare")
            .arg("-rm")
            .arg(std::env::current_exe().unwrap())
            .args([&test_name(module, name), "--exact", "--nocapture"])
            .env(INSIDE, "1"),
    );
    assert!(
        status.unwrap().success(),
        "{name} in a namespace of its own"
    );
}

/// A directory that is mounted at another place, as a disk is.
pub struct Mounted {
    place: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
    }
}

impl Mounted {
    /// Mounts what is in `directory` at `place`, which exists.
    pub fn new(directory: &Path, place: &Path) -> Mounted {
        let mounted = Mounted {
            place: place.to_path_buf(),
        };
        mounted.mount(directory);
        mounted
    }

    /// Mounts it again.
    pub fn mount(&self, directory: &Path) {
        let status = Command::new("mount")
            .arg("--bind")
            .args([directory, &self.place])
            .status();
        assert!(status.unwrap().success());
    }

    /// Takes it away at once, whoever is at work there.
    pub fn unmount(&self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.place)
            .stderr(Stdio::null())
            .status();
    }
}

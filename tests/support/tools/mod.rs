//! Stand-ins for the real tools, and what they were asked to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use run_record_archiver::artdaqdb::tools::Settings;
use run_record_archiver::error::{Disposition, Error};
use run_record_archiver::shutdown::Shutdown;

/// A directory with a `bulkloader` and a `bulkdownloader`.
pub struct StandIns {
    directory: PathBuf,
}

/// One start of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub tool: String,
    /// Its arguments, with spaces between them.
    pub arguments: String,
    pub library_path: String,
    pub fhicl_path: String,
}

impl StandIns {
    /// Makes them in a directory that does not exist yet.
    pub fn new(directory: PathBuf) -> StandIns {
        fs::create_dir(&directory).unwrap();
        let program = program();
        for tool in ["bulkloader", "bulkdownloader"] {
            let path = directory.join(tool);
            let script = format!(
                "#!/bin/sh\nexec '{}' '{}' {tool} \"$@\"\n",
                program.display(),
                directory.display()
            );
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        StandIns { directory }
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// How the archiver gets to them on this machine.
    pub fn settings(&self) -> Settings {
        Settings {
            tools_dir: Some(self.directory.clone()),
            remote_host: None,
            ssh_options: Vec::new(),
            limit: Duration::from_secs(60),
            shutdown: Shutdown::default(),
        }
    }

    /// From here on a tool misbehaves: `crash 2`, `lose 1 once`; `well` is well.
    pub fn set(&self, tool: &str, mode: &str) {
        fs::write(self.directory.join(format!("mode-{tool}")), mode).unwrap();
    }

    /// Every start so far.
    pub fn calls(&self) -> Vec<Call> {
        let calls = fs::read_to_string(self.directory.join("calls")).unwrap_or_default();
        calls
            .lines()
            .map(|line| {
                let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
                let [tool, arguments, library_path, fhicl_path] = fields.try_into().unwrap();
                Call {
                    tool,
                    arguments,
                    library_path,
                    fhicl_path,
                }
            })
            .collect()
    }

    /// A file that a tool has left.
    pub fn left(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(name)).ok()
    }

    /// Waits until none of the processes of a tool that hung is there any more.
    pub fn all_gone(&self) -> bool {
        let pids = self.left("pids").unwrap();
        let is_alive = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            // A dead one may wait for whoever adopted it.
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            !pids.lines().any(is_alive)
        })
    }
}

/// The example program behind them, built if need be: `cargo test --test x`
/// builds no examples.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let program = profile.join("examples/stand_in_tools");
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "stand_in_tools"]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(
            status.unwrap().success(),
            "the stand-in tools can't be built"
        );
    }
    program
}

/// That an error is of this kind and has these words.
#[track_caller]
pub fn assert_says(error: &Error, disposition: Disposition, words: &[&str]) {
    assert_eq!(error.disposition(), disposition, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

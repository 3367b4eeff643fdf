//! Files and directories of the archiver that any user of the machine can write
//! to: whoever can change the state, or have a link followed, decides what is
//! archived and what is overwritten. And files with secrets that every user can read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, HOME_VARIABLE};
use crate::faults::fs;

/// Write and read access for everybody.
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;

/// The variable that names the file with the environment, and where that lies else:
/// `run_archiver.sh` has read it.
const ENVIRONMENT_FILE: (&str, &str) = ("ARCHIVER_ENV_FILE", "archiver.env");

/// A warning for each such place, with the command that mends it. What does not
/// exist, or can't be looked at, is others' business.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let app = &config.app;
    let places = [
        ("the work directory", Some(&app.work_dir)),
        ("the configuration file", Some(&config.file)),
        ("the log file", app.log_file.as_ref()),
        ("the lock file", Some(&app.lock_file)),
        ("the state file", Some(&app.import_state_file)),
        ("the failure log", Some(&app.import_failure_log)),
        ("the state file", Some(&app.migrate_state_file)),
        ("the failure log", Some(&app.migrate_failure_log)),
    ];
    let environment = environment_file();
    places
        .into_iter()
        .chain([("the environment file", environment.as_ref())])
        .filter_map(|(what, path)| warning(what, path?))
        .chain(environment.as_ref().and_then(|path| {
            readable(
                path,
                "the environment file",
                "which is the place for passwords",
            )
        }))
        .chain(match &config.secrets_in_file[..] {
            [] => None,
            keys => {
                let what = format!("which holds {}", keys.join(", "));
                readable(&config.file, "the configuration file", &what)
            }
        })
        .collect()
}

/// The file whose variables `run_archiver.sh` gave to this process, if it started it.
fn environment_file() -> Option<PathBuf> {
    let (variable, name) = ENVIRONMENT_FILE;
    let home = PathBuf::from(std::env::var_os(HOME_VARIABLE)?);
    let named = std::env::var_os(variable).filter(|path| !path.is_empty());
    Some(named.map_or_else(|| home.join(name), PathBuf::from))
}

/// A warning of a file with secrets that every user can read.
fn readable(path: &Path, what: &str, why: &str) -> Option<String> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mode = found.permissions().mode();
    let shown = path.display();
    (mode & OTHERS_READ != 0).then(|| {
        format!(
            "every user can read {what} {shown} (mode {:04o}), {why}: chmod o-r {}",
            mode & 0o7777,
            quoted(&shown.to_string())
        )
    })
}

fn warning(what: &str, path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let mode = found.permissions().mode();
    let shown = path.display();
    // /dev/null is everybody's.
    let is_ours = found.is_file() || found.is_dir();
    (is_ours && mode & OTHERS_WRITE != 0).then(|| {
        format!(
            "every user can write to {what} {shown} (mode {:04o}): chmod o-w {}",
            mode & 0o7777,
            quoted(&shown.to_string())
        )
    })
}

/// The path as a shell takes it.
fn quoted(path: &str) -> String {
    // Only a NUL can't be quoted, and no path has one.
    shlex::try_quote(path).map_or_else(|_| path.to_owned(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_write_is_named_with_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a log");
        assert_eq!(warning("the log file", &path), None);
        fs::write(&path, "").unwrap();
        for (mode, is_warned) in [(0o640, false), (0o664, false), (0o666, true), (0o602, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let warning = warning("the log file", &path);
            assert_eq!(warning.is_some(), is_warned, "{mode:o}");
            let command = format!("chmod o-w '{}'", path.display());
            assert!(warning.is_none_or(|text| text.ends_with(&command)));
        }
    }
}

//! Files and directories of the archiver that any user of the machine can write
//! to: whoever can change the state, or have a link followed, decides what is
//! archived and what is overwritten.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Config;
use crate::faults::fs;

/// Write access for everybody.
const OTHERS_WRITE: u32 = 0o002;

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
    places
        .into_iter()
        .filter_map(|(what, path)| warning(what, path?))
        .collect()
}

fn warning(what: &str, path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let shown = path.display();
    (mode & OTHERS_WRITE != 0).then(|| {
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

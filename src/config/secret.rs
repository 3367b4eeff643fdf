//! Secrets in files of their own, such as those that systemd's
//! `LoadCredential=` hands to a service.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::faults::fs;
use crate::regular_file;

/// The environment variable in which systemd names the directory of a
/// service's credentials.
pub(super) const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// No password or token is longer, in bytes; a file that is was named by mistake.
const MAX_LENGTH: u64 = 16 * 1024;

/// Reads the secret in the file `name`, whose last line break is not part of
/// it, and warns of a file that everybody can read.
///
/// A relative name is looked for in `credentials` first, then in the current
/// directory.
pub(super) fn read(
    name: &str,
    credentials: Option<&Path>,
) -> Result<(SecretString, Option<String>), String> {
    let (path, elsewhere) = locate(name, credentials)?;
    let failed = |error: std::io::Error| {
        format!(
            "the secret in {} can't be read: {error}{elsewhere}",
            path.display()
        )
    };
    let file = regular_file::open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_LENGTH + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let unfit = |what: &str| format!("{} {what}", path.display());
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(unfit(
            "is too long for a secret: name the file that holds it alone",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| unfit("is not UTF-8 text"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(unfit("is empty: write the secret into it"));
    }
    let warning = (metadata.permissions().mode() & 0o004 != 0).then(|| {
        let path = path.display();
        format!("every user can read the secret in {path}: chmod 640 {path}, or 600")
    });
    Ok((SecretString::from(secret), warning))
}

/// The file that `name` means, and what to add to a message that it isn't there.
fn locate(name: &str, credentials: Option<&Path>) -> Result<(PathBuf, String), String> {
    let path = super::section::path(name)?;
    if Path::new(name).is_absolute() {
        return Ok((path, String::new()));
    }
    let Some(directory) = credentials else {
        let hint = format!(
            " (a relative name also means one in ${CREDENTIALS_VARIABLE}, which is not set)"
        );
        return Ok((path, hint));
    };
    let credential = directory.join(name);
    if fs::symlink_metadata(&credential).is_ok() {
        return Ok((credential, String::new()));
    }
    let hint = format!(", and {} does not exist either", credential.display());
    Ok((path, hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    /// The secret in a file with these bytes and rights, and the warning.
    fn of(bytes: &[u8], mode: u32) -> Result<(String, bool), String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (secret, warning) = read(path.to_str().unwrap(), None)?;
        Ok((secret.expose_secret().to_owned(), warning.is_some()))
    }

    #[test]
    fn the_last_line_break_is_not_part_of_it() {
        for (bytes, secret) in [
            (&b"swordfish"[..], "swordfish"),
            (b"swordfish\n", "swordfish"),
            (b"swordfish\r\n", "swordfish"),
            (b" sword fish \n\n", " sword fish \n"),
        ] {
            assert_eq!(of(bytes, 0o640), Ok((secret.to_owned(), false)));
        }
    }

    #[test]
    fn what_everybody_can_read_is_a_warning() {
        for (mode, warns) in [(0o600, false), (0o640, false), (0o604, true), (0o644, true)] {
            assert_eq!(of(b"x", mode), Ok(("x".to_owned(), warns)), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let long = [b'x'; MAX_LENGTH as usize + 1];
        for (bytes, part) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"pass\xff", "is not UTF-8"),
            (&long, "too long"),
        ] {
            let problem = of(bytes, 0o600).unwrap_err();
            assert!(problem.contains(part), "{problem}");
            assert!(!problem.contains("pass"), "{problem}");
        }
    }

    #[test]
    fn a_relative_name_is_a_credential_first() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("password"), "c\n").unwrap();
        let (secret, _) = read("password", Some(directory.path())).unwrap();
        assert_eq!(secret.expose_secret(), "c");
        let problem = read("none", Some(directory.path())).unwrap_err();
        let both = ["/none can't be read", "does not exist either"];
        assert!(both.iter().all(|part| problem.contains(part)), "{problem}");
        let problem = read("none", None).unwrap_err();
        assert!(problem.contains("CREDENTIALS_DIRECTORY"), "{problem}");
    }
}

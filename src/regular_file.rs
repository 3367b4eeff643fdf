//! Reading regular files, and nothing else: to open a FIFO waits for its other end, for
//! ever if there is none, and a device has no end to read to.

use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::faults::fs::{self, File, FileType, OpenOptions};

/// Opens a file for reading.
///
/// # Errors
/// It can't be opened, or is no regular file.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    open_with(options.read(true), path.as_ref())
}

/// Opens a file with these options, without waiting for anything.
///
/// # Errors
/// As for [`open`].
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .or_else(|error| match Errno::from_io_error(&error) {
            // A socket; a FIFO, for writing.
            Some(Errno::NXIO) => match fs::metadata(path) {
                Ok(found) => Err(check(found.file_type()).err().unwrap_or(error)),
                Err(_) => Err(error),
            },
            // A file that was handed out to a client of an NFS server here, and must
            // be waited for.
            Some(Errno::AGAIN) if fs::metadata(path).is_ok_and(|found| found.is_file()) => {
                options.custom_flags(0).open(path)
            }
            _ => Err(error),
        })?;
    check(opened.metadata()?.file_type())?;
    Ok(opened)
}

/// Reads a file.
///
/// # Errors
/// As for [`open`]; it can't be read.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file that is UTF-8 text.
///
/// # Errors
/// As for [`read`]; it is something else.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Checks what a file is.
///
/// # Errors
/// It is no regular file; the text says what it is and what to do.
pub fn check(kind: FileType) -> io::Result<()> {
    let kind = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::other(format!(
        "it is {kind}, not a regular file: name another file, or remove it"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        assert_eq!(read(at("file")).unwrap(), b"text");
        assert_eq!(read_to_string(at("link")).unwrap(), "text");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink("fifo", at("link to a FIFO")).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        for (path, what) in [
            (at("fifo"), "it is a FIFO"),
            (at("link to a FIFO"), "it is a FIFO"),
            (at("socket"), "it is a socket"),
            (Path::new("/dev/null").to_path_buf(), "it is a device"),
            (at(""), "Is a directory"),
        ] {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.starts_with(what), "{error}");
            let mut writing = OpenOptions::new();
            let error = open_with(writing.write(true), &path).unwrap_err();
            assert!(error.to_string().starts_with(what), "{error}");
        }
        let missing = read(at("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}

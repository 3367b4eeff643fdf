//! A log file that is appended to and rotates by size and by age.
//!
//! `archiver.log` becomes `archiver.log.1`, that one `.2`, and so on up to the
//! number of backups; the oldest is dropped. A backup that an operator has
//! compressed (`archiver.log.3.gz`) moves along. Every record is one write to
//! a file opened for appending, so that two processes never tear a line, and
//! the file is looked up anew for each, so that one which was moved away,
//! deleted or rotated by another process is no longer written to.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::faults;
use crate::faults::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use crate::regular_file;

/// How long a log file that could not be opened is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// When a log file rotates, and how many old ones are kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size in bytes that a file does not exceed.
    pub max_bytes: u64,
    /// The age of a file's first record.
    pub max_age: Duration,
    /// How many old files are kept.
    pub backups: u32,
}

impl Default for Limits {
    /// 500 MB, 30 days, five backups: the operations manual's.
    fn default() -> Limits {
        Limits {
            max_bytes: 500 * 1024 * 1024,
            max_age: Duration::from_secs(30 * 24 * 3600),
            backups: 5,
        }
    }
}

/// The log file. It is opened with the first record.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    limits: Limits,
    open: Option<Open>,
    trouble: Option<Trouble>,
    rotation_complained: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Where the file really is, symbolic links followed: it rotates there.
    path: PathBuf,
    /// When its first record was written.
    started: Timestamp,
    /// Its size when it was last looked at.
    size: u64,
    /// Its last line has no end: a record was cut short.
    torn: bool,
}

/// Since when nothing can be written.
#[derive(Debug)]
struct Trouble {
    tried: Instant,
    lost: u64,
}

impl RotatingFile {
    /// A log file at `path`; nothing is opened yet.
    #[must_use]
    pub fn new(path: PathBuf, limits: Limits) -> RotatingFile {
        RotatingFile {
            path,
            limits,
            open: None,
            trouble: None,
            rotation_complained: false,
        }
    }

    /// Appends a line that was made at `now`. What can't be written is lost;
    /// the first time this returns a complaint for stderr, and when writing
    /// works again the file says how many records it lacks.
    pub fn append(&mut self, line: &str, now: &ZonedDateTime) -> Option<String> {
        if let Some(trouble) = &mut self.trouble
            && self.open.is_none()
            && trouble.tried.elapsed() < RETRY_AFTER
        {
            trouble.lost += 1;
            return None;
        }
        let gap = self.trouble.as_ref().map(|trouble| {
            format!(
                "{} - {} - WARNING - {} record(s) are missing here: the file could not be written\n",
                now.strftime("%Y-%m-%d %H:%M:%S,%3f"),
                super::OURS,
                trouble.lost
            )
        });
        let line = gap.unwrap_or_default() + line;
        match self.write(&line, now) {
            Ok(complaint) => {
                self.trouble = None;
                complaint
            }
            Err(error) => {
                let lost = self.trouble.as_ref().map_or(0, |trouble| trouble.lost) + 1;
                let first = lost == 1;
                self.trouble = Some(Trouble {
                    tried: Instant::now(),
                    lost,
                });
                first.then(|| {
                    format!(
                        "cannot write the log file {}: {error}; the work goes on, and the file \
                         is tried again",
                        self.path.display()
                    )
                })
            }
        }
    }

    fn write(&mut self, line: &str, now: &ZonedDateTime) -> io::Result<Option<String>> {
        let mut complaint = None;
        let mut open = self.current(now)?;
        let full = open.size > 0 && open.size + line.len() as u64 > self.limits.max_bytes;
        let age = now.timestamp().duration_since(open.started);
        let old =
            open.size > 0 && Duration::try_from(age).is_ok_and(|age| age >= self.limits.max_age);
        if full || old {
            match open.rotate(self.limits.backups) {
                Ok(()) => {
                    self.rotation_complained = false;
                    open = self.current(now)?;
                }
                // Too long a log is better than none.
                Err(error) => {
                    if !self.rotation_complained {
                        complaint = Some(format!(
                            "cannot rotate the log file {}: {error}; it grows beyond its limit",
                            open.path.display()
                        ));
                    }
                    self.rotation_complained = true;
                }
            }
        }
        let written = open.append(line);
        self.open = Some(open);
        written.map(|()| complaint)
    }

    /// The file that is at the path now, opened if it is not the one we have.
    fn current(&mut self, now: &ZonedDateTime) -> io::Result<Open> {
        if let Some(mut open) = self.open.take()
            && let Ok(found) = fs::metadata(&self.path)
            && open.is(&found)
        {
            // Smaller than it was: emptied in place.
            if found.len() < open.size {
                open.started = first_record(&open.file, &found, now)?;
            }
            open.size = found.len();
            return Ok(open);
        }
        Open::new(&self.path, now)
    }
}

impl Open {
    fn new(path: &Path, now: &ZonedDateTime) -> io::Result<Open> {
        let path = follow_links(path)?;
        if let Some(directory) = path.parent()
            && !directory.as_os_str().is_empty()
            && !faults::exists(directory)
        {
            DirBuilder::new().mode(0o750).create(directory)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&path)?;
        let found = file.metadata()?;
        // What nobody reads from would be waited for once it is full.
        if !found.file_type().is_char_device() {
            regular_file::check(found.file_type())?;
        }
        let mut last = [b'\n'];
        // Devices and pipes have no end to look at.
        if found.is_file() && found.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Open {
            started: first_record(&file, &found, now)?,
            size: found.len(),
            torn: last != [b'\n'],
            file,
            path,
        })
    }

    fn is(&self, other: &Metadata) -> bool {
        self.file
            .metadata()
            .is_ok_and(|ours| (ours.dev(), ours.ino()) == (other.dev(), other.ino()))
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        let text = if self.torn {
            format!("\n{line}")
        } else {
            line.to_owned()
        };
        let mut rest = text.as_bytes();
        // One write in all but the rarest cases (a disk that fills up).
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the file and its backups one place on. Another process that
    /// writes the same log may have the same idea: the one that gets the lock
    /// does it, if the file is still in its place.
    fn rotate(&self, backups: u32) -> io::Result<()> {
        match self.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let in_place = fs::metadata(&self.path).is_ok_and(|found| self.is(&found));
        let moved = if in_place {
            shift(&self.path, backups)
        } else {
            Ok(())
        };
        self.file.unlock()?;
        moved
    }
}

/// Renames a log to its first backup, after every backup to the next.
fn shift(path: &Path, backups: u32) -> io::Result<()> {
    for number in (1..=backups).rev() {
        for suffix in ["", ".gz"] {
            let from = backup(path, number, suffix);
            if let Ok(found) = fs::symlink_metadata(&from)
                && !found.is_symlink()
            {
                regular_file::check(found.file_type())?;
            }
            let moved = if number == backups {
                fs::remove_file(&from)
            } else {
                fs::rename(&from, backup(path, number + 1, suffix))
            };
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    if backups == 0 {
        fs::remove_file(path)
    } else {
        fs::rename(path, backup(path, 1, ""))
    }
}

/// `archiver.log.3`, or `archiver.log.3.gz`.
fn backup(path: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{suffix}"));
    PathBuf::from(name)
}

/// The file behind symbolic links, also where it does not exist yet: an
/// operator who moved the log to a larger disk wants its backups there too.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..32 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// When the file's first record was written: by its own time stamp, which
/// survives copies and restarts; else when the file was made or changed.
fn first_record(file: &File, found: &Metadata, now: &ZonedDateTime) -> io::Result<Timestamp> {
    if !found.is_file() || found.len() == 0 {
        return Ok(now.timestamp());
    }
    let mut start = [0; 23];
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let stamp = file.read_exact(&mut start).ok().and_then(|()| {
        let text = std::str::from_utf8(&start).ok()?;
        let local = DateTime::strptime("%Y-%m-%d %H:%M:%S,%f", text).ok()?;
        local.to_zoned_datetime(TimeZone::system()).ok()
    });
    if let Some(stamp) = stamp {
        return Ok(stamp.timestamp());
    }
    let made = found.created().or_else(|_| found.modified())?;
    Timestamp::try_from(made).map_err(io::Error::other)
}

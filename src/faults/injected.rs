//! `std::fs` with a question before each operation.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

pub use std::fs::*;

use super::Operation;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Eio,
    Enospc,
    Short,
    Wrong,
    Kill,
    StickyEnospc,
    /// Part of an [`Outage`].
    Outage(Errno),
}

impl Kind {
    fn parse(name: &str) -> Option<Kind> {
        Some(match name {
            "eio" => Kind::Eio,
            "enospc" => Kind::Enospc,
            "short" => Kind::Short,
            "wrong" => Kind::Wrong,
            "kill" => Kind::Kill,
            "sticky-enospc" => Kind::StickyEnospc,
            _ => return None,
        })
    }

    /// Whether it can happen to this operation, and make a difference there.
    fn concerns(self, operation: Operation, path: &Path) -> bool {
        use Operation::{Create, Link, MakeDirectory, Read, Remove, Rename, Sync, Write};
        match self {
            Kind::Eio | Kind::Outage(_) => true,
            Kind::Short => operation == Write,
            Kind::Enospc => matches!(
                operation,
                Create | Write | Sync | Rename | Link | MakeDirectory
            ),
            Kind::StickyEnospc => matches!(operation, Create | Write | Sync | MakeDirectory),
            // What a kill leaves changes only with these.
            Kind::Kill => matches!(
                operation,
                Create | Write | Rename | Link | MakeDirectory | Remove
            ),
            // The files of a run record, the configuration, and lists of runs, in
            // which an operator may write remarks, have nothing by which a changed
            // byte could be told.
            Kind::Wrong => {
                let extension = path.extension().and_then(|extension| extension.to_str());
                operation == Read && matches!(extension, Some("json" | "blob"))
            }
        }
    }
}

/// A file system that fails for the process: every operation below a path, from
/// one of them on.
struct Outage {
    error: Errno,
    /// Whether only what changes the file system fails.
    is_of_writes: bool,
    /// How many operations succeed before it begins.
    before: u64,
    seen: AtomicU64,
    path: PathBuf,
}

impl Outage {
    fn parse(text: &str) -> Option<Outage> {
        let mut parts = text.splitn(3, ':');
        let (error, is_of_writes) = match parts.next()? {
            "read-only" => (Errno::ROFS, true),
            "no-rights" => (Errno::ACCESS, true),
            "dead" => (Errno::NOTCONN, false),
            "stale" => (Errno::STALE, false),
            _ => return None,
        };
        Some(Outage {
            error,
            is_of_writes,
            before: parts.next()?.parse().ok()?,
            seen: AtomicU64::new(0),
            path: PathBuf::from(parts.next()?),
        })
    }

    fn strikes(&self, operation: Operation, path: &Path) -> bool {
        use Operation::{Create, Link, MakeDirectory, Remove, Rename, Write};
        let changes = match operation {
            Create | Link | Remove | Rename | Write => true,
            // One that exists is found before anything is changed.
            MakeDirectory => !path.is_dir(),
            _ => false,
        };
        path.starts_with(&self.path)
            && (changes || !self.is_of_writes)
            && self.seen.fetch_add(1, Ordering::SeqCst) >= self.before
    }
}

/// What the environment asks for, and how far it has come.
struct Plan {
    fault: Option<(u64, Kind)>,
    outages: Vec<Outage>,
    seen: AtomicU64,
    list: Option<std::fs::File>,
}

impl Plan {
    fn from_environment() -> Result<Plan, String> {
        let fault = match std::env::var("RUN_RECORD_ARCHIVER_FAULT") {
            Err(_) => None,
            Ok(text) => {
                let fault = text.split_once(':').and_then(|(number, kind)| {
                    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
                    Some((number, Kind::parse(kind)?))
                });
                Some(fault.ok_or(format!("RUN_RECORD_ARCHIVER_FAULT={text} is not N:KIND"))?)
            }
        };
        let outages = std::env::var("RUN_RECORD_ARCHIVER_OUTAGES").unwrap_or_default();
        let outages = outages.split(';').filter(|text| !text.is_empty());
        let outages = outages.map(|text| {
            let outage = Outage::parse(text);
            outage.ok_or(format!("{text} is not KIND:N:PATH"))
        });
        let outages = outages.collect::<Result<Vec<_>, _>>()?;
        let list = match std::env::var_os("RUN_RECORD_ARCHIVER_OPERATIONS") {
            None => None,
            Some(path) => Some(
                std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .map_err(|error| format!("{}: {error}", Path::new(&path).display()))?,
            ),
        };
        Ok(Plan {
            fault,
            outages,
            seen: AtomicU64::new(0),
            list,
        })
    }

    fn get() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        PLAN.get_or_init(|| {
            Plan::from_environment().unwrap_or_else(|problem| {
                eprintln!("{problem}");
                std::process::exit(64)
            })
        })
    }

    fn note(&self, line: fmt::Arguments<'_>) {
        if let Some(mut list) = self.list.as_ref() {
            let mut text = String::new();
            // Writing to a String can't fail; a list cut short is seen by who reads it.
            let _ = writeln!(text, "{line}");
            let _ = list.write_all(text.as_bytes());
        }
    }

    /// What is to go wrong with this operation.
    fn strike(&self, operation: Operation, path: &Path) -> Option<Kind> {
        self.note(format_args!("{operation:?} {}", path.display()));
        for outage in &self.outages {
            if outage.strikes(operation, path) {
                return Some(Kind::Outage(outage.error));
            }
        }
        let (number, kind) = self.fault?;
        if !kind.concerns(operation, path) {
            return None;
        }
        let seen = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let is_due = seen == number || (kind == Kind::StickyEnospc && seen > number);
        is_due.then(|| {
            self.note(format_args!("! {kind:?} {operation:?} {}", path.display()));
            kind
        })
    }
}

fn strike(operation: Operation, path: &Path) -> Option<Kind> {
    Plan::get().strike(operation, path)
}

/// Ends the process as `kill -9` does.
fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// Whether an operation that goes right or wrong as a whole may go on.
pub(super) fn ask(operation: Operation, path: &Path) -> io::Result<()> {
    match strike(operation, path) {
        None | Some(Kind::Wrong) => Ok(()),
        Some(Kind::Outage(error)) => Err(error.into()),
        Some(Kind::Eio) => Err(Errno::IO.into()),
        Some(Kind::Enospc | Kind::StickyEnospc | Kind::Short) => Err(Errno::NOSPC.into()),
        Some(Kind::Kill) => die(),
    }
}

/// Changes a byte so that what was text is none.
fn spoil(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x80;
    }
}

/// `std::fs::read`.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `std::fs::read_to_string`.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// `std::fs::metadata`.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    ask(Operation::Stat, path.as_ref())?;
    std::fs::metadata(path)
}

/// `std::fs::symlink_metadata`.
pub fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    ask(Operation::Stat, path.as_ref())?;
    std::fs::symlink_metadata(path)
}

/// `std::fs::exists`.
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    ask(Operation::Stat, path.as_ref())?;
    std::fs::exists(path)
}

/// `std::fs::read_link`.
pub fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    ask(Operation::Stat, path.as_ref())?;
    std::fs::read_link(path)
}

/// `std::fs::rename`.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    ask(Operation::Rename, to.as_ref())?;
    std::fs::rename(from, to)
}

/// `std::fs::hard_link`.
pub fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    ask(Operation::Link, link.as_ref())?;
    std::fs::hard_link(original, link)
}

/// `std::fs::remove_file`.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    ask(Operation::Remove, path.as_ref())?;
    std::fs::remove_file(path)
}

/// `std::fs::remove_dir`.
pub fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    ask(Operation::Remove, path.as_ref())?;
    std::fs::remove_dir(path)
}

/// `std::fs::copy`, as one write.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    ask(Operation::Read, from.as_ref())?;
    ask(Operation::Write, to.as_ref())?;
    std::fs::copy(from, to)
}

/// `std::fs::write`.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.open(path)?.write_all(contents.as_ref())
}

/// `std::fs::create_dir_all`, as one operation.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    ask(Operation::MakeDirectory, path.as_ref())?;
    std::fs::create_dir_all(path)
}

/// `std::fs::read_dir`.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    ask(Operation::Open, path.as_ref())?;
    Ok(ReadDir {
        path: path.as_ref().to_path_buf(),
        entries: std::fs::read_dir(path)?,
    })
}

/// `std::fs::ReadDir`.
#[derive(Debug)]
pub struct ReadDir {
    path: PathBuf,
    entries: std::fs::ReadDir,
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        match ask(Operation::List, &self.path) {
            Ok(()) => self.entries.next(),
            Err(error) => Some(Err(error)),
        }
    }
}

/// `std::fs::DirBuilder`.
#[derive(Debug)]
pub struct DirBuilder(std::fs::DirBuilder);

impl DirBuilder {
    #[expect(clippy::new_without_default, reason = "std's has none")]
    /// `std::fs::DirBuilder::new`.
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder(std::fs::DirBuilder::new())
    }

    /// `std::fs::DirBuilder::create`.
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        ask(Operation::MakeDirectory, path.as_ref())?;
        self.0.create(path)
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.0.mode(mode);
        self
    }
}

/// `std::fs::OpenOptions`.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    options: std::fs::OpenOptions,
    creates: bool,
}

macro_rules! option {
    ($($name:ident)+) => {
        $(
            #[doc = concat!("`std::fs::OpenOptions::", stringify!($name), "`.")]
            pub fn $name(&mut self, yes: bool) -> &mut OpenOptions {
                self.options.$name(yes);
                self
            }
        )+
    };
}

impl OpenOptions {
    #[expect(clippy::new_without_default, reason = "std's has none")]
    /// `std::fs::OpenOptions::new`.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions {
            options: std::fs::OpenOptions::new(),
            creates: false,
        }
    }

    option!(read write append truncate);

    /// `std::fs::OpenOptions::create`.
    pub fn create(&mut self, yes: bool) -> &mut OpenOptions {
        self.options.create(yes);
        self.creates |= yes;
        self
    }

    /// `std::fs::OpenOptions::create_new`.
    pub fn create_new(&mut self, yes: bool) -> &mut OpenOptions {
        self.options.create_new(yes);
        self.creates |= yes;
        self
    }

    /// `std::fs::OpenOptions::open`.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let operation = match self.creates {
            true => Operation::Create,
            false => Operation::Open,
        };
        ask(operation, path.as_ref())?;
        Ok(File {
            path: path.as_ref().to_path_buf(),
            file: self.options.open(path)?,
            is_full: AtomicBool::new(false),
        })
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.options.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.options.custom_flags(flags);
        self
    }
}

/// `std::fs::File`, which it is wherever no operation needs to be asked about.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    file: std::fs::File,
    /// Set by a write that took half.
    is_full: AtomicBool,
}

impl File {
    /// `std::fs::File::open`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// `std::fs::File::metadata`.
    pub fn metadata(&self) -> io::Result<Metadata> {
        ask(Operation::Stat, &self.path)?;
        self.file.metadata()
    }

    /// `std::fs::File::sync_all`.
    pub fn sync_all(&self) -> io::Result<()> {
        ask(Operation::Sync, &self.path)?;
        self.file.sync_all()
    }

    /// `std::fs::File::set_len`.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        ask(Operation::Write, &self.path)?;
        self.file.set_len(size)
    }

    /// `std::fs::File::set_permissions`.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        ask(Operation::Write, &self.path)?;
        self.file.set_permissions(permissions)
    }

    /// `std::fs::File::try_clone`.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File {
            path: self.path.clone(),
            file: self.file.try_clone()?,
            is_full: AtomicBool::new(false),
        })
    }

    /// `std::fs::File::lock`.
    pub fn lock(&self) -> io::Result<()> {
        ask(Operation::Lock, &self.path)?;
        self.file.lock()
    }

    /// `std::fs::File::try_lock_shared`.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        ask(Operation::Lock, &self.path).map_err(TryLockError::Error)?;
        self.file.try_lock_shared()
    }

    /// `std::fs::File::try_lock`.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        ask(Operation::Lock, &self.path).map_err(TryLockError::Error)?;
        self.file.try_lock()
    }
}

impl Deref for File {
    type Target = std::fs::File;

    fn deref(&self) -> &std::fs::File {
        &self.file
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        Stdio::from(file.file)
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_wrong = match strike(Operation::Read, &self.path) {
            None => false,
            Some(Kind::Wrong) => true,
            Some(Kind::Kill) => die(),
            Some(Kind::Outage(error)) => return Err(error.into()),
            Some(_) => return Err(Errno::IO.into()),
        };
        let count = (&self.file).read(buffer)?;
        if is_wrong {
            spoil(&mut buffer[..count]);
        }
        Ok(count)
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Errno::NOSPC.into());
        }
        match strike(Operation::Write, &self.path) {
            None | Some(Kind::Wrong) => (&self.file).write(bytes),
            Some(Kind::Short) => {
                self.is_full.store(true, Ordering::SeqCst);
                match bytes.len() / 2 {
                    0 => Err(Errno::NOSPC.into()),
                    half => (&self.file).write(&bytes[..half]),
                }
            }
            Some(Kind::Kill) => {
                let _ = (&self.file).write(&bytes[..bytes.len() / 2]);
                die()
            }
            Some(Kind::Outage(error)) => Err(error.into()),
            Some(Kind::Eio) => Err(Errno::IO.into()),
            Some(Kind::Enospc | Kind::StickyEnospc) => Err(Errno::NOSPC.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        (&self.file).seek(position)
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        (&self.file).seek(position)
    }
}

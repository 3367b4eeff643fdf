//! The tools on another host, through ssh.
//!
//! One connection does one thing. The remote command is a constant that has sh
//! run `remote.sh`, which comes through standard input together with its
//! parameters: so it does not matter which login shell is there, nothing needs
//! quoting, and no password is seen in a list of processes. Files go and come as
//! tar archives, without touching a disk on this side on their way out.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use super::process::{self, Ended, Exit};
use super::view::{Indexes, View};
use super::{Job, Place, Tool, Turn, files, last_words, unreachable};
use crate::artdaqdb::filesystem::FilesystemDb;
use crate::artdaqdb::filesystem::lock::{DOCUMENTS_FILE, INDEX_FILE};
use crate::error::{Error, Remedy, Result};
use crate::faults::fs;
use crate::run::{FclFile, Run};
use crate::sys::patience::{Over, Patience};

/// What runs on the other side.
const SCRIPT: &str = include_str!("remote.sh");

/// The line before the answer. What a login script says comes before it.
const ANSWER: &[u8] = b"run_record_archiver answers\n";

/// The lines before it while the other side waits for a lock of the archive, and
/// once it has the lock.
const WAITS: &[u8] = b"run_record_archiver waits\n";
const GOES_ON: &[u8] = b"run_record_archiver goes on\n";

/// How much a login script may say.
const CHATTER: u64 = 1024 * 1024;

/// What a connection may take besides the tool's own time and the wait for its turn.
const OVERHEAD: Duration = Duration::from_secs(60);

/// Variables that are passed on, and that the remote host has itself if they
/// are not set here.
const PASSED: [&str; 2] = ["LD_LIBRARY_PATH", "FHICL_FILE_PATH"];

/// The tools on a host.
pub(super) struct Remote {
    pub host: String,
    /// Arguments for ssh.
    pub options: Vec<String>,
    pub uri: SecretString,
    /// The directory of a FilesystemDB on the host.
    pub archive: Option<PathBuf>,
    pub tools_dir: Option<PathBuf>,
    pub limit: Duration,
    /// Ends the wait for a lock there once the execution is to end.
    pub patience: Patience,
}

/// Since when the other side has been waiting for a lock, if it is.
#[derive(Default)]
struct Waiting(Mutex<Option<Instant>>);

impl Waiting {
    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a line of the other side.
    fn hear(&self, line: &[u8]) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if line == WAITS {
            since.get_or_insert_with(Instant::now);
        } else if line == GOES_ON {
            *since = None;
        }
    }
}

impl Remote {
    /// Has one action done. The answer goes into the directory `into`.
    fn call(
        &self,
        action: &str,
        job: Option<&Job>,
        send: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
        into: &Path,
    ) -> Result<Ended> {
        let parameters = self.parameters(action, job)?;
        let limit = self.limit * 2 + OVERHEAD;
        let waiting = Waiting::default();
        let gives_up = || {
            let over = waiting.since().and_then(|begun| self.patience.over(begun));
            matches!(over, Some(Over::Shutdown { .. }))
        };
        let answered = process::run_piped(
            self.ssh(),
            limit,
            |stdin| {
                // A connection that breaks off shows at the other end, too, and better.
                let mut stdin = BufWriter::new(stdin);
                let _ = stdin
                    .write_all(SCRIPT.as_bytes())
                    .and_then(|()| stdin.write_all(parameters.as_bytes()))
                    .and_then(|()| send(&mut stdin))
                    .and_then(|()| stdin.flush());
            },
            |stdout| unpack(BufReader::new(stdout), into, &waiting),
            &gives_up,
        )
        .map_err(|error| {
            self.error(match error.kind() {
                io::ErrorKind::NotFound => {
                    "ssh is not in PATH; install it (Debian: openssh-client)".into()
                }
                _ => format!("ssh can't be started: {error}"),
            })
        })?;
        let Some((ended, answer)) = answered else {
            self.patience.shutdown().check()?;
            return Err(self.error("the wait for the archive's lock was given up".into()));
        };
        let words = last_words(&ended.said);
        match ended.exit {
            Exit::Code(0) => {}
            Exit::Code(255) => {
                let error = self.error(format!("no connection: {words}."));
                return Err(error.with_remedy(ssh_remedy(&ended.said)));
            }
            Exit::Code(code) => {
                let remedy = script_remedy(code);
                // The script's own codes say no more than the words.
                let shown = if remedy.is_some() { 1 } else { code };
                let error = self.error(format!("the remote side failed ({shown}): {words}"));
                return Err(match remedy {
                    Some(remedy) => error.with_remedy(remedy),
                    None => error,
                });
            }
            Exit::Signal(signal) => {
                return Err(self.error(format!("ssh was ended by signal {signal}: {words}")));
            }
            Exit::TimedOut => {
                return Err(self.error(format!(
                    "no answer for {} s; ssh was ended: {words}. Check the host and the network",
                    limit.as_secs()
                )));
            }
        }
        answer
            .map_err(|error| self.error(format!("its answer can't be read: {error}: {words}")))?;
        Ok(ended)
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        // The first value of an option counts: ours, then the configuration's,
        // then our defaults, and only then those of ssh's own files.
        command
            .args(["-T", "-o", "BatchMode=yes"])
            .args(&self.options)
            .args(["-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15"])
            .args(["-o", "ForwardAgent=no", "-o", "ClearAllForwardings=yes"])
            .arg("--")
            .arg(&self.host)
            .arg(format!("exec sh -c 'eval \"$(head -c {})\"'", SCRIPT.len()));
        command
    }

    /// The lines that `remote.sh` reads first.
    fn parameters(&self, action: &str, job: Option<&Job>) -> Result<String> {
        let path = |path: &Option<PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => String::new(),
        };
        let [libraries, fhicl] = PASSED.map(|name| std::env::var(name).unwrap_or_default());
        let lines = [
            ("the action", action.to_owned()),
            ("the database's URI", self.uri.expose_secret().to_owned()),
            ("the database's URI", path(&self.archive)),
            ("the lock of the index", INDEX_FILE.to_owned()),
            ("the lock of the documents", DOCUMENTS_FILE.to_owned()),
            ("the limit", self.limit.as_secs_f64().ceil().to_string()),
            ("the directory of the tools", path(&self.tools_dir)),
            (PASSED[0], libraries),
            (PASSED[1], fhicl),
            (
                "the run",
                job.map_or_else(String::new, |job| job.run.to_string()),
            ),
            (
                "the configuration's name",
                job.map_or("", |job| job.name).to_owned(),
            ),
            // Half the cores of the host, unless it is a FilesystemDB.
            (
                "the threads",
                self.archive.as_ref().map_or("", |_| "1").to_owned(),
            ),
        ];
        let mut text = String::new();
        for (name, line) in lines {
            if line.contains(['\n', '\0']) {
                return Err(self.error(format!("{name} has a line break in it; remove it")));
            }
            text.push_str(&line);
            text.push('\n');
        }
        Ok(text)
    }

    /// Reads the status of the tool, which stands in the answer.
    fn status(&self, answer: &Path, said: String) -> Result<Ended> {
        let path = answer.join("status");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let exit = match text.trim().parse() {
            // As timeout and sh tell them.
            Ok(124) => Exit::TimedOut,
            Ok(code @ 129..) => Exit::Signal(code - 128),
            Ok(code) => Exit::Code(code),
            Err(_) => return Err(self.error("its answer has no exit code of the tool".into())),
        };
        Ok(Ended { exit, said })
    }

    fn error(&self, problem: String) -> Error {
        unreachable(&format!("ssh to {}", self.host), problem)
    }

    fn copy(&self, directory: tempfile::TempDir) -> View {
        let original = self.archive.clone().unwrap_or_default();
        View::copy(directory, format!("{}:{}", self.host, original.display()))
    }
}

impl Place for Remote {
    fn turn(&self, _: bool) -> Result<Turn> {
        // Each action takes it over there.
        Ok(Turn::default())
    }

    fn look(&self) -> Result<View> {
        let directory = files::temporary_directory()?;
        self.call("look", None, |_| Ok(()), directory.path())?;
        Ok(self.copy(directory))
    }

    fn load(&self, job: &Job, files: &[&FclFile], _: &Turn) -> Result<(Ended, Option<View>)> {
        let directory = files::temporary_directory()?;
        let texts = files
            .iter()
            .map(|file| (format!("{}.fcl", file.entity), file.text.as_bytes()));
        let send = |output: &mut dyn Write| pack(texts, output);
        let ended = self.call("load", Some(job), send, directory.path())?;
        let ended = self.status(directory.path(), ended.said)?;
        let view = self.archive.as_ref().map(|_| self.copy(directory));
        Ok((ended, view))
    }

    fn help(&self, tool: Tool) -> Result<Ended> {
        let directory = files::temporary_directory()?;
        // The tool stands where the name of a configuration does else.
        let job = Job {
            run: Run(0),
            name: tool.name(),
        };
        let ended = self.call("help", Some(&job), |_| Ok(()), directory.path())?;
        self.status(directory.path(), ended.said)
    }

    fn download(&self, job: &Job, into: &Path, _: &Turn) -> Result<Ended> {
        let ended = self.call("download", Some(job), |_| Ok(()), into)?;
        self.status(into, ended.said)
    }

    fn fetch_documents(&self, view: &View, job: &Job) -> Result<()> {
        let Some(root) = view.root() else {
            return Ok(());
        };
        let mut names = String::new();
        for path in FilesystemDb::at(root).document_paths(job.run)? {
            if let Ok(name) = path.strip_prefix(root) {
                names.push_str(&format!("{}\n", name.display()));
            }
        }
        let send = |output: &mut dyn Write| output.write_all(names.as_bytes());
        self.call("documents", Some(job), send, root)?;
        Ok(())
    }

    fn restore(&self, indexes: &Indexes) -> Result<()> {
        let directory = files::temporary_directory()?;
        let send = |output: &mut dyn Write| pack(indexes.files(), output);
        self.call("restore", None, send, directory.path())?;
        Ok(())
    }
}

/// Writes a tar archive.
fn pack<'a>(
    files: impl Iterator<Item = (String, &'a [u8])>,
    output: &mut dyn Write,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(output);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, name, bytes)?;
    }
    archive.finish()
}

/// Reads the answer, up to the end of the connection.
fn unpack(mut input: impl BufRead, into: &Path, waiting: &Waiting) -> io::Result<()> {
    let result = skip_chatter(&mut input, waiting).and_then(|()| unpack_archive(&mut input, into));
    // The other side must never wait for us to read.
    io::copy(&mut input, &mut io::sink())?;
    result
}

fn skip_chatter(input: &mut impl BufRead, waiting: &Waiting) -> io::Result<()> {
    let mut input = input.take(CHATTER);
    let mut line = Vec::new();
    while line != ANSWER {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        waiting.hear(&line);
    }
    Ok(())
}

fn unpack_archive(input: &mut impl Read, into: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(input);
    archive.set_preserve_mtime(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        // Neither links nor paths that lead out of the directory.
        if !(kind.is_file() || kind.is_dir()) || !entry.unpack_in(into)? {
            let name = entry.path()?.display().to_string();
            return Err(io::Error::other(format!("{name:?} was not asked for")));
        }
    }
    Ok(())
}

/// What to do about a failure of the script, by its exit code.
fn script_remedy(code: i32) -> Option<Remedy> {
    match code {
        11 => Some(Remedy::CorrectToolsDirThere),
        12 => Some(Remedy::SetToolsDirThere),
        13 => Some(Remedy::RebuildIndexThere),
        _ => None,
    }
}

/// What to do about ssh's own failure.
fn ssh_remedy(said: &str) -> Remedy {
    if said.contains("Host key verification failed") {
        Remedy::KnowHostKey
    } else if said.contains("Permission denied") {
        Remedy::AllowLogin
    } else if said.contains("Bad configuration option") || said.contains("command-line") {
        Remedy::CorrectSshOptions
    } else {
        Remedy::CheckRemoteHost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_behind_what_a_login_script_says() {
        let mut answer = b"Welcome!\nno line end\n".to_vec();
        answer.extend(ANSWER);
        let files = [("RunHistory/index.json".to_owned(), b"{}".as_slice())];
        pack(files.into_iter(), &mut answer).unwrap();
        let directory = tempfile::tempdir().unwrap();
        unpack(answer.as_slice(), directory.path(), &Waiting::default()).unwrap();
        let index = directory.path().join("RunHistory/index.json");
        assert_eq!(fs::read(index).unwrap(), b"{}");
        let waiting = Waiting::default();
        assert!(unpack(b"Welcome!\n".as_slice(), directory.path(), &waiting).is_err());
        // Cut short.
        let short = &answer[..answer.len() - 1400];
        assert!(unpack(short, directory.path(), &waiting).is_err());
    }

    #[test]
    fn nothing_is_unpacked_outside_of_its_directory() {
        let above = tempfile::tempdir().unwrap();
        let into = above.path().join("into");
        fs::create_dir(&into).unwrap();
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../escape");
        header.set_size(1);
        header.set_cksum();
        let mut answer = ANSWER.to_vec();
        let mut archive = tar::Builder::new(&mut answer);
        archive.append(&header, b"x".as_slice()).unwrap();
        archive.finish().unwrap();
        drop(archive);
        assert!(unpack(answer.as_slice(), &into, &Waiting::default()).is_err());
        assert!(!above.path().join("escape").exists());
    }
}

//! Another program under a time limit, in a process group of its own that ends
//! with it, whatever it has started.

use std::io::{self, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How long a program may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long its last words are waited for after its end: what it left behind
/// may hold the pipe for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How much of what a program says is kept: the end, in bytes.
const TAIL: usize = 16 * 1024;

/// The longest pause between two looks at a program.
const POLL: Duration = Duration::from_millis(50);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By us, at its time limit.
    TimedOut,
}

/// A program that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub exit: Exit,
    /// The end of what it said.
    pub said: String,
}

/// Runs a program to its end and keeps what it says on both its outputs.
///
/// # Errors
/// It can't be started or waited for.
pub(super) fn run(mut command: Command, limit: Duration) -> io::Result<Ended> {
    let (listener, writer) = Listener::new()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = Group::start(command)?;
    let exit = child.wait(limit, &|| false)?;
    Ok(Ended {
        // Nobody gives up here.
        exit: exit.unwrap_or(Exit::TimedOut),
        said: listener.said(),
    })
}

/// Runs a program to its end while `feed` writes its standard input and `take`
/// reads its standard output; what it says on standard error is kept. It is ended
/// early, and `None` is returned, once `gives_up` says so.
///
/// # Errors
/// It can't be started or waited for.
pub(super) fn run_piped<T: Send>(
    mut command: Command,
    limit: Duration,
    feed: impl FnOnce(ChildStdin) + Send,
    take: impl FnOnce(ChildStdout) -> T + Send,
    gives_up: &dyn Fn() -> bool,
) -> io::Result<Option<(Ended, T)>> {
    let (listener, writer) = Listener::new()?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(writer);
    let mut child = Group::start(command)?;
    let pipes = (child.0.stdin.take(), child.0.stdout.take());
    let (Some(stdin), Some(stdout)) = pipes else {
        return Err(io::Error::other("the program was started without pipes"));
    };
    let (exit, taken) = thread::scope(|scope| {
        let feeding = thread::Builder::new().spawn_scoped(scope, || feed(stdin));
        let taking = thread::Builder::new().spawn_scoped(scope, || take(stdout));
        // Both threads end with the program: its ends of the pipes close.
        match feeding.and(taking) {
            Ok(taking) => Ok((child.wait(limit, gives_up), taking.join())),
            Err(error) => {
                let _ = child.end();
                Err(error)
            }
        }
    })?;
    let taken = taken.map_err(|_| io::Error::other("reading what the program says panicked"))?;
    let Some(exit) = exit? else {
        return Ok(None);
    };
    let ended = Ended {
        exit,
        said: listener.said(),
    };
    Ok(Some((ended, taken)))
}

/// What became of the wait for a program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Ended,
    TimedOut,
    GivenUp,
}

/// A program at the head of a process group. Dropped, the whole group ends.
struct Group(Child);

impl Group {
    /// Starts it. The command goes, and with it our ends of the child's pipes.
    fn start(mut command: Command) -> io::Result<Group> {
        command.process_group(0).spawn().map(Group)
    }

    /// Waits for the end, and brings it about at the limit. `None` if the caller
    /// gave up before; the program is ended then, too.
    fn wait(&mut self, limit: Duration, gives_up: &dyn Fn() -> bool) -> io::Result<Option<Exit>> {
        let wait = self.watch(limit, gives_up)?;
        if wait != Wait::Ended {
            let _ = kill_process_group(self.pid(), Signal::TERM);
            self.watch(GRACE, &|| false)?;
        }
        let status = self.end()?;
        Ok(match (wait, status.code()) {
            (Wait::GivenUp, _) => None,
            (Wait::TimedOut, _) => Some(Exit::TimedOut),
            (Wait::Ended, Some(code)) => Some(Exit::Code(code)),
            (Wait::Ended, None) => Some(Exit::Signal(status.signal().unwrap_or_default())),
        })
    }

    /// Waits for the end no longer than this. The program is not reaped yet, so that
    /// no other process can have its number.
    fn watch(&self, limit: Duration, gives_up: &dyn Fn() -> bool) -> io::Result<Wait> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        loop {
            match waitid(WaitId::Pid(self.pid()), options) {
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Ok(Some(_)) => return Ok(Wait::Ended),
                Err(error) => return Err(error.into()),
            }
            if gives_up() {
                return Ok(Wait::GivenUp);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wait::TimedOut);
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(POLL);
        }
    }

    /// Kills what is left of the group, then reaps the program.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        self.0.wait()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Already reaped in all but the odd failure: then its number may be another's.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.end();
        }
    }
}

/// Keeps the end of what comes through a pipe.
struct Listener {
    thread: JoinHandle<()>,
    tail: Arc<Mutex<Vec<u8>>>,
}

impl Listener {
    fn new() -> io::Result<(Listener, io::PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let tail = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&tail);
        let thread = thread::Builder::new()
            .name("tool-output".into())
            .spawn(move || listen(reader, &kept))?;
        Ok((Listener { thread, tail }, writer))
    }

    /// What was said, once the pipe is closed or has been silent for long enough.
    fn said(self) -> String {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let start = tail.len().saturating_sub(TAIL);
        String::from_utf8_lossy(&tail[start..]).into_owned()
    }
}

fn listen(mut reader: PipeReader, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut tail = kept.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&buffer[..count]);
        if tail.len() > 2 * TAIL {
            let surplus = tail.len() - TAIL;
            tail.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn tells_how_a_program_ended_and_what_it_said() {
        let limit = Duration::from_secs(20);
        let ended = run(shell("echo one; echo two >&2; exit 3"), limit).unwrap();
        assert_eq!((ended.exit, &*ended.said), (Exit::Code(3), "one\ntwo\n"));
        let ended = run(shell("kill -SEGV $$"), limit).unwrap();
        assert_eq!(ended.exit, Exit::Signal(11));
        assert!(run(Command::new("/nonexistent/tool"), limit).is_err());
    }

    #[test]
    fn keeps_the_end_of_endless_talk() {
        let script = "yes noise | head -c 600000; echo last";
        let said = run(shell(script), Duration::from_secs(20)).unwrap().said;
        assert!(said.len() <= TAIL && said.ends_with("noise\nlast\n"));
    }

    #[test]
    fn ends_the_whole_group_at_the_limit_even_if_it_will_not_listen() {
        let start = Instant::now();
        let script = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1000; done";
        let ended = run(shell(script), Duration::from_millis(300)).unwrap();
        assert_eq!(ended.exit, Exit::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(20));
        let stat = format!("/proc/{}/stat", ended.said.trim());
        let is_gone = || match std::fs::read_to_string(&stat) {
            // Dead, and waiting for whoever adopts it.
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        assert!((0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            is_gone()
        }));
    }

    #[test]
    fn ends_a_program_when_the_caller_gives_up() {
        let start = Instant::now();
        let ended = run_piped(
            shell("sleep 1000"),
            Duration::from_secs(100),
            |_| {},
            |mut stdout| drop(stdout.read_to_end(&mut Vec::new())),
            &|| start.elapsed() > Duration::from_millis(100),
        )
        .unwrap();
        assert!(ended.is_none());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn feeds_and_takes_at_the_same_time() {
        let text = "x".repeat(1_000_000);
        let (ended, taken) = run_piped(
            shell("cat; echo done >&2"),
            Duration::from_secs(20),
            |mut stdin| io::Write::write_all(&mut stdin, text.as_bytes()).unwrap(),
            |mut stdout| {
                let mut taken = String::new();
                stdout.read_to_string(&mut taken).unwrap();
                taken
            },
            &|| false,
        )
        .unwrap()
        .unwrap();
        assert_eq!((ended.exit, &*ended.said), (Exit::Code(0), "done\n"));
        assert_eq!(taken, text);
    }
}

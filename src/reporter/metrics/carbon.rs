//! Metrics for Graphite: Carbon's plaintext protocol, one
//! `<name> <value> <seconds since 1970>` a line.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime};

use super::StageFacts;

/// The lines of the stages that ran, below a prefix.
#[must_use]
pub fn lines(prefix: &str, stages: &[StageFacts], now: SystemTime) -> String {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since_1970.map_or(0, |time| time.as_secs());
    let mut lines = String::new();
    for stage in stages {
        let Some(ran) = stage.ran else { continue };
        // Writing to a String can't fail.
        let mut add = |name: &str, value: f64| {
            let value = (value * 1000.0).round() / 1000.0;
            let _ = writeln!(lines, "{prefix}.{}.{name} {value} {seconds}", stage.name);
        };
        add("stopped", f64::from(u8::from(ran.stopped)));
        if let Some(done) = ran.done {
            add("runs_processed", done.processed as f64);
            add("runs_failed", done.failed as f64);
            add("duration_seconds", done.seconds);
            add("backlog_runs", done.backlog as f64);
            add("gap_runs", done.gaps as f64);
        }
        if let Some(standing) = stage.standing {
            add("last_contiguous_run", standing.contiguous as f64);
            add("failure_log_runs", standing.failures as f64);
        }
    }
    lines
}

/// Sends lines over one connection, and says how many.
///
/// # Errors
/// The name does not resolve, nobody listens there, or it takes too long.
pub fn send(host: &str, port: u16, lines: &str, limit: Duration) -> io::Result<usize> {
    let until = Instant::now() + limit;
    let mut connection = connect(host, port, until)?;
    connection.set_write_timeout(Some(left(until)?))?;
    connection.write_all(lines.as_bytes())?;
    // Carbon reads what is there before it sees the end.
    connection.shutdown(Shutdown::Write)?;
    Ok(lines.lines().count())
}

/// Tries the addresses of a host one after the other.
fn connect(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut failure = None;
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        // One that does not answer leaves time for the next.
        match TcpStream::connect_timeout(&address, left(until)? / 2) {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("the name has no address")))
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left < Duration::from_millis(2) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::metrics::{Done, Ran, Standing};

    #[test]
    fn lines_have_the_manuals_form() {
        let stages = [
            StageFacts {
                name: "import",
                ran: Some(Ran {
                    stopped: false,
                    done: Some(Done {
                        processed: 45,
                        failed: 2,
                        seconds: 823.50004,
                        backlog: 7,
                        gaps: 3,
                    }),
                }),
                standing: Some(Standing {
                    contiguous: 12500,
                    attempted: 12550,
                    failures: 4,
                    updated: None,
                }),
            },
            StageFacts {
                name: "migrate",
                ran: None,
                standing: None,
            },
        ];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_698_345_600);
        assert_eq!(
            lines("exp.run_archiver.prod", &stages, now),
            "exp.run_archiver.prod.import.stopped 0 1698345600\n\
             exp.run_archiver.prod.import.runs_processed 45 1698345600\n\
             exp.run_archiver.prod.import.runs_failed 2 1698345600\n\
             exp.run_archiver.prod.import.duration_seconds 823.5 1698345600\n\
             exp.run_archiver.prod.import.backlog_runs 7 1698345600\n\
             exp.run_archiver.prod.import.gap_runs 3 1698345600\n\
             exp.run_archiver.prod.import.last_contiguous_run 12500 1698345600\n\
             exp.run_archiver.prod.import.failure_log_runs 4 1698345600\n"
        );
    }

    #[test]
    fn nobody_there_is_an_error_in_time() {
        let begun = Instant::now();
        let limit = Duration::from_millis(500);
        // An address for documentation, where nobody answers.
        assert!(send("192.0.2.1", 2003, "a 1 1\n", limit).is_err());
        assert!(send("127.0.0.1", 1, "a 1 1\n", limit).is_err());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

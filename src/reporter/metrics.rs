//! Metrics of an execution: lines to Carbon, and a file for Prometheus.
//!
//! `docs/monitoring/README.md` lists them. Metrics never change how an
//! execution ends; what can't be sent or written is a warning.

pub mod carbon;
pub mod prometheus;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use self::prometheus::Textfile;
use crate::config::Config;
use crate::deadline;
use crate::faults::fs;
use crate::run::StageKind;
use crate::shutdown::{EXIT_INTERRUPTED, Shutdown};
use crate::state::StateStore;

use super::stage_report::StageReport;
use super::summary::Summary;

/// How long Carbon gets in all.
const CARBON_LIMIT: Duration = Duration::from_secs(5);

/// What is known of a stage at the end of an execution.
#[derive(Debug, Clone)]
pub struct StageFacts {
    /// `import` or `migrate`, as metrics name it.
    pub name: &'static str,
    /// What the stage did in this execution, if it ran.
    pub ran: Option<Ran>,
    /// How far it came, if its files can be read.
    pub standing: Option<Standing>,
}

/// What a stage did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ran {
    /// Whether it stopped before its runs were done, or did not begin.
    pub stopped: bool,
    /// The rest of it; `None` if the stage did not begin.
    pub done: Option<Done>,
}

/// The runs of a stage in one execution.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Done {
    /// Runs archived.
    pub processed: usize,
    /// Runs that failed.
    pub failed: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Runs that the source has and the archive has not.
    pub backlog: usize,
    /// Runs below the highest archived one that are not archived.
    pub gaps: usize,
}

/// How far a stage came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// `last_contiguous_run` of its state file, 0 before the first.
    pub contiguous: u64,
    /// `last_attempted_run`, likewise.
    pub attempted: u64,
    /// Runs in its failure log.
    pub failures: usize,
    /// When the state file was written, if there is one.
    pub updated: Option<SystemTime>,
}

/// Notes that an execution has begun, for those who watch for one that hangs.
pub fn began(config: &Config) {
    update(config, |file| file.began(SystemTime::now()));
}

/// Sends and writes the metrics of an execution that ends with `exit_code`.
pub fn send(config: &Config, summary: &Summary, exit_code: u8, shutdown: &Shutdown) {
    let now = SystemTime::now();
    let wanted = config.carbon.enabled || config.metrics.prometheus_textfile.is_some();
    if !wanted {
        return;
    }
    let stages = facts(config, summary);
    update(config, |file| {
        file.ended(now, exit_code, &stages);
        for (name, directory) in directories(config) {
            file.space(name, &directory);
        }
    });
    if config.carbon.enabled {
        send_to_carbon(config, &stages, now, shutdown);
    }
}

/// Whether an execution that ends with this code counts as a failure: one that
/// somebody stopped is neither a failure nor a success.
fn is_failure(exit_code: u8) -> bool {
    exit_code != 0 && exit_code != EXIT_INTERRUPTED
}

fn update(config: &Config, change: impl FnOnce(&mut Textfile)) {
    let Some(path) = &config.metrics.prometheus_textfile else {
        return;
    };
    let mut file = Textfile::read(path);
    change(&mut file);
    match file.write(path) {
        Ok(()) => log::debug!("Metrics written to {}", path.display()),
        Err(error) => log::warn!(
            "The metrics for Prometheus are not written: {error}; the directory must exist and \
             this user must be able to write there (metrics.prometheus_textfile)"
        ),
    }
}

fn send_to_carbon(config: &Config, stages: &[StageFacts], now: SystemTime, shutdown: &Shutdown) {
    let lines = carbon::lines(&config.carbon.metric_prefix, stages, now);
    if lines.is_empty() {
        return;
    }
    let (host, port) = (config.carbon.host.clone(), config.carbon.port);
    let work = move || carbon::send(&host, port, &lines, CARBON_LIMIT);
    let sent = deadline::start("carbon", CARBON_LIMIT, work).wait(shutdown);
    let server = format!("{}:{}", config.carbon.host, config.carbon.port);
    match sent {
        Ok(Ok(count)) => log::info!("{count} metrics sent to Carbon at {server}"),
        Ok(Err(error)) => log::warn!("The metrics were not sent to Carbon at {server}: {error}"),
        Err(_) => log::warn!(
            "The metrics were not sent to Carbon at {server}: not done within {} s",
            CARBON_LIMIT.as_secs()
        ),
    }
}

fn facts(config: &Config, summary: &Summary) -> Vec<StageFacts> {
    let app = &config.app;
    StageKind::ALL
        .into_iter()
        .map(|kind| {
            let (state_file, failure_log) = match kind {
                StageKind::Import => (&app.import_state_file, &app.import_failure_log),
                StageKind::Migrate => (&app.migrate_state_file, &app.migrate_failure_log),
            };
            StageFacts {
                name: kind.verb(),
                ran: summary.stage(kind).map(ran),
                standing: standing(&StateStore::new(state_file.clone(), failure_log.clone())),
            }
        })
        .collect()
}

fn ran(report: &StageReport) -> Ran {
    Ran {
        stopped: report.obstacle().is_some(),
        done: report.has_begun().then_some(Done {
            processed: report.archived.len(),
            failed: report.failed.len(),
            seconds: report.duration.as_secs_f64(),
            backlog: report.backlog,
            gaps: report.gaps,
        }),
    }
}

/// How far a stage came, or `None` where its files can't be read: the stage
/// itself complains about them.
fn standing(store: &StateStore) -> Option<Standing> {
    let state = store.read("").ok()?;
    let number = |run: Option<crate::run::Run>| run.map_or(0, |run| run.0);
    let modified = fs::metadata(store.state_file()).and_then(|metadata| metadata.modified());
    Some(Standing {
        contiguous: number(state.last_contiguous_run),
        attempted: number(state.last_attempted_run),
        failures: store.failures().ok()?.len(),
        updated: modified.ok(),
    })
}

/// The directories that must not fill up.
fn directories(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let mut directories = vec![("work_dir", config.app.work_dir.clone())];
    if let Some(path) = config.artdaq_db.database_uri.directory() {
        directories.push(("artdaqdb", path.to_path_buf()));
    }
    directories
}

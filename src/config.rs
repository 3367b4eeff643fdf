//! The configuration: a YAML file as typed values, complete and checked.
//!
//! `docs/configuration.md` describes every key. The format is that of the
//! archiver's existing configuration files, which load unchanged.

mod confidential;
mod expand;
mod reporting;
mod secret;
mod section;
mod settings;
mod yaml;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

pub use self::expand::Environment;
use crate::artdaqdb::ArtdaqUri;
use crate::error::{Diagnostic, Error, Result};
use crate::faults;
use crate::regular_file;
use crate::run::Run;
use crate::run_record::Generated;
use crate::ucondb::UconUrl;

/// The directory of `run_archiver.sh`, exported by it: where a configuration
/// is also looked for, so that a cron line needs no `cd`.
pub const HOME_VARIABLE: &str = "RUN_RECORD_ARCHIVER_HOME";

/// Everything a configuration file says, with defaults for what it leaves out.
/// Paths are absolute.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Directories, files and limits of the archiver itself.
    pub app: App,
    /// Which files are converted to FHiCL or made.
    pub fhiclize_generate: BTreeSet<Generated>,
    /// Faults on purpose, for trials.
    pub app_fuzz: AppFuzz,
    /// Where the run records are.
    pub source_files: SourceFiles,
    /// artdaqDB.
    pub artdaq_db: ArtdaqDb,
    /// UconDB.
    pub ucon_db: UconDb,
    /// Who is told of failures.
    pub reporting: Reporting,
    /// Metrics for Graphite.
    pub carbon: Carbon,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
    /// What is doubtful but does not prevent the work, such as unknown keys, with
    /// the nearest known name.
    pub warnings: Vec<Diagnostic>,
    /// Where each `${...}` got its value from, never the value: for the debug log.
    pub notes: Vec<String>,
    /// The keys whose secrets stand in the file itself.
    pub secrets_in_file: Vec<String>,
}

/// Section `app`.
#[derive(Debug)]
pub struct App {
    /// Where state, failure logs, log and lock are kept.
    pub work_dir: PathBuf,
    /// Progress of the import stage.
    pub import_state_file: PathBuf,
    /// Runs whose import failed, one a line.
    pub import_failure_log: PathBuf,
    /// Progress of the migrate stage.
    pub migrate_state_file: PathBuf,
    /// Runs whose migration failed, one a line.
    pub migrate_failure_log: PathBuf,
    /// The lock that keeps executions apart.
    pub lock_file: PathBuf,
    /// The log; `None` where the file says `log_file: null`.
    pub log_file: Option<PathBuf>,
    /// Runs an incremental execution takes at most; 0 means no limit.
    pub batch_size: usize,
    /// Runs in work at the same time, at least 1.
    pub parallel_workers: usize,
    /// Further attempts after the first one fails.
    pub run_process_retries: u32,
    /// The pause before another attempt.
    pub retry_delay_seconds: Duration,
    /// The largest file of a run record, in bytes.
    pub max_file: u64,
    /// The largest document of artdaqDB, in bytes.
    pub max_document: u64,
    /// How many bytes of documents may be in work at once.
    pub memory_budget: u64,
    /// The least level that is logged.
    pub log_level: log::LevelFilter,
}

impl App {
    /// How often a run is tried: the first attempt and the retries.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.run_process_retries + 1
    }
}

/// Section `app_fuzz`: trials of the failure handling, never in production.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppFuzz {
    /// Percentage of runs that are skipped, 0 to 100.
    pub random_skip_percent: u8,
    /// Whether a skipped run fails for good. The name says the opposite; the
    /// meaning is that of existing files.
    pub random_skip_retry: bool,
    /// Percentage of attempts that fail, 0 to 100.
    pub random_error_percent: u8,
    /// Whether a failed one does.
    pub random_error_retry: bool,
}

/// What becomes of runs without a stop time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IncompletePolicy {
    /// They are migrated, and again when the stop time is there.
    #[default]
    Archive,
    /// They are migrated when the stop time is there.
    Wait,
}

/// Section `source_files`.
#[derive(Debug)]
pub struct SourceFiles {
    /// The directory that holds one directory for each run.
    pub run_records_dir: PathBuf,
    /// What becomes of runs whose record has no stop time yet.
    pub incomplete_runs: IncompletePolicy,
    /// After this time such a run counts as complete without one.
    pub incomplete_after: Duration,
    /// For how long nothing of a record must have changed before it is archived; zero
    /// for records that are known to be whole.
    pub settle: Duration,
    /// For how long after its import or its last change a record is recent: what it
    /// gains then is added by itself.
    pub recheck: Duration,
    /// Runs below this one are left alone.
    pub first_run: Option<Run>,
}

/// Section `artdaq_db`.
#[derive(Debug)]
pub struct ArtdaqDb {
    /// The directory of `schema.fcl`.
    pub fcl_conf_dir: PathBuf,
    /// `filesystemdb:///path`, `mongodb://...` or `mongodb+srv://...`.
    pub database_uri: ArtdaqUri,
    /// Whether `bulkloader` and `bulkdownloader` do the work.
    pub use_tools: bool,
    /// The host on which they run, through ssh.
    pub remote_host: Option<String>,
    /// Their directory, on the host where they run; `None`: in its `PATH`.
    pub tools_dir: Option<PathBuf>,
    /// How long one of them may work.
    pub tools_timeout_seconds: Duration,
    /// Further arguments for ssh.
    pub ssh_options: Vec<String>,
}

/// Section `ucon_db`.
#[derive(Debug)]
pub struct UconDb {
    /// `https://host:port/instance/app`, or `file:///path` for trials.
    pub server_url: UconUrl,
    /// The folder in UconDB.
    pub folder_name: String,
    /// The folder of runs that have no stop time yet, if they are to be apart.
    pub pending_folder: Option<String>,
    /// The object in the folder.
    pub object_name: String,
    /// How long one request may take to connect or stay without progress.
    pub timeout_seconds: Duration,
    /// Who writes; empty where the server asks for nobody.
    pub writer_user: String,
    /// The writer's password.
    pub writer_password: SecretString,
    /// Certificates (PEM) of the authorities to trust, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate is checked.
    pub verify_tls: bool,
}

/// Section `reporting`.
#[derive(Debug)]
pub struct Reporting {
    /// Mail.
    pub email: Email,
    /// Slack.
    pub slack: Slack,
    /// How long a notification may take in all.
    pub timeout_seconds: Duration,
}

/// Section `reporting.email`. When it is enabled, the addresses and the host
/// are not empty.
#[derive(Debug)]
pub struct Email {
    /// Whether failures are mailed.
    pub enabled: bool,
    /// Whom to.
    pub recipient_email: Vec<String>,
    /// Whom from.
    pub sender_email: String,
    /// The mail server.
    pub smtp_host: String,
    /// Its port.
    pub smtp_port: u16,
    /// How the connection is protected.
    pub smtp_encryption: SmtpEncryption,
    /// Certificates (PEM) of the authorities to trust, besides the system's.
    pub smtp_ca_file: Option<PathBuf>,
    /// Who logs in there, if anybody.
    pub smtp_user: Option<String>,
    /// With which password.
    pub smtp_password: Option<SecretString>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpEncryption {
    /// Not at all.
    None,
    /// It begins in the clear, and TLS is demanded before anything is said.
    StartTls,
    /// TLS from the first byte, usually on port 465.
    Tls,
}

/// Section `reporting.slack`. When it is enabled, token and channel are not empty.
#[derive(Debug)]
pub struct Slack {
    /// Whether failures are posted.
    pub enabled: bool,
    /// The bot's token, `xoxb-...`.
    pub bot_token: SecretString,
    /// The channel's name or ID.
    pub channel: String,
    /// User IDs to mention.
    pub mention_users: Vec<String>,
    /// Where the methods of Slack's Web API are; it ends with `/`.
    pub api_url: url::Url,
    /// Certificates (PEM) of the authorities to trust, besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// Section `carbon`. When it is enabled, host and prefix are not empty.
#[derive(Debug)]
pub struct Carbon {
    /// Whether metrics are sent.
    pub enabled: bool,
    /// The Carbon server.
    pub host: String,
    /// The port of its line receiver.
    pub port: u16,
    /// What each metric's name begins with, without the dot after it.
    pub metric_prefix: String,
}

/// Section `metrics`.
#[derive(Debug)]
pub struct Metrics {
    /// The file that node_exporter's textfile collector reads; `None` for none.
    pub prometheus_textfile: Option<PathBuf>,
}

impl Config {
    /// Reads a configuration file. A relative path that is not found is also
    /// looked for in the directory that [`HOME_VARIABLE`] names.
    ///
    /// # Errors
    /// [`Error::Config`]: the file can't be read, is not YAML, or holds wrong
    /// or missing values; every fault is listed with its line and key.
    pub fn load(path: &Path) -> Result<Config> {
        let home = std::env::var_os(HOME_VARIABLE).map(PathBuf::from);
        let file = locate(path, home.as_deref());
        let bytes = regular_file::read(&file).map_err(|error| {
            Error::config(
                &file,
                None,
                "",
                format!(
                    "the configuration can't be read: {error}; name the file as the first \
                     argument, or copy config.example.yaml and edit it"
                ),
            )
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let text = "not UTF-8 text: save the file in UTF-8";
            Error::config(&file, Some(line), "", text)
        })?;
        Config::parse(&file, &text, &|name| std::env::var_os(name))
    }

    /// Reads the text of the configuration file `file`, with variables from `environment`.
    ///
    /// # Errors
    /// As [`Config::load`], except for the reading.
    pub fn parse(file: &Path, text: &str, environment: Environment<'_>) -> Result<Config> {
        let root = yaml::parse(text)
            .map_err(|fault| Error::config(file, Some(fault.line), "", fault.problem))?;
        let credentials = environment(secret::CREDENTIALS_VARIABLE).map(PathBuf::from);
        settings::read(
            file,
            &expand::expand(&root, environment),
            credentials.as_deref(),
        )
    }
}

/// The file that `path` means.
fn locate(path: &Path, home: Option<&Path>) -> PathBuf {
    match home.map(|home| home.join(path)) {
        Some(beside) if path.is_relative() && !faults::exists(path) && faults::exists(&beside) => {
            beside
        }
        _ => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fs;

    #[test]
    fn a_configuration_is_found_beside_the_script() {
        let here = tempfile::tempdir().unwrap();
        let name = "run_record_archiver_test_only.yaml";
        fs::write(here.path().join(name), "").unwrap();
        let home = Some(here.path());
        assert_eq!(locate(Path::new(name), home), here.path().join(name));
        assert_eq!(locate(Path::new("none.yaml"), home), Path::new("none.yaml"));
        assert_eq!(
            locate(Path::new("Cargo.toml"), home),
            Path::new("Cargo.toml")
        );
        assert_eq!(locate(Path::new(name), None), Path::new(name));
    }
}

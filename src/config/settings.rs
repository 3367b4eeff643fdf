//! Which keys there are, their types, ranges and defaults.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::expand::{Expanded, nearest};
use super::reporting::{carbon, email, metrics, slack};
use super::section::{Findings, Section, level, path, seconds, text, truth, whole};
use super::yaml::{Node, Value};
use super::{App, AppFuzz, ArtdaqDb, Config, IncompletePolicy, Reporting, SourceFiles, UconDb};
use crate::artdaqdb::ArtdaqUri;
use crate::error::{Error, Result, Severity};
use crate::run::Run;
use crate::run_record::Generated;
use crate::ucondb::UconUrl;

/// A megabyte as memory is counted, and how many a limit may have.
const MB: u64 = 1024 * 1024;
const MOST_MB: u64 = 1024 * 1024;

/// The sections of the top level.
const SECTIONS: [&str; 9] = [
    "app",
    "fhiclize_generate",
    "app_fuzz",
    "source_files",
    "artdaq_db",
    "ucon_db",
    "reporting",
    "carbon",
    "metrics",
];

/// Makes a configuration of the expanded tree. `credentials` is the directory
/// of the secrets that a service manager provides.
pub(super) fn read(file: &Path, expanded: &Expanded, credentials: Option<&Path>) -> Result<Config> {
    let mut reader = Reader {
        root: &expanded.root,
        referenced: &expanded.referenced,
        findings: Findings::of(file, &expanded.secrets),
    };
    let mut config = Config {
        file: file.to_path_buf(),
        app: app(reader.section("app")),
        fhiclize_generate: reader.fhiclize_generate(),
        app_fuzz: app_fuzz(reader.section("app_fuzz")),
        source_files: source_files(reader.section("source_files")),
        artdaq_db: artdaq_db(reader.section("artdaq_db")),
        ucon_db: ucon_db(reader.section("ucon_db"), credentials),
        reporting: reader.reporting(credentials),
        carbon: carbon(reader.section("carbon")),
        metrics: metrics(reader.section("metrics")),
        warnings: Vec::new(),
        notes: expanded.notes.clone(),
        secrets_in_file: expanded.secrets.written_out.clone(),
    };
    let mut top = Section::new(
        &mut reader.findings,
        reader.referenced,
        "",
        Some(reader.root),
    );
    top.also(&SECTIONS);
    top.finish();

    config.warnings = reader
        .findings
        .into_warnings()
        .map_err(|diagnostics| Error::Config { diagnostics })?;
    Ok(config)
}

struct Reader<'a> {
    root: &'a Node,
    referenced: &'a BTreeSet<String>,
    findings: Findings,
}

impl<'a> Reader<'a> {
    fn find(&self, path: &str) -> Option<&'a Node> {
        path.split('.').try_fold(self.root, |node, key| {
            let entry = node.value.entries().iter().find(|entry| entry.key == key)?;
            Some(&entry.node)
        })
    }

    fn section<'s>(&'s mut self, path: &'s str) -> Section<'s> {
        let node = self.find(path);
        Section::new(&mut self.findings, self.referenced, path, node)
    }

    /// A list of names, with or without their `.txt`; also as `files:` in a
    /// section. Absent, it means all of them.
    fn fhiclize_generate(&mut self) -> BTreeSet<Generated> {
        const KEY: &str = "fhiclize_generate";
        let node = match self.find(KEY) {
            Some(node) if matches!(node.value, Value::Section(_)) => {
                self.find("fhiclize_generate.files")
            }
            other => other,
        };
        let all = || BTreeSet::from(Generated::ALL);
        let Some(node) = node else { return all() };
        let items = match &node.value {
            Value::Null => return all(),
            Value::List(items) => items,
            _ => {
                self.fault(node.line, KEY, "expected a list of names, each after `- `");
                return all();
            }
        };
        let mut chosen = BTreeSet::new();
        for (number, item) in items.iter().enumerate() {
            let name = match &item.value {
                Value::Scalar(name) => name,
                Value::Unresolved(problem) => {
                    self.fault(item.line, KEY, problem);
                    continue;
                }
                _ => {
                    self.fault(item.line, KEY, "expected a name");
                    continue;
                }
            };
            let name = name
                .strip_suffix(".txt")
                .or_else(|| name.strip_suffix(".fcl"))
                .unwrap_or(name);
            if let Ok(generated) = name.parse() {
                chosen.insert(generated);
                continue;
            }
            let known = Generated::ALL.map(Generated::entity);
            let near = nearest(name, known)
                .map(|near| format!("did you mean `{near}`? "))
                .unwrap_or_default();
            let problem = format!(
                "`{name}` can't be generated; {near}known are {}",
                known.join(", ")
            );
            let key = format!("{KEY}[{number}]");
            let problem = self.findings.discreet(&key, name, &problem);
            self.fault(item.line, KEY, &problem);
        }
        chosen
    }

    /// `reporting.email` and `reporting.slack`; older files have the mail keys
    /// in `reporting` itself, which a section `email` outranks.
    fn reporting(&mut self, credentials: Option<&Path>) -> Reporting {
        let has_email = self
            .find("reporting.email")
            .is_some_and(|node| !node.value.entries().is_empty());
        let mut section = self.section("reporting");
        section.also(&["email", "slack"]);
        let timeout_seconds = section.or(
            "timeout_seconds",
            std::time::Duration::from_secs(15),
            seconds(0.1..=300.0),
        );
        let legacy = section.has("send_email_on_error").then(|| {
            section.warn(
                "send_email_on_error",
                "deprecated: move the mail settings to `reporting.email`, with `enabled:` \
                 instead of this key",
            );
            let enabled = section.enabled("send_email_on_error") && !has_email;
            email(&mut section, enabled, 587, true, credentials)
        });
        section.finish();

        let mut section = self.section("reporting.email");
        let enabled = section.enabled("enabled");
        let mut mail = email(&mut section, enabled, 25, false, credentials);
        section.finish();
        if let (Some(legacy), false) = (legacy, has_email) {
            mail = legacy;
        }
        Reporting {
            email: mail,
            slack: slack(self.section("reporting.slack"), credentials),
            timeout_seconds,
        }
    }

    fn fault(&mut self, line: usize, key: &str, problem: &str) {
        let (key, problem) = (key.to_owned(), problem.to_owned());
        self.findings.add(Severity::Error, Some(line), key, problem);
    }
}

fn app(mut section: Section<'_>) -> App {
    let work_dir = section.required("work_dir", "/var/lib/run_record_archiver", path);
    let mut file =
        |key, name: &str| section.or(key, work_dir.join(name), |value| file_in(&work_dir, value));
    let import_state_file = file("import_state_file", "importer_state.json");
    let import_failure_log = file("import_failure_log", "import_failures.log");
    let migrate_state_file = file("migrate_state_file", "migrator_state.json");
    let migrate_failure_log = file("migrate_failure_log", "migrate_failures.log");
    let lock_file = file("lock_file", ".archiver.lock");
    let log_file = file("log_file", "archiver.log");
    let app = App {
        log_file: (!section.is_null("log_file")).then_some(log_file),
        batch_size: section.or("batch_size", 5, whole(0..=10_000_000)),
        parallel_workers: section.or("parallel_workers", 2, whole(1..=256)),
        run_process_retries: section.or("run_process_retries", 2, whole(0..=100)),
        retry_delay_seconds: section.or(
            "retry_delay_seconds",
            std::time::Duration::from_secs(3),
            seconds(0.0..=3600.0),
        ),
        max_file: section.or("max_file_mb", 256, whole(1..=MOST_MB)) * MB,
        max_document: section.or("max_document_mb", 1024, whole(1..=MOST_MB)) * MB,
        memory_budget: section.or("memory_budget_mb", 1024, whole(1..=MOST_MB)) * MB,
        log_level: section.or("log_level", log::LevelFilter::Info, level),
        work_dir,
        import_state_file,
        import_failure_log,
        migrate_state_file,
        migrate_failure_log,
        lock_file,
    };
    section.finish();
    app
}

/// A bare name is a file in the work directory; any other path is taken as
/// all paths are, so that `${work_dir}/name` works with a relative `work_dir`.
fn file_in(work_dir: &Path, value: &str) -> Result<PathBuf, String> {
    if value.ends_with('/') {
        return Err(format!("expected a file, found the directory `{value}`"));
    }
    if value.contains('/') {
        return path(value);
    }
    Ok(work_dir.join(value))
}

fn app_fuzz(mut section: Section<'_>) -> AppFuzz {
    let fuzz = AppFuzz {
        random_skip_percent: section.or("random_skip_percent", 0, whole(0..=100)),
        random_skip_retry: section.or("random_skip_retry", false, truth),
        random_error_percent: section.or("random_error_percent", 0, whole(0..=100)),
        random_error_retry: section.or("random_error_retry", false, truth),
    };
    section.finish();
    fuzz
}

fn source_files(mut section: Section<'_>) -> SourceFiles {
    let source_files = SourceFiles {
        run_records_dir: section.required("run_records_dir", "/daq/run_records", path),
        incomplete_runs: section.or("incomplete_runs", IncompletePolicy::Archive, policy),
        incomplete_after: section.or("incomplete_after_hours", 72 * HOUR, hours),
        settle: section.or("settle_seconds", Duration::from_secs(300), settle),
        recheck: section.or("recheck_days", 7 * DAY, days),
        first_run: section.optional("first_run", whole(1..=u64::MAX)).map(Run),
    };
    section.finish();
    source_files
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn days(value: &str) -> Result<Duration, String> {
    whole(0..=36_500_u32)(value).map(|days| days * DAY)
}

fn hours(value: &str) -> Result<Duration, String> {
    whole(0..=100_000_u32)(value).map(|hours| hours * HOUR)
}

fn settle(value: &str) -> Result<Duration, String> {
    whole(0..=86_400_u64)(value).map(Duration::from_secs)
}

fn policy(value: &str) -> Result<IncompletePolicy, String> {
    match value {
        "archive" => Ok(IncompletePolicy::Archive),
        "wait" => Ok(IncompletePolicy::Wait),
        _ => Err(format!("expected `archive` or `wait`, found `{value}`")),
    }
}

fn artdaq_db(mut section: Section<'_>) -> ArtdaqDb {
    let database = ArtdaqDb {
        fcl_conf_dir: section.required("fcl_conf_dir", "/daq/artdaq_database/conf", path),
        database_uri: section.required_else(
            "database_uri",
            "filesystemdb:///data/artdaqdb_archive",
            |value| ArtdaqUri::parse(value).map_err(|invalid| invalid.to_string()),
            || ArtdaqUri::of_directory(Path::new("/")),
        ),
        use_tools: section.or("use_tools", false, truth),
        remote_host: section.optional("remote_host", host),
        tools_dir: section.optional("tools_dir", path),
        tools_timeout_seconds: section.or(
            "tools_timeout_seconds",
            std::time::Duration::from_secs(300),
            seconds(1.0..=21_600.0),
        ),
        ssh_options: section.or("ssh_options", Vec::new(), arguments),
    };
    for option in database.database_uri.without_effect() {
        section.warn(
            "database_uri",
            &format!("the option {option} has no effect here"),
        );
    }
    section.finish();
    database
}

/// `host` or `user@host`, which ssh must not take for an option.
fn host(value: &str) -> Result<String, String> {
    if value.starts_with('-') || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "expected a host such as daq01.example.com or archiver@daq01, found `{value}`; options \
             for ssh belong into ssh_options"
        ));
    }
    Ok(value.to_owned())
}

/// Arguments as they would be typed, with quotes where one has a space.
fn arguments(value: &str) -> Result<Vec<String>, String> {
    let wrong = || {
        format!(
            "expected options as for the command ssh, such as `-p 2222 -i /path/to/key`, found \
             `{value}`"
        )
    };
    let arguments = shlex::split(value).ok_or_else(wrong)?;
    match arguments.first().is_none_or(|first| first.starts_with('-')) {
        true => Ok(arguments),
        false => Err(wrong()),
    }
}

fn ucon_db(mut section: Section<'_>, credentials: Option<&Path>) -> UconDb {
    let database = UconDb {
        server_url: section.required_else(
            "server_url",
            "https://ucondb.example.com:9443/instance/app",
            |value| UconUrl::parse(value).map_err(|invalid| invalid.to_string()),
            || UconUrl::of_directory(Path::new("/")),
        ),
        folder_name: section.required("folder_name", "production", text),
        pending_folder: section.optional("pending_folder", text),
        object_name: section.required("object_name", "configuration", text),
        timeout_seconds: section.or(
            "timeout_seconds",
            std::time::Duration::from_secs(60),
            seconds(0.1..=86_400.0),
        ),
        writer_user: section.or("writer_user", String::new(), text),
        writer_password: section
            .secret("writer_password", "writer_password_file", credentials, None)
            .unwrap_or_default(),
        ca_file: section.optional("ca_file", path),
        verify_tls: section.or("verify_tls", true, truth),
    };
    section.finish();
    database
}

//! Which keys there are, their types, ranges and defaults.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::Mailbox;
use url::Url;

use super::expand::{Expanded, nearest};
use super::section::{Findings, Problem, Section, level, names, path, seconds, text, truth, whole};
use super::yaml::{Node, Value};
use super::{
    App, AppFuzz, ArtdaqDb, Carbon, Config, Email, FHICLIZE_NAMES, Metrics, Reporting, Slack,
    SmtpEncryption, SourceFiles, UconDb,
};
use crate::error::{Error, Result};
use crate::incomplete::Policy;

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

/// Where Slack is, but for those who test or go through a gateway.
const SLACK_API: &str = "https://slack.com/api/";

/// Makes a configuration of the expanded tree. `credentials` is the directory
/// of the secrets that a service manager provides.
pub(super) fn read(file: &Path, expanded: &Expanded, credentials: Option<&Path>) -> Result<Config> {
    let mut reader = Reader {
        root: &expanded.root,
        referenced: &expanded.referenced,
        findings: Findings::default(),
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
        unknown_keys: Vec::new(),
        notes: expanded.notes.clone(),
    };
    let mut top = Section::new(
        &mut reader.findings,
        reader.referenced,
        "",
        Some(reader.root),
    );
    top.also(&SECTIONS);
    top.finish();

    let Findings {
        problems,
        warnings,
        unknown_keys,
    } = reader.findings;
    match as_error(file, problems) {
        Some(error) => Err(error),
        None => {
            let with_file = |warnings: Vec<String>| {
                warnings
                    .into_iter()
                    .map(|warning| format!("{}: {warning}", file.display()))
                    .collect()
            };
            config.warnings = with_file(warnings);
            config.unknown_keys = with_file(unknown_keys);
            Ok(config)
        }
    }
}

/// All faults as one error: the first, and the others as lines below it.
fn as_error(file: &Path, mut problems: Vec<Problem>) -> Option<Error> {
    problems.sort_by_key(|problem| problem.line);
    let mut problems = problems.into_iter();
    let first = problems.next()?;
    let as_one = |found: Problem| Error::Config {
        file: file.to_path_buf(),
        line: found.line,
        key: found.key,
        problem: found.problem,
    };
    let others: String = problems
        .map(|other| format!("\n{}", as_one(other)))
        .collect();
    Some(as_one(Problem {
        problem: first.problem + &others,
        ..first
    }))
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
    fn fhiclize_generate(&mut self) -> Vec<String> {
        const KEY: &str = "fhiclize_generate";
        let node = match self.find(KEY) {
            Some(node) if matches!(node.value, Value::Section(_)) => {
                self.find("fhiclize_generate.files")
            }
            other => other,
        };
        let all = || FHICLIZE_NAMES.map(str::to_owned).to_vec();
        let Some(node) = node else { return all() };
        let items = match &node.value {
            Value::Null => return all(),
            Value::List(items) => items,
            _ => {
                self.fault(node.line, KEY, "expected a list of names, each after `- `");
                return all();
            }
        };
        let mut chosen: Vec<String> = Vec::new();
        for item in items {
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
            if !FHICLIZE_NAMES.contains(&name) {
                let near = nearest(name, FHICLIZE_NAMES)
                    .map(|near| format!("did you mean `{near}`? "))
                    .unwrap_or_default();
                self.fault(
                    item.line,
                    KEY,
                    &format!(
                        "`{name}` can't be generated; {near}known are {}",
                        FHICLIZE_NAMES.join(", ")
                    ),
                );
            } else if !chosen.iter().any(|other| other == name) {
                chosen.push(name.to_owned());
            }
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
        self.findings.problems.push(Problem {
            line: Some(line),
            key: key.to_owned(),
            problem: problem.to_owned(),
        });
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
        incomplete_runs: section.or("incomplete_runs", Policy::Archive, policy),
        incomplete_after: section.or("incomplete_after_hours", 72 * HOUR, hours),
    };
    section.finish();
    source_files
}

const HOUR: Duration = Duration::from_secs(3600);

fn hours(value: &str) -> Result<Duration, String> {
    whole(0..=100_000_u32)(value).map(|hours| hours * HOUR)
}

fn policy(value: &str) -> Result<Policy, String> {
    match value {
        "archive" => Ok(Policy::Archive),
        "wait" => Ok(Policy::Wait),
        _ => Err(format!("expected `archive` or `wait`, found `{value}`")),
    }
}

fn artdaq_db(mut section: Section<'_>) -> ArtdaqDb {
    let database = ArtdaqDb {
        fcl_conf_dir: section.required("fcl_conf_dir", "/daq/artdaq_database/conf", path),
        database_uri: section.required(
            "database_uri",
            "filesystemdb:///data/artdaqdb_archive",
            database_uri,
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

/// The message never quotes the value: it may hold a password.
fn database_uri(value: &str) -> Result<String, String> {
    let rest = value.strip_prefix("filesystemdb://");
    // The real tools expand `$VARS` in the path, so it may begin with one.
    let is_directory = rest.is_some_and(|rest| rest.starts_with(['/', '$']));
    let is_mongodb = ["mongodb://", "mongodb+srv://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    if is_directory || is_mongodb {
        return Ok(value.to_owned());
    }
    Err(
        "expected filesystemdb:///absolute/path, mongodb://host/database or \
         mongodb+srv://host/database"
            .into(),
    )
}

fn ucon_db(mut section: Section<'_>, credentials: Option<&Path>) -> UconDb {
    let database = UconDb {
        server_url: section.required(
            "server_url",
            "https://ucondb.example.com:9443/instance/app",
            server_url,
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

fn server_url(value: &str) -> Result<String, String> {
    let known = ["https://", "http://", "file:///"];
    if known.iter().any(|scheme| value.starts_with(scheme)) && value.parse::<url::Url>().is_ok() {
        return Ok(value.to_owned());
    }
    Err(
        "expected https://host:port/instance/app, http://host:port/instance/app or \
         file:///absolute/path"
            .into(),
    )
}

fn email(
    section: &mut Section<'_>,
    enabled: bool,
    port: u16,
    use_tls: bool,
    credentials: Option<&Path>,
) -> Email {
    let use_tls = section.or("smtp_use_tls", use_tls, truth);
    let email = Email {
        enabled,
        recipient_email: section.required_if(
            enabled,
            "recipient_email",
            "team@example.com",
            |value| {
                let addresses = names(value)?;
                addresses.iter().try_for_each(|address| mail(address))?;
                Ok(addresses)
            },
        ),
        sender_email: section.required_if(
            enabled,
            "sender_email",
            "archiver@example.com",
            |value| mail(value).map(|()| value.to_owned()),
        ),
        smtp_host: section.required_if(enabled, "smtp_host", "smtp.example.com", text),
        smtp_port: section.or("smtp_port", port, whole(1..=65_535)),
        smtp_encryption: section.or(
            "smtp_encryption",
            match use_tls {
                true => SmtpEncryption::StartTls,
                false => SmtpEncryption::None,
            },
            smtp_encryption,
        ),
        smtp_ca_file: section.optional("smtp_ca_file", path),
        smtp_user: section.optional("smtp_user", text),
        smtp_password: section.secret("smtp_password", "smtp_password_file", credentials, None),
    };
    if enabled {
        doubt(section, &email);
    }
    email
}

/// Warns of a login that can't be, and of a password in the clear.
fn doubt(section: &mut Section<'_>, email: &Email) {
    match (&email.smtp_user, &email.smtp_password) {
        (Some(_), None) => section.warn(
            "smtp_user",
            "there is no login without `smtp_password` or `smtp_password_file`",
        ),
        (None, Some(_)) => section.warn("smtp_password", "there is no login without `smtp_user`"),
        (Some(_), Some(_))
            if email.smtp_encryption == SmtpEncryption::None && !is_local(&email.smtp_host) =>
        {
            section.warn(
                "smtp_password",
                "anyone on the way can read the password: set `smtp_encryption: starttls`",
            );
        }
        _ => {}
    }
}

/// Whether what is sent to a host stays on the machine.
fn is_local(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn smtp_encryption(value: &str) -> Result<SmtpEncryption, String> {
    match value.to_ascii_lowercase().as_str() {
        "none" => Ok(SmtpEncryption::None),
        "starttls" => Ok(SmtpEncryption::StartTls),
        "tls" | "ssl" => Ok(SmtpEncryption::Tls),
        _ => Err(format!("expected none, starttls or tls, found `{value}`")),
    }
}

fn mail(address: &str) -> Result<(), String> {
    address.parse::<Mailbox>().map(|_| ()).map_err(|error| {
        format!(
            "expected a mail address such as team@example.com, found `{address}` ({})",
            error.to_string().to_lowercase()
        )
    })
}

fn slack(mut section: Section<'_>, credentials: Option<&Path>) -> Slack {
    let enabled = section.enabled("enabled");
    let example = enabled.then_some("${SLACK_BOT_TOKEN}");
    let slack = Slack {
        enabled,
        bot_token: section
            .secret("bot_token", "bot_token_file", credentials, example)
            .unwrap_or_default(),
        channel: section.required_if(enabled, "channel", "\"#archiver-alerts\"", text),
        mention_users: section.or("mention_users", Vec::new(), names),
        api_url: match section.optional("api_url", api_url) {
            Some(url) => url,
            #[expect(clippy::expect_used, reason = "a constant, which the tests read")]
            None => Url::parse(SLACK_API).expect("a URL"),
        },
        ca_file: section.optional("ca_file", path),
    };
    if enabled
        && slack.api_url.scheme() == "http"
        && !is_local(slack.api_url.host_str().unwrap_or(""))
    {
        section.warn(
            "api_url",
            "anyone on the way can read the token: use https://",
        );
    }
    section.finish();
    slack
}

fn api_url(value: &str) -> Result<Url, String> {
    let mut url = Url::parse(value)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http") && url.query().is_none())
        .ok_or_else(|| format!("expected a URL such as {SLACK_API}"))?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn carbon(mut section: Section<'_>) -> Carbon {
    let enabled = section.enabled("enabled");
    let carbon = Carbon {
        enabled,
        host: section.required_if(enabled, "host", "carbon.example.com", text),
        port: section.or("port", 2003, whole(1..=65_535)),
        metric_prefix: section.required_if(
            enabled,
            "metric_prefix",
            "sbnd.run_archiver.prod",
            metric_prefix,
        ),
    };
    section.finish();
    carbon
}

/// White space would end the metric's name in Carbon's lines.
fn metric_prefix(value: &str) -> Result<String, String> {
    let prefix = value.trim_matches('.');
    if prefix.is_empty() || prefix.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "expected a metric's name without white space, such as sbnd.run_archiver.prod, found `{value}`"
        ));
    }
    Ok(prefix.to_owned())
}

fn metrics(mut section: Section<'_>) -> Metrics {
    let metrics = Metrics {
        prometheus_textfile: section.optional("prometheus_textfile", textfile),
    };
    section.finish();
    metrics
}

/// node_exporter reads files of this ending only.
fn textfile(value: &str) -> Result<PathBuf, String> {
    if value.ends_with(".prom") {
        return path(value);
    }
    Err(format!(
        "expected a file that ends in .prom, as node_exporter reads no other, found `{value}`"
    ))
}

//! Whole configuration files: what they mean, what is refused and how.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use run_record_archiver::config::{Config, SmtpEncryption};
use run_record_archiver::error::{Error, Result, Severity};
use run_record_archiver::run_record::Generated;
use secrecy::ExposeSecret;

/// The keys without which nothing works, and nothing else.
const MINIMAL: &str = "\
app:
  work_dir: /w
source_files:
  run_records_dir: /r
artdaq_db:
  fcl_conf_dir: /c
  database_uri: filesystemdb:///db
ucon_db:
  server_url: https://ucondb.example.com:9443/x/app
  folder_name: f
  object_name: o
";

/// Every key of the existing files, in their style.
const FULL: &str = r##"
app:
    work_dir: "${WORK_DIR:-/tmp/archiver}"
    import_state_file: "${work_dir}/i.json"
    import_failure_log: "${work_dir}/i.log"
    migrate_state_file: "${work_dir}/m.json"
    migrate_failure_log: "${work_dir}/m.log"
    lock_file: "${work_dir}/.lock"
    batch_size: 50              # a comment
    parallel_workers: "${WORKERS:-8}"
    run_process_retries: 0
    retry_delay_seconds: 0.5
    log_level: "debug"
    log_file: null

fhiclize_generate:
    - ranks.txt
    - RunHistory2
    - RunHistory2

app_fuzz:
    random_skip_percent: 10
    random_skip_retry: yes
    random_error_percent: 100
    random_error_retry: false

source_files:
    run_records_dir: "${RUN_RECORDS_DIR:-/daq/run_records}"

artdaq_db:
    fcl_conf_dir: "/conf"
    database_uri: "mongodb://user:db-secret@h1,h2/archive?maxPoolSize=20"
    use_tools: true
    remote_host: artdaq-server.example.com

ucon_db:
    server_url: "${UCONDB_URL:-https://host.example.com:9443/x/app}"
    folder_name: 007
    object_name: 1.0
    timeout_seconds: 60
    writer_user: "${UCONDB_USER:-writer}"
    writer_password: "${UCONDB_PASSWORD}"
    ca_file: /etc/ca.pem
    verify_tls: false

reporting:
    timeout_seconds: 7.5
    email:
        enabled: true
        recipient_email: "a@example.com, b@example.com"
        sender_email: "archiver@example.com"
        smtp_host: "smtp.example.com"
        smtp_port: 587
        smtp_use_tls: true
        smtp_user: me
        smtp_password: 00123
        smtp_ca_file: /etc/smtp-ca.pem
    slack:
        enabled: true
        bot_token: "xoxb-slack-secret"
        channel: "#alerts"
        mention_users: "U1,U2"
        api_url: https://gateway.example.com/slack
        ca_file: /etc/slack-ca.pem

carbon:
    enabled: true
    host: "carbon.example.com"
    port: 2004
    metric_prefix: "${EXPERIMENT_NAME:-demo}.run_archiver.dev."

metrics:
    prometheus_textfile: /var/lib/node_exporter/archiver.prom
"##;

fn environment(name: &str) -> Option<OsString> {
    match name {
        "UCONDB_PASSWORD" => Some("p$${x}".into()),
        "EXPERIMENT_NAME" => Some("icarus".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config> {
    Config::parse(Path::new("config.yaml"), text, &environment)
}

/// `MINIMAL` with one line replaced, or lines added where `from` is empty.
fn with(from: &str, to: &str) -> String {
    assert!(from.is_empty() || MINIMAL.contains(from));
    if from.is_empty() {
        format!("{MINIMAL}{to}")
    } else {
        MINIMAL.replace(from, to)
    }
}

#[test]
fn a_full_file_is_read_as_it_stands() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.warnings, []);
    let app = &config.app;
    assert_eq!(app.work_dir, Path::new("/tmp/archiver"));
    assert_eq!(app.import_state_file, Path::new("/tmp/archiver/i.json"));
    assert_eq!(app.migrate_failure_log, Path::new("/tmp/archiver/m.log"));
    assert_eq!(app.lock_file, Path::new("/tmp/archiver/.lock"));
    assert_eq!(app.log_file, None);
    assert_eq!((app.batch_size, app.parallel_workers), (50, 8));
    assert_eq!(app.attempts(), 1);
    assert_eq!(app.retry_delay_seconds, Duration::from_millis(500));
    assert_eq!(app.log_level, log::LevelFilter::Debug);
    let expected = [Generated::Ranks, Generated::RunHistory2];
    assert_eq!(config.fhiclize_generate, expected.into());
    assert_eq!(config.app_fuzz.random_error_percent, 100);
    assert!(config.app_fuzz.random_skip_retry);
    assert!(config.artdaq_db.use_tools);
    let host = config.artdaq_db.remote_host.as_deref();
    assert_eq!(host, Some("artdaq-server.example.com"));
    let ucon = &config.ucon_db;
    assert_eq!((&*ucon.folder_name, &*ucon.object_name), ("007", "1.0"));
    assert_eq!(ucon.writer_password.expose_secret(), "p$${x}");
    assert_eq!(ucon.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert!(!ucon.verify_tls);
    let email = &config.reporting.email;
    assert_eq!(email.recipient_email, ["a@example.com", "b@example.com"]);
    let password = email.smtp_password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), "00123");
    assert_eq!(email.smtp_encryption, SmtpEncryption::StartTls);
    let ca = email.smtp_ca_file.as_deref();
    assert_eq!(ca, Some(Path::new("/etc/smtp-ca.pem")));
    let limit = config.reporting.timeout_seconds;
    assert_eq!(limit, Duration::from_millis(7500));
    let slack = &config.reporting.slack;
    assert_eq!(slack.mention_users, ["U1", "U2"]);
    assert_eq!(slack.api_url.as_str(), "https://gateway.example.com/slack/");
    assert_eq!(
        slack.ca_file.as_deref(),
        Some(Path::new("/etc/slack-ca.pem"))
    );
    let textfile = config.metrics.prometheus_textfile.as_deref();
    assert_eq!(
        textfile,
        Some(Path::new("/var/lib/node_exporter/archiver.prom"))
    );
    assert_eq!(config.carbon.metric_prefix, "icarus.run_archiver.dev");
    assert_eq!(config.carbon.port, 2004);
}

#[test]
fn a_minimal_file_gets_safe_defaults() {
    let config = parse(MINIMAL).unwrap();
    let app = &config.app;
    assert_eq!(app.import_state_file, Path::new("/w/importer_state.json"));
    assert_eq!(app.import_failure_log, Path::new("/w/import_failures.log"));
    assert_eq!(app.migrate_state_file, Path::new("/w/migrator_state.json"));
    assert_eq!(
        app.migrate_failure_log,
        Path::new("/w/migrate_failures.log")
    );
    assert_eq!(app.lock_file, Path::new("/w/.archiver.lock"));
    assert_eq!(app.log_file.as_deref(), Some(Path::new("/w/archiver.log")));
    assert_eq!((app.batch_size, app.parallel_workers), (5, 2));
    assert_eq!(app.attempts(), 3);
    assert_eq!(app.retry_delay_seconds, Duration::from_secs(3));
    assert_eq!(app.log_level, log::LevelFilter::Info);
    assert_eq!(config.fhiclize_generate, Generated::ALL.into());
    assert_eq!(config.ucon_db.timeout_seconds, Duration::from_secs(60));
    assert!(config.ucon_db.verify_tls);
    assert!(!config.reporting.email.enabled);
    assert!(!config.reporting.slack.enabled);
    assert!(!config.carbon.enabled);
    let limit = config.reporting.timeout_seconds;
    assert_eq!(limit, Duration::from_secs(15));
    let slack = &config.reporting.slack;
    assert_eq!(slack.api_url.as_str(), "https://slack.com/api/");
    assert_eq!(config.metrics.prometheus_textfile, None);
}

#[test]
fn every_fault_names_file_line_and_key() {
    for (text, place, part) in [
        (
            with("  work_dir: /w", "  batch_size: -1"),
            "config.yaml:2: app.work_dir",
            "is required",
        ),
        (
            with("  work_dir: /w", "  work_dir:"),
            "config.yaml:2: app.work_dir",
            "is required",
        ),
        (
            with("app:\n  work_dir: /w\n", ""),
            "config.yaml: app.work_dir",
            "is required",
        ),
        (
            with("app:\n  work_dir: /w", "app: text"),
            "config.yaml:1: app",
            "expected a section",
        ),
        (
            with("/w", "/w\n  batch_size: -1"),
            "config.yaml:3: app.batch_size",
            "found `-1`",
        ),
        (
            with("/w", "/w\n  batch_size: 5-10"),
            "config.yaml:3: app.batch_size",
            "whole number",
        ),
        (
            with("/w", "/w\n  parallel_workers: 0"),
            "config.yaml:3: app.parallel_workers",
            "from 1 to",
        ),
        (
            with("/w", "/w\n  parallel_workers: [2]"),
            "config.yaml:3: app.parallel_workers",
            "found a list",
        ),
        (
            with("/w", "/w\n  retry_delay_seconds: nan"),
            "config.yaml:3: app.retry_delay_seconds",
            "seconds",
        ),
        (
            with("/w", "/w\n  retry_delay_seconds: -1"),
            "config.yaml:3: app.retry_delay_seconds",
            "seconds",
        ),
        (
            with("/w", "/w\n  log_level: LOUD"),
            "config.yaml:3: app.log_level",
            "DEBUG, INFO",
        ),
        (
            with("/w", "/w\n  lock_file: /x/"),
            "config.yaml:3: app.lock_file",
            "expected a file",
        ),
        (
            with("/w", "${NOT_SET}"),
            "config.yaml:2: app.work_dir",
            "no environment variable",
        ),
        (
            with("/w", "${work_dir}/x"),
            "config.yaml:2: app.work_dir",
            "circular",
        ),
        (
            with("/w", "\"${WORK\""),
            "config.yaml:2: app.work_dir",
            "without its `}`",
        ),
        (with("/w", "/w\n  work_dir: /x"), "config.yaml:3", "twice"),
        (
            with("filesystemdb:///db", "filesystemdb://db"),
            "config.yaml:7: artdaq_db.database_uri",
            "filesystemdb:///absolute",
        ),
        (
            with("filesystemdb:///db", "filesystemdb://$NOT_SET_ANYWHERE/db"),
            "config.yaml:7: artdaq_db.database_uri",
            "the environment variable \"NOT_SET_ANYWHERE\" is not set",
        ),
        #[cfg(feature = "mongodb")]
        (
            with("filesystemdb:///db", "mongodb://host"),
            "config.yaml:7: artdaq_db.database_uri",
            "names no database",
        ),
        (
            with("https://", "ftp://"),
            "config.yaml:9: ucon_db.server_url",
            "https://host:port",
        ),
        (
            with("https://ucondb.example.com:9443", "https://:99999"),
            "config.yaml:9: ucon_db.server_url",
            "expected https",
        ),
        (
            with("", "fhiclize_generate: boot\n"),
            "config.yaml:12: fhiclize_generate",
            "expected a list",
        ),
        (
            with("", "fhiclize_generate:\n- rank\n"),
            "config.yaml:13: fhiclize_generate",
            "did you mean `ranks`?",
        ),
        (
            with("", "app_fuzz: {random_skip_percent: 101}\n"),
            "config.yaml:12: app_fuzz.random_skip_percent",
            "0 to 100",
        ),
        (
            with("", "carbon: {enabled: maybe}\n"),
            "config.yaml:12: carbon.enabled",
            "true or false",
        ),
        (
            with("", "carbon: {enabled: true, host: h}\n"),
            "config.yaml:12: carbon.metric_prefix",
            "is required",
        ),
        (
            with("", "carbon: {port: 65536}\n"),
            "config.yaml:12: carbon.port",
            "1 to 65535",
        ),
        (
            with(
                "",
                "reporting:\n  slack:\n    enabled: true\n    bot_token: ${T}\n    channel: c\n",
            ),
            "config.yaml:15: reporting.slack.bot_token",
            "${T}",
        ),
        (
            with("", "reporting:\n  email:\n    enabled: true\n"),
            "config.yaml:14: reporting.email.recipient_email",
            "is required",
        ),
        (
            with("", "reporting:\n  email:\n    sender_email: me\n"),
            "config.yaml:14: reporting.email.sender_email",
            "mail address",
        ),
        (
            with("", "reporting:\n  email:\n    smtp_encryption: yes\n"),
            "config.yaml:14: reporting.email.smtp_encryption",
            "starttls",
        ),
        (
            with("", "reporting:\n  slack:\n    api_url: slack.com\n"),
            "config.yaml:14: reporting.slack.api_url",
            "expected a URL",
        ),
        (
            with("", "reporting: {timeout_seconds: 0}\n"),
            "config.yaml:12: reporting.timeout_seconds",
            "seconds from",
        ),
        (
            with("", "carbon: {metric_prefix: a b}\n"),
            "config.yaml:12: carbon.metric_prefix",
            "without white space",
        ),
        (
            with("", "metrics: {prometheus_textfile: /a/b.txt}\n"),
            "config.yaml:12: metrics.prometheus_textfile",
            ".prom",
        ),
        (
            with("", "reporting: {slack: {enabled: true, channel: c}}\n"),
            "config.yaml:12: reporting.slack.bot_token",
            "is required",
        ),
    ] {
        let Err(error) = parse(&text) else {
            panic!("accepted:\n{text}")
        };
        assert!(matches!(error, Error::Config { .. }));
        let message = error.to_string();
        let line = message
            .lines()
            .find(|line| line.starts_with(&format!("{place}: ")));
        assert!(
            line.is_some_and(|line| line.contains(part)),
            "{place} {part}\n{message}"
        );
    }
}

#[test]
fn all_faults_are_listed_in_the_order_of_the_file() {
    let text = with("/w", "/w\n  batch_size: x").replace("  folder_name: f\n", "");
    let message = parse(&text).unwrap_err().to_string();
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("config.yaml:3: app.batch_size: "));
    assert!(lines[1].starts_with("config.yaml:10: ucon_db.folder_name: is required"));
}

#[test]
fn unknown_keys_are_warnings_with_the_nearest_name() {
    let text = with("/w", "/w\n  batchsize: 5\n  colour: red") + "carbn: {enabled: true}\n";
    let warnings = parse(&text).unwrap().warnings;
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "config.yaml: line 3: app.batchsize: there is no such setting: did you mean `batch_size`?",
            "config.yaml: line 4: app.colour: there is no such setting: it has no effect",
            "config.yaml: line 14: carbn: there is no such setting: did you mean `carbon`?",
        ]
    );
}

#[test]
fn keys_that_others_refer_to_are_variables_of_the_file() {
    let text = format!("base: /data\n{}", with("/w", "${base}/w"));
    let config = parse(&text).unwrap();
    assert_eq!(config.app.work_dir, Path::new("/data/w"));
    assert_eq!(config.warnings, []);
}

#[test]
fn relative_paths_start_at_the_current_directory() {
    let here = std::env::current_dir().unwrap();
    let text = with("/w", "work\n  lock_file: ${work_dir}/l\n  log_file: my.log");
    let app = parse(&text).unwrap().app;
    assert_eq!(app.work_dir, here.join("work"));
    assert_eq!(app.lock_file, here.join("work/l"));
    assert_eq!(app.log_file, Some(here.join("work/my.log")));
}

#[test]
fn what_is_switched_off_needs_no_variables() {
    let off = "reporting:\n  slack: {enabled: false, bot_token: \"${NOT_SET}\"}\n";
    parse(&with("", off)).unwrap();
    let on = off.replace("false", "true");
    assert!(parse(&with("", &on)).is_err());
}

const OLDER_MAIL: &str = "reporting:\n  send_email_on_error: true\n  recipient_email: a@b\n\
                          \x20 sender_email: c@d\n  smtp_host: h\n";

#[test]
fn older_mail_settings_still_work() {
    for addition in ["", "  email:\n", "  email: {}\n"] {
        let config = parse(&with("", &format!("{OLDER_MAIL}{addition}"))).unwrap();
        let email = &config.reporting.email;
        assert!(email.enabled && email.smtp_encryption == SmtpEncryption::StartTls);
        assert_eq!((email.smtp_port, &*email.smtp_host), (587, "h"));
        assert_eq!(config.warnings.len(), 1);
        assert!(config.warnings[0].text.contains("deprecated"));
    }
}

#[test]
fn a_section_email_outranks_older_mail_settings() {
    let older = OLDER_MAIL.replace("  smtp_host: h\n", "");
    let text = with(
        "",
        &format!("{older}  email: {{enabled: false, smtp_port: 99}}\n"),
    );
    let config = parse(&text).unwrap();
    assert!(!config.reporting.email.enabled);
    assert_eq!(config.reporting.email.smtp_port, 99);
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn doubtful_notifications_are_warnings() {
    let mail = |more: &str| {
        format!(
            "reporting: {{email: {{enabled: true, recipient_email: a@b, sender_email: c@d, \
             smtp_host: h, {more}}}}}\n"
        )
    };
    let slack = |url: &str| {
        format!(
            "reporting: {{slack: {{enabled: true, bot_token: t, channel: c, api_url: \"{url}\"}}}}\n"
        )
    };
    for (text, part) in [
        (mail("smtp_user: u"), "smtp_user: there is no login"),
        (mail("smtp_password: p"), "smtp_password: there is no login"),
        (
            mail("smtp_user: u, smtp_password: p"),
            "can read the password",
        ),
        (slack("http://example.com/"), "can read the token"),
    ] {
        let warnings = parse(&with("", &text)).unwrap().warnings;
        assert!(
            matches!(&warnings[..], [one] if one.to_string().contains(part)),
            "{part}: {warnings:?}"
        );
    }
    for text in [
        mail("smtp_user: u, smtp_password: p, smtp_use_tls: true"),
        mail("smtp_user: u, smtp_password: p, smtp_encryption: tls"),
        mail("smtp_user: u, smtp_password: p").replace("smtp_host: h", "smtp_host: localhost"),
        slack("http://127.0.0.1:80/"),
    ] {
        assert_eq!(parse(&with("", &text)).unwrap().warnings, [], "{text}");
    }
}

#[test]
fn secrets_may_lie_in_files_of_their_own() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("writer", "file-secret-1\n", 0o400);
    write("smtp", "file-secret-2\n", 0o600);
    write("slack", "file-secret-3\n", 0o644);
    let environment =
        |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| OsString::from(directory.path()));
    let parse = |text: &str| Config::parse(Path::new("config.yaml"), text, &environment);
    let reporting = "reporting:\n  email: {smtp_user: u, smtp_password_file: smtp, enabled: true, \
                     recipient_email: a@b, sender_email: c@d, smtp_host: localhost}\n\
                     \x20 slack: {enabled: true, bot_token_file: slack, channel: c}\n";
    let text = with("name: o", "name: o\n  writer_password_file: writer") + reporting;
    let config = parse(&text).unwrap();
    let password = config.ucon_db.writer_password.expose_secret();
    assert_eq!(password, "file-secret-1");
    let password = config.reporting.email.smtp_password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), "file-secret-2");
    let token = config.reporting.slack.bot_token.expose_secret();
    assert_eq!(token, "file-secret-3");
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings)
    };
    let warning = warning.to_string();
    assert!(
        warning.contains("bot_token_file: every user can read the secret")
            && warning.contains("chmod"),
        "{warning}"
    );
    assert!(!format!("{config:?}").contains("file-secret"));

    let both = text.replace(
        "writer_password_file",
        "writer_password: x\n  writer_password_file",
    );
    let message = parse(&both).unwrap_err().to_string();
    assert!(
        message.contains("config.yaml:13: ucon_db.writer_password_file: `writer_password` gives"),
        "{message}"
    );
    let message = parse(&text.replace("_file: smtp,", "_file: none,"))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("reporting.email.smtp_password_file: the secret in")
            && !message.contains("file-secret"),
        "{message}"
    );
    // What is switched off needs no file.
    let off = text
        .replace("enabled: true", "enabled: false")
        .replace("slack,", "none,");
    parse(&off).unwrap();
}

#[test]
fn fhiclize_generate_as_a_section_or_empty() {
    for (text, expected) in [
        (
            "fhiclize_generate: {files: [boot.txt]}\n",
            &[Generated::Boot][..],
        ),
        ("fhiclize_generate: []\n", &[]),
        ("fhiclize_generate:\n", &Generated::ALL),
    ] {
        let expected = expected.iter().copied().collect();
        assert_eq!(parse(&with("", text)).unwrap().fhiclize_generate, expected);
    }
}

#[test]
fn secrets_show_nowhere() {
    let config = parse(FULL).unwrap();
    let shown = format!("{config:?} {config:#?} {:?}", config.notes);
    for secret in ["db-secret", "p$${x}", "slack-secret", "00123"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let wrong = FULL
        .replace("mongodb://", "mongo://")
        .replace("enabled: true", "enabled: x");
    let message = parse(&wrong).unwrap_err().to_string();
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn files_that_can_not_be_read_give_one_clear_message() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    let message = |path: &Path| Config::load(path).unwrap_err().to_string();
    assert!(message(&file).contains("can't be read: No such file"));
    assert!(message(directory.path()).contains("Is a directory"));
    std::fs::write(&file, b"app:\n  work_dir: /\xff\n").unwrap();
    assert!(message(&file).contains("c.yaml:2: not UTF-8"));
    std::fs::write(&file, "").unwrap();
    assert!(message(&file).contains("empty"));
    std::fs::write(&file, MINIMAL).unwrap();
    assert_eq!(Config::load(&file).unwrap().file, file);
}

/// Every `| key |` row of the documentation, and every key of the example.
#[test]
fn documentation_and_example_know_the_same_keys_as_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(root.join("config.example.yaml")).unwrap();
    let home = |name: &str| (name == "RUN_RECORD_ARCHIVER_HOME").then(|| "/home".into());
    let config = Config::parse(Path::new("config.example.yaml"), &example, &home).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.app.work_dir, Path::new("/home/work"));
    let directory = config.ucon_db.server_url.directory();
    assert_eq!(directory, Some(Path::new("/home/work/ucondb")));
    assert_eq!(
        config.source_files.run_records_dir,
        Path::new("/home/samples/run_records")
    );

    let documentation = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let mut section = "";
    let mut keys = 0;
    for line in documentation.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        }
        let Some((key, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) else {
            continue;
        };
        if key.starts_with('$') {
            continue;
        }
        keys += 1;
        // A list is wrong for every key, and the fault names the key.
        let value = format!("{key}: []");
        let text = section
            .rsplit('.')
            .fold(value, |inner, section| format!("{section}: {{{inner}}}"));
        let message = parse(&text).unwrap_err().to_string();
        let expected = format!("{section}.{key}: expected one value, found a list");
        assert!(message.contains(&expected), "{expected}\n{message}");
    }
    assert_eq!(keys, 63);
}

#[cfg(feature = "mongodb")]
#[test]
fn options_without_effect_are_warnings_and_no_secret_is_shown() {
    let uri = "mongodb://user:tuna@host/db?socketTimeoutMS=1";
    let config = parse(&with("filesystemdb:///db", uri)).unwrap();
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings)
    };
    let warning = warning.to_string();
    assert!(
        warning.contains(
            "line 7: artdaq_db.database_uri: the option socketTimeoutMS has no effect here"
        ),
        "{warning}"
    );
    assert!(!format!("{config:?}").contains("tuna"), "{config:?}");
}

#[test]
fn a_diagnostic_says_where_and_how_bad_it_is() {
    let text = with("/w", "/w\n  batch_size: x\n  colour: red").replace("  folder_name: f\n", "");
    let Err(Error::Config { diagnostics }) = parse(&text) else {
        panic!("accepted:\n{text}")
    };
    let [first, second] = &diagnostics[..] else {
        panic!("{diagnostics:?}")
    };
    assert_eq!((first.line, &*first.key), (Some(3), "app.batch_size"));
    assert!(first.text.starts_with("expected a whole number"));
    assert_eq!(
        (second.line, &*second.key),
        (Some(11), "ucon_db.folder_name")
    );
    assert_eq!(first.severity, Severity::Error);
    assert_eq!(second.file, Path::new("config.yaml"));

    let text = format!("{}{OLDER_MAIL}", with("/w", "/w\n  colour: red"));
    let warnings = parse(&text).unwrap().warnings;
    let mut found: Vec<_> = warnings
        .iter()
        .map(|found| (found.severity, found.line, &*found.key))
        .collect();
    found.sort_by_key(|(_, line, _)| *line);
    let expected = [
        (Severity::UnknownKey, Some(3), "app.colour"),
        (Severity::Warning, Some(14), "reporting.send_email_on_error"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_first_run_is_a_run_number() {
    let with_first = |value: &str| {
        let line = format!("  run_records_dir: /r\n  first_run: {value}");
        parse(&with("  run_records_dir: /r", &line))
    };
    let first_run = |value: &str| with_first(value).unwrap().source_files.first_run;
    assert_eq!(first_run("12000").map(|run| run.0), Some(12000));
    assert_eq!(first_run("null"), None);
    assert_eq!(parse(MINIMAL).unwrap().source_files.first_run, None);
    for value in ["0", "-1", "1.5", "first"] {
        let error = with_first(value).unwrap_err().to_string();
        assert!(error.contains("source_files.first_run"), "{error}");
    }
}

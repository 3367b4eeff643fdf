//! The sections that say who is told of an execution: `reporting.email`,
//! `reporting.slack`, `carbon` and `metrics`.

use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use url::Url;

use super::section::{Section, names, path, text, truth, whole};
use super::{Carbon, Email, Metrics, Slack, SmtpEncryption};

/// Where Slack is, but for those who test or go through a gateway.
const SLACK_API: &str = "https://slack.com/api/";

pub(super) fn email(
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

pub(super) fn slack(mut section: Section<'_>, credentials: Option<&Path>) -> Slack {
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

pub(super) fn carbon(mut section: Section<'_>) -> Carbon {
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

pub(super) fn metrics(mut section: Section<'_>) -> Metrics {
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

//! Notices to a Slack channel, by `chat.postMessage` of Slack's Web API.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::notice::{StageNotice, shorten};
use super::{Channel, Failure, Notice};
use crate::config;
use crate::sys::retry::retry_after;
use crate::tls::{self, Trust};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 1024 * 1024;

/// Slack's limits in characters, with room for what is put around a text: of a
/// header, a section, and one of a section's fields.
const HEADER: usize = 150;
const SECTION: usize = 2900;
const FIELD: usize = 1900;

/// Posts notices to a channel.
pub struct Slack {
    token: SecretString,
    channel: String,
    mentions: String,
    url: Url,
    ca_file: Option<PathBuf>,
}

impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slack")
            .field("channel", &self.channel)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Slack {
    /// Checks the settings; Slack is not asked yet.
    ///
    /// # Errors
    /// A token that can't be one; an address that can't be used.
    pub fn new(settings: &config::Slack) -> Result<Slack, String> {
        let mentions: Vec<_> = settings
            .mention_users
            .iter()
            .map(|id| mention(id))
            .collect();
        let url = settings
            .api_url
            .join("chat.postMessage")
            .map_err(|error| format!("reporting.slack.api_url: {error}"))?;
        let slack = Slack {
            token: settings.bot_token.clone(),
            channel: settings.channel.clone(),
            mentions: mentions.join(" "),
            url,
            ca_file: settings.ca_file.clone(),
        };
        slack.authorization()?;
        Ok(slack)
    }

    fn authorization(&self) -> Result<HeaderValue, String> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.token.expose_secret()))
            .map_err(|_| "reporting.slack.bot_token has characters that no token has".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The message as Slack takes it.
    fn body(&self, notice: &Notice) -> Value {
        let mut blocks = vec![
            json!({
                "type": "header",
                "text": {"type": "plain_text", "text": shorten(&format!("⚠️ {}", notice.subject()), HEADER)},
            }),
            json!({"type": "section", "fields": fields(notice)}),
        ];
        blocks.extend(
            notice
                .stages
                .iter()
                .map(|stage| section(&stage_text(stage))),
        );
        let next = notice.next.join("\n");
        blocks.push(section(&format!("*Next:*\n{}", preformatted(&next))));
        let mut text = escape(&notice.subject());
        if !self.mentions.is_empty() {
            // Where there are blocks, Slack notifies those named in them.
            blocks.push(section(&self.mentions));
            text = format!("{text} {}", self.mentions);
        }
        json!({
            "channel": self.channel,
            "text": text,
            "blocks": blocks,
            "unfurl_links": false,
            "unfurl_media": false,
        })
    }

    fn problem(&self, what: &str) -> String {
        format!("{}: {what}", self.url)
    }

    fn judge(&self, response: Response) -> Result<(), Failure> {
        let status = response.status();
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?))
            .unwrap_or(super::PAUSE);
        if status.as_u16() == 429 || status.is_server_error() {
            return Err(Failure {
                problem: self.problem(&format!("HTTP status {status}")),
                again: Some(wait),
            });
        }
        if !status.is_success() {
            return Err(Failure::lasting(
                self.problem(&format!("HTTP status {status}")),
            ));
        }
        let mut text = Vec::new();
        let read = response.take(LONGEST_ANSWER).read_to_end(&mut text);
        let answer: Value = read
            .map_err(|error| error.to_string())
            .and_then(|_| serde_json::from_slice(&text).map_err(|error| error.to_string()))
            .map_err(|cause| {
                Failure::lasting(self.problem(&format!(
                    "the answer is not Slack's ({cause}); check reporting.slack.api_url"
                )))
            })?;
        if answer["ok"] == Value::Bool(true) {
            return Ok(());
        }
        let error = answer["error"].as_str().unwrap_or("no reason given");
        Err(Failure::lasting(self.problem(&format!(
            "Slack refused the message: {}{}",
            shorten(error, 100),
            advice(error)
        ))))
    }
}

impl Channel for Slack {
    fn name(&self) -> String {
        format!("Slack channel {}", self.channel)
    }

    fn deliver(&self, notice: &Notice, until: Instant) -> Result<(), Failure> {
        let limit = until.saturating_duration_since(Instant::now());
        let trust = match self.url.scheme() {
            "https" => Trust::System {
                ca_file: self.ca_file.as_deref(),
                key: "reporting.slack.ca_file",
            },
            _ => Trust::Plain,
        };
        let client: Client = tls::blocking_client(trust, |builder| {
            builder
                .user_agent(concat!("run_record_archiver/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT.min(limit))
                .timeout(limit)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
        })
        .map_err(Failure::lasting)?;
        let sent = client
            .post(self.url.clone())
            .header(
                AUTHORIZATION,
                self.authorization().map_err(Failure::lasting)?,
            )
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(self.body(notice).to_string())
            .send();
        match sent {
            Ok(response) => self.judge(response),
            Err(error) => {
                let mut problem = self.problem(&tls::root_cause(&error));
                if problem.contains("UnknownIssuer") {
                    problem += "; name the server's CA in reporting.slack.ca_file";
                }
                let is_tls = tls::chain(&error).any(|source| source.is::<rustls::Error>());
                // What was sent may have been posted, though no answer came.
                Err(if error.is_connect() && !is_tls {
                    Failure::passing(problem)
                } else {
                    Failure::lasting(problem)
                })
            }
        }
    }
}

fn fields(notice: &Notice) -> Vec<Value> {
    let facts = notice.facts().into_iter();
    facts
        .map(|(name, value)| {
            json!({
                "type": "mrkdwn",
                "text": format!("*{name}:*\n{}", escape(&shorten(&value, FIELD / 5))),
            })
        })
        .collect()
}

fn stage_text(stage: &StageNotice) -> String {
    format!(
        "*{}:* {}\n{}",
        escape(&stage.title),
        escape(&stage.counts),
        preformatted(&stage.reasons.join("\n"))
    )
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// A text that Slack shows as it is. Escaping may make it five times as long,
/// so it is cut after that, and not within an entity.
fn preformatted(text: &str) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for character in text.replace("```", "'''").chars() {
        let escaped = escape(&character.to_string());
        length += escaped.chars().count();
        if length > SECTION - 200 {
            shown.push('…');
            break;
        }
        shown += &escaped;
    }
    format!("```{shown}```")
}

/// Slack's three characters of control.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// How a message mentions a user (`U123` or `W123`), a group (`S123`), or all.
fn mention(id: &str) -> String {
    let id = id.trim_matches(|c| matches!(c, '<' | '>' | '@' | '!'));
    match id {
        "here" | "channel" | "everyone" => format!("<!{id}>"),
        _ if id.starts_with('S') => format!("<!subteam^{id}>"),
        _ => format!("<@{}>", escape(id)),
    }
}

/// The way out of the refusals that a wrong setting brings.
fn advice(error: &str) -> &'static str {
    match error {
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
            "; check reporting.slack.bot_token, a bot's token that begins with xoxb-"
        }
        "channel_not_found" => {
            "; check reporting.slack.channel, and invite the bot if the channel is private"
        }
        "not_in_channel" => "; invite the bot to the channel",
        "is_archived" => "; the channel is archived: name another in reporting.slack.channel",
        "missing_scope" => "; give the bot the scope chat:write",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_of_every_kind() {
        for (id, expected) in [
            ("U123", "<@U123>"),
            ("@U123", "<@U123>"),
            ("<@W1>", "<@W1>"),
            ("S77", "<!subteam^S77>"),
            ("here", "<!here>"),
            ("@channel", "<!channel>"),
        ] {
            assert_eq!(mention(id), expected);
        }
    }

    #[test]
    fn texts_stay_what_they_are_and_within_the_limit() {
        assert_eq!(
            preformatted("a < b & ```c```"),
            "```a &lt; b &amp; '''c'''```"
        );
        for text in ["x".repeat(9000), "&".repeat(9000), "ä".repeat(9000)] {
            let shown = preformatted(&text);
            assert!(shown.chars().count() < SECTION, "{}", shown.len());
            assert!(shown.ends_with("…```") && !shown.contains("&amp…"));
        }
    }
}

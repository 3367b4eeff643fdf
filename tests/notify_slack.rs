//! Posts of failures to a Slack of our own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::certificates::Certificates;
use crate::support::peer::spoil;
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;

const TOKEN: &str = "xoxb-slack-swordfish";

/// A request that Slack got: its first line and headers in lower case, its body.
struct Request {
    head: String,
    body: Value,
}

/// A Slack that gives these answers, one after the other, as (status, further
/// headers, body); then it hangs.
struct Slack {
    port: u16,
    scheme: &'static str,
    requests: Receiver<Request>,
}

impl Slack {
    fn start(answers: &[(&str, &str, &str)]) -> Slack {
        Slack::with_tls(answers, None)
    }

    fn with_tls(answers: &[(&str, &str, &str)], tls: Option<&Certificates>) -> Slack {
        let config = tls.map(|certificates| Arc::clone(&certificates.config));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = channel();
        let answers: Vec<String> = answers
            .iter()
            .map(|(status, headers, body)| {
                let length = body.len();
                format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n{body}"
                )
            })
            .collect();
        thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut stream: Box<dyn Stream> = match &config {
                    None => Box::new(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        Box::new(StreamOwned::new(connection, stream))
                    }
                };
                let Some(request) = read(&mut stream) else {
                    continue;
                };
                sender.send(request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
            let held = listener.accept();
            thread::sleep(Duration::from_secs(120));
            drop(held);
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        Slack {
            port,
            scheme,
            requests,
        }
    }

    /// An archiver with this Slack: two runs, of which the second can't be imported.
    fn archiver(&self, more: &str) -> Test {
        let test = Test::new().records_in([7, 8]).set(
            "reporting.slack",
            &format!(
                "{{enabled: true, bot_token: {TOKEN}, channel: \"#alerts\", api_url: \
                 \"{}://127.0.0.1:{}/api\", {more}}}",
                self.scheme, self.port
            ),
        );
        spoil(&test.records(), 8);
        test
    }

    fn request(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(30)).unwrap()
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A request; none where the client goes away.
fn read(stream: &mut dyn Stream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Some(Request {
        head,
        body: serde_json::from_slice(&body).unwrap(),
    })
}

const OK: (&str, &str, &str) = ("200 OK", "", r#"{"ok": true, "ts": "1.2"}"#);

#[test]
fn one_post_with_blocks_and_mentions() {
    let slack = Slack::start(&[OK]);
    let test = slack.archiver("mention_users: \"U123456, S77\"");
    test.run(&["-v"])
        .exits(1)
        .says("Notification sent: Slack channel #alerts")
        .does_not_say(TOKEN);
    let Request { head, body } = slack.request();
    assert!(
        head.starts_with("post /api/chat.postmessage http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains(&format!("authorization: bearer {TOKEN}\r\n")));
    assert!(head.contains("content-type: application/json; charset=utf-8\r\n"));
    assert!(slack.requests.try_recv().is_err());

    assert_eq!(body["channel"], "#alerts");
    let text = body["text"].as_str().unwrap();
    assert!(
        text.starts_with("Run Record Archiver on ")
            && text.ends_with("1 run failed (import) <@U123456> <!subteam^S77>"),
        "{text}"
    );
    let blocks = body["blocks"].as_array().unwrap();
    let kinds: Vec<_> = blocks.iter().map(|block| &block["type"]).collect();
    assert_eq!(
        kinds,
        ["header", "section", "section", "section", "section"]
    );
    let fields = blocks[1]["fields"].as_array().unwrap();
    let names: Vec<_> = fields
        .iter()
        .map(|field| field["text"].as_str().unwrap().split('\n').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["*Host:*", "*Time:*", "*Command:*", "*Exit code:*", "*Log:*"]
    );
    let section = |index: usize| blocks[index]["text"]["text"].as_str().unwrap();
    assert!(section(2).starts_with("*Import Stage:* 1 run failed, 1 imported\n```8: "));
    assert!(section(2).contains("8/tpc01.fcl"));
    assert!(section(3).contains("--retry-failed-import (takes the 1 run(s)"));
    assert_eq!(section(4), "<@U123456> <!subteam^S77>");
}

#[test]
fn refusals_are_logged_with_the_way_out() {
    for (answer, part) in [
        (
            r#"{"ok": false, "error": "invalid_auth"}"#,
            "check reporting.slack.bot_token",
        ),
        (
            r#"{"ok": false, "error": "channel_not_found"}"#,
            "check reporting.slack.channel",
        ),
        (
            r#"{"ok": false, "error": "not_in_channel"}"#,
            "invite the bot",
        ),
        (r#"{"ok": false, "error": "missing_scope"}"#, "chat:write"),
        (r#"{"ok": false}"#, "no reason given"),
        ("<html>", "the answer is not Slack's"),
    ] {
        let slack = Slack::start(&[("200 OK", "", answer)]);
        slack
            .archiver("")
            .run(&[])
            .exits(1)
            .says("Notification failed: Slack channel #alerts: http://127.0.0.1:")
            .says(part)
            .does_not_say("trying again")
            .does_not_say(TOKEN);
    }
    let slack = Slack::start(&[("404 Not Found", "", "")]);
    slack.archiver("").run(&[]).exits(1).says("HTTP status 404");
}

#[test]
fn a_busy_slack_is_tried_again_when_it_says() {
    let busy = ("429 Too Many Requests", "Retry-After: 2\r\n", "");
    let slack = Slack::start(&[busy, OK]);
    let test = slack.archiver("");
    test.run(&[])
        .exits(1)
        .says("HTTP status 429")
        .says("trying again in 2 s")
        .says("Notification sent");
    assert_eq!(slack.request().body["text"], slack.request().body["text"]);
    // It is not waited for longer than a notification may take.
    for asked in [
        "Retry-After: 3600\r\n",
        "Retry-After: 18446744073709551615\r\n",
    ] {
        let slack = Slack::start(&[("503 Unavailable", asked, "")]);
        slack
            .archiver("")
            .run(&[])
            .exits(1)
            .says("HTTP status 503")
            .does_not_say("panicked")
            .does_not_say("trying again");
    }
}

#[test]
fn a_slack_that_hangs_keeps_nobody() {
    let slack = Slack::start(&[]);
    let test = slack.archiver("").set("reporting.timeout_seconds", "1.5");
    let begun = Instant::now();
    test.run(&[]).exits(1).says("Notification failed: Slack");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn certificates_are_checked() {
    let certificates = Certificates::new();
    let slack = Slack::with_tls(&[OK, OK], Some(&certificates));
    let test = slack.archiver("");
    test.run(&[])
        .exits(1)
        .says("Notification failed: Slack channel #alerts: https://127.0.0.1:")
        .says("UnknownIssuer; name the server's CA in reporting.slack.ca_file")
        .does_not_say("trying again");
    let ca_file = test.path().join("ca.pem");
    std::fs::write(&ca_file, &certificates.ca).unwrap();
    let test = slack.archiver(&format!("ca_file: {}", ca_file.display()));
    test.run(&[]).exits(1).says("Notification sent");
    let head = slack.request().head;
    assert!(head.contains(&format!("authorization: bearer {TOKEN}\r\n")));
}

#[test]
fn a_stage_that_could_not_begin_is_told() {
    let slack = Slack::start(&[OK]);
    let test = slack.archiver("");
    // The first stage stops before it does anything.
    std::fs::remove_dir_all(test.records()).unwrap();
    test.run(&["--import-only"])
        .exits(1)
        .says("Notification sent");
    assert!(
        slack.request().body["text"]
            .as_str()
            .unwrap()
            .contains("import stopped")
    );
}

#[test]
fn a_token_in_a_file_of_its_own() {
    let slack = Slack::start(&[OK]);
    let test = slack.archiver("");
    let file = test.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let test = test.set(
        "reporting.slack",
        &format!(
            "{{enabled: true, bot_token_file: slack_token, channel: C1, api_url: \
             \"http://127.0.0.1:{}/api\"}}",
            slack.port
        ),
    );
    std::fs::rename(file, test.path().join("slack_token")).unwrap();
    let output = test
        .command(&[])
        .env("CREDENTIALS_DIRECTORY", test.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("Notification sent: Slack channel C1"),
        "{said}"
    );
    let head = slack.request().head;
    assert!(head.contains(&format!("authorization: bearer {TOKEN}\r\n")));
}

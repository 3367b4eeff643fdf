//! A real mail server (aiosmtpd) with certificates of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::certificates::Certificates;
use super::peer::{Server, peer};
use super::project;

/// The login that the server demands.
pub const USER: &str = "archiver";
pub const PASSWORD: &str = "mail-swordfish";

/// A mail server under way.
pub struct SmtpServer {
    pub port: u16,
    /// The certificate of the authority that signed the server's.
    pub ca_file: PathBuf,
    server: Server,
    lines: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

/// A mail that the server took.
#[derive(Debug)]
pub struct Mail {
    pub envelope: Value,
    /// The headers, unfolded.
    pub headers: Vec<String>,
    /// The body, decoded.
    pub body: String,
}

impl Mail {
    /// The value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        let found = self
            .headers
            .iter()
            .find_map(|line| line.strip_prefix(&start));
        found.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }
}

impl SmtpServer {
    /// Starts a server: `tls` is `none`, `starttls` or `tls`. `None` where
    /// aiosmtpd is missing, but not under CI.
    pub fn start(tls: &str, login: bool, busy: usize) -> Option<SmtpServer> {
        let python = peer(
            "aiosmtpd",
            Some(project("target/smtpd-venv/bin/python")),
            "run tests/install_smtpd.sh",
        )?;
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let certificates = Certificates::new();
        fs::write(file("ca.pem"), certificates.ca).unwrap();
        fs::write(file("cert.pem"), certificates.server).unwrap();
        fs::write(file("key.pem"), certificates.key).unwrap();
        let mut settings = json!({
            "tls": tls, "cert": file("cert.pem"), "key": file("key.pem"), "busy": busy,
        });
        if login {
            settings["user"] = USER.into();
            settings["password"] = PASSWORD.into();
        }
        let mut child = Command::new(python)
            .arg(project("tests/support/smtp_server.py"))
            .arg(settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let server = Server(child);
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        Some(SmtpServer {
            port: port.trim().parse().expect("the server has started"),
            ca_file: file("ca.pem"),
            server,
            lines,
            _directory: directory,
        })
    }

    /// Stops the server and gives the mails that it took.
    pub fn mails(mut self) -> Vec<Mail> {
        drop(self.server.0.stdin.take());
        let lines = self.lines.by_ref().lines().map(Result::unwrap);
        lines.map(|line| mail(&line)).collect()
    }
}

fn mail(line: &str) -> Mail {
    let mut envelope: Value = serde_json::from_str(line).unwrap();
    let content = envelope["content"].take();
    let content = content.as_str().unwrap();
    let (head, body) = content.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ");
    let headers: Vec<String> = head.lines().map(str::to_owned).collect();
    let body = match () {
        () if head.contains("Content-Transfer-Encoding: quoted-printable") => unquote(body),
        () if head.contains("Content-Transfer-Encoding: base64") => panic!("base64: {body}"),
        () => body.to_owned(),
    };
    Mail {
        envelope,
        headers,
        body: body.replace("\r\n", "\n"),
    }
}

/// Undoes quoted-printable.
fn unquote(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('=') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap()
}

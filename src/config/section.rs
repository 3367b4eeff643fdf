//! Typed reading of the sections of a configuration, with every fault and
//! every unknown key collected on the way.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::confidential::{mask, may_hold_secret};
use super::expand::{Secrets, join, nearest};
use super::secret;
use super::yaml::{Node, Value};
use crate::error::{Diagnostic, Severity};

/// What reading has found so far.
#[derive(Debug)]
pub(super) struct Findings {
    file: PathBuf,
    diagnostics: Vec<Diagnostic>,
    secrets: Secrets,
}

impl Findings {
    /// Nothing yet.
    pub fn of(file: &Path, secrets: &Secrets) -> Findings {
        Findings {
            secrets: secrets.clone(),
            file: file.to_path_buf(),
            diagnostics: Vec::new(),
        }
    }

    /// Adds what was found.
    pub fn add(&mut self, severity: Severity, line: Option<usize>, key: String, text: String) {
        self.diagnostics.push(Diagnostic {
            file: self.file.clone(),
            line,
            key,
            severity,
            text,
        });
    }

    /// A message about the value of a key, which is not in it if it is a secret.
    pub fn discreet(&self, key: &str, value: &str, message: &str) -> String {
        match self.secrets.hidden.contains(key) {
            true => mask(message, value),
            false => message.to_owned(),
        }
    }

    /// How many errors there are.
    fn errors(&self) -> usize {
        let errors = self.diagnostics.iter();
        errors
            .filter(|found| found.severity == Severity::Error)
            .count()
    }

    /// The warnings, in the order in which they were found; or, if there are errors,
    /// all of these in the order of the file.
    pub fn into_warnings(self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let (mut errors, warnings): (Vec<_>, Vec<_>) = self
            .diagnostics
            .into_iter()
            .partition(|found| found.severity == Severity::Error);
        errors.sort_by_key(|error| error.line);
        match errors.is_empty() {
            true => Ok(warnings),
            false => Err(errors),
        }
    }
}

/// One section under reading. A section that is not in the file reads as empty.
pub(super) struct Section<'a> {
    findings: &'a mut Findings,
    /// Keys that other values refer to: known by that, whatever their name.
    referenced: &'a BTreeSet<String>,
    path: &'a str,
    node: Option<&'a Node>,
    asked: Vec<&'static str>,
    /// The section is switched off: what can't be resolved in it is not needed.
    off: bool,
}

impl<'a> Section<'a> {
    pub fn new(
        findings: &'a mut Findings,
        referenced: &'a BTreeSet<String>,
        path: &'a str,
        node: Option<&'a Node>,
    ) -> Section<'a> {
        let mut section = Section {
            findings,
            referenced,
            path,
            node: None,
            asked: Vec::new(),
            off: false,
        };
        match node {
            Some(node) if matches!(node.value, Value::Section(_)) => section.node = Some(node),
            None
            | Some(Node {
                value: Value::Null, ..
            }) => {}
            Some(node) => section.findings.add(
                Severity::Error,
                Some(node.line),
                path.to_owned(),
                "expected a section with keys of its own, indented below it".into(),
            ),
        }
        section
    }

    /// A key that may be absent; `null` and an empty text count as absent.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (line, text) = self.text_of(key)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                let path = join(self.path, key);
                let problem = self.findings.discreet(&path, &text, &problem);
                self.fault(Some(line), key, problem);
                None
            }
        }
    }

    /// A key with a default.
    pub fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// A key without which nothing works; its absence is a fault, and the
    /// value then only a stand-in.
    pub fn required<T: Default>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.required_else(key, example, read, T::default)
    }

    /// The same, with a stand-in of its own.
    pub fn required_else<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
        stand_in: impl FnOnce() -> T,
    ) -> T {
        let faults = self.findings.errors();
        match self.optional(key, read) {
            Some(value) => value,
            None => {
                if self.findings.errors() == faults {
                    self.missing(key, example);
                }
                stand_in()
            }
        }
    }

    fn missing(&mut self, key: &str, example: &str) {
        let line = self.entry(key).map(|node| node.line);
        let line = line.or_else(|| self.node.map(|node| node.line));
        self.fault(
            line,
            key,
            format!("is required, for example `{key}: {example}`"),
        );
    }

    /// A secret: the value of `key`, or what the file holds that `file_key`
    /// names. With an `example` one of the two is required.
    pub fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        credentials: Option<&Path>,
        example: Option<&str>,
    ) -> Option<SecretString> {
        let faults = self.findings.errors();
        let value = self.optional(key, |value| Ok(SecretString::from(value)));
        let file = self.text_of(file_key).filter(|_| !self.off);
        match (value, file) {
            (Some(_), Some((line, _))) => {
                self.fault(
                    Some(line),
                    file_key,
                    format!("`{key}` gives the secret itself: leave one of the two out"),
                );
                None
            }
            (None, Some((line, name))) => match secret::read(&name, credentials) {
                Ok((secret, warning)) => {
                    if let Some(warning) = warning {
                        self.warn(file_key, &warning);
                    }
                    Some(secret)
                }
                Err(problem) => {
                    self.fault(Some(line), file_key, problem);
                    None
                }
            },
            (value, None) => {
                if let (None, Some(example)) = (&value, example)
                    && self.findings.errors() == faults
                {
                    self.missing(key, example);
                }
                value
            }
        }
    }

    /// Whether the section's `enabled` is true. Once it is found false, what
    /// can't be resolved in the section no longer matters.
    pub fn enabled(&mut self, key: &'static str) -> bool {
        let enabled = self.or(key, false, truth);
        self.off = !enabled;
        enabled
    }

    /// A required key if the section is enabled, else one that may be absent.
    pub fn required_if<T: Default>(
        &mut self,
        enabled: bool,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        if enabled {
            self.required(key, example, read)
        } else {
            self.optional(key, read).unwrap_or_default()
        }
    }

    /// Whether the key stands in the file, even as `null`.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.asked.push(key);
        self.entry(key).is_some()
    }

    /// Whether the key stands in the file as `null`.
    pub fn is_null(&self, key: &str) -> bool {
        self.entry(key)
            .is_some_and(|node| node.value == Value::Null)
    }

    /// The keys that hold sections of their own and are read elsewhere.
    pub fn also(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    /// A deprecated or doubtful use.
    pub fn warn(&mut self, key: &str, text: &str) {
        let path = join(self.path, key);
        let line = self.entry(key).map_or(1, |node| node.line);
        self.findings
            .add(Severity::Warning, Some(line), path, text.to_owned());
    }

    /// Warns about every key that nothing asked for.
    pub fn finish(self) {
        let Some(node) = self.node else { return };
        for entry in node.value.entries() {
            let path = join(self.path, &entry.key);
            let known = self.asked.contains(&entry.key.as_str());
            if known || self.referenced.contains(&path) {
                continue;
            }
            let hint = nearest(&entry.key, self.asked.iter().copied())
                .map(|near| format!(": did you mean `{near}`?"))
                .unwrap_or_else(|| ": it has no effect".into());
            let text = format!("there is no such setting{hint}");
            self.findings
                .add(Severity::UnknownKey, Some(entry.line), path, text);
        }
    }

    fn entry(&self, key: &str) -> Option<&'a Node> {
        let entries = self.node?.value.entries();
        let entry = entries.iter().find(|entry| entry.key == key)?;
        Some(&entry.node)
    }

    fn text_of(&mut self, key: &'static str) -> Option<(usize, String)> {
        self.asked.push(key);
        let node = self.entry(key)?;
        match &node.value {
            Value::Null => None,
            Value::Scalar(text) if text.is_empty() => None,
            Value::Scalar(text) => {
                let path = join(self.path, key);
                let secrets = &self.findings.secrets;
                if secrets.made_of_secrets.contains(&path) && !may_hold_secret(&path) {
                    self.fault(
                        Some(node.line),
                        key,
                        "it refers to a secret, but is shown in messages: only a password or \
                         token may refer to one, and artdaq_db.database_uri",
                    );
                    return None;
                }
                Some((node.line, text.clone()))
            }
            Value::Unresolved(_) if self.off => None,
            Value::Unresolved(problem) => {
                self.fault(Some(node.line), key, problem.clone());
                None
            }
            Value::List(_) => {
                self.fault(Some(node.line), key, "expected one value, found a list");
                None
            }
            Value::Section(_) => {
                self.fault(Some(node.line), key, "expected one value, found a section");
                None
            }
        }
    }

    pub fn fault(&mut self, line: Option<usize>, key: &str, problem: impl Into<String>) {
        let key = join(self.path, key);
        self.findings
            .add(Severity::Error, line, key, problem.into());
    }
}

/// Any text, as it is.
#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for all the readers"
)]
pub(super) fn text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

/// Names separated by commas.
#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for all the readers"
)]
pub(super) fn names(value: &str) -> Result<Vec<String>, String> {
    Ok(value
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// `true` and `false`, and what YAML 1.1 takes for them.
pub(super) fn truth(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(format!("expected true or false, found `{value}`")),
    }
}

/// A whole number within a range.
pub(super) fn whole<T>(range: RangeInclusive<T>) -> impl FnOnce(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |value| match value.parse::<T>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "expected a whole number from {} to {}, found `{value}`",
            range.start(),
            range.end()
        )),
    }
}

/// A time in seconds, with or without a fraction, within a range.
pub(super) fn seconds(range: RangeInclusive<f64>) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |value| {
        value
            .parse::<f64>()
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| Duration::try_from_secs_f64(number).ok())
            .ok_or_else(|| {
                format!(
                    "expected seconds from {} to {} (such as 3 or 0.5), found `{value}`",
                    range.start(),
                    range.end()
                )
            })
    }
}

/// A path, made absolute against the current directory.
pub(super) fn path(value: &str) -> Result<PathBuf, String> {
    std::path::absolute(value)
        .map_err(|error| format!("`{value}` can't be made an absolute path: {error}"))
}

/// A level by Python's names, which existing files use.
pub(super) fn level(value: &str) -> Result<log::LevelFilter, String> {
    match value.to_ascii_uppercase().as_str() {
        "DEBUG" => Ok(log::LevelFilter::Debug),
        "INFO" => Ok(log::LevelFilter::Info),
        "WARNING" | "WARN" => Ok(log::LevelFilter::Warn),
        "ERROR" | "CRITICAL" => Ok(log::LevelFilter::Error),
        _ => Err(format!(
            "expected DEBUG, INFO, WARNING, ERROR or CRITICAL, found `{value}`"
        )),
    }
}

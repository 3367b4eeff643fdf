//! Notices by mail.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use secrecy::{ExposeSecret, SecretString};

use super::{Channel, Failure, Notice};
use crate::config::{Email, SmtpEncryption};
use crate::tls;

/// The setting that names the authorities to trust.
const CA_KEY: &str = "reporting.email.smtp_ca_file";

/// Sends notices through a mail server, one message to all recipients.
pub struct Mailer {
    host: String,
    port: u16,
    sender: Mailbox,
    recipients: Vec<Mailbox>,
    encryption: SmtpEncryption,
    /// How the server is known; `None` without encryption.
    tls: Option<TlsParameters>,
    login: Option<(String, SecretString)>,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// Checks the settings; the server is not asked yet.
    ///
    /// # Errors
    /// An address that is none; certificates that can't be used.
    pub fn new(email: &Email) -> Result<Mailer, String> {
        let mailbox = |address: &String| {
            address
                .parse::<Mailbox>()
                .map_err(|error| format!("`{address}` is not a mail address: {error}"))
        };
        Ok(Mailer {
            host: email.smtp_host.clone(),
            port: email.smtp_port,
            sender: mailbox(&email.sender_email)?,
            recipients: email
                .recipient_email
                .iter()
                .map(mailbox)
                .collect::<Result<_, _>>()?,
            encryption: email.smtp_encryption,
            tls: match email.smtp_encryption {
                SmtpEncryption::None => None,
                SmtpEncryption::StartTls | SmtpEncryption::Tls => Some(trust(email)?),
            },
            login: email.smtp_user.clone().zip(email.smtp_password.clone()),
        })
    }

    /// A connection on which mail may be sent.
    fn connect(&self, host: &str, limit: Duration) -> Result<SmtpConnection, Failure> {
        let hello = ClientId::Domain(host.to_owned());
        let from_the_start = match self.encryption {
            SmtpEncryption::Tls => self.tls.as_ref(),
            SmtpEncryption::None | SmtpEncryption::StartTls => None,
        };
        let server = (self.host.as_str(), self.port);
        // A server with several addresses, of which one is dead, gets a chance.
        let patience = Some(limit / 2);
        let mut connection =
            SmtpConnection::connect(server, patience, &hello, from_the_start, None)
                .map_err(|error| self.failure("can't connect", &error, true))?;
        if let (SmtpEncryption::StartTls, Some(tls)) = (self.encryption, &self.tls) {
            connection
                .starttls(tls, &hello)
                .map_err(|error| self.failure("STARTTLS", &error, true))?;
        }
        if let Some((user, password)) = &self.login {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            connection
                .auth(DEFAULT_MECHANISMS, &credentials)
                .map_err(|error| self.failure("login", &error, false))?;
        }
        Ok(connection)
    }

    fn message(&self, notice: &Notice) -> Result<Message, Failure> {
        let host = &notice.context.host;
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut builder = Message::builder()
            .from(self.sender.clone())
            .subject(notice.subject())
            .message_id(Some(format!(
                "<run_record_archiver.{}.{}@{host}>",
                since_1970.as_nanos(),
                std::process::id()
            )))
            .header(ContentType::TEXT_PLAIN);
        for recipient in &self.recipients {
            builder = builder.to(recipient.clone());
        }
        let mut message = builder
            .body(notice.text())
            .map_err(|error| Failure::lasting(format!("the message can't be made: {error}")))?;
        // Nobody's out-of-office reply is wanted.
        message.headers_mut().insert_raw(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".into(),
        ));
        Ok(message)
    }

    fn failure(
        &self,
        what: &str,
        error: &lettre::transport::smtp::Error,
        connects: bool,
    ) -> Failure {
        let mut cause = tls::root_cause(error);
        if let Some(code) = error.status() {
            cause = format!("{code} {cause}");
        }
        let advice = self.advice(what, error, &cause);
        let problem = format!("{}:{}: {what}: {cause}{advice}", self.host, self.port);
        // Untrusted certificates stay untrusted.
        let is_tls = tls::chain(error).any(|source| source.is::<rustls::Error>());
        if error.is_transient()
            || (connects && !is_tls && error.status().is_none() && !error.is_client())
        {
            Failure::passing(problem)
        } else {
            Failure::lasting(problem)
        }
    }

    /// The way out, where one is known.
    fn advice(
        &self,
        what: &str,
        error: &lettre::transport::smtp::Error,
        cause: &str,
    ) -> &'static str {
        let asks_for_login =
            matches!(cause.get(..3), Some("530" | "550" | "554")) && self.login.is_none();
        if cause.contains("UnknownIssuer") {
            "; name the server's CA in reporting.email.smtp_ca_file"
        } else if what == "login" && error.is_client() {
            "; does the server offer a login on this port and with this smtp_encryption?"
        } else if what == "login" {
            "; check reporting.email.smtp_user and smtp_password"
        } else if what == "STARTTLS" && error.is_client() {
            "; set reporting.email.smtp_encryption to tls (usually port 465) or none"
        } else if asks_for_login && cause.to_lowercase().contains("auth") {
            "; set reporting.email.smtp_user and smtp_password"
        } else if cause.contains("STARTTLS") && self.tls.is_none() {
            "; set reporting.email.smtp_encryption to starttls"
        } else {
            ""
        }
    }
}

impl Channel for Mailer {
    fn name(&self) -> String {
        let addresses: Vec<_> = self.recipients.iter().map(|to| to.email.as_ref()).collect();
        format!("mail to {}", addresses.join(", "))
    }

    fn deliver(&self, notice: &Notice, until: Instant) -> Result<(), Failure> {
        let message = self.message(notice)?.formatted();
        let limit = until.saturating_duration_since(Instant::now());
        let mut connection = self.connect(&notice.context.host, limit)?;
        let broken = |what: &str, error| self.failure(what, &error, false);
        let left = until.saturating_duration_since(Instant::now());
        connection
            .set_timeout(Some(left.max(Duration::from_millis(1))))
            .map_err(|error| Failure::lasting(error.to_string()))?;

        let mut options = Vec::new();
        if connection
            .server_info()
            .supports_feature(Extension::EightBitMime)
        {
            options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        connection
            .command(Mail::new(Some(self.sender.email.clone()), options))
            .map_err(|error| broken("the sender was refused", error))?;
        // One address that is gone must not keep the message from the others.
        let mut refused = Vec::new();
        for recipient in &self.recipients {
            let address = recipient.email.clone();
            if let Err(error) = connection.command(Rcpt::new(address.clone(), Vec::new())) {
                if error.status().is_none() {
                    return Err(broken("the connection broke", error));
                }
                refused.push((address, error));
            }
        }
        if refused.len() < self.recipients.len() {
            connection
                .command(Data)
                .and_then(|_| connection.message(&message))
                .map_err(|error| broken("the message was not taken", error))?;
        }
        // What was sent is sent, whatever the server says to the end.
        let _ = connection.quit();
        let none_took_it = refused.len() == self.recipients.len();
        let Some((address, error)) = refused.pop() else {
            return Ok(());
        };
        let mut failure = broken(&format!("{address} was refused"), error);
        for (address, error) in refused {
            let other = broken(&format!("{address} was refused"), error);
            failure.problem = format!("{}; {}", other.problem, failure.problem);
        }
        if !none_took_it {
            failure.problem += "; the other recipients got it";
            failure.again = None;
        }
        Err(failure)
    }
}

fn trust(email: &Email) -> Result<TlsParameters, String> {
    tls::install_provider();
    let mut builder = TlsParameters::builder(email.smtp_host.clone());
    if let Some(file) = &email.smtp_ca_file {
        let pem = tls::authorities(file, CA_KEY)?;
        let certificates = Certificate::from_pem(&pem)
            .map_err(|error| format!("{CA_KEY} {}: {error}", file.display()))?;
        builder = builder.add_root_certificate(certificates);
    }
    builder.build().map_err(|error| {
        format!(
            "TLS can't be set up: {}: install the system's CA certificates (package \
             ca-certificates) or name the server's CA in {CA_KEY}",
            tls::root_cause(&error)
        )
    })
}

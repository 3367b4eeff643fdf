//! Who is told: mail, Slack, Carbon. Nothing is sent; the servers of mail and
//! Carbon are connected to and left again.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use secrecy::ExposeSecret;

use super::Sheet;
use crate::config::{Carbon, Email, Slack, SmtpEncryption};
use crate::reporter::notify::{self, Mailer};

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn email(email: &Email, sheet: &mut Sheet<'_>) {
    if !email.enabled {
        return sheet.good("Mail: off (reporting.email.enabled)");
    }
    if let Err(problem) = Mailer::new(email) {
        return sheet.fail(format!("Mail: {problem}; correct reporting.email"));
    }
    if email.smtp_user.is_some() != email.smtp_password.is_some() {
        sheet.fail("Mail: smtp_user and smtp_password go together: set both or neither");
    } else if email.smtp_user.is_some() && email.smtp_encryption == SmtpEncryption::None {
        sheet.doubt(
            "Mail: the password is sent without encryption: set smtp_encryption to starttls",
        );
    }
    match connect(&email.smtp_host, email.smtp_port) {
        Ok(()) => sheet.good(format!(
            "Mail: {}:{} accepts connections; failures are mailed to {}",
            email.smtp_host,
            email.smtp_port,
            email.recipient_email.join(", ")
        )),
        Err(error) => sheet.fail(format!(
            "Mail: {}:{} can't be reached: {error}; check reporting.email.smtp_host and smtp_port",
            email.smtp_host, email.smtp_port
        )),
    }
}

pub(super) fn slack(slack: &Slack, sheet: &mut Sheet<'_>) {
    if !slack.enabled {
        return sheet.good("Slack: off (reporting.slack.enabled)");
    }
    if let Err(problem) = notify::Slack::new(slack) {
        return sheet.fail(format!("Slack: {problem}"));
    }
    let mut is_well = true;
    if !slack.bot_token.expose_secret().starts_with("xoxb-") {
        is_well = false;
        sheet.fail("Slack: reporting.slack.bot_token is no bot's token: those begin with xoxb-");
    }
    if slack.channel.contains(char::is_whitespace) {
        is_well = false;
        sheet.fail(format!(
            "Slack: {:?} is neither a channel's name nor its ID; correct reporting.slack.channel",
            slack.channel
        ));
    }
    for user in slack.mention_users.iter().filter(|user| !is_user_id(user)) {
        is_well = false;
        sheet.doubt(format!(
            "Slack: {user:?} of reporting.slack.mention_users is no user ID such as U123456, and \
             mentions nobody"
        ));
    }
    if is_well {
        sheet.good(format!(
            "Slack: settings complete; failures are posted to {} (the token is not tried)",
            slack.channel
        ));
    }
}

pub(super) fn carbon(carbon: &Carbon, sheet: &mut Sheet<'_>) {
    if !carbon.enabled {
        return sheet.good("Carbon: off (carbon.enabled)");
    }
    match connect(&carbon.host, carbon.port) {
        Ok(()) => sheet.good(format!(
            "Carbon: {}:{} accepts connections",
            carbon.host, carbon.port
        )),
        // An execution does its work without it.
        Err(error) => sheet.doubt(format!(
            "Carbon: {}:{} can't be reached: {error}; check carbon.host and carbon.port",
            carbon.host, carbon.port
        )),
    }
}

/// `U123456`, or `W123456` in an enterprise.
fn is_user_id(user: &str) -> bool {
    user.strip_prefix(['U', 'W'])
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric()))
}

fn connect(host: &str, port: u16) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids() {
        for (user, is_one) in [
            ("U123456", true),
            ("W0A", true),
            ("@joe", false),
            ("U", false),
        ] {
            assert_eq!(is_user_id(user), is_one, "{user}");
        }
    }
}

//! Mail of failures, to a real mail server.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::peer::{self, spoil, wait_for};
use crate::support::smtp::{PASSWORD, SmtpServer, USER};
use rustix::process::{Pid, Signal, kill_process};

/// An archiver with mail: two runs, of which the second can't be imported.
fn failing(port: u16, more: &str) -> Test {
    let test = Test::new().records_in([7, 8]);
    spoil(&test.records(), 8);
    with_mail(test, port, "team@example.com, boss@example.com", more)
}

fn with_mail(test: Test, port: u16, recipients: &str, more: &str) -> Test {
    test.set(
        "reporting.email",
        &format!(
            "{{enabled: true, recipient_email: \"{recipients}\", sender_email: \
             \"Archiver <archiver@example.com>\", smtp_host: localhost, smtp_port: {port}, {more}}}"
        ),
    )
}

fn login(server: &SmtpServer) -> String {
    format!(
        "smtp_user: {USER}, smtp_password: {PASSWORD}, smtp_ca_file: {}",
        server.ca_file.display()
    )
}

#[test]
fn one_mail_to_all_with_starttls_and_login() {
    let Some(server) = SmtpServer::start("starttls", true, 0) else {
        return;
    };
    let more = format!("smtp_use_tls: true, {}", login(&server));
    let test = failing(server.port, &more);
    test.run(&[])
        .exits(1)
        .says("Notification sent: mail to team@example.com, boss@example.com")
        .does_not_say(PASSWORD);
    assert_eq!(test.migrated(), [7]);

    let mails = server.mails();
    let [mail] = &mails[..] else {
        panic!("{mails:?}")
    };
    assert_eq!(mail.envelope["from"], "archiver@example.com");
    let to = &mail.envelope["to"];
    assert_eq!(
        to,
        &serde_json::json!(["team@example.com", "boss@example.com"])
    );
    assert_eq!(mail.envelope["encrypted"], true);
    assert_eq!(mail.envelope["login"], USER);
    let host = rustix::system::uname();
    let host = host.nodename().to_str().unwrap();
    assert_eq!(mail.envelope["hello"], host);
    assert_eq!(
        mail.header("Subject"),
        format!("Run Record Archiver on {host}: 1 run failed (import)")
    );
    assert_eq!(mail.header("From"), "Archiver <archiver@example.com>");
    assert_eq!(mail.header("To"), "team@example.com, boss@example.com");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Message-ID").ends_with(&format!("@{host}>")));
    assert!(mail.header("Date").len() > 20);
    let config = test.path().join("config.yaml");
    for line in [
        "1 run failed (import).\n".to_owned(),
        format!("Host:      {host}\n"),
        format!("Command:   ./run_archiver.sh {}\n", config.display()),
        "Exit code: 1\n".into(),
        format!("Log:       {}\n", test.work("archiver.log").display()),
        "Import Stage: 1 run failed, 1 imported\n  8: ".into(),
        "8/tpc01.fcl".into(),
        format!(
            "Next:\n  ./run_archiver.sh {} --retry-failed-import (takes the 1 run(s)",
            config.display()
        ),
    ] {
        assert!(mail.body.contains(&line), "{line}\n{}", mail.body);
    }
    assert!(!mail.body.contains("Migrate"), "{}", mail.body);
}

#[test]
fn tls_from_the_start_and_none_at_all() {
    for (encryption, is_encrypted) in [("tls", true), ("none", false)] {
        let Some(server) = SmtpServer::start(encryption, true, 0) else {
            return;
        };
        let more = format!("smtp_encryption: {encryption}, {}", login(&server));
        failing(server.port, &more)
            .run(&[])
            .exits(1)
            .says("Notification sent");
        let mails = server.mails();
        assert_eq!(mails.len(), 1);
        assert_eq!(mails[0].envelope["encrypted"], is_encrypted);
        assert_eq!(mails[0].envelope["login"], USER);
    }
}

#[test]
fn the_older_settings_send_too() {
    let Some(server) = SmtpServer::start("starttls", true, 0) else {
        return;
    };
    let test = Test::new()
        .record(8)
        .set("reporting.send_email_on_error", "true")
        .set("reporting.recipient_email", "team@example.com")
        .set("reporting.sender_email", "archiver@example.com")
        .set("reporting.smtp_host", "127.0.0.1")
        .set("reporting.smtp_port", &server.port.to_string())
        .set("reporting.smtp_user", USER)
        .set("reporting.smtp_password", PASSWORD)
        .set(
            "reporting.smtp_ca_file",
            &server.ca_file.display().to_string(),
        );
    spoil(&test.records(), 8);
    test.run(&["--import-only"])
        .exits(1)
        .says("reporting.send_email_on_error: deprecated")
        .says("Notification sent");
    assert_eq!(server.mails().len(), 1);
}

#[test]
fn one_mail_for_both_stages_and_many_runs() {
    let Some(server) = SmtpServer::start("none", false, 0) else {
        return;
    };
    let port = peer::free_port();
    let test = Test::new()
        .records_in(100..125)
        .set("app.batch_size", "0")
        .set(
            "ucon_db.server_url",
            &format!("http://127.0.0.1:{port}/app"),
        );
    for run in 101..115 {
        spoil(&test.records(), run);
    }
    let test = with_mail(test, server.port, "team@example.com", "");
    test.run(&["--incremental"]).exits(1);
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let body = &mails[0].body;
    for part in [
        "14 runs failed (import), migrate stopped.",
        " --incremental\n",
        "  110: ",
        "  and 4 more: 111-114\n",
        "Migrate Stage: ",
        &format!("127.0.0.1:{port}"),
        "--retry-failed-import (takes the 14 run(s)",
        "put right what",
    ] {
        assert!(body.contains(part), "{part}\n{body}");
    }
    assert!(!body.contains("  111: "), "{body}");
}

#[test]
fn success_and_dry_runs_send_nothing() {
    let Some(server) = SmtpServer::start("none", false, 0) else {
        return;
    };
    let good = with_mail(Test::new().record(7), server.port, "a@b", "");
    good.run(&[]).exits(0).does_not_say("otification");
    failing(server.port, "")
        .run(&["--dry-run"])
        .exits(0)
        .does_not_say("otification");
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn what_a_server_refuses_is_logged_and_changes_nothing() {
    let Some(server) = SmtpServer::start("starttls", true, 0) else {
        return;
    };
    let ca = format!("smtp_ca_file: {}", server.ca_file.display());
    for (more, part) in [
        (
            format!("smtp_use_tls: true, {ca}, smtp_user: {USER}, smtp_password: wrong-secret"),
            "check reporting.email.smtp_user and smtp_password",
        ),
        (
            format!("smtp_use_tls: true, {ca}"),
            "set reporting.email.smtp_user and smtp_password",
        ),
        (
            format!("smtp_use_tls: true, smtp_user: {USER}, smtp_password: wrong-secret"),
            "name the server's CA in reporting.email.smtp_ca_file",
        ),
        (
            String::new(),
            "set reporting.email.smtp_encryption to starttls",
        ),
        (
            "smtp_use_tls: true, smtp_ca_file: /no/such.pem".into(),
            "reporting.email.smtp_ca_file /no/such.pem can't be read",
        ),
    ] {
        let test = failing(server.port, &more);
        let ended = test
            .run(&[])
            .exits(1)
            .says(part)
            .says("✗ EXECUTION COMPLETED WITH FAILURES (exit code: 1)")
            .does_not_say("wrong-secret");
        assert!(
            ended.stderr.contains("ERROR - No notif") || ended.stderr.contains("ERROR - Notif")
        );
        let log = fs::read_to_string(test.work("archiver.log")).unwrap();
        assert!(!log.contains("wrong-secret"));
        assert_eq!(test.migrated(), [7]);
        assert_eq!(test.failures("import_failures.log"), [8]);
    }
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn nothing_is_said_in_the_clear_where_starttls_is_demanded() {
    let Some(server) = SmtpServer::start("none", false, 0) else {
        return;
    };
    failing(server.port, "smtp_use_tls: true")
        .run(&[])
        .exits(1)
        .says("STARTTLS is not supported on this server")
        .says("set reporting.email.smtp_encryption to tls (usually port 465) or none");
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn one_refused_address_keeps_nobody_else_from_it() {
    let Some(server) = SmtpServer::start("none", false, 0) else {
        return;
    };
    let both = "gone@example.com, team@example.com";
    let test = with_mail(failing(server.port, ""), server.port, both, "");
    test.run(&[])
        .exits(1)
        .says("gone@example.com was refused: 550")
        .says("the other recipients got it");
    let test = with_mail(test, server.port, "gone@example.com", "");
    // A run that fails again for the same reason is worth no mail.
    let test = test.record(9);
    spoil(&test.records(), 9);
    test.run(&["--import-only", "--incremental"])
        .exits(1)
        .says("gone@example.com was refused: 550")
        .does_not_say("got it");
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let to = &mails[0].envelope["to"];
    assert_eq!(to, &serde_json::json!(["team@example.com"]));
}

#[test]
fn a_busy_server_is_tried_once_more() {
    let Some(server) = SmtpServer::start("none", false, 2) else {
        return;
    };
    failing(server.port, "")
        .run(&[])
        .exits(1)
        .says("451")
        .says("trying again in 1 s")
        .says("Notification sent");
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
}

#[test]
fn a_server_that_is_not_there_is_logged() {
    failing(peer::free_port(), "")
        .run(&[])
        .exits(1)
        .says("trying again")
        .says("Notification failed: mail to team@example.com, boss@example.com: localhost:");
}

#[test]
fn a_server_that_hangs_keeps_nobody() {
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let test = failing(port, "").set("reporting.timeout_seconds", "1.5");
    let begun = Instant::now();
    test.run(&[]).exits(1).says("Notification failed: mail");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!test.work(".archiver.lock").exists());

    // Ctrl-C leaves it little time.
    let test = test.set("reporting.timeout_seconds", "300").record(9);
    spoil(&test.records(), 9);
    let mut child = test.start(&["--import-only", "--incremental"]);
    let log = || fs::read_to_string(test.work("archiver.log")).unwrap();
    wait_for("the notification", || {
        (log().matches("Sending a notification").count() == 2).then_some(())
    });
    // Nobody else is kept from working meanwhile.
    assert!(!test.work(".archiver.lock").exists());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let asked = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(20));
    assert!(log().contains("not done before the shutdown"), "{}", log());
}

//! Unit files, timers and cron lines, checked by systemd and cron; and the
//! archiver as a service manager starts it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::archiver::Test;
use crate::support::peer::{debian, succeeds};
use crate::support::project;

const INSTANCES: [&str; 4] = [
    "check",
    "compare-state",
    "retry-failed-import",
    "retry-failed-migrate",
];

/// The units as installed, but with the script of this project, which exists here.
fn units() -> (tempfile::TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let script = project("run_archiver.sh").display().to_string();
    let mut units = Vec::new();
    let mut write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        units.push(path);
    };
    for entry in fs::read_dir(project("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "crontab" {
            continue;
        }
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("/opt/run_record_archiver/run_archiver.sh", &script);
        write(name, &text);
        if name == "run-record-archiver@.service" {
            for instance in INSTANCES {
                write(&name.replace('@', &format!("@{instance}")), &text);
            }
        }
    }
    (directory, units)
}

/// What systemd has to say about a unit; nothing if all is well.
fn complaints(systemd: &Path, unit: &Path) -> String {
    let output = Command::new(systemd)
        .args(["--man=no", "--recursive-errors=no", "verify"])
        .arg(unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = unit.file_name().unwrap().to_str().unwrap();
    let own = said.lines().filter(|line| line.contains(name));
    let mut own: String = own.map(|line| format!("{line}\n")).collect();
    if !output.status.success() {
        own += &said;
    }
    own
}

fn unit(name: &str) -> String {
    fs::read_to_string(project("systemd").join(name)).unwrap()
}

#[test]
fn systemd_takes_every_unit() {
    let Some(systemd) = debian("systemd-analyze", "systemd") else {
        return;
    };
    let (_directory, units) = units();
    assert_eq!(units.len(), 4 + 5 + INSTANCES.len());
    for unit in units {
        assert_eq!(complaints(&systemd, &unit), "", "{}", unit.display());
    }
}

#[test]
fn systemd_would_complain() {
    let Some(systemd) = debian("systemd-analyze", "systemd") else {
        return;
    };
    let (_directory, units) = units();
    for (name, from, to) in [
        (
            "run-record-archiver.service",
            "KillMode=mixed",
            "KillMode=mixd",
        ),
        ("run-record-archiver.service", "PrivateTmp=", "PrivatTmp="),
        (
            "run-record-archiver.service",
            "ExecStart=/",
            "ExecStart=/no",
        ),
        (
            "run-record-archiver.timer",
            "OnCalendar=hourly",
            "OnCalendar=ourly",
        ),
    ] {
        let unit = units.iter().find(|unit| unit.ends_with(name)).unwrap();
        let good = fs::read_to_string(unit).unwrap();
        assert!(good.contains(from));
        fs::write(unit, good.replace(from, to)).unwrap();
        assert_ne!(complaints(&systemd, unit), "", "{to}");
        fs::write(unit, good).unwrap();
    }
}

#[test]
fn the_services_are_well_confined() {
    let Some(systemd) = debian("systemd-analyze", "systemd") else {
        return;
    };
    let (_directory, units) = units();
    for unit in units {
        if unit.ends_with("run-record-archiver.service")
            || unit.ends_with("run-record-archiver@check.service")
            || unit.ends_with("run-record-archiver-verify.service")
        {
            // 2.0 of 10, where 10 is no confinement at all.
            succeeds(
                Command::new(&systemd)
                    .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
                    .arg(&unit),
            );
        }
    }
}

#[test]
fn the_services_say_what_the_manual_says() {
    let regular = unit("run-record-archiver.service");
    let other = unit("run-record-archiver@.service");
    let verify = unit("run-record-archiver-verify.service");
    for line in [
        "Type=oneshot",
        "User=archiver",
        "After=network-online.target remote-fs.target",
        "StandardOutput=journal",
        "StandardError=journal",
        "KillSignal=SIGINT",
        "MemoryMax=4G",
        "CPUQuota=200%",
        "TimeoutStartSec=3600",
        // What the archiver exits with after a signal.
        "SuccessExitStatus=130",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "StateDirectory=run_record_archiver",
        "LoadCredential=ucondb_password:/etc/run_record_archiver/ucondb_password",
        "OnFailure=run-record-archiver-failed@%n.service",
    ] {
        for text in [&regular, &other, &verify] {
            assert!(text.lines().any(|other| other == line), "{line}");
        }
    }
    // All are confined in the same way.
    let confinement = |text: &str| text[text.find("# A stop, and").unwrap()..].to_owned();
    assert_eq!(confinement(&regular), confinement(&other));
    assert_eq!(confinement(&regular), confinement(&verify));
    assert!(
        regular.contains("run_archiver.sh /etc/run_record_archiver/config.yaml --incremental\n")
    );
}

#[test]
fn the_timers_come_when_the_manual_says() {
    let Some(systemd) = debian("systemd-analyze", "systemd") else {
        return;
    };
    for (name, calendar, service) in [
        (
            "run-record-archiver",
            "*-*-* *:00:00",
            "run-record-archiver.service",
        ),
        (
            "run-record-archiver-report",
            "*-*-* 06:00:00",
            "run-record-archiver@compare-state.service",
        ),
        (
            "run-record-archiver-verify",
            "*-*-* 01:30:00",
            "run-record-archiver-verify.service",
        ),
        (
            "run-record-archiver-retry-import",
            "Sun *-*-* 02:00:00",
            "run-record-archiver@retry-failed-import.service",
        ),
        (
            "run-record-archiver-retry-migrate",
            "Sun *-*-* 03:00:00",
            "run-record-archiver@retry-failed-migrate.service",
        ),
    ] {
        let text = unit(&format!("{name}.timer"));
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        let said = succeeds(
            Command::new(&systemd)
                .arg("calendar")
                .arg(value("OnCalendar=").unwrap())
                .env("LC_ALL", "C"),
        );
        assert!(said.contains(calendar), "{name}: {said}");
        assert_eq!(value("Persistent="), Some("true"));
        let unit = value("Unit=").map_or_else(|| format!("{name}.service"), str::to_owned);
        assert_eq!(unit, service);
        // What the instance stands for is a flag that there is.
        if let Some(flag) = service.split('@').nth(1) {
            let flag = format!("--{}", flag.strip_suffix(".service").unwrap());
            let help =
                succeeds(Command::new(env!("CARGO_BIN_EXE_run_record_archiver")).arg("--help"));
            assert!(help.contains(&flag), "{flag}");
        }
    }
}

#[test]
fn the_regular_job_stands_back_from_one_at_work() {
    let text = unit("run-record-archiver.service");
    let condition = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecCondition=/bin/sh -c '"))
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join(".archiver.lock");
    let condition = condition.strip_suffix('\'').unwrap().replace(
        "/var/lib/run_record_archiver/.archiver.lock",
        lock.to_str().unwrap(),
    );
    let goes_on = || {
        let status = Command::new("sh")
            .args(["-c", &condition])
            .status()
            .unwrap();
        status.success()
    };
    // It leaves no lock file where there was none.
    assert!(goes_on() && !lock.exists());
    // One that a crash left behind.
    fs::write(&lock, "123456\n").unwrap();
    assert!(goes_on());
    let file = fs::File::open(&lock).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(!goes_on());
}

#[test]
fn cron_takes_the_crontab() {
    let Some(cron) = debian("crontab", "cron") else {
        return;
    };
    let crontab = project("systemd/crontab");
    succeeds(Command::new(&cron).arg("-n").arg(&crontab));
    let text = fs::read_to_string(&crontab).unwrap();
    let jobs: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" exec \"$ARCHIVER\" \"$CONFIG\" "))
        .map(|(time, _)| time)
        .collect();
    let manual = [
        "0 2 * * 0",
        "0 3 * * 0",
        "0 6 * * *",
        "30 1 * * *",
        "5 * * * *",
    ];
    assert_eq!(jobs, BTreeSet::from(manual));

    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("crontab");
    fs::write(&wrong, text.replace("0 6 * * *", "0 26 * * *")).unwrap();
    let output = Command::new(&cron).arg("-n").arg(&wrong).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn every_command_of_the_crontab_is_one() {
    let text = fs::read_to_string(project("systemd/crontab")).unwrap();
    let mut count = 0;
    for line in text.lines() {
        let Some((_, flags)) = line.split_once("\"$ARCHIVER\" \"$CONFIG\" ") else {
            continue;
        };
        count += 1;
        let flags = flags.split(" >>").next().unwrap();
        // A configuration that isn't there: the flags are understood, and no more.
        let output = Command::new(env!("CARGO_BIN_EXE_run_record_archiver"))
            .arg("/no/such/config.yaml")
            .args(flags.split_whitespace())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("the configuration can't be read"),
            "{flags}: {said}"
        );
    }
    assert_eq!(count, 5);
}

#[test]
fn the_journal_gets_plain_lines() {
    let test = Test::new().records_in(1..25).set("app.batch_size", "0");
    let output = test
        .command(&[])
        .env("JOURNAL_STREAM", "8:12345")
        .env("TERM", "xterm-256color")
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Progress: 20/24 runs processed"));
    for line in said.lines() {
        let plain = |c: char| !c.is_control();
        assert!(line.chars().all(plain), "{line:?}");
        assert!(line.contains(" - run_record_archiver"), "{line}");
    }
}

#[test]
fn the_service_manager_hears_how_far_it_is() {
    let test = Test::new().records_in(1..13).set("app.batch_size", "0");
    let socket_file = test.path().join("notify");
    let socket = UnixDatagram::bind(&socket_file).unwrap();
    socket.set_nonblocking(true).unwrap();
    let status = test
        .command(&["-q"])
        .env("NOTIFY_SOCKET", &socket_file)
        .status()
        .unwrap();
    assert!(status.success());
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        heard += std::str::from_utf8(&buffer[..length]).unwrap();
    }
    let lines: Vec<_> = heard.lines().collect();
    assert_eq!(
        lines,
        [
            "STATUS=Import Stage under way",
            "STATUS=Import Stage: 10/12 runs processed (10 successful, 0 failed)",
            "STATUS=Import Stage: 12/12 runs processed (12 successful, 0 failed)",
            "STATUS=Migrate Stage under way",
            "STATUS=Migrate Stage: 10/12 runs processed (10 successful, 0 failed)",
            "STATUS=Migrate Stage: 12/12 runs processed (12 successful, 0 failed)",
        ]
    );
    // A manager that went away is nobody's concern.
    drop(socket);
    let ended = test
        .command(&[])
        .env("NOTIFY_SOCKET", &socket_file)
        .status();
    assert!(ended.unwrap().success());
}

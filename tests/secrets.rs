//! Secrets: files with them that others can read or write are warned about, and none is
//! in any message.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::archiver::{Ended, Test};

/// What must never be printed.
const SECRET: &str = "swordfish42";

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs the archiver as `run_archiver.sh` in this directory does.
fn run(test: &Test, home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = test.command(arguments);
    command.env("RUN_RECORD_ARCHIVER_HOME", home);
    command.env_remove("ARCHIVER_ENV_FILE");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn the_environment_file_is_the_owners_alone() {
    let test = Test::new().record(1);
    let home = test.path().join("home");
    fs::create_dir(&home).unwrap();
    let file = home.join("archiver.env");
    let elsewhere = test.path().join("other env");
    for path in [&file, &elsewhere] {
        fs::write(path, "UCONDB_PASSWORD=x\n").unwrap();
    }
    for (path, quoted) in [
        (&file, file.display().to_string()),
        (&elsewhere, format!("'{}'", elsewhere.display())),
    ] {
        let named = elsewhere.display().to_string();
        let variables = match path == &file {
            true => vec![],
            false => vec![("ARCHIVER_ENV_FILE", named.as_str())],
        };
        let place = path.display();
        for mode in [0o600, 0o640, 0o644, 0o602, 0o666] {
            for other in [&file, &elsewhere]
                .into_iter()
                .filter(|other| other.exists())
            {
                set_mode(other, 0o600);
            }
            set_mode(path, mode);
            let (writes, reads) = (mode & 2 != 0, mode & 4 != 0);
            let by_all = [
                (writes, "write to", format!("chmod o-w {quoted}")),
                (reads, "read", format!("chmod o-r {quoted}")),
            ];
            let ended = run(&test, &home, &variables, &["--incremental"]).exits(0);
            let check = run(&test, &home, &variables, &["--check"]).exits(0);
            for (is_warned, what, command) in by_all {
                let warning = format!("every user can {what} the environment file {place} (mode");
                let log = &ended.stderr;
                assert_eq!(log.contains(&warning), is_warned, "{mode:o}: {log}");
                assert_eq!(log.contains(&command), is_warned, "{mode:o}: {log}");
                let marked = format!("! Rights: {warning}");
                assert_eq!(check.stdout.contains(&marked), is_warned, "{mode:o}");
            }
        }
        fs::remove_file(path).unwrap();
    }
    // There need not be one, and no device is meant.
    for variables in [&[][..], &[("ARCHIVER_ENV_FILE", "/dev/null")]] {
        run(&test, &home, variables, &["--incremental"])
            .exits(0)
            .does_not_say("environment file");
    }
}

#[test]
fn a_password_in_a_configuration_that_all_can_read_is_warned_about() {
    let literal = Test::new().record(1).set("ucon_db.writer_password", SECRET);
    let reference = Test::new()
        .record(1)
        .set("ucon_db.writer_password", "\"${UCONDB_PASSWORD:-}\"");
    let default = Test::new()
        .record(1)
        .set("ucon_db.writer_password", "\"${NO_SUCH:-swordfish42}\"");
    for (test, holds_one) in [(literal, true), (reference, false), (default, true)] {
        let config = test.path().join("config.yaml");
        test.run(&["--incremental"]).exits(0);
        for (mode, is_open) in [(0o644, true), (0o640, false), (0o600, false)] {
            set_mode(&config, mode);
            let warning = format!(
                "every user can read the configuration file {} (mode {mode:04o}), which holds \
                 ucon_db.writer_password: chmod o-r ",
                config.display()
            );
            let is_warned = holds_one && is_open;
            let ended = test.run(&["--incremental"]).exits(0);
            assert_eq!(ended.stderr.contains(&warning), is_warned, "{mode:o}");
            let check = test.run(&["--check"]).exits(0);
            assert_eq!(check.stdout.contains(&warning), is_warned, "{mode:o}");
        }
    }
}

/// Everything that the archiver said and wrote but the configuration and the databases.
fn all_of(test: &Test) -> String {
    let mut text = String::new();
    for arguments in [
        &["--incremental", "-v"][..],
        &["--check"],
        &["--dashboard"],
        &["--report-status", "--format", "html"],
        &["--report-status", "--format", "json"],
        &["--verify"],
        &["--dry-run"],
    ] {
        let ended = test.run(arguments);
        assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
        text += &format!("{arguments:?}\n{}\n{}\n", ended.stdout, ended.stderr);
    }
    for entry in fs::read_dir(test.work("")).into_iter().flatten() {
        let path = entry.unwrap().path();
        text += &format!("{}\n", path.display());
        text += &String::from_utf8_lossy(&fs::read(&path).unwrap_or_default());
    }
    text
}

#[test]
fn no_message_has_a_secret_in_it() {
    let reference = "\"${ucon_db.writer_password}\"";
    let within = "\"x${ucon_db.writer_password}y\"";
    for (key, value) in [
        // A number, a time, a truth value, a name, a path and a URL that refer to it.
        ("app.parallel_workers", reference),
        ("app.parallel_workers", within),
        ("app.retry_delay_seconds", reference),
        ("app.log_level", reference),
        ("artdaq_db.use_tools", reference),
        ("ucon_db.folder_name", reference),
        ("ucon_db.object_name", within),
        ("ucon_db.server_url", reference),
        ("ucon_db.writer_user", reference),
        ("source_files.run_records_dir", within),
        ("carbon.metric_prefix", reference),
        ("reporting.timeout_seconds", reference),
        // By a key of another name, and by the environment.
        ("app.batch_size", "\"${ucon_db.my_token}\""),
        ("app.batch_size", "\"${TEST_API_TOKEN}\""),
        // As a part of the password.
        ("ucon_db.writer_password", "\"a${swordfish42}b\""),
        ("ucon_db.writer_password", "\"a${no.swordfish42}b\""),
        ("ucon_db.writer_password", "\"${swordfish42:-x}b\""),
        ("ucon_db.writer_password", "\"a${b-swordfish42\""),
        ("ucon_db.writer_password", "\"a${swordfish42 }b\""),
        // In a URL.
        (
            "ucon_db.server_url",
            "https://127.0.0.1:1/app?token=swordfish42",
        ),
        ("ucon_db.server_url", "https://127.0.0.1:1/app#swordfish42"),
        (
            "ucon_db.server_url",
            "https://me:swordfish42@127.0.0.1:1/app",
        ),
        ("ucon_db.server_url", "https://swordfish42@127.0.0.1:1/app"),
        ("ucon_db.server_url", "file:///tmp/x?token=swordfish42"),
        (
            "artdaq_db.database_uri",
            "mongodb://me:swordfish42@127.0.0.1:1/db",
        ),
        (
            "artdaq_db.database_uri",
            "mongodb://127.0.0.1:1/db?x=swordfish42",
        ),
        ("artdaq_db.database_uri", "mongodb://me:swordfish42@/"),
        (
            "artdaq_db.database_uri",
            "mongodb://me:${ucon_db.writer_password}@h:p/",
        ),
    ] {
        let mut test = Test::new()
            .record(1)
            .set("ucon_db.writer_password", SECRET)
            .set("ucon_db.my_token", SECRET)
            .set(key, value);
        if key.starts_with("carbon.") {
            test = test
                .set("carbon.enabled", "true")
                .set("carbon.host", "127.0.0.1");
        }
        let mut command = test.command(&["--incremental", "-v"]);
        let output = command.env("TEST_API_TOKEN", SECRET).output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        said += &all_of(&test);
        let what = format!("{key}: {value}");
        assert!(!said.contains("swordfish"), "{what}: {said}");
        assert!(!said.contains("panicked"), "{what}: {said}");
        // What is wrong with it is said nevertheless.
        let name = key.rsplit('.').next().unwrap();
        assert!(
            output.status.success() || said.contains(name),
            "{what}: {said}"
        );
    }
}

/// A chain of references is followed so far, however long it is, in no time.
#[test]
fn references_have_an_end() {
    let chain = |count: usize| {
        let mut yaml = String::from("names:\n");
        for number in 0..count {
            yaml += &format!("    k{number}: \"${{names.k{}}}\"\n", number + 1);
        }
        yaml + &format!("    k{count}: example\n")
    };
    for (count, is_short) in [(98, true), (50_000, false)] {
        let test = Test::new()
            .record(1)
            .set("ucon_db.folder_name", "\"${names.k0}\"");
        let command = test.command(&["--incremental"]);
        let config = test.path().join("config.yaml");
        let text = fs::read_to_string(&config).unwrap() + &chain(count);
        fs::write(&config, text).unwrap();
        let started = std::time::Instant::now();
        let output = std::process::Command::new(command.get_program())
            .args(command.get_args())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_short, "{said}");
        assert_eq!(
            said.contains("more than 100 references"),
            !is_short,
            "{said}"
        );
        println!("{count} references: {:?}", started.elapsed());
        // It took minutes on a loaded machine.
        assert!(started.elapsed().as_secs() < 20);
    }
}

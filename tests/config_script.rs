//! `run_archiver.sh`: what it makes of `archiver.env` and of its arguments,
//! with a program in the archiver's place that shows what it was given.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory with the script and such a program in `bin/`.
fn installed() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("run_archiver.sh");
    fs::copy(script, home.path().join("run_archiver.sh")).unwrap();
    fs::create_dir(home.path().join("bin")).unwrap();
    let program = home.path().join("bin/run_record_archiver");
    fs::write(
        &program,
        "#!/bin/sh\nprintf '[%s]' \"$@\"; printf '\\n%s\\n%s\\n' \"$VALUE\" \"$RUN_RECORD_ARCHIVER_HOME\"\nexit 7\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    home
}

fn run(script: PathBuf, arguments: &[&str]) -> Output {
    Command::new("bash")
        .arg(script)
        .args(arguments)
        .current_dir("/")
        .env("VALUE", "from the environment")
        .env("SET", "a $b")
        .env_remove("UNSET")
        .env_remove("ARCHIVER_ENV_FILE")
        .output()
        .unwrap()
}

/// The program's `VALUE` with this archiver.env, or the script's complaint.
fn value(environment: &str) -> Result<String, String> {
    let home = installed();
    fs::write(home.path().join("archiver.env"), environment).unwrap();
    let output = run(home.path().join("run_archiver.sh"), &[]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.code() {
        Some(7) => Ok(text(output.stdout).lines().nth(1).unwrap().to_owned()),
        _ => Err(text(output.stderr)),
    }
}

#[test]
fn arguments_and_exit_code_pass_through() {
    let home = installed();
    let link = home.path().join("link.sh");
    symlink("run_archiver.sh", &link).unwrap();
    for script in [home.path().join("run_archiver.sh"), link] {
        let output = run(script, &["c.yaml", "--runs", "1, 2"]);
        let path = home.path().canonicalize().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!(
                "[c.yaml][--runs][1, 2]\nfrom the environment\n{}\n",
                path.display()
            )
        );
        assert_eq!(output.status.code(), Some(7));
    }
}

#[test]
fn values_of_the_environment_file() {
    for (environment, expected) in [
        ("", "from the environment"),
        ("# nothing\n\n   # here\n", "from the environment"),
        ("VALUE=plain\n", "plain"),
        ("export VALUE='two words'  # comment", "two words"),
        ("VALUE=\n", ""),
        ("VALUE=\"$SET ${SET}\"\n", "a $b a $b"),
        ("VALUE='$SET'\n", "$SET"),
        ("VALUE=[$UNSET${UNSET:-default}]\n", "[default]"),
        ("A=1\nB=${A}2\nVALUE=$B\n", "12"),
        ("VALUE=\"$(printf '%s' made)\"\n", "made"),
    ] {
        assert_eq!(
            value(environment).as_deref(),
            Ok(expected),
            "{environment:?}"
        );
    }
}

#[test]
fn an_environment_file_that_fails_is_named() {
    for environment in ["VALUE='open\n", "no_such_command_at_all\n"] {
        let complaint = value(environment).unwrap_err();
        assert!(
            complaint.contains("archiver.env"),
            "{environment:?}: {complaint}"
        );
    }
}

#[test]
fn without_program_and_compiler_it_says_what_to_install() {
    let home = installed();
    fs::remove_dir_all(home.path().join("bin")).unwrap();
    let tools = home.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for tool in ["bash", "dirname", "find", "readlink"] {
        let found = ["/usr/bin", "/bin"]
            .map(|directory| Path::new(directory).join(tool))
            .into_iter()
            .find(|path| path.exists())
            .unwrap();
        symlink(found, tools.join(tool)).unwrap();
    }
    let output = Command::new(tools.join("bash"))
        .arg(home.path().join("run_archiver.sh"))
        .env_clear()
        .env("PATH", &tools)
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    for part in ["no Cargo.toml", "https://rustup.rs", "apt-get install gcc"] {
        assert!(complaint.contains(part), "{complaint}");
    }
}

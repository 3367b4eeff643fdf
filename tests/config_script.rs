//! `run_archiver.sh`: what it makes of `archiver.env` and of its arguments,
//! with a program in the archiver's place that shows what it was given.

#![allow(clippy::unwrap_used, reason = "a failed test may end in a panic")]

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
        ("VALUE=no newline", "no newline"),
        ("  export VALUE=two words  # comment\r\n", "two words"),
        ("VALUE=\n", ""),
        ("VALUE=a#b;c&d|e>f(g)*?\n", "a#b;c&d|e>f(g)*?"),
        (
            "VALUE='$SET `x` $(x) \\ \"'  # comment\n",
            "$SET `x` $(x) \\ \"",
        ),
        ("VALUE=\"${SET} $SET $1 5$\"\n", "a $b a $b $1 5$"),
        (
            "VALUE=\"\\\"q\\\" \\$SET \\\\ \\x # no\"\n",
            "\"q\" $SET \\ \\x # no",
        ),
        ("VALUE=[$UNSET${UNSET}]\n", "[]"),
        ("A=1\nB=${A}2\nVALUE=$B\n", "12"),
        ("VALUE=first\nVALUE=last\n", "last"),
        ("VALUE=é ü\n", "é ü"),
    ] {
        assert_eq!(
            value(environment).as_deref(),
            Ok(expected),
            "{environment:?}"
        );
    }
}

#[test]
fn nothing_in_the_environment_file_is_run() {
    for (environment, part) in [
        (
            "\nVALUE=$(touch x)\n",
            "archiver.env:2: commands are not run",
        ),
        ("VALUE=`touch x`\n", ":1: commands are not run"),
        ("VALUE=\"$(touch x)\"\n", ":1: commands are not run"),
        ("VALUE=${SET:-x}\n", "only $NAME and ${NAME}"),
        ("VALUE=\"secret\n", "quotes around the value of VALUE"),
        ("VALUE='secret' more\n", "quotes around the value of VALUE"),
        ("touch x secret\n", ":1: expected NAME=value"),
        ("VALUE = secret\n", ":1: expected NAME=value"),
    ] {
        let complaint = value(environment).unwrap_err();
        assert!(complaint.contains(part), "{environment:?}: {complaint}");
        assert!(!complaint.contains("secret"), "{complaint}");
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

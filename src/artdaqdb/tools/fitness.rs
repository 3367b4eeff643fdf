//! What may reach the tools. bulkdownloader has a shell make the directory of a
//! configuration: what the shell would act on in its name, or in a path before it, is
//! executed, or fails the run; and `..` leads out of the directory.

use std::path::Path;

/// What is a plain character to a shell, to a path and to the tools.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_.,:=@%+-".contains(character)
}

/// Why the tools must not be given a configuration's name, if so.
pub(super) fn of_name(name: &str) -> Option<String> {
    judge(name, is_plain)
}

/// Why bulkloader can't store a configuration of this name, if so: it ends a string of
/// JSON, or would lead elsewhere.
pub(super) fn to_load(name: &str) -> Option<String> {
    judge(name, |character| {
        !"\"'\\`".contains(character) && !character.is_control()
    })
}

fn judge(name: &str, is_fit: impl Fn(char) -> bool) -> Option<String> {
    let problem = if name.contains("..") || name == "." {
        "it would lead out of their directory".to_owned()
    } else if name.starts_with('-') {
        "they would take it for an option".to_owned()
    } else {
        let odd = name.chars().find(|character| !is_fit(*character))?;
        format!("it has {odd:?} in it")
    };
    Some(format!(
        "the tools can't be given the configuration's name {name:?}: {problem}"
    ))
}

/// Why the tools must not be given a path, if so. `what` it is of, stands before it.
pub(super) fn of_path(what: &str, path: &Path) -> Option<String> {
    let shown = path.to_string_lossy();
    let odd = shown
        .chars()
        .find(|character| !is_plain(*character) && *character != '/')?;
    Some(format!(
        "the tools can't be given {what} {shown:?}: it has {odd:?} in it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_acts_on_never_reaches_a_tool() {
        for name in ["BootDAQ", "a_b.c,d:e=f@g%h+i-j", "c0012", "7"] {
            assert_eq!(of_name(name), None, "{name}");
        }
        for odd in "; $()`&|<>\\'\"*?[]{}~!#\t\n/é".chars() {
            let name = format!("a{odd}b");
            assert!(
                of_name(&name).is_some_and(|it| it.contains("in it")),
                "{name}"
            );
        }
        for name in ["..", "../x", "a..b", ".", "-rf"] {
            assert!(of_name(name).is_some() && to_load(name).is_some(), "{name}");
        }
        assert_eq!(to_load("a b;$(c)"), None);
        assert!(to_load("a'b").is_some() && to_load("a\\b").is_some());
        assert_eq!(of_path("x", Path::new("/data/db.1")), None);
        let reason = of_path("the archive", Path::new("/data dir/db")).unwrap();
        assert!(
            reason.contains("the archive \"/data dir/db\": it has ' ' in it"),
            "{reason}"
        );
    }
}

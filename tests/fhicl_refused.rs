//! Real files that are not FHiCL: each error names the line, the column and
//! what was expected, and shows the line with a caret.

use std::collections::BTreeMap;

use crate::support::fhicl::{files, read};
use crate::support::shared;
use run_record_archiver::error::Error;
use run_record_archiver::fhicl;

/// Where each file ceases to be FHiCL, and words of the error; by the end of
/// the file's name.
const REFUSED: &[(&str, usize, usize, &str)] = &[
    (
        "__core__trigServices.fcl",
        68,
        50,
        "expected a name or `}`, found `:` (the word before it is a value already)",
    ),
    (
        "__DAQ_CPP_v1__crt_daq.fcl",
        17,
        1,
        "expected a value after the comma, found `]`",
    ),
    (
        "__artdaqDriver__PTB_driver.fcl",
        11,
        21,
        "expected a name or `}`, found the control character U+0080",
    ),
    (
        "__lifetime__schema.fcl",
        6,
        21,
        "found `\\d` (write a backslash as `\\\\`, or put the string in single quotes)",
    ),
    (
        "__testCRT_bottom__crt_daq.fcl",
        14,
        1,
        "FHiCL has no trailing comma",
    ),
    (
        "__feb149.fcl",
        1,
        35,
        "expected the end of the line after `#include`, found `<`",
    ),
    (
        "__feb151.fcl",
        1,
        35,
        "expected the end of the line after `#include`, found `<`",
    ),
    (
        "__feb156.fcl",
        1,
        35,
        "expected the end of the line after `#include`, found `<`",
    ),
    (
        "__feb158.fcl",
        1,
        35,
        "expected the end of the line after `#include`, found `<`",
    ),
    (
        "__feb182.fcl",
        1,
        35,
        "expected the end of the line after `#include`, found `<`",
    ),
    (
        "__standard__crt03.fcl",
        32,
        28,
        "expected a name or `}`, found `*`",
    ),
    ("__seeddata__schema.fcl", 6, 43, "found `\\d`"),
    (
        "__adv_string_fail.fcl",
        1,
        11,
        "expected a name or the end of the file, found `%678`",
    ),
    (
        "__assoc_fail.fcl",
        6,
        1,
        "expected a value, found the end of the file (`x` of line 5 has no value)",
    ),
    (
        "__include2_fail.fcl",
        6,
        10,
        "expected the file to include, in quotes, found `filename.ext`",
    ),
    (
        "__include_fail.fcl",
        6,
        9,
        "expected a blank between `#include` and the file",
    ),
    (
        "__name_fail.fcl",
        6,
        1,
        "found `1ab` (no name begins with a digit)",
    ),
    (
        "__prolog3_fail.fcl",
        3,
        1,
        "a prolog can't stand inside another",
    ),
    (
        "__prolog_fail.fcl",
        2,
        1,
        "prologs stand before everything else",
    ),
    ("__seq_fail.fcl", 7, 1, "the `[` of line 6 is never closed"),
    (
        "__test_config_fail.fcl",
        4,
        18,
        "FHiCL has no trailing comma",
    ),
    (
        "acceptable.comment.sequence.fcl",
        16,
        1,
        "FHiCL has no trailing comma",
    ),
    (
        "bad.newline.sequence.fcl",
        2,
        1,
        "expected `,` or `]`, found `6`",
    ),
    (
        "__UDPReceiver.fcl",
        3,
        7,
        "expected a value, found `%{port`",
    ),
];

/// Files that FHiCL allows and only the real tools refuse, and why they do.
const LEGAL: &[(&str, &str)] = &[
    (
        "__crt-north-test-outer.fcl",
        "a garbled byte in a string, which is text like any other",
    ),
    (
        "__crt_nwall_east.fcl",
        "its includes, which ours keeps and does not resolve",
    ),
    (
        "__crtNorthWallWestPULL.fcl",
        "its includes, which ours keeps and does not resolve",
    ),
    (
        "recursive.include2.fcl",
        "its includes, which ours keeps and does not resolve",
    ),
    (
        "__wibtest.fcl",
        "indices in names, which are FHiCL: FEMBs[0].FEMB_channel_map",
    ),
];

#[test]
fn each_bad_file_is_refused_with_its_place() {
    let Some(directory) = shared("corpus/fcl_bad") else {
        return;
    };
    let mut found = BTreeMap::new();
    for path in files(&directory, ".fcl") {
        let text = read(&path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = fhicl::parse(&text);
        if let Some((end, why)) = LEGAL.iter().find(|(end, _)| name.ends_with(end)) {
            let tree = parsed.unwrap_or_else(|e| panic!("{name} is legal but for {why}: {e}"));
            assert!(
                fhicl::parse(&fhicl::write(&tree)).unwrap() == tree,
                "{name}"
            );
            found.insert(*end, ());
            continue;
        }
        let (end, line, column, words) = REFUSED
            .iter()
            .find(|(end, ..)| name.ends_with(end))
            .unwrap_or_else(|| panic!("{name} is not in the list"));
        let error = parsed.expect_err(&name);
        assert_eq!(
            (error.line, error.column),
            (*line, *column),
            "{name}: {error}"
        );
        let error = Error::Syntax {
            path: path.clone(),
            source: Box::new(error),
        };
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
        assert!(
            message.starts_with(&format!(
                "{}: not FHiCL: line {line}, column {column}: expected ",
                path.display()
            )),
            "{message}"
        );
        let lines: Vec<&str> = message.lines().collect();
        let source = text.split('\n').nth(line - 1).unwrap();
        let source = source.replace('\u{80}', "\u{fffd}");
        assert_eq!(lines[1], format!("{line} | {source}"), "{message}");
        let caret = lines[2].chars().count() - format!("{line} | ").len();
        assert!(lines[2].ends_with('^'), "{message}");
        assert_eq!(caret, *column, "{message}");
        found.insert(*end, ());
    }
    assert_eq!(found.len(), REFUSED.len() + LEGAL.len());
}

/// Where the existing converter made text that is not FHiCL, it is seen.
#[test]
fn invalid_output_of_the_old_converter_is_refused() {
    let Some(directory) = shared("golden/convert") else {
        return;
    };
    for path in files(&directory, ".out.fcl") {
        let text = read(&path);
        let name = path.to_string_lossy().into_owned();
        assert_eq!(
            fhicl::parse(&text).is_err(),
            name.contains(".invalid."),
            "{name}"
        );
    }
}

#[test]
fn a_long_line_is_cut_around_its_column() {
    let text = format!("a: [{}; {}]", "1, ".repeat(20_000), "2, ".repeat(20_000));
    let error = fhicl::parse(&text).unwrap_err();
    assert_eq!((error.line, error.column), (1, 60_005));
    let message = error.to_string();
    assert!(message.len() < 400, "{message}");
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(
        lines[1].chars().nth(lines[2].chars().count() - 1),
        Some(';')
    );
    assert!(lines[1].starts_with("1 | ...") && lines[1].ends_with("..."));
}

#[test]
fn the_caret_stands_below_its_column() {
    let error = fhicl::parse("\tname: \"é\" \t; x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 13: expected a name or the end of the file, found `;` \
         (FHiCL has no `;`: white space alone stands between entries)\n\
         1 | \tname: \"é\" \t; x\n  | \t          \t^"
    );
    // Line ends of all kinds count, and nothing of a broken file reaches the terminal.
    let error = fhicl::parse("a: 1\r\nb: 2\rc: 3\n\u{1b}[31m").unwrap_err();
    assert_eq!((error.line, error.column), (4, 1));
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
}

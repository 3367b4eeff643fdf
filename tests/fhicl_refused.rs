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
        14,
        232,
        "expected a value after the comma, found `]` on line 17",
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
        11,
        234,
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
        5,
        4,
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
        16,
        "FHiCL has no trailing comma",
    ),
    (
        "acceptable.comment.sequence.fcl",
        14,
        11,
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
        let caret = lines[2].chars().count() - 1;
        assert!(lines[2].ends_with('^'), "{message}");
        if lines[1].contains("...") {
            // A long line is cut around its column.
            let at = |line: &str, index: usize| line.chars().nth(index);
            assert_eq!(at(lines[1], caret), at(&source, column - 1), "{message}");
        } else {
            assert_eq!(lines[1], format!("{line} | {source}"), "{message}");
            assert_eq!(caret + 1 - format!("{line} | ").len(), *column, "{message}");
        }
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

/// Where a text ceases to be FHiCL, and words of the error.
const PLACES: &[(&str, usize, usize, &str)] = &[
    // A stray word after a value, not the next entry.
    (
        "a: 10 MB\n# c\n\n# d\nb: 1\n",
        1,
        7,
        "expected a name with its `:`, or the end of the file, found `MB` \
         (a value of several words stands in quotes)",
    ),
    ("name: foo bar\n\nb: 1\n", 1, 11, "found `bar`"),
    (
        "t: {\n  a: \"x\" y # why\n  b: 1\n}\n",
        2,
        10,
        "or `}`, found `y`",
    ),
    ("a: [1,\n2] MB\nb: 1\n", 2, 4, "found `MB`"),
    ("t: { a: 1 } foo\nb: 1\n", 1, 13, "found `foo`"),
    ("a: 10 ms\n", 1, 7, "found `ms`"),
    ("a: 10 MB.x\nb: 1", 1, 7, "found `MB.x`"),
    (
        "BEGIN_PROLOG\na: 1 x\nEND_PROLOG\n",
        2,
        6,
        "or END_PROLOG, found `x`",
    ),
    // A name alone on its line.
    (
        "a: 1\nfoo\nb: 1\n",
        2,
        4,
        "expected `:` after `foo`, found the end of the line",
    ),
    ("a: 1\nfoo # c\n\nb: 1\n", 2, 4, "expected `:` after `foo`"),
    (
        "a: 1\nfoo",
        2,
        4,
        "expected `:` after `foo`, found the end of the file",
    ),
    // A missing value, not the entry that is taken for it.
    (
        "a:\nb: 1\n",
        1,
        3,
        "found `b:` on line 2 (`a` of line 1 has no value)",
    ),
    (
        "t: {\n a: # c\n b: {}\n}\n",
        2,
        4,
        "found `b:` on line 3 (`a` of line 2 has no value)",
    ),
    (
        "t: { a:\n\n}\n",
        1,
        8,
        "expected a value, found `}` on line 3",
    ),
    ("t: { a: }\n", 1, 9, "expected a value, found `}`"),
    (
        "a: [1,\n b\n: 2]",
        3,
        1,
        "expected `,` or `]`, found `:` (the `[` of line 1 is still open)",
    ),
    // References.
    (
        "a: @local:: x\nb: 1\n",
        1,
        12,
        "expected a name right after `@local::`, found white space",
    ),
    (
        "a: [@sequence::]\n",
        1,
        16,
        "expected a name right after `@sequence::`",
    ),
    (
        "a: @local::1x\n",
        1,
        12,
        "expected a name right after `@local::`, found `1x`",
    ),
    (
        "@table:: x\n",
        1,
        9,
        "expected a name right after `@table::`",
    ),
    // Trailing commas.
    (
        "a: [1, 2,\n# c\n\n]\n",
        1,
        9,
        "found `]` on line 4 (FHiCL has no trailing comma)",
    ),
    (
        "a: 1,\nb: 2\n",
        1,
        5,
        "(white space alone stands between entries)",
    ),
    // A string that goes on to the next quote.
    (
        "a: \"x\nb: 1\nc: \"y\"\n",
        1,
        4,
        "expected a closing `\"`, found a string that goes on to line 3 (is its closing quote missing?)",
    ),
    // A bracket that is open.
    (
        "a: [1, 2\nb: 3\n",
        2,
        1,
        "found `b:` (the `[` of line 1 is still open)",
    ),
];

#[test]
fn an_error_stands_where_the_fault_is() {
    for (text, line, column, words) in PLACES {
        let error = fhicl::parse(text).expect_err(text);
        assert_eq!(
            (error.line, error.column),
            (*line, *column),
            "{text:?}: {error}"
        );
        assert!(error.to_string().contains(words), "{text:?}: {error}");
    }
}

/// Characters that an editor does not show are named, and shown.
#[test]
fn odd_characters_are_named_and_shown() {
    for (text, column, name, line) in [
        ("a:\u{a0}1\n", 3, "U+00A0 (NO-BREAK SPACE)", "a:␣1"),
        ("a\u{a0}: 1\n", 2, "U+00A0 (NO-BREAK SPACE)", "a␣: 1"),
        ("\u{a0}a: 1\n", 1, "U+00A0 (NO-BREAK SPACE)", "␣a: 1"),
        ("a: 10\u{a0}\n", 6, "U+00A0 (NO-BREAK SPACE)", "a: 10␣"),
        (
            "a: [1,\u{202f}2]\n",
            7,
            "U+202F (NARROW NO-BREAK SPACE)",
            "a: [1,␣2]",
        ),
        (
            "a: \"x\"\u{a0}\n",
            7,
            "U+00A0 (NO-BREAK SPACE)",
            "a: \"x\"␣",
        ),
        ("a: \"x\u{b}y\"\n", 6, "U+000B (VERTICAL TAB)", "a: \"x␋y\""),
        ("a: 'x\u{c}y'\n", 6, "U+000C (FORM FEED)", "a: 'x␌y'"),
        ("a: 1\u{1b}[0m\n", 5, "U+001B (ESCAPE)", "a: 1␛[0m"),
        (
            "a: \u{201c}x\u{201d}\n",
            4,
            "U+201C (LEFT DOUBLE QUOTATION MARK)",
            "a: “x”",
        ),
        ("a: \u{2212}5\n", 4, "U+2212 (MINUS SIGN)", "a: −5"),
        ("a: 1 \u{1a}", 6, "U+001A (SUBSTITUTE)", "a: 1 ␚"),
    ] {
        let error = fhicl::parse(text).expect_err(text);
        let message = error.to_string();
        assert_eq!((error.line, error.column), (1, column), "{message}");
        assert!(message.contains(name), "{message}");
        assert_eq!(
            message.lines().nth(1),
            Some(&*format!("1 | {line}")),
            "{message}"
        );
    }
    // Between tokens the two are white space.
    assert!(fhicl::parse("a:\u{b}1\u{c}b: 2\n").is_ok());
}

#[test]
fn a_file_in_utf_16_is_called_so() {
    let text = "a: 1\nb: 2\n";
    // As bytes that are not UTF-8 are read.
    let latin1 = |bytes: Vec<u8>| bytes.into_iter().map(char::from).collect::<String>();
    let little = |text: &str| latin1(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    let big = |text: &str| latin1(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    for (text, found) in [
        (
            little(&format!("\u{feff}{text}")),
            "U+00FF U+00FE, the byte order mark of UTF-16",
        ),
        (
            big(&format!("\u{feff}{text}")),
            "U+00FE U+00FF, the byte order mark of UTF-16",
        ),
        (little(text), "U+0000 (NULL)"),
        (big(text), "U+0000 (NULL)"),
    ] {
        let message = fhicl::parse(&text).unwrap_err().to_string();
        assert!(message.contains(found), "{message}");
        assert!(message.contains("iconv -f UTF-16 -t UTF-8"), "{message}");
        assert!(message.contains("␀"), "{message}");
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

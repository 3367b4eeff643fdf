//! Odd inputs: what ours does with each, beside what the real tools did.

use crate::support::fhicl::read;
use crate::support::shared;
use run_record_archiver::artdaqdb::document::{self, DocumentHead};
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;

/// What ours does with an input.
enum Ours {
    /// The text that the real tools give back.
    Same(&'static str),
    /// Another text, or a text where the real tools refuse; and why.
    Better(&'static str, &'static str),
    /// An error at this place, with these words in it. The real tools refuse it, too.
    Refused(usize, usize, &'static str),
    /// An error where the real tools take the input; and why.
    Stricter(usize, usize, &'static str),
}

use Ours::{Better, Refused, Same};

const CASES: &[(&str, &str, Ours)] = &[
    (
        "aterase",
        "a: 1\na: @erase\nb: { c: 1 c: @erase }\n",
        Same("\na: 1 \n\na: @erase \n\nb: {\n\nc: @erase \n\n}"),
    ),
    (
        "atprotect",
        "a @protect_ignore: 1\nb @protect_error: 2\n",
        Same("\na @protect_ignore: 1 \n\nb @protect_error: 2 \n"),
    ),
    (
        "attable",
        "BEGIN_PROLOG\np: { x: 1 }\nEND_PROLOG\nq: { @table::p y: 2 }\n",
        Better(
            "BEGIN_PROLOG\n\np: {\n\nx: 1 \n\n}\nEND_PROLOG\n\nq: {\n\n@table::p \n\ny: 2 \n\n}",
            "refused, though @table:: is FHiCL",
        ),
    ),
    (
        "attable_top",
        "BEGIN_PROLOG\np: { x: 1 }\nEND_PROLOG\n@table::p\n",
        Better(
            "BEGIN_PROLOG\n\np: {\n\nx: 1 \n\n}\nEND_PROLOG\n\n@table::p \n",
            "refused, though @table:: is FHiCL",
        ),
    ),
    (
        "backslash_end",
        "a: \"C:\\\\\"\nb: 1\n",
        Refused(1, 4, "can't end in a backslash"),
    ),
    ("bad_hex", "a: 0xZZ\n", Same("\na: 0xZZ \n")),
    (
        "bin_numbers",
        "a: 0b1010\nb: bin101\nc: %101\nd: 1e400\n",
        Refused(3, 4, "found `%101`"),
    ),
    (
        "blank_lines",
        "\n\n\na: 1\n\n\n\nb: 2\n\n\n",
        Same("\na: 1 \n\nb: 2 \n"),
    ),
    (
        "bom",
        "\u{feff}a: 1\n",
        Better("\na: 1 \n", "refused; a byte order mark says nothing"),
    ),
    (
        "bool_case",
        "a: True\nb: FALSE\nc: yes\n",
        Same("\na: True \n\nb: FALSE \n\nc: yes \n"),
    ),
    (
        "comment_apostrophe",
        "a: 1 # don't touch\nb: 2 # isn't it\nc: 3\n",
        Same("\na: 1 # don't touch\n# don't touch\nb: 2 # isn't it\n# isn't it\nc: 3 \n"),
    ),
    (
        "comment_quote",
        "a: 1 # say \"hi\nb: 2 # x\n",
        Same("\na: 1 # say \"hi\n# say \"hi\nb: 2 # x\n"),
    ),
    ("commentonly", "# only a comment\n// another\n", Same("")),
    ("commentonly_nonl", "# only a comment", Same("")),
    (
        "cplx",
        "a: (1,2)\nb: (1, 2)\nc: ( 1 , 2 )\nd: 3\n",
        Better(
            "\na: (1,2) \n\nb: (1, 2) \n\nc: ( 1 , 2 ) \n\nd: 3 \n",
            "complex numbers were cut at their first blank",
        ),
    ),
    (
        "crlf",
        "a: 1\r\nb: \"two\"\r\n# comment\r\nc: [1,\r\n2]\r\n",
        Same("\na: 1 \n\nb: \"two\" \n# comment\nc: [1, 2] \n"),
    ),
    (
        "ctrl_chars",
        "a: \"x\u{1}\u{1b}y\"\nb: 2\n",
        Refused(1, 6, "found the control character U+0001"),
    ),
    (
        "dates",
        "a: 2024-11-14\n",
        Refused(1, 4, "found `2024-11-14`"),
    ),
    (
        "dotted",
        "t: { x: 1 }\nt.x: 2\nt.y: 3\ns: [1,2]\ns[0]: 9\n",
        Better(
            "\nt: {\n\nx: 1 \n\n}\nt.x: 2 \n\nt.y: 3 \n\ns: [1, 2] \n\ns[0]: 9 \n",
            "refused, though an index in a name is FHiCL",
        ),
    ),
    (
        "dq_with_single",
        "a: \"it's\"\nb: 1\n",
        Same("\na: \"it's\" \n\nb: 1 \n"),
    ),
    (
        "dupkey",
        "a: 1\nb: 2\na: 3\nt: { x: 1 }\nt: { y: 2 }\n",
        Better(
            "\na: 1 \n\nb: 2 \n\na: 3 \n\nt: {\n\nx: 1 \n\n}\nt: {\n\ny: 2 \n\n}",
            "the second table came back empty",
        ),
    ),
    (
        "empty_key_table",
        "a: { }\nb: [ ]\nc: [ { } ]\nd: { e: { } }\n",
        Same("\na: {\n\n}\nb: [] \n\nc: [{\n\n}] \n\nd: {\n\ne: {\n\n}\n}"),
    ),
    (
        "emptyfile",
        "",
        Better(
            "",
            "failed the whole run; an empty text is FHiCL without entries",
        ),
    ),
    (
        "escaped_then_hash",
        "a: \"q\\\"q\"\nb: \"x # y\"\nc: 3 # real\n",
        Better(
            "\na: \"q\\\"q\" \n\nb: \"x # y\" \n\nc: 3 # real\n",
            "an escaped quote made a comment of what was in a string",
        ),
    ),
    (
        "hash_in_string",
        "a: \"x # y\"\nb: \"http://z\"\nc: 3 # real\n",
        Same("\na: \"x # y\" \n\nb: \"http://z\" \n\nc: 3 # real\n"),
    ),
    (
        "hyphen_key",
        "my-key: 1\n",
        Refused(1, 3, "letters, digits and _"),
    ),
    (
        "include_dupe",
        "#include \"a.fcl\"\n#include \"b.fcl\"\n#include \"a.fcl\"\na: 1\n",
        Same(" \n#include \"a.fcl\" \n \n#include \"b.fcl\" \n \n#include \"a.fcl\" \n\na: 1 \n"),
    ),
    (
        "include_in_comment",
        "# see #include \"a.fcl\" for it\nb: 2\n",
        Same("\nb: 2 \n"),
    ),
    (
        "include_middle",
        "a: 1\n#include \"a.fcl\"\nb: 2\n",
        Same("\na: 1 \n \n#include \"a.fcl\" \n\nb: 2 \n"),
    ),
    (
        "include_missing",
        "#include \"does/not/exist.fcl\"\na: 1\n",
        Same(" \n#include \"does/not/exist.fcl\" \n\na: 1 \n"),
    ),
    (
        "include_single_quote",
        "#include 'a.fcl'\na: 1\n",
        Same(" \n#include \"a.fcl\" \n\na: 1 \n"),
    ),
    (
        "inf_variants",
        "a: inf\nb: Infinity\nc: +inf\nd: INFINITY\n",
        Refused(3, 4, "found `+inf`"),
    ),
    (
        "latin1_comment",
        "# caf\u{fffd}\nname: 1\n",
        Better(
            "# caf\u{fffd}\nname: 1 \n",
            "refused for a byte in a comment",
        ),
    ),
    (
        "latin1_string",
        "name: \"caf\u{fffd}\"\n",
        Better(
            "\nname: \"caf\u{fffd}\" \n",
            "refused for a byte in a string",
        ),
    ),
    (
        "local_missing",
        "a: @local::nothing_here\n",
        Same("\na: @local::nothing_here \n"),
    ),
    (
        "malformed",
        "a: { b: 1\n",
        Refused(2, 1, "the `{` of line 1 is never closed"),
    ),
    (
        "malformed_missing_value",
        "a:\n",
        Refused(1, 3, "`a` of line 1 has no value"),
    ),
    (
        "malformed_nocolon",
        "this is not fhicl at all\n",
        Refused(1, 6, "expected `:` after a name, found `is`"),
    ),
    (
        "malformed_only",
        "a: [1, 2\nb: 3\n",
        Refused(2, 1, "expected `,` or `]`, found `b:`"),
    ),
    (
        "malformed_unterminated_string",
        "a: \"unterminated\nb: 2\n",
        Refused(1, 4, "expected a closing `\"`"),
    ),
    (
        "multiline_string",
        "a: \"line1\nline2\"\nb: 2\n",
        Same("\na: \"line1\nline2\" \n\nb: 2 \n"),
    ),
    (
        "nan",
        "a: nan\nb: NaN\nc: -nan\n",
        Refused(3, 4, "found `-nan`"),
    ),
    (
        "nil_null",
        "a: nil\nb: null\nc: @nil\n",
        Same("\na: nil \n\nb: null \n\nc: @nil \n"),
    ),
    (
        "nul",
        "a: \"x\0y\"\nb: 2\n",
        Refused(1, 6, "found the control character U+0000"),
    ),
    (
        "prolog_late",
        "a: 1\nBEGIN_PROLOG\np: 2\nEND_PROLOG\nb: 3\n",
        Refused(2, 1, "prologs stand before everything else"),
    ),
    (
        "same_line",
        "a: 1 b: 2 c: \"x\" d: [1,2] e: { f: 1 g: 2 } # end\n",
        Same(
            "\na: 1 # end\n\nb: 2 # end\n\nc: \"x\" # end\n\nd: [1, 2] # end\n\n\
             e: {\n\nf: 1 # end\n\ng: 2 # end\n\n}",
        ),
    ),
    (
        "semicolon",
        "a: 1; b: 2\n",
        Refused(1, 4, "FHiCL has no `;`"),
    ),
    (
        "seq_comments",
        "a: [ 1, # one\n 2, # two\n 3 ]\nb: 2 # bb\n",
        Same("\na: [1, 2, 3] # one\n\nb: 2 # bb\n"),
    ),
    (
        "single_quote_escape",
        "a: 'it\\'s'\nb: 1\n",
        Refused(1, 9, "after the string, found `s'`"),
    ),
    (
        "single_with_dq",
        "a: 'say \"hi\"'\nb: 1\n",
        Same("\na: 'say \"hi\"' \n\nb: 1 \n"),
    ),
    (
        "tabs",
        "a:\t1\n\tb:\t\"x\ty\"\n",
        Same("\na: 1 \n\nb: \"x\ty\" \n"),
    ),
    (
        "two_prologs",
        "BEGIN_PROLOG\np: 2\nEND_PROLOG\nBEGIN_PROLOG\nq: 2\nEND_PROLOG\nb: 3\n",
        Same("BEGIN_PROLOG\n\np: 2 \n\nq: 2 \n\nEND_PROLOG\n\nb: 3 \n"),
    ),
    ("unq_dash", "a: foo-bar\n", Refused(1, 4, "found `foo-bar`")),
    ("unq_path", "a: /daq/path\n", Refused(1, 4, "in quotes")),
    (
        "utf8_comment",
        "# café comment\nname: 1 # très\n",
        Better(
            "# café comment\nname: 1 # très\n",
            "refused for a letter in a comment",
        ),
    ),
    (
        "utf8_key",
        "café: 1\n",
        Refused(1, 4, "ASCII letters, digits and _"),
    ),
    (
        "utf8_string",
        "name: \"café → 日本\"\n",
        Better(
            "\nname: \"café → 日本\" \n",
            "refused for a letter in a string",
        ),
    ),
    ("whitespace", "  \n\n\t\n", Same("")),
    // What the cases don't have, but production does or could.
    (
        "",
        "a: 12e4567ab\nb: 12e4567\nc: 0042 d: 0XfF e: 5. f: .5 g: -2.25E-7 h: 1e i: 0x\n",
        Same(
            "\na: 12e4567ab \n\nb: 12e4567 \n\nc: 0042 \n\nd: 0XfF \n\ne: 5. \n\nf: .5 \n\n\
             g: -2.25E-7 \n\nh: 1e \n\ni: 0x \n",
        ),
    ),
    (
        "",
        "a: true# yes\nb: [infinity// no\n]\nc: @nil#\n",
        Same("\na: true # yes\n# yes\nb: [infinity] // no\n\nc: @nil #\n"),
    ),
    (
        "",
        "x: [(1, 2), (3,4)]\n",
        Better(
            "\nx: [(1, 2), (3,4)] \n",
            "complex numbers in a sequence came back as strings",
        ),
    ),
    (
        "",
        "x: (1.5, # re\n -2.5)\n",
        Better(
            "\nx: (1.5, -2.5) # re\n",
            "a complex number was cut at its first blank",
        ),
    ),
    (
        "",
        "a: @local::p.q[0].r\nb: [@sequence::s[1], 2]\n",
        Better(
            "\na: @local::p.q[0].r \n\nb: [@sequence::s[1], 2] \n",
            "refused, though an index in a reference is FHiCL",
        ),
    ),
    (
        "",
        "#include \"a.fcl\"\nBEGIN_PROLOG\np: 1\nEND_PROLOG\n#include \"b.fcl\"\nc: 1\n",
        Better(
            " \n#include \"a.fcl\" \nBEGIN_PROLOG\n\np: 1 \n\nEND_PROLOG\n \n\
             #include \"b.fcl\" \n\nc: 1 \n",
            "refused: the include counted as an entry before the prolog",
        ),
    ),
    (
        "",
        "#include \"it's.fcl\" // c\n\t#include\t'b.fcl'\n#includes\n# include \"x\"\na: 1\n",
        Same(" \n#include \"it's.fcl\" \n \n#include \"b.fcl\" \n# include \"x\"\na: 1 \n"),
    ),
    (
        "",
        "#include \"a\na: 1\n",
        Refused(1, 10, "a closing quote on the same line"),
    ),
    (
        "",
        "# the #include files are\na: 1\nb: \"x\"\n",
        Better(
            "\na: 1 \n\nb: \"x\" \n",
            "all up to the next quote became an include's name: `a` and `b` were lost",
        ),
    ),
    (
        "",
        "t: { a: 1 @table::p a: 2 a: 3 b: 4 }\n",
        Better(
            "\nt: {\n\na: 1 \n\n@table::p \n\na: 3 \n\nb: 4 \n\n}",
            "refused; the entry after @table:: overrides, the one before does not",
        ),
    ),
    (
        "",
        "t @protect_ignore: { a: [1] }\nu: { b @protect_ignore: 1 b: 2 }\n",
        Same("\nt @protect_ignore: {\n\na: [1] \n\n}\nu: {\n\nb @protect_ignore: 1 \n\n}"),
    ),
    // A protection is of its own entry: `c.b: 2` is allowed after `c: @local::a`.
    (
        "",
        "a @protect_ignore: { b: 1 }\nc: @local::a\nc.b: 2\n",
        Same("\na @protect_ignore: {\n\nb: 1 \n\n}\nc: @local::a \n\nc.b: 2 \n"),
    ),
    (
        "",
        "t @protect_error: { s: [{ a: 1 b @protect_error: { c: 2 } }] a: 3 a: 4 }\n",
        Same(
            "\nt @protect_error: {\n\ns: [{\n\na: 1 \n\nb @protect_error: {\n\nc: 2 \n\n}\n}] \n\n\
             a: 4 \n\n}",
        ),
    ),
    // What is replaced protects nothing any more.
    (
        "",
        "t @protect_error: { a: { b @protect_ignore: 1 } a: 2 }\n",
        Same("\nt @protect_error: {\n\na: 2 \n\n}"),
    ),
    (
        "",
        "t @protect_error: { a: [{ b @protect_ignore: 1 }] }\n",
        Refused(1, 51, "without weaker protections"),
    ),
    (
        "",
        "t: { b @protect_error: 1 b: 2 }\n",
        Refused(1, 26, "line 1 protects"),
    ),
    (
        "",
        "t: { b: 1 b @protect_error: 2 }\n",
        Refused(1, 11, "no stronger protection"),
    ),
    (
        "",
        "t @protect_error: { b @protect_ignore: 2 }\n",
        Refused(1, 42, "without weaker protections"),
    ),
    (
        "",
        "p: \"(\\d+)\"\n",
        Refused(1, 6, "found `\\d` (write a backslash as `\\\\`"),
    ),
    (
        "",
        "a: \"x\"#c\n",
        Refused(1, 7, "white space, `,`, `]` or `}` after the string"),
    ),
    (
        "",
        "a: 1 fhicl_pound_include_0: \"x\"\n",
        Ours::Stricter(1, 6, "it came back as an #include"),
    ),
    (
        "",
        "#include\n",
        Ours::Stricter(1, 9, "an include without a file was taken for a comment"),
    ),
    (
        "",
        "#include \"a\" b: 1\n",
        Ours::Stricter(1, 14, "an #include has its line for itself"),
    ),
    // The bounds of a prolog are names where an entry can stand.
    (
        "",
        "END_PROLOG: 1\nBEGIN_PROLOG # c\n: 2\nEND_PROLOG @protect_ignore: 3\n",
        Same("\nEND_PROLOG: 1 \n# c\nBEGIN_PROLOG: 2 \n\nEND_PROLOG @protect_ignore: 3 \n"),
    ),
    (
        "",
        "BEGIN_PROLOG\nBEGIN_PROLOG: 1\nEND_PROLOG: 2\nEND_PROLOG\na: 3\n",
        Same("BEGIN_PROLOG\n\nBEGIN_PROLOG: 1 \n\nEND_PROLOG: 2 \n\nEND_PROLOG\n\na: 3 \n"),
    ),
    ("", "BEGIN_PROLOG: 1\n", Refused(1, 13, "found `:`")),
    // fhicl-cpp takes one comma before the first element for nothing.
    ("", "s: [,1]\n", Same("\ns: [1] \n")),
    (
        "",
        "s: [ # c\n , { a: [,\"x\", [,[]]] } ]\n",
        Same("\ns: [{\n# c\na: [\"x\", [[] \n] \n] \n\n}] # c\n"),
    ),
    ("", "s: [,]\n", Refused(1, 5, "no trailing comma")),
    (
        "",
        "s: [,,1]\n",
        Refused(1, 6, "expected a value, found `,`"),
    ),
    (
        "",
        "s: [1,,2]\n",
        Refused(1, 7, "expected a value, found `,`"),
    ),
];

/// Cases that are about directories and file names, not about text, and those
/// that are about size, which the benches and `fhicl_limits` have.
const ELSEWHERE: [&str; 15] = [
    "big",
    "bigarray",
    "bigstring",
    "deep",
    "dollar_name",
    "emptydir",
    "nonfcl",
    "nonfcl_mixed",
    "nonfcl_mixed2",
    "path.fcl.d",
    "quote_name",
    "samename",
    "schema_names",
    "spaces_name",
    "subdirs",
];

#[test]
fn odd_inputs_come_out_right() {
    for (name, input, ours) in CASES {
        let parsed = fhicl::parse(input);
        match (ours, parsed) {
            (Same(text) | Better(text, _), Ok(tree)) => {
                assert_eq!(fhicl::write(&tree), *text, "{name}: {input}");
                let json = document::write(&HEAD, &tree);
                let stored = document::read(&json).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(stored.text, *text, "{name}: {input}: {json}");
                assert!(fhicl::parse(text).unwrap() == tree, "{name}: {input}");
            }
            (Refused(line, column, words), Err(error)) => {
                let message = error.to_string();
                assert_eq!(
                    (error.line, error.column),
                    (*line, *column),
                    "{name}: {message}"
                );
                assert!(message.contains(words), "{name}: {message}");
            }
            (Ours::Stricter(line, column, why), Err(error)) => {
                assert_eq!(
                    (error.line, error.column),
                    (*line, *column),
                    "{why}: {error}"
                );
            }
            (Same(_), Err(error)) => panic!("{name}: the real tools take it: {error}"),
            (Better(_, why), Err(error)) => panic!("{name}: {why}: {error}"),
            (_, Ok(_)) => panic!("{name}: not refused: {input}"),
        }
    }
}

/// One line a file names the first of each kind.
#[test]
fn what_art_reads_in_another_way_is_said() {
    let tree = fhicl::parse(
        "#include \"a.fcl\"\na: true # c\nt: {\n\t#include \"b.fcl\"\n  #include \"c.fcl\"\n  x.y: 1\n  \
         s[0]: 2\n}\nb: [infinity#c\n]\nc: @nil//c\n",
    )
    .unwrap();
    assert_eq!(
        tree.warning().as_deref(),
        Some(
            "line 4: an indented #include, a comment to art, is archived as a live one; \
             line 6: a dotted name inside a table, which art refuses, is archived as it is; \
             line 9: true, false, @nil or infinity right before a comment, a string to art, is \
             archived as what it says, as artdaqDB does"
        )
    );
    for (text, line, what) in [
        ("a: false#c\n", 1, "right before a comment"),
        ("a: [true/**/]\n", 1, ""),
        ("a: 1\n #include \"x.fcl\"\n", 2, "an indented #include"),
        ("t: { x.y: 1 }", 1, "a dotted name inside a table"),
    ] {
        match fhicl::parse(text) {
            Ok(tree) => {
                let warning = tree.warning().unwrap();
                assert!(warning.starts_with(&format!("line {line}: ")), "{warning}");
                assert!(warning.contains(what), "{warning}");
            }
            Err(error) => assert!(what.is_empty(), "{error}"),
        }
    }
    for text in [
        "x.y: 1\n",
        "a: false #c\n",
        "#include \"x\"\n",
        "a: 1#c\n",
        "BEGIN_PROLOG\nx.y: 1\nEND_PROLOG",
    ] {
        assert_eq!(fhicl::parse(text).unwrap().warning(), None, "{text}");
    }
}

#[test]
fn no_case_is_left_out() {
    let Some(path) = shared("golden/fhicl-cases.md") else {
        return;
    };
    let text = read(&path);
    let mut known = 0;
    for case in text.lines().filter_map(|line| line.strip_prefix("### ")) {
        let here = CASES.iter().any(|(name, ..)| *name == case);
        assert!(here || ELSEWHERE.contains(&case), "{case} has no test");
        known += 1;
    }
    assert!(known > 70, "{known} cases");
}

const HEAD: DocumentHead = DocumentHead {
    oid: "0123456789abcdef01234567",
    collection: "RunHistory",
    entity: "x",
    version: "1/C",
    run: Run(1),
    time: "2026-11-23T07:35:14.122+0000",
};

/// To art every indented `#include` is a comment; artdaqDB takes one for an
/// entry where an entry can stand and it names a file.
#[test]
fn an_indented_include_that_is_no_entry_is_a_comment() {
    for (text, line, same) in [
        ("s: [\n  #include \"z.fcl\"\n 1 ]\n", 2, "s: [\n\n 1 ]\n"),
        (
            "s: [ 1,\n\t#include \"z.fcl\"\n 2\n #include \"y\"\n]\n",
            2,
            "s: [ 1,\n\n 2 ]\n",
        ),
        (
            "a:\n  #include \"x.fcl\"\n 1\nb: 2\n",
            2,
            "a:\n\n 1\nb: 2\n",
        ),
        ("c: (1,\n #include \"q.fcl\"\n2)\n", 2, "c: (1,\n\n2)\n"),
        ("a\n #include \"q.fcl\"\n: 2\n", 2, "a\n\n: 2\n"),
        ("a: 1\n  #include foo.fcl\nb: 2\n", 2, "a: 1\n\nb: 2\n"),
        ("a: 1\n  #include <foo>\nb: 2\n", 2, "a: 1\n\nb: 2\n"),
        ("  #include is documented elsewhere\nb: 2\n", 1, "b: 2\n"),
        ("  #include\nb: 2\n", 1, "b: 2\n"),
        (
            "a: 1\n  #include \"q.fcl\" junk\nb: 2\n",
            2,
            "a: 1\n\nb: 2\n",
        ),
        ("a: 1\n  #include \"q.fcl\nb: 2\n", 2, "a: 1\n\nb: 2\n"),
        ("t: {\n  #include foo\n  y: 1 }\n", 2, "t: {\n\n  y: 1 }\n"),
        (
            "BEGIN_PROLOG\n #include foo\ny: 1\nEND_PROLOG\n",
            2,
            "BEGIN_PROLOG\n\ny: 1\nEND_PROLOG\n",
        ),
    ] {
        let tree = fhicl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            tree.warning().unwrap(),
            format!(
                "line {line}: an indented #include that is no entry is read as a comment, as art does"
            ),
            "{text}"
        );
        let same = fhicl::write(&fhicl::parse(same).unwrap());
        assert_eq!(fhicl::write(&tree), same, "{text}");
    }
    let tree = fhicl::parse("  #include \"x\"\n  #include y\na: 1\n").unwrap();
    assert_eq!(
        tree.warning().unwrap(),
        "line 1: an indented #include, a comment to art, is archived as a live one, as artdaqDB \
         does; line 2: an indented #include that is no entry is read as a comment, as art does"
    );
    // At the beginning of a line it is none.
    for text in [
        "s: [\n#include \"z.fcl\"\n 1 ]\n",
        "a:\n#include \"z.fcl\"\n 1\n",
        "a: 1\n#include foo.fcl\n",
        "a: 1\n#include <foo>\n",
    ] {
        assert!(fhicl::parse(text).is_err(), "{text}");
    }
}

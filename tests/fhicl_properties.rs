//! What holds for every text: reading what was written gives the same, nothing
//! panics, and stored documents give the text back.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::support::fhicl::{files, read};
use crate::support::shared;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use run_record_archiver::artdaqdb::document::{self, DocumentHead};
use run_record_archiver::fhicl::{self, AtomKind, Content, Document, Entry, Protection, Value};
use run_record_archiver::run::Run;

const HEAD: DocumentHead = DocumentHead {
    oid: "0123456789abcdef01234567",
    collection: "RunHistory",
    entity: "x",
    version: "1/C",
    run: Run(1),
    time: "2026-11-23T07:35:14.122+0000",
};

/// All that holds for a text that is FHiCL.
fn check(tree: &Document) {
    let text = fhicl::write(tree);
    let again = fhicl::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(again == *tree, "{text}\n{again:?}\n{tree:?}");
    let json = document::write(&HEAD, tree);
    let stored = document::read(&json).unwrap_or_else(|e| panic!("{e}\n{json}"));
    assert_eq!(stored.text, text);
    // What a second reading and writing gives stays as it is from then on.
    let second = fhicl::write(&again);
    let third = fhicl::write(&fhicl::parse(&second).unwrap());
    assert_eq!(third, second);
}

fn value(content: Content<'static>) -> Value<'static> {
    Value {
        content,
        line: 0,
        protection: Protection::None,
    }
}

fn atom(
    kind: AtomKind,
    token: impl Strategy<Value = String>,
) -> impl Strategy<Value = Value<'static>> {
    token.prop_map(move |token| value(Content::Atom(kind, Cow::Owned(token))))
}

const NUMBER: &str = "[+-]?[0-9]{1,20}|[+-]?[0-9]{0,3}\\.[0-9]{1,9}([eE][+-]?[0-9]{1,3})?|0[xX][0-9a-fA-F]{1,16}|0b[01]{1,8}|[+-]?infinity";

fn scalar() -> impl Strategy<Value = Value<'static>> {
    let piece = prop_oneof![
        8 => "[^\"'\\\\\\x00-\\x1f\\x7f]",
        1 => select(vec!["\\\"", "\\'", "\\n", "\\t", "\\\\.", "\n", "\t", "'", "#", "//", "{", "]"])
            .prop_map(str::to_owned),
    ];
    let plain = vec(piece, 0..20).prop_map(|pieces| pieces.concat());
    prop_oneof![
        Just(value(Content::Atom(AtomKind::Nil, "@nil".into()))),
        atom(AtomKind::Bool, "true|false"),
        atom(AtomKind::Number, NUMBER),
        atom(
            AtomKind::Complex,
            (NUMBER, NUMBER).prop_map(|(real, imaginary)| format!("({real}, {imaginary})"))
        ),
        atom(AtomKind::DoubleQuoted, plain),
        atom(
            AtomKind::SingleQuoted,
            "[^'\\x00-\\x08\\x0b-\\x1f\\x7f]{0,20}"
        ),
        atom(
            AtomKind::Unquoted,
            "w[a-zA-Z0-9_]{0,9}|[0-9]{1,3}[g-wyz][a-z_0-9]{0,5}"
        ),
        atom(
            AtomKind::Unquoted,
            "@(local|sequence|db)::[a-z]{1,5}(\\.[a-z]{1,5}|\\[[0-9]\\]){0,3}|@erase"
        ),
    ]
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    scalar().prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|values| value(Content::Sequence(values))),
            entries(inner).prop_map(|entries| value(Content::Table(entries))),
        ]
    })
}

fn entries(
    values: impl Strategy<Value = Value<'static>> + 'static,
) -> impl Strategy<Value = Vec<Entry<'static>>> {
    let protection = prop_oneof![
        9 => Just(Protection::None),
        1 => select(vec![Protection::Ignore, Protection::Error]),
    ];
    let assignment = ("[a-zA-Z_][a-zA-Z0-9_]{0,5}", values, protection).prop_map(
        |(name, mut value, protection)| {
            // A weaker protection inside a stronger one is an error.
            value.protection = match protection {
                Protection::Error if has_ignore(&value) => Protection::Ignore,
                protection => protection,
            };
            Entry::Assignment {
                name: Cow::Owned(name),
                value,
            }
        },
    );
    let include = "[a-z/.]{1,9}".prop_map(|file| Entry::Include {
        file: Cow::Owned(file),
        number: 0,
        outside: false,
    });
    let splice = "@table::[a-z]{1,3}(\\.[a-z]{1,3})?".prop_map(|reference| Entry::Splice {
        reference: Cow::Owned(reference),
        line: 0,
    });
    vec(
        prop_oneof![9 => assignment, 1 => include, 1 => splice],
        0..8,
    )
    .prop_map(|mut entries| {
        for (index, entry) in entries.iter_mut().enumerate() {
            // No name twice: that would replace.
            if let Entry::Assignment { name, .. } = entry {
                name.to_mut().push_str(&format!("_{index}"));
            }
        }
        entries
    })
}

/// Whether a value, or what is in it, has the weaker one of the protections.
fn has_ignore(value: &Value) -> bool {
    value.protection == Protection::Ignore
        || match &value.content {
            Content::Atom(..) => false,
            Content::Sequence(values) => values.iter().any(has_ignore),
            Content::Table(entries) => entries
                .iter()
                .any(|entry| matches!(entry, Entry::Assignment { value, .. } if has_ignore(value))),
        }
}

fn any_document() -> impl Strategy<Value = Document<'static>> {
    (entries(any_value()), entries(any_value())).prop_map(|(prolog, main)| Document {
        prolog,
        main,
        ..Document::default()
    })
}

/// What can stand between two tokens.
const BLANKS: [&str; 8] = [
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    " # it's a \"note\"\n",
    "\n// {é}\n",
    "\r\r\n\n",
];

/// Pieces of FHiCL and of what comes near to it.
const PIECES: [&str; 47] = [
    "a",
    "b1",
    "_",
    ":",
    ": ",
    "1",
    "-2.5e3",
    "0x1f",
    "0b2",
    "infinity",
    "true",
    "@nil",
    "@erase",
    "@local::a",
    "@table::b",
    "@sequence::c",
    "@protect_ignore",
    "@protect_error",
    "{",
    "}",
    "[",
    "]",
    ",",
    "(",
    ")",
    "(1, 2)",
    "\"",
    "'",
    "\\",
    "\\\"",
    "\"x\"",
    "'y'",
    "#",
    "//",
    "/",
    "\n",
    "\r",
    "\t",
    " ",
    "#include \"f\"\n",
    "#include",
    "BEGIN_PROLOG\n",
    "END_PROLOG\n",
    ".",
    "é",
    "\0",
    "x: 1\n",
];

/// Whole entries of few names, their beginnings and ends: names repeat, and
/// protections and prologs meet.
const ENTRIES: [&str; 44] = [
    "a: 1\n",
    "a: @erase\n",
    "a: @local::b\n",
    "b: @local::a.b\n",
    "b: @local::s[0]\n",
    "b: @local::\n",
    "b: @db::a\n",
    "s: [@sequence::s, 1]\n",
    "s: [ , @sequence::b.s ]\n",
    "s: [@sequence::s,\n",
    "s[0]: 2\n",
    "a.b: 3\n",
    "a . b [ 1 ] : 3 # dots\n",
    "@table::a\n",
    "@table::a.b # all\n",
    "@table::\n",
    "a @protect_ignore: 1\n",
    "a @protect_error: 2\n",
    "b @protect_ignore: {\n",
    "b @protect_error: {\n",
    "a @protect_ignore: [{\n",
    "a @protect_error: @local::b\n",
    "a @protect_error : 1\n",
    "a: {\n",
    "b: { a: 1 b: 2 }\n",
    "s: [{ a: { b: 1 } }, {\n",
    "}\n",
    "}\n",
    "}]\n",
    "}]\n",
    "]\n",
    "BEGIN_PROLOG\n",
    "BEGIN_PROLOG\n",
    "END_PROLOG\n",
    "END_PROLOG\n",
    "END_PROLOG: 1\n",
    "BEGIN_PROLOG: 1\n",
    "END_PROLOG @protect_error: 1\n",
    "# c\n",
    "a: true# c\n",
    "#include \"a.fcl\"\n",
    "  #include \"b.fcl\"\n",
    "a: foo bar\n",
    "a: (1, 2) b:\n",
];

/// Real files to spoil; own ones where there are none.
static SAMPLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut samples = vec![
        "BEGIN_PROLOG\np: { x: 1 y: [1, 2] }\nEND_PROLOG\nq: { @table::p y: 2 } # n\n".to_owned(),
        "# c\na @protect_error: \"s\\\"t\" // n\n#include \"f.fcl\"\nb.c[0]: (1, -2)\n".to_owned(),
    ];
    if let Some(directory) = shared("golden/fhicl") {
        let inputs = files(&directory, ".in.fcl")
            .into_iter()
            .map(|path| read(&path));
        samples.extend(inputs.filter(|text| text.len() < 8_000));
    }
    samples
});

fn spoilt() -> impl Strategy<Value = String> {
    let change = (any::<Index>(), 0..4_usize, select(PIECES.to_vec()));
    (any::<Index>(), vec(change, 1..4)).prop_map(|(sample, changes)| {
        let mut text: Vec<char> = sample.get(&SAMPLES[..]).chars().collect();
        for (place, remove, insert) in changes {
            let at = place.index(text.len() + 1);
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        text.into_iter().collect()
    })
}

/// Prints a document with all kinds of blanks between its tokens.
fn messy(document: &Document, blanks: &[&str]) -> String {
    let mut blanks = blanks.iter().cycle();
    let text = fhicl::write(document);
    let mut out = String::new();
    let mut quote = None;
    let mut include = false;
    let mut before = ' ';
    for c in text.chars() {
        let blank = match quote {
            Some(open) => {
                if c == open && !(open == '"' && before == '\\') {
                    quote = None;
                }
                false
            }
            None => {
                match c {
                    '"' | '\'' => quote = Some(c),
                    '(' => quote = Some(')'),
                    '@' => quote = Some(' '),
                    _ => {}
                }
                include = (include || c == '#') && c != '\n';
                matches!(c, ' ' | '{' | '}' | '[' | ',') && !include
            }
        };
        out.push(c);
        if blank && before != ':' {
            out.push_str(blanks.next().unwrap_or(&" "));
        }
        before = c;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_reads_as_the_same(document in any_document()) {
        check(&document);
    }

    #[test]
    fn layout_does_not_count(
        document in any_document(),
        blanks in vec(select(BLANKS.to_vec()), 1..20),
    ) {
        let text = messy(&document, &blanks);
        match fhicl::parse(&text) {
            Ok(tree) => {
                prop_assert!(tree == document, "{text}");
                check(&tree);
            }
            Err(error) => panic!("{error}\n{text}"),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        if let Ok(tree) = fhicl::parse(&text) {
            check(&tree);
        }
    }

    #[test]
    fn nor_do_bytes(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(tree) = fhicl::parse(&String::from_utf8_lossy(&bytes)) {
            check(&tree);
        }
    }

    #[test]
    fn nor_do_pieces_of_fhicl(pieces in vec(select(PIECES.to_vec()), 0..40)) {
        match fhicl::parse(&pieces.concat()) {
            Ok(tree) => check(&tree),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn nor_do_entries_in_any_order(entries in vec(select(ENTRIES.to_vec()), 0..25)) {
        let text = entries.concat();
        match fhicl::parse(&text) {
            Ok(tree) => check(&tree),
            Err(error) => prop_assert!(error.line <= text.split('\n').count(), "{error}"),
        }
    }

    #[test]
    fn nor_do_spoilt_files(text in spoilt()) {
        match fhicl::parse(&text) {
            Ok(tree) => check(&tree),
            Err(error) => {
                let lines = text.replace("\r\n", "\n").replace('\r', "\n");
                prop_assert!(error.line <= lines.split('\n').count());
                prop_assert!(error.to_string().lines().count() == 3);
            }
        }
    }

    #[test]
    fn no_json_makes_it_panic(
        cut in any::<Index>(),
        remove in 0..3_usize,
        insert in select(vec!["", "{", "}", "[", "]", "\"", "\\", ",", ":", "1", "\\u12", "null"]),
    ) {
        let tree = fhicl::parse("a: [1, {b: \"\\n\"}] # c\nt: {}\n").unwrap();
        let json = document::write(&HEAD, &tree);
        let at = cut.index(json.len());
        let end = (at + remove).min(json.len());
        let spoilt = format!("{}{insert}{}", &json[..at], &json[end..]);
        let _ = document::read(&spoilt);
    }
}

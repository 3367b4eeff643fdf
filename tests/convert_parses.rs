//! Whatever a text file holds, what is made of it is FHiCL and holds it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;
use run_record_archiver::run_record::convert::{
    boot, environment, known_boardreaders_list, metadata, ranks, run_history, run_history2,
    settings, setup,
};

/// A converter, its name, and lines for it, with `@` where a value goes.
type Lines = (&'static str, fn(&str) -> String, [&'static str; 12]);

/// What every converter makes of a text.
fn convert_all(text: &str) -> [(&'static str, String); 9] {
    [
        ("boot", boot::convert(text).text),
        ("environment", environment::convert(text).text),
        (
            "known_boardreaders_list",
            known_boardreaders_list::convert(text).text,
        ),
        ("metadata", metadata::convert(text).text),
        ("ranks", ranks::convert(text).text),
        ("RunHistory", run_history::convert(text, Run(12_500)).text),
        ("RunHistory2", run_history2::convert(text).text),
        ("settings", settings::convert(text).text),
        ("setup", setup::convert(text).text),
    ]
}

fn assert_fhicl(text: &str) {
    for (name, fcl) in convert_all(text) {
        if let Err(error) = fhicl::parse(&fcl) {
            panic!("{name} of {text:?} is not FHiCL: {error}\n{fcl:?}");
        }
    }
}

/// Lines made of pieces that mean something to a converter or to FHiCL.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "EventBuilder host", "EventBuilder label", "EventBuilder extra", "Subsystem id",
            "Subsystem mode", "DAQ setup script", "Config name", "Component #0", "Component #",
            "boardreader logfiles", "x commit/version", "DAQInterface stop time",
            "DAQInterface start time", "export A", "host port label rank", "tpc01", "a-b", "a.b",
            "a b", "a_b", "name", "line_1", "config_name", "components", "header", "true", "@nil",
            "BEGIN_PROLOG", "END_PROLOG", "#include \"x.fcl\"", "@table::x", "@erase",
            "fhicl_pound_include_1", "fhicl-at-table-x",
        ]),
        4 => prop::sample::select(vec![
            ":", ": ", " ", "\n", "\n\n", "\r\n", "\t", "=", ",", "[", "]", "{", "}", "\"", "'",
            "\\", "#", " #", "//", "/", "(", ")", "1", "1.5", ".", "-1", "0x1F", "2026", "é",
            "\u{0}", "\u{1b}", "\u{7f}", "\u{85}", "\u{2028}", "\u{feff}",
        ]),
        1 => prop::sample::select(vec!["[ a b ]", "[1, 2]", "[]", "\"a b\"", "\"\\\\\"", "\"\\\""]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_becomes_fhicl(text in "\\PC*|(?s:.*)") {
        assert_fhicl(&text);
    }

    #[test]
    fn any_pieces_become_fhicl(text in pieces()) {
        assert_fhicl(&text);
    }

    /// A script comes back as it was, but for line ends and control characters.
    #[test]
    fn a_script_is_kept_whole(script in "([ -~\t\n]|é)*") {
        let fcl = setup::convert(&script).text;
        let inside = fcl.strip_prefix("setup_script: \"").and_then(|rest| rest.strip_suffix('"'));
        let mut chars = inside.expect("a string").chars();
        let mut back = String::new();
        while let Some(c) = chars.next() {
            back.push(match c {
                '\\' => match chars.next().expect("an escape") {
                    'n' => '\n',
                    c => c,
                },
                c => c,
            });
        }
        if script.ends_with('\\') {
            back.truncate(back.len() - "x5c".len());
        }
        prop_assert_eq!(back, script);
    }

    /// No two keys share a name, and no value is lost.
    #[test]
    fn every_setting_is_kept(keys in prop::collection::vec("[a-c][ -/.é]?[a-c]?", 1..20)) {
        let text: String = keys.iter().enumerate().map(|(at, key)| format!("{key}: v{at}x\n")).collect();
        let fcl = settings::convert(&text).text;
        let mut names = std::collections::HashMap::new();
        let entries = fcl.lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for (key, entry) in keys.iter().zip(entries) {
            let (name, value) = entry.split_once(": ").expect("an entry");
            let original = names.entry(name.to_string()).or_insert(key.trim());
            prop_assert_eq!(*original, key.trim());
            prop_assert_eq!(value, format!("\"v{count}x\""));
            count += 1;
        }
        prop_assert_eq!(count, keys.len());
    }

    /// Whatever the order of lines, each value and each unknown line is found
    /// in what is made of them.
    #[test]
    fn no_line_is_lost(kinds in prop::collection::vec((0_usize..12, any::<bool>()), 1..30)) {
        let all: [Lines; 6] = [
            ("boot", |text| boot::convert(text).text, [
                "EventBuilder host: @", "EventBuilder label: @", "EventBuilder port: @",
                "EventBuilder weight: @", "DataLogger host: @", "DataLogger subsystem: @",
                "Subsystem id: @", "Subsystem source: @", "Subsystem mode: @", "PMT host: @",
                "RoutingMaster host: @", "@ without a colon",
            ]),
            ("environment", |text| environment::convert(text).text, [
                "export A=@", "export A-B=@", "export B=\"@\"", "export C='@'", "D=@", "@=1",
                "export @", "@", "export E=@ @", "E = @", "export F=\\@\\", "export @=@",
            ]),
            ("known_boardreaders_list", |text| known_boardreaders_list::convert(text).text, [
                "@ host", "tpc01 @", "tpc-01 @ -1", "tpc.01 h -1 @", "gps h -1 1 \"@ \"", "@", "a \"@",
                "b: [ \"@\" ]", "c: [ @", "d h # @", "e: @", "f @ \"x\" @",
            ]),
            ("metadata", |text| metadata::convert(text).text, [
                "Config name: @", "Component #0: @", "Component #1: @", "components: @",
                "config_name: @", "x commit/version: \"@\"", "boardreader logfiles: ",
                "boardreader logfiles: @", "host:/log/@", "@ without a colon", "# @",
                "DAQInterface start time: @",
            ]),
            ("ranks", |text| ranks::convert(text).text, [
                "host port label rank", "h 1 @ 0", "h 1 @ 1 0", "h 1 l 1 @", "@", "@ 1", "h\t1\t@\t0",
                "h 1 @ 1 1 1 1", "host @ rank", "header @", "h \"@\" 0", "rank @",
            ]),
            ("settings", |text| settings::convert(text).text, [
                "a: @", "a b: @", "a-b: @", "a_b: @", "c: [ @ ]", "c: [ @, @ @ ]", "d: [ @", "e: \"@\"",
                "f: 1 # @", "@: 1", "@", "g: [ [@] ]",
            ]),
        ];
        for (name, convert, lines) in all {
            let mut text = String::new();
            let mut marks = Vec::new();
            for (number, (kind, blank)) in kinds.iter().enumerate() {
                let mark = format!("v{number}x");
                text.push_str(&lines[*kind].replace('@', &mark));
                text.push_str(if *blank { "\n\n" } else { "\n" });
                if lines[*kind].contains('@') {
                    marks.push(mark);
                }
            }
            let fcl = convert(&text);
            prop_assert!(fhicl::parse(&fcl).is_ok(), "{}: {}", name, fcl);
            for mark in marks {
                prop_assert!(fcl.contains(&mark), "{} lost {} of\n{}\n{}", name, mark, text, fcl);
            }
        }
    }
}

/// Words as they stand in a text, signs, points and quotes of numbers included.
fn words(text: &str) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    let ends = |c: char| c.is_whitespace() || ",[]{}\"'\\".contains(c);
    for word in text.split(ends).filter(|word| !word.is_empty()) {
        *words.entry(word.to_string()).or_default() += 1;
    }
    words
}

/// Keys that are names, that are none, that repeat, and that mean something.
const KEYS: [&str; 22] = [
    "a",
    "a",
    "a-b",
    "a b",
    "a.b",
    "a_b",
    "Run type",
    "Total events",
    "1x",
    "é",
    "x/y(z)",
    "name",
    "components",
    "config_name",
    "EventBuilder host",
    "EventBuilder weight",
    "EventBuilder label",
    "Subsystem id",
    "Subsystem source",
    "Subsystem mode",
    "DataLogger port",
    "line_3",
];

/// Values that a reader could take for something else.
const VALUES: [&str; 34] = [
    "1",
    "-1",
    "+5",
    "1.5",
    "1.5.6",
    "1e5",
    "-2.5E-3",
    "0x1F",
    "0b101",
    "1_000",
    "infinity",
    "-infinity",
    "@nil",
    "@local::x",
    "true",
    "word",
    "two words",
    "[1, 2]",
    "[-1, 1e5, 0x1F]",
    "['a', 'b']",
    "[\"5\", \"x y\"]",
    "[ a b ]",
    "[a, [1, -2]]",
    "[ , 1]",
    "{ a: 1 }",
    "\"v\"",
    "'v'",
    "\"\"",
    "\"half",
    "host:/log/x.log",
    "2024-11-14",
    "12e4567ab",
    "C:\\dir\\",
    "(1, -2)",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever key has whatever value, each word of the value is found in what
    /// artdaqDB gives back, as it was written and as often.
    #[test]
    fn no_value_is_altered(pairs in prop::collection::vec(
        (prop::sample::select(KEYS.to_vec()), prop::sample::select(VALUES.to_vec()), any::<bool>()),
        1..12,
    )) {
        type Converter = fn(&str) -> String;
        type Line = fn(&str, &str) -> String;
        let pair: Line = |key, value| format!("{key}: {value}\n");
        let converters: [(&str, Converter, Line); 6] = [
            ("boot", |text| boot::convert(text).text, pair),
            ("settings", |text| settings::convert(text).text, pair),
            ("metadata", |text| metadata::convert(text).text, pair),
            ("environment", |text| environment::convert(text).text, |key, value| {
                format!("export {}={value}\n", key.replace(' ', "_"))
            }),
            ("known_boardreaders_list", |text| known_boardreaders_list::convert(text).text,
                |key, value| format!("{} {value}\n", key.replace(' ', "_"))),
            ("ranks", |text| ranks::convert(text).text,
                |key, value| format!("host 1 {} {value}\n", key.replace(' ', "_"))),
        ];
        for (name, convert, line) in converters {
            let mut text = String::new();
            let mut expected = BTreeMap::new();
            for (key, value, blank) in &pairs {
                text.push_str(&line(key, value));
                text.push_str(if *blank { "\n" } else { "" });
                for (word, count) in words(value) {
                    *expected.entry(word).or_default() += count;
                }
            }
            let fcl = convert(&text);
            let document = fhicl::parse(&fcl).unwrap_or_else(|e| panic!("{name}: {e}\n{fcl}"));
            let stored = fhicl::write(&document);
            // A backslash that FHiCL can't have at an end is spelled out.
            let found = words(&stored.replace("\\\\x5c", "\\"));
            for (word, count) in expected {
                // `a:` and `a` are two words of `a: a`.
                let here = found.get(&word).copied().unwrap_or_default();
                prop_assert!(here >= count, "{name}: {word} {count} times, not {here}:\n{text}\n{stored}");
            }
        }
    }
}

/// What repeats or is said in a comment is there after artdaqDB has had it.
#[test]
fn repeats_and_original_names_survive_the_database() {
    let converted = known_boardreaders_list::convert("gps a -1\ngps b -1\nobs-crt-3 c -1\n");
    let document = fhicl::parse(&converted.text).expect("FHiCL");
    let text = fhicl::write(&document);
    for kept in [
        "gps: [\"a\"",
        "gps: [\"b\"",
        "# obs-crt-3\nobs_crt_3: [\"c\"",
    ] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
}

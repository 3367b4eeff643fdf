//! Whatever a text file holds, what is made of it is FHiCL and holds it.

use proptest::prelude::*;
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;
use run_record_archiver::run_record::convert::{
    boot, environment, known_boardreaders_list, metadata, ranks, run_history, run_history2,
    settings, setup,
};

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
        cases: 2000,
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
}

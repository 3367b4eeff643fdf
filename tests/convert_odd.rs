//! The converters on input that no healthy run record holds: old forms, other
//! line ends, control characters, nothing at all, and very much.

use std::time::{Duration, Instant};

use log::Level;
use run_record_archiver::run::Run;
use run_record_archiver::run_record::convert::{
    Converted, boot, environment, known_boardreaders_list, metadata, ranks, run_history,
    run_history2, settings, setup,
};

type Converter = fn(&str) -> Converted;

fn history(text: &str) -> Converted {
    run_history::convert(text, Run(12_500))
}

const ALL: [(&str, Converter); 9] = [
    ("boot", boot::convert),
    ("environment", environment::convert),
    ("known_boardreaders_list", known_boardreaders_list::convert),
    ("metadata", metadata::convert),
    ("ranks", ranks::convert),
    ("run_history", history),
    ("run_history2", run_history2::convert),
    ("settings", settings::convert),
    ("setup", setup::convert),
];

fn notes(converted: &Converted, level: Level) -> Vec<&str> {
    converted
        .notes
        .iter()
        .filter(|note| note.level == level)
        .map(|note| note.text.as_str())
        .collect()
}

#[test]
fn ranks_of_2018_have_tabs_and_no_subsystem() {
    let text = "host\tport\tlabel\trank\n\nev01\t5200\ttpc01\t0\nev02\t5201\tEventBuilder1\t1\n";
    let converted = ranks::convert(text);
    assert_eq!(
        converted.text,
        "ranks: {\n\
         \x20 header: [\"host\", \"port\", \"label\", \"rank\"]\n\
         \x20 rank0: [\"ev01\", \"5200\", \"tpc01\", \"0\"]\n\
         \x20 rank1: [\"ev02\", \"5201\", \"EventBuilder1\", \"1\"]\n}\n"
    );
    assert_eq!(converted.notes, []);
}

#[test]
fn rank_rows_keep_what_they_have() {
    let text = "host port label subsystem rank\n\
                a 1 x 1 0\n\
                b 2 y 1\n\
                c 3 z 1 0\n";
    let converted = ranks::convert(text);
    assert_eq!(
        converted.text,
        "ranks: {\n\
         \x20 header: [\"host\", \"port\", \"label\", \"subsystem\", \"rank\"]\n\
         \x20 rank0: [\"a\", \"1\", \"x\", \"1\", \"0\"]\n\
         \x20 rank1: [\"b\", \"2\", \"y\", \"1\"]\n\
         \x20 rank0_2: [\"c\", \"3\", \"z\", \"1\", \"0\"]\n}\n"
    );
    assert_eq!(
        notes(&converted, Level::Info),
        ["a name that is taken is kept under another one (line 4: rank0 as rank0_2)"]
    );

    let headless = ranks::convert("a 1 x 1 0\n");
    assert_eq!(
        headless.text,
        "ranks: {\n  rank0: [\"a\", \"1\", \"x\", \"1\", \"0\"]\n}\n"
    );
    assert_eq!(notes(&headless, Level::Warn).len(), 1);
}

#[test]
fn an_empty_file_is_said_to_be_empty() {
    for (name, convert) in ALL {
        for text in ["", "\n", " \r\n\t\n"] {
            let converted = convert(text);
            let expected = match name {
                "boot" => "\nartdaq_process_settings: [\n]\n",
                "ranks" => "ranks: {\n}\n",
                "run_history" => "run_number: 12500\n\n",
                "setup" => {
                    assert!(converted.text.starts_with("setup_script: \""));
                    continue;
                }
                _ => "",
            };
            assert_eq!(converted.text, expected, "{name} of {text:?}");
            if !name.starts_with("run_history") {
                assert_eq!(
                    notes(&converted, Level::Warn),
                    ["the file is empty"],
                    "{name}"
                );
            }
        }
    }
}

/// A text of a form that every converter finds something in.
const MIXED: &str = "Config name: a b/c\n\
    Component #0: tpc01\n\
    debug level: 1\n\
    EventBuilder host: ev01\n\
    EventBuilder label: EventBuilder1\n\
    export DAQINTERFACE_X=y\n\
    host port label subsystem rank\n\
    DAQInterface stop time: Mon Jan  5 09:09:41 UTC 2026\n";

#[test]
fn line_ends_make_no_difference() {
    for (name, convert) in ALL {
        let expected = convert(MIXED).text;
        assert_eq!(
            convert(&MIXED.replace('\n', "\r\n")).text,
            expected,
            "{name}: CRLF"
        );
        if name != "setup" {
            assert_eq!(
                convert(MIXED.trim_end()).text,
                expected,
                "{name}: no last newline"
            );
        }
    }
}

#[test]
fn tabs_separate_like_blanks() {
    assert_eq!(
        known_boardreaders_list::convert("tpc01\tev01\t-1 1\t\"run me \"\t\n").text,
        "tpc01: [\"ev01\", \"-1\", \"1\", \"run me \" ]\n"
    );
    assert_eq!(
        settings::convert("\ta\t:\t[ 1\t]\t#x\n").text,
        "a: [ 1 ] #x\n"
    );
    assert_eq!(
        boot::convert("\tPMT host\t:\tev01\t\n").text.lines().next(),
        Some("PMT_host: \"ev01\"")
    );
    // Within a script a tab stays a tab.
    assert_eq!(
        setup::convert("\tcd\t/\n").text,
        "setup_script: \"\tcd\t/\\n\""
    );
}

#[test]
fn control_characters_are_spelled_out_and_said() {
    for (name, convert) in ALL {
        let text = "Config name: a\u{1b}b\u{0}c\rd\u{7f}\u{85}e\n";
        let converted = convert(text);
        assert!(
            !converted.text.chars().any(|c| c.is_control() && c != '\n'),
            "{name}: {:?}",
            converted.text
        );
        if !name.starts_with("run_history") {
            assert_eq!(
                notes(&converted, Level::Warn).last(),
                Some(&"5 characters that FHiCL does not allow are kept as \\x and their number"),
                "{name}"
            );
        }
    }
    assert_eq!(
        setup::convert("a\u{1b}b\\x\r\n").text,
        "setup_script: \"a\\\\x1bb\\\\x\\n\""
    );
}

#[test]
fn a_backslash_at_the_end_of_a_value_is_spelled_out_and_said() {
    let converted = settings::convert("a: C:\\\nb: \"C:\\\\\"\nc: \\d\n");
    assert_eq!(
        converted.text,
        "a: \"C:\\\\x5c\"\nb: \"\\\"C:\\\\\\\\\\\"\"\nc: \"\\\\d\"\n"
    );
    assert_eq!(
        notes(&converted, Level::Warn),
        ["1 characters that FHiCL does not allow are kept as \\x and their number"]
    );
}

#[test]
fn text_beyond_ascii_stays() {
    assert_eq!(
        setup::convert("echo Grüße →\n").text,
        "setup_script: \"echo Grüße →\\n\""
    );
    assert_eq!(environment::convert("export A=é\n").text, "A: \"é\"\n");
}

#[test]
fn every_value_of_a_settings_txt_is_kept() {
    let text = "a: [ artdaq-demo, \"artdaq core\" 7 ]\n\
                b c: x:y\n\
                d: True\n\
                e: -5\n\
                f: 0x1F\n\
                g: C:\\dir \"x\"\n\
                h:\n\
                i: http://x/#y # why\n\
                j: [ [1, 2] ]\n\
                k: \"fine\"\n\
                no colon here\n";
    let converted = settings::convert(text);
    assert_eq!(
        converted.text,
        "a: [ \"artdaq-demo\", \"artdaq core\", 7 ]\n\
         b_c: \"x:y\"\n\
         d: true\n\
         e: \"-5\"\n\
         f: \"0x1F\"\n\
         g: \"C:\\\\dir \\\"x\\\"\"\n\
         h: \"\"\n\
         i: \"http://x/#y # why\"\n\
         j: \"[ [1, 2] ]\"\n\
         k: \"fine\"\n\
         line_11: \"no colon here\"\n"
    );
    assert_eq!(
        notes(&converted, Level::Warn),
        [
            "a value is kept as a string (line 9: [ [1, 2] ])",
            "a line of unknown form is kept as line_<number> (line 11: no colon here)"
        ]
    );
}

#[test]
fn keys_that_would_become_one_stay_two() {
    let converted = settings::convert("max-size: 1\nmax size: 2\nmax_size: 3\nmax-size: 4\nü: 5\n");
    assert_eq!(
        converted.text,
        "# max-size\nmax_size_2: 1\n\
         # max size\nmax_size_3: 2\n\
         max_size: 3\n\
         # max-size\nmax_size_2: 4\n\
         # ü\n_: 5\n"
    );
}

#[test]
fn a_directive_or_a_prolog_can_not_come_from_a_text_file() {
    assert_eq!(
        metadata::convert("#include \"x.fcl\"\nBEGIN_PROLOG: 1\n").text,
        "# include \"x.fcl\"\n# BEGIN_PROLOG\n_BEGIN_PROLOG: 1\n"
    );
    assert_eq!(
        settings::convert("a: [ 1 ] #include \"x\"\n").text,
        "a: [ 1 ] # include \"x\"\n"
    );
}

#[test]
fn board_readers_with_the_same_name_all_stay() {
    let converted = known_boardreaders_list::convert(
        "gps ev01 -1\ngps ev02 -1\nicarus-crt icarus -1 # spare\nonly_a_name\nq ev \"open\n",
    );
    assert_eq!(
        converted.text,
        "gps: [\"ev01\", \"-1\"]\n\
         gps: [\"ev02\", \"-1\"]\n\
         # icarus-crt\n\
         icarus_crt: [\"icarus\", \"-1\"] # spare\n\
         only_a_name: []\n\
         q: [\"ev\", \"\\\"open\"]\n"
    );
    assert_eq!(
        notes(&converted, Level::Info),
        [
            "a repeated name is kept each time (line 2: gps)",
            "a name that FHiCL does not allow is changed, the original kept above it \
             (line 3: icarus-crt)"
        ]
    );
}

#[test]
fn blocks_of_boot_txt_keep_every_attribute() {
    let text = "EventBuilder host: ev01\n\
                EventBuilder label: EventBuilder1\n\
                EventBuilder allowed_processors: 0-3\n\
                EventBuilder host: ev02\n\
                EventBuilder label: EventBuilder2\n\
                EventBuilder allowed_processors: 4-7\n\
                \n\
                Subsystem id: 1\n\
                Subsystem fragmentMode: False\n\
                \n\
                Dispatcher port: 6020\n\
                RoutingMaster host: ev03\n";
    assert_eq!(
        boot::convert(text).text,
        "Subsystem_fragmentMode: \"False\"\n\
         RoutingMaster_host: \"ev03\"\n\
         \n\
         subsystem_settings: [\n{\nid: \"1\"\n}\n]\n\
         \n\
         artdaq_process_settings: [\n\
         {\nname: \"EventBuilder\"\nlabel: \"EventBuilder1\"\nhost: \"ev01\"\nallowed_processors: \"0-3\"\n},\n\
         {\nname: \"EventBuilder\"\nlabel: \"EventBuilder2\"\nhost: \"ev02\"\nallowed_processors: \"4-7\"\n},\n\
         {\nname: \"Dispatcher\"\nport: 6020\n}\n]\n"
    );
}

#[test]
fn metadata_without_blank_lines_and_with_stray_ones() {
    let text = "Config name: a\n\
                Component #0: x\n\
                boardreader logfiles: ev01:/log/a.log\n\
                ev01:/log/b.log\n\
                dispatcher logfiles: \n\
                ev02:/log/c.log\n\
                DAQInterface start time: today\n\
                a stray line\n\
                Component #1: y\n\
                config_name: b\n";
    assert_eq!(
        metadata::convert(text).text,
        "config_name: \"a\"\n\
         components: [\"x\", \"y\"]\n\
         \n\
         boardreader_logfiles: [\"ev01:/log/a.log\", \"ev01:/log/b.log\"]\n\
         \n\
         dispatcher_logfiles: [\"ev02:/log/c.log\"]\n\
         daqinterface_start_time: \"today\"\n\
         line_8: \"a stray line\"\n\
         # config_name\n\
         config_name_2: \"b\"\n"
    );
}

/// Numbers and lists are bare, as DAQInterface's own converter has them; the
/// number of events has a key in lower case there.
#[test]
fn numbers_and_lists_of_metadata_are_bare() {
    assert_eq!(
        metadata::convert(
            "Total events: 12345\nbeam energy: 1.5\nRun type: 7\nlist: [1, 2]\nnames: [ a b ]\n\
             strings: ['a', \"b c\"]\noffset: -5\nx commit/version: 1.2\nreference: [@local::x]\n"
        )
        .text,
        "total_events: 12345\nbeam_energy: 1.5\nRun_type: 7\nlist: [1, 2]\nnames: [a, b]\n\
         strings: ['a', \"b c\"]\noffset: -5\nx_commit_or_version: \"1.2\"\n\
         reference: [\"@local::x\"]\n"
    );
}

/// As DAQInterface reads it: each source of a subsystem counts.
#[test]
fn a_subsystem_with_two_sources_stays_one() {
    let text = "Subsystem id: 4\nSubsystem source: 2\nSubsystem source: 3 # late\n\
                Subsystem destination: 5\n\nSubsystem id: 5\nSubsystem source: 4\n";
    assert_eq!(
        boot::convert(text).text,
        "\nsubsystem_settings: [\n\
         {\nid: \"4\"\nsource: [\"2\", \"3\"] # late\ndestination: \"5\"\n},\n\
         {\nid: \"5\"\nsource: \"4\"\n}\n]\n\nartdaq_process_settings: [\n]\n"
    );
}

#[test]
fn dotted_names_of_boot_txt_stay_dotted() {
    let converted = boot::convert("foo.bar: 1\ntpc01.daq x.port: 2\na..b: 3\n.c: 4\n1.d: 5\n");
    let settings = converted.text.split("\n\n").next().unwrap();
    assert_eq!(
        settings,
        "foo.bar: 1\ntpc01.daq_x.port: 2\n# a..b\na__b: 3\n# .c\n_c: 4\n# 1.d\n_1_d: 5"
    );
}

/// An attribute that only some blocks have stays with them.
#[test]
fn each_block_keeps_the_attributes_that_others_lack() {
    let text = "EventBuilder host: ev01\nEventBuilder label: E1\nEventBuilder allowed_processors: 0-3\n\n\
                EventBuilder host: ev02\nEventBuilder label: E2\n\n\
                DataLogger host: ev03\nDataLogger label: D1\nDataLogger allowed_processors: 4\n\
                DataLogger weight: 1\nDataLogger weight: 2\n\n\
                Subsystem id: 1\nSubsystem fragmentMode: False\n\nSubsystem id: 2\n";
    let converted = boot::convert(text);
    assert_eq!(
        converted.text,
        "DataLogger_allowed_processors: 4\n\
         \nsubsystem_settings: [\n{\nid: \"1\"\nfragmentMode: \"False\"\n},\n{\nid: \"2\"\n}\n]\n\
         \nartdaq_process_settings: [\n\
         {\nname: \"EventBuilder\"\nlabel: \"E1\"\nhost: \"ev01\"\nallowed_processors: \"0-3\"\n},\n\
         {\nname: \"EventBuilder\"\nlabel: \"E2\"\nhost: \"ev02\"\n},\n\
         {\nname: \"DataLogger\"\nlabel: \"D1\"\nhost: \"ev03\"\nweight: 1\nweight_2: 2\n}\n]\n"
    );
    assert_eq!(
        notes(&converted, Level::Info),
        ["a name that is taken is kept under another one (line 12: weight as weight_2)"]
    );
}

#[test]
fn a_boot_txt_that_is_fhicl_stays_what_it_is() {
    let text = "# made by hand\nDAQ_setup_script: \"/daq/setup.sh\"\ndebug_level: 2\n\
                EventBuilder_hosts: [ \"ev01\", 'ev02' ] # two\nt: { a: 1 }\n";
    assert_eq!(boot::convert(text).text, text);
    // Lines that could be either are read as DAQInterface reads them.
    assert_eq!(
        boot::convert("debug_level: 2\n").text,
        "debug_level: 2\n\nartdaq_process_settings: [\n]\n"
    );
    assert_eq!(
        boot::convert("# c\n\nPMT_host: ev01.daq\nfoo.bar: 1.5\n").text,
        "PMT_host: \"ev01.daq\"\nfoo.bar: 1.5\n\nartdaq_process_settings: [\n]\n"
    );
}

/// One thing that only FHiCL has is enough.
#[test]
fn every_construct_of_fhicl_in_a_boot_txt_is_known() {
    for text in [
        "BEGIN_PROLOG\np: 1\nEND_PROLOG\nx: 2\n",
        "BEGIN_PROLOG\nEND_PROLOG\nx: 2\n",
        "x: @local::p\n",
        "#include \"a.fcl\"\nx: 1\n",
        "a @protect_ignore: 3\n",
        "a @protect_error: 3\n",
        "b: 2\n@table::p\n",
        "a: @erase\n",
        "a: @nil\n",
        "a: 'it # s'\n",
        "a: \"\"\n",
        "a: 1 b: 2\nc: 3\n",
        "a:\n1\n",
        "// c\na: 1\n",
        "a: 0x1F\n",
        "a: -1\n",
        "a: +1\n",
        "a: 1e5\n",
        "a: infinity\n",
        "a: true\n",
        "a: false\n",
        "a: (1, 2)\n",
        "a: []\n",
        "a: {}\n",
        "a[0]: 1\n",
    ] {
        assert_eq!(boot::convert(text).text, text);
    }
    // What is not FHiCL as a whole is none.
    for text in [
        "DAQ setup script: /x.sh\na: true\nb: -1\n",
        "a: 'x'\nhost: ev-01\n",
    ] {
        let converted = boot::convert(text).text;
        assert!(
            converted.ends_with("artdaq_process_settings: [\n]\n"),
            "{converted}"
        );
    }
}

#[test]
fn no_item_of_a_list_in_settings_is_altered() {
    assert_eq!(
        settings::convert(
            "a: ['a', 'b']\nb: [-1, -2]\nc: [1e5, 0x1F, +3, -2.5E-3]\nd: [\"5\", '-1', \"true\", true]\n\
             e: [artdaq-demo, 'artdaq-demo', -x, 2024-11-14]\nf: [ a ]# why\ng: ['it\\', \"a, b\"] # [c]\n"
        )
        .text,
        "a: [ a, b ]\nb: [ -1, -2 ]\nc: [ 1e5, 0x1F, +3, -2.5E-3 ]\nd: [ \"5\", \"-1\", \"true\", true ]\n\
         e: [ \"artdaq-demo\", \"artdaq-demo\", \"-x\", \"2024-11-14\" ]\nf: [ a ] # why\n\
         g: [ \"it\\\\x5c\", \"a, b\" ] # [c]\n"
    );
}

#[test]
fn values_of_the_environment_can_be_told_apart() {
    assert_eq!(
        environment::convert("export A=\"v\"\nexport B=v\nexport C=\"\"\nexport D=\nexport E=''\n")
            .text,
        "A: \"\\\"v\\\"\"\nB: \"v\"\nC: \"\\\"\\\"\"\nD: \"\"\nE: \"''\"\n"
    );
}

#[test]
fn board_readers_in_fhicl_may_have_comments() {
    assert_eq!(
        known_boardreaders_list::convert(
            "a: [\"x\", \"-1\"] # one [1]\nb: [ \"x y\" ]# two\nc:[\"#z\"]\nd h -1 # three\n"
        )
        .text,
        "a: [\"x\", \"-1\"] # one [1]\nb: [\"x y\"] # two\nc: [\"#z\"]\nd: [\"h\", \"-1\"] # three\n"
    );
}

#[test]
fn log_files_of_old_records_have_a_key_of_their_own() {
    assert_eq!(
        metadata::convert("pmt logfile(s): ev01:/log/pmt-*.log\n").text,
        "pmt_logfiles_wildcard: \"ev01:/log/pmt-*.log\"\n"
    );
}

#[test]
fn a_metadata_txt_that_is_still_written_waits_for_its_last_line() {
    let start = "Config name: a\n\nDAQInterface start time: Mon Jan  5 09:07:02 UTC 2026\n\n";
    let whole = "DAQInterface stop time: Mon Jan  5 09:09:41 UTC 2026";
    let before = metadata::convert(start);
    for end in 1..whole.len() {
        let text = format!("{start}{}", &whole[..end]);
        let converted = metadata::convert(&text);
        assert_eq!(converted.text, before.text, "{text}");
        assert_eq!(notes(&converted, Level::Info).len(), 1, "{text}");
        assert_eq!(run_history2::convert(&text), run_history2::convert(start));
    }
    let after = format!("{start}{whole}");
    assert!(
        metadata::convert(&after)
            .text
            .contains("stop_time: \"Mon Jan  5 09:09:41 UTC 2026\"")
    );
}

#[test]
fn environment_variables_of_any_form() {
    assert_eq!(
        environment::convert(
            "# x\nexport A=1\nB='two words'\n  export\tC=\"x\"y\nexport D\nexport E=a=b\nexport F-G=\n"
        )
        .text,
        "A: \"1\"\nB: \"'two words'\"\nC: \"\\\"x\\\"y\"\nline_5: \"export D\"\nE: \"a=b\"\n# F-G\nF_G: \"\"\n"
    );
}

/// DAQInterface itself has `_` for the `-` of package names, and nowhere else.
#[test]
fn only_package_names_of_settings_lose_their_dashes() {
    let converted = settings::convert(
        "l: [ a-b, v3_13-02, true-x ]\npackage_hashes_to_save: [ artdaq-core, 'a-b', artdaq ]\n\
         packages_hashes_to_save: [ artdaq-core sbndaq-x ]\n",
    );
    assert_eq!(
        converted.text,
        "l: [ \"a-b\", \"v3_13-02\", \"true-x\" ]\n\
         package_hashes_to_save: [ artdaq_core, \"a-b\", artdaq ]\n\
         packages_hashes_to_save: [ artdaq_core, sbndaq_x ]\n"
    );
    assert_eq!(
        notes(&converted, Level::Info),
        ["a package name is archived with _ for - \
             (line 2: package_hashes_to_save: artdaq-core, and 2 more)"]
    );
}

#[test]
fn numbers_of_metadata_are_bare_with_signs_and_exponents() {
    assert_eq!(
        metadata::convert(
            "a: -17\nb: +5\nc: 1e5\nd: 1e-3\ne: 0x1F\nf: -1.5\ng: 12e4567\nh: 1.2.3\ni: 0x\nj: --1\n\
             k: [1, 2] # c\nl: [ a b ]#d\nm: 1 # e\nn: [1] 2\n"
        )
        .text,
        "a: -17\nb: +5\nc: 1e5\nd: 1e-3\ne: 0x1F\nf: -1.5\ng: \"12e4567\"\nh: \"1.2.3\"\ni: \"0x\"\n\
         j: \"--1\"\nk: [1, 2] # c\nl: [a, b] #d\nm: \"1 # e\"\nn: \"[1] 2\"\n"
    );
}

#[test]
fn blanks_do_not_separate_where_commas_do() {
    let text = "[a b, c]\n[ a b ]\n[1 2, -3 ]\n[ , 1]\n[1, 2,]\n[ 'a b' c, d]\n";
    let kept = "[1,,2]\n[,]\n[,,1]\n[1, , ]\n[a: 1]\n[a :1, b: 2]\n[a \"b\", c]\n";
    let lines = |text: &str| -> String {
        let lines = text.lines().enumerate();
        lines
            .map(|(number, line)| format!("k{number}: {line}\n"))
            .collect()
    };
    let converted = settings::convert(&lines(text));
    assert_eq!(
        converted.text,
        "k0: [ \"a b\", c ]\nk1: [ a, b ]\nk2: [ \"1 2\", -3 ]\nk3: [ 1 ]\nk4: [ 1, 2 ]\n\
         k5: [ \"a b\", c, d ]\n"
    );
    assert_eq!(converted.notes, []);
    assert_eq!(
        metadata::convert(&lines(text)).text,
        "k0: [\"a b\", c]\nk1: [a, b]\nk2: [\"1 2\", -3]\nk3: [ , 1]\nk4: [1, 2]\n\
         k5: [\"a b\", c, d]\n"
    );
    for convert in [settings::convert, metadata::convert] {
        let converted = convert(&lines(kept));
        for line in kept.lines() {
            let value = format!(": \"{}\"\n", line.replace('"', "\\\""));
            assert!(
                converted.text.contains(&value),
                "{line}: {}",
                converted.text
            );
        }
        assert_eq!(
            notes(&converted, Level::Warn),
            ["a value is kept as a string (line 1: [1,,2], and 6 more)"]
        );
    }
}

#[test]
fn blanks_behind_a_value_of_the_environment_are_kept() {
    assert_eq!(
        environment::convert("export A=v  \nexport B= \t\r\nexport C \n \n export D=x").text,
        "A: \"v  \"\nB: \" \t\"\nline_3: \"export C\"\nD: \"x\"\n"
    );
}

#[test]
fn every_known_key_ends_a_section_of_log_files() {
    for (line, made) in [
        (
            "process management method: direct",
            "process_management_method: \"direct\"",
        ),
        (
            "sbndaq commit/version: v1",
            "sbndaq_commit_or_version: \"v1\"",
        ),
        ("Total events: 5", "total_events: 5"),
        ("Component #0: c1", "components: [\"c1\"]"),
        ("Config name: std", "config_name: \"std\""),
        (
            "DAQInterface directory: h:/x",
            "DAQInterface_directory: \"h:/x\"",
        ),
        (
            "DAQInterface stop time: today",
            "daqinterface_stop_time: \"today\"",
        ),
        ("pmt logfile(s): h:/p", "pmt_logfiles_wildcard: \"h:/p\""),
    ] {
        assert_eq!(
            metadata::convert(&format!("boardreader logfiles:\nh:/a.log\n{line}\n")).text,
            format!("\nboardreader_logfiles: [\"h:/a.log\"]\n{made}\n")
        );
    }
}

#[test]
fn every_altered_name_is_said() {
    const SAID: &str = "a name that FHiCL does not allow is changed, the original kept above it";
    type Case = (Converter, &'static str, &'static str, &'static str);
    let cases: [Case; 4] = [
        (
            settings::convert,
            "foo.bar: 1\n",
            "# foo.bar\nfoo_bar: 1\n",
            "foo.bar",
        ),
        (
            environment::convert,
            "export DAQ-X=1\n",
            "# DAQ-X\nDAQ_X: \"1\"\n",
            "DAQ-X",
        ),
        (
            metadata::convert,
            "e-key: 1\n",
            "# e-key\ne_key: 1\n",
            "e-key",
        ),
        (
            boot::convert,
            "x-y.z: 2\n",
            "# x-y.z\nx_y_z: 2\n\nartdaq_process_settings: [\n]\n",
            "x-y.z",
        ),
    ];
    for (convert, text, made, key) in cases {
        let converted = convert(text);
        assert_eq!(converted.text, made);
        assert_eq!(
            notes(&converted, Level::Info),
            [format!("{SAID} (line 1: {key})")]
        );
    }
    let converted = settings::convert("boardreader timeout: 5\n");
    assert_eq!(converted.text, "boardreader_timeout: 5\n");
    assert_eq!(converted.notes, []);
}

/// Repeats lines until there are so many bytes of them.
fn repeat(bytes: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(bytes + 100);
    let mut number = 0;
    while text.len() < bytes {
        text.push_str(&line(number));
        number += 1;
    }
    text
}

#[test]
fn ten_megabytes_take_no_time_to_speak_of() {
    const BYTES: usize = 10_000_000;
    for (name, convert) in ALL {
        let text = repeat(BYTES, |number| match name {
            "boot" => format!("EventBuilder host: ev{number}\nEventBuilder label: E{number}\n\n"),
            "environment" => format!("export DAQINTERFACE_{number}=/daq/log/{number}\n"),
            "known_boardreaders_list" => format!("tpc{number} ev01-daq -1 1 0-15 \"env X \"\n"),
            "ranks" => format!("ev{number}-daq 11100 tpc{number} 1 {number}\n"),
            "settings" => format!("setting {number}: [ a{number}, b ]\n"),
            "setup" => format!("echo \"number {number}\"\n"),
            _ => format!("Component #{number}: tpc{number}\n"),
        });
        let start = Instant::now();
        let converted = convert(&text);
        let took = start.elapsed();
        assert!(converted.notes.len() < 10, "{name}");
        assert!(took < Duration::from_secs(30), "{name} took {took:?}");
    }
}

#[test]
fn nothing_that_is_repeated_makes_a_conversion_slow() {
    const BYTES: usize = 500_000;
    let lines = |line: &str| repeat(BYTES, |_| format!("{line}\n"));
    let texts = [
        lines("same-key: 1"),
        lines("EventBuilder host: a\nEventBuilder weight: 1"),
        lines("boardreader logfiles: \nx"),
        lines("no form at all"),
        lines("host port label rank"),
        lines("Config name: x\nDAQInterface stop time: x"),
        repeat(BYTES, |number| format!("EventBuilder weight: {number}\n")),
        // Every key wants the same name.
        repeat(BYTES, |number| {
            let digits = format!("{number:024b}");
            digits.replace('0', "-").replace('1', "/") + ": 1\n"
        }),
        "a \"b ".repeat(BYTES / 5),
        "a: [ ".to_string() + &"1 ".repeat(BYTES / 2),
        "\r".repeat(BYTES),
        "x".repeat(BYTES),
        "\"".repeat(BYTES),
        "a: \"".to_string() + &"\\".repeat(BYTES),
        "[".repeat(BYTES),
    ];
    for text in &texts {
        for (name, convert) in ALL {
            let start = Instant::now();
            let converted = convert(text);
            let took = start.elapsed();
            let beginning: String = text.chars().take(20).collect();
            assert!(converted.notes.len() < 10, "{name} of {beginning:?}...");
            // Without optimization a tenth of a second; a quadratic step takes minutes.
            assert!(
                took < Duration::from_secs(10),
                "{name} of {beginning:?}... took {took:?}"
            );
        }
    }
}

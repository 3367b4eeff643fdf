//! Time, depth and size: no text takes more than time in proportion to its
//! length, and none exhausts the stack.

use std::thread;
use std::time::{Duration, Instant};

use run_record_archiver::artdaqdb::document::{self, DocumentError, DocumentHead};
use run_record_archiver::fhicl::{self, MAX_DEPTH};
use run_record_archiver::run::Run;

const HEAD: DocumentHead = DocumentHead {
    oid: "0123456789abcdef01234567",
    collection: "RunHistory",
    entity: "x",
    version: "1/C",
    run: Run(1),
    time: "2026-11-23T07:35:14.122+0000",
};

/// Runs on a stack of an eighth of what a thread has by default.
fn on_a_small_stack(test: fn()) {
    let thread = thread::Builder::new().stack_size(1 << 18).spawn(test);
    thread.unwrap().join().unwrap();
}

fn nested(depth: usize, open: &str, close: &str) -> String {
    format!("a: {}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn the_deepest_file_goes_all_the_way() {
    on_a_small_stack(|| {
        for (open, close, depth) in [
            ("[", "]", MAX_DEPTH),
            ("{ a: ", "}", MAX_DEPTH - 1),
            ("{ a: [", "]}", MAX_DEPTH / 2),
            ("{ a @protect_ignore: ", "}", MAX_DEPTH - 1),
        ] {
            let inner = if open.ends_with('[') { "" } else { "[]" };
            let text = nested(depth, open, close).replacen(close, &format!("{inner}{close}"), 1);
            let tree = fhicl::parse(&text).unwrap();
            let written = fhicl::write(&tree);
            assert!(fhicl::parse(&written).unwrap() == tree);
            let json = document::write(&HEAD, &tree);
            assert_eq!(document::read(&json).unwrap().text, written);
        }
    });
}

#[test]
fn a_deeper_file_is_refused() {
    on_a_small_stack(|| {
        for depth in [MAX_DEPTH + 1, 1_000_000] {
            for (open, close) in [("[", "]"), ("{a:", "}"), ("[{b:", "}]")] {
                let error = fhicl::parse(&nested(depth, open, close)).unwrap_err();
                assert!(error.expected.contains("at most 10000 "), "{error}");
            }
        }
        // A deep value that something else replaces, and one before an error.
        let deep = nested(MAX_DEPTH - 2, "[", "]");
        for text in [
            format!("t: {{ {deep} a: 1 a: {{}} }}"),
            format!("t: {{ {deep} ; }}"),
        ] {
            assert_eq!(fhicl::parse(&text).is_err(), text.contains(';'));
        }
        for (open, close) in [("[\n", "\n]"), ("{\n\"a\" : ", "\n}")] {
            let json = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            let error = document::read(&json).unwrap_err();
            assert!(matches!(error, DocumentError::NotJson { .. }), "{error}");
        }
    });
}

/// A debug build takes below a second for each; anything quadratic takes
/// minutes.
#[test]
fn time_is_linear() {
    let many = |piece: &str| piece.repeat(150_000 / piece.len());
    let texts = [
        many("#"),
        many("# x\n"),
        many("//"),
        many("/"),
        many(" "),
        many("\r"),
        many("\r\n"),
        many("a"),
        many("a."),
        many("a . "),
        many("a[1]"),
        many("a:"),
        many("a: 1 "),
        many("a: 1 # c\n"),
        many("a: {} "),
        many("1"),
        many("\""),
        many("\\\""),
        format!("a: \"{}", many("\\\"")),
        format!("a: \"{}", many("\\\\\"")),
        format!("a: '{}", many("\n")),
        format!("a: [{}1]", many("1, ")),
        format!("a: [{}\"\"]", many("\"x\", ")),
        format!("a: [{}[]]", many("[], ")),
        format!("a: [{}{{}}]", many("{}, ")),
        format!("a: [{}1]", many("1, # c\n")),
        format!("a: {{ {} }}", many("b: 1 ")),
        format!("a: {{ {} }}", many("@table::x b: 1 ")),
        format!(
            "a: {{ {} }}",
            (0..15_000)
                .map(|i| format!("b{i}: {i} "))
                .collect::<String>()
        ),
        format!(
            "a: {{ {} }}",
            (0..15_000)
                .map(|i| format!("b{i}: {i} @table::x "))
                .collect::<String>()
        ),
        format!("a @protect_ignore: [{}1]", many("1, ")),
        nested(200, "{ a @protect_ignore: ", "}").replacen(
            '}',
            &format!("[{}1] }}", many("1, ")),
            1,
        ),
        many("#include \"f\"\n"),
        many("#include\t"),
        format!("#{}", many("#include   ")),
        many("   #include"),
        many("@"),
        many("@local::a "),
        format!("a: @local::a{}", many("[1]")),
        format!("a: {}", many("1.")),
        format!("a: {}", many("-")),
        format!("a: {}", many("(")),
        format!("a: {}", many("@nil")),
        many("BEGIN_PROLOG END_PROLOG "),
        many("BEGIN_PROLOG\nEND_PROLOG\n#include \"f\"\n"),
        many("é"),
    ];
    for text in texts {
        let start = Instant::now();
        if let Ok(tree) = fhicl::parse(&text) {
            let written = fhicl::write(&tree);
            let stored = document::read(&document::write(&HEAD, &tree)).unwrap();
            assert_eq!(stored.text, written);
        }
        let took = start.elapsed();
        let beginning: String = text.chars().take(40).collect();
        assert!(took < Duration::from_secs(20), "{beginning}...: {took:?}");
    }
}

/// Documents of others may have their metadata in another order, and repeat
/// names.
#[test]
fn metadata_in_another_order_is_found() {
    let count = 50_000;
    let data: Vec<String> = (0..count)
        .map(|i| format!("\"k{}\" : \"{i}\"", i / 2))
        .collect();
    let metadata: Vec<String> = (0..count)
        .map(|i| format!("\"k{}\" : {{\"type\" : \"number\", \"comment\" : \"# {}\", \"annotation\" : \"\"}}", (count - 1 - i) / 2, i % 2))
        .collect();
    let json = format!(
        "{{\"document\" : {{\"data\" : {{\"prolog\" : {{}}, \"main\" : {{{}}}}}, \"metadata\" : \
         {{\"prolog\" : {{\"children\" : {{}}}}, \"main\" : {{\"children\" : {{{}}}}}}}}}}}",
        data.join(","),
        metadata.join(",")
    );
    let start = Instant::now();
    let text = document::read(&json).unwrap().text;
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(
        text.starts_with("# 0\nk0: 0 \n# 1\nk0: 1 \n# 0\nk1: 2 \n"),
        "{}",
        &text[..80]
    );
}

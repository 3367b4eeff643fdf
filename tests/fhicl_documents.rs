//! artdaqDB's documents where the goldens have nothing: what the real tools
//! have no place for, documents that others have edited, and damaged ones.

use run_record_archiver::artdaqdb::document::{self, DocumentHead};
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;

fn written(text: &str) -> String {
    let head = DocumentHead {
        oid: "0123456789abcdef01234567",
        collection: "RunHistory",
        entity: "tpc01",
        version: "12500/Boot \"quick\"",
        run: Run(12500),
        time: "2026-11-23T07:35:14.122+0000",
    };
    document::write(&head, &fhicl::parse(text).unwrap())
}

/// A document with this data and metadata in its main part.
fn edited(data: &str, children: &str) -> String {
    format!(
        r##"{{"document": {{"data": {{"prolog": {{}}, "main": {{{data}}}}}, "metadata":
        {{"prolog": {{"type": "table", "comment": "#prolog", "children": {{}}}},
        "main": {{"type": "table", "comment": "#main", "children": {{{children}}}}}}}}}}}"##
    )
}

#[test]
fn the_head_stands_in_the_document() {
    let stored = document::read(&written("a: 1\n")).unwrap();
    assert_eq!(stored.oid, "0123456789abcdef01234567");
    assert_eq!(stored.collection, "RunHistory");
    assert_eq!(stored.version, "12500/Boot \"quick\"");
    assert_eq!(stored.entities, ["tpc01"]);
    assert_eq!(stored.configurations.len(), 1);
    assert_eq!(stored.configurations[0].name, "12500/Boot \"quick\"");
    assert_eq!(
        stored.configurations[0].assigned,
        "2026-11-23T07:35:14.122+0000"
    );
    assert_eq!(stored.runs, ["12500"]);
    assert!(stored.aliases_active.is_empty());
    assert_eq!(stored.text, "\na: 1 \n");
}

#[test]
fn what_the_real_tools_have_no_place_for_is_held() {
    let json = written(
        "#include \"a.fcl\"\nBEGIN_PROLOG\np: 1\nEND_PROLOG\n# why\nt: { @table::p # all\n }\n@table::q\n",
    );
    let data = "\"data\" : {\n\"prolog\" : {\n\"fhicl_pound_include_0\" : \"a.fcl\",\n\"p\" : \"1\"\n},\n\
                \"main\" : {\n\"t\" : {\n\"fhicl_at_table_0\" : \"@table::p\"\n},\n\
                \"fhicl_at_table_1\" : \"@table::q\"\n}\n}";
    assert!(json.contains(data), "{json}");
    let include = "\"fhicl_pound_include_0\" : {\n\"type\" : \"string_doublequoted\",\n\
                   \"comment\" : \"\",\n\"annotation\" : \"\",\n\"outside_prolog\" : true\n}";
    assert!(json.contains(include), "{json}");
    let splice = "\"fhicl_at_table_0\" : {\n\"type\" : \"string_unquoted\",\n\
                  \"comment\" : \"# why\",\n\"annotation\" : \"# all\"\n}";
    assert!(json.contains(splice), "{json}");

    let json = written("a: ( 1, 2 )\nt: { x: 1 }\nt: [2]\n");
    assert!(
        json.contains("\"a\" : \"( 1, 2 )\",\n\"t\" : {\n\"x\" : \"1\"\n},\n\"t\" : [\n\"2\"\n]\n")
    );
    assert!(json.contains("\"a\" : {\n\"type\" : \"complex\","));
}

/// Includes that are commented out have numbers, too.
#[test]
fn includes_are_numbered_as_by_the_real_tools() {
    let json = written(
        "//#include \"a.fcl\"\n#include \"b.fcl\"\n# the #include files\n#include \"c.fcl\"\n",
    );
    assert!(json.contains(
        "\"fhicl_pound_include_1\" : \"b.fcl\",\n\"fhicl_pound_include_2\" : \"c.fcl\"\n"
    ));
}

/// Editors of configurations leave plain strings, numbers and bools, and JSON
/// of another layout.
#[test]
fn edited_documents_can_be_read() {
    let json = edited(
        r#""a": "x.y", "b": "word", "c": 5, "d": true, "e": "caf\u00e9 \ud83d\ude00 \/", "f": [1.5, "2"]"#,
        r##""a": {"type": "string", "comment": "# one\n# two", "annotation": "# n"},
        "b": {"type": "string"}, "c": {"type": "number"}, "d": {"type": "bool"},
        "e": {"type": "string_doublequoted", "protection": "@protect_error"},
        "f": {"type": "sequence", "children": {"0": {"type": "number"}, "1": {"type": "number"}}}"##,
    );
    let text = "# one\n# two\na: \"x.y\" # n\n\nb: word \n\nc: 5 \n\nd: true \n\n\
                e @protect_error: \"café 😀 /\" \n\nf: [1.5, 2] \n";
    assert_eq!(document::read(&json).unwrap().text, text);
}

#[test]
fn damaged_documents_are_errors_that_say_where() {
    let whole = written("a: { b: [1, 2] }\n");
    for end in 0..whole.len() {
        let error = document::read(&whole[..end]).unwrap_err().to_string();
        assert!(
            error.starts_with("line ") && error.contains("not JSON: expected "),
            "{error}"
        );
    }
    let main = r#""a": {"b": ["1", "2"]}"#;
    for (json, error) in [
        ("{}".to_owned(), "document.data.prolog is missing"),
        (edited(main, ""), "document.data.main.a has no metadata"),
        (
            edited(main, r#""a": {"type": "table"}"#),
            "document.data.main.a has metadata without children",
        ),
        (
            edited(main, r#""a": {"children": {"b": {"children": {"0": {}}}}}"#),
            "document.data.main.a.b.1 has no metadata",
        ),
        (
            whole.replacen(
                "\"data\" : {\n\"prolog\" : {\n\n}",
                "\"data\" : {\n\"prolog\" : 1",
                1,
            ),
            "document.data.prolog is not an object",
        ),
    ] {
        let message = document::read(&json).unwrap_err().to_string();
        assert_eq!(message, format!("not a document of artdaqDB: {error}"));
    }
    let message = document::read(&format!("{whole}\n}}"))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("expected nothing after the document"),
        "{message}"
    );
}

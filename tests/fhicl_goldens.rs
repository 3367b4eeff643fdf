//! Our documents and texts against those of the real tools, byte for byte.

mod fhicl_support;

use fhicl_support::{files, read, shared};
use run_record_archiver::artdaqdb::document::{self, DocumentHead};
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;

#[test]
fn every_golden_is_equal() {
    let Some(directory) = shared("golden/fhicl") else {
        return;
    };
    let head = DocumentHead {
        oid: "0123456789abcdef01234567",
        collection: "RunHistory",
        entity: "x",
        version: "1/C",
        run: Run(1),
        time: "2026-11-23T07:35:14.122+0000",
    };
    let mut bad = 0;
    for input in files(&directory, ".in.fcl") {
        let name = input
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace(".in.fcl", "");
        let text = read(&input);
        let golden = |suffix: &str| read(&directory.join(format!("{name}.{suffix}")));
        let parsed = match fhicl::parse(&text) {
            Ok(parsed) => parsed,
            Err(error) => {
                println!("{name}: {error}");
                bad += 1;
                continue;
            }
        };
        let ours = document::write(&head, &parsed);
        let written = fhicl::write(&parsed);
        let content = |json: &str| {
            json.split("\n\"origin\" : {")
                .next()
                .unwrap()
                .replace(",\n\"search\" : [\n\n]\n}", "\n}")
        };
        let (a, b) = (content(&ours), content(&golden("doc.json")));
        if a != b {
            bad += 1;
            let n = a.lines().zip(b.lines()).take_while(|(x, y)| x == y).count();
            println!(
                "{name}: document line {n}: ours {:?} theirs {:?}",
                a.lines().nth(n),
                b.lines().nth(n)
            );
        }
        let out = golden("out.fcl");
        if written != out {
            bad += 1;
            let n = written
                .lines()
                .zip(out.lines())
                .take_while(|(x, y)| x == y)
                .count();
            println!(
                "{name}: text line {n}: ours {:?} theirs {:?}",
                written.lines().nth(n),
                out.lines().nth(n)
            );
        }
        let back = document::read(&ours).unwrap().text;
        if back != written {
            bad += 1;
            println!("{name}: read back differs");
        }
        let theirs = document::read(&golden("doc.json")).unwrap().text;
        if theirs != out {
            bad += 1;
            println!("{name}: reading theirs differs");
        }
    }
    assert_eq!(bad, 0);
}

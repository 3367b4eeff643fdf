//! The operations manual's log review on a real log: each of its greps finds
//! what it says.

use std::fs;
use std::process::Command;

use crate::support::archiver::Test;

fn grep(arguments: &[&str], test: &Test) -> Vec<String> {
    let output = Command::new("grep")
        .args(arguments)
        .arg(test.work("archiver.log"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_manuals_greps_find_what_it_says() {
    let test = Test::new().records_in(1..=12);
    fs::create_dir(test.records().join("13")).unwrap();
    fs::write(test.records().join("13/tpc01.fcl"), "a: [1\n").unwrap();
    test.run(&[]).exits(1);
    test.run(&["--incremental"]).exits(0);
    let test = test.set("app_fuzz.random_error_percent", "100").record(20);
    test.run(&["--incremental", "-v"]).exits(1);

    for (arguments, at_least) in [
        (&["-i", "error\\|critical\\|exception"][..], 3),
        (&["-i", "warning"], 1),
        (&["EXECUTION COMPLETED"], 3),
        (&["✓ EXECUTION COMPLETED SUCCESSFULLY"], 1),
        (&["Run Record Archiver Starting"], 3),
        (&["-E", "✓ Run [0-9]+ imported successfully"], 12),
        (&["-E", "✓ Run [0-9]+ migrated successfully"], 12),
        (&["✓ ArtdaqDB query complete"], 3),
        (&["✓ UconDB query complete"], 3),
        (&["-E", "Retrying run 20 in [0-9.]+ seconds\\.\\.\\."], 2),
        (&["-E", "Import Stage completed in [0-9]+ seconds"], 3),
        (
            &[
                "-E",
                "Progress: 10/13 runs processed \\([0-9]+ successful, [01] failed\\)",
            ],
            1,
        ),
        (&["-E", "ERROR - ✗ Run 13 import failed"], 1),
        (&["-E", "ERROR - Run 20 failed \\(attempt 3/3\\)"], 1),
        (&["Import Stage: Found 13 runs to import."], 1),
        (&["DEBUG - State:"], 1),
        (
            &[
                "-E",
                "^[0-9-]{10} [0-9:]{8},[0-9]{3} - run_record_archiver\\.importer - INFO - → Processing run 12 \\(attempt 1/3\\)$",
            ],
            1,
        ),
    ] {
        let found = grep(arguments, &test);
        assert!(found.len() >= at_least, "{arguments:?} found {found:#?}");
    }

    // `sed -n '/<time of the start>/,/EXECUTION COMPLETED/p'` shows one execution.
    let start = grep(&["Run Record Archiver Starting"], &test)[1].clone();
    let time = &start[..23];
    let output = Command::new("sed")
        .args(["-n", &format!("/{time}/,/EXECUTION COMPLETED/p")])
        .arg(test.work("archiver.log"))
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("No new runs to import"), "{shown}");
    assert_eq!(shown.matches("EXECUTION COMPLETED").count(), 1, "{shown}");
}

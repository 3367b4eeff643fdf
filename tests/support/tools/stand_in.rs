//! Stands in for bulkloader and bulkdownloader of artdaq_database v1_10: takes
//! their arguments, does what they do with files and database, and misbehaves
//! as they do, or as it is told.
//!
//! `stand_in_tools DIRECTORY bulkloader|bulkdownloader -r R -c C -p DIR -t N`.
//! DIRECTORY has `mode-bulkloader` and so on, if one is to misbehave: `crash 2`,
//! or `crash 2 once`. It gets `calls`, one line for each start.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use run_record_archiver::artdaqdb::{self, ArtdaqDb, ArtdaqUri};
use run_record_archiver::fhicl;
use run_record_archiver::run::{FclFile, Run};
use run_record_archiver::shutdown::Shutdown;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap());
    let tool = arguments.next().unwrap();
    let rest: Vec<String> = arguments.collect();
    if rest == ["--help"] {
        // Some tools of this kind end with 1.
        println!("usage: {tool} -r RUN -c CONFIGURATION -p PATH -t THREADS");
        exit(1);
    }
    let tool = Tool::new(directory, &tool, &rest);
    match tool.name.as_str() {
        "bulkloader" => tool.load(),
        "bulkdownloader" => tool.download(),
        other => panic!("no stand-in for {other}"),
    }
}

struct Tool {
    directory: PathBuf,
    name: String,
    uri: String,
    run: Run,
    configuration: String,
    path: PathBuf,
    threads: usize,
    mode: String,
    count: usize,
    /// Another tool was at work when this one was started.
    collides: bool,
}

impl Tool {
    fn new(directory: PathBuf, name: &str, arguments: &[String]) -> Tool {
        let uri = std::env::var("ARTDAQ_DATABASE_URI").unwrap();
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let call = format!(
            "{name}\t{}\t{}\t{}\n",
            arguments.join(" "),
            variable("LD_LIBRARY_PATH"),
            variable("FHICL_FILE_PATH")
        );
        let calls = directory.join("calls");
        let mut calls = OpenOptions::new()
            .create(true)
            .append(true)
            .open(calls)
            .unwrap();
        calls.write_all(call.as_bytes()).unwrap();

        let mut options: BTreeMap<&str, &str> = BTreeMap::new();
        for pair in arguments.chunks(2) {
            let [option, value] = pair else { usage() };
            options.insert(option, value);
        }
        if options.keys().copied().collect::<Vec<_>>() != ["-c", "-p", "-r", "-t"] {
            usage();
        }

        let mode_file = directory.join(format!("mode-{name}"));
        let mode = fs::read_to_string(&mode_file).unwrap_or_else(|_| "well".into());
        let words: Vec<&str> = mode.split_whitespace().collect();
        if words.last() == Some(&"once") {
            fs::remove_file(mode_file).unwrap();
        }
        let busy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(directory.join("busy"));
        Tool {
            uri,
            run: Run::parse(options["-r"]).unwrap(),
            configuration: options["-c"].to_owned(),
            path: options["-p"].into(),
            threads: options["-t"].parse().unwrap(),
            mode: words[0].to_owned(),
            count: words
                .get(1)
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
            collides: busy.is_err(),
            name: name.to_owned(),
            directory,
        }
    }

    /// The database, opened in a way that knows nothing of the archiver's lock:
    /// a directory beside it with links to its collections.
    fn open(&self) -> Box<dyn ArtdaqDb> {
        let Some(root) = self.uri.strip_prefix("filesystemdb://") else {
            let uri = ArtdaqUri::parse(&self.uri).unwrap();
            return artdaqdb::open(&uri, None, &Shutdown::default());
        };
        let links = self.directory.join(std::process::id().to_string());
        fs::create_dir(&links).unwrap();
        for collection in ["RunHistory", "SystemLayout", "SystemMetadata"] {
            let target = Path::new(root).join(collection);
            fs::create_dir_all(&target).unwrap();
            std::os::unix::fs::symlink(target, links.join(collection)).unwrap();
        }
        artdaqdb::open(&ArtdaqUri::of_directory(&links), None, &Shutdown::default())
    }

    fn end(&self, code: i32) -> ! {
        let _ = fs::remove_file(self.directory.join("busy"));
        exit(code)
    }

    fn crash(&self) -> ! {
        let _ = fs::remove_file(self.directory.join("busy"));
        eprintln!("Failed Assertion:Stack trace [7 frames]:");
        std::process::abort()
    }

    /// What may happen before anything is done.
    fn begin(&self) {
        match self.mode.as_str() {
            "noise" => {
                for number in 0..20_000 {
                    eprintln!("%MSG-w {number} TRACE: this is only noise, caf\u{e9}");
                }
            }
            "leak" => {
                let password = self
                    .uri
                    .rsplit_once('@')
                    .unwrap()
                    .0
                    .rsplit_once(':')
                    .unwrap()
                    .1;
                fs::write(self.directory.join("spied"), in_process_arguments(password)).unwrap();
                eprintln!("cannot connect to {} (password {password})", self.uri);
                self.end(1);
            }
            _ => {}
        }
    }

    /// What may happen when `count` files are done.
    fn misbehave(&self) {
        match self.mode.as_str() {
            "crash" => self.crash(),
            "fail" => {
                println!("Loaded some files with 1 threads in 17 msecs.");
                eprintln!("Error message: the disk is on fire");
                self.end(1);
            }
            "parse" => {
                eprintln!("Caught fhicl::exception message=---- Parse error BEGIN");
                self.end(1);
            }
            "tear" => {
                let root = PathBuf::from(self.uri.strip_prefix("filesystemdb://").unwrap());
                let index = root.join("RunHistory/index.json");
                let length = fs::metadata(&index).unwrap().len();
                let file = OpenOptions::new().write(true).open(index).unwrap();
                file.set_len(length / 2).unwrap();
                self.crash();
            }
            "hang" => {
                let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
                let pids = format!("{}\n{}\n", std::process::id(), child.id());
                fs::write(self.directory.join("pids"), pids).unwrap();
                let _ = fs::remove_file(self.directory.join("busy"));
                child.wait().unwrap();
            }
            _ => {}
        }
    }

    fn load(&self) -> ! {
        self.begin();
        let mut paths = Vec::new();
        walk(&self.path, &mut paths);
        paths.retain(|path| path.to_string_lossy().contains(".fcl"));
        paths.sort();
        if paths.is_empty() {
            self.crash();
        }
        let mut done = paths.len();
        match self.mode.as_str() {
            "lose" => done -= self.count.min(done),
            "well" | "noise" => {}
            _ => done = self.count.min(done),
        }
        let is_filesystem = self.uri.starts_with("filesystemdb:");
        if is_filesystem && (self.collides || self.threads > 1) {
            // The index that the other one wrote is the one that stays.
            done -= 1;
        }
        let db = self.open();
        let mut code = 0;
        for path in &paths[..done] {
            let text = fs::read_to_string(path).unwrap();
            if fhicl::parse(&text).is_err() {
                eprintln!("Caught fhicl::exception message=---- Parse error BEGIN");
                code = 1;
                continue;
            }
            let entity = match path.to_string_lossy().contains("schema.fcl") {
                true => "schema".to_owned(),
                false => path.file_stem().unwrap().to_string_lossy().into_owned(),
            };
            let file = [FclFile { entity, text }];
            if db.runs().unwrap().contains_key(&self.run) {
                db.update(self.run, &file).unwrap();
            } else {
                db.insert(self.run, &self.configuration, &file).unwrap();
            }
            db.publish().unwrap();
        }
        self.misbehave();
        println!(
            "Loaded {} files with {} threads in 31 msecs.",
            paths.len(),
            self.threads
        );
        self.end(code)
    }

    fn download(&self) -> ! {
        self.begin();
        let Ok(configuration) = self.open().read(self.run) else {
            eprintln!("Configuration was not found.");
            self.end(1)
        };
        let name = self
            .configuration
            .trim_end_matches(|c: char| c.is_ascii_digit());
        let below = self.path.join(name);
        fs::create_dir_all(&below).unwrap();
        let mut files = configuration.files;
        if self.configuration.contains(' ') {
            files.retain(|file| file.entity == "schema");
        }
        match self.mode.as_str() {
            "lose" => files.truncate(files.len() - self.count),
            "well" | "noise" => {}
            "extra" => files.push(FclFile {
                entity: "another".into(),
                text: "a: 1\n".into(),
            }),
            _ => files.truncate(self.count),
        }
        for file in files {
            let directory = match file.entity.as_str() {
                "schema" => &self.path,
                _ => &below,
            };
            fs::write(directory.join(format!("{}.fcl", file.entity)), file.text).unwrap();
        }
        self.misbehave();
        self.end(0)
    }
}

fn usage() -> ! {
    eprintln!("unrecognised option");
    exit(2)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, files),
            false => files.push(path),
        }
    }
}

/// The processes of this machine that have a text in their arguments.
fn in_process_arguments(text: &str) -> String {
    let mut found = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(text) {
            found.push_str(&format!("{arguments}\n"));
        }
    }
    found
}

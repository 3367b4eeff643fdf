//! Run records as no DAQ should write them, made from good ones by a seeded
//! generator: the same seed makes the same records.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fastrand::Rng;

/// Larger than a file of a run record may be, in bytes; a hole on the disk.
const HUGE: u64 = 300 * 1024 * 1024;

/// A line that looks like one of the archiver's own log.
pub const FORGED: &str = "2026-01-01 00:00:00,000 - run_record_archiver.importer - INFO - ✓ Run 999999 imported successfully";

/// A way to change a run record; the second directory is `outside`.
type Way = fn(&mut Rng, &Path, &Path);

/// Changes a run record in one way that `rng` picks; says which. `outside` is a
/// directory beside the run records, with files that links lead to.
pub fn mutate(rng: &mut Rng, record: &Path, outside: &Path) -> String {
    const WAYS: [(&str, Way); 22] = [
        ("flipped", |rng, record, _| {
            on_file(rng, record, |rng, bytes| flip(rng, bytes))
        }),
        ("flipped", |rng, record, _| {
            on_file(rng, record, |rng, bytes| flip(rng, bytes))
        }),
        ("cut", |rng, record, _| on_file(rng, record, cut)),
        ("cut", |rng, record, _| on_file(rng, record, cut)),
        ("pieces swapped", |rng, record, _| {
            on_file(rng, record, |rng, bytes| swap(rng, bytes));
        }),
        ("files swapped", |rng, record, _| swap_files(rng, record)),
        ("garbage inside", |rng, record, _| {
            on_file(rng, record, insert);
        }),
        ("lines shuffled", |rng, record, _| {
            on_file(rng, record, shuffle);
        }),
        ("empty", |rng, record, _| {
            on_file(rng, record, |_, bytes| bytes.clear());
        }),
        ("UTF-16", |rng, record, _| on_file(rng, record, utf16)),
        ("marks of a blob", |rng, record, _| {
            on_file(rng, record, marks);
        }),
        ("deep", |rng, record, _| on_file(rng, record, deep)),
        ("long", |rng, record, _| on_file(rng, record, long)),
        ("huge", |rng, record, _| huge(rng, record)),
        ("unreadable", |rng, record, _| {
            replace(rng, record, Path::new("/proc/self/mem"));
        }),
        ("dangling link", |rng, record, _| {
            replace(rng, record, Path::new("gone"));
        }),
        ("link to itself", |rng, record, _| {
            let file = pick(rng, record);
            replace_by(&file, &file);
        }),
        ("link out of the tree", |rng, record, outside| {
            let targets = [
                outside.join("text.fcl"),
                outside.join("dangling"),
                outside.to_path_buf(),
                PathBuf::from("../../outside/text.fcl"),
                PathBuf::from("/dev/zero"),
                PathBuf::from("/"),
            ];
            let target = rng.choice(targets).unwrap();
            replace(rng, record, &target);
        }),
        ("FIFO", |rng, record, _| fifo(rng, record)),
        ("odd names", |rng, record, _| names(rng, record)),
        ("many files", |rng, record, _| {
            for number in 0..rng.usize(50..200) {
                let _ = fs::write(record.join(format!("x{number}.fcl")), "a: 1\n");
            }
        }),
        ("odd metadata", |rng, record, _| metadata(rng, record)),
    ];
    let (name, way) = WAYS[rng.usize(..WAYS.len())];
    way(rng, record, outside);
    name.to_owned()
}

/// Now and then, puts something else where a run record should be.
pub fn displace(rng: &mut Rng, record: &Path, outside: &Path) -> String {
    fs::remove_dir_all(record).unwrap();
    let which = rng.usize(..6);
    match which {
        0 => fs::create_dir(record).unwrap(),
        1 => fs::write(record, "a file\n").unwrap(),
        2 => symlink("gone", record).unwrap(),
        3 => symlink(record, record).unwrap(),
        4 => symlink(outside, record).unwrap(),
        _ => symlink("/proc/self/fd", record).unwrap(),
    }
    format!("displaced ({which})")
}

/// The files of a record that can be replaced.
fn files(record: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(record)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.symlink_metadata().is_ok_and(|found| !found.is_dir()))
        .collect();
    files.sort();
    files
}

fn pick(rng: &mut Rng, record: &Path) -> PathBuf {
    let files = files(record);
    match files.is_empty() {
        true => record.join("tpc01.fcl"),
        false => files[rng.usize(..files.len())].clone(),
    }
}

/// Changes the bytes of one regular file.
fn on_file(rng: &mut Rng, record: &Path, change: fn(&mut Rng, &mut Vec<u8>)) {
    let file = pick(rng, record);
    let is_small = file
        .symlink_metadata()
        .is_ok_and(|found| found.is_file() && found.len() < HUGE / 10);
    let mut bytes = match is_small {
        true => fs::read(&file).unwrap(),
        false => return,
    };
    change(rng, &mut bytes);
    fs::write(&file, bytes).unwrap();
}

fn flip(rng: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..rng.usize(1..20) {
        let count = bytes.len();
        if count > 0 {
            bytes[rng.usize(..count)] ^= 1 << rng.u8(..8);
        }
    }
}

fn cut(rng: &mut Rng, bytes: &mut Vec<u8>) {
    bytes.truncate(rng.usize(..=bytes.len()));
}

fn swap(rng: &mut Rng, bytes: &mut [u8]) {
    let at = rng.usize(..=bytes.len());
    bytes.rotate_left(at);
}

fn insert(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.usize(..=bytes.len());
    let garbage: Vec<u8> = (0..rng.usize(1..300)).map(|_| rng.u8(..)).collect();
    bytes.splice(at..at, garbage);
}

fn shuffle(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    rng.shuffle(&mut lines);
    *bytes = lines.join(&b'\n');
}

fn utf16(_: &mut Rng, bytes: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = [0xff, 0xfe]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
}

/// What separates the files of a blob, and ends it.
fn marks(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let marks = [
        "\n#####\n../../up.fcl:\n#####\nb: 1\n",
        "\nEnd of Record\nRun Number: 7\nPacked on Oct 26 14:30 UTC\n",
        "Start of Record\nRun Number: 7\n",
        "x: \"\n#####\n\"\n",
    ];
    let mark = rng.choice(marks).unwrap();
    let at = bytes
        .iter()
        .position(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    bytes.splice(at..at, mark.bytes());
}

fn deep(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let open = rng.choice(["a:{", "[", "a:[{"]).unwrap();
    let text = format!("z: {}\n", open.repeat(rng.usize(100..200_000)));
    bytes.extend(text.bytes());
}

fn long(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let text = match rng.u8(..3) {
        0 => format!("z: \"{}\"\n", "x".repeat(3_000_000)),
        1 => format!("z: [{}]\n", "1,".repeat(200_000)),
        _ => "z: 1\n".repeat(50_000),
    };
    bytes.extend(text.bytes());
}

fn huge(rng: &mut Rng, record: &Path) {
    let file = pick(rng, record);
    let _ = fs::remove_file(&file);
    fs::File::create(&file).unwrap().set_len(HUGE).unwrap();
}

fn replace(rng: &mut Rng, record: &Path, target: &Path) {
    replace_by(&pick(rng, record), target);
}

fn replace_by(file: &Path, target: &Path) {
    let _ = fs::remove_file(file);
    symlink(target, file).unwrap();
}

fn fifo(rng: &mut Rng, record: &Path) {
    let file = pick(rng, record);
    let _ = fs::remove_file(&file);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &file, kind, mode, 0).unwrap();
}

fn swap_files(rng: &mut Rng, record: &Path) {
    let (one, other) = (pick(rng, record), pick(rng, record));
    let between = record.join("between");
    if one != other && fs::rename(&one, &between).is_ok() {
        fs::rename(&other, &one).unwrap();
        fs::rename(&between, &other).unwrap();
    }
}

fn names(rng: &mut Rng, record: &Path) {
    let long = format!("{}.fcl", "n".repeat(251));
    let forged = format!("x\n{FORGED}\n.fcl");
    let names: [&[u8]; 14] = [
        b"..fcl",
        b"...fcl",
        b"a\nb.fcl",
        b"a\rb.fcl",
        b"\x1b[2Jx.fcl",
        b"caf\xe9.fcl",
        b"\xff\xfe.fcl",
        b"a b.fcl",
        b"..\\..\\up.fcl",
        b"$(reboot).fcl",
        b"\"quoted\".fcl",
        b"#####.fcl",
        long.as_bytes(),
        forged.as_bytes(),
    ];
    let name = rng.choice(names).unwrap();
    fs::write(record.join(OsStr::from_bytes(name)), "a: 1\n").unwrap();
}

fn metadata(rng: &mut Rng, record: &Path) {
    let long = "n".repeat(100_000);
    let names = [
        "../../../etc/passwd",
        "..",
        ".",
        "",
        "a/b/../c",
        "a\u{0}b",
        "\"; drop",
        "${HOME}",
        long.as_str(),
        "\u{202e}abc",
    ];
    let name = rng.choice(names).unwrap();
    let times = rng
        .choice([
            "",
            "DAQInterface stop time: \n",
            "DAQInterface stop time: never\n",
        ])
        .unwrap();
    let file = record.join("metadata.txt");
    let _ = fs::remove_file(&file);
    fs::write(
        &file,
        format!("Config name: {name}\n\n{times}Component #0: \n"),
    )
    .unwrap();
}

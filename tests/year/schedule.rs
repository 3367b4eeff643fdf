//! What happens in a year, drawn from the seed before the year begins.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

/// The hours of a day.
pub const DAY: u64 = 24;
/// The hours of a year.
pub const YEAR: u64 = 365 * DAY;

/// For how long a store works at first.
const QUIET_START: u64 = 2 * DAY;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A run's record is there, whole.
    Arrives(u64),
    /// A run's record is there, and cannot be archived.
    ArrivesBroken(u64, Damage),
    /// A run's record is there, as far as it was copied.
    ArrivesPartly(u64),
    /// The rest of it is there.
    GainsTheRest(u64),
    /// The record of a run that goes on is there.
    ArrivesGoing(u64),
    /// The run ends.
    Stops(u64),
    /// A run's record is another one.
    Changes(u64),
    /// The operator stores it anew.
    Reimported(u64),
    /// A broken record is repaired.
    Repaired(u64),
    /// A broken record is removed.
    Withdrawn(u64),
    /// The operator declares that a broken record cannot be archived, or that a
    /// number is no run.
    Acknowledged(u64),
    /// A directory appears whose number is no run.
    StrayAppears(u64, Stray),
    /// It is removed.
    StrayVanishes(u64),
    /// A store fails.
    Begins(Outage),
    /// It works again.
    Ends(Outage),
    /// The work directory is deleted.
    WorkDirectoryLost,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// One of its files is not FHiCL.
    Syntax,
    /// Its directory is empty.
    Empty,
}

/// What is in a directory whose number is no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// A copy of a record.
    Copy,
    /// Nothing.
    Empty,
}

/// A store that fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// How it fails.
    pub kind: Kind,
    /// Whether it begins while an execution is at work.
    pub begins_within: bool,
}

/// How a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    RecordsAway,
    RecordsEmpty,
    RecordsDead,
    RecordsStale,
    ArtdaqdbAway,
    ArtdaqdbEmpty,
    ArtdaqdbReadOnly,
    ArtdaqdbWithoutRights,
    ArtdaqdbDead,
    ArtdaqdbDamaged,
    ArtdaqdbSlow,
    UcondbStopped,
    UcondbDatabaseDown,
    UcondbAnswers(u16),
    UcondbReadOnly,
    UcondbFull,
    UcondbRefusesToStore,
    UcondbFrozen,
    UcondbFreezesUploads,
    UcondbEmpty,
    UcondbSlow,
}

/// A place of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Records,
    Artdaqdb,
    Ucondb,
}

impl Kind {
    const ALL: [Kind; 23] = [
        Kind::RecordsAway,
        Kind::RecordsEmpty,
        Kind::RecordsDead,
        Kind::RecordsStale,
        Kind::ArtdaqdbAway,
        Kind::ArtdaqdbEmpty,
        Kind::ArtdaqdbReadOnly,
        Kind::ArtdaqdbWithoutRights,
        Kind::ArtdaqdbDead,
        Kind::ArtdaqdbDamaged,
        Kind::ArtdaqdbSlow,
        Kind::UcondbStopped,
        Kind::UcondbDatabaseDown,
        Kind::UcondbAnswers(500),
        Kind::UcondbAnswers(502),
        Kind::UcondbAnswers(504),
        Kind::UcondbReadOnly,
        Kind::UcondbFull,
        Kind::UcondbRefusesToStore,
        Kind::UcondbFrozen,
        Kind::UcondbFreezesUploads,
        Kind::UcondbEmpty,
        Kind::UcondbSlow,
    ];

    /// The store that fails.
    pub fn store(self) -> Store {
        match self {
            Kind::RecordsAway | Kind::RecordsEmpty | Kind::RecordsDead | Kind::RecordsStale => {
                Store::Records
            }
            Kind::ArtdaqdbAway
            | Kind::ArtdaqdbEmpty
            | Kind::ArtdaqdbReadOnly
            | Kind::ArtdaqdbWithoutRights
            | Kind::ArtdaqdbDead
            | Kind::ArtdaqdbDamaged
            | Kind::ArtdaqdbSlow => Store::Artdaqdb,
            _ => Store::Ucondb,
        }
    }

    /// Whether every execution waits for a time limit, so that few are enough.
    pub fn takes_time(self) -> bool {
        matches!(self, Kind::UcondbFrozen | Kind::UcondbFreezesUploads)
    }

    /// Whether the store does all that it is asked for, if later.
    pub fn is_slow_only(self) -> bool {
        matches!(self, Kind::ArtdaqdbSlow | Kind::UcondbSlow)
    }
}

/// The events of a year, by the hour.
#[derive(Debug, Default)]
pub struct Schedule(BTreeMap<u64, Vec<Event>>);

impl Schedule {
    /// Draws a year.
    pub fn draw(random: &mut Rng) -> Schedule {
        let mut schedule = Schedule::default();
        let outages = schedule.draw_outages(random);
        schedule.draw_runs(random);
        schedule.draw_strays(random);
        // One of them in the share of the year that CI sees.
        for days in [10..50, 120..330] {
            loop {
                let hour = random.u64(days.start * DAY..days.end * DAY);
                let is_within = |(begin, end): &(u64, u64)| (*begin..=*end).contains(&hour);
                if !outages.iter().any(is_within) {
                    schedule.add(hour, Event::WorkDirectoryLost);
                    break;
                }
            }
        }
        schedule
    }

    /// The events of an hour.
    pub fn at(&self, hour: u64) -> &[Event] {
        self.0.get(&hour).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, hour: u64, event: Event) {
        self.0.entry(hour).or_default().push(event);
    }

    fn draw_runs(&mut self, random: &mut Rng) {
        let mut run = random.u64(11_000..13_000);
        for day in 0..YEAR / DAY {
            // The detector is being worked on.
            if day % 60 >= 55 {
                continue;
            }
            let hours = (0..random.u64(1..6)).map(|_| day * DAY + random.u64(..DAY));
            let mut hours: BTreeSet<u64> = hours.collect();
            let is_interrupted = |hour: &u64| self.begins_within(*hour);
            hours.extend((day * DAY..(day + 1) * DAY).filter(is_interrupted));
            for hour in hours {
                let count = match random.u8(..30) {
                    // There must be work for the time in which a store begins to fail.
                    _ if self.begins_within(hour) => random.u64(4..12),
                    0 => random.u64(10..40),
                    _ => random.u64(1..5),
                };
                for _ in 0..count {
                    run += match random.u8(..50) {
                        0 => random.u64(2..6),
                        _ => 1,
                    };
                    self.draw_fate(hour, run, random);
                }
            }
        }
    }

    /// Whether a store begins to fail in this hour while an execution is at work.
    fn begins_within(&self, hour: u64) -> bool {
        let mut events = self.at(hour).iter();
        events.any(|event| matches!(event, Event::Begins(outage) if outage.begins_within))
    }

    fn draw_fate(&mut self, hour: u64, run: u64, random: &mut Rng) {
        match random.u8(..100) {
            0..4 => self.add(hour + random.u64(DAY..10 * DAY), Event::Arrives(run)),
            4..7 => {
                let damage = match random.bool() {
                    true => Damage::Syntax,
                    false => Damage::Empty,
                };
                self.add(hour, Event::ArrivesBroken(run, damage));
                let later = hour + random.u64(3..20 * DAY);
                match random.u8(..10) {
                    0..6 => self.add(later, Event::Repaired(run)),
                    6 => self.add(later, Event::Withdrawn(run)),
                    7..9 => self.add(later, Event::Acknowledged(run)),
                    _ => {}
                }
            }
            7..11 => {
                self.add(hour, Event::ArrivesPartly(run));
                let later = hour + random.u64(1..12 * DAY);
                self.add(later, Event::GainsTheRest(run));
            }
            11..18 => {
                self.add(hour, Event::ArrivesGoing(run));
                self.add(hour + random.u64(1..4 * DAY), Event::Stops(run));
            }
            18..21 => {
                self.add(hour, Event::Arrives(run));
                let later = hour + random.u64(1..40 * DAY);
                self.add(later, Event::Changes(run));
                self.add(later + random.u64(1..6 * DAY), Event::Reimported(run));
            }
            _ => self.add(hour, Event::Arrives(run)),
        }
    }

    fn draw_strays(&mut self, random: &mut Rng) {
        let mut hour = random.u64(DAY..12 * DAY);
        while hour < YEAR {
            let date = 20_260_000 + 100 * random.u64(1..13) + random.u64(1..29);
            let number = match random.bool() {
                true => date,
                false => 99_999_999,
            };
            let stray = match random.bool() {
                true => Stray::Copy,
                false => Stray::Empty,
            };
            self.add(hour, Event::StrayAppears(number, stray));
            if random.u8(..4) == 0 {
                self.add(hour + random.u64(1..DAY), Event::Acknowledged(number));
            }
            hour += random.u64(DAY..4 * DAY);
            self.add(hour, Event::StrayVanishes(number));
            hour += random.u64(DAY..25 * DAY);
        }
    }

    /// Gives from when to when any store fails.
    fn draw_outages(&mut self, random: &mut Rng) -> Vec<(u64, u64)> {
        let mut spans = Vec::new();
        let mut hour = QUIET_START + random.u64(..DAY);
        // Each kind comes before one comes again.
        let mut kinds: Vec<Kind> = Vec::new();
        while hour < YEAR {
            if kinds.is_empty() {
                kinds.extend(Kind::ALL);
                random.shuffle(&mut kinds);
            }
            let Some(kind) = kinds.pop() else { break };
            let end = hour + random.u64(1..30);
            self.add_outage(hour, end, kind, random);
            spans.push((hour, end));
            // At times two stores fail at the same time.
            if random.u8(..5) == 0
                && let Some(place) = kinds.iter().position(|it| it.store() != kind.store())
            {
                let other = kinds.remove(place);
                let (begin, end) = (hour + random.u64(1..30), hour + random.u64(30..50));
                self.add_outage(begin, end, other, random);
                spans.push((begin, end));
                hour = end;
            }
            hour = hour.max(end) + random.u64(2..5 * DAY);
        }
        spans
    }

    fn add_outage(&mut self, begin: u64, end: u64, kind: Kind, random: &mut Rng) {
        let outage = Outage {
            kind,
            begins_within: random.u8(..5) < 2,
        };
        self.add(begin, Event::Begins(outage));
        self.add(end, Event::Ends(outage));
    }
}

//! The blocks of a boot.txt.

/// The kinds of artdaq processes that have blocks.
const PROCESSES: [&str; 5] = [
    "BoardReader",
    "EventBuilder",
    "DataLogger",
    "Dispatcher",
    "RoutingManager",
];

/// The attributes that have a place in a process's table, in their order there.
const PROCESS_ATTRIBUTES: [&str; 4] = ["label", "host", "port", "subsystem"];

/// The attributes that have a place in a subsystem's table.
const SUBSYSTEM_ATTRIBUTES: [&str; 3] = ["id", SOURCE, "destination"];

/// The attribute that a subsystem can have more than once: DAQInterface takes
/// each for another source.
const SOURCE: &str = "source";

/// A boot.txt, taken apart.
#[derive(Debug, Default)]
pub(super) struct Boot<'a> {
    /// Everything that has no place in a table, in the order of the file.
    pub settings: Vec<Setting<'a>>,
    pub subsystems: Vec<Block<'a>>,
    pub processes: Vec<Block<'a>>,
}

/// A line that has no place in a table.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// Counted from 1.
    pub line: usize,
    /// `None` for a line without a colon; `value` is all of it then.
    pub key: Option<&'a str>,
    /// The key without the block's kind.
    pub attribute: &'a str,
    pub value: &'a str,
    /// The block in which it stands, if any.
    pub block: Option<BlockId>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct BlockId {
    pub subsystem: bool,
    /// Among the subsystems or the processes.
    pub index: usize,
}

/// A process or a subsystem.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// The kind of process; `None` for a subsystem.
    pub kind: Option<&'static str>,
    known: Vec<Attribute<'a>>,
}

#[derive(Debug)]
struct Attribute<'a> {
    name: &'static str,
    line: usize,
    value: &'a str,
}

impl<'a> Block<'a> {
    /// The attributes that have a place, in the order of the table, each with
    /// its lines and values.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, Vec<(usize, &'a str)>)> {
        PROCESS_ATTRIBUTES
            .iter()
            .chain(&SUBSYSTEM_ATTRIBUTES)
            .map(|name| {
                let known = self.known.iter().filter(|known| known.name == *name);
                let values: Vec<_> = known.map(|known| (known.line, known.value)).collect();
                (*name, values)
            })
            .filter(|(_, values)| !values.is_empty())
    }

    /// Whether no attribute has a place in its table.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// What a key says of a block.
struct BlockKey<'a> {
    /// `None` for a subsystem.
    kind: Option<&'static str>,
    /// The attribute, when it has a place in the table.
    known: Option<&'static str>,
    attribute: &'a str,
}

impl<'a> Boot<'a> {
    /// Takes a boot.txt apart. Comments are left out.
    pub fn read(text: &'a str) -> Boot<'a> {
        let mut boot = Boot::default();
        // The block that the next line may go on with.
        let mut open: Option<BlockId> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim();
            if line.is_empty() {
                open = None;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once(':') else {
                boot.settings.push(Setting {
                    line: number,
                    key: None,
                    attribute: line,
                    value: line,
                    block: None,
                });
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            let block = block_key(key);
            let id = block.as_ref().map(|key| boot.block(&mut open, key));
            match (id, block.as_ref().and_then(|block| block.known)) {
                (Some(id), Some(name)) => {
                    boot.blocks(id.subsystem)[id.index].known.push(Attribute {
                        name,
                        line: number,
                        value,
                    })
                }
                _ => boot.settings.push(Setting {
                    line: number,
                    key: Some(key),
                    attribute: block.map_or(key, |block| block.attribute),
                    value,
                    block: id,
                }),
            }
        }
        boot
    }

    fn blocks(&mut self, subsystems: bool) -> &mut Vec<Block<'a>> {
        if subsystems {
            &mut self.subsystems
        } else {
            &mut self.processes
        }
    }

    /// The block to which an attribute belongs: the open one, if it is of the
    /// same kind and has none such yet, else another.
    fn block(&mut self, open: &mut Option<BlockId>, key: &BlockKey) -> BlockId {
        let subsystem = key.kind.is_none();
        let blocks = self.blocks(subsystem);
        if let Some(id) = *open
            && id.subsystem == subsystem
            && let Some(block) = blocks.get(id.index)
            && block.kind == key.kind
            && (key.known == Some(SOURCE)
                || !block
                    .known
                    .iter()
                    .any(|known| Some(known.name) == key.known))
        {
            return id;
        }
        blocks.push(Block {
            kind: key.kind,
            known: Vec::new(),
        });
        let id = BlockId {
            subsystem,
            index: blocks.len() - 1,
        };
        *open = Some(id);
        id
    }
}

/// Reads `EventBuilder host`, `EventBuilder_hosts` or `Subsystem id`.
fn block_key(key: &str) -> Option<BlockKey<'_>> {
    let (first, attribute) = key.split_once([' ', '_'])?;
    let attribute = attribute.trim();
    let (kind, places) = if first == "Subsystem" {
        (None, SUBSYSTEM_ATTRIBUTES.as_slice())
    } else {
        let kind = PROCESSES.into_iter().find(|process| *process == first)?;
        (Some(kind), PROCESS_ATTRIBUTES.as_slice())
    };
    let singular = attribute.strip_suffix('s').unwrap_or(attribute);
    let known = places
        .iter()
        .find(|place| **place == attribute || **place == singular)
        .copied();
    Some(BlockKey {
        kind,
        known,
        attribute,
    })
}

//! A proxy before a mongod that breaks a connection at a message of the client's.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The header of every message: its length, two identities, the kind of message.
const HEADER: usize = 16;
/// The kind of message that carries a command.
const OP_MSG: i32 = 2013;

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Before the message reaches the server.
    BeforeSending,
    /// After the server answered, before the client sees it.
    BeforeTheAnswer,
    /// In the middle of the answer.
    WithinTheAnswer,
}

/// When a connection breaks.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// At which message, counted from 1 over all connections.
    pub number: usize,
    /// How.
    pub how: Break,
    /// Whether at every one after it too.
    pub for_ever: bool,
    /// Whether the driver's own `hello` messages count, which come when they come.
    pub counts_hello: bool,
}

/// A proxy on a port of its own; it ends when this is dropped.
pub struct MongoProxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    server: u16,
    plan: Mutex<Option<Plan>>,
    messages: AtomicUsize,
    stopping: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl MongoProxy {
    /// Before the server on this port.
    pub fn start(server: u16) -> MongoProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            plan: Mutex::default(),
            messages: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for client in listener.incoming() {
                    if shared.stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Ok(client) = client {
                        let shared = Arc::clone(&shared);
                        thread::spawn(move || shared.pass(&client));
                    }
                }
            })
        };
        MongoProxy {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What happens from here on; the count begins anew.
    pub fn plan(&self, plan: Option<Plan>) {
        *self.shared.plan.lock().unwrap() = plan;
        self.shared.messages.store(0, Ordering::SeqCst);
    }

    /// How many messages were counted, those of `hello` left out unless the plan
    /// says otherwise.
    pub fn messages(&self) -> usize {
        self.shared.messages.load(Ordering::SeqCst)
    }
}

impl Drop for MongoProxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// Passes the messages of one connection in both directions.
    fn pass(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else {
            return;
        };
        for stream in [client, &server] {
            let _ = stream.set_nodelay(true);
            if let Ok(clone) = stream.try_clone() {
                self.open.lock().unwrap().push(clone);
            }
        }
        // What becomes of the next answer.
        let due = Mutex::new(None);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = answers(client, &server, &due);
                end(client, &server);
            });
            let _ = self.requests(client, &server, &due);
            end(client, &server);
        });
    }

    fn requests(
        &self,
        mut client: &TcpStream,
        mut server: &TcpStream,
        due: &Mutex<Option<Break>>,
    ) -> io::Result<()> {
        loop {
            let message = read_message(&mut client)?;
            match self.due(&message) {
                Some(Break::BeforeSending) => return Ok(()),
                later => *due.lock().unwrap() = later,
            }
            server.write_all(&message)?;
        }
    }

    /// Counts a message, and says what is to happen with it.
    fn due(&self, message: &[u8]) -> Option<Break> {
        let plan = *self.plan.lock().unwrap();
        if is_hello(message) && !plan.is_some_and(|plan| plan.counts_hello) {
            return None;
        }
        let number = self.messages.fetch_add(1, Ordering::SeqCst) + 1;
        let plan = plan?;
        let is_due = number == plan.number || (plan.for_ever && number > plan.number);
        is_due.then_some(plan.how)
    }
}

fn answers(
    mut client: &TcpStream,
    mut server: &TcpStream,
    due: &Mutex<Option<Break>>,
) -> io::Result<()> {
    loop {
        let message = read_message(&mut server)?;
        match due.lock().unwrap().take() {
            None | Some(Break::BeforeSending) => client.write_all(&message)?,
            Some(Break::BeforeTheAnswer) => return Ok(()),
            Some(Break::WithinTheAnswer) => return client.write_all(&message[..message.len() / 2]),
        }
    }
}

fn end(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn read_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    stream.read_exact(&mut message)?;
    let length = i32::from_le_bytes(message[..4].try_into().unwrap());
    message.resize(usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut message[HEADER..])?;
    Ok(message)
}

/// Whether it is what a driver sends of its own accord: to begin a connection, to
/// see that the server lives, to take leave.
fn is_hello(message: &[u8]) -> bool {
    let code = i32::from_le_bytes(message[12..16].try_into().unwrap());
    // Flags, the kind of section, the length of its document, the type of its first
    // element; then that element's name, which is the command's.
    let name = message[HEADER + 4 + 1 + 4 + 1..].split(|byte| *byte == 0);
    let names: [&[u8]; 4] = [b"hello", b"isMaster", b"ismaster", b"endSessions"];
    code != OP_MSG
        || name
            .into_iter()
            .next()
            .is_none_or(|name| names.contains(&name))
}

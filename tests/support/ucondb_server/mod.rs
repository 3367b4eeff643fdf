//! A UconDB server for tests: it answers as UconDB 3.9.7 was seen to answer,
//! bare or behind a front end with keep-alive, plain or over TLS, and makes
//! the faults that a test asks for. It runs on threads of its own on a free
//! port of the loopback device and stops when dropped.
//!
//! ```ignore
//! let server = UconDbServer::start(Options::default());
//! server.fault(Fault::on("POST", "/data/").then(Action::LoseAnswer));
//! // ... talk to server.url() ...
//! assert_eq!(server.count("POST", "/data/"), 1);
//! ```

#![allow(dead_code, unused_imports)]

mod digest;
mod fault;
mod service;
mod tls;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use self::digest::Algorithm;
pub use self::fault::{Action, Fault};
use self::service::Store;
pub use self::service::StoredVersion;
pub use self::wire::Reply;
use self::wire::{Head, Stream};

/// The user whom a server with authentication lets upload.
pub const USER: &str = "writer";
/// Their password.
pub const PASSWORD: &str = "g\"heim & co";
/// The folder that exists.
pub const FOLDER: &str = "ev01";
/// The object that tests use; it comes to be with its first version.
pub const OBJECT: &str = "configuration";

/// How connections and bodies end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The server itself: one request a connection, downloads and listings
    /// without a length.
    Bare,
    /// Behind a web server: keep-alive, and every body with its length.
    KeepAlive,
    /// Behind a web server that sends downloads and listings in chunks.
    Chunked,
}

/// Encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Off,
    /// TLS that ends with close_notify, as web servers do.
    On,
    /// TLS that ends without close_notify, as the server itself does.
    WithoutCloseNotify,
}

/// What an upload must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing.
    Off,
    /// Digest, as the server itself asks for it: any nonce will do for ever,
    /// wrong credentials get no new challenge.
    Digest,
    /// Digest with the rules of RFC 7616 kept: a nonce serves this many
    /// requests, no count twice; then, and for wrong credentials, comes a new
    /// challenge.
    Strict {
        /// The hash.
        algorithm: Algorithm,
        /// How many requests a nonce serves.
        uses: u32,
    },
}

/// What kind of server to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// How connections and bodies end.
    pub transport: Transport,
    /// Encryption.
    pub tls: Tls,
    /// What an upload must prove.
    pub authentication: Authentication,
    /// Whether uploads are refused with 405.
    pub read_only: bool,
    /// The largest body that the front end takes, in bytes.
    pub max_body: Option<u64>,
    /// The path of the server's base URL.
    pub prefix: String,
    /// The folders that exist.
    pub folders: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            transport: Transport::Bare,
            tls: Tls::Off,
            authentication: Authentication::Digest,
            read_only: false,
            max_body: None,
            prefix: "/instance/app".to_owned(),
            folders: vec![FOLDER.to_owned()],
        }
    }
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the request line and the headers.
    pub head_bytes: u64,
    /// Bytes of the body that arrived.
    pub body_bytes: u64,
}

impl Seen {
    /// Everything that was sent for this request, in bytes.
    pub fn bytes(&self) -> u64 {
        self.head_bytes + self.body_bytes
    }
}

/// A request whose body may still be arriving.
pub(crate) struct Record {
    seen: Seen,
    body_bytes: AtomicU64,
}

impl Record {
    fn new(head: &Head) -> Record {
        Record {
            seen: Seen {
                method: head.method.clone(),
                target: head.target.clone(),
                headers: head.headers.clone(),
                head_bytes: head.bytes,
                body_bytes: 0,
            },
            body_bytes: AtomicU64::new(0),
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            body_bytes: self.body_bytes.load(Ordering::SeqCst),
            ..self.seen.clone()
        }
    }
}

/// What the connections share.
pub(crate) struct Shared {
    options: Options,
    store: Mutex<Store>,
    faults: Mutex<Vec<Fault>>,
    records: Mutex<Vec<Arc<Record>>>,
    tls: Option<tls::Identity>,
    stopping: AtomicBool,
    database_down: AtomicBool,
    connections: AtomicU64,
    keeps_no_requests: AtomicBool,
    open: Mutex<HashMap<u64, TcpStream>>,
}

/// A running server.
pub struct UconDbServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl UconDbServer {
    /// Starts a server on a free port.
    pub fn start(options: Options) -> UconDbServer {
        UconDbServer::start_at(([127, 0, 0, 1], 0).into(), options)
    }

    /// Starts a server at this address.
    pub fn start_at(address: SocketAddr, options: Options) -> UconDbServer {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls: (options.tls != Tls::Off).then(tls::Identity::new),
            store: Mutex::new(Store::new(&options)),
            options,
            faults: Mutex::default(),
            records: Mutex::default(),
            stopping: AtomicBool::new(false),
            database_down: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            keeps_no_requests: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        UconDbServer {
            shared,
            address,
            acceptor: Some(acceptor),
        }
    }

    /// The base URL, as `ucon_db.server_url` has it.
    pub fn url(&self) -> String {
        let scheme = match self.shared.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}{}", self.address, self.shared.options.prefix)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and breaks every connection, as a server that is taken
    /// down; what is stored stays.
    pub fn go_down(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        self.close_connections();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }

    /// Listens again where it did.
    pub fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.shared.stopping.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(thread::spawn(move || accept(&listener, &shared)));
    }

    /// Writes the certificate of the CA that signed the server's own.
    pub fn write_ca(&self, file: &Path) {
        std::fs::write(file, &self.shared.tls.as_ref().unwrap().ca_pem).unwrap();
    }

    /// Adds a fault; of several that match a request the first one added happens.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.lock().unwrap().push(fault);
    }

    /// Takes back every fault.
    pub fn no_faults(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Sets the server's clock, in seconds since 1970.
    pub fn set_time(&self, time: f64) {
        self.shared.store.lock().unwrap().simulated = Some(time);
    }

    /// Takes the database behind the server away, or brings it back.
    pub fn set_database_down(&self, down: bool) {
        self.shared.database_down.store(down, Ordering::SeqCst);
    }

    /// Every request so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Seen> {
        let records = self.shared.records.lock().unwrap();
        records.iter().map(|record| record.seen()).collect()
    }

    /// How many requests had this method and this in their target.
    pub fn count(&self, method: &str, within: &str) -> usize {
        self.requests()
            .iter()
            .filter(|seen| seen.method == method && seen.target.contains(within))
            .count()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection, as web servers do with idle ones.
    pub fn close_connections(&self) {
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Notes no requests from here on, for a server that sees a great many.
    pub fn keep_no_requests(&self) {
        self.shared.keeps_no_requests.store(true, Ordering::Relaxed);
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.records.lock().unwrap().clear();
    }

    /// Bytes of every request so far, heads and bodies.
    pub fn bytes_received(&self) -> u64 {
        self.requests().iter().map(Seen::bytes).sum()
    }

    /// Bytes of the bodies sent to `/data/`.
    pub fn body_bytes_received(&self) -> u64 {
        self.requests()
            .iter()
            .filter(|seen| seen.method == "POST" && seen.target.contains("/data/"))
            .map(|seen| seen.body_bytes)
            .sum()
    }

    /// Stores a blob as if it had been uploaded, moving the key if it exists.
    pub fn put(&self, object: &str, key: Option<&str>, blob: &[u8]) {
        let mut store = self.shared.store.lock().unwrap();
        store.put(FOLDER, object, key, blob.to_vec(), true).unwrap();
    }

    /// Makes these the versions of an object, oldest first, as a backup that is
    /// restored does.
    pub fn set_versions(&self, object: &str, versions: Vec<StoredVersion>) {
        let mut store = self.shared.store.lock().unwrap();
        store.set_versions(FOLDER, object, versions);
    }

    /// Every version of an object, oldest first.
    pub fn versions(&self, object: &str) -> Vec<StoredVersion> {
        let store = self.shared.store.lock().unwrap();
        store.versions(FOLDER, object)
    }

    /// The key of every version of an object, oldest first.
    pub fn keys(&self, object: &str) -> Vec<Option<String>> {
        let store = self.shared.store.lock().unwrap();
        store.keys(FOLDER, object)
    }

    /// The listing of an object's versions, as it is sent.
    pub fn listing(&self, object: &str) -> Vec<u8> {
        service::listing(&self.shared, FOLDER, object, 0.0).body
    }

    /// The current blob of every key of an object.
    pub fn blobs(&self, object: &str) -> BTreeMap<String, Vec<u8>> {
        self.versions(object)
            .into_iter()
            .filter_map(|version| Some((version.key?, version.blob)))
            .collect()
    }
}

impl Drop for UconDbServer {
    fn drop(&mut self) {
        self.go_down();
    }
}

impl Shared {
    /// Waits until the server stops.
    fn stall(&self) {
        while !self.stopping.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The fault that is due for this request.
    fn due(&self, head: &Head) -> Option<Action> {
        let mut faults = self.faults.lock().unwrap();
        // Every fault counts the requests that it matches.
        let due: Vec<Action> = faults
            .iter_mut()
            .filter_map(|fault| fault.take(head))
            .collect();
        due.into_iter().next()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let id = shared.connections.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        if let Ok(clone) = stream.try_clone() {
            shared.open.lock().unwrap().insert(id, clone);
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let mut stream = match &shared.tls {
                Some(identity) => identity.accept(stream),
                None => Stream::plain(stream),
            };
            let end = serve(&mut stream, &shared);
            // A clone of the socket would keep it open.
            shared.open.lock().unwrap().remove(&id);
            stream.end(end, shared.options.tls == Tls::On);
        });
    }
}

/// How a connection goes on after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It takes another request.
    Request,
    /// It is closed.
    Close,
    /// It is closed once the client has nothing more to say.
    Linger,
    /// It is reset.
    Reset,
}

/// Answers the requests of one connection; how it is to end.
fn serve(stream: &mut Stream, shared: &Shared) -> Next {
    while let Some(head) = stream.read_head() {
        // Noted at once, so that a client that has its answer finds its
        // request counted.
        let record = Arc::new(Record::new(&head));
        if !shared.keeps_no_requests.load(Ordering::Relaxed) {
            shared.records.lock().unwrap().push(Arc::clone(&record));
        }
        match answer(stream, shared, &head, &record) {
            Ok(Next::Request) => {}
            Ok(end) => return end,
            Err(_) => return Next::Close,
        }
    }
    Next::Close
}

/// Reads the body of one request and answers it.
fn answer(stream: &mut Stream, shared: &Shared, head: &Head, record: &Record) -> io::Result<Next> {
    let style = shared.options.transport;
    let action = shared.due(head);
    if style == Transport::Bare && !service::is_served(shared, head) {
        stream.write_all(b"HTTP/1.1 404 Service not found\n\n")?;
        stream.flush()?;
        return Ok(Next::Close);
    }
    let early = match &action {
        Some(Action::AnswerEarly(reply)) => Some(reply.clone()),
        _ => service::before_the_body(shared, head),
    };
    if let Some(reply) = early {
        stream.write_reply(&reply, style)?;
        // With its body unread, the bare server's connection is reset by the
        // system; web servers let the client finish.
        return Ok(match style {
            Transport::Bare => Next::Close,
            Transport::KeepAlive | Transport::Chunked => Next::Linger,
        });
    }
    let mut body = Vec::new();
    let length = head.content_length();
    match &action {
        Some(Action::ResetRequestAfter(bytes)) => {
            stream.read_body((*bytes).min(length), &mut body, &record.body_bytes)?;
            return Ok(Next::Reset);
        }
        Some(Action::StallRequestAfter(bytes)) => {
            stream.read_body((*bytes).min(length), &mut body, &record.body_bytes)?;
            shared.stall();
            return Ok(Next::Reset);
        }
        _ => stream.read_body(length, &mut body, &record.body_bytes)?,
    }
    if let Some(Action::ChangeStored) = action
        && let Some(first) = body.first_mut()
    {
        *first ^= 1;
    }
    let mut reply = match &action {
        Some(Action::Answer(reply)) => reply.clone(),
        Some(Action::Raw(bytes)) => {
            stream.write_all(bytes)?;
            stream.flush()?;
            return Ok(Next::Close);
        }
        Some(Action::Endless(bytes)) => {
            stream.write_all(bytes)?;
            let more = vec![*bytes.last().unwrap(); 1 << 20];
            // Until the client has enough: writing fails then.
            while !shared.stopping.load(Ordering::SeqCst) {
                stream.write_all(&more)?;
            }
            return Ok(Next::Reset);
        }
        _ => service::answer(shared, head, body),
    };
    match &action {
        Some(Action::Delay(pause)) => thread::sleep(*pause),
        Some(Action::LoseAnswer) => return Ok(Next::Reset),
        Some(Action::StallAnswer) => {
            shared.stall();
            return Ok(Next::Reset);
        }
        Some(Action::ChangeAnswer) => {
            let middle = reply.body.len() / 2;
            if let Some(byte) = reply.body.get_mut(middle) {
                *byte ^= 1;
            }
        }
        Some(Action::DropHeaders) => reply
            .headers
            .retain(|(name, _)| !name.starts_with("X-UconDB")),
        Some(
            Action::CloseAnswerAfter(bytes)
            | Action::ResetAnswerAfter(bytes)
            | Action::StallAnswerAfter(bytes),
        ) => {
            let (mut written, body_at) = reply.to_bytes(style);
            written.truncate(body_at + usize::try_from(*bytes).unwrap());
            stream.write_all(&written)?;
            stream.flush()?;
            return match action {
                Some(Action::CloseAnswerAfter(_)) => Ok(Next::Close),
                Some(Action::ResetAnswerAfter(_)) => {
                    // Let what was written arrive: a reset takes back what
                    // the other side has not read.
                    thread::sleep(Duration::from_millis(30));
                    Ok(Next::Reset)
                }
                _ => {
                    shared.stall();
                    Ok(Next::Reset)
                }
            };
        }
        _ => {}
    }
    stream.write_reply(&reply, style)?;
    Ok(match style {
        Transport::Bare => Next::Close,
        Transport::KeepAlive | Transport::Chunked => Next::Request,
    })
}

//! One request and its answer, within bounded time and memory: connections,
//! TLS, proxies, redirects, time limits. It knows nothing of UconDB beyond
//! what it may not take on trust: where a body ends.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, Response};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::HttpSettings;
use crate::shutdown::Shutdown;
use crate::sys::sync;
use crate::tls::{self, Trust, chain, root_cause};

/// The slowest transfer that is waited for, in bytes a second: beyond the
/// configured time limits a request may take as long as its bytes need at
/// this rate. A slow upload blocks every other client of the server.
const SLOWEST: u64 = 256 * 1024;

/// How much of a request's body is handed over at once, in bytes. Small enough
/// that progress is seen and that TLS copies little.
const PIECE: usize = 64 * 1024;

/// What is waited beyond a time limit, so that a connection that takes too
/// long is reported as such, and not as an answer that does.
const GRACE: Duration = Duration::from_millis(250);

/// How long a silent server is waited for once the execution is to end, and how
/// often that is looked at. What moves on is finished.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);

/// Connections and the thread that drives them.
pub(super) struct Transport {
    runtime: Runtime,
    client: Client,
    timeout: Duration,
    shutdown: Shutdown,
    /// Whether the server was given up because the execution is to end.
    given_up: AtomicBool,
}

/// A request.
pub(super) struct Call {
    pub(super) url: Url,
    /// Sent with POST and a Content-Length; without one it is a GET.
    pub(super) body: Option<Bytes>,
    pub(super) authorization: Option<HeaderValue>,
    /// The longest body of the answer that is of use, in bytes.
    pub(super) limit: u64,
}

impl Call {
    pub(super) fn get(url: Url, limit: u64) -> Call {
        Call {
            url,
            body: None,
            authorization: None,
            limit,
        }
    }
}

/// An answer, whose body is whole only if its content proves it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Why the body ended before its end: a reset, too few bytes, a TLS
    /// connection closed without notice, too many bytes. `None` where the
    /// connection just closed, which says nothing about the body either.
    pub(super) cut: Option<String>,
    /// Whether it was longer than was of use: another attempt would meet that again.
    pub(super) too_long: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// No connection: the name does not resolve, nobody listens, a proxy fails.
    Connect(Broken),
    /// The server's certificate is not to be trusted, or TLS can't be agreed on.
    Tls(Broken),
    /// The other side took too long; how long, and for what.
    Timeout(Duration, &'static str),
    /// The connection broke, or was closed without an answer.
    Lost(Broken),
    /// What came is not HTTP.
    NotHttp(Broken),
    /// The execution is to end, and the other side is silent.
    Shutdown,
}

/// What broke, in words, and what caused it.
#[derive(Debug)]
pub(super) struct Broken {
    pub words: String,
    pub cause: reqwest::Error,
}

impl Transport {
    /// Sets up TLS and proxies as the settings and the environment say.
    /// `tls` is false where no connection will be encrypted; then no
    /// certificates are needed.
    pub(super) fn new(settings: &HttpSettings, tls: bool) -> Result<Transport, String> {
        let trust = if !tls {
            Trust::Plain
        } else if !settings.verify_tls {
            Trust::Anyone
        } else {
            Trust::System {
                ca_file: settings.ca_file.as_deref(),
                key: settings.ca_setting,
            }
        };
        let client = tls::client(trust, |builder| {
            builder
                .user_agent(&settings.user_agent)
                .connect_timeout(settings.timeout)
                .redirect(reqwest::redirect::Policy::none())
                // Every known front end speaks it, and uploads of several workers
                // then don't share the fate of one connection.
                .http1_only()
                .retry(reqwest::retry::never())
                .pool_idle_timeout(Duration::from_secs(15))
                .tcp_keepalive(Duration::from_secs(30))
        })?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ucondb")
            .enable_all()
            .build()
            .map_err(|error| format!("the thread for its connections can't be started: {error}"))?;
        Ok(Transport {
            runtime,
            client,
            timeout: settings.timeout,
            shutdown: settings.shutdown.clone(),
            given_up: AtomicBool::new(false),
        })
    }

    /// Sends a request and reads the answer.
    pub(super) fn send(&self, call: Call) -> Result<Answer, Fault> {
        // Workers that waited for each other must not wait in vain one by one.
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Fault::Shutdown);
        }
        let result = self.runtime.block_on(self.exchange(call));
        if let Err(Fault::Shutdown) = result {
            self.given_up.store(true, Ordering::Relaxed);
        }
        result
    }

    async fn exchange(&self, call: Call) -> Result<Answer, Fault> {
        let start = Instant::now();
        let size = call.body.as_ref().map_or(0, Bytes::len) as u64;
        let progress = Arc::new(Progress {
            last: Mutex::new(start),
            sent: AtomicBool::new(size == 0),
        });
        let limit = call.limit;
        let mut answer = Box::pin(self.client.execute(request(call, &progress)));
        let response = loop {
            let (deadline, fault) = self.deadline(start, size, &progress);
            match timeout_at(next_look(deadline), answer.as_mut()).await {
                Ok(Ok(response)) => break response,
                Ok(Err(error)) => return Err(self.fault(error)),
                Err(_) if self.is_given_up(progress.last()) => return Err(Fault::Shutdown),
                // Progress since then has moved the deadline.
                Err(_) if self.deadline(start, size, &progress).0 > Instant::now() => {}
                Err(_) => return Err(fault),
            }
        };
        self.read(response, limit).await
    }

    /// Until when the answer must begin, given how far the body has got.
    fn deadline(&self, start: Instant, size: u64, progress: &Progress) -> (Instant, Fault) {
        let allowance = Duration::from_secs(size / SLOWEST);
        let last = progress.last();
        let (idle, what) = if progress.sent.load(Ordering::Acquire) {
            // The server stores the blob before it answers.
            (self.timeout + allowance, "waiting for the answer")
        } else {
            (self.timeout, "waiting for it to take the next bytes")
        };
        let total = (self.timeout + allowance) * 2;
        if start + total < last + idle {
            (start + total, Fault::Timeout(total, "the whole request"))
        } else {
            (last + idle + GRACE, Fault::Timeout(idle, what))
        }
    }

    /// Whether a server that was last heard of then is waited for no longer.
    fn is_given_up(&self, last: Instant) -> bool {
        self.shutdown.requested() && last.elapsed() >= LAST_PATIENCE
    }

    async fn read(&self, mut response: Response, limit: u64) -> Result<Answer, Fault> {
        let start = Instant::now();
        let mut answer = Answer {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body: Vec::new(),
            cut: None,
            too_long: false,
        };
        // One allocation for a blob; what a server claims is not believed
        // beyond the limit.
        let expected = announced_size(&answer.headers).unwrap_or(0);
        answer
            .body
            .reserve_exact(usize::try_from(expected.min(limit)).unwrap_or(0));
        let mut last = start;
        loop {
            let received = answer.body.len() as u64;
            let total = self.timeout * 2 + Duration::from_secs(received / SLOWEST);
            let (deadline, fault) = if start + total < last + self.timeout {
                let what = "reading an answer that comes too slowly";
                (start + total, Fault::Timeout(total, what))
            } else {
                let what = "waiting for the next bytes of the answer";
                (last + self.timeout, Fault::Timeout(self.timeout, what))
            };
            match timeout_at(next_look(deadline), response.chunk()).await {
                Err(_) if self.is_given_up(last) => return Err(Fault::Shutdown),
                Err(_) if deadline > Instant::now() => {}
                Err(_) => return Err(fault),
                Ok(Ok(None)) => return Ok(answer),
                Ok(Ok(Some(chunk))) => {
                    if received + chunk.len() as u64 > limit {
                        answer.cut = Some(format!("it is longer than {limit} bytes"));
                        answer.too_long = true;
                        return Ok(answer);
                    }
                    answer.body.extend_from_slice(&chunk);
                    last = Instant::now();
                }
                Ok(Err(error)) => {
                    answer.cut = Some(root_cause(&error));
                    return Ok(answer);
                }
            }
        }
    }

    fn fault(&self, cause: reqwest::Error) -> Fault {
        let is_tls = chain(&cause).any(|source| source.is::<rustls::Error>());
        let is_not_http = chain(&cause).any(|source| {
            source
                .downcast_ref::<hyper::Error>()
                .is_some_and(hyper::Error::is_parse)
        });
        let (is_connect, is_timeout) = (cause.is_connect(), cause.is_timeout());
        let words = match !is_tls && is_connect && is_timeout {
            true => format!("no connection within {:?}", self.timeout),
            false => root_cause(&cause),
        };
        let broken = Broken { words, cause };
        if is_tls {
            Fault::Tls(broken)
        } else if is_connect {
            Fault::Connect(broken)
        } else if is_not_http {
            Fault::NotHttp(broken)
        } else {
            Fault::Lost(broken)
        }
    }
}

/// When to look up from waiting.
fn next_look(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + STEP)
}

fn request(call: Call, progress: &Arc<Progress>) -> Request {
    let method = match call.body {
        Some(_) => Method::POST,
        None => Method::GET,
    };
    let mut request = Request::new(method, call.url);
    if let Some(bytes) = call.body {
        let headers = request.headers_mut();
        // Always sent, even for no bytes: the server stores a chunked body as
        // an empty blob.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        *request.body_mut() = Some(reqwest::Body::wrap(Sending {
            rest: bytes,
            progress: Arc::clone(progress),
        }));
    }
    if let Some(authorization) = call.authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    request
}

/// How far a request's body has got.
struct Progress {
    /// When the connection last took bytes of it.
    last: Mutex<Instant>,
    /// Whether it took them all.
    sent: AtomicBool,
}

impl Progress {
    fn last(&self) -> Instant {
        *sync::lock(&self.last)
    }
}

/// A request's body that notes its progress. Its pieces are views of the blob,
/// not copies.
struct Sending {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE.min(self.rest.len());
        let piece = self.rest.split_to(piece);
        *sync::lock(&self.progress.last) = Instant::now();
        if self.rest.is_empty() {
            self.progress.sent.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// What the headers say of the body's size, in bytes.
fn announced_size(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)
        .or_else(|| headers.get("X-UconDB-data-size"))?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

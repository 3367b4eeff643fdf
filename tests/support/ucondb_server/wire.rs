//! Reading requests and writing answers, byte by byte as each kind of server
//! does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

use super::{Next, Transport};

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its bytes.
    pub bytes: u64,
}

impl Head {
    /// What the server reads as a body: it knows nothing of chunks.
    pub fn content_length(&self) -> u64 {
        self.headers
            .get("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the bare server sends it without a length.
    pub streamed: bool,
}

impl Reply {
    /// An answer in plain text.
    pub fn text(status: u16, text: &str) -> Reply {
        Reply::new(status, "text/plain; charset=UTF-8", text)
    }

    /// An answer in HTML, as web servers give it for errors of their own.
    pub fn html(status: u16, text: &str) -> Reply {
        let page = format!(
            "<html>\r\n<head><title>{status} {text}</title></head>\r\n<body>\r\n<center><h1>\
             {status} {text}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        Reply::new(status, "text/html", page)
    }

    /// An answer of some type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.into(),
            streamed: false,
        }
    }

    /// With another header.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a length from the bare server.
    pub fn streamed(mut self) -> Reply {
        self.streamed = true;
        self
    }

    /// Its bytes on the wire, and where its body begins.
    pub fn to_bytes(&self, style: Transport) -> (Vec<u8>, usize) {
        let mut bytes = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        let chunked = self.streamed && style == Transport::Chunked;
        if chunked {
            bytes += "Transfer-Encoding: chunked\r\n";
        } else if !(self.streamed && style == Transport::Bare) {
            bytes += &format!("Content-Length: {}\r\n", self.body.len());
        }
        if style == Transport::Bare {
            bytes += "Connection: close\r\n";
        }
        let mut bytes = (bytes + "\r\n").into_bytes();
        let body_at = bytes.len();
        if chunked {
            for chunk in self.body.chunks(16 * 1024) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        (bytes, body_at)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Time-out",
        _ => "Something",
    }
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// A connection, plain or encrypted.
pub struct Stream {
    socket: Socket,
    /// Read, but not yet asked for.
    ahead: Vec<u8>,
}

impl Stream {
    pub fn plain(stream: TcpStream) -> Stream {
        Stream {
            socket: Socket::Plain(stream),
            ahead: Vec::new(),
        }
    }

    pub fn tls(connection: ServerConnection, stream: TcpStream) -> Stream {
        Stream {
            socket: Socket::Tls(Box::new(StreamOwned::new(connection, stream))),
            ahead: Vec::new(),
        }
    }

    /// The head of the next request; none where the connection ended.
    pub fn read_head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self
                .ahead
                .first()
                .is_some_and(|first| !first.is_ascii_uppercase())
            {
                // Such as a TLS handshake.
                let _ = self.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                return None;
            }
            let mut piece = [0; 8192];
            match self.socket.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.ahead.extend(&piece[..count]),
            }
        };
        let text = String::from_utf8(self.ahead.drain(..end).collect()).ok()?;
        let mut lines = text.split("\r\n");
        let mut request = lines.next()?.split(' ');
        let method = request.next()?.to_owned();
        let mut target = request.next()?;
        // A proxy is asked for the whole URL.
        if let Some(url) = target.strip_prefix("http://") {
            target = &url[url.find('/')?..];
        }
        Some(Head {
            method,
            target: target.to_owned(),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            bytes: end as u64,
        })
    }

    /// Reads so much of a body, and counts it as it comes.
    pub fn read_body(
        &mut self,
        length: u64,
        body: &mut Vec<u8>,
        count: &AtomicU64,
    ) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        let first = self.ahead.len().min(length);
        body.extend(self.ahead.drain(..first));
        count.store(body.len() as u64, Ordering::SeqCst);
        let mut piece = vec![0; 64 * 1024];
        while body.len() < length {
            let wanted = piece.len().min(length - body.len());
            let read = self.socket.read(&mut piece[..wanted])?;
            if read == 0 {
                // The server fails then, and stores nothing.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            body.extend(&piece[..read]);
            count.store(body.len() as u64, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Writes an answer.
    pub fn write_reply(&mut self, reply: &Reply, style: Transport) -> io::Result<()> {
        self.write_all(&reply.to_bytes(style).0)?;
        self.flush()
    }

    /// Ends the connection.
    pub fn end(self, end: Next, close_notify: bool) {
        let mut tcp = match self.socket {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(mut tls) => {
                if close_notify && end != Next::Reset {
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
                let StreamOwned { sock, .. } = *tls;
                sock
            }
        };
        if end == Next::Reset {
            let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
            return;
        }
        let _ = tcp.shutdown(Shutdown::Write);
        if end == Next::Linger {
            let _ = tcp.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = io::copy(&mut tcp, &mut io::sink());
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(tcp) => tcp.read(buffer),
            Socket::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Plain(tcp) => tcp.write(bytes),
            Socket::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.socket {
            Socket::Plain(tcp) => tcp.flush(),
            Socket::Tls(tls) => tls.flush(),
        }
    }
}

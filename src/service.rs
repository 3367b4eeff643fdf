//! What a service manager is told while the archiver works: the line that
//! `systemctl status` shows.
//!
//! The protocol is sd_notify(3)'s: one datagram with `KEY=value` lines to the
//! socket that `NOTIFY_SOCKET` names, in the file system or, with `@`, in
//! Linux's abstract namespace.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says in one line what the archiver is doing. Without a service manager
/// nothing happens; a failure is nobody's concern.
pub fn status(text: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        let line = text.replace('\n', " ");
        if let Err(error) = send(&socket, &format!("STATUS={line}\n")) {
            log::debug!("the service manager was not told: {error}");
        }
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    // A manager that does not read must not keep the archiver.
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn both_kinds_of_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "STATUS=one\n").unwrap();
        assert_eq!(received(&socket), "STATUS=one\n");

        let name = format!("run_record_archiver-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(&OsString::from(format!("@{name}")), "STATUS=two\n").unwrap();
        assert_eq!(received(&socket), "STATUS=two\n");
        assert!(send(OsStr::new("/no/such/socket"), "x").is_err());
    }
}

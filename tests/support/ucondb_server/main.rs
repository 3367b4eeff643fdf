//! The test server of UconDB on its own, to try the archiver against:
//! `cargo run --release --example ucondb_server [ADDRESS:PORT]`. It forgets
//! everything when it ends.

#[path = "mod.rs"]
mod ucondb_server;

use ucondb_server::{FOLDER, OBJECT, Options, PASSWORD, Transport, USER, UconDbServer};

fn main() {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0");
    let server = UconDbServer::start_at(
        address.parse().expect("an address such as 127.0.0.1:8080"),
        Options {
            transport: Transport::KeepAlive,
            ..Options::default()
        },
    );
    server.keep_no_requests();
    println!("server_url: \"{}\"", server.url());
    println!("folder_name: \"{FOLDER}\"");
    println!("object_name: \"{OBJECT}\"");
    println!("writer_user: \"{USER}\"");
    println!("writer_password: '{PASSWORD}'");
    loop {
        std::thread::park();
    }
}

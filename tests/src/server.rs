//! A mirror that misbehaves. Written against sockets: what it does wrong is what HTTP libraries prevent.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// How it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Every file as it is.
    Good,
    /// Cuts every connection after its request.
    Cut,
    /// One bit of every file whose path has this in it is another one.
    Wrong(&'static str),
}

/// A server on a port of its own; it ends with the test program.
#[derive(Debug, Clone)]
pub struct Server {
    port: u16,
    manner: Manner,
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl Server {
    /// Starts one.
    ///
    /// # Panics
    /// Panics when no local port is free.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a local port is free");
        let server = Self { port: listener.local_addr().expect("a bound socket has an address").port(), manner, files: Arc::default() };
        let accepting = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                // A client that goes away is none of the server's business.
                std::thread::spawn(move || drop(server.serve(&stream)));
            }
        });
        server
    }

    /// Serves a file.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), bytes.to_owned());
    }

    /// Serves all files of a folder and those below it, under its path.
    ///
    /// # Panics
    /// Panics when the folder cannot be read.
    pub fn put_folder(&self, path: &str, folder: &Path) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let entry = entry.expect("the folder can be read");
            let below = format!("{path}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.put_folder(&below, &entry.path());
            } else {
                self.put(&below, &fs::read(entry.path()).expect("the file can be read"));
            }
        }
    }

    /// Returns host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
            let mut header = String::new();
            while reader.read_line(&mut header)? > 2 {
                header.clear();
            }
            if self.manner == Manner::Cut {
                return stream.shutdown(Shutdown::Both);
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let found = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
            let (status, mut body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
            if let Manner::Wrong(part) = self.manner
                && path.contains(part)
                && let Some(byte) = body.last_mut()
            {
                *byte ^= 1;
            }
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
            stream.write_all(&body)?;
        }
    }
}

//! A web server for tests that behaves as badly as it is told to.
//!
//! It is written against sockets, because what it has to do, such as cutting a connection in the middle of a body or
//! ignoring a range, is what HTTP libraries prevent.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Fetcher, Settings, Url};

/// How a path behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it should: with ranges and validators.
    Good,
    /// Ignores ranges.
    NoRange,
    /// Refuses ranges with 416.
    BadRange,
    /// Cuts each connection after so many bytes of the body.
    Cut(usize),
    /// Sends so many bytes of the body, then nothing; the connection stays open.
    Stall(usize),
    /// Answers with a status, and text that is not the file.
    Status(u16),
    /// Answers with a status so many times, then behaves.
    Ailing(u16, u32),
    /// Redirects to itself.
    RedirectLoop,
    /// Does not say how long the body is, and closes the connection at its end.
    NoLength,
}

#[derive(Debug, Default)]
struct Site {
    files: HashMap<String, (Vec<u8>, Manner)>,
    seen: Vec<String>,
}

/// A server on a port of its own; it ends with the test program.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    port: u16,
    site: Arc<Mutex<Site>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), site: Arc::default() };
        let accepting = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                std::thread::spawn(move || {
                    // A client that goes away is none of the server's business.
                    drop(server.serve(&stream));
                    drop(stream.shutdown(Shutdown::Both));
                });
            }
        });
        server
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.put_with(path, bytes, Manner::Good);
    }

    pub(crate) fn put_with(&self, path: &str, bytes: &[u8], manner: Manner) {
        self.site.lock().unwrap().files.insert(path.to_owned(), (bytes.to_owned(), manner));
    }

    pub(crate) fn set(&self, path: &str, manner: Manner) {
        self.site.lock().unwrap().files.get_mut(path).unwrap().1 = manner;
    }

    pub(crate) fn remove(&self, path: &str) {
        self.site.lock().unwrap().files.remove(path).unwrap();
    }

    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.base())).unwrap()
    }

    /// Returns the requests so far, `PATH` or `PATH bytes=5-`, and forgets them.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.site.lock().unwrap().seen)
    }

    /// Returns the requests so far.
    pub(crate) fn peek(&self) -> Vec<String> {
        self.site.lock().unwrap().seen.clone()
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            if !self.answer(stream, &request)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers a request; returns whether the connection can be used for another.
    fn answer(&self, mut stream: &TcpStream, request: &Request) -> std::io::Result<bool> {
        let found = {
            let mut site = self.site.lock().unwrap();
            let range = request.headers.get("range").map_or_else(String::new, |range| format!(" {range}"));
            site.seen.push(format!("{}{range}", request.path));
            let found = site.files.get(&request.path).cloned();
            if let Some((_, Manner::Ailing(_, times))) = site.files.get_mut(&request.path) {
                *times = times.saturating_sub(1);
            }
            found
        };
        let Some((bytes, manner)) = found else { return status(stream, 404, "") };
        let start = request.headers.get("range").map_or(0, |range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
        let tag = format!("\"{}\"", crate::digest::Sha256Digest::of(&bytes));
        match manner {
            Manner::Status(code) => return status(stream, code, ""),
            Manner::Ailing(code, times) if times > 0 => return status(stream, code, ""),
            Manner::RedirectLoop => return status(stream, 302, &format!("Location: {}{}\r\n", self.base(), request.path)),
            Manner::BadRange if start > 0 => return status(stream, 416, ""),
            Manner::Good if request.headers.get("if-none-match") == Some(&tag) => return status(stream, 304, ""),
            _ => {}
        }
        let is_ranged = start > 0 && start < bytes.len() && !matches!(manner, Manner::NoRange);
        let body = if is_ranged { &bytes[start..] } else { &bytes[..] };
        let head = if is_ranged {
            format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len())
        } else {
            "HTTP/1.1 200 OK\r\n".to_owned()
        };
        let length =
            if manner == Manner::NoLength { "Connection: close\r\n".to_owned() } else { format!("Content-Length: {}\r\n", body.len()) };
        stream.write_all(format!("{head}{length}ETag: {tag}\r\n\r\n").as_bytes())?;
        match manner {
            Manner::Cut(count) if count < body.len() => {
                stream.write_all(&body[..count])?;
                Ok(false)
            }
            Manner::Stall(count) if count < body.len() => {
                stream.write_all(&body[..count])?;
                std::thread::sleep(Duration::from_secs(600));
                Ok(false)
            }
            Manner::NoLength => stream.write_all(body).map(|()| false),
            _ => stream.write_all(body).map(|()| true),
        }
    }
}

fn status(mut stream: &TcpStream, code: u16, headers: &str) -> std::io::Result<bool> {
    let body = if code == 304 { "" } else { "no" };
    stream.write_all(format!("HTTP/1.1 {code} Test\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).as_bytes())?;
    Ok(true)
}

struct Request {
    path: String,
    headers: HashMap<String, String>,
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    let mut reader = reader.take(64 * 1024);
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => return Ok(Some(Request { path, headers })),
        };
    }
}

/// Returns settings that make tests quick.
pub(crate) fn settings() -> Settings {
    Settings { stall: Duration::from_millis(300), backoff: Duration::from_millis(1), rounds: 3, ..Settings::default() }
}

/// Returns a fetcher for tests.
pub(crate) fn fetcher() -> Fetcher {
    Fetcher::new(settings()).unwrap()
}

/// Returns a text in which the port of a server, which differs from run to run, is replaced by a word.
pub(crate) fn stable(text: &str, servers: &[&Server]) -> String {
    servers
        .iter()
        .zip(["ONE", "TWO", "THREE"])
        .fold(text.to_owned(), |text, (server, name)| text.replace(&format!("127.0.0.1:{}", server.port), name))
}

use std::{fs, path::PathBuf, sync::Mutex};

use super::{
    testing::{Manner, Server, fetcher, settings, stable},
    *,
};
use crate::{
    build::progress::{Event, Observer, Silent, Stage},
    digest::Sha256Digest,
    store::{Bucket, Expected, Store},
};

/// Bytes that differ everywhere, so that a piece in the wrong place is noticed.
fn content(size: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_le_bytes).take(size).collect()
}

fn wanted(bytes: &[u8], urls: &[Url]) -> Download {
    let expected = Expected { size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) };
    Download { what: "the file".to_owned(), urls: urls.to_vec(), expected }
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn bring(store: &Store, file: &Download) -> Result<PathBuf, FetchError> {
    fetcher().download(store, Bucket::Packages, std::slice::from_ref(file), Stage::Fetch, &Silent).map(|mut paths| paths.remove(0))
}

/// Brings one file from one path of a server that behaves in some way.
fn outcome(manner: Manner, size: usize) -> (Result<(), String>, Vec<String>) {
    let (server, (_folder, store)) = (Server::start(), store());
    let bytes = content(size);
    server.put_with("/f", &bytes, manner);
    let outcome = bring(&store, &wanted(&bytes, &[server.url("/f")]));
    let outcome = outcome.map(|path| assert_eq!(fs::read(path).unwrap(), bytes));
    (outcome.map_err(|error| stable(&error.to_string(), &[&server])), server.seen())
}

#[test]
fn good_and_tolerable_servers() {
    for manner in [Manner::Good, Manner::NoRange, Manner::NoLength, Manner::Ailing(503, 2), Manner::Ailing(429, 1)] {
        assert_eq!(outcome(manner, 100_000).0, Ok(()), "{manner:?}");
        assert_eq!(outcome(manner, 0).0, Ok(()), "{manner:?}");
    }
}

#[test]
fn cut_connections_are_resumed_as_long_as_they_bring_something() {
    let size = 1_700_000;
    let (outcome, seen) = outcome(Manner::Cut(300_000), size);
    assert_eq!(outcome, Ok(()));
    insta::assert_debug_snapshot!(seen, @r#"
    [
        "/f",
        "/f bytes=300000-",
        "/f bytes=600000-",
        "/f bytes=900000-",
        "/f bytes=1200000-",
        "/f bytes=1500000-",
    ]
    "#);
}

#[test]
fn failures_are_told_apart() {
    let told = |manner| outcome(manner, 100_000).0.unwrap_err();
    insta::assert_snapshot!(told(Manner::Cut(1000)), @"cannot fetch the file: http://ONE/f: the connection was cut after 1000 bytes (end of file before message length reached)");
    insta::assert_snapshot!(told(Manner::Stall(1000)), @"cannot fetch the file: http://ONE/f: stalled: almost nothing came for 300ms after 1000 bytes");
    insta::assert_snapshot!(told(Manner::Status(404)), @"cannot fetch the file: http://ONE/f: not found (HTTP status 404)");
    insta::assert_snapshot!(told(Manner::Status(403)), @"cannot fetch the file: http://ONE/f: refused by the server (HTTP status 403)");
    insta::assert_snapshot!(told(Manner::Status(500)), @"cannot fetch the file: http://ONE/f: the server failed (HTTP status 500)");
    insta::assert_snapshot!(told(Manner::Status(204)), @"cannot fetch the file: http://ONE/f: the server's answer makes no sense: HTTP status 204 No Content");
    insta::assert_snapshot!(told(Manner::RedirectLoop), @"cannot fetch the file: http://ONE/f: too many redirects");
}

#[test]
fn hopeless_urls_are_asked_once() {
    for manner in [Manner::Status(404), Manner::Status(403)] {
        assert_eq!(outcome(manner, 10).1.len(), 1, "{manner:?}");
    }
    assert_eq!(outcome(Manner::Status(500), 10).1.len(), 3);
    assert_eq!(outcome(Manner::RedirectLoop, 10).1.len(), 9);
}

#[test]
fn nobody_listening() {
    let (_folder, store) = store();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = Url::parse(&format!("http://user:secret@127.0.0.1:{port}/f")).unwrap();
    let error = bring(&store, &wanted(b"x", &[url])).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&port.to_string(), "PORT"), @"cannot fetch the file: http://***@127.0.0.1:PORT/f: no connection (Connection refused (os error 111))");
    insta::assert_snapshot!(error.hint().unwrap(), @"check the network and http_proxy/https_proxy, or choose a mirror that you can reach with OIC_MIRROR_<DISTRIBUTION> or `mirrors` in oic.yml");
    assert_eq!(error.hint_with(None).unwrap(), "check the network and http_proxy/https_proxy, and the URL of the repository");
    assert!(error.hint_with(Some("OIC_MIRROR_DEBIAN")).unwrap().contains("with OIC_MIRROR_DEBIAN or"));
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn wrong_bytes_and_wrong_sizes() {
    let (server, (_folder, store)) = (Server::start(), store());
    let file = wanted(&content(5000), &[server.url("/f")]);
    let mut changed = content(5000);
    changed[2500] ^= 1;
    server.put("/f", &changed);
    let error = bring(&store, &file).unwrap_err();
    insta::assert_snapshot!(stable(&error.to_string(), &[&server]), @"cannot fetch the file: http://ONE/f: its SHA-256 is 07a42f8fba1e07b08525833a11bd95082b9a1d18a8c3a5e135510b4a454a91a7 where db520bea90c2abda332768842d91696b609736092bb68c22a20b5020f239a8c6 was expected");
    insta::assert_snapshot!(error.hint().unwrap(), @"the mirror, or something on the way such as a proxy, gives other bytes than the signed index says: choose another mirror with OIC_MIRROR_<DISTRIBUTION>");
    assert!(error.is_other_content());
    server.put("/f", &content(5001));
    insta::assert_snapshot!(stable(&bring(&store, &file).unwrap_err().to_string(), &[&server]), @"cannot fetch the file: http://ONE/f: it has 5001 bytes where 5000 bytes were expected");
    server.set("/f", Manner::NoLength);
    insta::assert_snapshot!(stable(&bring(&store, &file).unwrap_err().to_string(), &[&server]), @"cannot fetch the file: http://ONE/f: it has more bytes where 5000 bytes were expected");
    assert!(store.package(&file.expected.sha256).is_none());
    server.put("/f", &content(5000));
    bring(&store, &file).unwrap();
}

#[test]
fn a_partial_file_that_is_not_the_beginning_costs_one_more_attempt() {
    let (server, (_folder, store)) = (Server::start(), store());
    let bytes = content(50_000);
    let file = wanted(&bytes, &[server.url("/f")]);
    server.put("/f", &bytes);
    fs::write(store.root().join("partial").join(file.expected.sha256.to_string()), vec![7; 30_000]).unwrap();
    assert_eq!(fs::read(bring(&store, &file).unwrap()).unwrap(), bytes);
    assert_eq!(server.seen(), ["/f bytes=30000-", "/f"]);
}

#[test]
fn a_server_that_refuses_ranges_is_asked_for_all() {
    let (server, (_folder, store)) = (Server::start(), store());
    let bytes = content(50_000);
    let file = wanted(&bytes, &[server.url("/f")]);
    server.put_with("/f", &bytes, Manner::BadRange);
    fs::write(store.root().join("partial").join(file.expected.sha256.to_string()), &bytes[..30_000]).unwrap();
    bring(&store, &file).unwrap();
    assert_eq!(server.seen(), ["/f bytes=30000-", "/f"]);
}

#[test]
fn mirrors_are_tried_in_turn_and_continue_each_other_s_work() {
    let (bad, good, (_folder, store)) = (Server::start(), Server::start(), store());
    let bytes = content(100_000);
    bad.put_with("/f", &bytes, Manner::Cut(60_000));
    good.put("/f", &bytes);
    let file = wanted(&bytes, &[bad.url("/f"), good.url("/f")]);
    assert_eq!(fs::read(bring(&store, &file).unwrap()).unwrap(), bytes);
    assert_eq!((bad.seen().len(), good.seen()), (1, vec!["/f bytes=60000-".to_owned()]));

    let (_folder, store) = self::store();
    bad.put("/f", &vec![1; 100_000]);
    bring(&store, &file).unwrap();

    let (_folder, store) = self::store();
    bad.set("/f", Manner::Status(404));
    good.put("/f", &vec![1; 100_000]);
    insta::assert_snapshot!(stable(&bring(&store, &file).unwrap_err().to_string(), &[&bad, &good]), @"cannot fetch the file: http://ONE/f: not found (HTTP status 404); http://TWO/f: its SHA-256 is 7afaec9db2d1f347e46eee3af2a29726de4d4a78c6306b0bc2f3f7f859f918eb where e47b2ef8f931a31c1167cdd8eeb73e8055b325f984e3adf8a01d8c3520d797d3 was expected");
}

#[test]
fn files_of_the_host() {
    let (folder, store) = store();
    let bytes = content(200_000);
    let path = folder.path().join("a file");
    fs::write(&path, &bytes).unwrap();
    let base = Url::parse(&format!("file://{}", folder.path().display())).unwrap();
    let file = wanted(&bytes, &[base.below("a file")]);
    fs::write(store.root().join("partial").join(file.expected.sha256.to_string()), &bytes[..30_000]).unwrap();
    let offline = Fetcher::new(Settings { offline: true, ..settings() }).unwrap();
    let paths = offline.download(&store, Bucket::Packages, std::slice::from_ref(&file), Stage::Fetch, &Silent).unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), bytes);
    let error = bring(&store, &wanted(b"x", &[base.below("none")])).unwrap_err();
    assert!(error.is_not_found());
    let shown = error.to_string().replace(folder.path().to_str().unwrap(), "/FOLDER");
    insta::assert_snapshot!(shown, @"cannot fetch the file: file:///FOLDER/none: not found");
}

#[test]
fn offline_uses_the_store_alone() {
    let (server, (_folder, store)) = (Server::start(), store());
    let offline = Fetcher::new(Settings { offline: true, ..settings() }).unwrap();
    let file = wanted(b"content", &[server.url("/f")]);
    let download = || offline.download(&store, Bucket::Packages, std::slice::from_ref(&file), Stage::Fetch, &Silent);
    let error = download().unwrap_err();
    insta::assert_snapshot!(error, @"the file is not in the store, and the network is off");
    insta::assert_snapshot!(error.hint().unwrap(), @"run once without --offline, so that it is fetched");
    server.put("/f", b"content");
    bring(&store, &file).unwrap();
    server.seen();
    download().unwrap();
    assert!(server.seen().is_empty());
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_fetched() {
    let (server, (_folder, store)) = (Server::start(), store());
    let mut file = wanted(b"content", &[server.url("/f")]);
    file.expected.size = 1 << 60;
    let error = bring(&store, &file).unwrap_err();
    assert_eq!(error.to_string(), "cannot store the file");
    let FetchError::Store { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains(&format!("{} more bytes are needed", (1_u64 << 60) + (16 << 20))), "{source}");
    assert!(error.hint().unwrap().contains("--cache-dir"));
    assert!(server.seen().is_empty());
}

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<(u64, u64)>>);

impl Observer for Recorder {
    fn event(&self, event: &Event<'_>) {
        if let Event::Progress { done, total: Some(total), .. } = event {
            self.0.lock().unwrap().push((*done, *total));
        }
    }
}

#[test]
fn many_files_in_parallel_with_progress_to_the_end() {
    let (server, (_folder, store)) = (Server::start(), store());
    let files: Vec<_> = (0..50)
        .map(|number| {
            let (bytes, path) = (content(10_000 + number), format!("/{number}"));
            let manner = if number % 3 == 0 { Manner::Cut(6000) } else { Manner::Good };
            server.put_with(&path, &bytes, manner);
            wanted(&bytes, &[server.url(&path)])
        })
        .collect();
    let twice: Vec<_> = files.iter().chain(&files).cloned().collect();
    let recorder = Recorder::default();
    let paths = fetcher().download(&store, Bucket::Packages, &twice, Stage::Fetch, &recorder).unwrap();
    assert_eq!(paths.len(), 100);
    for (path, file) in paths.iter().zip(&twice) {
        assert_eq!(Sha256Digest::of(&fs::read(path).unwrap()), file.expected.sha256);
    }
    let seen = recorder.0.into_inner().unwrap();
    let total = files.iter().map(|file| file.expected.size).sum();
    assert_eq!(*seen.last().unwrap(), (total, total));
    assert!(seen.is_sorted_by_key(|(done, _)| *done));
}

#[test]
fn documents_are_bounded_and_revalidated() {
    let server = Server::start();
    let fetcher = fetcher();
    server.put("/d", b"document");
    let request = |limit, known| DocumentRequest { what: "the document".to_owned(), urls: vec![server.url("/d")], limit, known };
    let document = fetcher.document(&request(8, None)).unwrap();
    assert_eq!(document.bytes.as_deref(), Some(&b"document"[..]));
    let again = fetcher.document(&request(8, Some((document.url.clone(), document.validators.clone())))).unwrap();
    assert_eq!(again.bytes, None);
    server.put("/d", b"changed!");
    let again = fetcher.document(&request(8, Some((document.url, document.validators)))).unwrap();
    assert_eq!(again.bytes.as_deref(), Some(&b"changed!"[..]));
    insta::assert_snapshot!(stable(&fetcher.document(&request(7, None)).unwrap_err().to_string(), &[&server]), @"cannot fetch the document: http://ONE/d: it is larger than 7 bytes");
    server.set("/d", Manner::NoLength);
    assert!(fetcher.document(&request(7, None)).unwrap_err().to_string().contains("larger than 7 bytes"));
    let outcomes = fetcher.documents(&[request(7, None), request(8, None)]);
    assert!(outcomes[0].is_err() && outcomes[1].is_ok());
}

#[test]
fn two_fetchers_bring_a_file_once() {
    let (server, (_folder, store)) = (Server::start(), store());
    let bytes = content(3_000_000);
    server.put("/f", &bytes);
    let file = wanted(&bytes, &[server.url("/f")]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| bring(&store, &file).unwrap());
        }
    });
    assert_eq!(server.seen(), ["/f"]);
}

#[test]
fn a_wish_to_stop_ends_downloads_at_once_and_keeps_what_came() {
    let server = Server::start();
    let bytes = vec![7; 100_000];
    server.put_with("/slow", &bytes, Manner::Stall(50_000));
    let cancel = oic_builder_vm::Cancel::new().unwrap();
    let stubborn = Settings { stall: Duration::from_secs(600), cancel: Some(cancel.clone()), ..settings() };
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
    });
    let fetcher = Fetcher::new(stubborn).unwrap();
    let begin = std::time::Instant::now();
    let file = Download {
        what: "slow".to_owned(),
        urls: vec![server.url("/slow")],
        expected: Expected { size: bytes.len() as u64, sha256: Sha256Digest::of(&bytes) },
    };
    let outcome = fetcher.download(&store, Bucket::Packages, &[file], Stage::Fetch, &Silent);
    assert!(matches!(outcome, Err(FetchError::Cancelled)), "{outcome:?}");
    stopper.join().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    drop(fetcher);
    let kept: u64 = std::fs::read_dir(folder.path().join("partial")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(kept, 50_000);
}

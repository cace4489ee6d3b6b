//! What goes over the wire to S3, and what becomes of its answers: a server of the test's own
//! answers as a script says, and keeps what it was sent.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cloud")]

mod support;

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use support::HeldTime;
use tanada_remote::{
    Address, Bucket, Class, Created, Epoch, ObjectName, Place, Put, Version, open,
};
use tanada_vfs::Env;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Clone, Debug)]
enum Answer {
    /// A status, headers, and a body.
    Says(u16, &'static str, &'static str),
    /// It reads the request, and closes the connection.
    Closes,
}

use Answer::{Closes, Says};

#[derive(Clone, Debug)]
struct Asked {
    /// Method and target.
    line: String,
    headers: String,
}

#[derive(Debug, Default)]
struct Server {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Asked>>,
}

impl Server {
    async fn serve(self: Arc<Server>, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; len.map_or(0, |len| len.trim().parse().unwrap())];
        if head.contains("expect: 100-continue") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        stream.read_exact(&mut body).await?;
        let (line, headers) = head.split_once("\r\n").unwrap();
        let line = line.trim_end_matches(" http/1.1").to_owned();
        self.asked.lock().push(Asked { line, headers: headers.to_owned() });
        let answer = self.answers.lock().pop_front().unwrap_or(Says(500, "", "no more answers"));
        if let Says(status, headers, body) = answer {
            let len = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: {len}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await?;
        }
        stream.shutdown().await
    }
}

/// A bucket on a server that gives these answers.
async fn bucket(answers: &[Answer]) -> (Bucket, Arc<Server>) {
    let server = Arc::new(Server::default());
    server.answers.lock().extend(answers.iter().cloned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serving.clone().serve(stream));
        }
    });
    let variables = [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let address = Address::parse("s3://bucket/a prefix/b").unwrap();
    let store = open(&address, variables.into_iter()).unwrap();
    let random = Env::memory(1).random;
    let bucket = Bucket::new(store, address.prefix(), Arc::new(HeldTime::default()), random);
    (bucket, server)
}

fn name() -> ObjectName {
    ObjectName::Log(Place { epoch: Epoch(1), index: 0 })
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

const OK: Answer = Says(200, "etag: \"new\"\r\n", "");
const GET: Answer =
    Says(200, "etag: \"new\"\r\nlast-modified: Tue, 01 Dec 2026 00:00:00 GMT\r\n", "mine");

#[tokio::test]
async fn the_library_sends_nothing_twice_by_itself() {
    for answer in [Says(500, "", "<Code>InternalError</Code>"), Says(502, "", ""), Closes] {
        let (bucket, server) = bucket(&[answer.clone(), OK]).await;
        let put = bucket.create(&name(), text("mine")).await.unwrap();
        assert!(matches!(put, Put::Unknown(_)), "{answer:?}: {put:?}");
        assert_eq!(server.asked.lock().len(), 1, "{answer:?}");
        let (bucket, server) = self::bucket(&[answer.clone(), OK]).await;
        let version = Version::new(Some("\"old\"".into()), None);
        let put = bucket.swap(&name(), &version, text("mine")).await.unwrap();
        assert!(matches!(put, Put::Unknown(_)), "{answer:?}: {put:?}");
        assert_eq!(server.asked.lock().len(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn conditions_are_on_the_wire() {
    let (bucket, server) = bucket(&[OK, OK, Says(204, "", ""), Says(204, "", "")]).await;
    let version = Version::new(Some("old".into()), None);
    bucket.create(&name(), text("x")).await.unwrap();
    bucket.swap(&name(), &version, text("x")).await.unwrap();
    assert_eq!(bucket.delete_if(&name(), &version).await, Ok(true));
    bucket.delete(&name()).await.unwrap();
    let asked = server.asked.lock().clone();
    let target = "/bucket/a%20prefix/b/wal/0000000000000001/0000000000000000";
    assert_eq!(asked[0].line, format!("put {target}"));
    assert!(asked[0].headers.contains("if-none-match: *"), "{asked:?}");
    assert!(asked[1].headers.contains("if-match: \"old\""), "{asked:?}");
    assert_eq!(asked[2].line, format!("delete {target}"));
    assert!(asked[2].headers.contains("if-match: \"old\""), "{asked:?}");
    assert!(!asked[3].headers.contains("if-match"), "{asked:?}");
}

#[tokio::test]
async fn a_delete_whose_condition_fails_deletes_nothing_and_says_so() {
    let (bucket, _) = bucket(&[Says(412, "", "<Code>PreconditionFailed</Code>")]).await;
    let version = Version::new(Some("old".into()), None);
    assert_eq!(bucket.delete_if(&name(), &version).await, Ok(false));
}

#[tokio::test]
async fn completing_an_upload_asks_that_nothing_is_there() {
    let begun =
        "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    let done = "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
    let (bucket, server) = bucket(&[Says(200, "", begun), OK, Says(200, "", done)]).await;
    let mut upload = bucket.upload(&name()).await.unwrap();
    upload.part(text("x")).await.unwrap();
    upload.finish().await.unwrap();
    let asked = server.asked.lock().clone();
    assert!(asked[0].line.ends_with("?uploads="), "{asked:?}");
    assert!(!asked[0].headers.contains("if-none-match"), "{asked:?}");
    assert!(!asked[1].headers.contains("if-none-match"), "{asked:?}");
    assert!(asked[2].line.starts_with("post ") && asked[2].line.contains("?uploadid=u1"));
    assert!(asked[2].headers.contains("if-none-match: *"), "{asked:?}");
}

#[tokio::test]
async fn answers_that_the_library_folds_into_one_are_told_apart() {
    // A concurrent request: not applied, so it is sent again. 412: another was first.
    let concurrent = Says(409, "", "<Code>ConditionalRequestConflict</Code>");
    let (bucket, server) = bucket(&[concurrent, Says(412, "", "")]).await;
    assert_eq!(bucket.create(&name(), text("x")).await, Ok(Put::Lost));
    assert_eq!(server.asked.lock().len(), 2);
    // 404 to a swap: somebody deleted it. 412: another was first.
    let version = Version::new(Some("old".into()), None);
    let (bucket, _) = self::bucket(&[Says(404, "", "<Code>NoSuchKey</Code>")]).await;
    let failure = bucket.swap(&name(), &version, text("x")).await.unwrap_err();
    assert_eq!(failure.class, Class::Damaged, "{failure}");
    let (bucket, _) = self::bucket(&[Says(412, "", "")]).await;
    assert_eq!(bucket.swap(&name(), &version, text("x")).await, Ok(Put::Lost));
}

#[tokio::test]
async fn a_busy_store_is_asked_again_and_a_denial_is_told() {
    let slow = || Says(503, "", "<Code>SlowDown</Code>");
    let (bucket, server) = bucket(&[slow(), Says(429, "", ""), OK]).await;
    assert!(matches!(bucket.create(&name(), text("x")).await, Ok(Put::Applied(_))));
    assert_eq!(server.asked.lock().len(), 3);
    for (status, body) in [(403, "<Code>AccessDenied</Code>"), (400, "<Code>ExpiredToken</Code>")] {
        let (bucket, server) = self::bucket(&[Says(status, "", body)]).await;
        let failure = bucket.create(&name(), text("x")).await.unwrap_err();
        assert_eq!((failure.class, server.asked.lock().len()), (Class::Denied, 1), "{failure}");
        let told = failure.to_string();
        assert!(told.contains("wal/0000000000000001") && !told.contains("secret"), "{told}");
    }
}

#[tokio::test]
async fn a_put_that_was_applied_and_whose_connection_closed_is_found_to_be_one_s_own() {
    let (bucket, server) = bucket(&[Closes, GET]).await;
    let created = bucket.create_exactly(&name(), text("mine")).await.unwrap();
    assert!(matches!(created, Created::Mine(_)));
    assert_eq!(server.asked.lock().len(), 2);
    let (bucket, _) = self::bucket(&[Closes, GET]).await;
    let created = bucket.create_exactly(&name(), text("not that")).await.unwrap();
    assert!(matches!(created, Created::Taken(_)));
}

#[tokio::test]
async fn a_store_that_is_not_there_is_away_and_nothing_was_sent() {
    let (address, variables) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let variables = [
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ];
        (Address::parse("s3://bucket").unwrap(), variables.map(|(k, v)| (k.to_owned(), v)))
    };
    let store = open(&address, variables.into_iter()).unwrap();
    let timer = Arc::new(HeldTime::default());
    let bucket = Bucket::new(store, address.prefix(), timer, Env::memory(1).random);
    let failure = bucket.create(&name(), text("x")).await.unwrap_err();
    assert_eq!(failure.class, Class::Away, "{failure}");
}

//! The part of the S3 API that packwise needs, on loopback, for tests: objects in memory, conditional puts, ranges,
//! listings in pages, uploads in parts; signed requests only. It can be told to fail as a bad network does.
//!
//! A server of our own because those on crates.io turn on features of crates that DataFusion shares: it would be
//! compiled a second time for the tests (20 minutes on two cores). That packwise does not only get on with this one is
//! shown by `scripts/moto.sh`, with a server of others.

mod requests;

use requests::{Answer, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The one account, and the one bucket.
pub const ACCESS_KEY: &str = "packwise-tests";
pub const SECRET_KEY: &str = "not a secret";
pub const BUCKET: &str = "bucket";
/// Objects of a page of a listing: few, so that listings have several pages.
const PAGE: usize = 5;

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing is done, and the answer is an error.
    Refuse,
    /// All is done, and the answer is an error all the same: the request is sent again.
    DoAndRefuse,
    /// All is done, and the connection is cut before the answer.
    DoAndHangUp,
    /// The answer is cut in the middle.
    Truncate,
    /// The answer takes its time.
    Slow,
}

const FAULTS: [Fault; 5] =
    [Fault::Refuse, Fault::DoAndRefuse, Fault::DoAndHangUp, Fault::Truncate, Fault::Slow];

#[derive(Clone)]
struct Object {
    bytes: Arc<Vec<u8>>,
    tag: String,
    modified: chrono::DateTime<chrono::Utc>,
}

impl Object {
    fn new(bytes: Vec<u8>) -> Self {
        let tag = format!("\"{}\"", &blake3::hash(&bytes).to_hex()[..32]);
        Self { bytes: Arc::new(bytes), tag, modified: chrono::Utc::now() }
    }
}

#[derive(Default)]
struct State {
    objects: Mutex<BTreeMap<String, Object>>,
    uploads: Mutex<BTreeMap<String, BTreeMap<u32, Vec<u8>>>>,
    /// One of so many requests fails; 0: none.
    one_in: AtomicU64,
    requests: AtomicU64,
    done: Mutex<BTreeMap<Fault, u64>>,
    /// Milliseconds that every answer takes.
    latency: AtomicU64,
    seen: Mutex<Vec<String>>,
    /// Bytes that were sent of each object.
    sent: Mutex<BTreeMap<String, u64>>,
    /// An object that cannot be read any more.
    lost: Mutex<Option<String>>,
}

/// A server that lives until the process ends.
#[derive(Clone)]
pub struct S3Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl S3Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = server.state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                // A client that goes away ends its connection's thread.
                std::thread::spawn(move || state.serve(stream));
            }
        });
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on one of `one_in` requests fails in one of the ways of [`Fault`], by the number of the request.
    pub fn fail_one_in(&self, one_in: u64) {
        self.state.one_in.store(one_in, Ordering::SeqCst);
    }

    /// Every answer takes so long from now on.
    pub fn answer_after(&self, time: Duration) {
        self.state.latency.store(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// How often what went wrong.
    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        self.state.done.lock().unwrap().clone()
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Bytes of an object that were sent so far.
    pub fn sent(&self, name: &str) -> u64 {
        self.state.sent.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// From now on ranges of an object cannot be read, except for the last bytes of it.
    pub fn lose(&self, name: &str) {
        *self.state.lost.lock().unwrap() = Some(name.to_owned());
    }

    /// Names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.state.objects.lock().unwrap().keys().cloned().collect()
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.state.objects.lock().unwrap().get(name).map(|object| object.bytes.to_vec())
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.state.put(name, bytes);
    }

    /// Uploads that were begun, and neither completed nor given up.
    pub fn open_uploads(&self) -> usize {
        self.state.uploads.lock().unwrap().len()
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut out = stream.try_clone().ok()?;
        let mut input = BufReader::new(stream);
        loop {
            let request = Request::read(&mut input)?;
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            self.seen.lock().unwrap().push(format!("{} {}", request.method, request.path));
            std::thread::sleep(Duration::from_millis(self.latency.load(Ordering::SeqCst)));
            let fault = self.fault(number);
            let mut answer = match fault {
                Some(Fault::Refuse) => Answer::error(503, "SlowDown"),
                _ => self.answer(&request),
            };
            match fault {
                Some(Fault::DoAndRefuse) => answer = Answer::error(500, "InternalError"),
                Some(Fault::DoAndHangUp) => return None,
                Some(Fault::Slow) => std::thread::sleep(Duration::from_millis(30)),
                Some(Fault::Truncate | Fault::Refuse) | None => {}
            }
            let bytes = answer.bytes(request.method == "HEAD");
            let cut =
                if fault == Some(Fault::Truncate) { bytes.len() - bytes.len() / 3 } else { bytes.len() };
            out.write_all(&bytes[..cut]).and_then(|()| out.flush()).ok()?;
            if cut < bytes.len() {
                return None;
            }
        }
    }

    /// What goes wrong with a request, if anything.
    fn fault(&self, number: u64) -> Option<Fault> {
        let one_in = self.one_in.load(Ordering::SeqCst);
        let chance = blake3::hash(&number.to_le_bytes());
        let [first, second, ..] = *chance.as_bytes();
        if one_in == 0 || u64::from(first) * one_in >= 256 {
            return None;
        }
        let fault = FAULTS[usize::from(second) % FAULTS.len()];
        *self.done.lock().unwrap().entry(fault).or_default() += 1;
        Some(fault)
    }

    fn put(&self, name: &str, bytes: Vec<u8>) -> String {
        let object = Object::new(bytes);
        let tag = object.tag.clone();
        self.objects.lock().unwrap().insert(name.to_owned(), object);
        tag
    }

    fn answer(&self, request: &Request) -> Answer {
        let signed = format!("Credential={ACCESS_KEY}/");
        if !request.header("authorization").is_some_and(|header| header.contains(&signed)) {
            return Answer::error(403, "InvalidAccessKeyId");
        }
        let Some(name) = request.path.strip_prefix(&format!("/{BUCKET}")) else {
            return Answer::error(404, "NoSuchBucket");
        };
        let name = name.trim_start_matches('/');
        let upload = request.query("uploadId");
        match (request.method.as_str(), upload) {
            ("GET", None) if name.is_empty() => self.list(request),
            ("GET" | "HEAD", None) => self.get(name, request),
            ("PUT", Some(upload)) => self.put_part(upload, request),
            ("PUT", None) => self.put_if(name, request),
            ("POST", None) if request.query("delete").is_some() => self.delete_listed(request),
            ("POST", None) if request.query("uploads").is_some() => self.begin_upload(name),
            ("POST", Some(upload)) => self.complete_upload(name, upload),
            ("DELETE", Some(upload)) => {
                self.uploads.lock().unwrap().remove(upload);
                Answer::new(204)
            }
            ("DELETE", None) => {
                self.objects.lock().unwrap().remove(name);
                Answer::new(204)
            }
            _ => Answer::error(405, "MethodNotAllowed"),
        }
    }

    fn get(&self, name: &str, request: &Request) -> Answer {
        let Some(object) = self.objects.lock().unwrap().get(name).cloned() else {
            return Answer::error(404, "NoSuchKey");
        };
        if request.header("if-match").is_some_and(|tag| tag != object.tag) {
            return Answer::error(412, "PreconditionFailed");
        }
        let modified = object.modified.format("%a, %d %b %Y %H:%M:%S GMT");
        let answer = |status: u16| {
            Answer::new(status).header("ETag", &object.tag).header("Last-Modified", &modified.to_string())
        };
        let length = object.bytes.len();
        match request.range(length) {
            None => answer(200).body(object.bytes.to_vec()),
            Some(range) if range.start >= length => Answer::error(416, "InvalidRange"),
            Some(range) if range.start < length / 2 && self.lost.lock().unwrap().as_deref() == Some(name) => {
                Answer::error(500, "InternalError")
            }
            Some(range) => {
                *self.sent.lock().unwrap().entry(name.to_owned()).or_default() += range.len() as u64;
                answer(206)
                    .header("Content-Range", &format!("bytes {}-{}/{length}", range.start, range.end - 1))
                    .body(object.bytes[range].to_vec())
            }
        }
    }

    fn put_if(&self, name: &str, request: &Request) -> Answer {
        let object = Object::new(request.body.clone());
        let answer = Answer::new(200).header("ETag", &object.tag);
        // Looking and writing are one step, as a condition is worth nothing otherwise.
        let mut objects = self.objects.lock().unwrap();
        let known = objects.get(name).map(|object| object.tag.as_str());
        match (request.header("if-none-match"), request.header("if-match"), known) {
            (Some("*"), _, Some(_)) => return Answer::error(412, "PreconditionFailed"),
            (_, Some(_), None) => return Answer::error(404, "NoSuchKey"),
            (_, Some(tag), Some(known)) if tag != known => {
                return Answer::error(412, "PreconditionFailed");
            }
            _ => {}
        }
        objects.insert(name.to_owned(), object);
        answer
    }

    fn delete_listed(&self, request: &Request) -> Answer {
        let body = String::from_utf8_lossy(&request.body);
        let mut deleted = String::new();
        for piece in body.split("<Key>").skip(1) {
            let name = piece.split("</Key>").next().unwrap_or_default();
            self.objects.lock().unwrap().remove(&requests::from_xml(name));
            deleted.push_str(&format!("<Deleted><Key>{name}</Key></Deleted>"));
        }
        Answer::xml(format!("<DeleteResult>{deleted}</DeleteResult>"))
    }

    fn begin_upload(&self, name: &str) -> Answer {
        let mut uploads = self.uploads.lock().unwrap();
        let upload = format!("upload-{}-{name}", self.requests.load(Ordering::SeqCst)).replace('/', "-");
        uploads.insert(upload.clone(), BTreeMap::new());
        Answer::xml(format!(
            "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        ))
    }

    fn put_part(&self, upload: &str, request: &Request) -> Answer {
        let number = request.query("partNumber").and_then(|number| number.parse().ok());
        match (number, self.uploads.lock().unwrap().get_mut(upload)) {
            (Some(number), Some(parts)) => {
                parts.insert(number, request.body.clone());
                Answer::new(200).header("ETag", &format!("\"{number}\""))
            }
            _ => Answer::error(404, "NoSuchUpload"),
        }
    }

    fn complete_upload(&self, name: &str, upload: &str) -> Answer {
        // An upload that was completed, and whose answer was lost, is completed still.
        let done = self.uploads.lock().unwrap().remove(upload);
        let known = self.objects.lock().unwrap().get(name).map(|object| object.tag.clone());
        let tag = match (done, known) {
            (Some(parts), _) => self.put(name, parts.into_values().flatten().collect()),
            (None, Some(tag)) => tag,
            (None, None) => return Answer::error(404, "NoSuchUpload"),
        };
        Answer::xml(format!(
            "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
            requests::to_xml(&tag)
        ))
    }

    fn list(&self, request: &Request) -> Answer {
        let prefix = request.query("prefix").unwrap_or_default();
        let delimiter = request.query("delimiter").filter(|delimiter| !delimiter.is_empty());
        let after = request.query("continuation-token").or(request.query("start-after")).unwrap_or_default();
        let mut folders = BTreeSet::new();
        let (mut text, mut count, mut last, mut more) = (String::new(), 0, String::new(), false);
        for (name, object) in self.objects.lock().unwrap().iter() {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let folder = delimiter.and_then(|delimiter| {
                rest.split_once(delimiter).map(|(folder, _)| format!("{prefix}{folder}{delimiter}"))
            });
            let entry = folder.as_ref().unwrap_or(name);
            if entry.as_str() <= after || folder.as_ref().is_some_and(|folder| folders.contains(folder)) {
                continue;
            }
            if count == PAGE {
                more = true;
                break;
            }
            count += 1;
            last.clone_from(entry);
            match folder {
                Some(folder) => {
                    folders.insert(folder);
                }
                None => text.push_str(&format!(
                    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                    requests::to_xml(name),
                    object.modified.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
                    requests::to_xml(&object.tag),
                    object.bytes.len(),
                )),
            }
        }
        for folder in folders {
            let folder = requests::to_xml(&folder);
            text.push_str(&format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
        }
        if more {
            let token = requests::to_xml(&last);
            text.push_str(&format!("<NextContinuationToken>{token}</NextContinuationToken>"));
        }
        Answer::xml(format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{text}</ListBucketResult>"))
    }
}

//! What UconDB does: folders, objects, versions and keys.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::digest::Nonces;
use super::wire::{Head, Reply};
use super::{Options, Shared, Transport};

/// What comes before a folder's name in realms and metadata.
const NAMESPACE: &str = "ucon_prd";

/// A version of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVersion {
    pub id: u64,
    /// None where an override moved it to a later version.
    pub key: Option<String>,
    pub tags: Vec<String>,
    /// Seconds since 1970.
    pub recorded: f64,
    pub data_key: u64,
    pub blob: Vec<u8>,
}

/// Everything stored, and the nonces given.
pub struct Store {
    folders: BTreeMap<String, BTreeMap<String, Vec<StoredVersion>>>,
    nonces: Nonces,
    last_id: u64,
    /// The time of a simulation, in seconds since 1970.
    pub simulated: Option<f64>,
}

impl Store {
    pub fn new(options: &Options) -> Store {
        Store {
            folders: options
                .folders
                .iter()
                .map(|folder| (folder.clone(), BTreeMap::new()))
                .collect(),
            nonces: Nonces::default(),
            last_id: 0,
            simulated: None,
        }
    }

    pub fn versions(&self, folder: &str, object: &str) -> Vec<StoredVersion> {
        self.folders
            .get(folder)
            .and_then(|objects| objects.get(object))
            .cloned()
            .unwrap_or_default()
    }

    pub fn keys(&self, folder: &str, object: &str) -> Vec<Option<String>> {
        let objects = self.folders.get(folder);
        let versions = objects.and_then(|objects| objects.get(object));
        let versions = versions.into_iter().flatten();
        versions.map(|version| version.key.clone()).collect()
    }

    pub fn set_versions(&mut self, folder: &str, object: &str, versions: Vec<StoredVersion>) {
        let ids = versions.iter().map(|version| version.id);
        self.last_id = ids.max().unwrap_or(0).max(self.last_id);
        let objects = self.folders.get_mut(folder).unwrap();
        objects.insert(object.to_owned(), versions);
    }

    /// Stores a version; fails with what the server says if the key exists.
    pub fn put(
        &mut self,
        folder: &str,
        object: &str,
        key: Option<&str>,
        blob: Vec<u8>,
        overriding: bool,
    ) -> Result<&mut StoredVersion, String> {
        let recorded = self.simulated.unwrap_or_else(now);
        let versions = self
            .folders
            .get_mut(folder)
            .unwrap()
            .entry(object.to_owned())
            .or_default();
        if let Some(key) = key
            && let Some(old) = versions
                .iter_mut()
                .find(|version| version.key.as_deref() == Some(key))
        {
            if !overriding {
                return Err(format!(
                    "Version of object {object} with key {key} already exists"
                ));
            }
            old.key = None;
        }
        self.last_id += 1;
        let same = versions.iter().find(|version| version.blob == blob);
        let data_key = same.map_or(self.last_id, |version| version.data_key);
        versions.push(StoredVersion {
            id: self.last_id,
            key: key.map(str::to_owned),
            tags: Vec::new(),
            recorded,
            data_key,
            blob,
        });
        Ok(versions.last_mut().unwrap())
    }
}

/// The machine's time, in seconds since 1970.
fn now() -> f64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap().as_secs_f64()
}

impl StoredVersion {
    fn metadata(&self, folder: &str, object: &str) -> Value {
        let adler32 = adler2::adler32_slice(&self.blob);
        json!({
            "object": object, "folder": format!("{NAMESPACE}.{folder}"),
            "tv": 0.0, "tr": self.recorded, "tags": self.tags,
            "adler32": adler32, "uadler32": adler32,
            "data_size": self.blob.len(), "data_key": self.data_key.to_string(),
            "id": self.id, "key": self.key,
        })
    }
}

/// A request taken apart.
struct Request<'a> {
    head: &'a Head,
    /// Below the prefix.
    path: &'a str,
    query: BTreeMap<String, String>,
}

impl<'a> Request<'a> {
    fn new(shared: &Shared, head: &'a Head) -> Option<Request<'a>> {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        Some(Request {
            head,
            path: path
                .strip_prefix(&shared.options.prefix)?
                .strip_prefix('/')?,
            query: query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| {
                    let value = percent_decode_str(&value.replace('+', " "))
                        .decode_utf8_lossy()
                        .into_owned();
                    (name.to_owned(), value)
                })
                .collect(),
        })
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Folder, object and key of `data/F/O` or `data/F/O/key=K`.
    fn data(&self) -> Option<(&str, &str, Option<&str>)> {
        let mut segments = self.path.strip_prefix("data/")?.split('/');
        let (folder, object) = (segments.next()?, segments.next()?);
        let in_path = segments.find_map(|segment| segment.strip_prefix("key="));
        Some((folder, object, in_path.or_else(|| self.query("key"))))
    }
}

/// Whether the request is for UconDB at all.
pub fn is_served(shared: &Shared, head: &Head) -> bool {
    Request::new(shared, head).is_some()
}

/// The answers that come before a request's body is read.
pub fn before_the_body(shared: &Shared, head: &Head) -> Option<Reply> {
    let limit = shared.options.max_body;
    if limit.is_some_and(|limit| head.content_length() > limit) {
        return Some(Reply::html(413, "Request Entity Too Large"));
    }
    // A web server reads the body before it asks the server behind it.
    if shared.options.transport != Transport::Bare {
        return None;
    }
    before_authentication(shared, &Request::new(shared, head)?)
}

/// The refusals of an upload that come before authentication.
fn before_authentication(shared: &Shared, request: &Request<'_>) -> Option<Reply> {
    let (folder, _, key) = request.data().filter(|_| request.head.method == "POST")?;
    if key.is_some_and(|key| key.contains(['<', '\'', '>', '|', '\\'])) {
        return Some(Reply::text(400, "Bad Request"));
    }
    if shared.options.read_only {
        return Some(Reply::text(405, "Read-only instance"));
    }
    let store = shared.store.lock().unwrap();
    (!store.folders.contains_key(folder)).then(|| Reply::text(404, "Folder not found"))
}

/// Answers a request.
pub fn answer(shared: &Shared, head: &Head, body: Vec<u8>) -> Reply {
    let Some(request) = Request::new(shared, head) else {
        return Reply::html(404, "Not Found");
    };
    let down = shared.database_down.load(Ordering::SeqCst);
    let first = request.path.split('/').next().unwrap_or_default();
    match (head.method.as_str(), first) {
        ("GET", "version") => Reply::text(200, "3.9.7\n"),
        ("GET", "probe") if down => Reply::text(200, "Error: OperationalError"),
        ("GET", "probe") => Reply::text(200, "OK"),
        _ if down => failure("connection to server at \"db\" failed"),
        ("GET", "folders") => {
            let store = shared.store.lock().unwrap();
            json_reply(&json!(store.folders.keys().collect::<Vec<_>>()))
        }
        ("GET", "objects") => objects(shared, &request),
        ("GET", "versions") => versions(shared, &request),
        ("POST", "lookup_versions") => lookup(shared, &request, &body),
        ("POST", "data") => upload(shared, &request, body),
        ("GET", "data") => download(shared, &request),
        _ => Reply::text(404, "Not found"),
    }
}

/// What an uncaught exception of the server looks like.
fn failure(what: &str) -> Reply {
    Reply::new(
        500,
        "text/html; charset=UTF-8",
        format!(
            "<html><body><h2>Application error\n</h2>\n<pre>Traceback (most recent call last):\n  \
             File \"webpie.py\", line 1\nException: {what}\n</pre>\n</body></html>"
        ),
    )
}

fn json_reply(value: &Value) -> Reply {
    Reply::new(200, "text/json; charset=UTF-8", value.to_string())
}

fn objects(shared: &Shared, request: &Request<'_>) -> Reply {
    let store = shared.store.lock().unwrap();
    match request
        .query("folder")
        .and_then(|folder| store.folders.get(folder))
    {
        Some(objects) => json_reply(&json!(objects.keys().collect::<Vec<_>>())),
        None => failure("'NoneType' object has no attribute 'listObjects'"),
    }
}

fn versions(shared: &Shared, request: &Request<'_>) -> Reply {
    let folder = request.query("folder").unwrap_or("None");
    let object = request.query("object").unwrap_or("None");
    let since = request.query("tr_since");
    listing(
        shared,
        folder,
        object,
        since.map_or(0.0, |since| since.parse().unwrap()),
    )
}

/// The listing of an object's versions recorded later than `since`.
pub fn listing(shared: &Shared, folder: &str, object: &str, since: f64) -> Reply {
    let store = shared.store.lock().unwrap();
    let Some(objects) = store.folders.get(folder) else {
        return Reply::text(404, &format!("Folder {folder} not found"));
    };
    let Some(versions) = objects.get(object) else {
        return Reply::text(404, &format!("Object {object} not found"));
    };
    let listed: Vec<String> = versions
        .iter()
        .rev()
        .filter(|version| version.recorded > since)
        .map(|version| version.metadata(folder, object).to_string())
        .collect();
    let list = format!("[{}]", listed.join(", "));
    Reply::new(200, "text/json; charset=UTF-8", list).streamed()
}

fn lookup(shared: &Shared, request: &Request<'_>, body: &[u8]) -> Reply {
    let store = shared.store.lock().unwrap();
    let folder = request.query("folder").unwrap_or("None");
    let object = request.query("object").unwrap_or("None");
    let Some(objects) = store.folders.get(folder) else {
        return Reply::text(404, &format!("Folder {folder} not found"));
    };
    let Some(versions) = objects.get(object) else {
        return Reply::text(404, &format!("Object {object} not found"));
    };
    let asked: Value = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return failure(&error.to_string()),
    };
    let list = |name: &str| asked[name].as_array().filter(|list| !list.is_empty());
    let wanted: Box<dyn Fn(&StoredVersion) -> bool> = if let Some(ids) = list("ids") {
        Box::new(|version| ids.contains(&json!(version.id)))
    } else if let Some(keys) = list("keys") {
        Box::new(|version| version.key.is_some() && keys.contains(&json!(version.key)))
    } else if asked["key_min"].is_string() || asked["key_max"].is_string() {
        Box::new(|version| {
            version.key.as_deref().is_some_and(|key| {
                asked["key_min"].as_str().is_none_or(|least| key >= least)
                    && asked["key_max"].as_str().is_none_or(|most| key <= most)
            })
        })
    } else {
        return failure("'NoneType' object is not iterable");
    };
    let found: String = versions
        .iter()
        .filter(|version| wanted(version))
        .map(|version| format!("\x1e{}\n", version.metadata(folder, object)))
        .collect();
    Reply::new(200, "text/json-seq; charset=UTF-8", found).streamed()
}

fn upload(shared: &Shared, request: &Request<'_>, body: Vec<u8>) -> Reply {
    if let Some(refusal) = before_authentication(shared, request) {
        return refusal;
    }
    let Some((folder, object, key)) = request.data() else {
        return Reply::text(400, "Bad Request");
    };
    let mut store = shared.store.lock().unwrap();
    let realm = format!("{NAMESPACE}.{folder}");
    if let Err(challenge) = store
        .nonces
        .check(shared.options.authentication, &realm, request.head)
    {
        let reply = Reply::text(401, "Authorization required");
        return match challenge {
            Some(challenge) => reply.header("WWW-Authenticate", &challenge),
            None => reply,
        };
    }
    let overriding = request.query("override") == Some("yes");
    match store.put(folder, object, key, body, overriding) {
        Err(problem) => failure(&problem),
        Ok(version) => {
            version.tags.extend(request.query("tag").map(str::to_owned));
            if request.query("full_meta") == Some("yes") {
                json_reply(&version.metadata(folder, object))
            } else {
                Reply::text(200, &version.id.to_string())
            }
        }
    }
}

fn download(shared: &Shared, request: &Request<'_>) -> Reply {
    let store = shared.store.lock().unwrap();
    let Some((folder, object, Some(key))) = request.data() else {
        return Reply::text(400, "Bad Request");
    };
    let Some(versions) = store
        .folders
        .get(folder)
        .and_then(|objects| objects.get(object))
    else {
        return failure("'NoneType' object has no attribute 'getVersion'");
    };
    let Some(version) = versions
        .iter()
        .find(|version| version.key.as_deref() == Some(key))
    else {
        return Reply::text(404, "Version not found");
    };
    let metadata = version.metadata(folder, object);
    if request.query("meta_only") == Some("yes") {
        return json_reply(&metadata);
    }
    Reply::new(200, "application/octet-stream", version.blob.clone())
        .header("X-UconDB-version-id", &version.id.to_string())
        .header("X-UconDB-data-key", &version.data_key.to_string())
        .header("X-UconDB-version-key", key)
        .header("X-UconDB-data-size", &version.blob.len().to_string())
        .header("X-UconDB-adler32", &metadata["adler32"].to_string())
        .header("X-UconDB-tv", "0.0")
        .header("X-UconDB-tr", &version.recorded.to_string())
        .header("X-UconDB-metadata", &metadata.to_string())
        .streamed()
}

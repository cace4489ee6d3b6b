//! The ways to ask: a route, and where it takes its options.

use crate::support::{Answer, TempDir, TestServer, temp_dir};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use tanada::vfs::MemoryMachine;
use tanada::{Db, Durability, Keyspace, KeyspaceOptions};
use tanada_server::{Limits, ServerOptions};

/// A route and the place of its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    PutQuery,
    PutBody,
    DeleteQuery,
    DeleteBody,
    GetQuery,
    GetPostQuery,
    GetBody,
    KvGet,
    KvPut,
    KvDelete,
    /// The batch itself.
    Batch,
    /// One operation of a batch; a put unless `op` says otherwise.
    BatchOp,
    Scan,
    Compact,
    Stats,
    Dump,
    NewKeyspaceQuery,
    NewKeyspaceBody,
    CheckpointQuery,
    CheckpointBody,
    /// Headers that count on every route.
    Anything,
}

use Form::*;

impl Form {
    /// As discovery names it: method, path, and what of it.
    pub(crate) fn route(self) -> &'static str {
        match self {
            PutQuery | PutBody => "POST /put",
            DeleteQuery | DeleteBody => "POST /delete",
            GetQuery => "GET /get",
            GetPostQuery | GetBody => "POST /get",
            KvGet => "GET /v1/kv/{key}",
            KvPut => "PUT /v1/kv/{key}",
            KvDelete => "DELETE /v1/kv/{key}",
            Batch => "POST /v1/batch",
            BatchOp => "POST /v1/batch ops",
            Scan => "GET /v1/kv",
            Compact => "POST /compact",
            Stats => "GET /stats",
            Dump => "GET /v1/dump",
            NewKeyspaceQuery | NewKeyspaceBody => "POST /v1/keyspaces",
            CheckpointQuery | CheckpointBody => "POST /v1/admin/checkpoints",
            Anything => "any",
        }
    }

    /// Whether it is there for each keyspace.
    pub(crate) fn is_of_a_keyspace(self) -> bool {
        !matches!(
            self,
            Stats
                | Dump
                | NewKeyspaceQuery
                | NewKeyspaceBody
                | CheckpointQuery
                | CheckpointBody
                | Anything
        )
    }

    pub(crate) fn is_read(self) -> bool {
        matches!(self, GetQuery | GetPostQuery | GetBody | KvGet)
    }

    pub(crate) fn is_delete(self) -> bool {
        matches!(self, DeleteQuery | DeleteBody | KvDelete)
    }
}

/// A server over a machine in memory, whose power can be cut.
pub(crate) struct World {
    pub(crate) server: TestServer,
    pub(crate) machine: MemoryMachine,
    pub(crate) db: Db,
    pub(crate) keyspace: Keyspace,
    space: Option<&'static str>,
    pub(crate) checkpoints: TempDir,
}

impl World {
    /// With the requests to this keyspace; the default one without.
    pub(crate) fn new(space: Option<&'static str>) -> World {
        World::with_durability(space, Durability::Synced)
    }

    pub(crate) fn with_durability(space: Option<&'static str>, durability: Durability) -> World {
        let machine = MemoryMachine::new(1);
        let builder = Db::builder("/db").memory(64 << 20).threads(1).durability(durability);
        let db = builder.env(machine.env()).open().expect("it can be created");
        // The server looks at the real directory, the database writes to its own machine's.
        let checkpoints = temp_dir();
        machine.env().fs.create_dir_all(checkpoints.path()).expect("a new name");
        let keyspace = match space {
            Some(name) => db.keyspace(name, KeyspaceOptions::new()).expect("a good name"),
            None => db.default_keyspace().clone(),
        };
        let options =
            ServerOptions::new().checkpoint_dir(checkpoints.path()).limits(Limits::default());
        let server = TestServer::with_options(db.clone(), options);
        World { server, machine, db, keyspace, space, checkpoints }
    }

    /// Where a verb's path is in its keyspace.
    pub(crate) fn path(&self, path: &str) -> String {
        match self.space {
            None => path.to_owned(),
            Some(name) => {
                format!("/v1/ks/{name}/{}", path.trim_start_matches("/v1").trim_start_matches('/'))
            }
        }
    }

    /// What a key has.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.keyspace.get(key).expect("it is readable").map(|value| value.to_vec())
    }

    pub(crate) fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> u64 {
        self.keyspace.put(key, value).expect("there is room").0
    }

    /// The ETag of a version.
    pub(crate) fn tag(&self, version: u64) -> String {
        format!("\"{}-{version}\"", self.db.lineage())
    }

    /// Asks with these options, and with what else must be there. Options with capital
    /// letters are headers.
    pub(crate) fn ask(&self, form: Form, options: &[(&str, Value)]) -> Answer {
        let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let is_header = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase());
        let headers: Vec<(&str, String)> = options
            .iter()
            .filter(|(name, _)| is_header(name))
            .map(|(name, value)| (*name, text(value)))
            .collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let mut others: Vec<(&str, Value)> =
            options.iter().filter(|(name, _)| !is_header(name)).cloned().collect();
        let has = |name: &str| options.iter().any(|(given, _)| *given == name);
        let is_kv = matches!(form, KvGet | KvPut | KvDelete);
        let wants_key =
            matches!(form, PutQuery | PutBody | BatchOp) || form.is_delete() || form.is_read();
        if wants_key && !is_kv && !has("key") && !has("key64") {
            others.push(("key", json!("k")));
        }
        if matches!(form, PutQuery | PutBody) && !has("value") {
            others.push(("value", json!("v")));
        }
        let query = || {
            let mut query = String::new();
            for (name, value) in &others {
                let sign = if query.is_empty() { '?' } else { '&' };
                let value: String = text(value).bytes().fold(String::new(), |mut out, byte| {
                    let _ = write!(out, "%{byte:02X}");
                    out
                });
                let _ = write!(query, "{sign}{name}={value}");
            }
            query
        };
        let body = || {
            Value::Object(Map::from_iter(others.iter().map(|(n, v)| (n.to_string(), v.clone()))))
                .to_string()
        };
        let request = |method: &str, path: &str, body: String| {
            self.server.request(method, path, &headers, body)
        };
        let kv = match has("key64") {
            true => self.path("/v1/kv"),
            false => self.path("/v1/kv/k"),
        };
        let post =
            |path: &str| request("POST", &format!("{}{}", self.path(path), query()), String::new());
        let post_body = |path: &str| request("POST", &self.path(path), body());
        match form {
            PutQuery => post("/put"),
            PutBody => post_body("/put"),
            DeleteQuery => post("/delete"),
            DeleteBody => post_body("/delete"),
            GetQuery => request("GET", &format!("{}{}", self.path("/get"), query()), String::new()),
            GetPostQuery => post("/get"),
            GetBody => post_body("/get"),
            KvGet => request("GET", &format!("{kv}{}", query()), String::new()),
            KvPut => request("PUT", &format!("{kv}{}", query()), "v".to_owned()),
            KvDelete => request("DELETE", &format!("{kv}{}", query()), String::new()),
            Batch => {
                if !has("ops") {
                    others.push(("ops", json!([{"op": "put", "key": "k", "value": "v"}])));
                }
                let body = Map::from_iter(others.iter().map(|(n, v)| (n.to_string(), v.clone())));
                request("POST", &self.path("/v1/batch"), Value::Object(body).to_string())
            }
            BatchOp => {
                if !has("op") {
                    others.push(("op", json!("put")));
                    if !has("value") {
                        others.push(("value", json!("v")));
                    }
                }
                let op = Map::from_iter(others.iter().map(|(n, v)| (n.to_string(), v.clone())));
                let body = json!({ "ops": [op] }).to_string();
                request("POST", &self.path("/v1/batch"), body)
            }
            Scan => request("GET", &format!("{}{}", self.path("/v1/kv"), query()), String::new()),
            Compact => post("/compact"),
            Stats => request("GET", "/stats", String::new()),
            Dump => request("GET", &format!("/v1/dump{}", query()), String::new()),
            NewKeyspaceQuery => {
                request("POST", &format!("/v1/keyspaces{}", query()), String::new())
            }
            NewKeyspaceBody => request("POST", "/v1/keyspaces", body()),
            CheckpointQuery => {
                request("POST", &format!("/v1/admin/checkpoints{}", query()), String::new())
            }
            CheckpointBody => request("POST", "/v1/admin/checkpoints", body()),
            Anything => request("GET", "/livez", String::new()),
        }
    }
}

//! The keyspace that a request is about.

use crate::app::App;
use crate::problem::{Kind, Problem, Result};
use std::sync::Arc;
use tanada::{Keyspace, KeyspaceOptions};

/// The default keyspace, or the one that the path names. The default one is not handed
/// from request to operation: handles are counted, and all would count the same one.
#[derive(Clone, Debug)]
pub(crate) struct Space(Option<Keyspace>);

impl Space {
    pub(crate) const DEFAULT: Space = Space(None);

    /// That of a name as it stands in a path, percent-encoded.
    ///
    /// # Errors
    /// When the name is none, or there is no such keyspace.
    pub(crate) fn named(app: &App, name: &[u8]) -> Result<Space> {
        let name = checked_name(name)?;
        match app.db.find_keyspace(name)? {
            Some(found) if found.name() == app.keyspace.name() => Ok(Space::DEFAULT),
            Some(found) => Ok(Space(Some(found))),
            None => Err(Problem::new(
                Kind::KeyspaceNotFound,
                format!(
                    "there is no keyspace {name:?}; GET /v1/keyspaces lists them, POST /v1/keyspaces creates one"
                ),
            )),
        }
    }

    /// The keyspace itself.
    pub(crate) fn keyspace<'a>(&'a self, app: &'a App) -> &'a Keyspace {
        self.0.as_ref().unwrap_or(&app.keyspace)
    }

    /// For an operation.
    pub(crate) fn into_named(self) -> Option<Keyspace> {
        self.0
    }
}

/// Creates the keyspace `name`, if it is not there. Answers whether it was not.
pub(crate) async fn create(app: &Arc<App>, name: &[u8]) -> Result<bool> {
    let name = checked_name(name)?.to_owned();
    if app.db.find_keyspace(&name)?.is_some() {
        return Ok(false);
    }
    let db = app.db.clone();
    // Two at once may both say that they created it: it was not there for either.
    app.pool.run(move || db.keyspace(&name, KeyspaceOptions::new())).await??;
    Ok(true)
}

/// A keyspace's name, 1 to 255 bytes of UTF-8.
fn checked_name(name: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(name).map_err(|e| {
        Problem::new(
            Kind::NotUtf8,
            format!("the keyspace's name is not UTF-8 (byte {})", e.valid_up_to()),
        )
    })?;
    match text.len() {
        1..=255 => Ok(text),
        n => Err(Problem::invalid(format!("a keyspace's name has 1 to 255 bytes, not {n}"))),
    }
}

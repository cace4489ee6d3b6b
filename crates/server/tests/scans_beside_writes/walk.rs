//! Lists of keys that are read page by page.

use crate::model::{KEYS, Model, Seen, is_still, key_of, path};
use crate::support::TestServer;

/// How a list of pages goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoesOn {
    ByCursor,
    ByLastKey,
}

/// A list that is read page by page.
pub(crate) struct Walk {
    pub(crate) space: usize,
    pub(crate) reverse: bool,
    pub(crate) limit: usize,
    pub(crate) goes_on: GoesOn,
    /// Where the last page ended.
    pub(crate) last: Option<(String, String)>,
    /// Keys that nobody changes, as they came.
    pub(crate) still: Vec<String>,
}

impl Walk {
    fn target(&self) -> String {
        let mut query = format!("kv?limit={}", self.limit);
        if self.reverse {
            query.push_str("&reverse=true");
        }
        if let Some((key, cursor)) = &self.last {
            match (self.goes_on, self.reverse) {
                (GoesOn::ByCursor, _) => query.push_str(&format!("&cursor={cursor}")),
                (GoesOn::ByLastKey, false) => query.push_str(&format!("&start={key}%00")),
                (GoesOn::ByLastKey, true) => query.push_str(&format!("&end={key}")),
            }
        }
        path(self.space, &query)
    }

    /// Reads a page; whether it was the last one.
    pub(crate) fn read_page(&mut self, server: &TestServer, model: &Model) -> bool {
        let target = self.target();
        let answer = server.get(&target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        let page = answer.json();
        let items = page["items"].as_array().expect("items");
        let seen: Vec<Seen> = items.iter().map(|item| Seen::of(item, self.space)).collect();
        assert!(seen.len() <= self.limit, "{target}");
        // A page is one moment: the next keys of the model, none left out.
        let before = self.last.as_ref().map(|(key, _)| key.as_str());
        let is_next = |key: &str| match before {
            Some(before) if self.reverse => key < before,
            Some(before) => key > before,
            None => true,
        };
        let mut next: Vec<_> = model[self.space].iter().filter(|(key, _)| is_next(key)).collect();
        if self.reverse {
            next.reverse();
        }
        let of_model: Vec<&Seen> = seen.iter().filter(|s| s.key.starts_with('k')).collect();
        assert!(of_model.len() <= next.len(), "{target}: more keys than there are");
        for (seen, (key, entry)) in of_model.iter().zip(&next) {
            assert!(seen.is(key, entry), "{target}: {} instead of {key}", seen.key);
        }
        let of_still = seen.iter().filter(|s| is_still(&s.key));
        self.still.extend(of_still.map(|s| s.key.clone()));
        let Some(cursor) = page["cursor"].as_str() else {
            assert_eq!(of_model.len(), next.len(), "{target}: the last page lacks keys");
            return true;
        };
        let last = seen.last().expect("a page that is not the last has a key");
        self.last = Some((last.key.clone(), cursor.to_owned()));
        false
    }

    pub(crate) fn finish(mut self, server: &TestServer, model: &Model) {
        let ended = (0..1_000).any(|_| self.read_page(server, model));
        assert!(ended, "{} has no last page", self.target());
        self.check_still();
    }

    pub(crate) fn check_still(&self) {
        let mut still: Vec<String> = (0..KEYS).map(key_of).filter(|key| is_still(key)).collect();
        if self.reverse {
            still.reverse();
        }
        assert_eq!(self.still, still, "{}", self.target());
    }
}

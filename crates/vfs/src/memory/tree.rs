//! Names: directories as they are, and as the disk has them.

use super::dice::Dice;
use super::node::Node;
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path};
use std::sync::Arc;

/// A directory's place in [`Tree::dirs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirId(usize);

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    File(Arc<Node>),
    Dir(DirId),
}

type Names = BTreeMap<String, Entry>;

#[derive(Clone, Debug, Default)]
struct Dir {
    now: Names,
    durable: Names,
}

/// One name set or taken away.
#[derive(Clone, Debug)]
struct Set {
    dir: DirId,
    name: String,
    entry: Option<Entry>,
}

/// The sets of one call, kept or dropped together: renames are atomic.
type Change = Vec<Set>;

/// All names of a machine.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// The root first.
    dirs: Vec<Dir>,
    /// Changes that no `sync_dir` has made durable, oldest first.
    pending: Vec<Change>,
    /// Changes that a failed `sync_dir` should have made durable, oldest first, and older
    /// than those pending of the same directory: no later one will.
    given_up: Vec<Change>,
}

/// A name and the directory it is in.
#[derive(Debug)]
pub(super) struct Place {
    dir: DirId,
    name: String,
}

const ROOT: DirId = DirId(0);

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { dirs: vec![Dir::default()], pending: Vec::new(), given_up: Vec::new() }
    }

    /// The directory at `path`.
    pub(super) fn dir(&self, path: &Path) -> Result<DirId, Errno> {
        self.walk(&parts(path)?)
    }

    /// Where `path` is or would be.
    pub(super) fn place(&self, path: &Path) -> Result<Place, Errno> {
        let parts = parts(path)?;
        let (name, above) = parts.split_last().ok_or(Errno::ISDIR)?;
        Ok(Place { dir: self.walk(above)?, name: (*name).to_owned() })
    }

    pub(super) fn entry(&self, place: &Place) -> Option<&Entry> {
        self.dirs[place.dir.0].now.get(&place.name)
    }

    pub(super) fn file(&self, path: &Path) -> Result<&Arc<Node>, Errno> {
        match self.entry(&self.place(path)?) {
            Some(Entry::File(node)) => Ok(node),
            Some(Entry::Dir(_)) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        }
    }

    /// Names and entries, sorted by name.
    pub(super) fn list(&self, dir: DirId) -> impl Iterator<Item = (&String, &Entry)> {
        self.dirs[dir.0].now.iter()
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> Result<(), Errno> {
        let mut dir = ROOT;
        for part in parts(path)? {
            dir = match self.dirs[dir.0].now.get(part) {
                Some(Entry::Dir(below)) => *below,
                Some(Entry::File(_)) => return Err(Errno::EXIST),
                None => {
                    let below = DirId(self.dirs.len());
                    self.dirs.push(Dir::default());
                    let place = Place { dir, name: part.to_owned() };
                    self.change(vec![(place, Some(Entry::Dir(below)))]);
                    below
                }
            };
        }
        Ok(())
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> Result<(), Errno> {
        let place = self.place(path)?;
        if self.entry(&place).is_some() {
            return Err(Errno::EXIST);
        }
        let below = DirId(self.dirs.len());
        self.dirs.push(Dir::default());
        self.change(vec![(place, Some(Entry::Dir(below)))]);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> Result<(), Errno> {
        let dir = self.dir(path)?;
        if self.list(dir).next().is_some() {
            return Err(Errno::NOTEMPTY);
        }
        self.change(vec![(self.place(path)?, None)]);
        Ok(())
    }

    /// Gives a file a name that is not taken.
    pub(super) fn add(&mut self, place: Place, node: Arc<Node>) -> Result<(), Errno> {
        if self.entry(&place).is_some() {
            return Err(Errno::EXIST);
        }
        self.change(vec![(place, Some(Entry::File(node)))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        self.file(path)?;
        self.change(vec![(self.place(path)?, None)]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let moved = self.entry(&from).cloned().ok_or(Errno::NOENT)?;
        match (&moved, self.entry(&to)) {
            // Two names of one file: nothing happens, says POSIX.
            (Entry::File(a), Some(Entry::File(b))) if Arc::ptr_eq(a, b) => return Ok(()),
            (Entry::Dir(a), Some(Entry::Dir(b))) if a == b => return Ok(()),
            (_, None) | (Entry::File(_), Some(Entry::File(_))) => {}
            (Entry::File(_), Some(Entry::Dir(_))) => return Err(Errno::ISDIR),
            (Entry::Dir(_), Some(Entry::File(_))) => return Err(Errno::NOTDIR),
            (Entry::Dir(_), Some(Entry::Dir(below))) => {
                if self.list(*below).next().is_some() {
                    return Err(Errno::NOTEMPTY);
                }
            }
        }
        self.change(vec![(to, Some(moved)), (from, None)]);
        Ok(())
    }

    fn change(&mut self, sets: Vec<(Place, Option<Entry>)>) {
        let change: Change = sets
            .into_iter()
            .map(|(place, entry)| Set { dir: place.dir, name: place.name, entry })
            .collect();
        for set in &change {
            apply(&mut self.dirs[set.dir.0].now, set);
        }
        self.pending.push(change);
    }

    /// Makes the changes that touch `dir` durable.
    pub(super) fn sync(&mut self, dir: DirId) {
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            if change.iter().any(|set| set.dir == dir) {
                self.make_durable(&change);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// A sync that fails: nothing becomes durable, and all counts as synced.
    pub(super) fn fail_sync(&mut self, dir: DirId) {
        let touches = |change: &mut Change| change.iter().any(|set| set.dir == dir);
        self.given_up.extend(self.pending.extract_if(.., touches));
    }

    /// Makes all changes durable.
    pub(super) fn sync_all(&mut self) {
        let given_up = std::mem::take(&mut self.given_up);
        for change in given_up.into_iter().chain(std::mem::take(&mut self.pending)) {
            self.make_durable(&change);
        }
    }

    /// Bytes of files that nobody has open and that have a name only for as long as
    /// their removal is not durable.
    pub(super) fn removed_bytes(&self) -> u64 {
        fn file(entry: &Entry) -> Option<&Arc<Node>> {
            match entry {
                Entry::File(node) => Some(node),
                Entry::Dir(_) => None,
            }
        }
        let named = self.dirs.iter().flat_map(|dir| dir.now.values()).filter_map(file);
        let named: HashSet<_> = named.map(Arc::as_ptr).collect();
        let durable = self.dirs.iter().flat_map(|dir| dir.durable.values());
        let pending = self.pending.iter().chain(&self.given_up).flatten();
        let pending = pending.filter_map(|set| set.entry.as_ref());
        let mut held: HashMap<_, (&Arc<Node>, usize)> = HashMap::new();
        for node in durable.chain(pending).filter_map(file) {
            held.entry(Arc::as_ptr(node)).or_insert((node, 0)).1 += 1;
        }
        let removed = held.into_iter().filter(|(at, (node, by_names))| {
            !named.contains(at) && Arc::strong_count(node) == *by_names
        });
        removed.map(|(_, (node, _))| node.taken()).sum()
    }

    fn make_durable(&mut self, change: &Change) {
        // What is durable of a name is the newest that was.
        let names = |set: &Set| change.iter().any(|c| c.dir == set.dir && c.name == set.name);
        self.given_up.retain(|older| !older.iter().any(names));
        for set in change {
            apply(&mut self.dirs[set.dir.0].durable, set);
        }
    }

    /// The names that a power cut leaves; all of them durable. `copy` gives
    /// the successor of a file.
    pub(super) fn after_power_cut(
        &self,
        dice: &mut Dice,
        copy: impl FnMut(&Node, &mut Dice) -> Node,
    ) -> Tree {
        let mut tree = self.clone();
        // As with sectors: the coin is chosen first.
        let permille = [0, 100, 500, 900, 1000][dice.below(5) as usize];
        let given_up = std::mem::take(&mut tree.given_up);
        for change in given_up.into_iter().chain(std::mem::take(&mut tree.pending)) {
            if dice.chance(permille) {
                tree.make_durable(&change);
            }
        }
        let mut copies = Copies { copy, made: HashMap::new() };
        for dir in &mut tree.dirs {
            copies.replace(&mut dir.durable, dice);
            dir.now = dir.durable.clone();
        }
        tree
    }

    /// The same names and pending changes, over copies of the files.
    pub(super) fn copied(&self, mut copy: impl FnMut(&Node) -> Node) -> Tree {
        let mut tree = self.clone();
        let mut copies =
            Copies { copy: |node: &Node, _: &mut Dice| copy(node), made: HashMap::new() };
        let mut unused = Dice::new(0);
        for dir in &mut tree.dirs {
            copies.replace(&mut dir.durable, &mut unused);
            copies.replace(&mut dir.now, &mut unused);
        }
        for set in tree.pending.iter_mut().chain(&mut tree.given_up).flatten() {
            if let Some(Entry::File(node)) = &mut set.entry {
                *node = copies.of(node, &mut unused);
            }
        }
        tree
    }
}

/// Copies of files, one for each file however many names it has.
struct Copies<F> {
    copy: F,
    /// By the address of the original, which the old tree keeps alive.
    made: HashMap<*const Node, Arc<Node>>,
}

impl<F: FnMut(&Node, &mut Dice) -> Node> Copies<F> {
    fn of(&mut self, node: &Arc<Node>, dice: &mut Dice) -> Arc<Node> {
        let copy = &mut self.copy;
        self.made.entry(Arc::as_ptr(node)).or_insert_with(|| Arc::new(copy(node, dice))).clone()
    }

    fn replace(&mut self, names: &mut Names, dice: &mut Dice) {
        for entry in names.values_mut() {
            if let Entry::File(node) = entry {
                *node = self.of(node, dice);
            }
        }
    }
}

impl Tree {
    fn walk(&self, parts: &[&str]) -> Result<DirId, Errno> {
        let mut dir = ROOT;
        for part in parts {
            dir = match self.dirs[dir.0].now.get(*part) {
                Some(Entry::Dir(below)) => *below,
                Some(Entry::File(_)) => return Err(Errno::NOTDIR),
                None => return Err(Errno::NOENT),
            };
        }
        Ok(dir)
    }
}

fn apply(names: &mut Names, set: &Set) {
    match &set.entry {
        Some(entry) => names.insert(set.name.clone(), entry.clone()),
        None => names.remove(&set.name),
    };
}

/// The names along a path. Relative paths start at the root.
pub(super) fn parts(path: &Path) -> Result<Vec<&str>, Errno> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str().ok_or(Errno::INVAL)?),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(parts)
}

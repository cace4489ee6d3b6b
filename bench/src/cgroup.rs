//! A memory cgroup around this process: what it maps, allocates and has in the page cache
//! together stays within a limit, so that data can be larger than memory on any machine.
//!
//! Version 1 and version 2 of the kernel's interface (`cgroup-v1/memory.rst` and
//! `cgroup-v2.rst` in its documentation). Pages stay charged to the cgroup in which they
//! were first used: enter it before there is anything to charge.

use std::fs;
use std::path::{Path, PathBuf};

/// A cgroup of this process alone. Dropped, it is left and removed.
pub struct Cgroup {
    dir: PathBuf,
    /// Where the process was before.
    home: PathBuf,
    /// 1 or 2.
    pub version: u8,
}

impl Cgroup {
    /// Makes one below that of this process, or below the root where that may not be. The
    /// process is not in it yet.
    ///
    /// # Errors
    /// Says why this machine, or this user, has none.
    pub fn new(limit_bytes: u64) -> Result<Cgroup, String> {
        let of_process = read(Path::new("/proc/self/cgroup"))?;
        let mounts = read(Path::new("/proc/self/mounts"))?;
        let (version, mount, path) = place(&of_process, &mounts)
            .ok_or("no cgroup file system with a memory controller is mounted")?;
        let home = match path.as_str() {
            "/" => mount.clone(),
            path => mount.join(path.trim_start_matches('/')),
        };
        let mut reasons = Vec::new();
        for parent in [home.clone(), mount] {
            match below(&parent, version, limit_bytes) {
                Ok(dir) => return Ok(Cgroup { dir, home, version }),
                Err(reason) => reasons.push(reason),
            }
        }
        reasons.dedup();
        Err(reasons.join("; "))
    }

    /// Puts this process into it.
    pub fn enter(&self) -> Result<(), String> {
        join(&self.dir)
    }

    /// Puts this process where it was before.
    pub fn leave(&self) -> Result<(), String> {
        join(&self.home)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What is left of it holds nothing, and the next one of this name takes it over.
        let _ = self.leave();
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Removes what a process that was killed has left of its cgroup.
pub fn remove_of(process: u32) {
    let (Ok(of_process), Ok(mounts)) =
        (read(Path::new("/proc/self/cgroup")), read(Path::new("/proc/self/mounts")))
    else {
        return;
    };
    let Some((_, mount, path)) = place(&of_process, &mounts) else { return };
    for parent in [mount.join(path.trim_start_matches('/')), mount] {
        let _ = fs::remove_dir(parent.join(name(process)));
    }
}

fn name(process: u32) -> String {
    format!("tanada-bench-{process}")
}

/// The version, the mount point, and the path below it of the cgroup that counts this
/// process's memory.
fn place(of_process: &str, mounts: &str) -> Option<(u8, PathBuf, String)> {
    let mount_of = |kind: &str, controller: Option<&str>| {
        mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let (point, of_kind, options) = (words.get(1)?, words.get(2)?, words.get(3)?);
            let has = |c| options.split(',').any(|option| option == c);
            (*of_kind == kind && controller.is_none_or(has)).then(|| PathBuf::from(point))
        })
    };
    let path_of = |is_it: &dyn Fn(&str, &str) -> bool| {
        of_process.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            is_it(id, controllers).then(|| path.to_owned())
        })
    };
    if let Some(mount) = mount_of("cgroup", Some("memory")) {
        let path = path_of(&|_, controllers| controllers.split(',').any(|c| c == "memory"))?;
        return Some((1, mount, path));
    }
    let path = path_of(&|id, controllers| id == "0" && controllers.is_empty())?;
    Some((2, mount_of("cgroup2", None)?, path))
}

/// A cgroup with this limit below `parent`.
fn below(parent: &Path, version: u8, limit_bytes: u64) -> Result<PathBuf, String> {
    if version == 2 {
        // Refused where the controller is on already, or may not be: seen below.
        let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory");
    }
    let dir = parent.join(name(std::process::id()));
    match fs::create_dir(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(format!("cannot create {}: {e}", dir.display()));
        }
        _ => {}
    }
    let limited = limit(&dir, version, limit_bytes);
    if limited.is_err() {
        let _ = fs::remove_dir(&dir);
    }
    limited.map(|()| dir)
}

fn limit(dir: &Path, version: u8, limit_bytes: u64) -> Result<(), String> {
    let file = dir.join(if version == 1 { "memory.limit_in_bytes" } else { "memory.max" });
    write(&file, &limit_bytes.to_string())?;
    let there = read(&file)?;
    if there.trim().parse() != Ok(limit_bytes) {
        return Err(format!("{} says {} after it was set", file.display(), there.trim()));
    }
    // No swap beside it, where the kernel counts swap at all.
    let _ = match version {
        1 => write(&dir.join("memory.memsw.limit_in_bytes"), &limit_bytes.to_string()),
        _ => write(&dir.join("memory.swap.max"), "0"),
    };
    Ok(())
}

fn join(dir: &Path) -> Result<(), String> {
    write(&dir.join("cgroup.procs"), &std::process::id().to_string())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("cannot write {text} to {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_found_whichever_version_has_it() {
        let first = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                     cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                     cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let of_first = "4:memory:/user/one\n1:cpu:/\n0::/\n";
        let memory = PathBuf::from("/sys/fs/cgroup/memory");
        assert_eq!(place(of_first, first), Some((1, memory, "/user/one".into())));

        let second = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let mount = PathBuf::from("/sys/fs/cgroup");
        let of_second = "0::/system.slice/a.service\n";
        assert_eq!(place(of_second, second), Some((2, mount, "/system.slice/a.service".into())));

        assert_eq!(place(of_second, "proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn where_there_is_no_controller_it_says_so() {
        let dir = std::env::temp_dir().join(format!("tanada-bench-cgroup-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory");
        // Any directory: there is no file to set a limit by, and none may be made up.
        fs::create_dir(dir.join(name(std::process::id()))).expect("its own");
        fs::create_dir(dir.join(name(std::process::id())).join("memory.max")).expect("its own");
        let refused = below(&dir, 2, 1 << 30).expect_err("no limit was set");
        assert!(refused.contains("memory.max"), "{refused}");
        fs::remove_dir_all(dir).expect("own directory");
    }
}

//! Memory and its limits, open files, and space on disks.

use super::Finding;
use crate::quantities::format_bytes;
use std::path::{Path, PathBuf};

/// A container without a limit has one of about this many bytes in cgroup v1.
const NO_LIMIT: u64 = 1 << 60;
/// What the system and other programs need beside packwise.
const OTHERS: u64 = 512 << 20;
/// Open files beside one a bucket: libraries, input, output, connections.
const OTHER_FILES: u64 = 256;

/// What memory there is, in bytes; None where the system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine.
    pub total: Option<u64>,
    /// That programs could get now.
    pub available: Option<u64>,
    /// The lowest limit of the control groups that this process is in.
    pub cgroup: Option<u64>,
}

impl Memory {
    /// As Linux tells it.
    pub fn read() -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            total: kibibytes(&meminfo, "MemTotal:"),
            available: kibibytes(&meminfo, "MemAvailable:"),
            cgroup: cgroup_limit(&groups, Path::new("/sys/fs/cgroup")),
        }
    }
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The lowest memory limit on the way from a process's control group to the root, of version 2 and 1. `groups` is
/// `/proc/self/cgroup`; `root` is where the groups are mounted.
pub fn cgroup_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the group's own path may not be visible; its limits are then at the root.
        let own = base.join(group.trim_start_matches('/'));
        own.ancestors()
            .take_while(|folder| folder.starts_with(&base))
            .filter_map(|folder| limit_in(&folder.join(file)))
            .min()
    });
    limits.min()
}

fn limit_in(file: &PathBuf) -> Option<u64> {
    let limit = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < NO_LIMIT).then_some(limit)
}

/// Whether the memory limit of the configuration can be given.
pub fn memory(limit: u64, memory: &Memory) -> Finding {
    const CHECK: &str = "memory";
    let said = format!("resources.memory = {}", format_bytes(limit));
    let least = [memory.total, memory.cgroup].into_iter().flatten().min();
    let Some(most) = least else {
        return Finding::warning(CHECK, format!("{said}; this system does not tell how much there is"), "");
    };
    let what = if memory.cgroup == Some(most) { "the control group allows" } else { "the machine has" };
    let found = format!("{said}, {what} {}", format_bytes(most));
    if limit > most {
        let advice = format!("set resources.memory to {} or less", format_bytes(most.saturating_sub(OTHERS)));
        return Finding::fails(CHECK, found, advice);
    }
    if limit + OTHERS > most {
        let advice = "leave 512 MiB for the system and its file cache, or the kernel may end the run";
        return Finding::warning(CHECK, found, advice);
    }
    match memory.available {
        Some(available) if available < limit => Finding::warning(
            CHECK,
            format!("{found}, of which {} can be had now", format_bytes(available)),
            "other programs hold the rest; run when they do not, or lower resources.memory",
        ),
        _ => Finding::ok(CHECK, found),
    }
}

/// How many files this process may have open; None where the system does not tell.
pub fn open_files_limit() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a run with so many buckets can open its files.
pub fn open_files(limit: Option<u64>, buckets: u64) -> Finding {
    const CHECK: &str = "open files";
    let needed = buckets + OTHER_FILES;
    match limit {
        None => Finding::ok(CHECK, "not limited, or this system does not tell"),
        Some(limit) if limit >= needed => Finding::ok(CHECK, format!("{limit} allowed, {needed} are enough")),
        Some(limit) => Finding::fails(
            CHECK,
            format!("{limit} allowed, up to {needed} are needed"),
            format!(
                "raise it (`ulimit -n {needed}`, LimitNOFILE= in a systemd unit), or lower resources.buckets"
            ),
        ),
    }
}

/// Free bytes where a folder is, or would be made.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let figures = rustix::fs::statvfs(there).ok()?;
    Some(figures.f_bavail * figures.f_frsize)
}

/// Whether there is room for `needed` bytes in a folder.
pub fn space(check: &'static str, folder: &Path, needed: u64, key: &str) -> Finding {
    let Some(free) = free_bytes(folder) else {
        return Finding::warning(check, format!("{}: free space is not known", folder.display()), "");
    };
    let found = format!("{}: {} free, {} needed", folder.display(), format_bytes(free), format_bytes(needed));
    match free {
        free if free < needed => {
            Finding::fails(check, found, format!("free some space, or set {key} to a larger disk"))
        }
        free if free / 5 < needed / 4 => {
            Finding::warning(check, found, "that is tight: the prediction may be off by a fifth")
        }
        _ => Finding::ok(check, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_lowest_limit_of_the_control_groups_counts() {
        let root = tempfile::TempDir::new().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| cgroup_limit(groups, root.path());
        assert_eq!(limit("0::/user/shell\n"), None);
        write("user/shell/memory.max", "max\n");
        assert_eq!(limit("0::/user/shell\n"), None);
        write("user/memory.max", "1073741824\n");
        assert_eq!(limit("0::/user/shell\n"), Some(GIB), "a limit further up");
        write("user/shell/memory.max", "4096\n");
        assert_eq!(limit("0::/user/shell\n"), Some(4096));
        assert_eq!(limit("0::/elsewhere\n"), None);
        // Version 1, as containers show it: the group is not there, its limit is at the root.
        write("memory/memory.limit_in_bytes", "2147483648\n");
        assert_eq!(limit("7:cpu:/\n4:memory,hugetlb:/docker/abc\n"), Some(2 * GIB));
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit("4:memory:/\n"), None, "no limit");
        assert_eq!(limit("nonsense\n::\n"), None);
    }

    #[test]
    fn memory_that_is_not_there_fails() {
        let memory_of = |total, cgroup, available| Memory { total, available, cgroup };
        let status = |limit, of: &Memory| memory(limit, of).status;
        let machine = memory_of(Some(8 * GIB), None, Some(7 * GIB));
        assert_eq!(status(4 * GIB, &machine), Status::Ok);
        assert_eq!(status(8 * GIB, &machine), Status::Warning);
        assert_eq!(status(9 * GIB, &machine), Status::Fails);
        assert_eq!(status(4 * GIB, &Memory { available: Some(GIB), ..machine }), Status::Warning);
        let container = Memory { cgroup: Some(2 * GIB), ..machine };
        let found = memory(4 * GIB, &container);
        assert_eq!(found.status, Status::Fails);
        assert!(found.found.contains("control group") && found.advice.contains("1.5"), "{found:?}");
        assert_eq!(status(GIB, &Memory::default()), Status::Warning);
    }

    #[test]
    fn files_and_space_have_a_failing_side() {
        assert_eq!(open_files(Some(1024), 100).status, Status::Ok);
        let found = open_files(Some(256), 100);
        assert!(found.status == Status::Fails && found.advice.contains("356"), "{found:?}");
        let folder = tempfile::TempDir::new().unwrap();
        let inside = folder.path().join("not/there/yet");
        assert_eq!(space("scratch", &inside, 1, "k").status, Status::Ok);
        let found = space("scratch", &inside, 1 << 60, "resources.scratch");
        assert!(found.status == Status::Fails && found.advice.contains("resources.scratch"), "{found:?}");
        let free = free_bytes(folder.path()).unwrap();
        assert_eq!(space("scratch", &inside, free / 100 * 95, "k").status, Status::Warning);
        assert!(!inside.exists());
    }
}

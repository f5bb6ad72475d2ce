//! How busy the machine is, and how much memory is left.
//!
//! Assumes the usual mount point of `/proc`. What cannot be read is `None`, never a guess.

use std::fs;
use std::path::Path;

use crate::cgroup;

/// Threads of the whole machine that run or wait for a core at this moment, the caller included.
#[must_use]
pub fn running_entities() -> Option<u32> {
    parse_running(&fs::read_to_string("/proc/loadavg").ok()?)
}

/// Memory of this process that is in the machine's memory now, shared pages included.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * crate::page_size() as u64)
}

/// Memory that can be taken before the machine swaps or the control group's limit kills.
#[must_use]
pub fn available_memory() -> Option<u64> {
    least(meminfo("MemAvailable"), cgroup::tightest("memory", left_v1, left_v2))
}

/// Memory the machine has, or the control group may use at most, whichever is less.
#[must_use]
pub fn total_memory() -> Option<u64> {
    let v1 = |folder: &Path| number(folder, "memory.limit_in_bytes");
    let v2 = |folder: &Path| number(folder, "memory.max");
    least(meminfo("MemTotal"), cgroup::tightest("memory", v1, v2))
}

fn least(machine: Option<u64>, group: Option<u64>) -> Option<u64> {
    [machine, group].into_iter().flatten().min()
}

/// `0.10 0.20 0.30 2/85 23496`: two of 85 entities are runnable.
fn parse_running(loadavg: &str) -> Option<u32> {
    loadavg.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

fn meminfo(field: &str) -> Option<u64> {
    parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?, field)
}

/// `MemAvailable:   24262948 kB`, in bytes.
fn parse_meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

fn left_v1(folder: &Path) -> Option<u64> {
    let used = number(folder, "memory.usage_in_bytes")?;
    let limit = number(folder, "memory.limit_in_bytes")?;
    Some(left(limit, used, reclaimable(folder, "total_inactive_file")))
}

fn left_v2(folder: &Path) -> Option<u64> {
    let used = number(folder, "memory.current")?;
    let limit = number(folder, "memory.max")?;
    Some(left(limit, used, reclaimable(folder, "inactive_file")))
}

/// The group's usage counts cached files too, which the kernel drops before it kills.
fn left(limit: u64, used: u64, reclaimable: u64) -> u64 {
    limit.saturating_sub(used.saturating_sub(reclaimable))
}

fn reclaimable(folder: &Path, field: &str) -> u64 {
    let text = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or(0)
}

/// A file with one number; `max` is no number.
fn number(folder: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::cgroup::Groups;
    use crate::cgroup::tests::folder;

    #[test]
    fn the_thread_that_asks_is_running() {
        assert!(running_entities().unwrap() >= 1);
        assert_eq!(parse_running("0.10 0.20 0.30 2/85 23496\n"), Some(2));
    }

    #[test]
    fn touched_memory_is_resident_and_leaves_less_than_all() {
        let pages = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert!(resident_bytes().unwrap() >= pages.len() as u64);
        assert!(available_memory().unwrap() < total_memory().unwrap());
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_cannot_be_reclaimed() {
        let root = folder(
            "left-v2",
            &[
                ("a/memory.max", "1000\n"),
                ("a/memory.current", "700\n"),
                ("a/memory.stat", "anon 500\ninactive_file_x 1\ninactive_file 200\n"),
                ("memory.max", "max\n"),
                ("memory.current", "9999\n"),
            ],
        );
        let groups = Groups { mount: &root, membership: "0::/a\n" };
        assert_eq!(groups.tightest("memory", left_v1, left_v2), Some(500));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_version_one_group_without_a_limit_leaves_more_than_any_machine_has() {
        let root = folder(
            "left-v1",
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.usage_in_bytes", "4096\n"),
            ],
        );
        let groups = Groups { mount: &root, membership: "8:memory:/\n" };
        assert_eq!(groups.tightest("memory", left_v1, left_v2), Some(9_223_372_036_854_767_616));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nonsense_is_none() {
        for text in ["", "a b c d", "1 2 3 /5", "1 2 3 -1/5"] {
            assert_eq!(parse_running(text), None);
        }
        for text in ["", "MemTotal", "MemTotal:", "MemTotal: x kB", "MemTotal: 5", "MemTotalX: 5 kB"] {
            assert_eq!(parse_meminfo(text, "MemTotal"), None);
        }
        assert_eq!(parse_meminfo("MemFree: 1 kB\nMemTotal:   2 kB\n", "MemTotal"), Some(2048));
    }
}

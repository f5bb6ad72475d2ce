//! How many cores this process may use: its affinity and its control group's CPU quota, v1 or v2.
//!
//! A quota that cannot be read is no quota.

use std::fs;
use std::path::Path;

use crate::cgroup;

/// The cores this process may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsableCores {
    /// Cores in the affinity mask.
    pub affinity: usize,
    /// CPU seconds per second that the control group allows; `None` without a limit.
    pub quota: Option<f64>,
    /// What is left of both: at most `affinity`, at least a sliver above 0.
    pub cores: f64,
}

/// Count the cores that threads of this process can keep busy.
#[must_use]
pub fn usable_cores() -> UsableCores {
    let affinity = std::thread::available_parallelism().map_or(1, usize::from).max(affinity_count());
    let quota = cgroup::tightest("cpu", quota_v1, quota_v2);
    let cores = quota.map_or(affinity as f64, |quota| quota.min(affinity as f64)).max(0.01);
    UsableCores { affinity, quota, cores }
}

/// Cores in the calling thread's affinity mask; 0 when it cannot be read.
#[cfg(target_os = "linux")]
fn affinity_count() -> usize {
    // SAFETY: cpu_set_t is plain bits, valid when zeroed.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is the calling thread; `set` is a place for as many bytes as we say.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0;
    if failed {
        return 0;
    }
    // SAFETY: `set` is an initialised cpu_set_t.
    usize::try_from(unsafe { libc::CPU_COUNT(&set) }).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn affinity_count() -> usize {
    0
}

fn quota_v2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    let read = |name| fs::read_to_string(folder.join(name)).ok();
    ratio(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

/// `max` and `-1` mean no limit.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Groups;
    use crate::cgroup::tests::folder;

    fn quota(mount: &Path, membership: &str) -> Option<f64> {
        Groups { mount, membership }.tightest("cpu", quota_v1, quota_v2)
    }

    #[test]
    fn this_process_may_use_at_least_one_core() {
        let usable = usable_cores();
        assert!(usable.affinity >= 1);
        assert!(usable.cores > 0.0 && usable.cores <= usable.affinity as f64);
    }

    #[test]
    fn the_tightest_group_on_the_way_up_decides() {
        let root = folder(
            "v2",
            &[
                ("cpu.max", "max 100000\n"),
                ("a/cpu.max", "150000 100000\n"),
                ("a/b/cpu.max", "400000 100000\n"),
            ],
        );
        assert_eq!(quota(&root, "0::/a/b\n"), Some(1.5));
        assert_eq!(quota(&root, "0::/\n"), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_version_one_quota_is_read_and_minus_one_means_none() {
        let root = folder(
            "v1",
            &[
                ("cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n"),
                ("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
                ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
                ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(quota(&root, "4:memory:/x\n3:cpu,cpuacct:/x\n"), Some(0.5));
        assert_eq!(quota(&root, "3:cpu,cpuacct:/\n"), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nonsense_is_no_quota() {
        assert_eq!(quota(Path::new("/nowhere"), "3:cpu:/a/b/c"), None);
        assert_eq!(ratio("0", "100"), None);
        assert_eq!(ratio("1", "0"), None);
    }
}

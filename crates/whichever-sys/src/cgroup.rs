//! The control groups of this process, v1 or v2, from its own up to the root: the tightest limit on the way counts.
//!
//! Assumes the usual mount points under `/sys/fs/cgroup`. A limit that cannot be read is no limit.

use std::fs;
use std::path::{Path, PathBuf};

/// Reads a limit from a group's folder.
pub(crate) type Read<T> = fn(&Path) -> Option<T>;

/// The least of what `v1` or `v2` reads in any group above this process that `controller` governs.
pub(crate) fn tightest<T: PartialOrd>(controller: &str, v1: Read<T>, v2: Read<T>) -> Option<T> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Groups { mount: Path::new("/sys/fs/cgroup"), membership: &membership }.tightest(controller, v1, v2)
}

/// Where control groups are mounted, and the text of `/proc/self/cgroup`.
pub(crate) struct Groups<'a> {
    pub(crate) mount: &'a Path,
    pub(crate) membership: &'a str,
}

impl Groups<'_> {
    pub(crate) fn tightest<T: PartialOrd>(&self, controller: &str, v1: Read<T>, v2: Read<T>) -> Option<T> {
        let mut tightest: Option<T> = None;
        for line in self.membership.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let (base, read) = if controllers.is_empty() {
                (self.mount.to_path_buf(), v2)
            } else if controllers.split(',').any(|one| one == controller) {
                (self.v1_mount(controllers, controller), v1)
            } else {
                continue;
            };
            for limit in folders_up(&base, group).iter().filter_map(|folder| read(folder)) {
                if tightest.as_ref().is_none_or(|least| limit < *least) {
                    tightest = Some(limit);
                }
            }
        }
        tightest
    }

    /// `cpu,cpuacct` is mounted under that name or as plain `cpu`.
    fn v1_mount(&self, controllers: &str, controller: &str) -> PathBuf {
        let joint = self.mount.join(controllers);
        if joint.is_dir() { joint } else { self.mount.join(controller) }
    }
}

/// `base/group`, its parents, and `base` itself (where a container sees its own group).
fn folders_up(base: &Path, group: &str) -> Vec<PathBuf> {
    let group = Path::new(group.trim_start_matches('/'));
    group.ancestors().map(|ancestor| base.join(ancestor)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder of the test's own, with these files in it.
    pub(crate) fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("whichever-cgroup-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_group_of_another_controller_is_not_asked() {
        let groups = Groups { mount: Path::new("/nowhere"), membership: "3:cpu,cpuacct:/a/b\n" };
        assert_eq!(groups.tightest("memory", |_| Some(1), |_| Some(2)), None);
        assert_eq!(groups.tightest("cpuacct", |_| Some(1), |_| Some(2)), Some(1));
    }

    #[test]
    fn nonsense_names_no_group() {
        for membership in ["", "::", "0:", "x", "0::/../..", "3:cpu:/a/b/c"] {
            let groups = Groups { mount: Path::new("/nowhere"), membership };
            let exists = |folder: &Path| folder.is_dir().then_some(1);
            assert_eq!(groups.tightest("cpu", exists, |_| None), None, "{membership}");
        }
    }
}

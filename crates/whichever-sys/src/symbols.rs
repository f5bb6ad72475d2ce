//! Exported symbols of this process, and the words of an exported static object.

use std::ffi::CStr;

/// The address of an exported symbol, wherever it was loaded from.
#[must_use]
pub fn find_symbol(name: &CStr) -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: `name` ends with a nul; the answer is an address or null, which we do not follow.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!address.is_null()).then_some(address as u64)
    }
    #[cfg(not(unix))]
    {
        let _ = name;
        None
    }
}

/// Aligned 64-bit words inside a static object of a loaded library, written by other threads.
///
/// Static objects live as long as the process for a library that is never unloaded, which is what makes
/// reading them safe at any time: `find` accepts only a range inside the object's exported size.
#[derive(Clone, Copy, Debug)]
pub struct StaticWords {
    /// Address of the first word: a multiple of 8, mapped for the life of the process.
    address: usize,
    /// How many words may be read.
    count: usize,
}

impl StaticWords {
    /// The `count` words at `address`, if they lie inside the static object that `name` exports.
    ///
    /// The interpreter's own library is the intended one: it is never unloaded while code of its modules runs.
    #[must_use]
    pub fn find(name: &CStr, address: u64, count: usize) -> Option<Self> {
        let start = find_symbol(name)?;
        let end = start.checked_add(os::symbol_bytes(start)?)?;
        let wanted = address.checked_add(u64::try_from(count).ok()?.checked_mul(8)?)?;
        let inside = address >= start && wanted <= end && address.is_multiple_of(8);
        inside.then_some(Self { address: usize::try_from(address).ok()?, count })
    }

    /// The word at `index` as it is now; 0 outside of the range.
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        if index >= self.count {
            return 0;
        }
        os::load(self.address + index * 8)
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod os {
    use std::ffi::{c_int, c_void};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Ask `dladdr1` for the symbol's entry in the dynamic symbol table.
    const RTLD_DL_SYMENT: c_int = 1;

    unsafe extern "C" {
        fn dladdr1(
            address: *const c_void,
            info: *mut libc::Dl_info,
            extra: *mut *mut c_void,
            flags: c_int,
        ) -> c_int;
    }

    /// The exported size of the object that begins at `address`.
    pub(super) fn symbol_bytes(address: u64) -> Option<u64> {
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        let mut entry: *mut c_void = std::ptr::null_mut();
        // SAFETY: 1. `info` and `entry` are places for what dladdr1 writes with this flag.
        //         2. `address` is only compared with the loaded objects' ranges.
        let found =
            unsafe { dladdr1(address as *const c_void, info.as_mut_ptr(), &raw mut entry, RTLD_DL_SYMENT) };
        // SAFETY: Dl_info is plain pointers, valid when zeroed.
        let info = unsafe { info.assume_init() };
        if found == 0 || entry.is_null() || info.dli_saddr as u64 != address {
            return None;
        }
        // SAFETY: a non-null entry points into the symbol table of a loaded object.
        let entry = unsafe { entry.cast::<libc::Elf64_Sym>().read_unaligned() };
        Some(entry.st_size)
    }

    pub(super) fn load(address: usize) -> u64 {
        // SAFETY: 1. aligned and inside a static object: `StaticWords::find` checked both.
        //         2. the object is mapped for the life of the process: its library is never unloaded.
        //         3. other threads write these words by single machine stores; we never write.
        let word = unsafe { AtomicU64::from_ptr(address as *mut u64) };
        // Relaxed: a sample needs the latest value of one word, and orders nothing else by it.
        word.load(Ordering::Relaxed)
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod os {
    pub(super) fn symbol_bytes(_address: u64) -> Option<u64> {
        None
    }

    pub(super) fn load(_address: usize) -> u64 {
        0
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_exported_object_are_read_and_nothing_beyond_it() {
        let environ = find_symbol(c"environ").unwrap();
        let words = StaticWords::find(c"environ", environ, 1).unwrap();
        assert_ne!(words.load(0), 0);
        assert_eq!(words.load(1), 0);
        assert!(StaticWords::find(c"environ", environ, 2).is_none());
        assert!(StaticWords::find(c"environ", environ + 4, 1).is_none());
        assert!(StaticWords::find(c"environ", environ - 8, 1).is_none());
    }

    #[test]
    fn a_symbol_that_nobody_exports_is_not_found() {
        assert_eq!(find_symbol(c"whichever_has_no_such_symbol"), None);
    }
}

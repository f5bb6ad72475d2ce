//! Where an interpreter keeps its GIL and its threads: tables for 3.11 and 3.12, and from 3.13 on the offsets
//! that the interpreter itself publishes at the start of `_PyRuntime` (`_Py_DebugOffsets`).
//!
//! Only data and its parsing; whether it fits is checked by `interpreter`.

use crate::memory::Memory;

/// The first bytes of `_Py_DebugOffsets`.
const COOKIE: &[u8; 8] = b"xdebugpy";
/// Words of `_Py_DebugOffsets` that any supported version needs.
const WORDS_READ: usize = 40;
/// Offsets beyond this are not offsets.
const LARGEST_OFFSET: u64 = 1 << 24;
/// The GIL's four words, then two conditions and two mutexes of this many bytes together.
const LOCKS_BYTES: u64 = if cfg!(target_arch = "aarch64") { 192 } else { 176 };

/// How to get from `_PyRuntime` to the GIL words and the thread list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// From `_PyRuntime` to the pointer to the main interpreter.
    pub main_interpreter: u64,
    /// Where the GIL struct is.
    pub gil: GilPlace,
    /// From the interpreter to the pointer to its newest thread state.
    pub threads_head: u64,
    /// From a thread state to the pointer to the next one.
    pub thread_next: u64,
    /// From a thread state to its kernel thread id.
    pub thread_native_id: u64,
    /// From the GIL struct to the thread state of the last holder.
    pub holder: u64,
    /// From the GIL struct to `locked`: 1, 0, or -1 before the GIL exists. The switch number follows it.
    pub locked: u64,
    /// From the GIL struct to `enabled`, on a free-threaded build.
    pub enabled: Option<u64>,
}

/// Where the GIL struct begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GilPlace {
    /// This far into `_PyRuntime`.
    InRuntime(u64),
    /// Behind the pointer this far into the interpreter.
    BehindInterpreter(u64),
}

/// Word numbers in `_Py_DebugOffsets`, which each minor version rearranges.
struct PublishedAt {
    minor: u8,
    ceval_gil: usize,
    thread_next: usize,
    native_id: usize,
}

/// The same in all versions so far.
const FREE_THREADED: usize = 2;
const INTERPRETERS_HEAD: usize = 5;
const THREADS_HEAD: usize = 9;
/// After the word of `ceval_gil`: where the interpreter keeps its own GIL; then `enabled`, counted from that
/// GIL, `locked` and `holder`, counted from the interpreter.
const OWN_GIL_AFTER: usize = 1;
const ENABLED_AFTER: usize = 2;
const LOCKED_AFTER: usize = 3;
const HOLDER_AFTER: usize = 4;
/// `runtime.interpreters.main` follows `runtime.interpreters.head`.
const MAIN_AFTER_HEAD: u64 = 8;

const PUBLISHED: [PublishedAt; 3] = [
    PublishedAt { minor: 13, ceval_gil: 14, thread_next: 21, native_id: 25 },
    PublishedAt { minor: 14, ceval_gil: 15, thread_next: 24, native_id: 28 },
    PublishedAt { minor: 15, ceval_gil: 15, thread_next: 24, native_id: 31 },
];

const TABLE_3_11: Layout = Layout {
    main_interpreter: 48,
    gil: GilPlace::InRuntime(360),
    threads_head: 16,
    thread_next: 8,
    thread_native_id: 160,
    holder: 8,
    locked: 16,
    enabled: None,
};

const TABLE_3_12: Layout =
    Layout { gil: GilPlace::BehindInterpreter(384), threads_head: 72, thread_native_id: 144, ..TABLE_3_11 };

impl Layout {
    /// The layout of CPython 3.`minor` whose `_PyRuntime` is at `runtime`, or why there is none.
    ///
    /// # Errors
    /// A sentence that says what is unknown or unreadable.
    pub fn find(minor: u8, memory: &impl Memory, runtime: u64) -> Result<Self, String> {
        match minor {
            11 => Ok(TABLE_3_11),
            12 => Ok(TABLE_3_12),
            _ => {
                let mut bytes = [0; WORDS_READ * 8];
                memory
                    .read(runtime, &mut bytes)
                    .map_err(|error| format!("_PyRuntime is not readable: {error}"))?;
                Self::parse_published(minor, &bytes)
            }
        }
    }

    /// Read the layout from the bytes of `_Py_DebugOffsets`.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn parse_published(minor: u8, bytes: &[u8]) -> Result<Self, String> {
        let places = PUBLISHED.iter().find(|places| places.minor == minor);
        let places =
            places.ok_or_else(|| format!("CPython 3.{minor} is newer than this version of whichever"))?;
        if !bytes.starts_with(COOKIE) {
            return Err("_PyRuntime does not begin with its published offsets".to_owned());
        }
        let word = |index: usize| -> Result<u64, String> {
            let bytes = bytes.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
            let value = u64::from_le_bytes(bytes.ok_or("the published offsets are cut short")?);
            (value < LARGEST_OFFSET)
                .then_some(value)
                .ok_or_else(|| format!("published offset {index} is {value}"))
        };
        let in_gil = |after: usize| -> Result<u64, String> {
            let offset = word(places.ceval_gil + after)?.checked_sub(word(places.ceval_gil + OWN_GIL_AFTER)?);
            offset.ok_or_else(|| "the published GIL offsets lie before the GIL".to_owned())
        };
        let free_threaded = word(FREE_THREADED)? != 0;
        Ok(Self {
            main_interpreter: word(INTERPRETERS_HEAD)? + MAIN_AFTER_HEAD,
            gil: GilPlace::BehindInterpreter(word(places.ceval_gil)?),
            threads_head: word(THREADS_HEAD)?,
            thread_next: word(places.thread_next)?,
            thread_native_id: word(places.native_id)?,
            holder: in_gil(HOLDER_AFTER)?,
            locked: in_gil(LOCKED_AFTER)?,
            enabled: if free_threaded { Some(word(places.ceval_gil + ENABLED_AFTER)?) } else { None },
        })
    }

    /// Bytes of the GIL struct: a futex inside of them is a wait for the GIL.
    #[must_use]
    pub fn gil_bytes(&self) -> u64 {
        self.switches() + 8 + LOCKS_BYTES
    }

    /// From the GIL struct to the switch number, which counts changes of the holder.
    #[must_use]
    pub fn switches(&self) -> u64 {
        self.locked + 8
    }

    /// From the GIL struct to the condition that threads wait on for the GIL: it follows the switch number.
    #[must_use]
    pub fn condition(&self) -> u64 {
        self.switches() + 8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn published(words: &[(usize, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; WORDS_READ * 8];
        bytes[..8].copy_from_slice(COOKIE);
        for (index, value) in words {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_offsets_of_3_13_lead_where_its_headers_say() {
        let bytes = published(&[
            (5, 632),
            (9, 7344),
            (14, 16),
            (15, 7168),
            (17, 7184),
            (18, 7176),
            (21, 8),
            (25, 160),
        ]);
        let layout = Layout::parse_published(13, &bytes).unwrap();
        assert_eq!(layout.main_interpreter, 640);
        assert_eq!(layout.gil, GilPlace::BehindInterpreter(16));
        assert_eq!((layout.threads_head, layout.thread_next, layout.thread_native_id), (7344, 8, 160));
        assert_eq!((layout.holder, layout.locked, layout.switches()), (8, 16, 24));
        assert_eq!(layout.enabled, None);
        assert_eq!(layout.gil_bytes(), if cfg!(target_arch = "aarch64") { 224 } else { 208 });
    }

    #[test]
    fn a_free_threaded_build_has_a_switch_for_the_gil() {
        let bytes = published(&[(2, 1), (15, 16), (16, 7168), (17, 0), (18, 7192), (19, 7184)]);
        let layout = Layout::parse_published(14, &bytes).unwrap();
        assert_eq!((layout.enabled, layout.locked, layout.switches()), (Some(0), 24, 32));
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let message = Layout::parse_published(99, &published(&[])).unwrap_err();
        assert!(message.contains("3.99"), "{message}");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_layout_or_a_sentence(minor in 0_u8..20, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Err(message) = Layout::parse_published(minor, &bytes) {
                prop_assert!(!message.is_empty());
            }
            let mut with_cookie = COOKIE.to_vec();
            with_cookie.extend(bytes);
            if let Ok(layout) = Layout::parse_published(minor, &with_cookie) {
                prop_assert!(layout.gil_bytes() < 2 * LARGEST_OFFSET);
            }
        }
    }
}

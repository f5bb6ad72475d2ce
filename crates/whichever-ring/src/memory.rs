//! Typed words and plain bytes in shared memory, kept mapped as long as anybody uses them.
//!
//! Under loom both live on the heap instead, where every access is checked against the protocol.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

pub(crate) use bytes::Bytes;
#[cfg(not(loom))]
pub(crate) use overlay::{Overlay, Table, overlay};

/// A value that lives in something shared and keeps that alive.
pub(crate) struct Shared<T> {
    place: NonNull<T>,
    keeper: Arc<dyn Any + Send + Sync>,
}

// SAFETY: a `Shared<T>` is an `&T` with a keeper that may live on any thread; `T: Sync` is what sending `&T` needs.
unsafe impl<T: Sync> Send for Shared<T> {}
// SAFETY: as above: `&Shared<T>` gives `&T` and clones of the keeper, nothing else.
unsafe impl<T: Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A part of the value, which keeps the whole alive.
    pub(crate) fn part<U>(&self, choose: impl FnOnce(&T) -> &U) -> Shared<U> {
        Shared { place: NonNull::from(choose(self)), keeper: Arc::clone(&self.keeper) }
    }

    #[cfg(loom)]
    pub(crate) fn boxed(value: T) -> Self
    where
        T: Send + Sync + 'static,
    {
        let keeper = Arc::new(value);
        Self { place: NonNull::from(&*keeper), keeper }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { place: self.place, keeper: Arc::clone(&self.keeper) }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: 1. `place` was made from a reference into what `keeper` keeps alive and in place.
        //         2. nobody has `&mut T`: `T` is shared from its first use on, and written through atomics only.
        unsafe { self.place.as_ref() }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Shared({:p})", self.place)
    }
}

#[cfg(not(loom))]
mod overlay {
    use std::ptr::NonNull;
    use std::sync::Arc;

    use whichever_sys::Mapping;

    use super::Shared;
    use crate::sync::AtomicU32;

    /// What may be laid over bytes that another process writes.
    ///
    /// # Safety
    /// 1. Every pattern of bytes is a valid value.
    /// 2. The type consists of atomics (and padding) only, so that a write by a stranger is no data race.
    pub(crate) unsafe trait Overlay: Sync + Sized {}

    /// See the start of `mapping`, whose file must reach that far, as a `T`.
    pub(crate) fn overlay<T: Overlay>(mapping: &Arc<Mapping>) -> Shared<T> {
        assert!(size_of::<T>() <= mapping.len(), "the mapping holds the words laid over it");
        let place = NonNull::new(mapping.as_ptr().cast::<T>()).expect("no mapping starts at address 0");
        assert!(place.is_aligned(), "a mapping starts at a page, and no word asks for more");
        let keeper = Arc::clone(mapping);
        Shared { place, keeper }
    }

    /// A row of words in shared memory.
    #[derive(Debug)]
    pub(crate) struct Table {
        start: NonNull<AtomicU32>,
        len: usize,
        /// Keeps the words mapped.
        _keeper: Arc<Mapping>,
    }

    // SAFETY: atomics in memory that `_keeper` keeps mapped in the whole process.
    unsafe impl Send for Table {}
    // SAFETY: as above: `&Table` gives `&AtomicU32` and nothing else.
    unsafe impl Sync for Table {}

    impl Table {
        /// `len` words from byte `offset` of `mapping` on. Its file must reach that far before they are used.
        pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize, len: usize) -> Self {
            let size = len.checked_mul(size_of::<AtomicU32>());
            let end = size.and_then(|size| offset.checked_add(size));
            assert!(end.is_some_and(|end| end <= mapping.len()), "the mapping holds the words asked for");
            // SAFETY: `offset` is inside the mapping, as checked above.
            let start = unsafe { mapping.as_ptr().add(offset) };
            let start = NonNull::new(start.cast::<AtomicU32>()).expect("no mapping reaches address 0");
            assert!(start.is_aligned(), "words lie at multiples of their size");
            Self { start, len, _keeper: Arc::clone(mapping) }
        }

        pub(crate) fn len(&self) -> usize {
            self.len
        }

        /// The word `index`, if there is one.
        #[inline]
        pub(crate) fn get(&self, index: u32) -> Option<&AtomicU32> {
            let index = index as usize;
            if index >= self.len {
                return None;
            }
            // SAFETY: inside the row, as checked above.
            let place = unsafe { self.start.add(index) };
            // SAFETY: 1. aligned and mapped as long as `self`; any bits are a valid atomic.
            //         2. everybody else sees it as an atomic, too.
            Some(unsafe { place.as_ref() })
        }
    }
}

#[cfg(not(loom))]
mod bytes {
    use std::ptr::NonNull;
    use std::sync::Arc;

    use whichever_sys::Mapping;

    /// A stretch of shared bytes. Who may touch which of them when is the protocol of its user.
    #[derive(Debug)]
    pub(crate) struct Bytes {
        start: NonNull<u8>,
        len: usize,
        /// Keeps the bytes mapped.
        _keeper: Arc<Mapping>,
    }

    // SAFETY: an address range that `_keeper` keeps mapped in the whole process; access has duties of its own.
    unsafe impl Send for Bytes {}

    impl Bytes {
        /// `len` bytes from `offset` of `mapping`.
        pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize, len: usize) -> Self {
            let inside = offset.checked_add(len).is_some_and(|end| end <= mapping.len());
            assert!(inside, "the mapping holds the bytes asked for");
            // SAFETY: `offset` is inside the mapping, as checked above.
            let start = unsafe { mapping.as_ptr().add(offset) };
            let start = NonNull::new(start).expect("no mapping reaches address 0");
            Self { start, len, _keeper: Arc::clone(mapping) }
        }

        pub(crate) fn len(&self) -> usize {
            self.len
        }

        /// Copy `bytes` to `at`.
        ///
        /// # Safety
        /// 1. Nobody else reads or writes these bytes meanwhile.
        #[inline]
        pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
            assert!(at <= self.len && bytes.len() <= self.len - at, "a record lies inside its ring");
            // SAFETY: `at` is inside the stretch: checked above.
            let place = unsafe { self.start.add(at) };
            // SAFETY: 1. the destination is inside the stretch, which `_keeper` keeps mapped.
            //         2. nobody else is there: our caller's duty 1. So `bytes` is elsewhere, too.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        }

        /// Show `len` bytes from `at` to `look`.
        ///
        /// # Safety
        /// 1. Nobody else writes these bytes before `look` returns.
        #[inline]
        pub(crate) unsafe fn read<R>(&self, at: usize, len: usize, look: impl FnOnce(&[u8]) -> R) -> R {
            assert!(at <= self.len && len <= self.len - at, "a record lies inside its ring");
            // SAFETY: `at` is inside the stretch: checked above.
            let place = unsafe { self.start.add(at) };
            // SAFETY: 1. the range is inside the stretch, which `_keeper` keeps mapped; any byte is a valid u8.
            //         2. nobody writes it while the slice lives, which ends with `look`: our caller's duty 1.
            look(unsafe { std::slice::from_raw_parts(place.as_ptr(), len) })
        }
    }
}

#[cfg(loom)]
mod bytes {
    use std::sync::Arc;

    use loom::cell::UnsafeCell;

    /// The same, in cells that report every access the protocol forbids.
    #[derive(Debug, Clone)]
    pub(crate) struct Bytes(Arc<Vec<UnsafeCell<u8>>>);

    // SAFETY: loom checks each access to each cell; that is what this is for.
    unsafe impl Send for Bytes {}

    impl Bytes {
        #[expect(
            clippy::arc_with_non_send_sync,
            reason = "loom's cells are not Sync, and are used as if they were"
        )]
        pub(crate) fn zeroed(len: usize) -> Self {
            Self(Arc::new((0..len).map(|_| UnsafeCell::new(0)).collect()))
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        /// # Safety
        /// 1. Nobody else reads or writes these bytes meanwhile.
        pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
            for (cell, byte) in self.0[at..].iter().zip(bytes) {
                cell.with_mut(|place| {
                    // SAFETY: `place` is the cell's, and loom has checked that nobody else is there.
                    unsafe { *place = *byte }
                });
            }
        }

        /// # Safety
        /// 1. Nobody else writes these bytes before `look` returns.
        pub(crate) unsafe fn read<R>(&self, at: usize, len: usize, look: impl FnOnce(&[u8]) -> R) -> R {
            let read = |cell: &UnsafeCell<u8>| {
                cell.with(|place| {
                    // SAFETY: `place` is the cell's, and loom has checked that nobody writes there.
                    unsafe { *place }
                })
            };
            let copy: Vec<u8> = self.0[at..at + len].iter().map(read).collect();
            look(&copy)
        }
    }
}

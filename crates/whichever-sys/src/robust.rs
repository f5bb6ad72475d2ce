//! A lock in shared memory that survives its holder: when a process dies with it, the next one gets it and is told.
//!
//! The kernel keeps the list of locks that a thread holds and marks them when it dies (robust futexes, through the C
//! library). Guarantee: no wait here is longer than it was allowed to be, and none is endless.

/// How a lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its last holder gave it back.
    Whole,
    /// Its last holder died with it: what it guards may be half done.
    OwnerDied,
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Somebody else holds it.
    Busy,
    /// It is no lock any more: its memory was overwritten.
    Broken,
}

pub use os::RobustLock;

#[cfg(target_os = "linux")]
mod os {
    use std::cell::UnsafeCell;
    use std::mem::MaybeUninit;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::{NotTaken, Taken};

    /// See the module. Lives in shared memory and is never moved.
    #[repr(transparent)]
    pub struct RobustLock(UnsafeCell<libc::pthread_mutex_t>);

    // SAFETY: the C library made it to be used from any thread of any process at once.
    unsafe impl Sync for RobustLock {}
    // SAFETY: as above.
    unsafe impl Send for RobustLock {}

    impl std::fmt::Debug for RobustLock {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("RobustLock")
        }
    }

    impl RobustLock {
        /// Make it ready for use, once, before anybody uses it.
        ///
        /// # Safety
        /// 1. Nobody else uses it yet, in this process or another.
        pub unsafe fn init(&self) {
            let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
            let attributes = attributes.as_mut_ptr();
            // SAFETY: a place for attributes, which this call fills.
            unsafe { libc::pthread_mutexattr_init(attributes) };
            // SAFETY: filled above; the value is one of those allowed.
            unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) };
            // SAFETY: as above.
            unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) };
            // SAFETY: the place is ours to write, by our caller's duty 1.
            unsafe { libc::pthread_mutex_init(self.0.get(), attributes) };
            // SAFETY: filled above, and not used again.
            unsafe { libc::pthread_mutexattr_destroy(attributes) };
        }

        /// Take it if it is free.
        ///
        /// # Errors
        /// It is not, or it is no lock.
        ///
        /// # Safety
        /// 1. It was made ready by `init`, by some process that maps it.
        #[inline]
        pub unsafe fn try_lock(&self) -> Result<Taken, NotTaken> {
            // SAFETY: it is initialised (duty 1) and stays mapped as long as the reference.
            let code = unsafe { libc::pthread_mutex_trylock(self.0.get()) };
            self.taken(code)
        }

        /// Take it, waiting for `limit` at most.
        ///
        /// # Errors
        /// The time was over first, or it is no lock.
        ///
        /// # Safety
        /// 1. It was made ready by `init`, by some process that maps it.
        pub unsafe fn lock(&self, limit: Duration) -> Result<Taken, NotTaken> {
            // The C library wants a point of the wall clock. Should somebody set that back, the wait is longer, but no
            // longer than the holder needs.
            let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + limit;
            let until = libc::timespec {
                tv_sec: until.as_secs().try_into().unwrap_or(libc::time_t::MAX),
                tv_nsec: until.subsec_nanos().into(),
            };
            // SAFETY: 1. it is initialised (duty 1) and stays mapped as long as the reference.
            //         2. `until` is a timespec above.
            let code = unsafe { libc::pthread_mutex_timedlock(self.0.get(), &raw const until) };
            self.taken(code)
        }

        /// Give it back.
        ///
        /// # Safety
        /// 1. This thread holds it.
        #[inline]
        pub unsafe fn unlock(&self) {
            // SAFETY: we hold it, by our caller's duty 1.
            unsafe { libc::pthread_mutex_unlock(self.0.get()) };
        }

        fn taken(&self, code: libc::c_int) -> Result<Taken, NotTaken> {
            match code {
                0 => Ok(Taken::Whole),
                libc::EOWNERDEAD => {
                    // Without this call the lock would be of no use to anybody after us. Who dies before what is
                    // guarded is mended leaves it marked for the next.
                    // SAFETY: we hold it, as the code says.
                    unsafe { libc::pthread_mutex_consistent(self.0.get()) };
                    Ok(Taken::OwnerDied)
                }
                libc::EBUSY | libc::ETIMEDOUT | libc::EAGAIN => Err(NotTaken::Busy),
                _ => Err(NotTaken::Broken),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::time::Duration;

    use super::{NotTaken, Taken};

    /// Not there: every attempt says that it is broken.
    #[derive(Debug)]
    pub struct RobustLock(());

    impl RobustLock {
        /// # Safety
        /// None.
        pub unsafe fn init(&self) {}

        /// # Errors
        /// Always.
        ///
        /// # Safety
        /// None.
        pub unsafe fn try_lock(&self) -> Result<Taken, NotTaken> {
            Err(NotTaken::Broken)
        }

        /// # Errors
        /// Always.
        ///
        /// # Safety
        /// None.
        pub unsafe fn lock(&self, _limit: Duration) -> Result<Taken, NotTaken> {
            Err(NotTaken::Broken)
        }

        /// # Safety
        /// None.
        pub unsafe fn unlock(&self) {}
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn lock() -> Arc<RobustLock> {
        // SAFETY: zeros are a valid pattern for what the C library is about to fill in.
        let lock: Arc<RobustLock> = Arc::new(unsafe { std::mem::zeroed() });
        // SAFETY: nobody else has it yet.
        unsafe { lock.init() };
        lock
    }

    #[test]
    fn a_held_lock_is_busy_until_it_is_given_back() {
        let lock = lock();
        // SAFETY: made ready above.
        assert_eq!(unsafe { lock.try_lock() }, Ok(Taken::Whole));
        let other = Arc::clone(&lock);
        let tries = move || {
            // SAFETY: made ready above.
            let first = unsafe { other.try_lock() };
            // SAFETY: as above.
            (first, unsafe { other.lock(Duration::from_millis(20)) })
        };
        let found = std::thread::spawn(tries).join().unwrap();
        assert_eq!(found, (Err(NotTaken::Busy), Err(NotTaken::Busy)));
        // SAFETY: taken above by this thread.
        unsafe { lock.unlock() };
        // SAFETY: made ready above.
        assert_eq!(unsafe { lock.lock(Duration::from_secs(1)) }, Ok(Taken::Whole));
    }

    #[test]
    fn a_lock_whose_holder_died_goes_to_the_next_who_is_told() {
        let lock = lock();
        let other = Arc::clone(&lock);
        // SAFETY: made ready above. The thread ends with the lock.
        std::thread::spawn(move || unsafe { other.try_lock() }).join().unwrap().unwrap();
        // SAFETY: made ready above.
        assert_eq!(unsafe { lock.try_lock() }, Ok(Taken::OwnerDied));
        // SAFETY: taken above by this thread.
        unsafe { lock.unlock() };
        // SAFETY: made ready above.
        assert_eq!(unsafe { lock.try_lock() }, Ok(Taken::Whole));
    }
}

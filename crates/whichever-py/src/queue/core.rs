//! `_core.QueueCore`: the native half of `Queue`, `LifoQueue` and `PriorityQueue`.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use whichever_queue::{Order, Phase, Want, Watch};
use whichever_ring::{Address, DepotWant};
use whichever_sys::thread_id;

use super::awaitable::{Errand, awaitable};
use super::far::Far;
use super::heap::Heap;
use super::near::Near;
use super::patience::Patience;
use super::{Done, QueueClosed, QueueEmpty, QueueFull};
use crate::pool::forks;

/// The native half of a queue. Private: see `whichever.Queue`.
#[pyclass(frozen, subclass, weakref, module = "whichever._core")]
pub(crate) struct QueueCore {
    near: Near,
    /// The shared form, from the moment it has crossed.
    far: OnceLock<Far>,
    /// Held while the items move from one to the other.
    crossing: Mutex<()>,
    /// The thread that moves them; 0 for none.
    mover: AtomicU32,
    /// What `maxsize` says, negative numbers included.
    maxsize: AtomicI64,
    /// The process it was made in, as a count of forks.
    forks: u32,
}

/// Where the items are.
enum Side<'a> {
    Near(&'a Near),
    Far(&'a Far),
}

impl QueueCore {
    #[inline]
    fn side(&self) -> PyResult<Side<'_>> {
        if let Some(far) = self.far.get() {
            return Ok(Side::Far(far));
        }
        if self.forks == forks() { Ok(Side::Near(&self.near)) } else { Err(foreign()) }
    }

    /// The queue of this process, if the items are there and nothing more has to be asked.
    #[inline]
    fn near(&self) -> Option<&Near> {
        (self.far.get().is_none() && self.forks == forks()).then_some(&self.near)
    }

    /// Put an item, if that is done with one step. May be called where PyO3 does not know that the thread is attached.
    #[inline]
    pub(super) fn put_now(&self, item: &Bound<'_, PyAny>) -> bool {
        self.near().is_some_and(|near| near.put_now(item))
    }

    /// Take an item out, if that is done with one step. May be called where PyO3 does not know that the thread is attached.
    #[inline]
    pub(super) fn get_now<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.near()?.get_now(py)
    }

    /// Wait until the items have arrived where they are going.
    #[cold]
    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_mover()?;
        drop(self.crossing.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    fn refuse_mover(&self) -> PyResult<()> {
        if self.mover.load(Ordering::Relaxed) == thread_id() {
            let message =
                "pickling an item of the queue used the queue, which is just being moved to shared memory";
            return Err(PyRuntimeError::new_err(message));
        }
        Ok(())
    }

    #[inline]
    fn put_with(&self, item: &Bound<'_, PyAny>, patience: Patience) -> PyResult<()> {
        loop {
            match self.side()? {
                Side::Far(far) => return far.put(item, patience),
                Side::Near(near) => match near.put(item.py(), item, patience)? {
                    Done::Done(()) => return Ok(()),
                    Done::Moved => self.settle(item.py())?,
                },
            }
        }
    }

    #[inline]
    fn get_with(&self, py: Python<'_>, patience: Patience) -> PyResult<Py<PyAny>> {
        loop {
            match self.side()? {
                Side::Far(far) => return far.get(py, patience),
                Side::Near(near) => match near.get(py, patience)? {
                    Done::Done(item) => return Ok(item),
                    Done::Moved => self.settle(py)?,
                },
            }
        }
    }

    fn limit(&self) -> u64 {
        u64::try_from(self.maxsize.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Make the shared form, and move what is in the queue there.
    fn cross(&self, py: Python<'_>) -> PyResult<&Far> {
        self.refuse_mover()?;
        let held = self.crossing.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if let Some(far) = self.far.get() {
            return Ok(far);
        }
        if self.forks != forks() {
            return Err(foreign());
        }
        if !self.near.is_plain() {
            return Err(PyTypeError::new_err("only a plain Queue can go to another process"));
        }
        self.mover.store(thread_id(), Ordering::Relaxed);
        let (moved, moving) = self.near.move_to(py, |before| Far::create(py, self.limit(), before));
        self.mover.store(0, Ordering::Relaxed);
        let far = moved.map(|far| self.far.get_or_init(|| far));
        drop(held);
        Near::tell(py, moving);
        far
    }

    fn numbers(&self) -> PyResult<Numbers> {
        Ok(match self.side()? {
            Side::Near(near) => {
                let state = near.state();
                Numbers {
                    len: state.len as u64,
                    free: state.free.map(|free| free as u64),
                    unfinished: state.unfinished,
                    closed: state.phase == Phase::Closed,
                    puts: state.tally.puts,
                    gets: state.tally.gets,
                    get_waits: state.tally.get_waits,
                    put_waits: state.tally.put_waits,
                    most: state.tally.most as u64,
                    shared_bytes: 0,
                }
            }
            Side::Far(far) => {
                let state = far.depot().state();
                let len = state.puts.saturating_sub(state.gets);
                Numbers {
                    len,
                    free: (state.limit != 0).then(|| state.limit.saturating_sub(len)),
                    unfinished: state.unfinished,
                    closed: state.closed,
                    puts: state.puts,
                    gets: state.gets,
                    get_waits: state.get_waits,
                    put_waits: state.put_waits,
                    most: state.most,
                    shared_bytes: state.held_bytes,
                }
            }
        })
    }
}

/// What holds at a moment.
struct Numbers {
    len: u64,
    free: Option<u64>,
    unfinished: u64,
    closed: bool,
    puts: u64,
    gets: u64,
    get_waits: u64,
    put_waits: u64,
    most: u64,
    shared_bytes: u64,
}

#[pymethods]
impl QueueCore {
    /// Which item comes out first; subclasses say otherwise.
    #[classattr]
    const _ORDER: &'static str = "fifo";

    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        cls: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let order: String = cls.getattr("_ORDER")?.extract()?;
        let near = match order.as_str() {
            "fifo" => Near::new(Order::Fifo, None),
            "lifo" => Near::new(Order::Lifo, None),
            "smallest" => Near::new(Order::Fifo, Some(Heap::new(cls.py()))),
            other => return Err(PyValueError::new_err(format!("no such order: {other}"))),
        };
        Ok(Self {
            near,
            far: OnceLock::new(),
            crossing: Mutex::new(()),
            mover: AtomicU32::new(0),
            maxsize: AtomicI64::new(0),
            forks: forks(),
        })
    }

    /// Put an item; wait for a place if there is none.
    #[pyo3(
        signature = (item, block = None, timeout = None),
        text_signature = "(self, /, item, block=True, timeout=None)"
    )]
    fn put(
        &self,
        item: &Bound<'_, PyAny>,
        block: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        self.put_with(item, Patience::new(block, timeout)?)
    }

    /// Take an item out; wait for one if there is none.
    #[pyo3(signature = (block = None, timeout = None), text_signature = "(self, /, block=True, timeout=None)")]
    fn get(
        &self,
        py: Python<'_>,
        block: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        self.get_with(py, Patience::new(block, timeout)?)
    }

    /// Put an item if there is a place for it now.
    fn put_nowait(&self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put_with(item, Patience::None)
    }

    /// Take an item out if there is one now.
    fn get_nowait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.get_with(py, Patience::None)
    }

    /// Put an item; the task waits for a place if there is none.
    ///
    /// Raises:
    ///     QueueClosed: The queue takes nothing more.
    fn aput<'py>(slf: &Bound<'py, Self>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        awaitable(slf, Errand::Put, Some(item))
    }

    /// Take the next item out; the task waits for one if there is none.
    ///
    /// A task that is cancelled while it waits has taken nothing.
    ///
    /// Raises:
    ///     QueueClosed: The queue is closed and empty.
    fn aget<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        awaitable(slf, Errand::Get, None)
    }

    /// Return the queue itself: any number of tasks may iterate over it, and each item goes to one of them.
    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Take the next item out; end when the queue is closed and empty.
    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        awaitable(slf, Errand::Next, None)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.get_with(py, Patience::Endless) {
            Ok(item) => Ok(Some(item)),
            Err(error) if QueueClosed::is(py, &error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Take an item out, or return `default` if there is none now.
    fn _take(&self, py: Python<'_>, default: Py<PyAny>) -> PyResult<Py<PyAny>> {
        if let Side::Near(near) = self.side()? {
            match near.take(py)? {
                None => return Ok(default),
                Some(Done::Done(item)) => return Ok(item),
                Some(Done::Moved) => {}
            }
        }
        match self.get_with(py, Patience::None) {
            Err(error) if QueueEmpty::is(py, &error) => Ok(default),
            done => done,
        }
    }

    /// Put an item if there is a place for it now; says whether there was.
    fn _offer(&self, item: &Bound<'_, PyAny>) -> PyResult<bool> {
        if let Side::Near(near) = self.side()? {
            match near.offer(item.py(), item)? {
                None => return Ok(false),
                Some(Done::Done(())) => return Ok(true),
                Some(Done::Moved) => {}
            }
        }
        match self.put_with(item, Patience::None) {
            Ok(()) => Ok(true),
            Err(error) if QueueFull::is(item.py(), &error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Say that an item that was taken out is dealt with.
    fn task_done(&self, py: Python<'_>) -> PyResult<()> {
        let done = match self.side()? {
            Side::Near(near) => near.finish(py).is_some(),
            Side::Far(far) => far.finish(py)?,
        };
        if done { Ok(()) } else { Err(PyValueError::new_err("task_done() called too many times")) }
    }

    /// Wait until every item that was put is dealt with; says whether that was so before the time was over.
    #[pyo3(signature = (timeout = None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let patience = Patience::new(None, timeout)?;
        loop {
            match self.side()? {
                Side::Far(far) => return far.join(py, patience),
                Side::Near(near) => match near.join(py, patience)? {
                    Done::Done(ended) => return Ok(ended),
                    Done::Moved => self.settle(py)?,
                },
            }
        }
    }

    /// Take nothing more; with `immediate`, drop what is there.
    #[pyo3(signature = (immediate = false))]
    fn shutdown(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        loop {
            match self.side()? {
                Side::Far(far) => return far.close(py, immediate),
                Side::Near(near) => match near.close(py, immediate)? {
                    Done::Done(()) => return Ok(()),
                    Done::Moved => self.settle(py)?,
                },
            }
        }
    }

    /// Items in the queue.
    fn qsize(&self) -> PyResult<u64> {
        Ok(self.numbers()?.len)
    }

    /// Whether there is no item.
    fn empty(&self) -> PyResult<bool> {
        Ok(self.numbers()?.len == 0)
    }

    /// Whether there is no place.
    fn full(&self) -> PyResult<bool> {
        Ok(self.numbers()?.free == Some(0))
    }

    /// The most items; 0 or less for no limit.
    #[getter]
    fn maxsize(&self) -> i64 {
        self.maxsize.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_maxsize(&self, py: Python<'_>, maxsize: i64) -> PyResult<()> {
        self.maxsize.store(maxsize, Ordering::Relaxed);
        match self.side()? {
            Side::Near(near) => near.set_limit(py, usize::try_from(maxsize).ok().and_then(NonZeroUsize::new)),
            Side::Far(far) => far.set_limit(py, self.limit())?,
        }
        Ok(())
    }

    /// Items that were put and not yet dealt with.
    #[getter]
    fn unfinished_tasks(&self) -> PyResult<u64> {
        Ok(self.numbers()?.unfinished)
    }

    /// Whether it takes nothing more.
    #[getter]
    fn is_shutdown(&self) -> PyResult<bool> {
        Ok(self.numbers()?.closed)
    }

    /// The figures of `statistics()`.
    fn _counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let numbers = self.numbers()?;
        let counts = PyDict::new(py);
        counts.set_item("size", numbers.len)?;
        counts.set_item("most", numbers.most)?;
        counts.set_item("put", numbers.puts)?;
        counts.set_item("got", numbers.gets)?;
        counts.set_item("unfinished", numbers.unfinished)?;
        counts.set_item("get_waits", numbers.get_waits)?;
        counts.set_item("put_waits", numbers.put_waits)?;
        counts.set_item("shared_bytes", numbers.shared_bytes)?;
        counts.set_item("closed", numbers.closed)?;
        counts.set_item("shared", self.far.get().is_some())?;
        Ok(counts)
    }

    /// Have `bell` called once when an item ("item"), a place ("place") or the end of all items ("end") may be there.
    /// False, and no call, when it is there now.
    fn _watch(&self, py: Python<'_>, want: &str, watch: Watch, bell: Py<PyAny>) -> PyResult<bool> {
        let (want, far_want) = match want {
            "item" => (Want::Item, DepotWant::Item),
            "place" => (Want::Place, DepotWant::Place),
            _ => (Want::End, DepotWant::End),
        };
        match self.side()? {
            Side::Far(far) => far.watchers().watch(far_want, watch, bell),
            Side::Near(near) => {
                if near.watch(want, watch, bell) {
                    return Ok(true);
                }
                if near.state().phase == Phase::Moved {
                    self.settle(py)?;
                }
                Ok(false)
            }
        }
    }

    /// How many of those who wait for it may look now: items, places; or, where a count means nothing, many.
    fn _ready(&self, want: &str) -> PyResult<u64> {
        let numbers = self.numbers()?;
        Ok(match want {
            _ if numbers.closed && want != "end" => u64::MAX,
            "item" => numbers.len,
            "place" => numbers.free.unwrap_or(u64::MAX),
            _ if numbers.unfinished == 0 => u64::MAX,
            _ => 0,
        })
    }

    /// Move to shared memory, and say where it is: process, descriptor, and two numbers that identify it.
    fn _cross(&self, py: Python<'_>) -> PyResult<(u32, u32, u64, u64)> {
        let far = match self.far.get() {
            Some(far) => far,
            None => self.cross(py)?,
        };
        let address = far.address()?;
        Ok((address.pid, address.fd, address.inode, address.key))
    }

    /// Move to shared memory.
    fn _share(&self, py: Python<'_>) -> PyResult<()> {
        if self.far.get().is_none() {
            self.cross(py)?;
        }
        Ok(())
    }

    /// Become the queue at an address.
    fn _adopt(&self, py: Python<'_>, address: (u32, u32, u64, u64)) -> PyResult<()> {
        let (pid, fd, inode, key) = address;
        let far = Far::open(py, Address { pid, fd, inode, key })?;
        let limit = far.depot().state().limit;
        self.maxsize.store(i64::try_from(limit).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.far.set(far).map_err(|_far| PyRuntimeError::new_err("the queue is shared already"))
    }

    /// Note that an address of this very queue has come back to its own process.
    fn _arrived(&self) {
        if let Some(far) = self.far.get() {
            far.depot().arrived();
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // In a forked child the lock may have been taken along, held; what is not shown is never collected.
        if self.forks != forks() {
            return Ok(());
        }
        self.near.traverse(&visit)?;
        self.far.get().map_or(Ok(()), |far| far.watchers().each(|bell| visit.call(bell)))
    }

    fn __clear__(&self) {
        if self.forks == forks() {
            self.near.clear();
            if let Some(far) = self.far.get() {
                far.watchers().clear();
            }
        }
    }
}

fn foreign() -> PyErr {
    PyRuntimeError::new_err(
        "this queue was copied by a fork, and what is put here would reach nobody: pass the queue to the process as an \
         argument, with items in it that pickle, so that it becomes shared",
    )
}

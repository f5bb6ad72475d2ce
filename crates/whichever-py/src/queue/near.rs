//! The queue inside this process: items by reference, waits that hear Ctrl-C.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use whichever_queue::{
    GetError, Limit, Order, Phase, PutError, Queue, Seat, Slept, State, Wakes, Want, Watch,
};

use super::far::Far;
use super::heap::Heap;
use super::patience::Patience;
use super::{Done, QueueFull, closed_to_get, closed_to_put, empty, full};
use crate::ctrl_c::{self, in_spite_of_ctrl_c};

/// See the module.
pub(super) struct Near {
    /// The items; in a priority queue a None for each, while the items lie in `heap`.
    queue: Queue<Py<PyAny>, Py<PyAny>>,
    heap: Option<Heap>,
}

/// An item, and who is to be woken because it left a place.
type Got = (Py<PyAny>, Wakes<Py<PyAny>>);

/// Those who waited when the items began to move.
#[must_use = "they sleep until they are told"]
pub(super) struct Moving(Wakes<Py<PyAny>>);

impl Near {
    pub(super) fn new(order: Order, heap: Option<Heap>) -> Self {
        Self { queue: Queue::new(order, None), heap }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.heap.is_none() && self.queue.order() == Order::Fifo
    }

    /// Put an item, if there is a place and nothing to compare. PyO3 need not know that the thread is attached.
    #[inline]
    pub(super) fn put_now(&self, item: &Bound<'_, PyAny>) -> bool {
        if self.heap.is_some() {
            return false;
        }
        match self.queue.try_put(item.clone().unbind()) {
            Ok(wakes) => {
                ring(item.py(), wakes);
                true
            }
            Err(PutError::Full(back) | PutError::Closed(back) | PutError::Moved(back)) => {
                drop(back.into_bound(item.py()));
                false
            }
        }
    }

    /// Take the next item, if there is one and nothing to compare. PyO3 need not know that the thread is attached.
    #[inline]
    pub(super) fn get_now<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        if self.heap.is_some() {
            return None;
        }
        let (item, wakes) = self.queue.try_get().ok()?;
        ring(py, wakes);
        Some(item.into_bound(py))
    }

    /// Put an item; `item` keeps it when the queue has moved.
    ///
    /// # Errors
    /// Full, closed, or what a signal handler raises.
    #[inline]
    pub(super) fn put(
        &self,
        py: Python<'_>,
        item: &Bound<'_, PyAny>,
        patience: Patience,
    ) -> PyResult<Done<()>> {
        if self.heap.is_some() {
            return self.put_sorted(py, item, patience);
        }
        match self.queue.try_put(item.clone().unbind()) {
            Ok(wakes) => rung(py, wakes),
            Err(PutError::Full(item)) if patience != Patience::None => self.put_waiting(py, item, patience),
            Err(refusal) => refused(py, refusal),
        }
    }

    /// Put an item if there is a place for it now; None where there is none, without the price of an exception.
    ///
    /// # Errors
    /// Closed, or what a comparison raises.
    #[inline]
    pub(super) fn offer(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<Option<Done<()>>> {
        if self.heap.is_some() {
            return match self.put_sorted(py, item, Patience::None) {
                Err(error) if QueueFull::is(py, &error) => Ok(None),
                done => done.map(Some),
            };
        }
        match self.queue.try_put(item.clone().unbind()) {
            Ok(wakes) => rung(py, wakes).map(Some),
            Err(PutError::Full(_)) => Ok(None),
            Err(refusal) => refused(py, refusal).map(Some),
        }
    }

    #[cold]
    fn put_waiting(&self, py: Python<'_>, item: Py<PyAny>, patience: Patience) -> PyResult<Done<()>> {
        let mut seat = Seat::new(Want::Place);
        let mut item = item;
        loop {
            let is_over = self.sleep(py, &mut seat, patience)?;
            match self.queue.put_waited(item, &mut seat) {
                Ok(wakes) => return rung(py, wakes),
                Err(PutError::Full(back)) if !is_over => item = back,
                Err(refusal) => return refused(py, refusal),
            }
        }
    }

    fn put_sorted(&self, py: Python<'_>, item: &Bound<'_, PyAny>, patience: Patience) -> PyResult<Done<()>> {
        match self.reserve(py, patience)? {
            Done::Moved => return Ok(Done::Moved),
            Done::Done(()) => {}
        }
        if let Some(heap) = &self.heap
            && let Err(error) = heap.push(py, item)
        {
            ring(py, self.queue.give_back());
            return Err(error);
        }
        match self.queue.put_reserved(py.None()) {
            Ok(wakes) => rung(py, wakes),
            Err((_, wakes)) => {
                ring(py, wakes);
                if let Some(heap) = &self.heap {
                    heap.pop(py)?;
                }
                Err(closed_to_put(py))
            }
        }
    }

    fn reserve(&self, py: Python<'_>, patience: Patience) -> PyResult<Done<()>> {
        let mut seat: Option<Seat> = None;
        let mut is_over = patience == Patience::None;
        loop {
            match self.queue.reserve(seat.as_mut()) {
                Ok(wakes) => return rung(py, wakes),
                Err(PutError::Full(())) if !is_over => {
                    let seat = seat.get_or_insert_with(|| Seat::new(Want::Place));
                    is_over = self.sleep(py, seat, patience)?;
                }
                Err(refusal) => return refused(py, refusal),
            }
        }
    }

    /// Take the next item.
    ///
    /// # Errors
    /// Empty, closed, or what a signal handler or a comparison raises.
    #[inline]
    pub(super) fn get(&self, py: Python<'_>, patience: Patience) -> PyResult<Done<Py<PyAny>>> {
        match self.queue.try_get() {
            Err(GetError::Empty) if patience != Patience::None => {
                let done = self.get_waiting(py, patience)?;
                self.smallest(py, done)
            }
            got => self.received(py, got),
        }
    }

    /// Take the next item if there is one now; None where there is none, without the price of an exception.
    ///
    /// # Errors
    /// Closed, or what a comparison raises.
    #[inline]
    pub(super) fn take(&self, py: Python<'_>) -> PyResult<Option<Done<Py<PyAny>>>> {
        match self.queue.try_get() {
            Err(GetError::Empty) => Ok(None),
            got => self.received(py, got).map(Some),
        }
    }

    #[inline]
    fn received(&self, py: Python<'_>, got: Result<Got, GetError>) -> PyResult<Done<Py<PyAny>>> {
        let done = match got {
            Ok((item, wakes)) => {
                ring(py, wakes);
                Done::Done(item)
            }
            Err(GetError::Moved) => Done::Moved,
            Err(refusal) => return Err(missing(py, refusal)),
        };
        self.smallest(py, done)
    }

    /// In a priority queue, the smallest item for the None that was got.
    #[inline]
    fn smallest(&self, py: Python<'_>, done: Done<Py<PyAny>>) -> PyResult<Done<Py<PyAny>>> {
        match (&self.heap, done) {
            (Some(heap), Done::Done(token)) => match heap.pop(py) {
                Ok(item) => Ok(Done::Done(item)),
                Err(error) => {
                    ring(py, self.queue.unget(token));
                    Err(error)
                }
            },
            (_, done) => Ok(done),
        }
    }

    #[cold]
    fn get_waiting(&self, py: Python<'_>, patience: Patience) -> PyResult<Done<Py<PyAny>>> {
        let mut seat = Seat::new(Want::Item);
        loop {
            let is_over = self.sleep(py, &mut seat, patience)?;
            match self.queue.get_waited(&mut seat) {
                Ok((item, wakes)) => {
                    ring(py, wakes);
                    return Ok(Done::Done(item));
                }
                Err(GetError::Moved) => return Ok(Done::Moved),
                Err(GetError::Empty) if !is_over => {}
                Err(refusal) => return Err(missing(py, refusal)),
            }
        }
    }

    /// Wait until every item is finished. None when the time was over first.
    ///
    /// # Errors
    /// What a signal handler raises.
    pub(super) fn join(&self, py: Python<'_>, patience: Patience) -> PyResult<Done<bool>> {
        let mut seat = Seat::new(Want::End);
        loop {
            let state = self.queue.state();
            if state.phase == Phase::Moved {
                return Ok(Done::Moved);
            }
            if state.unfinished == 0 {
                return Ok(Done::Done(true));
            }
            if patience.is_over() {
                return Ok(Done::Done(false));
            }
            self.sleep(py, &mut seat, patience)?;
        }
    }

    /// Sleep a while, detached. True when the time is over.
    fn sleep(&self, py: Python<'_>, seat: &mut Seat, patience: Patience) -> PyResult<bool> {
        let slept = py.detach(|| self.queue.sleep(seat, patience.next_slice()));
        if let Err(error) = py.check_signals() {
            ring(py, self.queue.leave(seat));
            return Err(error);
        }
        Ok(slept != Slept::Woken && patience.is_over())
    }

    /// Call one item finished. None when there is none.
    pub(super) fn finish(&self, py: Python<'_>) -> Option<()> {
        self.queue.finish().map(|wakes| ring(py, wakes))
    }

    /// Take nothing more, and with `immediate` give up what is there.
    ///
    /// # Errors
    /// What a comparison raises.
    pub(super) fn close(&self, py: Python<'_>, immediate: bool) -> PyResult<Done<()>> {
        let Some((dropped, wakes)) = self.queue.close(immediate) else { return Ok(Done::Moved) };
        ring(py, wakes);
        if let Some(heap) = &self.heap {
            // As many as were given up: one whose getter is on its way stays for that.
            for _ in 0..dropped.len() {
                heap.pop(py)?;
            }
        }
        drop(dropped);
        Ok(Done::Done(()))
    }

    /// Give everything to the shared form that `make` makes, knowing how many items were got but not finished. Whoever
    /// waits sleeps on until the wakes are given to `tell`.
    ///
    /// # Errors
    /// When an item does not pickle or there is no memory: everything is as it was then.
    pub(super) fn move_to(
        &self,
        py: Python<'_>,
        make: impl FnOnce(u64) -> PyResult<Far>,
    ) -> (PyResult<Far>, Moving) {
        let (items, before, wakes) = self.queue.move_out();
        let moved = make(before.unfinished.saturating_sub(before.len as u64)).and_then(|far| {
            for item in &items {
                far.put(item.bind(py), Patience::Endless)?;
            }
            if before.phase == Phase::Closed {
                far.close(py, false)?;
            }
            Ok(far)
        });
        let wakes = if moved.is_err() { wakes.and(self.queue.move_back(items, before.phase)) } else { wakes };
        (moved, Moving(wakes))
    }

    /// Wake those who waited when the items moved; they find them where they are now.
    pub(super) fn tell(py: Python<'_>, moving: Moving) {
        ring(py, moving.0);
    }

    pub(super) fn set_limit(&self, py: Python<'_>, limit: Limit) {
        ring(py, self.queue.set_limit(limit));
    }

    pub(super) fn state(&self) -> State {
        self.queue.state()
    }

    #[must_use]
    pub(super) fn watch(&self, want: Want, watch: Watch, bell: Py<PyAny>) -> bool {
        self.queue.watch(want, watch, bell)
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(heap) = &self.heap {
            visit.call(heap.objects())?;
        }
        self.queue.each(|item| visit.call(item), |bell| visit.call(bell))
    }

    pub(super) fn clear(&self) {
        drop(self.queue.clear());
    }
}

/// Wake the threads, and ring the bells of event loops.
#[inline]
fn ring(py: Python<'_>, wakes: Wakes<Py<PyAny>>) {
    if !wakes.is_none() {
        ring_now(py, wakes);
    }
}

#[cold]
fn ring_now(py: Python<'_>, wakes: Wakes<Py<PyAny>>) {
    // Bound: PyO3 may not know that the thread is attached, and would let go of a `Py` later.
    for bell in wakes.fire().map(|bell| bell.into_bound(py)) {
        if let Err(error) = in_spite_of_ctrl_c(py, || bell.call0()) {
            ctrl_c::report(py, error, Some(&bell));
        }
    }
}

#[inline]
fn rung(py: Python<'_>, wakes: Wakes<Py<PyAny>>) -> PyResult<Done<()>> {
    ring(py, wakes);
    Ok(Done::Done(()))
}

fn refused<T, R>(py: Python<'_>, refusal: PutError<T>) -> PyResult<Done<R>> {
    match refusal {
        PutError::Moved(_) => Ok(Done::Moved),
        PutError::Full(_) => Err(full(py)),
        PutError::Closed(_) => Err(closed_to_put(py)),
    }
}

fn missing(py: Python<'_>, refusal: GetError) -> PyErr {
    match refusal {
        GetError::Closed => closed_to_get(py),
        GetError::Empty | GetError::Moved => empty(py),
    }
}

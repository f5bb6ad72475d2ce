//! Batches: many tasks in one request, their results together in few replies.
//!
//! Each result goes to the tray as soon as it is there, so a death costs the one task that ran. What may have started is
//! said a few tasks at a time (a lease), as many as take about `LEASE_NS`: the rest can be taken back.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use whichever_pool::wire::{ReplyHead, ReplyKind};
use whichever_ring::{Begin, Tray};
use whichever_sys::monotonic_ns;

use super::super::codec::{Decoder, encode, encode_pickle};
use super::super::memory::Exported;
use super::{Call, Life, Loaded, TRAY_BYTES, WAKE_NS, WorkerCore, function_of};
use crate::lasting::name;

/// How long tasks of a batch run between two looks at the clock and at what was taken back.
const LEASE_NS: u64 = 20_000;
/// Most tasks that a worker takes for started at once.
const LEASE_TASKS: u64 = 1024;
/// Results of a batch are sent at least this often.
const PART_NS: u64 = 200_000;

/// Tasks whose positions follow one another, their items one after the other.
pub(super) struct BatchJob {
    pub(super) number: u32,
    pub(super) first: u64,
    pub(super) count: u32,
    /// Whether an item is the one argument of its task.
    pub(super) single: bool,
    pub(super) context: Vec<u8>,
    pub(super) items: Vec<u8>,
}

/// How many tasks may start before the next look, learnt from the tasks before.
#[derive(Default)]
pub(super) struct Pace {
    function: u32,
    tasks: u64,
}

/// Where a batch is.
struct Progress<'a> {
    tray: &'a mut Tray,
    position: u64,
    end: u64,
    /// The last position that may have started.
    leased: u64,
    /// Scratch for the code of one result.
    code: Vec<u8>,
    /// When the tasks in the tray began.
    part_ns: u64,
    looked_ns: u64,
}

impl WorkerCore {
    pub(super) fn work_batch(&self, py: Python<'_>, life: &mut Life<'_>, job: &BatchJob) {
        let mut tray = self.lock_tray();
        tray.begin(job.first);
        let now_ns = monotonic_ns();
        let mut progress = Progress {
            tray: &mut tray,
            position: job.first,
            end: job.first + u64::from(job.count),
            leased: job.first - 1,
            code: Vec::with_capacity(64),
            part_ns: now_ns,
            looked_ns: now_ns,
        };
        if life.pace.function != job.number {
            life.pace = Pace { function: job.number, tasks: 1 };
        }
        self.interrupted.store(false, Ordering::Relaxed);
        self.run_items(py, life, job, &mut progress);
        self.send_part(py, life, &mut progress);
        if progress.position < progress.end {
            let head = ReplyHead::plain(ReplyKind::Revoked, progress.position, progress.end - 1);
            self.push(py, &[&head.to_bytes()]);
        }
        self.desk.end();
    }

    fn run_items(&self, py: Python<'_>, life: &mut Life<'_>, job: &BatchJob, progress: &mut Progress<'_>) {
        let mut items = Decoder::new(&job.items);
        let function = function_for(py, life, job.number);
        let mut entered = None;
        while progress.position < progress.end {
            let may_start = if progress.position > progress.leased {
                self.renew(py, life, progress)
            } else {
                // The task before may have been a long one: others are idle, and take what waits behind it.
                !self.desk.is_revoked(progress.position)
            };
            if !may_start {
                return;
            }
            let (result, kind) = match prepare_item(life, job, &function, &mut items) {
                Ok(Prepared::Single(function, item)) => {
                    let renewed = life.contexts.renew(py, entered.take());
                    let called = renewed.and_then(|context| {
                        entered = context;
                        life.caller.call(function, item)
                    });
                    (called, ReplyKind::Raised)
                }
                Ok(Prepared::Call(call)) => (call.run(py, life), ReplyKind::Raised),
                Err(error) => (Err(error), ReplyKind::Unloadable),
            };
            life.leave_if_forked(py, result.as_ref().err());
            match result {
                Ok(value) => self.keep(py, life, progress, &value),
                Err(error) => self.send_alone(py, life, progress, kind, Err(error)),
            }
            progress.position += 1;
            if self.interrupted.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Say which tasks start next; false when they were taken back.
    fn renew(&self, py: Python<'_>, life: &mut Life<'_>, progress: &mut Progress<'_>) -> bool {
        life.flush(py); // half a line that a task has printed; whole lines were sent
        let now_ns = monotonic_ns();
        let elapsed_ns = now_ns - progress.looked_ns;
        progress.looked_ns = now_ns;
        if elapsed_ns < LEASE_NS / 2 {
            life.pace.tasks = (life.pace.tasks * 2).min(LEASE_TASKS);
        } else if elapsed_ns > LEASE_NS * 2 {
            life.pace.tasks = (life.pace.tasks / 2).max(1);
        }
        if now_ns - progress.part_ns > PART_NS {
            self.send_part(py, life, progress);
        }
        progress.leased = (progress.position + life.pace.tasks).min(progress.end) - 1;
        if self.desk.begin(progress.leased, now_ns) == Begin::Go {
            return true;
        }
        // Something among these was taken back: one by one up to there.
        life.pace.tasks = 1;
        progress.leased = progress.position;
        self.desk.begin(progress.position, now_ns) == Begin::Go
    }

    /// Put a result into the tray, or send it by itself when it does not fit.
    fn keep(
        &self,
        py: Python<'_>,
        life: &mut Life<'_>,
        progress: &mut Progress<'_>,
        value: &Bound<'_, PyAny>,
    ) {
        let mut code = std::mem::take(&mut progress.code);
        code.clear();
        match encode_result(py, life, value, &mut code) {
            Ok(None) => {
                if !progress.tray.push(&code) {
                    self.send_part(py, life, progress);
                    progress.tray.push(&code);
                }
            }
            Ok(Some((kind, buffers))) => self.send_alone(py, life, progress, kind, Ok((buffers, &code))),
            Err(error) => self.send_alone(py, life, progress, ReplyKind::Raised, Err(error)),
        }
        progress.code = code;
    }

    /// Send what the tray holds, and empty it.
    fn send_part(&self, py: Python<'_>, life: &mut Life<'_>, progress: &mut Progress<'_>) {
        life.flush(py);
        let now_ns = monotonic_ns();
        let count = progress.tray.count();
        if count > 0 {
            let head = ReplyHead {
                flags: life.flags(now_ns),
                count: u16::try_from(count).unwrap_or(u16::MAX),
                ..ReplyHead::plain(
                    ReplyKind::Items,
                    progress.position - u64::from(count),
                    now_ns - progress.part_ns,
                )
            };
            self.push(py, &[&head.to_bytes(), progress.tray.codes()]);
            progress.tray.begin(progress.position);
        }
        progress.part_ns = now_ns;
        if now_ns.saturating_sub(self.woken_ns.load(Ordering::Relaxed)) > WAKE_NS {
            self.woken_ns.store(now_ns, Ordering::Relaxed);
            self.page.bell().ring();
        }
    }

    /// Send the present task's end in a reply of its own, after what the tray holds.
    #[expect(clippy::too_many_arguments, reason = "three of them are where we are")]
    fn send_alone(
        &self,
        py: Python<'_>,
        life: &mut Life<'_>,
        progress: &mut Progress<'_>,
        kind: ReplyKind,
        content: PyResult<(Vec<Exported>, &[u8])>,
    ) {
        let own_ns = (monotonic_ns() - progress.part_ns) / (u64::from(progress.tray.count()) + 1);
        progress.part_ns += own_ns;
        self.send_part(py, life, progress);
        let head = ReplyHead::plain(kind, progress.position, own_ns);
        let sent = content.and_then(|(buffers, body)| self.send_parts(py, head, &buffers, body));
        if let Err(error) = sent {
            let kind = if kind == ReplyKind::Unloadable { kind } else { ReplyKind::Raised };
            self.send_error(py, life, ReplyHead { kind, ..head }, error);
        }
        progress.tray.begin(progress.position + 1);
    }
}

/// Code a result for the tray. What must travel by itself: its kind and its buffers, with the body in `code`.
fn encode_result(
    py: Python<'_>,
    life: &Life<'_>,
    value: &Bound<'_, PyAny>,
    code: &mut Vec<u8>,
) -> PyResult<Option<(ReplyKind, Vec<Exported>)>> {
    let mut large = Vec::new();
    if encode(value, code, &mut large) {
        let fits = large.is_empty() && code.len() <= TRAY_BYTES;
        return Ok(if fits {
            None
        } else {
            Some((ReplyKind::Coded, large.iter().map(Exported::bytes).collect()))
        });
    }
    code.clear();
    let dumped = life.hooks.call_method1(name!(py, "dump_result"), (value,))?;
    let (blob, buffers): (Bound<'_, PyBytes>, Vec<Bound<'_, PyAny>>) = dumped.extract()?;
    if buffers.is_empty() && blob.as_bytes().len() < TRAY_BYTES / 2 {
        encode_pickle(blob.as_bytes(), code);
        return Ok(None);
    }
    code.extend_from_slice(blob.as_bytes());
    let buffers = buffers.iter().map(Exported::view).collect::<PyResult<Vec<_>>>()?;
    Ok(Some((ReplyKind::Pickled, buffers)))
}

/// A task of a batch, ready to run.
enum Prepared<'a, 'py> {
    /// In the context that its batch has entered.
    Single(&'a Bound<'py, PyAny>, Bound<'py, PyAny>),
    /// In a context of its own.
    Call(Call<'py>),
}

/// The next task of a batch.
fn prepare_item<'a, 'py>(
    life: &Life<'py>,
    job: &BatchJob,
    function: &'a PyResult<Bound<'py, PyAny>>,
    items: &mut Decoder<'_>,
) -> PyResult<Prepared<'a, 'py>> {
    let py = life.hooks.py();
    let known = || function.as_ref().map_err(|error| error.clone_ref(py));
    if let Some(pickle) = items.next_pickle()? {
        let packed = (&PyBytes::new(py, pickle), &PyList::empty(py));
        return function_of(py, life, Some(known()?.clone()), packed, &job.context).map(Prepared::Call);
    }
    let mut nothing = || Err(pyo3::exceptions::PyValueError::new_err("a message lacks a buffer"));
    let item = items.next(py, &mut nothing)?; // taken even if there is no function: the next one lies behind it
    let function = known()?;
    if job.single && job.context.is_empty() {
        return Ok(Prepared::Single(function, item));
    }
    let args = if job.single { PyTuple::new(py, [item])? } else { item.cast_into()? };
    Ok(Prepared::Call(Call { function: function.clone(), args, kwargs: None, context: job.context.clone() }))
}

/// The batch's function, or why there is none.
fn function_for<'py>(py: Python<'py>, life: &Life<'py>, number: u32) -> PyResult<Bound<'py, PyAny>> {
    match life.functions.get(&number) {
        Some(Loaded::Function(function)) => Ok(function.bind(py).clone()),
        Some(Loaded::Failed(error)) => Err(error.clone_ref(py)),
        None => Err(pyo3::exceptions::PyRuntimeError::new_err("a batch's function has not arrived")),
    }
}

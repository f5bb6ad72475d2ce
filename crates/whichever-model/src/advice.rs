//! What to change for more than the verdict gives, in sentences.

use crate::{
    BlockedKind, Engine, Forecast, Question,
    forecast::{Model, to_float},
    phrase::{INNER_THREADS, bytes, crossing_seconds, inner_share, kinds, seconds, times},
    switching::shorter_interval,
};

/// A job shorter than this, in seconds, is not worth an engine.
const FAST_ENOUGH: f64 = 0.05;

/// A task shorter than this, in seconds, drowns in dispatch.
const TINY_TASK: f64 = 100e-6;

/// Waiting share from which a plain function would do better as a coroutine.
const WAITING_BOUND: f64 = 0.8;

/// What to change for more than the verdict gives.
pub(crate) fn advice(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> Vec<String> {
    let mut sentences = Vec::new();
    let serial = model.serial();
    if serial < FAST_ENOUGH {
        sentences.push(format!(
            "All {} tasks take {} in a plain loop: fast enough already, do not bother.",
            question.tasks,
            seconds(serial)
        ));
    }
    sentences.extend(blocked_loop(question, model));
    sentences.extend(heavy_payload(question, model, forecasts));
    sentences.extend(tiny_tasks(question, model));
    sentences.extend(limit_inner_threads(question, model));
    sentences.extend(needs_asyncio(question, model, &forecasts[0]));
    sentences.extend(shorter_interval(question, model, &forecasts[0]));
    sentences
}

fn blocked_loop(question: &Question, model: &Model<'_>) -> Option<String> {
    let task = &model.task;
    if !question.coroutine || task.blocked_loop < 0.1 * task.wall() {
        return None;
    }
    let calls =
        if question.loop_blockers.is_empty() { kinds(question) } else { question.loop_blockers.join("; ") };
    Some(format!(
        "A blocking call stops the event loop for {} a task: {calls}. Await an asynchronous one, or move it to \
         asyncio.to_thread.",
        seconds(task.blocked_loop)
    ))
}

fn heavy_payload(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> Option<String> {
    if !forecasts.iter().any(|other| other.engine == Engine::Processes) {
        return None;
    }
    let crossing = crossing_seconds(question);
    let payload = &question.payload;
    if crossing < 0.5 * model.task.wall() || payload.in_bytes + payload.out_bytes < 10_000.0 {
        return None;
    }
    let (what, how) = if payload.in_bytes >= payload.out_bytes {
        (
            "arguments",
            "send a path, an index or a range and let the worker load the data, or keep arrays in shared memory (whichever.share)",
        )
    } else {
        (
            "result",
            "let the worker reduce it or write it to a file, or return it as an array, which is not pickled",
        )
    };
    Some(format!(
        "Pickling and moving cost {} the task itself: its {what} ({}) are what to change: {how}.",
        times(crossing / model.task.wall().max(1e-9)),
        bytes(payload.in_bytes.max(payload.out_bytes)),
    ))
}

fn tiny_tasks(question: &Question, model: &Model<'_>) -> Option<String> {
    let wall = model.task.wall();
    (wall < TINY_TASK && model.serial() > FAST_ENOUGH).then(|| {
        let batch = (0.01 / wall.max(1e-9)).clamp(2.0, 1e6);
        format!(
            "A task takes only {}: let one call do a batch of about {batch:.0}, of the {} there are.",
            seconds(wall),
            question.tasks
        )
    })
}

fn limit_inner_threads(question: &Question, model: &Model<'_>) -> Option<String> {
    (inner_share(model) > INNER_THREADS && question.costs.cores > 1.0).then(|| {
        "Before running several of these at once, limit the inner threads to one (OMP_NUM_THREADS=1, or \
         threadpoolctl.threadpool_limits(1)), or leave the cores to them."
            .to_owned()
    })
}

fn needs_asyncio(question: &Question, model: &Model<'_>, first: &Forecast) -> Option<String> {
    let task = &model.task;
    let waiting = task.blocked - task.child_cpu;
    let bound =
        waiting / task.wall().max(f64::MIN_POSITIVE) > WAITING_BOUND && task.blocked_network(question);
    let all = to_float(question.tasks);
    if question.coroutine || !bound || all < 2.0 * f64::from(first.workers) || all < 200.0 {
        return None;
    }
    let useful = (task.wall() / task.held.max(task.wall() / all)).min(all);
    Some(format!(
        "To wait for all {} at once it would take about {useful:.0} threads; as a coroutine function (asyncio) one \
         thread is enough.",
        question.tasks
    ))
}

impl crate::task::Task {
    /// Whether the waiting is of the kind that asyncio can do: sockets, pipes, sleeps.
    fn blocked_network(&self, question: &Question) -> bool {
        let kinds = [BlockedKind::Network, BlockedKind::Poll, BlockedKind::Sleep, BlockedKind::Pipe];
        let parts = &question.ledger.parts.blocked;
        let open: f64 = kinds.iter().filter_map(|kind| parts.get(kind)).sum();
        open > 0.5 * question.ledger.parts.blocked_total()
    }
}

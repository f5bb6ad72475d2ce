//! The argument in sentences: why this engine, what stops it, and what to change for more.

use crate::{
    BlockedKind, Engine, Forecast, Limit, Question,
    forecast::{Model, to_float},
};

/// Run-queue delay as a share of wall time above which the machine is too busy to tell.
const TOO_BUSY: f64 = 0.10;
/// CPU of inner threads, over wall time, from which a task counts as running on several cores by itself.
const INNER_THREADS: f64 = 0.20;
/// A job shorter than this, in seconds, is not worth an engine.
const FAST_ENOUGH: f64 = 0.05;
/// A task shorter than this, in seconds, drowns in dispatch.
const TINY_TASK: f64 = 100e-6;
/// Waiting share from which a plain function would do better as a coroutine.
const WAITING_BOUND: f64 = 0.8;

/// The reasons for the first of `forecasts`, the most important first.
pub(crate) fn reasons(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(too_busy(question));
    sentences.push(why(question, model, forecasts));
    sentences.extend(runner_up(forecasts));
    sentences.extend(ceiling(question, model, &forecasts[0]));
    sentences.extend(inner_threads(question, model));
    sentences.extend(foreign(question));
    sentences.extend(model.free_threaded().map(|seconds| free_threaded(seconds, model)));
    sentences
}

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
    sentences.extend(shorter_switch_interval(question, model, &forecasts[0]));
    sentences
}

fn too_busy(question: &Question) -> Option<String> {
    let share = question.ledger.queue_share;
    (share > TOO_BUSY).then(|| {
        format!(
            "The machine is too busy to tell: the task queued for a core {} of its time. Ask again when it is quiet.",
            percent(share)
        )
    })
}

fn why(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> String {
    let first = &forecasts[0];
    let task = &model.task;
    let wall = task.wall().max(f64::MIN_POSITIVE);
    let (held, released, blocked) = (task.held / wall, task.released / wall, task.blocked / wall);
    match first.engine {
        Engine::Serial => why_serial(question, model, forecasts),
        Engine::Async => format!(
            "A task waits {} of its time ({}); one event loop lets {} of them wait at once.",
            percent(blocked),
            kinds(question),
            first.workers
        ),
        Engine::Threads if !question.ledger.gil => {
            "This interpreter has no GIL: threads run Python on all cores and share memory.".to_owned()
        }
        Engine::Threads if blocked > released + held => format!(
            "A task waits {} of its time ({}), with the GIL given up; {} threads wait at once.",
            percent(blocked),
            kinds(question),
            first.workers
        ),
        Engine::Threads => format!(
            "A task runs native code without the GIL for {} of its time, and holds the GIL for only {}: threads overlap.",
            percent(released),
            percent(held)
        ),
        Engine::Processes | Engine::Interpreters if blocked > held + released => format!(
            "A task waits {} of its time, and the {} it holds the GIL would make threads take turns.",
            percent(blocked),
            percent(held)
        ),
        Engine::Processes | Engine::Interpreters => format!(
            "A task holds the GIL {} of its time, so threads would take turns; {} have one GIL each.",
            percent(held),
            first.engine.name()
        ),
    }
}

/// Serial won: say what keeps the most promising of the others from helping.
fn why_serial(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> String {
    let task = &model.task;
    let rivals: Vec<&Forecast> = forecasts.iter().filter(|other| other.engine != Engine::Serial).collect();
    let Some(best) = rivals.first() else {
        return "Every engine that could overlap these tasks is excluded.".to_owned();
    };
    let each = seconds(task.wall());
    let payload = &question.payload;
    let crossing = crossing_seconds(question);
    if rivals.iter().any(|other| other.engine == Engine::Processes) && crossing > task.wall() {
        let held = percent(task.held / task.wall().max(f64::MIN_POSITIVE));
        return format!(
            "Sending a task's payload to another process ({}) takes {}, the task itself {each}; \
             and threads take turns, since it holds the GIL {held} of its time.",
            bytes(payload.in_bytes + payload.out_bytes),
            seconds(crossing)
        );
    }
    if short_releases(question, model) {
        return format!(
            "A task gives the GIL up about {:.0} times, for {} each: too short for another thread to use, and \
             every hand-over costs about {}. A plain loop of {each} a task has none of that.",
            task.releases,
            seconds((task.released + task.blocked) / task.releases),
            seconds(question.costs.handoff)
        );
    }
    if question.costs.cores <= 1.0 {
        return "There is only one core to use here, and the task does not wait.".to_owned();
    }
    if inner_share(model) > INNER_THREADS {
        return "A task already keeps several cores busy by itself; more workers would share the same cores."
            .to_owned();
    }
    let gain = format!("{} {:.2}x", best.engine.name(), best.speedup);
    match best.limit {
        Limit::Gil => format!(
            "A task holds the GIL {} of its time, so threads take turns ({gain}).",
            percent(task.held / task.wall().max(f64::MIN_POSITIVE))
        ),
        Limit::Overhead | Limit::Payload => format!(
            "All {} tasks take {} in a plain loop; starting and feeding any engine costs more ({gain}).",
            question.tasks,
            seconds(model.serial())
        ),
        _ => format!("No engine is faster by more than 5 % ({gain}), and a plain loop is simplest."),
    }
}

fn short_releases(question: &Question, model: &Model<'_>) -> bool {
    let task = &model.task;
    question.costs.gil
        && task.releases >= 1.0
        && (task.released + task.blocked) / task.releases < 4.0 * question.costs.wake
        && task.released > 0.1 * task.wall()
}

fn runner_up(forecasts: &[Forecast]) -> Option<String> {
    let first = &forecasts[0];
    let second = forecasts
        .iter()
        .filter(|other| other.engine != first.engine)
        .min_by(|a, b| a.known().total_cmp(&b.known()))?;
    let margin = second.known() / first.known().max(f64::MIN_POSITIVE);
    let name = second.engine.name();
    Some(if margin < 1.0 {
        format!(
            "{name} would be {} faster, a tie; the simpler engine wins ties within 5 %.",
            percent(1.0 / margin - 1.0)
        )
    } else if margin < 1.35 {
        format!("Next best: {name}, {} slower.", percent(margin - 1.0))
    } else {
        format!("Next best: {name}, {margin:.1} times as long.")
    })
}

fn ceiling(question: &Question, model: &Model<'_>, first: &Forecast) -> Option<String> {
    let costs = &question.costs;
    match first.limit {
        Limit::Cores => Some(format!(
            "More workers will not help: {} usable cores together do the work of {:.1} here.",
            trim(costs.cores),
            costs.parallel
        )),
        Limit::Child => Some(format!(
            "The wait is work of child processes: {} of CPU a task, bound by the {} cores like any other.",
            seconds(model.task.child_cpu),
            trim(costs.cores)
        )),
        Limit::Gil if first.engine == Engine::Async => Some(format!(
            "The event loop itself is the limit: it runs Python {} a task.",
            seconds(model.task.held + model.task.released + model.task.blocked_loop)
        )),
        Limit::Gil => {
            Some(format!("The GIL is the limit: a task holds it for {}.", seconds(model.task.held)))
        }
        Limit::Payload => Some(format!(
            "Payloads are the limit: {} cross for each task, one after the other.",
            bytes(question.payload.in_bytes + question.payload.out_bytes)
        )),
        Limit::Tail => Some("The last tasks run while other workers have nothing left to do.".to_owned()),
        Limit::Overhead if first.engine != Engine::Serial => {
            Some("Start-up and dispatch are a large part of this short job.".to_owned())
        }
        _ => None,
    }
}

fn inner_share(model: &Model<'_>) -> f64 {
    model.task.inner_cpu / model.task.wall().max(f64::MIN_POSITIVE)
}

fn inner_threads(question: &Question, model: &Model<'_>) -> Option<String> {
    let share = inner_share(model);
    (share > INNER_THREADS).then(|| {
        format!(
            "Threads inside the task (a native library's, or its own) burn another {:.1} cores beside it: it \
             already uses {:.1} of the {} usable ones.",
            share,
            model.task.cores_cpu() / model.task.wall().max(f64::MIN_POSITIVE),
            trim(question.costs.cores)
        )
    })
}

fn foreign(question: &Question) -> Option<String> {
    let ledger = &question.ledger;
    let wall = ledger.wall.max(f64::MIN_POSITIVE);
    let waiting = ledger.parts.waiting / wall;
    (waiting > 0.1).then(|| {
        format!(
            "While it was sampled, other threads of this program held the GIL: the task waited for it {} of the time, \
             which the forecasts leave out.",
            percent(waiting)
        )
    })
}

fn free_threaded(expected: f64, model: &Model<'_>) -> String {
    format!(
        "On the free-threaded build of Python, threads would take about {} ({:.1}x), by forecast.",
        seconds(expected),
        model.serial() / expected.max(f64::MIN_POSITIVE)
    )
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

fn crossing_seconds(question: &Question) -> f64 {
    let payload = &question.payload;
    let byte = question.costs.engines.get(&Engine::Processes).map_or(0.0, |cost| cost.byte);
    payload.pickle_in
        + payload.unpickle_in
        + payload.pickle_out
        + payload.unpickle_out
        + (payload.in_bytes + payload.out_bytes) * byte
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
            "send a path, an index or a range and let the worker load the data, or keep it in an array in shared memory",
        )
    } else {
        ("result", "let the worker reduce it or write it to a file, or into an array in shared memory")
    };
    Some(format!(
        "Pickling costs {} the task itself: its {what} ({}) are what to change: {how}.",
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

fn shorter_switch_interval(question: &Question, model: &Model<'_>, first: &Forecast) -> Option<String> {
    let task = &model.task;
    let stretch = task.held / (task.releases + 1.0);
    let convoy = first.engine == Engine::Threads
        && question.costs.gil
        && task.blocked > 0.2 * task.wall()
        && task.held > 0.2 * task.wall()
        && stretch > question.costs.switch_interval;
    convoy.then(|| {
        format!(
            "Threads that come back from waiting queue up to {} behind the one that runs Python: try \
             sys.setswitchinterval(0.0005).",
            seconds(question.costs.switch_interval)
        )
    })
}

/// The kinds of waiting that make up the blocked time, the largest first: `network 61 %, sleep 30 %`.
fn kinds(question: &Question) -> String {
    let parts = &question.ledger.parts;
    let total = parts.blocked_total();
    let mut kinds: Vec<(&BlockedKind, &f64)> =
        parts.blocked.iter().filter(|(_, part)| **part > 0.1 * total).collect();
    kinds.sort_by(|a, b| b.1.total_cmp(a.1));
    match kinds.as_slice() {
        [] => "off-CPU".to_owned(),
        [(kind, _)] => kind.name().to_owned(),
        many => {
            let named: Vec<String> = many
                .iter()
                .map(|(kind, part)| format!("{} {}", kind.name(), percent(**part / total)))
                .collect();
            named.join(", ")
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn times(factor: f64) -> String {
    if factor < 10.0 { format!("{factor:.1} times") } else { format!("{factor:.0} times") }
}

fn trim(number: f64) -> String {
    if (number - number.round()).abs() < 0.05 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// A length of time in the unit a person would use.
fn seconds(value: f64) -> String {
    match value {
        v if v < 1e-6 => format!("{:.0} ns", v * 1e9),
        v if v < 1e-5 => format!("{:.1} µs", v * 1e6),
        v if v < 1e-3 => format!("{:.0} µs", v * 1e6),
        v if v < 1e-2 => format!("{:.1} ms", v * 1e3),
        v if v < 1.0 => format!("{:.0} ms", v * 1e3),
        v if v < 10.0 => format!("{v:.2} s"),
        v => format!("{v:.0} s"),
    }
}

fn bytes(value: f64) -> String {
    match value {
        v if v < 1e3 => format!("{v:.0} B"),
        v if v < 1e6 => format!("{:.0} kB", v / 1e3),
        v if v < 1e9 => format!("{:.1} MB", v / 1e6),
        v => format!("{:.1} GB", v / 1e9),
    }
}

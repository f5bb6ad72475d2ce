//! The argument in sentences: why this engine, what comes next, what stops it.

use crate::{
    CLOSE, Engine, Forecast, Limit, Question,
    forecast::Model,
    phrase::{INNER_THREADS, bytes, crossing_seconds, inner_share, kinds, percent, seconds, trim},
};

/// Run-queue delay as a share of wall time above which the machine is too busy to tell.
const TOO_BUSY: f64 = 0.10;
/// Share of its time that a task must hold the GIL for a build without one to be worth a word.
const HELD_MUCH: f64 = 0.2;

/// The reasons for the first of `forecasts`, the most important first.
pub(crate) fn reasons(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(too_busy(question));
    sentences.push(why(question, model, forecasts));
    sentences.extend(runner_up(forecasts));
    sentences.extend(ceiling(question, model, &forecasts[0]));
    sentences.extend(inner_threads(question, model));
    sentences.extend(foreign(question));
    sentences.extend(free_threaded(model));
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
        Engine::Threads if held > 0.7 => format!(
            "By the ledger a task holds the GIL {} of its time, which leaves threads little to overlap; real runs \
             found them faster all the same.",
            percent(held)
        ),
        Engine::Threads if blocked > released => format!(
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

/// The best of the other engines; measured runs are compared with measured runs.
fn runner_up(forecasts: &[Forecast]) -> Option<String> {
    let first = &forecasts[0];
    let second = forecasts
        .iter()
        .filter(|other| other.engine != first.engine && other.measured.is_some() == first.measured.is_some())
        .min_by(|a, b| a.known().total_cmp(&b.known()))?;
    let margin = second.known() / first.known().max(f64::MIN_POSITIVE);
    let name = second.engine.name();
    Some(if margin < 1.0 {
        let faster = percent(1.0 / margin.max(f64::MIN_POSITIVE) - 1.0);
        format!("{name} would be {faster} faster, a tie; the simpler engine wins ties within 5 %.")
    } else if margin < CLOSE {
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

fn free_threaded(model: &Model<'_>) -> Option<String> {
    let held = model.task.held / model.task.wall().max(f64::MIN_POSITIVE);
    let expected = model.free_threaded().filter(|_| held > HELD_MUCH)?;
    let factor = model.serial() / expected.max(f64::MIN_POSITIVE);
    Some(format!(
        "On the free-threaded build of Python, threads would take about {} ({factor:.1}x), by forecast.",
        seconds(expected)
    ))
}

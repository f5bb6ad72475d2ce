//! The argument in sentences: why this engine, what comes next, what stops it.

use crate::{
    CLOSE, Engine, Forecast, Limit, Question,
    forecast::{Model, to_float},
    phrase::{INNER_THREADS, bytes, inner_share, percent, seconds, trim},
    why::{says_little, why, why_not_threads},
};

/// Run-queue delay as a share of wall time above which the machine is too busy to tell.
const TOO_BUSY: f64 = 0.10;
/// Seconds of tasks that must have been metered for shares of them to mean anything.
const ENOUGH_METERED: f64 = 0.02;
/// Share of its time that a task must hold the GIL for a build without one to be worth a word.
const HELD_MUCH: f64 = 0.2;

/// The reasons for the first of `forecasts`, the most important first.
pub(crate) fn reasons(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(too_busy(question));
    let first = sentences.len();
    sentences.push(why(question, model, forecasts));
    let at = if says_little(model, forecasts) { first } else { sentences.len() };
    sentences.splice(at..at, why_not_threads(question, model, forecasts));
    sentences.extend(runner_up(forecasts));
    sentences.extend(ceiling(question, model, &forecasts[0]));
    sentences.extend(inner_threads(question, model));
    sentences.extend(served(question, model, &forecasts[0]));
    sentences.extend(foreign(question));
    sentences.extend(free_threaded(model));
    sentences
}

fn metered(question: &Question) -> f64 {
    question.ledger.wall * to_float(question.ledger.tasks)
}

fn too_busy(question: &Question) -> Option<String> {
    let share = question.ledger.queue_share;
    (share > TOO_BUSY && metered(question) > ENOUGH_METERED).then(|| {
        format!(
            "The machine is too busy to tell: the task queued for a core {} of its time. Ask again when it is quiet.",
            percent(share)
        )
    })
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
            "The event loop itself is the limit: a task computes in it, or blocks it, for {}.",
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
    (share > INNER_THREADS && metered(question) > ENOUGH_METERED).then(|| {
        format!(
            "Threads inside the task (a native library's, or its own) burn another {:.1} cores beside it: it \
             already uses {:.1} of the {} usable ones.",
            share,
            model.task.cores_cpu() / model.task.wall().max(f64::MIN_POSITIVE),
            trim(question.costs.cores)
        )
    })
}

/// A trial that took far longer than the waiting explains, while others kept the cores busy.
fn served(question: &Question, model: &Model<'_>, first: &Forecast) -> Option<String> {
    let each = first.trial?;
    let alone = model.task.wall() / f64::from(first.workers);
    let cpu = model.task.served_cpu;
    (cpu > 0.1 * model.task.wall() && each > 1.5 * alone).then(|| {
        format!(
            "What it waits for seems to be computed on this machine, by the same {} cores.",
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

//! Why this engine, and why not threads: the first sentences of a verdict's argument.

use crate::{
    Engine, Forecast, Limit, Question,
    forecast::Model,
    phrase::{INNER_THREADS, bytes, crossing_seconds, inner_share, kinds, percent, seconds},
};

/// From this share of its time on, holding the GIL is what a task mostly does.
const MOSTLY: f64 = 0.5;
/// And from this share on it does nothing else.
const ALWAYS: f64 = 0.95;
/// A speed-up below this is no help.
const NO_HELP: f64 = 1.1;
/// A release shorter than this many wake-ups of a thread is of no use to another one.
const SHORT_WAKES: f64 = 4.0;

/// Say why the first of `forecasts` is first.
pub(crate) fn why(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> String {
    let first = &forecasts[0];
    match first.engine {
        Engine::Serial => why_serial(question, model, forecasts),
        Engine::Async => format!(
            "A task awaits something for {} of its time; one event loop lets {} of them wait at once.",
            percent(share(model, model.task.blocked - model.task.blocked_loop)),
            first.workers
        ),
        Engine::Threads => why_threads(question, model, first),
        Engine::Processes | Engine::Interpreters => why_separate(model, first),
    }
}

fn share(model: &Model<'_>, part: f64) -> f64 {
    part / model.task.wall().max(f64::MIN_POSITIVE)
}

fn why_threads(question: &Question, model: &Model<'_>, first: &Forecast) -> String {
    let task = &model.task;
    let held = share(model, task.held);
    if !question.ledger.gil && task.blocked <= task.released {
        return "This interpreter has no GIL: threads run Python on all cores and share memory.".to_owned();
    }
    if held > ALWAYS {
        return format!(
            "By the ledger a task holds the GIL {} of its time, which leaves threads little to overlap; real runs \
             found them faster all the same.",
            percent(held)
        );
    }
    if held > MOSTLY {
        return format!(
            "A task holds the GIL {} of its time; {} threads overlap the rest of it.",
            percent(held),
            first.workers
        );
    }
    if task.blocked > task.released {
        return format!(
            "A task waits {} of its time ({}), with the GIL given up; {} threads wait at once.",
            percent(share(model, task.blocked)),
            kinds(question),
            first.workers
        );
    }
    format!(
        "A task runs native code without the GIL for {} of its time, and holds the GIL for only {}: threads overlap.",
        percent(share(model, task.released)),
        percent(held)
    )
}

fn why_separate(model: &Model<'_>, first: &Forecast) -> String {
    let task = &model.task;
    let name = first.engine.name();
    if task.blocked > task.held + task.released {
        return format!(
            "A task waits {} of its time, which {name} overlap as threads would; the {} it holds the GIL they \
             overlap too.",
            percent(share(model, task.blocked)),
            percent(share(model, task.held))
        );
    }
    format!(
        "A task keeps a core busy {} of its time, and {name} have one GIL each.",
        percent(share(model, task.held + task.released))
    )
}

/// Whether `why` could only say that nothing is faster; what keeps threads from it then says more.
pub(crate) fn says_little(model: &Model<'_>, forecasts: &[Forecast]) -> bool {
    let question = model.question;
    forecasts[0].engine == Engine::Serial
        && inner_share(model) <= INNER_THREADS
        && !question.coroutine
        && !payload_dearer(question, model, forecasts)
}

/// What keeps threads from helping, where they do not.
pub(crate) fn why_not_threads(
    question: &Question,
    model: &Model<'_>,
    forecasts: &[Forecast],
) -> Option<String> {
    let threads = best_of(forecasts, Engine::Threads)?;
    if forecasts[0].engine == Engine::Threads || threads.speedup >= NO_HELP {
        return None;
    }
    let task = &model.task;
    let outcome = outcome(threads);
    if short_releases(question, model) {
        return Some(format!(
            "Threads {outcome}: a task gives the GIL up about {} times, for only {} each, too short for another \
             thread to use, and each time threads may have to hand it over.",
            rounded(task.releases),
            seconds((task.released + task.blocked) / task.releases)
        ));
    }
    let held = share(model, task.held);
    if held > 1.0 - held {
        return Some(format!(
            "Threads {outcome}: a task holds the GIL {} of its time, so they take turns.",
            percent(held)
        ));
    }
    (threads.trial.is_some() || threads.measured.is_some()).then(|| {
        format!(
            "Threads {outcome}, though a task holds the GIL only {} of its time: they get into each other's way \
             elsewhere, be it cores, memory or a lock inside a library.",
            percent(held)
        )
    })
}

fn best_of(forecasts: &[Forecast], engine: Engine) -> Option<&Forecast> {
    let of_engine = || forecasts.iter().filter(|forecast| forecast.engine == engine);
    of_engine().find(|forecast| forecast.measured.is_some()).or_else(|| of_engine().next())
}

/// `take 2.3 times as long as a plain loop`, or what else comes of an engine.
fn outcome(forecast: &Forecast) -> String {
    let factor = 1.0 / forecast.speedup.max(1e-9);
    match factor {
        f if f >= 1.5 => format!("take {f:.1} times as long as a plain loop"),
        f if f >= 1.05 => format!("are {} slower than a plain loop", percent(f - 1.0)),
        _ => "gain nothing".to_owned(),
    }
}

fn rounded(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// Serial won: say what keeps the others from helping.
fn why_serial(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> String {
    let task = &model.task;
    let rivals: Vec<&Forecast> = forecasts.iter().filter(|other| other.engine != Engine::Serial).collect();
    let Some(best) = rivals.first() else {
        return "Every engine that could overlap these tasks is excluded.".to_owned();
    };
    if question.coroutine {
        let busy = task.held + task.released + task.blocked_loop;
        return format!(
            "One event loop runs one task at a time, and each computes or blocks it for {} of its {}: nothing is left \
             to overlap.",
            seconds(busy),
            seconds(task.wall())
        );
    }
    let payload = &question.payload;
    let crossing = crossing_seconds(question);
    if payload_dearer(question, model, forecasts) {
        return format!(
            "Sending a task's payload to another process ({}) takes {}, the task itself {}: a plain loop is fastest.",
            bytes(payload.in_bytes + payload.out_bytes),
            seconds(crossing),
            seconds(task.wall())
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
        Limit::Overhead | Limit::Payload => format!(
            "All {} tasks take {} in a plain loop; starting and feeding any engine costs more ({gain}).",
            question.tasks,
            seconds(model.serial())
        ),
        _ => format!("No engine is faster by more than 5 % ({gain}), and a plain loop is simplest."),
    }
}

/// Whether a task's payload takes longer to send than the task takes.
fn payload_dearer(question: &Question, model: &Model<'_>, forecasts: &[Forecast]) -> bool {
    best_of(forecasts, Engine::Processes).is_some() && crossing_seconds(question) > model.task.wall()
}

fn short_releases(question: &Question, model: &Model<'_>) -> bool {
    let task = &model.task;
    question.costs.gil
        && task.releases >= 1.0
        && (task.released + task.blocked) / task.releases < SHORT_WAKES * question.costs.wake
        && task.released + task.blocked > 0.1 * task.wall()
}
